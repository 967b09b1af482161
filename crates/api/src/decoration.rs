//! DecorationConfig and GCSConfiguration (prow-config §1.6, §1.7): how a job's Pod is decorated and where
//! its results go, and how defaults are laid under what a job says.

use crate::duration::{GoDuration, K8sDuration};
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Presence of this object on a ProwJob means that the job is decorated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DecorationConfig {
    /// The test gets SIGINT after this; unset or zero is 2 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// The test gets SIGKILL this long after SIGINT; unset or zero is 15 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<GoDuration>,
    /// Images of the pod utilities. All four are required after merging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utility_images: Option<UtilityImages>,
    /// Resources of the pod utilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where results go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcs_configuration: Option<GcsConfiguration>,
    /// Secret with a `service-account.json` for Google Cloud Storage; empty means workload identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcs_credentials_secret: Option<String>,
    /// Secret with a `service-account.json` for S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_credentials_secret: Option<String>,
    /// Service account of Pods that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_service_account_name: Option<String>,
    /// Secrets with SSH keys for cloning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_key_secrets: Vec<String>,
    /// Lines for known_hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_host_fingerprints: Vec<String>,
    /// Clone with `--filter=blob:none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobless_fetch: Option<bool>,
    /// Sparse checkout patterns of the tested repository.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sparse_checkout_files: Vec<String>,
    /// Nothing is cloned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_cloning: Option<bool>,
    /// Secret with a git cookie file: `secret` or `secret/key`; the key is named as the secret unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookiefile_secret: Option<String>,
    /// Secret with an OAuth token for cloning; exclusive with `ssh_key_secrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_token_secret: Option<SecretKey>,
    /// API endpoints for App tokens; `https://api.github.com` unless set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub github_api_endpoints: Vec<String>,
    /// Id of the GitHub App that clones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub github_app_id: String,
    /// Secret with the private key of the GitHub App that clones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github_app_private_key_secret: Option<SecretKey>,
    /// The job's secrets are censored in its log and artifacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censor_secrets: Option<bool>,
    /// How secrets are censored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_options: Option<CensoringConfig>,
    /// An interrupted job does not upload early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_ignores_interrupts: Option<bool>,
    /// The memory request of test containers is their limit, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_limit_equals_memory_request: Option<bool>,
    /// Memory request of test containers that have none.
    #[schemars(schema_with = "crate::schema::of::<Quantity>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_memory_request: Option<Quantity>,
    /// Affinity and tolerations for Pods that have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_options: Option<SchedulingOptions>,
    /// Instead of plank's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_pending_timeout: Option<K8sDuration>,
    /// Instead of plank's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_running_timeout: Option<K8sDuration>,
    /// Instead of plank's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_unscheduled_timeout: Option<K8sDuration>,
    /// User of Pods whose security context names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<i64>,
    /// Group of Pods whose security context names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_group: Option<i64>,
    /// Group of the volumes of Pods whose security context names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group: Option<i64>,
}

/// Images of the four pod utilities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UtilityImages {
    /// Image of clonerefs, which clones.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clonerefs: String,
    /// Image of initupload, which uploads what is known before the test.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub initupload: String,
    /// Image of entrypoint, which wraps the test's command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub entrypoint: String,
    /// Image of sidecar, which uploads the results.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sidecar: String,
}

/// Resources of the four pod utilities.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resources {
    /// Resources of clonerefs.
    #[schemars(schema_with = "crate::schema::of::<ResourceRequirements>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clonerefs: Option<ResourceRequirements>,
    /// Resources of initupload.
    #[schemars(schema_with = "crate::schema::of::<ResourceRequirements>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initupload: Option<ResourceRequirements>,
    /// Resources of place-entrypoint.
    #[schemars(schema_with = "crate::schema::of::<ResourceRequirements>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_entrypoint: Option<ResourceRequirements>,
    /// Resources of sidecar.
    #[schemars(schema_with = "crate::schema::of::<ResourceRequirements>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<ResourceRequirements>,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecretKey {
    /// Name of the Secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Key in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// `censoring_options` of a job's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CensoringConfig {
    /// Files that are censored at a time; 10 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_concurrency: Option<i64>,
    /// Bytes that are held of a file; 10 MiB unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censoring_buffer_size: Option<i64>,
    /// Globs of artifacts, relative to `$ARTIFACTS`, that are censored; all unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_directories: Option<Vec<String>>,
    /// Globs of artifacts, relative to `$ARTIFACTS`, that are not; looked at before the includes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_directories: Option<Vec<String>>,
    /// Shorter secrets are not censored; 0 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_secret_length: Option<i64>,
    /// Ours: what cannot be censored is uploaded as it is, with a warning, instead of being withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_uncensored_on_failure: Option<bool>,
}

/// Defaults for where a Pod may run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SchedulingOptions {
    /// Affinity of Pods that have none.
    #[schemars(schema_with = "crate::schema::of::<Affinity>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Tolerations of Pods that have none.
    #[schemars(schema_with = "crate::schema::of::<Vec<Toleration>>")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

/// Values of `path_strategy`.
pub const PATH_STRATEGIES: [&str; 3] = ["legacy", "single", "explicit"];

/// Where results go and under which paths (prow-config §1.7).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GcsConfiguration {
    /// `gs://b`, `s3://b`, `file:///dir` or a bare name, which is `gs`. A path may follow.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bucket: String,
    /// Directory inside the bucket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// How paths name the repository: always (`explicit`), never for the default one (`legacy`, and without the
    /// default org), or not at all for it (`single`). Mandatory.
    #[schemars(extend("enum" = PATH_STRATEGIES))]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_strategy: String,
    /// Organisation that `legacy` and `single` leave out; mandatory for them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_org: String,
    /// Repository that `legacy` and `single` leave out; mandatory for them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_repo: String,
    /// MIME types by extension, beside the usual ones.
    #[serde(rename = "mediaTypes", skip_serializing_if = "BTreeMap::is_empty")]
    pub media_types: BTreeMap<String, String>,
    /// Base URL of job pages, instead of plank's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_url_prefix: String,
    /// Results are copied here instead of being uploaded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub local_output_dir: String,
    /// Extensions of files that are compressed on upload; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress_file_types: Option<Vec<String>>,
}

impl GcsConfiguration {
    /// What is wrong with media types and path strategy, in words (prow-config §1.7).
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), String> {
        for (extension, media_type) in &self.media_types {
            let bare = media_type.split(';').next().unwrap_or_default().trim();
            let token = |t: &str| {
                !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
            };
            let parts: Vec<&str> = bare.split('/').collect();
            if parts.len() > 2 || !parts.iter().all(|p| token(p)) {
                return Err(format!(
                    "gcs_configuration.mediaTypes: {media_type:?} (for {extension}) is no media type"
                ));
            }
        }
        if !PATH_STRATEGIES.contains(&self.path_strategy.as_str()) {
            return Err(format!(
                "gcs_configuration.path_strategy: {:?} is not one of {}",
                self.path_strategy,
                PATH_STRATEGIES.join(", ")
            ));
        }
        if self.path_strategy != "explicit" && (self.default_org.is_empty() || self.default_repo.is_empty()) {
            return Err(format!(
                "gcs_configuration: path_strategy {} needs default_org and default_repo",
                self.path_strategy
            ));
        }
        Ok(())
    }
}

fn or<T: Clone>(mine: &mut Option<T>, default: &Option<T>) {
    if mine.is_none() {
        mine.clone_from(default);
    }
}
fn or_text(mine: &mut String, default: &str) {
    if mine.is_empty() {
        default.clone_into(mine);
    }
}
fn or_list<T: Clone>(mine: &mut Vec<T>, default: &[T]) {
    if mine.is_empty() {
        *mine = default.to_vec();
    }
}
fn merge<T: Clone>(mine: &mut Option<T>, default: &Option<T>, apply: impl FnOnce(&mut T, &T)) {
    match (mine.as_mut(), default) {
        (Some(m), Some(d)) => apply(m, d),
        (None, Some(d)) => *mine = Some(d.clone()),
        (_, None) => {}
    }
}

impl DecorationConfig {
    /// Lays `default` under `self`: what `self` leaves unset, by the merge rule of each field, comes from it.
    pub fn apply_default(&mut self, default: &DecorationConfig) {
        let d = default;
        or(&mut self.timeout, &d.timeout);
        or(&mut self.grace_period, &d.grace_period);
        merge(&mut self.utility_images, &d.utility_images, |m, d| {
            or_text(&mut m.clonerefs, &d.clonerefs);
            or_text(&mut m.initupload, &d.initupload);
            or_text(&mut m.entrypoint, &d.entrypoint);
            or_text(&mut m.sidecar, &d.sidecar);
        });
        merge(&mut self.resources, &d.resources, |m, d| {
            or(&mut m.clonerefs, &d.clonerefs);
            or(&mut m.initupload, &d.initupload);
            or(&mut m.place_entrypoint, &d.place_entrypoint);
            or(&mut m.sidecar, &d.sidecar);
        });
        merge(&mut self.gcs_configuration, &d.gcs_configuration, GcsConfiguration::apply_default);
        or(&mut self.gcs_credentials_secret, &d.gcs_credentials_secret);
        or(&mut self.s3_credentials_secret, &d.s3_credentials_secret);
        or(&mut self.default_service_account_name, &d.default_service_account_name);
        or_list(&mut self.ssh_key_secrets, &d.ssh_key_secrets);
        or_list(&mut self.ssh_host_fingerprints, &d.ssh_host_fingerprints);
        or(&mut self.blobless_fetch, &d.blobless_fetch);
        or_list(&mut self.sparse_checkout_files, &d.sparse_checkout_files);
        or(&mut self.skip_cloning, &d.skip_cloning);
        or(&mut self.cookiefile_secret, &d.cookiefile_secret);
        or(&mut self.oauth_token_secret, &d.oauth_token_secret);
        or_list(&mut self.github_api_endpoints, &d.github_api_endpoints);
        or_text(&mut self.github_app_id, &d.github_app_id);
        or(&mut self.github_app_private_key_secret, &d.github_app_private_key_secret);
        or(&mut self.censor_secrets, &d.censor_secrets);
        merge(&mut self.censoring_options, &d.censoring_options, |m, d| {
            or(&mut m.censoring_concurrency, &d.censoring_concurrency);
            or(&mut m.censoring_buffer_size, &d.censoring_buffer_size);
            or(&mut m.include_directories, &d.include_directories);
            or(&mut m.exclude_directories, &d.exclude_directories);
            or(&mut m.minimum_secret_length, &d.minimum_secret_length);
            or(&mut m.upload_uncensored_on_failure, &d.upload_uncensored_on_failure);
        });
        or(&mut self.upload_ignores_interrupts, &d.upload_ignores_interrupts);
        or(&mut self.set_limit_equals_memory_request, &d.set_limit_equals_memory_request);
        or(&mut self.default_memory_request, &d.default_memory_request);
        merge(&mut self.scheduling_options, &d.scheduling_options, |m, d| {
            or(&mut m.affinity, &d.affinity);
            or_list(&mut m.tolerations, &d.tolerations);
        });
        or(&mut self.pod_pending_timeout, &d.pod_pending_timeout);
        or(&mut self.pod_running_timeout, &d.pod_running_timeout);
        or(&mut self.pod_unscheduled_timeout, &d.pod_unscheduled_timeout);
        or(&mut self.run_as_user, &d.run_as_user);
        or(&mut self.run_as_group, &d.run_as_group);
        or(&mut self.fs_group, &d.fs_group);
    }
}

impl GcsConfiguration {
    /// Lays `default` under `self`. One quirk is the contract's: on a clash in `mediaTypes` the default wins.
    pub fn apply_default(&mut self, default: &GcsConfiguration) {
        or_text(&mut self.bucket, &default.bucket);
        or_text(&mut self.path_prefix, &default.path_prefix);
        or_text(&mut self.path_strategy, &default.path_strategy);
        or_text(&mut self.default_org, &default.default_org);
        or_text(&mut self.default_repo, &default.default_repo);
        for (extension, media_type) in &default.media_types {
            self.media_types.insert(extension.clone(), media_type.clone());
        }
        or_text(&mut self.job_url_prefix, &default.job_url_prefix);
        or_text(&mut self.local_output_dir, &default.local_output_dir);
        or(&mut self.compress_file_types, &default.compress_file_types);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> DecorationConfig {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_a_job_sets_stays_and_the_rest_comes_from_the_default() {
        let mut job = config(serde_json::json!({
            "timeout": "1h", "utility_images": {"sidecar": "mine"},
            "gcs_configuration": {"path_strategy": "explicit", "mediaTypes": {"log": "mine/type"}},
            "ssh_key_secrets": [], "gcs_credentials_secret": ""
        }));
        job.apply_default(&config(serde_json::json!({
            "timeout": 7_200_000_000_000_i64, "grace_period": "15s",
            "utility_images": {"sidecar": "s", "clonerefs": "c"},
            "gcs_configuration": {"bucket": "b", "mediaTypes": {"log": "text/plain"}},
            "ssh_key_secrets": ["k"], "gcs_credentials_secret": "sa"
        })));
        assert_eq!(
            serde_json::to_value(&job).unwrap(),
            serde_json::json!({
                "timeout": "1h0m0s", "grace_period": "15s",
                "utility_images": {"sidecar": "mine", "clonerefs": "c"},
                "gcs_configuration": {"bucket": "b", "path_strategy": "explicit", "mediaTypes": {"log": "text/plain"}},
                "ssh_key_secrets": ["k"], "gcs_credentials_secret": ""
            })
        );
    }
}
