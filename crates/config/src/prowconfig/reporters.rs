//! `gerrit`, `github_reporter` and `slack_reporter_configs` (prow-config §4.5 to §4.7).

use crate::goregex::GoRegex;
use crate::serde_util::{is_false, is_zero};
use prow_api::{JobType, K8sDuration, State};
use serde::{Deserialize, Serialize};

/// Gerrit adapter (§4.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gerrit {
    /// 1m.
    pub tick_interval: K8sDuration,
    /// 5.
    #[serde(skip_serializing_if = "is_zero")]
    pub ratelimit: i64,
    /// Deck's URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deck_url: String,
    /// What to watch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub org_repos_config: Vec<GerritOrgConfig>,
    /// Comments that may trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_presubmit_trigger_re: Option<GoRegex>,
}
impl Default for Gerrit {
    fn default() -> Self {
        Gerrit {
            tick_interval: K8sDuration::from_secs(60),
            ratelimit: 5,
            deck_url: String::new(),
            org_repos_config: Vec::new(),
            allowed_presubmit_trigger_re: None,
        }
    }
}

/// Repositories of one Gerrit host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GerritOrgConfig {
    /// With scheme.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// No help comments.
    #[serde(skip_serializing_if = "is_false")]
    pub opt_out_help: bool,
    /// Branches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<GerritFilters>,
}

/// Branches of Gerrit repositories.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GerritFilters {
    /// Only these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Not these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_branches: Vec<String>,
    /// Changes opt in.
    #[serde(skip_serializing_if = "is_false")]
    pub opt_in_by_default: bool,
}

/// Reporting to GitHub (§4.6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GithubReporter {
    /// presubmit and postsubmit unless set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_types_to_report: Vec<JobType>,
    /// `org` or `org/repo`: statuses, no comments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_comment_repos: Vec<String>,
    /// `org` or `org/repo`: one comment when all is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary_comment_repos: Vec<String>,
}
impl Default for GithubReporter {
    fn default() -> Self {
        GithubReporter {
            job_types_to_report: vec![JobType::Presubmit, JobType::Postsubmit],
            no_comment_repos: Vec::new(),
            summary_comment_repos: Vec::new(),
        }
    }
}

/// Reporting to Slack (§4.7).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SlackReporter {
    /// Types worth a message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_types_to_report: Vec<JobType>,
    /// Selects the token; empty is the default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Mandatory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// States worth a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_states_to_report: Option<Vec<State>>,
    /// Go template over the ProwJob; defaulted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub report_template: String,
    /// `false` never reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<bool>,
}
