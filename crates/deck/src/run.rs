//! One run of a job as its page needs it: what the store knows, what its directory in storage says, and whether it
//! may be shown at all.

use crate::error::DeckError;
use crate::links;
use crate::source::Place;
use crate::state::{Shared, View};
use jiff::Timestamp;
use prow_api::ProwJob;
use prow_api::results::{FINISHED_JSON, Finished, PROWJOB_JSON, STARTED_JSON, Started};
use prow_storage::{Bucket, Listing, StorageError};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Larger JSON files are not read.
const LARGEST_JSON: u64 = 2 << 20;

/// A run.
pub struct Run {
    /// Where its results are; `None` for one that is only known by its ProwJob.
    pub place: Option<(Place, Bucket)>,
    /// The ProwJob: the store's while it is there, else the copy in storage.
    pub job: Option<Arc<ProwJob>>,
    /// True if the ProwJob is the store's.
    pub is_live: bool,
    /// started.json
    pub started: Option<Started>,
    /// finished.json
    pub finished: Option<Finished>,
    /// Its directory.
    pub listing: Listing,
    /// What could not be read, for people.
    pub problems: Vec<String>,
}

impl Run {
    /// Of a ProwJob without results in storage.
    pub fn of_job(job: Arc<ProwJob>) -> Run {
        Run {
            place: None,
            job: Some(job),
            is_live: true,
            started: None,
            finished: None,
            listing: Listing::default(),
            problems: Vec::new(),
        }
    }

    /// Reads what there is. A run that may not be shown is as if it were not there.
    pub async fn load(deck: &Shared, view: &View, place: Place) -> Result<Run, DeckError> {
        let bucket = open(deck, &place)?;
        let known = known(deck, &place);
        let mut problems = Vec::new();
        let (listing, started, finished, stored) = futures::join!(
            bucket.list(&place.key),
            json::<Started>(&bucket, place.below(STARTED_JSON)),
            json::<Finished>(&bucket, place.below(FINISHED_JSON)),
            async {
                match known {
                    Some(_) => Ok(None),
                    None => json::<ProwJob>(&bucket, place.below(PROWJOB_JSON)).await,
                }
            },
        );
        let listing = listing.map_err(|e| DeckError::storage("list the results", e))?;
        let mut noted = |problem: String| problems.push(problem);
        let started = started.unwrap_or_else(|e| (noted(e), None).1);
        let finished = finished.unwrap_or_else(|e| (noted(e), None).1);
        let stored = stored.unwrap_or_else(|e| (noted(e), None).1);
        let is_live = known.is_some();
        let job = known.or_else(|| stored.map(Arc::new));
        if job.as_ref().is_some_and(|job| !view.rule.shows(job)) {
            return Err(nothing_there(&place));
        }
        Ok(Run { place: Some((place, bucket)), job, is_live, started, finished, listing, problems })
    }

    /// True if nothing is known of it.
    pub fn is_nothing(&self) -> bool {
        self.job.is_none() && self.listing.objects.is_empty() && self.listing.prefixes.is_empty()
    }

    /// The job's name.
    pub fn job_name(&self) -> &str {
        match &self.job {
            Some(job) => &job.spec.job,
            None => {
                self.place.as_ref().and_then(|(place, _)| place.key.rsplit('/').nth(1)).unwrap_or_default()
            }
        }
    }

    /// The build id.
    pub fn build_id(&self) -> &str {
        match &self.job {
            Some(job) if !job.status.build_id.is_empty() => &job.status.build_id,
            _ => self.place.as_ref().and_then(|(place, _)| place.key.rsplit('/').next()).unwrap_or_default(),
        }
    }

    /// The word for how it ended, or how far it is.
    pub fn result(&self) -> String {
        match (&self.job, &self.finished) {
            (Some(job), _) if self.is_live && job.complete() => job.status.state.to_string(),
            (_, Some(finished)) => result_of(finished),
            (Some(job), None) => job.status.state.to_string(),
            (None, None) if self.started.is_some() => "pending".to_owned(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// When it began.
    pub fn start(&self) -> Option<Timestamp> {
        let of_job = self.job.as_ref().and_then(|job| job.status.start_time.as_ref()).map(|t| t.0);
        of_job.or_else(|| Timestamp::from_second(self.started.as_ref()?.timestamp).ok())
    }

    /// When it ended.
    pub fn end(&self) -> Option<Timestamp> {
        let of_job = self.job.as_ref().and_then(|job| job.status.completion_time.as_ref()).map(|t| t.0);
        of_job.or_else(|| Timestamp::from_second(self.finished.as_ref()?.timestamp?).ok())
    }

    /// True while it may still change.
    pub fn is_running(&self) -> bool {
        match &self.job {
            Some(job) if self.is_live => !job.complete(),
            _ => self.finished.is_none() && self.started.is_some(),
        }
    }
}

/// The word for a finished.json: its `result`, else what `passed` says.
pub fn result_of(finished: &Finished) -> String {
    match (finished.result.is_empty(), finished.passed) {
        (false, _) => finished.result.to_ascii_lowercase(),
        (true, Some(true)) => "success".to_owned(),
        (true, Some(false)) => "failure".to_owned(),
        (true, None) => "unknown".to_owned(),
    }
}

/// Opens a place's bucket.
pub fn open(deck: &Shared, place: &Place) -> Result<Bucket, DeckError> {
    deck.opener.open(&place.bucket).map_err(|e| DeckError::storage("open the bucket", e))
}

/// Refuses objects of runs that this Deck does not show.
pub async fn check_visible(
    deck: &Shared,
    view: &View,
    bucket: &Bucket,
    place: &Place,
) -> Result<(), DeckError> {
    for directory in run_directories(&place.key) {
        let directory = Place { key: directory.to_owned(), bucket: place.bucket.clone() };
        let job = match known(deck, &directory) {
            Some(job) => Some(job),
            // A copy that cannot be read says nothing of being hidden.
            None => json::<ProwJob>(bucket, directory.below(PROWJOB_JSON)).await.ok().flatten().map(Arc::new),
        };
        if job.is_some_and(|job| !view.rule.shows(&job)) {
            return Err(nothing_there(place));
        }
    }
    Ok(())
}

/// The directories that may be that of the run which an object belongs to: itself, the one it is in, and what lies
/// before any segment `artifacts`, since jobs and their files may be called that.
fn run_directories(key: &str) -> BTreeSet<&str> {
    let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
    let above = key.match_indices("/artifacts").filter(|(at, word)| {
        let rest = &key[at + word.len()..];
        rest.is_empty() || rest.starts_with('/')
    });
    above.map(|(at, _)| &key[..at]).chain([key, parent]).collect()
}

/// What lies before the first segment `artifacts`.
pub fn above_artifacts(key: &str) -> Option<&str> {
    let at = key.find("/artifacts/").or_else(|| key.strip_suffix("/artifacts").map(str::len))?;
    Some(&key[..at])
}

/// The store's ProwJob whose results are at this place.
pub fn known(deck: &Shared, place: &Place) -> Option<Arc<ProwJob>> {
    // A job's name may have slashes: the shortest name that there is such a run of.
    let (path, build) = place.key.rsplit_once('/')?;
    let starts = path.rmatch_indices('/').map(|(at, _)| at + 1).chain([0]);
    starts
        .filter_map(|start| deck.build(&path[start..], build))
        .find(|found| links::results(found).is_some_and(|at| at == place.path()))
}

/// The answer for what is not there, and for what is not shown.
pub fn nothing_there(place: &Place) -> DeckError {
    DeckError::NotFound(format!(
        "There are no results at {}. The job may not have started yet, or its results were deleted.",
        place.bucket.object_url(&place.key)
    ))
}

async fn json<T: DeserializeOwned>(bucket: &Bucket, name: String) -> Result<Option<T>, String> {
    match bucket.get_bytes(&name, LARGEST_JSON).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| format!("{name} is not what it should be: {e}")),
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads a JSON file of a run, for pages that show many runs: what cannot be read is as if it were not there.
pub async fn json_if_readable<T: DeserializeOwned>(bucket: &Bucket, name: String) -> Option<T> {
    match json(bucket, name).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(error, "a result file is left out of a history");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_that_an_object_may_belong_to() {
        for (key, directories) in [
            ("logs/j/17/build-log.txt", &["logs/j/17", "logs/j/17/build-log.txt"][..]),
            ("logs/j/17/artifacts/a.txt", &["logs/j/17", "logs/j/17/artifacts", "logs/j/17/artifacts/a.txt"]),
            ("logs/artifacts/17", &["logs", "logs/artifacts", "logs/artifacts/17"]),
            (
                "logs/j/17/artifacts/artifacts",
                &["logs/j/17", "logs/j/17/artifacts", "logs/j/17/artifacts/artifacts"],
            ),
            ("logs/artifacts-of/1", &["logs/artifacts-of", "logs/artifacts-of/1"]),
            ("x", &["", "x"]),
        ] {
            assert_eq!(run_directories(key).into_iter().collect::<Vec<_>>(), directories, "{key}");
        }
        assert_eq!(above_artifacts("logs/j/17/artifacts/a/artifacts"), Some("logs/j/17"));
        assert_eq!(above_artifacts("logs/j/17/artifacts"), Some("logs/j/17"));
        assert_eq!(above_artifacts("logs/j/17"), None);
    }

    #[test]
    fn results_of_finished_json() {
        for (result, passed, word) in [
            ("SUCCESS", Some(false), "success"),
            ("", Some(true), "success"),
            ("", Some(false), "failure"),
            ("", None, "unknown"),
            ("aborted", None, "aborted"),
        ] {
            let finished = Finished { result: result.into(), passed, ..Finished::default() };
            assert_eq!(result_of(&finished), word);
        }
    }
}
