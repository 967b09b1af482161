//! Names of ProwJobs that follow from what caused them (ARCHITECTURE.md, invariant 4), so that handling an event
//! twice meets its own earlier work.

use prow_api::prowjob::{JobType, ProwJobSpec};
use uuid::Uuid;

/// The UUID namespace of ProwJob names; itself a UUIDv5 of `prow.k8s.io` in the DNS namespace.
fn namespace() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"prow.k8s.io")
}

/// The name of the ProwJob for `spec` that the delivery `event_guid` causes.
///
/// It covers the delivery, the job's type and name, and what is tested: repository, base ref, and each pull's number
/// and head. The base commit counts only when there are no pulls: for a pull request it is looked up when the event
/// is handled and may have moved by the time of a replay. Titles, links and settings do not count either.
pub fn prowjob_name(event_guid: &str, spec: &ProwJobSpec) -> String {
    let mut parts = vec!["event", event_guid, spec.job_type.as_str(), &spec.job];
    let numbers: Vec<String>;
    if let Some(refs) = &spec.refs {
        parts.extend([refs.org.as_str(), &refs.repo, &refs.base_ref]);
        if refs.pulls.is_empty() {
            parts.push(&refs.base_sha);
        }
        numbers = refs.pulls.iter().map(|pull| pull.number.to_string()).collect();
        for (number, pull) in numbers.iter().zip(&refs.pulls) {
            parts.extend([number.as_str(), &pull.sha]);
        }
    }
    name(&parts)
}

/// The name of a run of the periodic `job`; `run` is what makes this run unique, such as the time it was due at or
/// the name of the run that it follows.
pub fn periodic_name(job: &str, run: &str) -> String {
    name(&["clock", JobType::Periodic.as_str(), job, run])
}

/// Eight hexadecimal digits that follow from `text`, for names that have to be told apart.
pub(crate) fn short_hash(text: &str) -> String {
    let mut digits = name(&["text", text]);
    digits.truncate(8);
    digits
}

fn name(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        // Each part with its length in front: no two lists of parts give the same bytes.
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&namespace(), &bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::refs::{Pull, Refs};

    fn spec() -> ProwJobSpec {
        ProwJobSpec {
            job: "unit".into(),
            refs: Some(Refs {
                org: "o".into(),
                repo: "r".into(),
                base_ref: "main".into(),
                base_sha: "b".into(),
                pulls: vec![Pull { number: 5, sha: "h".into(), title: "t".into(), ..Pull::default() }],
                ..Refs::default()
            }),
            ..ProwJobSpec::default()
        }
    }

    #[test]
    fn a_replay_gives_the_same_name_though_base_and_title_moved() {
        let first = prowjob_name("guid", &spec());
        let mut later = spec();
        let refs = later.refs.as_mut().unwrap();
        refs.base_sha = "moved".into();
        refs.pulls[0].title = "edited".into();
        later.max_concurrency = 3;
        assert_eq!(prowjob_name("guid", &later), first);
        // The names are in clusters' databases: they must not change between versions.
        assert_eq!(first, "257f3a19-3bee-5025-9902-3ed73fb6d576");
    }

    #[test]
    fn what_differs_is_named_differently() {
        let mut names = vec![prowjob_name("guid", &spec()), prowjob_name("other", &spec())];
        let mut with = |change: &dyn Fn(&mut ProwJobSpec)| {
            let mut spec = spec();
            change(&mut spec);
            names.push(prowjob_name("guid", &spec));
        };
        with(&|s| s.job = "lint".into());
        with(&|s| s.job_type = JobType::Batch);
        with(&|s| s.refs.as_mut().unwrap().base_ref = "dev".into());
        with(&|s| s.refs.as_mut().unwrap().pulls[0].sha = "i".into());
        with(&|s| s.refs.as_mut().unwrap().pulls[0].number = 6);
        with(&|s| s.refs.as_mut().unwrap().pulls.clear());
        with(&|s| {
            let refs = s.refs.as_mut().unwrap();
            refs.pulls.clear();
            refs.base_sha = "c".into();
        });
        with(&|s| s.refs = None);
        names.extend([periodic_name("unit", "2026-01-01T00:00:00Z"), periodic_name("unit", "")]);
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|n| Uuid::parse_str(n).is_ok()));
    }
}
