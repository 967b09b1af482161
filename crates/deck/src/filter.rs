//! What a visitor asks the job list for: the query parameters of `/`, which are Prow's own names.

use crate::glob;
use prow_api::prowjob::{JobType, ProwJob, State};

/// Every state in the order in which the list counts them.
pub const STATES: [State; 7] = [
    State::Pending,
    State::Triggered,
    State::Scheduling,
    State::Success,
    State::Failure,
    State::Error,
    State::Aborted,
];

/// Every job type.
pub const TYPES: [JobType; 4] = [JobType::Presubmit, JobType::Postsubmit, JobType::Periodic, JobType::Batch];

/// Decoded query parameters, in order.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// From the part of a URL behind `?`.
    pub fn parse(query: Option<&str>) -> Params {
        let query = query.unwrap_or_default();
        Params(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of a parameter; empty if it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// A parameter as a number; `None` if it is absent or is none.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.get(name).trim().parse().ok()
    }
}

/// What to show. Empty members do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// `state`
    pub state: Option<State>,
    /// `type`
    pub job_type: Option<JobType>,
    /// `repo`: `org/repo`, of refs or any extra ref.
    pub repo: String,
    /// `job`: name; `*` stands for anything.
    pub job: String,
    /// `author` of any pull.
    pub author: String,
    /// `pull`: number of any pull.
    pub pull: Option<i64>,
    /// `cluster`: build cluster alias.
    pub cluster: String,
}

/// A parameter with a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter {parameter}={value} means nothing; {parameter} is one of {known}")]
pub struct FilterError {
    parameter: &'static str,
    value: String,
    known: String,
}

impl Filter {
    /// Reads the parameters.
    pub fn parse(params: &Params) -> Result<Filter, FilterError> {
        Ok(Filter {
            state: word("state", params.get("state"), &STATES)?,
            job_type: word("type", params.get("type"), &TYPES)?,
            repo: params.get("repo").trim().to_owned(),
            job: params.get("job").trim().to_owned(),
            author: params.get("author").trim().to_owned(),
            pull: match params.get("pull").trim().trim_start_matches('#') {
                "" => None,
                text => Some(text.parse().map_err(|_| FilterError {
                    parameter: "pull",
                    value: text.to_owned(),
                    known: "the numbers of pull requests".to_owned(),
                })?),
            },
            cluster: params.get("cluster").trim().to_owned(),
        })
    }

    /// The query that gives this filter again, without `?`; empty if nothing is restricted.
    pub fn query(&self) -> String {
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        let pull = self.pull.map(|n| n.to_string()).unwrap_or_default();
        for (name, value) in [
            ("state", self.state.map_or("", State::as_str)),
            ("type", self.job_type.map_or("", JobType::as_str)),
            ("repo", &self.repo),
            ("job", &self.job),
            ("author", &self.author),
            ("pull", &pull),
            ("cluster", &self.cluster),
        ] {
            if !value.is_empty() {
                out.append_pair(name, value);
            }
        }
        out.finish()
    }

    /// The same with another state.
    pub fn with_state(&self, state: Option<State>) -> Filter {
        Filter { state, ..self.clone() }
    }

    /// True if everything but the state fits.
    pub fn fits_but_state(&self, job: &ProwJob) -> bool {
        let spec = &job.spec;
        let pulls = || spec.refs.iter().flat_map(|refs| &refs.pulls);
        self.job_type.is_none_or(|t| t == spec.job_type)
            && (self.job.is_empty() || glob::wildcard(&self.job, &spec.job))
            && (self.cluster.is_empty() || self.cluster == spec.cluster_alias())
            && (self.repo.is_empty() || repos(job).any(|repo| repo == self.repo))
            && (self.author.is_empty() || pulls().any(|pull| pull.author == self.author))
            && self.pull.is_none_or(|number| pulls().any(|pull| pull.number == number))
    }

    /// True if nothing but perhaps the state is restricted.
    pub fn only_state(&self) -> bool {
        self.with_state(None) == Filter::default()
    }
}

/// The repositories of a job: of its refs, else of its extra refs.
pub fn repos(job: &ProwJob) -> impl Iterator<Item = String> {
    let extra = if job.spec.refs.is_some() { &[][..] } else { &job.spec.extra_refs[..] };
    job.spec.refs.iter().chain(extra).map(prow_api::Refs::org_repo)
}

fn word<T: Copy + std::fmt::Display>(
    parameter: &'static str,
    value: &str,
    known: &[T],
) -> Result<Option<T>, FilterError> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    known.iter().copied().find(|k| k.to_string() == value).map(Some).ok_or_else(|| FilterError {
        parameter,
        value: value.chars().take(50).collect(),
        known: known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{Pull, Refs};

    fn filter(query: &str) -> Filter {
        Filter::parse(&Params::parse(Some(query))).unwrap()
    }

    #[test]
    fn filters_fit() {
        let mut job = ProwJob::default();
        job.spec.job_type = JobType::Presubmit;
        job.spec.job = "pull-unit".into();
        job.status.state = State::Failure;
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: "r".into(),
            pulls: vec![Pull { number: 7, author: "ann".into(), ..Pull::default() }],
            ..Refs::default()
        });
        job.spec.extra_refs = vec![Refs { org: "x".into(), repo: "y".into(), ..Refs::default() }];
        for (query, expected) in [
            ("", true),
            ("state=success", true), // the state is counted, not filtered, here
            ("type=presubmit&repo=o%2Fr&job=pull-unit&author=ann&pull=7&cluster=default", true),
            ("type=batch", false),
            ("repo=o", false),
            ("repo=x/y", false), // extra refs count only for jobs without refs
            ("job=pull-*", true),
            ("job=pull", false),
            ("author=bob", false),
            ("pull=8", false),
            ("pull=%237", true),
            ("cluster=other", false),
            ("unknown=1", true),
        ] {
            assert_eq!(filter(query).fits_but_state(&job), expected, "{query}");
        }
        job.spec.refs = None;
        assert!(filter("repo=x/y").fits_but_state(&job));
    }

    #[test]
    fn the_query_round_trips_and_bad_words_are_named() {
        let all = filter("state=error&type=batch&repo=a/b&job=x*&author=%3Cb%3E&pull=3&cluster=c");
        assert_eq!(filter(&all.query()), all);
        assert_eq!(Filter::default().query(), "");
        for query in ["state=bad", "type=bad", "pull=bad"] {
            let error = Filter::parse(&Params::parse(Some(query))).unwrap_err().to_string();
            assert!(error.contains("=bad means nothing"), "{error}");
        }
    }
}
