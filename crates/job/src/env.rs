//! The environment of a job's containers (prow-config §3, prow-runtime §7.3).

use crate::gojson;
use k8s_openapi::api::core::v1::EnvVar;
use prow_api::jobspec::JobSpec;
use prow_api::options::JOB_SPEC;
use prow_api::prowjob::{JobType, KUBERNETES_AGENT, ProwJob};
use prow_api::refs::Refs;
use std::collections::BTreeMap;

/// Variables by name, raw: [`literal`] makes them safe to write into a Pod.
pub type Env = BTreeMap<String, String>;

/// The variables of `prowjob`'s run with this build id, decorated or not; decoration adds its own two.
///
/// # Errors
/// If JOB_SPEC cannot be written as JSON.
pub fn job_env(prowjob: &ProwJob, build_id: &str) -> Result<Env, serde_json::Error> {
    let spec = &prowjob.spec;
    let job_spec = JobSpec { build_id: build_id.to_owned(), ..JobSpec::of(prowjob) };
    let mut env = Env::new();
    let mut set = |name: &str, value: &str| {
        env.insert(name.to_owned(), value.to_owned());
    };
    set("CI", "true");
    set("JOB_NAME", &spec.job);
    set("JOB_TYPE", spec.job_type.as_str());
    set(JOB_SPEC, &gojson::to_string(&job_spec)?);
    set("BUILD_ID", build_id);
    set("PROW_JOB_ID", prowjob.name());
    if spec.agent == KUBERNETES_AGENT {
        set("BUILD_NUMBER", build_id);
    }
    // Periodics have extra refs at most, and those are not told (§3).
    let Some(refs) = spec.refs.as_ref().filter(|_| spec.job_type != JobType::Periodic) else {
        return Ok(env);
    };
    let (host, base) = source(refs);
    set("REPO_OWNER", &refs.org);
    set("REPO_NAME", &refs.repo);
    set("SRC_HOST", &host);
    set("SRC_BASE", &base);
    set("PULL_BASE_REF", &refs.base_ref);
    set("PULL_BASE_SHA", &refs.base_sha);
    set("PULL_REFS", &refs.refs_string());
    if let (JobType::Presubmit, Some(pull)) = (spec.job_type, refs.pulls.first()) {
        set("PULL_NUMBER", &pull.number.to_string());
        set("PULL_PULL_SHA", &pull.sha);
        set("PULL_HEAD_REF", &pull.head_ref);
        set("PULL_TITLE", &pull.title);
    }
    Ok(env)
}

/// SRC_HOST and SRC_BASE.
fn source(refs: &Refs) -> (String, String) {
    let org_repo = format!("{}/{}", refs.org, refs.repo);
    let link = refs.repo_link.split_once("://").map_or(refs.repo_link.as_str(), |(_, rest)| rest);
    let path = if refs.path_alias.is_empty() { link } else { &refs.path_alias };
    match path.split_once('/') {
        _ if path.is_empty() => ("github.com".to_owned(), org_repo),
        Some((host, base)) => (host.to_owned(), base.to_owned()),
        None => (path.to_owned(), org_repo),
    }
}

/// `value` as the kubelet has to be given it so that the container sees exactly it: the kubelet replaces `$(NAME)` by
/// another variable's value and `$$` by `$`, and a pull request's title must not be able to ask for a secret that
/// way. NUL cannot be in an environment and is left out.
///
/// Upstream writes such values as they are; this is a deliberate difference.
pub fn literal(value: &str) -> String {
    // Nearly all values are as they are, and JOB_SPEC is long.
    if !value.bytes().any(|b| matches!(b, b'$' | 0)) {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len() + 8);
    let mut chars = value.chars().filter(|&c| c != '\0').peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '(')) {
            out.push('$');
        }
    }
    out
}

/// `text` with the references to variables whose value JSON would have to escape replaced by that value, as the
/// kubelet would replace them. The rest is left to the kubelet.
///
/// A decorated container's arguments travel as JSON inside of a variable. Were the kubelet to put a pull request's
/// title in there, a quote in it would end the argument and begin another. Upstream has that hole; closing it is a
/// deliberate difference, and what a job gets for harmless values is the same.
pub(crate) fn with_unsafe_references(text: &str, env: &Env) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match env.get(name).filter(|value| needs_json_escape(value)) {
                Some(value) => {
                    out.pop();
                    out.push_str(&literal(value));
                }
                None => out.push_str(&rest[..name.len() + 2]),
            }
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn needs_json_escape(value: &str) -> bool {
    value.chars().any(|c| matches!(c, '"' | '\\') || c.is_control())
}

/// A variable with this literal value.
pub(crate) fn var(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(literal(value)), value_from: None }
}

/// All variables, sorted by name.
pub(crate) fn vars(env: &Env) -> impl Iterator<Item = EnvVar> + '_ {
    env.iter().map(|(name, value)| var(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::refs::Pull;

    fn job(job_type: JobType) -> ProwJob {
        let mut job = ProwJob::default();
        job.metadata.name = Some("id".into());
        job.spec.job_type = job_type;
        job.spec.job = "unit".into();
        job.spec.agent = "kubernetes".into();
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: "r".into(),
            base_ref: "main".into(),
            base_sha: "b".into(),
            pulls: vec![Pull {
                number: 5,
                sha: "s".into(),
                title: "<&>".into(),
                head_ref: "fix".into(),
                ..Pull::default()
            }],
            ..Refs::default()
        });
        job
    }

    #[test]
    fn variables_by_type() {
        const ALWAYS: &str = "BUILD_ID BUILD_NUMBER CI JOB_NAME JOB_SPEC JOB_TYPE PROW_JOB_ID";
        for (job_type, want) in [
            (JobType::Periodic, ALWAYS.to_owned()),
            (
                JobType::Batch,
                format!(
                    "{ALWAYS} PULL_BASE_REF PULL_BASE_SHA PULL_REFS REPO_NAME REPO_OWNER SRC_BASE SRC_HOST"
                ),
            ),
            (
                JobType::Presubmit,
                format!(
                    "{ALWAYS} PULL_BASE_REF PULL_BASE_SHA PULL_HEAD_REF PULL_NUMBER PULL_PULL_SHA PULL_REFS \
                     PULL_TITLE REPO_NAME REPO_OWNER SRC_BASE SRC_HOST"
                ),
            ),
        ] {
            let mut names: Vec<_> = want.split(' ').collect();
            names.sort_unstable();
            let env = job_env(&job(job_type), "17").unwrap();
            assert_eq!(env.keys().map(String::as_str).collect::<Vec<_>>(), names, "{job_type}");
        }
        let mut jenkins = job(JobType::Periodic);
        jenkins.spec.agent = "jenkins".into();
        assert!(!job_env(&jenkins, "17").unwrap().contains_key("BUILD_NUMBER"));
    }

    #[test]
    fn values() {
        let env = job_env(&job(JobType::Presubmit), "17").unwrap();
        for (name, want) in [
            ("CI", "true"),
            ("BUILD_ID", "17"),
            ("PROW_JOB_ID", "id"),
            ("PULL_REFS", "main:b,5:s"),
            ("PULL_TITLE", "<&>"),
            (
                "JOB_SPEC",
                r#"{"type":"presubmit","job":"unit","buildid":"17","prowjobid":"id","refs":{"org":"o","repo":"r","base_ref":"main","base_sha":"b","pulls":[{"number":5,"author":"","sha":"s","title":"\u003c\u0026\u003e","head_ref":"fix"}]}}"#,
            ),
        ] {
            assert_eq!(env[name], want, "{name}");
        }
    }

    #[test]
    fn where_the_source_is_from() {
        for (alias, link, want) in [
            ("", "", ("github.com", "o/r")),
            ("", "https://ghe.example/x/y", ("ghe.example", "x/y")),
            ("k8s.io/api/v1", "https://ghe.example/x/y", ("k8s.io", "api/v1")),
            ("flat", "", ("flat", "o/r")),
        ] {
            let refs = Refs {
                org: "o".into(),
                repo: "r".into(),
                path_alias: alias.into(),
                repo_link: link.into(),
                ..Refs::default()
            };
            let (host, base) = source(&refs);
            assert_eq!((host.as_str(), base.as_str()), want, "{alias:?} {link:?}");
        }
    }

    #[test]
    fn references_to_values_that_would_break_json_are_resolved_here() {
        let env = Env::from([
            ("TITLE".to_owned(), "x\",\"$(TOKEN)".to_owned()),
            ("BUILD_ID".to_owned(), "17".to_owned()),
        ]);
        for (text, want) in [
            ("--title=$(TITLE)!", "--title=x\",\"$$(TOKEN)!"),
            ("$(BUILD_ID) $(OTHER) $(", "$(BUILD_ID) $(OTHER) $("),
            ("$$(TITLE) $HOME $", "$$(TITLE) $HOME $"),
            ("$$$(TITLE)", "$$x\",\"$$(TOKEN)"),
            ("$(a $(TITLE)", "$(a $(TITLE)"),
        ] {
            assert_eq!(with_unsafe_references(text, &env), want, "{text}");
        }
    }

    #[test]
    fn nothing_is_expanded_by_the_kubelet() {
        for (value, want) in [
            ("plain $HOME $", "plain $HOME $"),
            ("$(TOKEN)", "$$(TOKEN)"),
            ("$$(TOKEN)", "$$$$(TOKEN)"),
            ("a\0$\0(b)", "a$$(b)"),
        ] {
            assert_eq!(literal(value), want);
        }
    }
}
