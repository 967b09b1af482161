//! Which ProwJobs a Deck shows (prow-runtime §12.2, job cache): tenants, hidden jobs, hidden repositories.

use prow_api::ProwJob;
use std::collections::BTreeSet;

/// The tenant of jobs that name none.
const GLOBAL_TENANT: &str = "GlobalDefaultID";

/// The rule in force: flags of the process and `deck.hidden_repos` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visibility {
    /// `--hidden-only`: hidden jobs and nothing else.
    pub hidden_only: bool,
    /// `--show-hidden`: hidden jobs too.
    pub show_hidden: bool,
    /// `--tenant-id`: only jobs of these tenants, hidden or not. Empty: no filter by tenant.
    pub tenant_ids: BTreeSet<String>,
    /// `org` or `org/repo`.
    pub hidden_repos: BTreeSet<String>,
}

impl Visibility {
    /// True if this Deck shows the job.
    pub fn shows(&self, job: &ProwJob) -> bool {
        let tenant = job.spec.prowjob_defaults.as_ref().map_or("", |d| d.tenant_id.as_str());
        if !self.tenant_ids.is_empty() {
            return self.tenant_ids.contains(tenant);
        }
        if self.is_hidden(job) {
            return self.show_hidden || self.hidden_only;
        }
        !self.hidden_only && (tenant.is_empty() || tenant == GLOBAL_TENANT)
    }

    /// True for jobs that are hidden themselves or touch a hidden repository.
    fn is_hidden(&self, job: &ProwJob) -> bool {
        job.spec.hidden
            || (!self.hidden_repos.is_empty()
                && job
                    .spec
                    .refs
                    .iter()
                    .chain(&job.spec.extra_refs)
                    .any(|refs| self.hides_repo(&refs.org, &refs.repo)))
    }

    /// True if the organisation or the repository is listed as hidden.
    fn hides_repo(&self, org: &str, repo: &str) -> bool {
        self.hidden_repos.contains(org) || self.hidden_repos.contains(&format!("{org}/{repo}"))
    }

    /// True if results of a repository may be shown where only its name is known.
    pub fn shows_repo(&self, org: &str, repo: &str) -> bool {
        self.show_hidden || self.hidden_only || !self.hides_repo(org, repo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Refs;
    use prow_api::prowjob::ProwJobDefault;

    fn job(hidden: bool, tenant: &str, repo: &str, extra: &str) -> ProwJob {
        let refs = |text: &str| {
            let (org, repo) = text.split_once('/').unwrap_or((text, ""));
            Refs { org: org.into(), repo: repo.into(), ..Refs::default() }
        };
        let mut job = ProwJob::default();
        job.spec.hidden = hidden;
        job.spec.prowjob_defaults =
            (!tenant.is_empty()).then(|| ProwJobDefault { tenant_id: tenant.into(), ..Default::default() });
        job.spec.refs = (!repo.is_empty()).then(|| refs(repo));
        job.spec.extra_refs = if extra.is_empty() { Vec::new() } else { vec![refs(extra)] };
        job
    }

    #[test]
    fn the_rule() {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        let plain = Visibility { hidden_repos: texts(&["secret", "o/private"]), ..Visibility::default() };
        let show = Visibility { show_hidden: true, ..plain.clone() };
        let only = Visibility { hidden_only: true, ..plain.clone() };
        let tenant = Visibility { tenant_ids: texts(&["blue"]), ..plain.clone() };
        for (job, expected) in [
            // plain, show-hidden, hidden-only, tenant blue
            (job(false, "", "o/r", ""), [true, true, false, false]),
            (job(false, "", "", ""), [true, true, false, false]),
            (job(false, "GlobalDefaultID", "o/r", ""), [true, true, false, false]),
            (job(false, "blue", "o/r", ""), [false, false, false, true]),
            (job(true, "", "o/r", ""), [false, true, true, false]),
            (job(true, "blue", "o/r", ""), [false, true, true, true]),
            (job(false, "", "secret/any", ""), [false, true, true, false]),
            (job(false, "", "o/private", ""), [false, true, true, false]),
            (job(false, "", "o/r", "o/private"), [false, true, true, false]),
            (job(false, "", "o/private-not", ""), [true, true, false, false]),
        ] {
            let got = [&plain, &show, &only, &tenant].map(|rule| rule.shows(&job));
            assert_eq!(got, expected, "{:?} {:?}", job.spec.refs, job.spec.extra_refs);
        }
    }
}
