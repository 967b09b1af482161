//! Where things of a ProwJob are: its page, its history, its repository, its pull requests.

use crate::web::{encode_path, encode_segment, safe_link};
use prow_api::jobspec::JobSpec;
use prow_api::prowjob::{JobType, ProwJob};
use prow_api::{GcsConfiguration, Pull, Refs};
use prow_job::paths::{JobPaths, root, split_bucket};

/// The storage settings of a decorated job.
fn gcs(job: &ProwJob) -> Option<&GcsConfiguration> {
    job.spec.decoration_config.as_deref()?.gcs_configuration.as_ref().filter(|g| !g.bucket.is_empty())
}

/// `<provider>/<bucket>/<path>`, encoded, as all our storage paths begin.
fn storage_path(bucket: &str, path: &str) -> String {
    let (provider, name) = split_bucket(bucket);
    format!("{provider}/{}/{}", encode_path(name.trim_matches('/')), encode_path(path))
}

/// Where the results of a decorated job are, as a storage path.
pub fn results(job: &ProwJob) -> Option<String> {
    let gcs = gcs(job)?;
    let paths = JobPaths::new(&JobSpec::of(job), gcs).ok()?;
    Some(storage_path(&gcs.bucket, &paths.dir))
}

/// The page of a job's run: of its results if it is decorated, of its Pod if it has a build id, else where its
/// status points.
pub fn view(job: &ProwJob) -> Option<String> {
    if let Some(results) = results(job) {
        return Some(format!("/view/{results}"));
    }
    if let Some(url) = safe_link(&job.status.url) {
        return Some(url.to_owned());
    }
    let build = &job.status.build_id;
    (!build.is_empty())
        .then(|| format!("/view/prowjob/{}/{}", encode_path(&job.spec.job), encode_segment(build)))
}

/// All runs of the job, as far as storage has them.
pub fn history(job: &ProwJob) -> Option<String> {
    let root = root(&JobSpec::of(job)).ok()?;
    Some(format!("/job-history/{}", storage_path(&gcs(job)?.bucket, &root)))
}

/// The job's YAML.
pub fn yaml(job: &ProwJob) -> String {
    format!("/prowjob?prowjob={}", encode_segment(job.name()))
}

/// All runs for a pull request.
pub fn pr_history(refs: &Refs, pull: &Pull) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    out.append_pair("org", &refs.org)
        .append_pair("repo", &refs.repo)
        .append_pair("pr", &pull.number.to_string());
    format!("/pr-history/?{}", out.finish())
}

/// The web page of a repository; `github` is `github.link_url`.
pub fn repo(refs: &Refs, github: &str) -> Option<String> {
    if let Some(link) = safe_link(&refs.repo_link) {
        return Some(link.to_owned());
    }
    let link = match refs.org.starts_with("http") {
        true => format!("{}/{}", refs.org.trim_end_matches('/'), encode_path(&refs.repo)),
        false => format!(
            "{}/{}/{}",
            github.trim_end_matches('/'),
            encode_segment(&refs.org),
            encode_path(&refs.repo)
        ),
    };
    safe_link(&link).map(str::to_owned)
}

/// The web page of a pull request.
pub fn pull(refs: &Refs, pull: &Pull, github: &str) -> Option<String> {
    safe_link(&pull.link)
        .map(str::to_owned)
        .or_else(|| Some(format!("{}/pull/{}", repo(refs, github)?, pull.number)))
}

/// The web page of the base commit.
pub fn base(refs: &Refs, github: &str) -> Option<String> {
    if let Some(link) = safe_link(&refs.base_link) {
        return Some(link.to_owned());
    }
    let (kind, what) =
        if refs.base_sha.is_empty() { ("tree", &refs.base_ref) } else { ("commit", &refs.base_sha) };
    (!what.is_empty()).then(|| Some(format!("{}/{kind}/{}", repo(refs, github)?, encode_path(what))))?
}

/// The web page of a pull's head commit.
pub fn head(refs: &Refs, pull: &Pull, github: &str) -> Option<String> {
    safe_link(&pull.commit_link).map(str::to_owned).or_else(|| {
        Some(format!("{}/pull/{}/commits/{}", repo(refs, github)?, pull.number, encode_segment(&pull.sha)))
    })
}

/// Names of the containers whose logs a run has: a single one is called `test`.
pub fn containers(job: &ProwJob) -> Vec<String> {
    let containers = job.spec.pod_spec.as_deref().map_or(&[][..], |pod| &pod.containers);
    match containers {
        [] | [_] => vec!["test".to_owned()],
        several => several.iter().map(|c| c.name.clone()).collect(),
    }
}

/// True if the job is about pull requests.
pub fn is_about_pulls(job: &ProwJob) -> bool {
    matches!(job.spec.job_type, JobType::Presubmit | JobType::Batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::DecorationConfig;

    fn job() -> ProwJob {
        let mut job = ProwJob::default();
        job.metadata.name = Some("uid".into());
        job.spec.job = "a/unit test".into();
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: "r".into(),
            base_ref: "main".into(),
            pulls: vec![Pull { number: 7, sha: "abc".into(), ..Pull::default() }],
            ..Refs::default()
        });
        job
    }

    fn decorated(bucket: &str) -> ProwJob {
        let mut job = job();
        job.status.build_id = "17".into();
        job.spec.decoration_config = Some(Box::new(DecorationConfig {
            gcs_configuration: Some(GcsConfiguration {
                bucket: bucket.into(),
                path_strategy: "explicit".into(),
                ..GcsConfiguration::default()
            }),
            ..DecorationConfig::default()
        }));
        job
    }

    #[test]
    fn the_page_of_a_run() {
        assert_eq!(view(&job()), None);
        let with = |url: &str, build: &str| {
            let mut job = job();
            job.status.url = url.into();
            job.status.build_id = build.into();
            view(&job)
        };
        assert_eq!(with("https://deck/view/x", "1").unwrap(), "https://deck/view/x");
        assert_eq!(with("javascript:alert(1)", "1").unwrap(), "/view/prowjob/a/unit%20test/1");
        assert_eq!(
            view(&decorated("file:///var/b c")).unwrap(),
            "/view/file/var/b%20c/pr-logs/pull/o_r/7/a/unit%20test/17"
        );
        assert_eq!(
            history(&decorated("s3://b/")).unwrap(),
            "/job-history/s3/b/pr-logs/directory/a/unit%20test"
        );
        assert_eq!(history(&job()), None);
    }

    #[test]
    fn pages_of_the_code() {
        let mut refs = job().spec.refs.unwrap();
        let pull_of = |refs: &Refs| pull(refs, &refs.pulls[0], "https://github.com/").unwrap();
        assert_eq!(pull_of(&refs), "https://github.com/o/r/pull/7");
        assert_eq!(
            head(&refs, &refs.pulls[0], "https://github.com").unwrap(),
            "https://github.com/o/r/pull/7/commits/abc"
        );
        assert_eq!(base(&refs, "https://github.com").unwrap(), "https://github.com/o/r/tree/main");
        assert_eq!(pr_history(&refs, &refs.pulls[0]), "/pr-history/?org=o&repo=r&pr=7");
        refs.repo_link = "http://forge/o/r".into();
        refs.base_sha = "b4".into();
        assert_eq!(pull_of(&refs), "http://forge/o/r/pull/7");
        assert_eq!(base(&refs, "").unwrap(), "http://forge/o/r/commit/b4");
        refs.pulls[0].link = "javascript:1".into();
        assert_eq!(pull_of(&refs), "http://forge/o/r/pull/7");
        let gerrit = Refs { org: "https://g.example/".into(), repo: "a/b".into(), ..Refs::default() };
        assert_eq!(repo(&gerrit, "https://github.com").unwrap(), "https://g.example/a/b");
    }
}
