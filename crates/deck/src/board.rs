//! The visible ProwJobs in the order in which they are shown, with the indexes that the list's questions need.
//!
//! Properties:
//! * every question is answered from an index, or by walking the narrowest one that fits; nothing is sorted,
//!   copied or rendered that is not on the page asked for;
//! * it follows the store by its changes, shares the store's objects, and is rebuilt only when the configuration's
//!   rule of what is hidden changes or when it was too slow to follow;
//! * a question asked after the store has seen a change sees that change.

use crate::filter::{Filter, STATES, repos};
use crate::visible::Visibility;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use prow_api::prowjob::{ProwJob, State};
use prow_kube::{Change, Store};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// Where a job stands: newest start first, then by job name; the ProwJob's name makes it unique.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: Reverse<i64>,
    job: Arc<str>,
    name: String,
}

type Key = Arc<Place>;
type Index = BTreeMap<String, BTreeSet<Key>>;

/// Jobs in order, and by what they are asked for.
#[derive(Default)]
pub struct Rows {
    order: BTreeMap<Key, Arc<ProwJob>>,
    places: HashMap<String, Key>,
    by_state: HashMap<State, BTreeSet<Key>>,
    by_repo: Index,
    by_job: BTreeMap<Arc<str>, BTreeSet<Key>>,
    by_author: Index,
    rule: Visibility,
}

/// One page of the list.
#[derive(Debug, Default)]
pub struct Page {
    /// The jobs on it.
    pub jobs: Vec<Arc<ProwJob>>,
    /// How many fit the whole filter.
    pub total: usize,
    /// How many fit the filter without its state, by state, in the order of [`STATES`].
    pub counts: [usize; STATES.len()],
}

impl Rows {
    fn insert(&mut self, job: Arc<ProwJob>) {
        self.remove(job.name());
        if !self.rule.shows(&job) {
            return;
        }
        let start = job.status.start_time.as_ref().or(job.metadata.creation_timestamp.as_ref());
        let job_name = match self.by_job.get_key_value(job.spec.job.as_str()) {
            Some((shared, _)) => Arc::clone(shared),
            None => Arc::from(job.spec.job.as_str()),
        };
        let key: Key = Arc::new(Place {
            start: Reverse(start.map_or(i64::MIN, |t| t.0.as_second())),
            job: Arc::clone(&job_name),
            name: job.name().to_owned(),
        });
        self.by_state.entry(job.status.state).or_default().insert(Arc::clone(&key));
        self.by_job.entry(job_name).or_default().insert(Arc::clone(&key));
        for repo in repos(&job) {
            self.by_repo.entry(repo).or_default().insert(Arc::clone(&key));
        }
        for author in authors(&job) {
            self.by_author.entry(author).or_default().insert(Arc::clone(&key));
        }
        self.places.insert(job.name().to_owned(), Arc::clone(&key));
        self.order.insert(key, job);
    }

    fn remove(&mut self, name: &str) {
        let Some(key) = self.places.remove(name) else { return };
        let Some(job) = self.order.remove(&key) else { return };
        if let Some(keys) = self.by_state.get_mut(&job.status.state) {
            keys.remove(&key);
        }
        if let Some(keys) = self.by_job.get_mut(&key.job) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_job.remove(&key.job);
            }
        }
        for repo in repos(&job) {
            drop_key(&mut self.by_repo, &repo, &key);
        }
        for author in authors(&job) {
            drop_key(&mut self.by_author, &author, &key);
        }
    }

    /// One page of what fits: `size` jobs after the first `skip`.
    pub fn page(&self, filter: &Filter, skip: usize, size: usize) -> Page {
        let counts_of = |rows: &Rows| STATES.map(|s| rows.by_state.get(&s).map_or(0, BTreeSet::len));
        if filter.only_state() {
            let counts = counts_of(self);
            let (jobs, total): (Vec<_>, usize) = match filter.state {
                None => (self.order.values().skip(skip).take(size).cloned().collect(), self.order.len()),
                Some(state) => match self.by_state.get(&state) {
                    Some(keys) => (self.resolve(keys.iter().skip(skip).take(size)), keys.len()),
                    None => (Vec::new(), 0),
                },
            };
            return Page { jobs, total, counts };
        }
        let mut page = Page::default();
        let mut look = |job: &Arc<ProwJob>| {
            if !filter.fits_but_state(job) {
                return;
            }
            let at = STATES.iter().position(|s| *s == job.status.state).unwrap_or_default();
            page.counts[at] += 1;
            if filter.state.is_none_or(|state| state == job.status.state) {
                if page.total >= skip && page.jobs.len() < size {
                    page.jobs.push(Arc::clone(job));
                }
                page.total += 1;
            }
        };
        match self.narrowest(filter) {
            Narrowed::All => self.order.values().for_each(&mut look),
            Narrowed::To(keys) => keys.iter().filter_map(|key| self.order.get(key)).for_each(&mut look),
            Narrowed::Nothing => {}
        }
        page
    }

    fn narrowest(&self, filter: &Filter) -> Narrowed<'_> {
        let mut best: Option<&BTreeSet<Key>> = None;
        let exact_job = if filter.job.contains('*') { "" } else { filter.job.as_str() };
        for (value, found) in [
            (filter.repo.as_str(), self.by_repo.get(&filter.repo)),
            (exact_job, self.by_job.get(exact_job)),
            (filter.author.as_str(), self.by_author.get(&filter.author)),
        ] {
            if value.is_empty() {
                continue;
            }
            match found {
                None => return Narrowed::Nothing,
                Some(keys) if best.is_none_or(|b| keys.len() < b.len()) => best = Some(keys),
                Some(_) => {}
            }
        }
        best.map_or(Narrowed::All, Narrowed::To)
    }

    fn resolve<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> Vec<Arc<ProwJob>> {
        keys.filter_map(|key| self.order.get(key).cloned()).collect()
    }

    /// Names of all jobs with their newest run.
    pub fn newest_of_each_job(&self) -> impl Iterator<Item = (&str, &Arc<ProwJob>)> {
        self.by_job.iter().filter_map(|(job, keys)| Some((job.as_ref(), self.order.get(keys.first()?)?)))
    }

    /// Everything, in order.
    pub fn all(&self) -> Vec<Arc<ProwJob>> {
        self.order.values().cloned().collect()
    }

    /// A ProwJob by its name, if it is shown.
    pub fn get(&self, name: &str) -> Option<Arc<ProwJob>> {
        self.order.get(self.places.get(name)?).cloned()
    }

    /// Words to offer in the filter form, each list sorted and at most `limit` long.
    pub fn suggestions(&self, limit: usize) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        (
            self.by_repo.keys().take(limit).map(String::as_str).collect(),
            self.by_job.keys().take(limit).map(AsRef::as_ref).collect(),
            self.by_author.keys().take(limit).map(String::as_str).collect(),
        )
    }
}

enum Narrowed<'r> {
    All,
    To(&'r BTreeSet<Key>),
    Nothing,
}

fn authors(job: &ProwJob) -> BTreeSet<String> {
    let pulls = job.spec.refs.iter().flat_map(|refs| &refs.pulls);
    pulls.map(|pull| pull.author.clone()).filter(|author| !author.is_empty()).collect()
}

fn drop_key(index: &mut Index, value: &str, key: &Key) {
    if let Some(keys) = index.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(value);
        }
    }
}

/// The board of one Deck.
pub struct Board {
    store: Store<ProwJob>,
    // `None` until the first question.
    changes: Mutex<Option<Receiver<Change>>>,
    rows: RwLock<Rows>,
}

impl Board {
    /// Follows `store`.
    pub fn new(store: Store<ProwJob>) -> Board {
        Board { store, changes: Mutex::new(None), rows: RwLock::new(Rows::default()) }
    }

    /// The rows under this rule, as new as the store.
    pub fn rows(&self, rule: &Visibility) -> RwLockReadGuard<'_, Rows> {
        self.catch_up(rule);
        self.rows.read()
    }

    /// Takes in what changed since the last time.
    pub fn catch_up(&self, rule: &Visibility) {
        let mut changes = self.changes.lock();
        if let Some(receiver) = changes.as_mut()
            && self.rows.read().rule == *rule
            && let Some(names) = drain(receiver)
        {
            if names.is_empty() {
                return;
            }
            let mut rows = self.rows.write();
            for name in names {
                match self.store.get(&name) {
                    Some(job) => rows.insert(job),
                    None => rows.remove(&name),
                }
            }
            return;
        }
        // Listen first, then look: what changes in between is looked at twice, and nothing is missed.
        *changes = Some(self.store.changes());
        let mut fresh = Rows { rule: rule.clone(), ..Rows::default() };
        for job in self.store.all() {
            fresh.insert(job);
        }
        *self.rows.write() = fresh;
    }
}

/// The names that changed, each once; `None` if some were missed.
fn drain(receiver: &mut Receiver<Change>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    loop {
        match receiver.try_recv() {
            Ok(change) => {
                names.insert(change.name);
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(names),
            Err(TryRecvError::Lagged(_)) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Params;
    use prow_api::{Pull, Refs, Time};

    fn job(name: &str, job: &str, repo: &str, author: &str, state: State, start: i64) -> Arc<ProwJob> {
        let mut out = ProwJob::default();
        out.metadata.name = Some(name.into());
        out.spec.job = job.into();
        out.spec.refs = Some(Refs {
            org: "o".into(),
            repo: repo.into(),
            pulls: vec![Pull { number: 1, author: author.into(), ..Pull::default() }],
            ..Refs::default()
        });
        out.status.state = state;
        out.status.build_id = format!("{start}");
        out.status.start_time = Some(Time(jiff::Timestamp::from_second(start).unwrap()));
        Arc::new(out)
    }

    fn rows() -> Rows {
        let mut rows = Rows::default();
        for j in [
            job("a", "unit", "r", "ann", State::Success, 10),
            job("b", "unit", "r", "bob", State::Failure, 30),
            job("c", "lint", "r", "ann", State::Pending, 30),
            job("d", "unit", "s", "ann", State::Success, 20),
        ] {
            rows.insert(j);
        }
        rows
    }

    fn names(rows: &Rows, query: &str, skip: usize, size: usize) -> (String, usize) {
        let filter = Filter::parse(&Params::parse(Some(query))).unwrap();
        let page = rows.page(&filter, skip, size);
        (page.jobs.iter().map(|j| j.name()).collect::<Vec<_>>().concat(), page.total)
    }

    #[test]
    fn pages_are_ordered_filtered_and_counted() {
        let rows = rows();
        for (query, skip, size, expected, total) in [
            ("", 0, 10, "cbda", 4),
            ("", 1, 2, "bd", 4),
            ("", 9, 2, "", 4),
            ("state=success", 0, 1, "d", 2),
            ("state=success", 1, 1, "a", 2),
            ("state=error", 0, 1, "", 0),
            ("repo=o/r", 0, 10, "cba", 3),
            ("repo=o/r&author=ann&state=success", 0, 10, "a", 1),
            ("repo=o/none", 0, 10, "", 0),
            ("job=u*", 1, 1, "d", 3),
            ("job=lint", 0, 1, "c", 1),
            ("author=ann&job=unit", 0, 10, "da", 2),
        ] {
            assert_eq!(names(&rows, query, skip, size), (expected.to_owned(), total), "{query}");
        }
        let filter = Filter { repo: "o/r".into(), state: Some(State::Success), ..Filter::default() };
        let counts = rows.page(&filter, 0, 10).counts;
        // Pending, Triggered, Scheduling, Success, Failure, Error, Aborted
        assert_eq!(counts, [1, 0, 0, 1, 1, 0, 0], "counted without the state");
        assert_eq!(rows.page(&Filter::default(), 0, 0).counts, [1, 0, 0, 2, 1, 0, 0]);
    }

    #[test]
    fn a_changed_job_leaves_no_trace_of_its_old_self() {
        let mut rows = rows();
        rows.insert(job("b", "lint", "s", "eve", State::Success, 5));
        assert_eq!(names(&rows, "", 0, 10).0, "cdab");
        assert_eq!(names(&rows, "author=bob", 0, 10).0, "");
        assert_eq!(names(&rows, "state=failure", 0, 10).1, 0);
        rows.remove("b");
        rows.remove("b");
        for name in ["a", "c", "d"] {
            rows.remove(name);
        }
        assert!(rows.order.is_empty() && rows.places.is_empty() && rows.by_job.is_empty());
        assert!(rows.by_repo.is_empty() && rows.by_author.is_empty());
        assert!(rows.by_state.values().all(BTreeSet::is_empty));
    }

    #[test]
    fn the_newest_run_stands_for_a_job() {
        let rows = rows();
        let newest: Vec<_> =
            rows.newest_of_each_job().map(|(job, run)| (job, run.name().to_owned())).collect();
        assert_eq!(newest, [("lint", "c".to_owned()), ("unit", "b".to_owned())]);
        assert_eq!(rows.get("d").unwrap().spec.job, "unit");
    }

    #[test]
    fn hidden_jobs_are_not_on_the_board() {
        let rule = Visibility { hidden_repos: ["o/r".to_owned()].into(), ..Visibility::default() };
        let mut hidden = Rows { rule, ..Rows::default() };
        for j in rows().all() {
            hidden.insert(j);
        }
        assert_eq!(names(&hidden, "", 0, 10), ("d".to_owned(), 1));
        assert!(hidden.get("a").is_none());
    }
}
