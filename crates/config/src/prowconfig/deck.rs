//! `deck` (prow-config §4.4).

use crate::goregex::GoRegex;
use crate::gotemplate::GoTemplate;
use crate::serde_util::{is_default, is_false, is_zero};
use prow_api::K8sDuration;
use prow_api::prowjob::RerunAuthConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Bytes of an artifact that a lens gets to see.
pub(super) const SIZE_LIMIT: i64 = 100_000_000;
/// Link to the history of a pull request.
pub const PR_HISTORY_LINK: &str = "/pr-history?org={{.Org}}&repo={{.Repo}}&pr={{.Number}}";

/// The web page (§4.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Deck {
    /// Job pages and their lenses.
    #[serde(skip_serializing_if = "is_default")]
    pub spyglass: Spyglass,
    /// How often Tide's state is fetched.
    pub tide_update_period: K8sDuration,
    /// `org` or `org/repo` whose jobs are hidden.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden_repos: Vec<String>,
    /// Where the logs of jobs that are not Pods are found. The first entry that matches wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_agent_logs: Vec<ExternalAgentLog>,
    /// Logo and colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branding: Option<Branding>,
    /// Google Analytics tracking id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub google_analytics: String,
    /// Who may run jobs again, by `org/repo`, `org` or `*`.
    #[schemars(extend("deprecationMessage" = "write default_rerun_auth_configs: [{repo: REPO, rerun_auth_configs: ...}]"))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rerun_auth_configs: BTreeMap<String, RerunAuthConfig>,
    /// Who may run jobs again. The last entry that matches wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_rerun_auth_configs: Vec<DefaultRerunAuthEntry>,
    /// Buckets are checked against the allowed ones only when this is explicitly false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_storage_path_validation: Option<bool>,
    /// Buckets that may be read beside those of jobs and decoration defaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_allowed_buckets: Vec<String>,
}
impl Default for Deck {
    fn default() -> Self {
        Deck {
            spyglass: Spyglass::default(),
            tide_update_period: K8sDuration::from_secs(10),
            hidden_repos: Vec::new(),
            external_agent_logs: Vec::new(),
            branding: None,
            google_analytics: String::new(),
            rerun_auth_configs: BTreeMap::new(),
            default_rerun_auth_configs: Vec::new(),
            skip_storage_path_validation: None,
            additional_allowed_buckets: Vec::new(),
        }
    }
}

/// Where the log of a job that is not a Pod is found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExternalAgentLog {
    /// Agent of the jobs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Kubernetes label selector of the jobs' ProwJobs; empty matches all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Go template over the ProwJob: the URL of its log.
    #[serde(skip_serializing_if = "is_default")]
    pub url_template: GoTemplate,
}

/// Looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Branding {
    /// Path or URL of the logo.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub logo: String,
    /// Path or URL of the icon.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub favicon: String,
    /// CSS colour of the page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub background_color: String,
    /// CSS colour of the header.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub header_color: String,
}

/// Who may run a job again, for the jobs that the filters match.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DefaultRerunAuthEntry {
    /// `org`, `org/repo`, `*` or empty for all; not a regular expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// Build cluster alias, `*` or empty for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Who may run these jobs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_auth_configs: Option<RerunAuthConfig>,
}

/// Job pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Spyglass {
    /// Lenses in their order; their index is part of URLs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lenses: Vec<LensFileConfig>,
    /// Names of lenses by regular expression over artifacts.
    #[schemars(extend("deprecationMessage" = "write lenses: [{required_files: [PATTERN], lens: {name: NAME}}]"))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub viewers: BTreeMap<String, Vec<String>>,
    /// Bytes of an artifact that a lens gets to see at most; 0 is the default.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "is_zero")]
    pub size_limit: i64,
    /// URL of the page that shows the artifacts of a bucket.
    #[schemars(extend("deprecationMessage" = "write gcs_browser_prefixes: {\"*\": URL}"))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gcs_browser_prefix: String,
    /// URL of the page that shows artifacts, by `org/repo`, `org` or `*`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gcs_browser_prefixes: BTreeMap<String, String>,
    /// URL of the page that shows artifacts, by bucket.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gcs_browser_prefixes_by_bucket: BTreeMap<String, String>,
    /// Go HTML template over `.ArtifactPath`, shown above every job.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub announcement: String,
    /// Location of TestGrid's configuration, e.g. `gs://bucket/config`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub testgrid_config: String,
    /// URL of TestGrid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub testgrid_root: String,
    /// No link to the pull request's history.
    #[serde(skip_serializing_if = "is_false")]
    pub hide_pr_history_link: bool,
    /// Go template over `.Org`, `.Repo` and `.Number`: the link to the pull request's history.
    #[schemars(extend("default" = PR_HISTORY_LINK))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pr_history_link_template: Option<GoTemplate>,
    /// Names that old links have for buckets, and the buckets' names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bucket_aliases: BTreeMap<String, String>,
}
impl Default for Spyglass {
    fn default() -> Self {
        Spyglass {
            lenses: Vec::new(),
            viewers: BTreeMap::new(),
            size_limit: SIZE_LIMIT,
            gcs_browser_prefix: String::new(),
            gcs_browser_prefixes: BTreeMap::new(),
            gcs_browser_prefixes_by_bucket: BTreeMap::new(),
            announcement: String::new(),
            testgrid_config: String::new(),
            testgrid_root: String::new(),
            hide_pr_history_link: false,
            pr_history_link_template: None,
            bucket_aliases: BTreeMap::new(),
        }
    }
}

impl Spyglass {
    /// The template of the link to a pull request's history, the usual one unless one is set.
    pub fn pr_history_link(&self) -> GoTemplate {
        self.pr_history_link_template.clone().unwrap_or_else(|| GoTemplate::usual(PR_HISTORY_LINK))
    }
}

/// A lens and the artifacts it shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LensFileConfig {
    /// Regular expressions over artifacts. Each must match one for the lens to be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_files: Vec<GoRegex>,
    /// Regular expressions over artifacts that the lens gets as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optional_files: Vec<GoRegex>,
    /// Which lens.
    #[serde(skip_serializing_if = "is_default")]
    pub lens: LensConfig,
    /// Where a lens outside Deck is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_config: Option<LensRemoteConfig>,
}

/// Which lens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LensConfig {
    /// Name of the lens; Deck's own are buildlog, junit, metadata, html, markdown, links, podinfo, coverage and
    /// restcoverage.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The lens's own settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// A lens outside Deck.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LensRemoteConfig {
    /// URL that renders the lens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// URL of the lens's static files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub static_root: String,
    /// Title of the lens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Place on the page, ascending.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Without a title bar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hide_title: Option<bool>,
}
