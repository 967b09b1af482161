//! Lists of jobs that snapshots share: a new snapshot has the old one's lists, but for those that changed.

use crate::jobs::Periodic;
use std::ops::{Deref, Index};
use std::sync::Arc;

/// A list of jobs that is never changed. Clones are the same list.
#[derive(Debug)]
pub struct JobList<T>(Arc<Vec<T>>);

impl<T> JobList<T> {
    /// Whether this is the very same list: then it holds the same jobs.
    pub fn is(&self, other: &JobList<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for JobList<T> {
    fn clone(&self) -> Self {
        JobList(self.0.clone())
    }
}
impl<T> Default for JobList<T> {
    fn default() -> Self {
        JobList(Arc::default())
    }
}
impl<T: PartialEq> PartialEq for JobList<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || self.0 == other.0
    }
}
impl<T> Deref for JobList<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}
impl<T> From<Vec<T>> for JobList<T> {
    fn from(mut list: Vec<T>) -> Self {
        list.shrink_to_fit();
        JobList(Arc::new(list))
    }
}
impl<'l, T> IntoIterator for &'l JobList<T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// All periodics: one list for each file that has some.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Periodics(Vec<JobList<Periodic>>);

impl Periodics {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &Periodic> + Clone {
        self.0.iter().flatten()
    }

    /// The lists of the files.
    pub fn lists(&self) -> &[JobList<Periodic>] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|list| list.len()).sum()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|list| list.is_empty())
    }
}

impl From<Vec<Periodic>> for Periodics {
    fn from(list: Vec<Periodic>) -> Self {
        Periodics(vec![list.into()])
    }
}
impl FromIterator<JobList<Periodic>> for Periodics {
    fn from_iter<I: IntoIterator<Item = JobList<Periodic>>>(lists: I) -> Self {
        Periodics(lists.into_iter().filter(|list| !list.is_empty()).collect())
    }
}
impl<'p> IntoIterator for &'p Periodics {
    type Item = &'p Periodic;
    type IntoIter = std::iter::Flatten<std::slice::Iter<'p, JobList<Periodic>>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().flatten()
    }
}
impl Index<usize> for Periodics {
    type Output = Periodic;

    /// # Panics
    /// If there are not so many.
    fn index(&self, index: usize) -> &Periodic {
        let mut left = index;
        for list in &self.0 {
            match list.get(left) {
                Some(periodic) => return periodic,
                None => left -= list.len(),
            }
        }
        panic!("there are {} periodics, none at {index}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobBase;

    #[test]
    fn periodics_of_many_files_are_one_list() {
        let job = |name: &str| Periodic {
            base: JobBase { name: name.into(), ..JobBase::default() },
            ..Periodic::default()
        };
        let all: Periodics =
            [vec![job("a")], vec![], vec![job("b"), job("c")]].into_iter().map(JobList::from).collect();
        assert_eq!((all.len(), all.is_empty(), all.lists().len()), (3, false, 2));
        assert_eq!((all[0].base.name.as_str(), all[2].base.name.as_str()), ("a", "c"));
        assert_eq!(all.iter().count(), all.into_iter().count());
        let copy = all.clone();
        assert!(copy == all && copy.lists()[1].is(&all.lists()[1]));
    }
}
