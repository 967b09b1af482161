//! Where a run's results go in its bucket (prow-config §1.7, prow-runtime §9): directory, alias and pointers.
//!
//! Job, repository and build names are checked here so that no input climbs out of its directory.

use prow_api::decoration::GcsConfiguration;
use prow_api::jobspec::JobSpec;
use prow_api::prowjob::JobType;
use prow_api::results::LATEST_BUILD_TXT;

/// The places of one run. All are relative to the bucket, without leading or trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPaths {
    /// Everything the run leaves behind; the configuration's `path_prefix` is in front.
    pub dir: String,
    /// From a job and build to the directory; presubmits only.
    pub alias: Option<Alias>,
    /// Objects that hold the newest build's id.
    pub latest_builds: Vec<String>,
}

/// A pointer to a run's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// `pr-logs/directory/<job>/<build>.txt`.
    pub path: String,
    /// URL of the directory; also the object's `link` metadata.
    pub content: String,
}

/// Why a run has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A member that the path is made of is missing.
    #[error(
        "no result path for job {job:?}: its spec has no {what}; the ProwJob is incomplete, create it again"
    )]
    Missing {
        /// Job.
        job: String,
        /// Which member.
        what: &'static str,
    },
    /// The strategy is not one of the three.
    #[error(
        "no result path: path_strategy {0:?} is not known; \
         set gcs_configuration.path_strategy to \"legacy\", \"single\" or \"explicit\""
    )]
    UnknownStrategy(String),
    /// A name would leave its directory or cannot be part of an object's name.
    #[error(
        "no result path: {what} {value:?} contains {problem}, so that results would go astray; rename it"
    )]
    Unsafe {
        /// Which member.
        what: &'static str,
        /// The first 100 characters of its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl JobPaths {
    /// The places of the run that `spec` describes.
    ///
    /// # Errors
    /// See [`PathError`]. The strategy matters for presubmits only.
    pub fn new(spec: &JobSpec, gcs: &GcsConfiguration) -> Result<JobPaths, PathError> {
        let job = job_segment(spec)?;
        if spec.build_id.is_empty() {
            return Err(PathError::Missing { job: spec.job.clone(), what: "build id" });
        }
        let build = segment("build id", &spec.build_id)?;
        let prefix = segments("path_prefix", &gcs.path_prefix)?;
        let root = root(spec)?;
        let mut latest_builds = vec![join(&[&root, LATEST_BUILD_TXT])];
        let mut alias = None;
        let dir = match job_type(spec)? {
            JobType::Periodic | JobType::Postsubmit => join(&[&prefix, "logs", &job, build]),
            JobType::Batch => join(&[&prefix, "pr-logs/pull/batch", &job, build]),
            JobType::Presubmit => {
                let missing = |what| PathError::Missing { job: spec.job.clone(), what };
                let refs = spec.refs.as_ref().ok_or_else(|| missing("refs"))?;
                let pull = refs.pulls.first().ok_or_else(|| missing("pull request"))?;
                let repo = repo_segment(gcs, &refs.org, &refs.repo)?;
                let of_pull = join(&["pr-logs/pull", &repo, &pull.number.to_string(), &job]);
                latest_builds.push(join(&[&of_pull, LATEST_BUILD_TXT]));
                let dir = join(&[&prefix, &of_pull, build]);
                alias = Some(Alias {
                    path: join(&[&root, &format!("{build}.txt")]),
                    content: bucket_url(&gcs.bucket, &dir),
                });
                dir
            }
        };
        Ok(JobPaths { dir, alias, latest_builds })
    }
}

/// The directory of all runs of a job: `logs/<job>`, or for pull requests `pr-logs/directory/<job>`.
///
/// # Errors
/// See [`PathError`].
pub fn root(spec: &JobSpec) -> Result<String, PathError> {
    let job = job_segment(spec)?;
    Ok(match job_type(spec)? {
        JobType::Periodic | JobType::Postsubmit => join(&["logs", &job]),
        JobType::Presubmit | JobType::Batch => join(&["pr-logs/directory", &job]),
    })
}

/// A repository's segment below `pr-logs/pull`; empty for the default repository of `legacy` and `single`.
///
/// # Errors
/// Unknown strategies and unsafe names.
pub fn repo_segment(gcs: &GcsConfiguration, org: &str, repo: &str) -> Result<String, PathError> {
    let is_default_org = org == gcs.default_org;
    let is_default = is_default_org && repo == gcs.default_repo;
    match gcs.path_strategy.as_str() {
        "legacy" | "single" if is_default => return Ok(String::new()),
        "legacy" if is_default_org => return segments("repository", repo),
        "legacy" | "single" | "explicit" => {}
        other => return Err(PathError::UnknownStrategy(other.to_owned())),
    }
    let host = org.strip_prefix("https://").or_else(|| org.strip_prefix("http://")).unwrap_or(org);
    segments("repository", &format!("{}_{}", host.trim_end_matches('/'), repo.replace('/', "_")))
}

/// A bucket's provider (`gs` when it names none), and the rest: bucket name with any path suffix.
/// `file:///dir` gives `("file", "/dir")`.
pub fn split_bucket(bucket: &str) -> (&str, &str) {
    bucket.split_once("://").unwrap_or(("gs", bucket))
}

/// The URL of `path` in `bucket`.
pub fn bucket_url(bucket: &str, path: &str) -> String {
    let (provider, rest) = split_bucket(bucket);
    format!("{provider}://{}/{path}", rest.trim_end_matches('/'))
}

fn job_type(spec: &JobSpec) -> Result<JobType, PathError> {
    spec.job_type.ok_or_else(|| PathError::Missing { job: spec.job.clone(), what: "type" })
}

fn job_segment(spec: &JobSpec) -> Result<String, PathError> {
    let job = segments("job name", &spec.job)?;
    if job.is_empty() {
        return Err(PathError::Missing { job: spec.job.clone(), what: "job name" });
    }
    Ok(job)
}

/// One name: as [`segments`], and without slashes.
fn segment<'a>(what: &'static str, value: &'a str) -> Result<&'a str, PathError> {
    if value.contains('/') {
        return Err(unsafe_name(what, value, "a slash"));
    }
    segments(what, value)?;
    Ok(value)
}

/// A name that may have slashes (Jenkins jobs, prefixes): empty segments vanish, dot segments are refused.
fn segments(what: &'static str, value: &str) -> Result<String, PathError> {
    if value.chars().any(char::is_control) {
        return Err(unsafe_name(what, value, "a control character"));
    }
    if value.split('/').any(|s| s == "." || s == "..") {
        return Err(unsafe_name(what, value, "a \".\" or \"..\" segment"));
    }
    Ok(join(&[value]))
}

fn unsafe_name(what: &'static str, value: &str, problem: &'static str) -> PathError {
    PathError::Unsafe { what, value: value.chars().take(100).collect(), problem }
}

fn join(parts: &[&str]) -> String {
    let mut out = String::new();
    for piece in parts.iter().flat_map(|part| part.split('/')).filter(|piece| !piece.is_empty()) {
        if !out.is_empty() {
            out.push('/');
        }
        out.push_str(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::refs::{Pull, Refs};

    fn spec(job_type: JobType, org: &str, repo: &str) -> JobSpec {
        JobSpec {
            job_type: Some(job_type),
            job: "unit".into(),
            build_id: "17".into(),
            refs: Some(Refs {
                org: org.into(),
                repo: repo.into(),
                pulls: vec![Pull { number: 5, ..Pull::default() }],
                ..Refs::default()
            }),
            ..JobSpec::default()
        }
    }

    fn gcs(strategy: &str) -> GcsConfiguration {
        GcsConfiguration {
            bucket: "b".into(),
            path_strategy: strategy.into(),
            default_org: "k8s".into(),
            default_repo: "k8s".into(),
            ..GcsConfiguration::default()
        }
    }

    #[test]
    fn presubmit_directories_by_strategy() {
        for (strategy, org, repo, want) in [
            ("explicit", "k8s", "k8s", "pr-logs/pull/k8s_k8s/5/unit/17"),
            ("single", "k8s", "k8s", "pr-logs/pull/5/unit/17"),
            ("single", "k8s", "other", "pr-logs/pull/k8s_other/5/unit/17"),
            ("legacy", "k8s", "k8s", "pr-logs/pull/5/unit/17"),
            ("legacy", "k8s", "other", "pr-logs/pull/other/5/unit/17"),
            ("legacy", "o", "r", "pr-logs/pull/o_r/5/unit/17"),
            ("explicit", "https://gerrit.example/", "a/b", "pr-logs/pull/gerrit.example_a_b/5/unit/17"),
        ] {
            let paths = JobPaths::new(&spec(JobType::Presubmit, org, repo), &gcs(strategy)).unwrap();
            assert_eq!(paths.dir, want, "{strategy} {org}/{repo}");
        }
    }

    #[test]
    fn the_prefix_is_on_the_directory_only() {
        let gcs = GcsConfiguration {
            bucket: "s3://b/deep/".into(),
            path_prefix: "/team//x/".into(),
            ..gcs("explicit")
        };
        let paths = JobPaths::new(&spec(JobType::Presubmit, "o", "r"), &gcs).unwrap();
        assert_eq!(paths.dir, "team/x/pr-logs/pull/o_r/5/unit/17");
        assert_eq!(
            paths.alias,
            Some(Alias {
                path: "pr-logs/directory/unit/17.txt".into(),
                content: "s3://b/deep/team/x/pr-logs/pull/o_r/5/unit/17".into()
            })
        );
        assert_eq!(
            paths.latest_builds,
            ["pr-logs/directory/unit/latest-build.txt", "pr-logs/pull/o_r/5/unit/latest-build.txt"]
        );
    }

    #[test]
    fn other_types() {
        for (job_type, dir, latest) in [
            (JobType::Batch, "pr-logs/pull/batch/unit/17", "pr-logs/directory/unit/latest-build.txt"),
            (JobType::Periodic, "logs/unit/17", "logs/unit/latest-build.txt"),
            (JobType::Postsubmit, "logs/unit/17", "logs/unit/latest-build.txt"),
        ] {
            // The strategy is not looked at: an unknown one does no harm.
            let paths = JobPaths::new(&spec(job_type, "o", "r"), &gcs("odd")).unwrap();
            assert_eq!(paths, JobPaths { dir: dir.into(), alias: None, latest_builds: vec![latest.into()] });
        }
    }

    #[test]
    fn nothing_climbs_out() {
        let good = spec(JobType::Presubmit, "o", "r");
        let with = |change: &dyn Fn(&mut JobSpec, &mut GcsConfiguration)| {
            let (mut spec, mut gcs) = (good.clone(), gcs("legacy"));
            change(&mut spec, &mut gcs);
            JobPaths::new(&spec, &gcs).map(|p| p.dir)
        };
        let is_unsafe = |r: Result<String, PathError>| matches!(r, Err(PathError::Unsafe { .. }));
        assert!(is_unsafe(with(&|s, _| s.job = "../../x".into())));
        assert!(is_unsafe(with(&|s, _| s.job = ".".into())));
        assert!(is_unsafe(with(&|s, _| s.job = "a\n".into())));
        assert!(is_unsafe(with(&|s, _| s.build_id = "..".into())));
        assert!(is_unsafe(with(&|s, _| s.build_id = "1/2".into())));
        assert!(is_unsafe(with(&|_, g| g.path_prefix = "a/../..".into())));
        assert!(is_unsafe(with(&|s, g| {
            g.default_org = "o".into();
            s.refs.as_mut().unwrap().repo = "..".into();
        })));
        assert!(matches!(with(&|s, _| s.job = "//".into()), Err(PathError::Missing { .. })));
        assert!(matches!(with(&|s, _| s.build_id = String::new()), Err(PathError::Missing { .. })));
        assert!(matches!(with(&|s, _| s.refs = None), Err(PathError::Missing { .. })));
        assert!(matches!(with(&|_, g| g.path_strategy = "odd".into()), Err(PathError::UnknownStrategy(_))));
        assert_eq!(with(&|s, _| s.job = "folder//job/".into()).unwrap(), "pr-logs/pull/o_r/5/folder/job/17");
    }
}
