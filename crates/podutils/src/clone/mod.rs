//! clonerefs: puts the code under test in place and records how (prow-runtime §8.1, traps 28, 29).
//!
//! A clone that fails is not a failure of this utility: the records say so, and initupload makes it the Pod's.

mod auth;
mod plan;
mod repository;

use crate::{Env, Host, UtilityError, flags};
use auth::Access;
use futures::StreamExt;
use prow_api::options::{CLONEREFS_OPTIONS, CloneRefsOptions};
use prow_api::results::CloneRecord;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Options from CLONEREFS_OPTIONS, else flags.
pub(crate) async fn main(args: Vec<OsString>, env: &Env, host: &Host) -> Result<u8, UtilityError> {
    let options = match env.json(CLONEREFS_OPTIONS)? {
        Some(options) => options,
        None => flags::clonerefs(args)?,
    };
    run(options, host).await
}

async fn run(mut options: CloneRefsOptions, host: &Host) -> Result<u8, UtilityError> {
    check(&options)?;
    for (member, default) in
        [(&mut options.git_user_name, "ci-robot"), (&mut options.git_user_email, "ci-robot@k8s.io")]
    {
        if member.is_empty() {
            *member = default.to_owned();
        }
    }
    let records = records(&options, host).await;
    let failed = records.iter().filter(|record| record.failed).count();
    write(Path::new(&options.log), &records)?;
    if failed > 0 {
        tracing::warn!(failed, "not everything could be cloned; the records in {} say why", options.log);
    }
    Ok(u8::from(options.fail && failed > 0))
}

fn check(options: &CloneRefsOptions) -> Result<(), UtilityError> {
    let wrong = |text: String| Err(UtilityError::Options(text));
    if options.src_root.is_empty() {
        return wrong("no source root specified: set src_root".to_owned());
    }
    if options.log.is_empty() {
        return wrong("no log file specified: set log".to_owned());
    }
    if options.refs.is_empty() {
        return wrong("no refs specified to clone".to_owned());
    }
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for refs in &options.refs {
        let (path, name) = (refs.source_path(), refs.org_repo());
        match seen.get(&path) {
            Some(other) if *other == name => {
                return wrong(format!("sync config for {name} provided more than once, both in {path}"));
            }
            Some(other) => {
                tracing::warn!("{name} and {other} are cloned into the same directory {path}");
            }
            None => {
                seen.insert(path, name);
            }
        }
    }
    if !options.github_app_id.is_empty() || !options.github_app_private_key_file.is_empty() {
        if !options.oauth_token_file.is_empty() {
            return wrong("a GitHub App and an OAuth token exclude each other: set one of them".to_owned());
        }
        if options.github_app_id.is_empty() || options.github_app_private_key_file.is_empty() {
            return wrong(
                "github_app_id and github_app_private_key_file belong together: set both".to_owned(),
            );
        }
    }
    Ok(())
}

async fn records(options: &CloneRefsOptions, host: &Host) -> Vec<CloneRecord> {
    let (setup, access) = Access::set_up(options).await;
    let Some(access) = access else { return vec![setup] };
    let workers = match usize::try_from(options.max_parallel_workers) {
        Ok(0) | Err(_) => options.refs.len(),
        Ok(workers) => workers,
    };
    let mut records = vec![setup];
    let access = &access;
    let clones = futures::stream::iter(&options.refs)
        .map(|refs| repository::clone(refs, options, access, host))
        .buffer_unordered(workers.max(1));
    records.extend(clones.collect::<Vec<_>>().await);
    records
}

fn write(path: &Path, records: &[CloneRecord]) -> Result<(), UtilityError> {
    let write = || {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut staged = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .prefix(".clone-")
            .tempfile_in(parent)?;
        serde_json::to_writer(staged.as_file_mut(), records)?;
        staged.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| UtilityError::File {
        action: "write",
        path: path.display().to_string(),
        why: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Refs;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn options(repos: &[(&str, &str, &str)]) -> CloneRefsOptions {
        CloneRefsOptions {
            src_root: "/go".into(),
            log: "/log".into(),
            refs: repos
                .iter()
                .map(|(org, repo, alias)| Refs {
                    org: (*org).into(),
                    repo: (*repo).into(),
                    path_alias: (*alias).into(),
                    ..Refs::default()
                })
                .collect(),
            ..CloneRefsOptions::default()
        }
    }

    #[test]
    fn options_are_checked() {
        assert!(check(&options(&[("o", "r", "")])).is_ok());
        assert!(check(&options(&[("o", "r", "x"), ("o", "q", "x")])).is_ok(), "only a warning");
        let mut app = options(&[("o", "r", "")]);
        app.github_app_id = "1".into();
        let mut both = app.clone();
        both.oauth_token_file = "/t".into();
        let mut no_log = options(&[("o", "r", "")]);
        no_log.log.clear();
        for (options, why) in [
            (options(&[]), "no refs"),
            (options(&[("o", "r", ""), ("o", "r", "")]), "more than once"),
            (app, "belong together"),
            (both, "exclude each other"),
            (no_log, "no log file"),
        ] {
            let error = check(&options).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    /// Wants basic authentication, notes what it got, and has nothing.
    async fn server(seen: Arc<Mutex<Vec<(String, String)>>>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap_or(0) > 0
                {
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let header = request.lines().find_map(|l| l.strip_prefix("Authorization: "));
                let answer = match header {
                    Some(value) => {
                        seen.lock().unwrap().push((path, value.to_owned()));
                        "HTTP/1.1 404 Not Found\r\n"
                    }
                    None => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n",
                };
                let answer = format!("{answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_token_reaches_its_own_repository_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("oauth");
        std::fs::write(&token, "hunter2\n").unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let uri = format!("{}/org/repo.git", server(seen.clone()).await);
        let mut options = options(&[("org", "repo", "")]);
        options.src_root = dir.path().join("go").to_str().unwrap().to_owned();
        options.log = dir.path().join("clone.json").to_str().unwrap().to_owned();
        options.oauth_token_file = token.to_str().unwrap().to_owned();
        options.refs[0].clone_uri = uri.clone();
        options.refs[0].base_ref = "main".into();
        let slept = Arc::new(Mutex::new(0));
        let count = slept.clone();
        let host = Host::new(
            || 0,
            move |_| {
                *count.lock().unwrap() += 1;
                Box::pin(async {})
            },
        );
        assert_eq!(run(options.clone(), &host).await.unwrap(), 0, "a failed clone is not our failure");
        assert_eq!(*slept.lock().unwrap(), 9, "fetches are tried ten times");
        let seen = seen.lock().unwrap().clone();
        let basic =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "x-access-token:hunter2");
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|(path, header)| {
            path.starts_with("/org/repo.git/") && *header == format!("Basic {basic}")
        }));
        // Neither records nor the repository know it.
        let records = std::fs::read_to_string(&options.log).unwrap();
        assert!(records.contains("\"failed\":true") && !records.contains("hunter2"), "{records}");
        let config =
            std::fs::read_to_string(dir.path().join("go/src/github.com/org/repo/.git/config")).unwrap();
        assert!(!config.contains("hunter2"));

        let (_, access) = Access::set_up(&options).await;
        let access = access.unwrap();
        for (url, given) in [
            (uri.clone(), true),
            (uri.replace("/repo.git", "/other.git"), false),
            (uri.replace("127.0.0.1", "localhost"), false),
        ] {
            let mut git = prow_git::Git::new(dir.path());
            for (key, value) in access.credential_env(&uri) {
                git = git.with_env(key, value);
            }
            let asked =
                git.command(["credential", "fill"]).stdin(format!("url={url}\n\n")).status().await.unwrap();
            assert_eq!(asked.stdout.to_text().contains("password=hunter2"), given, "{url}");
        }
        assert!(access.credential_env("git@github.com:org/repo.git").is_empty());
        assert_eq!(access.censored("a hunter2 b"), "a CENSORED b");
    }

    #[tokio::test]
    async fn a_setup_that_fails_is_the_only_record() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "not a key").unwrap();
        for spoil in [
            (|o: &mut CloneRefsOptions, _: &Path| o.oauth_token_file = "/no/such/token".into())
                as fn(&mut CloneRefsOptions, &Path),
            |o, dir| o.key_files = vec![dir.join("missing").to_str().unwrap().into()],
            |o, dir| o.key_files = vec![dir.to_str().unwrap().into()],
        ] {
            let mut options = options(&[("o", "r", "")]);
            spoil(&mut options, dir.path());
            let records = records(&options, &Host::system()).await;
            assert_eq!(records.len(), 1, "{records:?}");
            assert!(records[0].failed && records[0].refs.org.is_empty());
            assert!(!records[0].commands.last().unwrap().error.is_empty());
        }
    }
}
