//! `prow checkconfig`: loads a configuration and says what is wrong with it, or probably not meant (prow-config §9).
//!
//! Here is what the checks must be told: files, the clusters that plank found, repositories as GitHub has them.

mod inrepo;

use crate::component::common::{PluginArgs, StorageArgs};
use crate::flags::{self, ConfigArgs, GithubArgs};
use crate::why::place::Places;
use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use prow_checkconfig::Finding;
use prow_checkconfig::check::{self, Asked, Class, FileKind, Input, Selection, SourceFile, WARNINGS};
use prow_checkconfig::report::Report;
use prow_config::{LoadOptions, PluginConfig, Snapshot, load, yaml};
use prow_github::AppKey;
use prow_service::clock::{Clock, SystemClock};
use prow_service::logs;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Most bytes of `build_cluster_status_file` that are read.
const MAX_STATUS_FILE: u64 = 1 << 20;

/// Flags of `prow checkconfig`.
#[derive(Debug, ClapArgs)]
#[command(
    about = "Check a configuration: whether it loads, and what in it is probably not meant",
    long_about = "Load a configuration as Prow's components do, and say everything that is wrong with it: with file, \
line, column, key, and what was probably meant. Of a configuration that loads, say what is probably not meant.\n\n\
Exit code 1 if it does not load, or, with --strict, if there are warnings; else 0.",
    after_help = help()
)]
pub struct Args {
    /// Warnings to check [default: those marked * below] (repeatable, or separated by commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    warnings: Vec<String>,
    /// Warnings not to check (repeatable, or separated by commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    exclude_warning: Vec<String>,
    /// Fail if there are warnings
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    strict: bool,
    /// Without --warnings: check all there are, also those that ask GitHub about every repository
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    expensive_checks: bool,
    /// Check the default warnings beside those of --warnings
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    include_default_warnings: bool,
    /// Annotations that every job must have (repeatable, or separated by commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    required_job_annotations: Vec<String>,
    /// Check the jobs that this repository (org/repo) defines itself, in .prow/ or .prow.yaml where you stand
    #[arg(long, value_name = "REPO")]
    prow_yaml_repo_name: Option<String>,
    /// The repository's .prow.yaml, or .prow, if it is not where you stand
    #[arg(long, value_name = "FILE", requires = "prow_yaml_repo_name")]
    prow_yaml_path: Option<PathBuf>,
    /// How to say what was found
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Id of a GitHub App: check that it is installed wherever there is configuration
    #[arg(long, value_name = "ID", requires = "github_app_private_key_path", help_heading = "GitHub")]
    github_app_id: Option<String>,
    /// File with the App's private key
    #[arg(long, value_name = "FILE", requires = "github_app_id", help_heading = "GitHub")]
    github_app_private_key_path: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    github: GithubArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: grouped, file:line:column first
    Text,
    /// One object with all findings
    Json,
    /// Annotations of a GitHub workflow: shown at their lines of the pull request
    Github,
}

fn help() -> String {
    let mut out = String::from("Warnings:\n");
    for warning in WARNINGS {
        let mark = if warning.class == Class::Default { '*' } else { ' ' };
        let needs = if warning.needs_plugins { " (needs --plugin-config)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {mark} {}: {}{needs}", warning.name, warning.about);
    }
    out.push_str(
        "\nExamples:\n  prow checkconfig --config-path config.yaml --job-config-path jobs/ --plugin-config plugins.yaml\n  \
prow checkconfig --config-path config.yaml --job-config-path jobs/ --strict --exclude-warning non-decorated-jobs\n  \
prow checkconfig --config-path config.yaml --job-config-path jobs/ --strict --warnings unknown-fields-all -o github\n  \
prow checkconfig --config-path config.yaml --job-config-path jobs/ --prow-yaml-repo-name acme/rocket\n  \
prow checkconfig --config-path config.yaml -o json | jq -r '.findings[] | \"\\(.file):\\(.line) \\(.message)\"'",
    );
    out
}

/// Checks, and says what was found on standard output.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    logs::init("error", Some(logs::Format::Text));
    let asked = Asked {
        warnings: args.warnings.clone(),
        exclude: args.exclude_warning.clone(),
        expensive: args.expensive_checks,
        include_defaults: args.include_default_warnings,
        app: args.github_app_id.is_some(),
    };
    let on = Selection::new(&asked)?;
    let mut options = args.config.options()?;
    args.plugins.add_to(&mut options);
    let mut report = Report { checks: on.len(), strict: args.strict, ..Report::default() };
    match load(&options) {
        Err(errors) => {
            report.findings = errors.errors.iter().chain(&errors.warnings).map(Finding::loaded).collect();
        }
        Ok(snapshot) => {
            report.jobs = Some(snapshot.jobs.len());
            report.findings = found(&args, &options, &snapshot, &on).await?;
        }
    }
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => report.json()?,
        Output::Github => {
            below_the_checkout(&mut report.findings);
            report.github()
        }
    };
    flags::print(&text)?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn found(
    args: &Args,
    options: &LoadOptions,
    snapshot: &Snapshot,
    on: &Selection,
) -> anyhow::Result<Vec<Finding>> {
    let files = files(options)?;
    let mut more = Vec::new();
    if let Some(repo) = &args.prow_yaml_repo_name {
        let root = inrepo::root(args.prow_yaml_path.as_deref());
        more.extend(inrepo::check(snapshot, repo, &root, on)?);
    }
    let statuses = if on.has(check::VALIDATE_CLUSTER_FIELD) {
        cluster_statuses(args, &snapshot.prow.plank.build_cluster_status_file, &mut more).await
    } else {
        None
    };
    let input = Input {
        snapshot,
        files: &files,
        plugins: options.plugin_config.is_some(),
        cluster_statuses: statuses.as_ref(),
        required_annotations: &args.required_job_annotations,
    };
    let mut findings = check::run(&input, on);
    if input.plugins && on.has(check::VERIFY_OWNERS_PRESENCE) {
        if !args.github.has_token() {
            bail!(
                "the warning {} asks GitHub about every repository and needs a token: give --github-token-path, or \
                 --exclude-warning {0}",
                check::VERIFY_OWNERS_PRESENCE
            );
        }
        more.extend(owners_presence(&args.github, &snapshot.plugins).await?);
    }
    if on.has(check::GITHUB_APP_INSTALLATION) {
        more.extend(check::without_app(snapshot, &installations(args).await?));
    }
    check::place(&mut more, &files);
    findings.extend(more);
    let mut places = Places::default();
    for finding in &mut findings {
        if let Some(key) = finding.job_key {
            finding.line = places.key_line(&finding.file, finding.line, &[key]);
        }
    }
    Ok(findings)
}

/// The files of the configuration that are not job files.
fn files(options: &LoadOptions) -> anyhow::Result<Vec<SourceFile>> {
    let mut out = Vec::new();
    let mut put = |kind, path: &Path, below_root: String| -> anyhow::Result<()> {
        let text = yaml::read_text(path).map_err(anyhow::Error::msg)?;
        out.push(SourceFile { kind, name: path.to_string_lossy().into(), below_root, text });
        Ok(())
    };
    put(FileKind::Config, &options.config_path, String::new())?;
    if let Some(path) = &options.plugin_config {
        put(FileKind::Plugins, path, String::new())?;
    }
    for (kind, roots, suffix) in [
        (
            FileKind::SupplementalConfig,
            &options.supplemental_prow_config_dirs,
            &options.supplemental_prow_configs_suffix,
        ),
        (
            FileKind::SupplementalPlugins,
            &options.supplemental_plugin_config_dirs,
            &options.supplemental_plugin_configs_suffix,
        ),
    ] {
        for root in roots.iter().filter(|_| !suffix.is_empty()) {
            let listed = prow_config::suffixed_files(root, suffix);
            for path in listed.with_context(|| format!("cannot list {}", root.display()))? {
                let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                put(kind, &path, below)?;
            }
        }
    }
    Ok(out)
}

/// What plank wrote of its clusters. A file that is not there yet is no reason to warn; one that cannot be read is.
async fn cluster_statuses(
    args: &Args,
    location: &str,
    findings: &mut Vec<Finding>,
) -> Option<BTreeMap<String, String>> {
    if location.is_empty() {
        return None;
    }
    let name = check::VALIDATE_CLUSTER_FIELD;
    let said = |why: String| format!("plank.build_cluster_status_file {location:?} {why}");
    match status_file(args, location).await {
        Ok(None) => {
            let message =
                said("is not there yet; until plank has written it, clusters are not checked".into());
            findings.push(Finding::note(name, message));
            None
        }
        Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(statuses) => Some(statuses),
            Err(error) => {
                findings.push(Finding::warning(name, said(format!("is no map of clusters: {error}"))));
                None
            }
        },
        Err(error) => {
            findings.push(Finding::warning(name, said(format!("cannot be read: {error:#}"))));
            None
        }
    }
}

/// Bytes of a `gs://`, `s3://` or `file://` object, or of a file by its path; nothing if it does not exist.
async fn status_file(args: &Args, location: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let remote = location.split_once("://").filter(|(scheme, _)| *scheme != "file");
    let Some((scheme, rest)) = remote else {
        let path = location.strip_prefix("file://").unwrap_or(location);
        return match std::fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        };
    };
    let (bucket, object) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket = args.storage.opener().open_str(&format!("{scheme}://{bucket}"))?;
    match bucket.get_bytes(object, MAX_STATUS_FILE).await {
        Ok(bytes) => Ok(Some(bytes.to_vec())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks GitHub for the root OWNERS file of every repository whose plugins read OWNERS files.
async fn owners_presence(github: &GithubArgs, plugins: &PluginConfig) -> anyhow::Result<Vec<Finding>> {
    let client = github.expecting_404().client()?;
    let users = check::owners_users(plugins);
    let mut repos = users.repos.clone();
    for (org, without) in &users.orgs {
        let listed = client.get_repos(org).await;
        let listed = listed.with_context(|| format!("cannot list the repositories of {org}"))?;
        let names = listed.into_iter().filter(|r| !r.archived).map(|r| format!("{org}/{}", r.name));
        repos.extend(names.filter(|name| !without.contains(name)));
    }
    let mut out = Vec::new();
    for repo in repos {
        let Some((org, name)) = repo.split_once('/') else { continue };
        match client.get_file(org, name, "OWNERS", "").await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => out.push(check::no_owners(plugins, &repo)),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot ask for the OWNERS file of {repo}"));
            }
        }
    }
    Ok(out)
}

/// Where the GitHub App is installed, as it says itself.
async fn installations(args: &Args) -> anyhow::Result<Vec<String>> {
    let (Some(id), Some(path)) = (&args.github_app_id, &args.github_app_private_key_path) else {
        bail!(
            "the warning {} needs a GitHub App: give --github-app-id and --github-app-private-key-path, or \
             --exclude-warning {0}",
            check::GITHUB_APP_INSTALLATION
        );
    };
    let pem =
        std::fs::read(path).with_context(|| format!("cannot read the App's key from {}", path.display()))?;
    let token = AppKey::from_pem(id, &pem)?.token_source(SystemClock.now())?;
    let listed = args.github.client_with(token)?.list_app_installations().await;
    listed.with_context(|| format!("cannot list where GitHub App {id} is installed"))
}

/// Annotations name files from the top of the checkout, wherever they were reached from.
fn below_the_checkout(findings: &mut [Finding]) {
    let here = std::env::current_dir().unwrap_or_default();
    let top = std::env::var_os("GITHUB_WORKSPACE").map_or_else(|| top_of(&here), PathBuf::from);
    for finding in findings.iter_mut().filter(|f| !f.file.is_empty()) {
        let path = std::path::absolute(here.join(finding.file.as_ref()));
        if let Some(below) = path.ok().as_deref().and_then(|p| p.strip_prefix(&top).ok()) {
            finding.file = below.to_string_lossy().into();
        }
    }
}

/// The work tree that a directory is in; itself outside of any.
fn top_of(here: &Path) -> PathBuf {
    here.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(here).to_owned()
}
