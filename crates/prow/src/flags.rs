//! Flag groups that the tools share, under upstream's names (prow-runtime §1.2, §1.4), and how tools read and write.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use prow_config::{LoadOptions, Snapshot, load};
use prow_github::{Client, ClientOptions, ThrottleOptions, TokenSource};
use prow_service::clock::SystemClock;
use prow_service::secrets::SecretFile;
use serde::Serialize;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    // Required; an Option because `prow run` takes that back where it repeats a run.
    /// Prow's config.yaml
    #[arg(long, value_name = "FILE", required = true)]
    config_path: Option<PathBuf>,
    /// Job configuration: a file, or a directory that is read recursively
    #[arg(long, value_name = "PATH")]
    job_config_path: Option<PathBuf>,
    /// Directories with further Prow configuration (repeatable)
    #[arg(long, value_name = "DIR")]
    supplemental_prow_config_dir: Vec<PathBuf>,
    /// How files of further Prow configuration end
    #[arg(
        long,
        alias = "supplemental-prow-configs-filename",
        value_name = "SUFFIX",
        default_value = "_prowconfig.yaml"
    )]
    supplemental_prow_configs_filename_suffix: String,
}

impl ConfigArgs {
    /// Loads it, with plugins.yaml where one is given.
    pub fn load(&self, plugin_config: Option<&Path>) -> anyhow::Result<Snapshot> {
        Ok(load(&LoadOptions { plugin_config: plugin_config.map(Path::to_owned), ..self.options()? })?)
    }

    /// What to load, without plugins.yaml.
    pub fn options(&self) -> anyhow::Result<LoadOptions> {
        let Some(config_path) = self.config_path.clone() else { bail!("give --config-path") };
        Ok(LoadOptions {
            config_path,
            job_config_path: self.job_config_path.clone(),
            supplemental_prow_config_dirs: self.supplemental_prow_config_dir.clone(),
            supplemental_prow_configs_suffix: self.supplemental_prow_configs_filename_suffix.clone(),
            ..LoadOptions::default()
        })
    }
}

/// How to reach GitHub. Without a token calls are anonymous.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "GitHub")]
pub struct GithubArgs {
    /// GitHub's API (repeatable, tried in order); a GitHub Enterprise one ends in /api/v3
    #[arg(long, value_name = "URL", default_value = "https://api.github.com")]
    github_endpoint: Vec<Url>,
    /// Host that links and clone URLs name; one with a scheme is cloned from as it is
    #[arg(long, value_name = "HOST", default_value = "github.com")]
    github_host: String,
    /// File with a token; without one calls are anonymous
    #[arg(long, value_name = "FILE")]
    github_token_path: Option<PathBuf>,
    /// How often a failed call is tried again
    #[arg(long = "github-client.max-retries", value_name = "N", default_value_t = 8)]
    max_retries: u32,
    /// How often a call that was answered 404 is tried again
    #[arg(long = "github-client.max-404-retries", value_name = "N", default_value_t = 2)]
    max_404_retries: u32,
    /// Pause before the first further try; doubles with each
    #[arg(long = "github-client.initial-delay", value_name = "DURATION", default_value = "2s", value_parser = go_duration)]
    initial_delay: Duration,
    /// Longest wait that GitHub may ask for
    #[arg(long = "github-client.backoff-timeout", value_name = "DURATION", default_value = "2m", value_parser = go_duration)]
    backoff_timeout: Duration,
    /// Longest time for one try
    #[arg(long = "github-client.request-timeout", value_name = "DURATION", default_value = "2m", value_parser = go_duration)]
    request_timeout: Duration,
    /// Calls an hour in the long run; 0 is as many as GitHub allows
    #[arg(long = "github-hourly-tokens", value_name = "N", default_value_t = 0)]
    hourly_tokens: u32,
    /// Calls at once after a quiet time; with --github-hourly-tokens
    #[arg(long = "github-allowed-burst", value_name = "N", default_value_t = 0)]
    allowed_burst: u32,
}

/// A duration as Go's flags take it.
pub fn go_duration(text: &str) -> Result<Duration, String> {
    let nanos = prow_api::duration::parse_go_duration(text).map_err(|e| e.to_string())?;
    Ok(Duration::from_nanos(u64::try_from(nanos).map_err(|_| "a duration cannot be negative".to_owned())?))
}

impl GithubArgs {
    /// Where repositories are fetched from, without organisation and name.
    pub fn git_base(&self) -> String {
        let host = &self.github_host;
        if host.contains("://") { host.clone() } else { format!("https://{host}") }
    }

    fn throttle(&self) -> anyhow::Result<Option<ThrottleOptions>> {
        let (hourly_tokens, burst) = (self.hourly_tokens, self.allowed_burst);
        if hourly_tokens == 0 {
            return Ok(None);
        }
        anyhow::ensure!(
            (1..=hourly_tokens).contains(&burst),
            "--github-allowed-burst={burst}: it must be between 1 and --github-hourly-tokens ({hourly_tokens})"
        );
        Ok(Some(ThrottleOptions { hourly_tokens, burst }))
    }

    /// Whether calls are made with a token.
    pub fn has_token(&self) -> bool {
        self.github_token_path.is_some()
    }

    /// The same for questions that "not found" is a good answer to.
    pub fn expecting_404(&self) -> GithubArgs {
        GithubArgs { max_404_retries: 0, ..self.clone() }
    }

    /// A client; nothing is sent yet.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.client_with(self.token()?)
    }

    fn token(&self) -> anyhow::Result<TokenSource> {
        Ok(match &self.github_token_path {
            None => TokenSource::None,
            Some(path) => {
                // Read now, so that a wrong path is said at once.
                SecretFile::open("GitHub token", path)?;
                TokenSource::File(path.clone())
            }
        })
    }

    /// A client that shows this token; nothing is sent yet.
    pub fn client_with(&self, token: TokenSource) -> anyhow::Result<Client> {
        let options = ClientOptions {
            endpoint: self.github_endpoint.clone(),
            host: self.github_host.clone(),
            token,
            max_retries: self.max_retries,
            max_404_retries: self.max_404_retries,
            initial_delay: self.initial_delay,
            max_sleep: self.backoff_timeout,
            request_timeout: self.request_timeout,
            throttle: self.throttle()?,
            ..ClientOptions::default()
        };
        Ok(Client::new(options, SystemClock::shared())?)
    }
}

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// As sigs.k8s.io/yaml writes it: keys sorted
    Yaml,
    /// Indented JSON
    Json,
}

impl Output {
    /// An object as text, its keys sorted.
    pub fn text(self, value: &impl Serialize) -> anyhow::Result<String> {
        let value = serde_json::to_value(value).context("cannot write the object as JSON")?;
        match self {
            Output::Yaml => yaml(&value),
            Output::Json => Ok(serde_json::to_string_pretty(&value)? + "\n"),
        }
    }
}

fn yaml(value: &serde_json::Value) -> anyhow::Result<String> {
    // Long lines stay one line: a fold would be read back as it was written, but is hard to search for.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).context("cannot write the object as YAML")
}

/// Writes to standard output. A reader that has gone away wanted no more: that is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// A file, or standard input for `-`.
pub fn read(what: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path).with_context(|| format!("cannot read {what} from {}", path.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).with_context(|| format!("cannot read {what} from stdin"))?;
    Ok(bytes)
}

/// Asks on standard error and reads a line of standard input, without the space around it. `None` if it has ended.
pub fn ask(question: &str) -> anyhow::Result<Option<String>> {
    let mut err = std::io::stderr().lock();
    // Whoever closed standard error does not want to see questions; the answer still counts.
    let _ = write!(err, "{question}").and_then(|()| err.flush());
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).context("cannot read the answer from stdin")?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_is_sorted_and_keeps_texts_texts() {
        let value = json!({
            "b": ["yes", "1e3", "0x1", "null", "~", "12:30", "", " lead", "a: b", "# no", "true", "2001-01-01", "-"],
            "a": {"z": 1, "w": [], "x": {}, "list": [{"k": 1, "j": "v"}]},
            "long": "word ".repeat(60).trim(),
            "lines": "one\ntwo\n",
            "json": "{\"type\":\"presubmit\",\"refs\":{\"title\":\"it's\"}}",
        });
        let text = Output::Yaml.text(&value).unwrap();
        assert!(
            text.starts_with("a:\n  list:\n  - j: v\n    k: 1\n  w: []\n  x: {}\n  z: 1\nb:\n- "),
            "{text}"
        );
        assert!(text.contains("lines: |\n  one\n  two\n"), "{text}");
        let (back, _): (serde_json::Value, _) = prow_config::yaml::read("-", text.into_bytes()).unwrap();
        assert_eq!(back, value);
    }

    #[test]
    fn hostile_texts_come_back_as_they_were() {
        let texts = [
            "a\tb",
            "\ttab",
            "trail ",
            "x\n\n\n",
            "\n lead",
            " a\n  b\n",
            "a\r\nb",
            "\0",
            "\u{feff}x",
            "\u{85}",
            "\u{2028}",
            "---",
            "...",
            "--- a\n...\n",
            "? x",
            "!tag",
            "&a",
            "*a",
            "%x",
            "@x",
            "`x",
            "{",
            "[",
            "0o7",
            ".5",
            "+1",
            "1_000",
            "0b1",
            ".inf",
            ".NaN",
            "=",
            "<<",
            "key: |",
            "'",
            "\"",
            "\\",
            "y",
            "N",
            "off",
            "1:30",
            "x: y\nspec: {}\n",
            "#\n",
            "\u{202e}",
            "\u{7f}",
            "\u{1b}[31m",
            "190:20:30",
            "1e5",
            "0x_1",
            "- a",
            "a #b",
            "\t\n",
            "é\n",
            "😀",
        ];
        for text in texts {
            let value = json!({"outer": [{"k": text}], "same": text, text: 1});
            let yaml = Output::Yaml.text(&value).unwrap();
            let back = prow_config::yaml::read::<serde_json::Value>("-", yaml.clone().into_bytes());
            assert_eq!(back.map(|b| b.0).map_err(|e| e.to_string()), Ok(value), "{text:?}\n{yaml}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(go_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(go_duration("-1s").is_err() && go_duration("soon").is_err());
    }
}
