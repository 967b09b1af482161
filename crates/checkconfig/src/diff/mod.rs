//! What a change to a configuration changes: jobs that appear, vanish, are renamed or change, how their Pods would
//! differ, and which settings differ.
//!
//! Jobs that change in the same way are one [`Group`]: a new default for all jobs is one thing to read, not thousands.

mod fields;
mod job;
mod lines;
pub mod markdown;
mod pod;
pub mod text;

pub use fields::Change;
pub use job::JobRef;

use job::{Job, by_id};
use prow_config::{JobChanges, JobId, Snapshot, golden};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The difference between two configurations.
#[derive(Debug, Default, Serialize)]
pub struct Changes {
    /// Jobs that are only in the new one.
    pub added: Vec<JobRef>,
    /// Jobs that are only in the old one.
    pub removed: Vec<JobRef>,
    /// Jobs that are the same but for their name.
    pub renamed: Vec<Renamed>,
    /// Jobs that are in both and differ; those that differ in the same way together.
    pub changed: Vec<Group>,
    /// Keys of config.yaml that differ.
    pub config: Vec<Section>,
    /// Keys of plugins.yaml that differ.
    pub plugins: Vec<Section>,
}

/// A job with a new name.
#[derive(Debug, Serialize)]
pub struct Renamed {
    /// As it was.
    pub old: JobRef,
    /// As it is now.
    pub new: JobRef,
}

/// Jobs that change in the same way.
#[derive(Debug, Serialize)]
pub struct Group {
    /// The jobs, at least one, as they are now.
    pub jobs: Vec<JobRef>,
    /// Keys of the job that differ, without those that are the Pod's as they are.
    pub changes: Vec<Change>,
    /// How their Pods would differ; nothing if they would not.
    pub pod: Option<PodChange>,
}

/// How a Pod would differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PodChange {
    /// Fields of the Pod that differ.
    pub changes: Vec<Change>,
    /// A unified diff of the Pod's YAML, made for the first job of the group; each hunk names the field it begins in.
    /// Options and JOB_SPEC, which are JSON in one variable, are laid out as YAML, JOB_SPEC without the decoration.
    pub diff: String,
}

/// A top-level key that differs.
#[derive(Debug, Serialize)]
pub struct Section {
    /// The key.
    pub key: String,
    /// What differs below it.
    pub changes: Vec<Change>,
}

impl Changes {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.renamed.is_empty()
            && self.changed.is_empty()
            && self.config.is_empty()
            && self.plugins.is_empty()
    }

    /// One line: how much of what.
    pub fn summary(&self) -> String {
        let changed: usize = self.changed.iter().map(|g| g.jobs.len()).sum();
        let mut parts = Vec::new();
        for (n, what) in [
            (self.added.len(), "added"),
            (self.removed.len(), "removed"),
            (self.renamed.len(), "renamed"),
            (changed, "changed"),
        ] {
            if n > 0 {
                let n = if parts.is_empty() { crate::text::count(n, "job") } else { n.to_string() };
                parts.push(format!("{n} {what}"));
            }
        }
        if self.changed.len() > 1 && changed > self.changed.len() {
            let last = parts.pop().unwrap_or_default();
            parts.push(format!("{last} in {} ways", self.changed.len()));
        }
        for (file, sections) in [("config.yaml", &self.config), ("plugins.yaml", &self.plugins)] {
            let keys: Vec<&str> = sections.iter().map(|s| s.key.as_str()).collect();
            if !keys.is_empty() {
                parts.push(format!("{} of {file}", crate::text::list(&keys)));
            }
        }
        if parts.is_empty() { "nothing changes".to_owned() } else { parts.join(", ") }
    }
}

/// What `new` changes in `old`.
pub fn between(old: &Snapshot, new: &Snapshot) -> Changes {
    let changes = JobChanges::between(old, new);
    let (old_jobs, new_jobs) = (by_id(&old.jobs), by_id(&new.jobs));
    let mut out = Changes::default();
    let mut pairs: Vec<(Job<'_>, Job<'_>)> = Vec::new();
    let mut gone = of(&old_jobs, &changes.removed);
    let mut come = of(&new_jobs, &changes.added);
    for id in &changes.altered {
        let (Some(olds), Some(news)) = (old_jobs.get(id), new_jobs.get(id)) else { continue };
        pair_variants(olds, news, &mut pairs, &mut gone, &mut come);
    }
    out.renamed = renamed(&mut gone, &mut come);
    out.added = come.iter().map(Job::reference).collect();
    out.removed = gone.iter().map(Job::reference).collect();
    out.changed = groups(pairs, old, new);
    out.config = sections(&config_value(old), &config_value(new));
    out.plugins = sections(&value(&old.plugins), &value(&new.plugins));
    out
}

fn of<'s>(jobs: &BTreeMap<JobId, Vec<Job<'s>>>, ids: &[JobId]) -> Vec<Job<'s>> {
    ids.iter().filter_map(|id| jobs.get(id)).flatten().copied().collect()
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// config.yaml without what names the commit it is from.
fn config_value(snapshot: &Snapshot) -> Value {
    let mut value = golden::config_record(&snapshot.prow)["config"].take();
    if let Some(map) = value.as_object_mut() {
        map.remove("config_version_sha");
    }
    value
}

/// Pairs the jobs of one name, of which there may be one for each branch: equal ones are unchanged, then those for
/// the same branches belong together, then in their order.
fn pair_variants<'s>(
    olds: &[Job<'s>],
    news: &[Job<'s>],
    pairs: &mut Vec<(Job<'s>, Job<'s>)>,
    gone: &mut Vec<Job<'s>>,
    come: &mut Vec<Job<'s>>,
) {
    let mut olds: Vec<(Job<'s>, Value)> = olds.iter().map(|j| (*j, j.value())).collect();
    let mut news: Vec<(Job<'s>, Value)> = news.iter().map(|j| (*j, j.value())).collect();
    olds.retain(|(_, old)| match news.iter().position(|(_, new)| new == old) {
        Some(same) => {
            news.remove(same);
            false
        }
        None => true,
    });
    let branches = |value: &Value| (value["branches"].clone(), value["skip_branches"].clone());
    let mut rest = Vec::new();
    for (job, old) in olds {
        match news.iter().position(|(_, new)| branches(new) == branches(&old)) {
            Some(at) => pairs.push((job, news.remove(at).0)),
            None => rest.push(job),
        }
    }
    let mut news = news.into_iter().map(|(job, _)| job);
    for job in rest {
        match news.next() {
            Some(new) => pairs.push((job, new)),
            None => gone.push(job),
        }
    }
    come.extend(news);
}

/// Takes out of `gone` and `come` the jobs that are the same but for their name. A context may have stayed or have
/// followed the name.
fn renamed(gone: &mut Vec<Job<'_>>, come: &mut Vec<Job<'_>>) -> Vec<Renamed> {
    let mut out = Vec::new();
    for context_follows in [false, true] {
        let mut nameless: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, job) in gone.iter().enumerate().rev() {
            nameless.entry(job.nameless(context_follows)).or_default().push(index);
        }
        let mut taken = HashSet::new();
        come.retain(|job| {
            let Some(index) = nameless.get_mut(&job.nameless(context_follows)).and_then(Vec::pop) else {
                return true;
            };
            out.push(Renamed { old: gone[index].reference(), new: job.reference() });
            taken.insert(index);
            false
        });
        let mut index = 0;
        gone.retain(|_| {
            index += 1;
            !taken.contains(&(index - 1))
        });
    }
    out
}

/// Compares each pair, by as many threads as there are processors, and puts those together that differ alike.
fn groups(pairs: Vec<(Job<'_>, Job<'_>)>, old: &Snapshot, new: &Snapshot) -> Vec<Group> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let size = pairs.len().div_ceil(threads).max(1);
    let compared: Vec<Compared> = std::thread::scope(|scope| {
        let compare =
            |chunk: &[(Job<'_>, Job<'_>)]| chunk.iter().map(|(a, b)| compare(a, b, old, new)).collect();
        let workers: Vec<_> = pairs
            .chunks(size)
            .map(|chunk| scope.spawn(move || -> Vec<Compared> { compare(chunk) }))
            .collect();
        let joined = workers.into_iter().map(|w| w.join());
        // A panic of a worker is passed on as it would be without threads.
        joined.flat_map(|w| w.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut out: Vec<(Group, usize)> = Vec::new();
    for (index, compared) in compared.into_iter().enumerate() {
        let job = pairs[index].1.reference();
        let Compared { changes, pod } = compared;
        let key = serde_json::to_string(&(&changes, &pod)).unwrap_or_default();
        match at.get(&key) {
            Some(&group) => out[group].0.jobs.push(job),
            None => {
                at.insert(key, out.len());
                let pod = pod.map(|changes| PodChange { changes, diff: String::new() });
                out.push((Group { jobs: vec![job], changes, pod }, index));
            }
        }
    }
    for (group, first) in &mut out {
        if let Some(pod) = &mut group.pod {
            let (a, b) = &pairs[*first];
            pod.diff = lines::unified(&pod::of(a, old), &pod::of(b, new));
        }
    }
    out.into_iter().map(|(group, _)| group).collect()
}

struct Compared {
    changes: Vec<Change>,
    pod: Option<Vec<Change>>,
}

/// Keys that are the Pod's as they are: its diff shows them.
const IN_POD: [&str; 3] = ["spec", "labels", "annotations"];

fn compare(a: &Job<'_>, b: &Job<'_>, old: &Snapshot, new: &Snapshot) -> Compared {
    let pod = fields::between(&pod::of(a, old), &pod::of(b, new));
    let (mut before, mut after) = (a.value(), b.value());
    if !pod.is_empty() {
        for value in [&mut before, &mut after] {
            if let Some(map) = value.as_object_mut() {
                IN_POD.iter().for_each(|key| drop(map.remove(*key)));
            }
        }
    }
    Compared { changes: fields::between(&before, &after), pod: (!pod.is_empty()).then_some(pod) }
}

fn sections(old: &Value, new: &Value) -> Vec<Section> {
    let mut out: Vec<Section> = Vec::new();
    for change in fields::between(old, new) {
        let end = change.path.find(['.', '[']).unwrap_or(change.path.len());
        let key = &change.path[..end];
        match out.last_mut().filter(|s| s.key == key) {
            Some(section) => section.changes.push(change),
            None => out.push(Section { key: key.to_owned(), changes: vec![change] }),
        }
    }
    out
}

#[cfg(test)]
mod tests;
