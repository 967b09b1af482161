//! ProwJobs that together use every option of DecorationConfig, every job type, and what strangers write.

use prow_api::decoration::{
    CensoringConfig, DecorationConfig, GcsConfiguration, Resources, SchedulingOptions, UtilityImages,
};
use prow_api::prowjob::ProwJob;
use serde_json::{Value, json};

/// A decoration config in which nothing is unset.
fn everything() -> Value {
    let amount = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}});
    json!({
        "timeout": "2h", "grace_period": "15m",
        "utility_images": {"clonerefs": "c:v1", "initupload": "i:v1", "entrypoint": "e:v1", "sidecar": "s:v1"},
        "resources": {"clonerefs": amount, "initupload": amount, "place_entrypoint": amount, "sidecar": amount},
        "gcs_configuration": {
            "bucket": "ci-logs", "path_prefix": "p", "path_strategy": "legacy", "default_org": "o",
            "default_repo": "r", "mediaTypes": {"log": "text/plain"}, "job_url_prefix": "https://prow.example/view/",
            "local_output_dir": "/x", "compress_file_types": ["txt"],
        },
        "gcs_credentials_secret": "gcs.example", "s3_credentials_secret": "s3",
        "default_service_account_name": "builder",
        "ssh_key_secrets": ["bot", "bot.key", "bot-key", "bot", "very-long-name-of-a-secret.with-a-domain.behind-it.example.com"],
        "ssh_host_fingerprints": ["github.com ssh-rsa AAAA"],
        "blobless_fetch": true, "sparse_checkout_files": ["docs/"], "skip_cloning": false,
        "cookiefile_secret": "cookies/dir/file",
        "oauth_token_secret": {"name": "tokens.example", "key": "token"},
        "github_api_endpoints": ["http://ghproxy"], "github_app_id": "7",
        "github_app_private_key_secret": {"name": "tokens.example", "key": "pem"},
        "censor_secrets": true,
        "censoring_options": {
            "censoring_concurrency": 1, "censoring_buffer_size": 2, "include_directories": ["a"],
            "exclude_directories": ["b"], "minimum_secret_length": 3, "upload_uncensored_on_failure": true,
        },
        "upload_ignores_interrupts": true,
        "set_limit_equals_memory_request": true, "default_memory_request": "4Gi",
        "scheduling_options": {
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["ci"]}]}
            ]}}},
            "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "pod_pending_timeout": "1h", "pod_running_timeout": "2h", "pod_unscheduled_timeout": "5m",
        "run_as_user": 1000, "run_as_group": 1000, "fs_group": 1000,
    })
}

/// Fails to compile when an option is added, and to run when [`everything`] leaves one out.
fn nothing_is_unset(config: &DecorationConfig) {
    macro_rules! set {
        ($kind:ident, $value:expr, $($member:ident)*) => {{
            let $kind { $($member),* } = $value;
            let unset = $kind::default();
            $(assert_ne!(*$member, unset.$member, "fixtures do not set {}", stringify!($member));)*
        }};
    }
    set!(DecorationConfig, config, timeout grace_period utility_images resources gcs_configuration
        gcs_credentials_secret s3_credentials_secret default_service_account_name ssh_key_secrets
        ssh_host_fingerprints blobless_fetch sparse_checkout_files skip_cloning cookiefile_secret
        oauth_token_secret github_api_endpoints github_app_id github_app_private_key_secret censor_secrets
        censoring_options upload_ignores_interrupts set_limit_equals_memory_request default_memory_request
        scheduling_options pod_pending_timeout pod_running_timeout pod_unscheduled_timeout
        run_as_user run_as_group fs_group);
    set!(UtilityImages, config.utility_images.as_ref().unwrap(), clonerefs initupload entrypoint sidecar);
    set!(Resources, config.resources.as_ref().unwrap(), clonerefs initupload place_entrypoint sidecar);
    set!(GcsConfiguration, config.gcs_configuration.as_ref().unwrap(), bucket path_prefix path_strategy
        default_org default_repo media_types job_url_prefix local_output_dir compress_file_types);
    set!(CensoringConfig, config.censoring_options.as_ref().unwrap(), censoring_concurrency
        censoring_buffer_size include_directories exclude_directories minimum_secret_length
        upload_uncensored_on_failure);
    set!(SchedulingOptions, config.scheduling_options.as_ref().unwrap(), affinity tolerations);
}

fn one_container() -> Value {
    json!({"containers": [{"name": "", "image": "img:v1", "command": ["make"], "args": ["test", "$(PULL_TITLE)"]}]})
}

fn several_containers() -> Value {
    let secret = |name: &str| json!({"name": name, "secret": {"secretName": name}});
    json!({
        "initContainers": [{"name": "proxy", "image": "p", "restartPolicy": "Always"}],
        "volumes": [secret("s"), secret("t"), {"name": "cookiefile", "emptyDir": {}}, {"name": "bucket", "emptyDir": {}}],
        "containers": [
            {
                "name": "a", "image": "i", "command": ["x"], "resources": {"limits": {"memory": "1Gi"}},
                "volumeMounts": [{"name": "s", "mountPath": "/secrets/gcs"}, {"name": "cookiefile", "mountPath": "/c"}],
            },
            {
                "name": "b", "image": "i", "args": ["y"], "ports": [{"containerPort": 80}],
                "volumeMounts": [{"name": "t", "mountPath": "/secrets/gcs"}, {"name": "s", "mountPath": "/s"}],
            },
        ],
    })
}

fn prowjob(kind: &str, pod_spec: Value, decoration: &Value, text: &str) -> ProwJob {
    let pull = |number: i64| json!({"number": number, "author": text, "sha": "2".repeat(40), "title": text, "head_ref": text});
    let pulls = match kind {
        "presubmit" => vec![pull(1)],
        "batch" => vec![pull(1), pull(2)],
        _ => vec![],
    };
    let refs = json!({
        "org": "o", "repo": "r", "repo_link": "https://github.com/o/r", "base_ref": text, "base_sha": "1".repeat(40),
        "pulls": pulls,
    });
    let mut spec = json!({
        "type": kind, "job": "unit", "agent": "kubernetes", "context": text, "pod_spec": pod_spec,
        "decoration_config": decoration, "extra_refs": [{"org": "x", "repo": "y", "base_ref": text, "workdir": true}],
    });
    if kind != "periodic" {
        spec["refs"] = refs;
    }
    if decoration.is_null() {
        spec.as_object_mut().unwrap().remove("decoration_config");
    }
    serde_json::from_value(json!({
        "metadata": {
            "name": "11111111-2222-3333-4444-555555555555",
            "labels": {"mine": text}, "annotations": {"note": text},
        },
        "spec": spec,
        "status": {"state": "triggered"},
    }))
    .unwrap()
}

/// ProwJobs with what they are.
pub fn prowjobs() -> Vec<(String, ProwJob)> {
    let everything = everything();
    nothing_is_unset(&serde_json::from_value(everything.clone()).unwrap());
    let mut decorations = vec![("everything", everything.clone()), ("undecorated", Value::Null)];
    let with = |changes: Value| {
        let mut config = everything.clone();
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    // What excludes something else, and what is the other way round.
    decorations.push(("not cloned", with(json!({"skip_cloning": true}))));
    decorations.push(("a directory", with(json!({"gcs_configuration": {"bucket": "file:///data/bucket/"}}))));
    decorations.push(("default requests", with(json!({"set_limit_equals_memory_request": false}))));
    let names = json!({"name": "logs", "key": "token"});
    decorations.push((
        "awkward names",
        with(json!({"oauth_token_secret": names, "ssh_key_secrets": ["UPPER.case"]})),
    ));
    let minimal: serde_json::Map<String, Value> = ["utility_images", "gcs_configuration"]
        .map(|key| (key.to_owned(), everything[key].clone()))
        .into_iter()
        .collect();
    decorations.push(("minimal", minimal.into()));

    let hostile = "a\n\u{202e}\"'`$(TOKEN)$$(X){{.Spec}}<&>\u{1f980}/../\\ ".repeat(30);
    let mut out = Vec::new();
    for (what, decoration) in &decorations {
        for kind in ["presubmit", "postsubmit", "batch", "periodic"] {
            for (spec, pod_spec) in
                [("one container", one_container()), ("several containers", several_containers())]
            {
                for (texts, text) in [("plain", "release-1.2"), ("hostile", hostile.as_str())] {
                    let made = prowjob(kind, pod_spec.clone(), decoration, text);
                    out.push((format!("{what}, {kind}, {spec}, {texts} texts"), made));
                }
            }
        }
    }
    out
}
