//! What `prow run` is to run: a configured job on refs that are found out, or the ProwJob of a finished run.

use super::Args;
use super::checkout::{self, Checkout};
use crate::datadir::Scratch;
use crate::flags;
use crate::wanted::{Found, Given, find as find_job, of_branch, split};
use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{EnvVar, HostPathVolumeSource, Pod, Volume, VolumeMount};
use prow_api::ProwJob;
use prow_api::prowjob::{JobType, ProwJobSpec};
use prow_api::refs::{Pull, Refs};
use prow_job::build;
use prow_service::clock::{Clock, SystemClock};
use prow_storage::{BucketUrl, Opener, StorageOptions};
use std::path::Path;

/// A ProwJob is small; a page that is not one need not be read to its end.
const LIMIT: u64 = 16 << 20;
/// Where clonerefs finds the snapshots of local checkouts.
const IN_POD: &str = "/prow-run/checkouts";

/// What is to be run.
pub struct Subject {
    /// Its name is new; it is in no API.
    pub job: ProwJob,
    /// Where its Pod goes.
    pub namespace: String,
    /// Snapshots that are cloned from.
    pub checkouts: Vec<Checkout>,
}

impl Subject {
    /// What runs, and on what, for people.
    pub fn title(&self) -> String {
        let spec = &self.job.spec;
        match spec.refs.as_ref().or(spec.extra_refs.first()) {
            Some(refs) => format!("running {} {} on {}", spec.job_type, spec.job, on(refs)),
            None => format!("running {} {}", spec.job_type, spec.job),
        }
    }
}

fn on(refs: &Refs) -> String {
    let short = |sha: &str| sha.get(..8).unwrap_or(sha).to_owned();
    let mut text = format!("{}/{} {}", refs.org, refs.repo, refs.base_ref);
    if !refs.base_sha.is_empty() {
        text.push_str(&format!(" at {}", short(&refs.base_sha)));
    }
    for pull in &refs.pulls {
        let number = if pull.number == 0 { "this checkout".to_owned() } else { format!("#{}", pull.number) };
        text.push_str(&format!(" with {number} at {}", short(&pull.sha)));
    }
    text
}

/// Finds it.
pub async fn find(args: &Args, scratch: &Scratch) -> anyhow::Result<Subject> {
    let name = uuid::Uuid::new_v4().to_string();
    let now = SystemClock.now();
    let mut paths = Paths::parse(&args.path)?;
    if args.from_url.is_some() || args.from_file.is_some() {
        refuse_refs(args)?;
        let old = read(args).await?;
        if old.spec.pod_spec.is_none() {
            bail!(
                "this ProwJob of job {:?} has no pod_spec: only jobs of the kubernetes agent can be run",
                old.spec.job
            );
        }
        let mut spec = old.spec;
        let checkouts = paths.replace(&mut spec, scratch).await?;
        let empty = Default::default();
        let labels = old.metadata.labels.as_ref().unwrap_or(&empty);
        let annotations = old.metadata.annotations.as_ref().unwrap_or(&empty);
        let job = build::new_prowjob(spec, labels, annotations, &name, "", now, false);
        return Ok(Subject { job, namespace: "default".to_owned(), checkouts });
    }
    let snapshot = args.config.load(None)?;
    let wanted = args.job.as_deref().unwrap_or_default();
    let mut found = find_job(&snapshot, wanted)?;
    if let Some(repo) = &args.repo {
        found.retain(|job| matches!(job, Found::Pre(r, _) | Found::Post(r, _) if r == repo));
        if found.is_empty() {
            bail!("repository {repo} has no presubmit or postsubmit that is called {wanted:?}");
        }
    }
    let refs = match &found[0] {
        Found::Pre(repo, _) => presubmit_refs(args, repo, &mut paths, scratch).await?,
        Found::Post(repo, _) => postsubmit_refs(args, repo, &mut paths, scratch).await?,
        Found::Per(_) => {
            refuse_refs(args).context("a periodic runs on what its extra_refs say")?;
            Refs::default()
        }
    };
    let found = of_branch("run", found, &refs.base_ref);
    let base = found.base();
    let mut spec = found.spec(refs);
    let checkouts = paths.replace(&mut spec, scratch).await?;
    let job = build::new_prowjob(spec, &base.labels, &base.annotations, &name, "", now, false);
    Ok(Subject { job, namespace: snapshot.prow.pod_namespace.clone(), checkouts })
}

/// Flags about refs, where the refs are settled.
fn refuse_refs(args: &Args) -> anyhow::Result<()> {
    let given = [
        ("--pr", args.pr.is_some()),
        ("--base-ref", args.base_ref.is_some()),
        ("--base-sha", args.base_sha.is_some()),
        ("--pull-sha", args.pull_sha.is_some()),
        ("--repo", args.repo.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => bail!("the refs of this run are settled: leave {flag} out"),
        None => Ok(()),
    }
}

async fn presubmit_refs(
    args: &Args,
    repo: &str,
    paths: &mut Paths,
    scratch: &Scratch,
) -> anyhow::Result<Refs> {
    let (org, name) = split(repo);
    let text = |given: &Option<String>| given.clone().unwrap_or_default();
    if let Some(dir) = paths.take(repo) {
        if args.pull_sha.is_some() || args.base_sha.is_some() {
            bail!("--path says what is tested: leave --pull-sha and --base-sha out");
        }
        let (checkout, mut refs) =
            checkout::of_pull(Path::new(&dir), args.base_ref.as_deref(), scratch).await?;
        org.clone_into(&mut refs.org);
        name.clone_into(&mut refs.repo);
        refs.pulls.iter_mut().for_each(|p| p.number = args.pr.unwrap_or_default());
        refs.clone_uri = uri(paths.taken.len());
        paths.taken.push(checkout);
        return Ok(refs);
    }
    let Some(number) = args.pr else {
        bail!("a presubmit tests a pull request: give --pr, or --path for what is in a checkout");
    };
    if let (Some(base_ref), Some(base_sha), Some(sha)) = (&args.base_ref, &args.base_sha, &args.pull_sha) {
        return Ok(Refs {
            base_ref: base_ref.clone(),
            base_sha: base_sha.clone(),
            org: org.to_owned(),
            repo: name.to_owned(),
            pulls: vec![Pull { number, sha: sha.clone(), ..Pull::default() }],
            ..Refs::default()
        });
    }
    let github = args.github.client()?;
    let hint = "--base-ref, --base-sha and --pull-sha together make that unnecessary";
    let pr = github
        .get_pull_request(org, name, number)
        .await
        .with_context(|| format!("cannot fetch pull request {repo}#{number} ({hint})"))?;
    let base_ref = args.base_ref.clone().unwrap_or_else(|| pr.base.r#ref.clone());
    let base_sha = match &args.base_sha {
        Some(sha) => sha.clone(),
        None => github
            .get_ref(org, name, &format!("heads/{base_ref}"))
            .await
            .with_context(|| format!("cannot fetch the commit of branch {base_ref} of {repo} ({hint})"))?,
    };
    let head_sha = if args.pull_sha.is_some() { text(&args.pull_sha) } else { pr.head.sha };
    Ok(build::pull_request_refs(&build::PullRequest {
        org: org.to_owned(),
        repo: name.to_owned(),
        repo_link: pr.base.repo.html_url,
        base_ref,
        base_sha,
        number,
        author: pr.user.login,
        author_link: pr.user.html_url,
        head_sha,
        head_ref: pr.head.r#ref,
        title: pr.title,
        link: pr.html_url,
    }))
}

async fn postsubmit_refs(
    args: &Args,
    repo: &str,
    paths: &mut Paths,
    scratch: &Scratch,
) -> anyhow::Result<Refs> {
    if args.pr.is_some() || args.pull_sha.is_some() {
        bail!("this is a postsubmit: it runs on a branch, not on a pull request; give --base-ref instead");
    }
    let (org, name) = split(repo);
    if let Some(dir) = paths.take(repo) {
        if args.base_sha.is_some() {
            bail!("--path says what is tested: leave --base-sha out");
        }
        let checkout = checkout::snapshot(Path::new(&dir), scratch).await?;
        let refs = Refs {
            org: org.to_owned(),
            repo: name.to_owned(),
            base_ref: args.base_ref.clone().unwrap_or_else(|| checkout.branch.clone()),
            base_sha: checkout.sha.clone(),
            clone_uri: uri(paths.taken.len()),
            ..Refs::default()
        };
        paths.taken.push(checkout);
        return Ok(refs);
    }
    let given = Given {
        base_ref: args.base_ref.clone().unwrap_or_default(),
        base_sha: args.base_sha.clone().unwrap_or_default(),
        ..Given::default()
    };
    given.refs(&args.github, repo, false).await
}

/// What `--path` says.
struct Paths {
    /// Repository, empty for the job's own, and directory.
    open: Vec<(String, String)>,
    /// Snapshots made so far, in the order of their URIs.
    taken: Vec<Checkout>,
}

impl Paths {
    fn parse(values: &[String]) -> anyhow::Result<Paths> {
        let mut open = Vec::new();
        for value in values {
            // A directory may have a '=' in its name, a repository may not.
            let (repo, dir) = match value.split_once('=') {
                Some((repo, dir)) if repo.contains('/') && !Path::new(value).exists() => (repo, dir),
                _ => ("", value.as_str()),
            };
            if !Path::new(dir).is_dir() {
                bail!("--path {value}: {dir} is not a directory");
            }
            open.push((repo.to_owned(), dir.to_owned()));
        }
        Ok(Paths { open, taken: Vec::new() })
    }

    /// The directory for the job's own repository.
    fn take(&mut self, repo: &str) -> Option<String> {
        let at = self.open.iter().position(|(r, _)| r.is_empty() || r == repo)?;
        Some(self.open.remove(at).1)
    }

    /// Puts snapshots in the place of what the refs name; all of `--path` has to find its place.
    async fn replace(&mut self, spec: &mut ProwJobSpec, scratch: &Scratch) -> anyhow::Result<Vec<Checkout>> {
        let mut all: Vec<&mut Refs> = spec.refs.iter_mut().chain(&mut spec.extra_refs).collect();
        // Those of the job's own refs come first in the order of URIs.
        let first = self.taken.len();
        let mut made = Vec::new();
        for (repo, dir) in std::mem::take(&mut self.open) {
            let is_meant = |r: &Refs| repo.is_empty() || format!("{}/{}", r.org, r.repo) == repo;
            let Some(refs) = all.iter_mut().find(|r| is_meant(r)) else {
                bail!("--path {dir}: the job clones no repository {repo}");
            };
            let checkout = checkout::snapshot(Path::new(&dir), scratch).await?;
            refs.clone_uri = uri(first + made.len());
            refs.base_sha.clone_from(&checkout.sha);
            // What a repeated run tested is what the checkout has instead.
            refs.pulls.clear();
            made.push(checkout);
        }
        if spec.job_type == JobType::Presubmit
            && let Some(refs) = &mut spec.refs
            && refs.pulls.is_empty()
        {
            refs.pulls.push(Pull { sha: refs.base_sha.clone(), ..Pull::default() });
        }
        let mut taken = std::mem::take(&mut self.taken);
        taken.append(&mut made);
        Ok(taken)
    }
}

fn uri(index: usize) -> String {
    format!("file://{IN_POD}/{index}")
}

/// Lets clonerefs see the snapshots. They belong to somebody else than it runs as, which git minds unless told.
pub fn mount_checkouts(pod: &mut Pod, checkouts: &[Checkout]) -> anyhow::Result<()> {
    let Some(spec) = pod.spec.as_mut().filter(|_| !checkouts.is_empty()) else { return Ok(()) };
    let inits = spec.init_containers.iter_mut().flatten();
    let Some(clonerefs) = inits.into_iter().find(|c| c.name == "clonerefs") else {
        bail!("--path: this job clones nothing, so a checkout has no place in it");
    };
    for (index, checkout) in checkouts.iter().enumerate() {
        let name = format!("prow-run-checkout-{index}");
        let path =
            checkout.directory.to_str().context("the temporary directory's name is not UTF-8")?.to_owned();
        spec.volumes.get_or_insert_default().push(Volume {
            name: name.clone(),
            host_path: Some(HostPathVolumeSource { path, type_: None }),
            ..Volume::default()
        });
        clonerefs.volume_mounts.get_or_insert_default().push(VolumeMount {
            name,
            mount_path: format!("{IN_POD}/{index}"),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    clonerefs.env.get_or_insert_default().push(EnvVar {
        name: "GIT_CONFIG_GLOBAL".to_owned(),
        value: Some(format!("{IN_POD}/0/{}", checkout::TRUST)),
        value_from: None,
    });
    Ok(())
}

async fn read(args: &Args) -> anyhow::Result<ProwJob> {
    let (name, bytes) = match (&args.from_url, &args.from_file) {
        (Some(url), _) => (url.clone(), fetch(url).await?),
        (None, Some(path)) => (path.display().to_string(), flags::read("the ProwJob", path)?),
        (None, None) => bail!("give --from-url or --from-file"),
    };
    let (job, _) = prow_config::yaml::read::<ProwJob>(&name, bytes)
        .with_context(|| format!("{name} is not a ProwJob"))?;
    if job.spec.job.is_empty() {
        bail!("{name} is not a ProwJob: it has no spec.job");
    }
    Ok(job)
}

async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let what = || format!("cannot fetch {url}");
    let object = object_url(url);
    if let Some((bucket, name)) = bucket_and_name(&object) {
        let bucket = Opener::new(StorageOptions::default()).open(&BucketUrl::parse(&bucket)?)?;
        return Ok(bucket
            .get_bytes(&name, LIMIT)
            .await
            .with_context(|| format!("cannot fetch {object}"))?
            .to_vec());
    }
    let client = reqwest::Client::builder().build().with_context(what)?;
    let answer =
        client.get(url).send().await.and_then(reqwest::Response::error_for_status).with_context(what)?;
    let mut answer = answer;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(what)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > LIMIT {
            bail!("cannot fetch {url}: it is larger than any ProwJob");
        }
    }
    Ok(bytes)
}

/// A run's prowjob.json, from its own URL, its directory's, or that of Deck's page about the run.
fn object_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let view = url.split_once("/view/").filter(|_| url.starts_with("http"));
    let at = match view.and_then(|(_, rest)| rest.split_once('/')) {
        Some(("gs" | "gcs", rest)) => format!("gs://{rest}"),
        Some(("s3", rest)) => format!("s3://{rest}"),
        Some(("file", rest)) => format!("file:///{rest}"),
        _ => url.to_owned(),
    };
    let at = at.split(['?', '#']).next().unwrap_or_default().to_owned();
    if at.starts_with("http") || [".json", ".yaml"].iter().any(|e| at.ends_with(e)) {
        return if at.starts_with("http") { url.to_owned() } else { at };
    }
    format!("{at}/prowjob.json")
}

/// Bucket URL and object name; `None` for what is not in a bucket.
fn bucket_and_name(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (bucket, name) = match scheme {
        "gs" | "s3" => rest.split_once('/')?,
        "file" => rest.rsplit_once('/')?,
        _ => return None,
    };
    Some((format!("{scheme}://{bucket}"), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_prowjob_is_found_from_any_of_its_addresses() {
        for (url, want) in [
            ("gs://b/logs/j/1/prowjob.json", "gs://b/logs/j/1/prowjob.json"),
            ("gs://b/logs/j/1/", "gs://b/logs/j/1/prowjob.json"),
            ("https://deck/view/gs/b/logs/j/1", "gs://b/logs/j/1/prowjob.json"),
            ("https://deck/view/gcs/b/logs/j/1?x#y", "gs://b/logs/j/1/prowjob.json"),
            ("https://deck/prow/view/s3/b/logs/j/1", "s3://b/logs/j/1/prowjob.json"),
            ("https://deck/prowjob?prowjob=abc", "https://deck/prowjob?prowjob=abc"),
            ("file:///dir/1", "file:///dir/1/prowjob.json"),
        ] {
            assert_eq!(object_url(url), want, "{url}");
        }
        let split = |url| bucket_and_name(url).unwrap();
        assert_eq!(split("gs://b/l/p.json"), ("gs://b".into(), "l/p.json".into()));
        assert_eq!(split("file:///d/1/p.json"), ("file:///d/1".into(), "p.json".into()));
        assert_eq!(bucket_and_name("https://x/y"), None);
    }
}
