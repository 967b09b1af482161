//! `gerrit`, `github_reporter` and `slack_reporter_configs` (prow-config §4.5 to §4.7).

use crate::goregex::GoRegex;
use crate::serde_util::{is_false, is_zero};
use prow_api::{JobType, K8sDuration, State};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Queries of a Gerrit host in one tick.
pub(super) const RATELIMIT: i64 = 5;
/// Types of jobs that can be reported to GitHub.
pub(super) const REPORTABLE: [JobType; 2] = [JobType::Presubmit, JobType::Postsubmit];
fn reportable(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "enum": REPORTABLE}})
}
/// Message of a section that has none.
pub(super) const SLACK_TEMPLATE: &str = "Job {{.Spec.Job}} of type {{.Spec.Type}} ended with state {{.Status.State}}. <{{.Status.URL}}|View logs>";

/// Gerrit adapter (§4.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gerrit {
    /// How often changes are asked for.
    pub tick_interval: K8sDuration,
    /// Queries in one tick; 0 is the default.
    #[serde(skip_serializing_if = "is_zero")]
    pub ratelimit: i64,
    /// URL of Deck, for links in comments.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deck_url: String,
    /// Which hosts and repositories to watch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub org_repos_config: Vec<GerritOrgConfig>,
    /// Regular expression of comments that may start presubmits; empty matches all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_presubmit_trigger_re: Option<GoRegex>,
}
impl Default for Gerrit {
    fn default() -> Self {
        Gerrit {
            tick_interval: K8sDuration::from_secs(60),
            ratelimit: RATELIMIT,
            deck_url: String::new(),
            org_repos_config: Vec::new(),
            allowed_presubmit_trigger_re: None,
        }
    }
}

/// Repositories of one Gerrit host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GerritOrgConfig {
    /// The host, with scheme: `https://HOST`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org: String,
    /// Names of repositories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// No comments that explain Prow.
    #[serde(skip_serializing_if = "is_false")]
    pub opt_out_help: bool,
    /// Which branches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<GerritFilters>,
}

/// Branches of Gerrit repositories.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GerritFilters {
    /// Only these branches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Not these branches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_branches: Vec<String>,
    /// Changes without the hashtag are left alone.
    #[serde(skip_serializing_if = "is_false")]
    pub opt_in_by_default: bool,
}

/// Reporting to GitHub (§4.6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GithubReporter {
    /// Types of jobs that are reported.
    #[schemars(schema_with = "reportable")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_types_to_report: Vec<JobType>,
    /// `org` or `org/repo` that get statuses but no comments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_comment_repos: Vec<String>,
    /// `org` or `org/repo` that get one comment once all jobs of a commit are done, even if all passed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary_comment_repos: Vec<String>,
}
impl Default for GithubReporter {
    fn default() -> Self {
        GithubReporter {
            job_types_to_report: REPORTABLE.to_vec(),
            no_comment_repos: Vec::new(),
            summary_comment_repos: Vec::new(),
        }
    }
}

/// Reporting to Slack (§4.7).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SlackReporter {
    /// Types of jobs that are worth a message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_types_to_report: Vec<JobType>,
    /// Selects the token; empty is the default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Channel to write to. Mandatory, even where every job names one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// States that are worth a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_states_to_report: Option<Vec<State>>,
    /// Go template over the ProwJob: the message.
    #[schemars(extend("default" = SLACK_TEMPLATE))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub report_template: String,
    /// `false` never reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<bool>,
}
