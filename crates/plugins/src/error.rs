//! Why a plugin could not do what an event asks for, and whether trying again may help.

use prow_api::prowjob::ProwJob;

/// A failure of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// GitHub did not do what was asked.
    #[error(transparent)]
    GitHub(#[from] prow_github::Error),
    /// The API server did not do what was asked.
    #[error("cannot {what}: {}; check the Kubernetes API server and this component's rights", prow_kube::prowjobs::said(.source))]
    Kubernetes {
        /// What was tried, on what.
        what: String,
        /// What the client says.
        #[source]
        source: Box<kube::Error>,
    },
    /// A decision lacked something it needs; a fault of ours.
    #[error(transparent)]
    Select(#[from] prow_job::select::SelectError),
    /// Jobs of a repository could not be found out.
    #[error("cannot find out the jobs of {repo}: {why}")]
    Jobs {
        /// `org/repo`.
        repo: String,
        /// Why.
        why: String,
    },
    /// Those that the repository defines itself cannot be used.
    #[error(transparent)]
    InRepo(#[from] prow_config::inrepo::InRepoError),
    /// It failed for good and whoever asked was told; trying again would tell them twice.
    #[error("{0}")]
    Told(String),
    /// Several parts failed; the others were done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    /// A failed call to the API server about one ProwJob.
    pub(crate) fn prowjob(doing: &str, job: &ProwJob, source: kube::Error) -> Error {
        Error::Kubernetes {
            what: format!("{doing} ProwJob {} of job {}", job.name(), job.spec.job),
            source: Box::new(source),
        }
    }

    /// True if trying again may help: it may have been the network, a limit, or rights that somebody corrects.
    /// False for what would be answered the same again.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::GitHub(error) => !error.is_refused() && !error.is_not_found(),
            Error::Kubernetes { source, .. } => {
                !prow_kube::prowjobs::refused(source) || prow_kube::prowjobs::conflict(source)
            }
            Error::Jobs { .. } => true,
            Error::InRepo(error) => !error.is_of_author(),
            Error::Select(_) | Error::Told(_) => false,
            Error::Several(errors) => errors.iter().any(Error::may_pass),
        }
    }

    /// All results: fine if all are, else the failures.
    pub(crate) fn all(results: impl IntoIterator<Item = Result<(), Error>>) -> Result<(), Error> {
        let mut errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_not_tried_again_unless_another_part_may_pass() {
        let told = || Error::Told("no cats".into());
        let passing = || Error::Jobs { repo: "o/r".into(), why: "timeout".into() };
        for (error, expected) in [
            (told(), false),
            (passing(), true),
            (Error::Several(vec![told(), told()]), false),
            (Error::Several(vec![told(), passing()]), true),
        ] {
            assert_eq!(error.may_pass(), expected, "{error}");
        }
        assert!(Error::all([Ok(()), Ok(())]).is_ok());
        assert_eq!(
            Error::all([Err(told()), Ok(()), Err(passing())]).unwrap_err().to_string(),
            "no cats; cannot find out the jobs of o/r: timeout"
        );
    }
}
