//! A person who works on the demo's repository: real git over HTTP, and GitHub's API with their own token.

use super::repo::{self, Source};
use anyhow::Context;
use prow_api::Secret;
use prow_github::Client;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The contributor.
pub struct Person {
    login: &'static str,
    token: Secret,
    /// GitHub as they see it.
    pub github: Client,
    clone: PathBuf,
    forge_url: String,
}

impl Person {
    /// Works in the directory `clone`.
    pub fn new(
        login: &'static str,
        token: Secret,
        github: Client,
        clone: PathBuf,
        forge_url: &str,
    ) -> Person {
        Person { login, token, github, clone, forge_url: forge_url.to_owned() }
    }

    /// Clones if need be, and stands on the newest of the branch if it is there, else on main.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        if !self.clone.join(".git").is_dir() {
            // A clone that was cut short is not a clone.
            let _ = std::fs::remove_dir_all(&self.clone);
            let uri = format!("{}/{}/{}.git", self.forge_url, repo::ORG, repo::REPO);
            self.git(Path::new("."), &["clone", "--quiet", &uri, &self.clone.to_string_lossy()]).await?;
        }
        self.git(&self.clone, &["fetch", "--quiet", "--prune", "origin"]).await?;
        let remote = format!("origin/{}", repo::BRANCH);
        let start = if self.git(&self.clone, &["rev-parse", "--verify", "--quiet", &remote]).await.is_ok() {
            remote.as_str()
        } else {
            "origin/main"
        };
        self.git(&self.clone, &["checkout", "--quiet", "--force", "-B", repo::BRANCH, start]).await?;
        Ok(())
    }

    /// Commits `files` and pushes the branch. Returns the commit.
    pub async fn push(&self, files: &[Source], message: &str) -> anyhow::Result<String> {
        self.prepare().await?;
        repo::write(&self.clone, files).context("cannot write into the contributor's clone")?;
        self.git(&self.clone, &["add", "--all"]).await?;
        self.git(&self.clone, &["commit", "--quiet", "--message", message]).await?;
        self.git(&self.clone, &["push", "--quiet", "origin", repo::BRANCH]).await?;
        Ok(self.git(&self.clone, &["rev-parse", "HEAD"]).await?.trim().to_owned())
    }

    async fn git(&self, dir: &Path, args: &[&str]) -> anyhow::Result<String> {
        use base64::Engine as _;
        let mut login = format!("{}:", self.login).into_bytes();
        login.extend_from_slice(self.token.expose());
        let header =
            format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
        let output = Command::new("git")
            .args(args)
            .current_dir(dir)
            // The token travels in the environment: never in an argument, a URL or the clone's configuration.
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", format!("http.{}/.extraHeader", self.forge_url))
            .env("GIT_CONFIG_VALUE_0", header)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_AUTHOR_NAME", self.login)
            .env("GIT_AUTHOR_EMAIL", format!("{}@example.com", self.login))
            .env("GIT_COMMITTER_NAME", self.login)
            .env("GIT_COMMITTER_EMAIL", format!("{}@example.com", self.login))
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run git: is it installed?")?;
        anyhow::ensure!(
            output.status.success(),
            "git {} failed: {}",
            args.first().unwrap_or(&""),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
