//! What a new snapshot changes: jobs that appear, vanish or become different, by name, and keys that it changes in vain.

use crate::diagnostic::Diagnostic;
use crate::jobs::{JobBase, JobList, Jobs, Periodic, Postsubmit, Presubmit, Source};
use crate::snapshot::Snapshot;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// A job's place in the configuration: kind, repository (empty for periodics) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    /// presubmit, postsubmit or periodic.
    pub kind: &'static str,
    /// `org/repo`; empty for periodics.
    pub repo: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repo.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            repo => write!(f, "{} {} of {repo}", self.kind, self.name),
        }
    }
}

/// The difference between two snapshots' jobs. Where a file a job was written in moved, the job is the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobChanges {
    /// Only in the new one.
    pub added: Vec<JobId>,
    /// Only in the old one.
    pub removed: Vec<JobId>,
    /// In both, and not the same.
    pub altered: Vec<JobId>,
}

impl JobChanges {
    /// No job is touched.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.altered.is_empty()
    }

    /// What `new` changes in `old`.
    pub fn between(old: &Snapshot, new: &Snapshot) -> JobChanges {
        let (old, new) = (index(&old.jobs, &new.jobs), index(&new.jobs, &old.jobs));
        let mut out = JobChanges::default();
        for (id, jobs) in &old {
            match new.get(id) {
                None => out.removed.push(id.clone()),
                Some(others) => {
                    let equal =
                        jobs.len() == others.len() && jobs.iter().zip(others).all(|(a, b)| same(a, b));
                    if !equal {
                        out.altered.push(id.clone());
                    }
                }
            }
        }
        out.added = new.into_keys().filter(|id| !old.contains_key(id)).collect();
        out
    }
}

#[derive(Clone, Copy)]
enum Job<'j> {
    Presubmit(&'j Presubmit),
    Postsubmit(&'j Postsubmit),
    Periodic(&'j Periodic),
}

/// Equal apart from where they were written.
fn same(a: &Job<'_>, b: &Job<'_>) -> bool {
    fn same<J: Clone + PartialEq>(a: &J, b: &J, base: impl Fn(&mut J) -> &mut JobBase) -> bool {
        if a == b {
            return true;
        }
        let (mut a, mut b) = (a.clone(), b.clone());
        base(&mut a).source = Source::default();
        base(&mut b).source = Source::default();
        a == b
    }
    match (a, b) {
        (Job::Presubmit(a), Job::Presubmit(b)) => same(*a, *b, |j| &mut j.base),
        (Job::Postsubmit(a), Job::Postsubmit(b)) => same(*a, *b, |j| &mut j.base),
        (Job::Periodic(a), Job::Periodic(b)) => same(*a, *b, |j| &mut j.base),
        _ => false,
    }
}

/// Every job by its place, but for lists that both snapshots share; several jobs of one name (on branches that do not
/// meet) together.
fn index<'j>(jobs: &'j Jobs, other: &Jobs) -> BTreeMap<JobId, Vec<Job<'j>>> {
    fn shared<T>(list: &JobList<T>, other: Option<&JobList<T>>) -> bool {
        other.is_some_and(|other| other.is(list))
    }
    let mut out: BTreeMap<JobId, Vec<Job<'_>>> = BTreeMap::new();
    let mut put = |kind, repo: &str, base: &JobBase, job| {
        let id = JobId { kind, repo: repo.to_owned(), name: base.name.clone() };
        out.entry(id).or_default().push(job);
    };
    for (repo, list) in jobs.presubmits.iter().filter(|(repo, l)| !shared(l, other.presubmits.get(*repo))) {
        list.iter().for_each(|j| put("presubmit", repo, &j.base, Job::Presubmit(j)));
    }
    for (repo, list) in jobs.postsubmits.iter().filter(|(repo, l)| !shared(l, other.postsubmits.get(*repo))) {
        list.iter().for_each(|j| put("postsubmit", repo, &j.base, Job::Postsubmit(j)));
    }
    let others: HashSet<*const Periodic> = other.periodics.lists().iter().map(|list| list.as_ptr()).collect();
    let own = jobs.periodics.lists().iter().filter(|list| !others.contains(&list.as_ptr()));
    own.flatten().for_each(|j| put("periodic", "", &j.base, Job::Periodic(j)));
    out
}

/// Keys of config.yaml that are read once, when Prow starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct StartOnly {
    prowjob_namespace: String,
    pod_namespace: String,
    disabled_clusters: Vec<String>,
}

impl StartOnly {
    pub(crate) fn of(snapshot: &Snapshot) -> StartOnly {
        let prow = &snapshot.prow;
        StartOnly {
            prowjob_namespace: prow.prowjob_namespace.clone(),
            pod_namespace: prow.pod_namespace.clone(),
            disabled_clusters: prow.disabled_clusters.clone(),
        }
    }

    /// A warning for each key that is not what it was at the start: it takes a restart to mean anything.
    pub(crate) fn changed_in(&self, new: &Snapshot) -> Vec<Diagnostic> {
        let new = StartOnly::of(new);
        let texts = |s: &StartOnly| {
            [
                ("prowjob_namespace", format!("{:?}", s.prowjob_namespace)),
                ("pod_namespace", format!("{:?}", s.pod_namespace)),
                ("disabled_clusters", format!("{:?}", s.disabled_clusters)),
            ]
        };
        let pairs = texts(self).into_iter().zip(texts(&new)).filter(|(old, new)| old != new);
        let warning = |((key, old), (_, new)): ((&'static str, String), (&str, String))| {
            Diagnostic::warning(format!(
                "it was {old} when Prow started and is {new} now; this key cannot change at run time"
            ))
            .under(key)
            .suggest("restart Prow's components")
        };
        pairs.map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(jobs: Jobs) -> Snapshot {
        Snapshot { jobs, ..Snapshot::default() }
    }

    fn periodic(name: &str, cron: &str, line: u32) -> Periodic {
        let base =
            JobBase { name: name.into(), source: Source { line, ..Source::default() }, ..JobBase::default() };
        Periodic { base, cron: cron.into(), ..Periodic::default() }
    }

    #[test]
    fn jobs_appear_vanish_and_change_but_do_not_by_moving() {
        let presubmit =
            Presubmit { base: JobBase { name: "p".into(), ..JobBase::default() }, ..Presubmit::default() };
        let old = snapshot(Jobs {
            periodics: vec![periodic("moved", "a", 1), periodic("changed", "a", 2), periodic("gone", "a", 3)]
                .into(),
            ..Jobs::default()
        });
        let new = snapshot(Jobs {
            periodics: vec![periodic("changed", "b", 2), periodic("moved", "a", 9)].into(),
            presubmits: BTreeMap::from([("o/r".to_owned(), vec![presubmit].into())]),
            ..Jobs::default()
        });
        let changes = JobChanges::between(&old, &new);
        let names = |list: &[JobId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&changes.added), ["presubmit p of o/r"]);
        assert_eq!(names(&changes.removed), ["periodic gone"]);
        assert_eq!(names(&changes.altered), ["periodic changed"]);
        assert!(JobChanges::between(&old, &old).is_empty());
    }

    #[test]
    fn keys_that_are_read_at_the_start_are_told_when_they_change() {
        let mut new = Snapshot::default();
        let started = StartOnly::of(&new);
        assert!(started.changed_in(&new).is_empty());
        new.prow.pod_namespace = "other".into();
        new.prow.tide.max_goroutines = 99;
        let told: Vec<String> = started.changed_in(&new).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("pod_namespace: it was \"default\"") && told[0].contains("restart"));
    }
}
