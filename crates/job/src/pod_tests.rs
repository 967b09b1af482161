//! Tables of the decoration options that the golden records do not have.

use super::*;
use crate::paths::split_bucket;
use k8s_openapi::api::core::v1::{EnvVar, Volume, VolumeMount};
use prow_api::decoration::{DecorationConfig, SecretKey};
use prow_api::refs::Refs;
use serde_json::{Value, json};

/// A decorated job with these changes to its pod_spec and decoration config.
fn job(pod_spec: Value, decoration: Value) -> ProwJob {
    let mut config = json!({
        "utility_images": {"clonerefs": "c", "initupload": "i", "entrypoint": "e", "sidecar": "s"},
        "gcs_configuration": {"bucket": "b", "path_strategy": "explicit"},
    });
    merge(&mut config, decoration);
    let mut spec =
        json!({"containers": [{"name": "", "image": "img", "command": ["make"], "args": ["test"]}]});
    merge(&mut spec, pod_spec);
    serde_json::from_value(json!({
        "metadata": {"name": "pj", "labels": {"mine": "x"}, "annotations": {"note": "n"}},
        "spec": {
            "type": "postsubmit", "job": "unit", "agent": "kubernetes", "pod_spec": spec,
            "decoration_config": config,
            "refs": {"org": "o", "repo": "r", "base_ref": "main"},
        },
        "status": {"state": "triggered"}
    }))
    .unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn made(job: &ProwJob) -> PodSpec {
    pod(job, "17", &PodOptions::default()).unwrap().spec.unwrap()
}

fn container<'a>(spec: &'a PodSpec, name: &str) -> &'a Container {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.into_iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no container {name}"))
}

fn options(spec: &PodSpec, of: &str, variable: &str) -> Value {
    let found = container(spec, of).env.iter().flatten().find(|e| e.name == variable);
    serde_json::from_str(found.unwrap().value.as_deref().unwrap()).unwrap()
}

fn container_names(spec: &PodSpec) -> String {
    let names = |list: &[Container]| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(" ");
    format!("{} | {}", names(spec.init_containers.as_deref().unwrap_or_default()), names(&spec.containers))
}

fn volume_names(volumes: &Option<Vec<Volume>>) -> Vec<&str> {
    volumes.iter().flatten().map(|v| v.name.as_str()).collect()
}

fn mounts(container: &Container) -> Vec<String> {
    let show = |m: &VolumeMount| {
        format!("{}:{}{}", m.name, m.mount_path, if m.read_only == Some(true) { ":ro" } else { "" })
    };
    container.volume_mounts.iter().flatten().map(show).collect()
}

#[test]
fn names_labels_and_namespace() {
    let job = job(json!({}), json!({}));
    let options = PodOptions {
        namespace: "test-pods".into(),
        plank_version: "v20260801-abc".into(),
        ..PodOptions::default()
    };
    let pod = pod(&job, "17", &options).unwrap();
    assert_eq!(
        serde_json::to_value(&pod.metadata).unwrap(),
        json!({
            "name": "pj", "namespace": "test-pods",
            "annotations": {"note": "n", "prow.k8s.io/context": "", "prow.k8s.io/job": "unit"},
            "labels": {
                "created-by-prow": "true", "mine": "x", "prow.k8s.io/build-id": "17",
                "prow.k8s.io/context": "", "prow.k8s.io/id": "pj", "prow.k8s.io/job": "unit",
                "prow.k8s.io/plank-version": "v20260801-abc", "prow.k8s.io/refs.base_ref": "main",
                "prow.k8s.io/refs.org": "o", "prow.k8s.io/refs.repo": "r", "prow.k8s.io/type": "postsubmit",
            },
        })
    );
}

#[test]
fn an_undecorated_pod_gets_its_environment_and_little_else() {
    let mut job = job(
        json!({"containers": [
            {"name": "a", "env": [{"name": "B", "value": "1"}], "terminationMessagePolicy": "File"}, {"name": "b"}
        ]}),
        json!({}),
    );
    job.spec.decoration_config = None;
    let spec = made(&job);
    assert_eq!(container_names(&spec), " | a b");
    assert_eq!(spec.restart_policy.as_deref(), Some("Never"));
    assert_eq!(spec.automount_service_account_token, Some(false));
    assert!(spec.volumes.is_none() && spec.security_context.is_none());
    for name in ["a", "b"] {
        let env: Vec<&EnvVar> = container(&spec, name).env.iter().flatten().collect();
        let own = usize::from(name == "a");
        let names: Vec<&str> = env[own..].iter().map(|e| e.name.as_str()).collect();
        assert!(
            names.is_sorted() && names.contains(&"JOB_SPEC") && !names.contains(&"ARTIFACTS"),
            "{names:?}"
        );
    }
    assert_eq!(container(&spec, "a").termination_message_policy.as_deref(), Some("File"));
    assert_eq!(container(&spec, "b").termination_message_policy.as_deref(), Some("FallbackToLogsOnError"));
}

#[test]
fn several_test_containers_keep_their_names() {
    let spec = made(&job(
        json!({
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "command": ["x"]}, {"name": "b", "args": ["y"]}],
        }),
        json!({"timeout": "1h", "grace_period": "10s"}),
    ));
    assert_eq!(container_names(&spec), "clonerefs proxy initupload place-entrypoint | a b sidecar");
    assert_eq!(
        options(&spec, "b", "ENTRYPOINT_OPTIONS"),
        json!({
            "timeout": 3_600_000_000_000_i64, "grace_period": 10_000_000_000_i64, "artifact_dir": "/logs/artifacts",
            "args": ["y"], "container_name": "b", "process_log": "/logs/b-log.txt",
            "marker_file": "/logs/b-marker.txt", "metadata_file": "/logs/artifacts/b-metadata.json",
        })
    );
    let sidecar = options(&spec, "sidecar", "SIDECAR_OPTIONS");
    assert_eq!(sidecar["entries"].as_array().unwrap().len(), 2);
    assert_eq!(sidecar["censoring_options"], json!({}), "always written");
    assert_eq!(sidecar["gcs_options"]["items"], json!(["/logs/artifacts"]));
    assert_eq!(container(&spec, "a").command, Some(vec!["/tools/entrypoint".to_owned()]));
    assert_eq!(spec.termination_grace_period_seconds, Some(12));
}

#[test]
fn nothing_is_cloned_without_refs_or_when_told_not_to() {
    let mut without =
        job(json!({"containers": [{"image": "i", "name": "", "workingDir": "/mine"}]}), json!({}));
    without.spec.refs = None;
    for job in [without, job(json!({}), json!({"skip_cloning": true}))] {
        let spec = made(&job);
        assert_eq!(container_names(&spec), "initupload place-entrypoint | test sidecar");
        assert_eq!(volume_names(&spec.volumes), ["logs", "tools"]);
        assert_eq!(mounts(container(&spec, "test")), ["logs:/logs", "tools:/tools"]);
        assert!(mounts(container(&spec, "initupload")).is_empty());
        assert!(options(&spec, "initupload", "INITUPLOAD_OPTIONS").get("log").is_none());
        assert_ne!(container(&spec, "test").working_dir.as_deref(), Some("/home/prow/go/src/github.com/o/r"));
    }
}

#[test]
fn the_working_directory_is_of_the_chosen_clone() {
    let refs = |alias: &str, workdir: bool| Refs { path_alias: alias.into(), workdir, ..Refs::default() };
    for (extra, want) in [
        (vec![refs("x", false)], "/home/prow/go/src/github.com/o/r"),
        (vec![refs("x", false), refs("k8s.io//y/", true)], "/home/prow/go/src/k8s.io/y"),
        (vec![refs("../../../etc", true)], "/home/prow/go/src/etc"),
    ] {
        let mut job = job(json!({}), json!({}));
        job.spec.extra_refs = extra;
        assert_eq!(container(&made(&job), "test").working_dir.as_deref(), Some(want));
    }
}

#[test]
fn credentials_reach_who_needs_them() {
    let spec = made(&job(
        json!({}),
        json!({
            "gcs_credentials_secret": "gcs", "s3_credentials_secret": "s3",
            "ssh_key_secrets": ["k1", "k2"], "ssh_host_fingerprints": ["host key"],
            "cookiefile_secret": "cookies/dir/file",
            "github_app_id": "7", "github_app_private_key_secret": {"name": "app", "key": "pem"},
            "oauth_token_secret": {"name": "oauth", "key": "token"},
            "github_api_endpoints": ["http://ghproxy"],
        }),
    ));
    assert_eq!(
        volume_names(&spec.volumes),
        [
            "logs",
            "tools",
            "gcs-credentials",
            "s3-credentials",
            "ssh-keys-k1",
            "ssh-keys-k2",
            "oauth",
            "app",
            "clonerefs-tmp",
            "cookiefile",
            "code"
        ]
    );
    let clonerefs = container(&spec, "clonerefs");
    assert_eq!(
        mounts(clonerefs),
        [
            "logs:/logs",
            "code:/home/prow/go",
            "ssh-keys-k1:/secrets/ssh/k1:ro",
            "ssh-keys-k2:/secrets/ssh/k2:ro",
            "oauth:/secrets/oauth:ro",
            "app:/secrets/github-app:ro",
            "clonerefs-tmp:/tmp",
            "cookiefile:/secrets/cookiefile:ro"
        ]
    );
    assert_eq!(clonerefs.args.as_deref(), Some(&["--cookiefile=/secrets/cookiefile/file".to_owned()][..]));
    let volume =
        |name: &str| spec.volumes.iter().flatten().find(|v| v.name == name).and_then(|v| v.secret.as_ref());
    assert_eq!(volume("ssh-keys-k1").unwrap().default_mode, Some(0o400));
    assert_eq!(volume("cookiefile").unwrap().secret_name.as_deref(), Some("cookies"));
    assert_eq!(volume("oauth").unwrap().items.as_ref().unwrap()[0].path, "./token");
    let clone = options(&spec, "clonerefs", "CLONEREFS_OPTIONS");
    for (key, want) in [
        ("key_files", json!(["/secrets/ssh/k1", "/secrets/ssh/k2"])),
        ("oauth_token_file", json!("/secrets/oauth/token")),
        ("host_fingerprints", json!(["host key"])),
        ("cookie_path", json!("/secrets/cookiefile/file")),
        ("github_api_endpoints", json!(["http://ghproxy"])),
        ("github_app_id", json!("7")),
        ("github_app_private_key_file", json!("/secrets/github-app/pem")),
    ] {
        assert_eq!(clone[key], want, "{key}");
    }
    for (name, variable) in [("initupload", "INITUPLOAD_OPTIONS"), ("sidecar", "SIDECAR_OPTIONS")] {
        let all = mounts(container(&spec, name));
        assert_eq!(all, ["logs:/logs", "gcs-credentials:/secrets/gcs", "s3-credentials:/secrets/s3-storage"]);
        let options = options(&spec, name, variable);
        let gcs = options.get("gcs_options").unwrap_or(&options);
        assert_eq!(gcs["gcs_credentials_file"], "/secrets/gcs/service-account.json");
        assert_eq!(gcs["s3_credentials_file"], "/secrets/s3-storage/service-account.json");
    }
    // The job itself sees none of them.
    assert_eq!(mounts(container(&spec, "test")), ["logs:/logs", "tools:/tools", "code:/home/prow/go"]);
}

#[test]
fn one_secret_may_hold_both_keys() {
    let spec = made(&job(
        json!({}),
        json!({
            "github_app_id": "7", "github_app_private_key_secret": {"name": "s", "key": "pem"},
            "oauth_token_secret": {"name": "s", "key": "token"},
        }),
    ));
    assert_eq!(volume_names(&spec.volumes), ["logs", "tools", "s", "s-2", "clonerefs-tmp", "code"]);
    assert!(mounts(container(&spec, "clonerefs")).contains(&"s-2:/secrets/github-app:ro".to_owned()));
}

#[test]
fn names_of_secrets_need_not_be_names_of_volumes() {
    let spec = made(&job(
        json!({"volumes": [{"name": "cookiefile", "emptyDir": {}}]}),
        json!({
            "ssh_key_secrets": ["bot.key", "bot-key", "bot.key"], "cookiefile_secret": "cookies",
            "oauth_token_secret": {"name": "logs", "key": "token"},
        }),
    ));
    let names = volume_names(&spec.volumes);
    assert!(names[3].starts_with("ssh-keys-bot-key-"), "{names:?}");
    assert_eq!([names[4], names[5], names[7]], ["ssh-keys-bot-key", "logs-2", "cookiefile-2"]);
    let keys = options(&spec, "clonerefs", "CLONEREFS_OPTIONS")["key_files"].clone();
    assert_eq!(keys, json!(["/secrets/ssh/bot.key", "/secrets/ssh/bot-key"]), "each once, by its own name");
    let of =
        |name: &str| spec.volumes.iter().flatten().find(|v| v.name == name).unwrap().secret.clone().unwrap();
    assert_eq!(of(names[3]).secret_name.as_deref(), Some("bot.key"));
    assert_eq!(of("logs-2").secret_name.as_deref(), Some("logs"));
}

#[test]
fn what_decoration_needs_is_refused_to_the_job() {
    for (pod_spec, what) in [
        (json!({"volumes": [{"name": "tools", "emptyDir": {}}]}), "volume \"tools\""),
        (json!({"volumes": [{"name": "code", "emptyDir": {}}]}), "volume \"code\""),
        (json!({"containers": [{"name": "a"}, {"name": "sidecar"}]}), "container \"sidecar\""),
        (json!({"initContainers": [{"name": "initupload"}]}), "container \"initupload\""),
        (
            json!({"containers": [{"name": "", "volumeMounts": [{"name": "x", "mountPath": "/logs"}]}]}),
            "mount path \"/logs\"",
        ),
    ] {
        let error = pod(&job(pod_spec.clone(), json!({})), "17", &PodOptions::default()).unwrap_err();
        assert!(matches!(error, PodError::Reserved { .. }) && error.to_string().contains(what), "{error}");
        let mut undecorated = job(pod_spec, json!({}));
        undecorated.spec.decoration_config = None;
        assert!(pod(&undecorated, "17", &PodOptions::default()).is_ok(), "{what}");
    }
    let uncloned = job(json!({"volumes": [{"name": "code", "emptyDir": {}}]}), json!({"skip_cloning": true}));
    assert_eq!(volume_names(&made(&uncloned).volumes), ["code", "logs", "tools"]);
}

#[test]
fn the_sidecars_own_paths_stay_its_own() {
    let spec = made(&job(
        json!({
            "volumes": [{"name": "s", "secret": {"secretName": "s"}}, {"name": "t", "secret": {"secretName": "t"}}],
            "containers": [{"name": "", "volumeMounts": [
                {"name": "s", "mountPath": "/secrets/gcs"}, {"name": "t", "mountPath": "/secrets/censor-0"}
            ]}],
        }),
        json!({"censor_secrets": true, "gcs_credentials_secret": "gcs"}),
    ));
    assert_eq!(
        mounts(container(&spec, "sidecar")),
        ["logs:/logs", "gcs-credentials:/secrets/gcs", "s:/secrets/censor-0", "t:/secrets/censor-1"]
    );
}

#[test]
fn empty_names_of_secrets_mean_none() {
    let spec = made(&job(json!({}), json!({"gcs_credentials_secret": "", "cookiefile_secret": ""})));
    assert_eq!(volume_names(&spec.volumes), ["logs", "tools", "clonerefs-tmp", "code"]);
    assert!(container(&spec, "clonerefs").args.is_none());
    assert_eq!(
        options(&spec, "clonerefs", "CLONEREFS_OPTIONS")["github_api_endpoints"],
        json!(["https://api.github.com"])
    );
}

#[test]
fn the_sidecar_censors_the_secrets_of_the_job() {
    let pod_spec = json!({
        "volumes": [
            {"name": "s", "secret": {"secretName": "s"}}, {"name": "t", "secret": {"secretName": "t"}},
            {"name": "d", "emptyDir": {}}
        ],
        "containers": [
            {"name": "a", "volumeMounts": [{"name": "s", "mountPath": "/s"}, {"name": "d", "mountPath": "/d"}]},
            {"name": "b", "volumeMounts": [{"name": "s", "mountPath": "/s"}]},
            {"name": "c", "volumeMounts": [{"name": "t", "mountPath": "/s"}]}
        ]
    });
    let on = made(&job(
        pod_spec.clone(),
        json!({"censor_secrets": true, "censoring_options": {
            "censoring_concurrency": 3, "minimum_secret_length": 4, "exclude_directories": ["x"],
            "upload_uncensored_on_failure": true
        }}),
    ));
    assert_eq!(mounts(container(&on, "sidecar")), ["logs:/logs", "s:/s", "t:/secrets/censor-1"]);
    assert_eq!(
        options(&on, "sidecar", "SIDECAR_OPTIONS")["censoring_options"],
        json!({
            "secret_directories": ["/s", "/secrets/censor-1"], "censoring_concurrency": 3,
            "exclude_directories": ["x"], "minimum_secret_length": 4, "upload_uncensored_on_failure": true
        })
    );
    let off = made(&job(pod_spec, json!({})));
    assert_eq!(mounts(container(&off, "sidecar")), ["logs:/logs"]);
}

#[test]
fn memory_and_resources() {
    let spec = made(&job(
        json!({"containers": [
            {"name": "a", "resources": {"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {"memory": "2Gi"}}},
            {"name": "b"}
        ]}),
        json!({
            "default_memory_request": "4Gi", "set_limit_equals_memory_request": true,
            "resources": {"sidecar": {"requests": {"cpu": "100m"}}, "clonerefs": {"limits": {"cpu": "2"}}}
        }),
    ));
    let resources = |name: &str| json!(container(&spec, name).resources);
    assert_eq!(
        resources("a"),
        json!({"requests": {"memory": "1Gi", "cpu": "1"}, "limits": {"memory": "1Gi"}})
    );
    assert_eq!(resources("b"), json!({"requests": {"memory": "4Gi"}, "limits": {"memory": "4Gi"}}));
    assert_eq!(resources("sidecar"), json!({"requests": {"cpu": "100m"}}));
    assert_eq!(resources("clonerefs"), json!({"limits": {"cpu": "2"}}));
    assert_eq!(resources("initupload"), Value::Null);
}

#[test]
fn pod_settings_fill_what_the_job_leaves_open() {
    let decoration = json!({
        "run_as_user": 1, "run_as_group": 2, "fs_group": 3, "grace_period": "1m30s",
        "default_service_account_name": "builder",
        "scheduling_options": {
            "tolerations": [{"key": "k"}], "affinity": {"nodeAffinity": {}}
        }
    });
    let filled = made(&job(json!({}), decoration.clone()));
    assert_eq!(json!(filled.security_context), json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3}));
    assert_eq!(filled.termination_grace_period_seconds, Some(112));
    assert_eq!(filled.service_account_name.as_deref(), Some("builder"));
    assert_eq!(filled.automount_service_account_token, Some(false), "decided before the default is applied");
    assert_eq!(filled.tolerations.as_ref().unwrap().len(), 1);
    assert!(filled.affinity.is_some());

    let own = made(&job(
        json!({
            "securityContext": {"runAsUser": 9}, "terminationGracePeriodSeconds": 5, "serviceAccountName": "mine",
            "tolerations": [{"key": "a"}, {"key": "b"}], "affinity": {}
        }),
        decoration,
    ));
    assert_eq!(json!(own.security_context), json!({"runAsUser": 9, "runAsGroup": 2, "fsGroup": 3}));
    assert_eq!(own.termination_grace_period_seconds, Some(5));
    assert_eq!(own.service_account_name.as_deref(), Some("mine"));
    assert_eq!(own.automount_service_account_token, None);
    assert_eq!(own.tolerations.as_ref().unwrap().len(), 2);

    let bare = made(&job(json!({}), json!({})));
    assert!(bare.security_context.is_some(), "always there on a decorated Pod");
    assert_eq!(bare.termination_grace_period_seconds, None);
}

#[test]
fn a_bucket_that_is_a_directory_is_mounted_where_it_is() {
    let spec = made(&job(
        json!({"volumes": [{"name": "bucket", "emptyDir": {}}]}),
        json!({"gcs_configuration": {"bucket": "file:///data/bucket/"}}),
    ));
    let volume = spec.volumes.iter().flatten().find(|v| v.host_path.is_some()).unwrap();
    assert_eq!(
        json!(volume),
        json!({"name": "bucket-2", "hostPath": {"path": "/data/bucket", "type": "DirectoryOrCreate"}})
    );
    assert_eq!(mounts(container(&spec, "initupload")), ["logs:/logs", "bucket-2:/data/bucket"]);
    assert_eq!(mounts(container(&spec, "sidecar")), ["logs:/logs", "bucket-2:/data/bucket"]);
    assert!(
        !mounts(container(&spec, "test")).iter().any(|m| m.contains("bucket")),
        "the job cannot reach it"
    );
    for bucket in ["file://relative", "file:///a/../b", "file://"] {
        let job = job(json!({}), json!({"gcs_configuration": {"bucket": bucket}}));
        let error = pod(&job, "17", &PodOptions::default()).unwrap_err();
        assert!(matches!(error, PodError::Bucket { .. }), "{bucket}: {error}");
    }
    assert_eq!(split_bucket("file:///data"), ("file", "/data"));
}

#[test]
fn local_output_replaces_uploading() {
    let job = job(
        json!({}),
        json!({"gcs_credentials_secret": "gcs", "gcs_configuration": {"bucket": "file:///b"}}),
    );
    let local = PodOptions { local_output: Some("/tmp/out".into()), ..PodOptions::default() };
    let spec = pod(&job, "17", &local).unwrap().spec.unwrap();
    assert_eq!(volume_names(&spec.volumes), ["logs", "tools", "output", "clonerefs-tmp", "code"]);
    assert_eq!(mounts(container(&spec, "initupload")), ["logs:/logs", "output:/output"]);
    assert_eq!(mounts(container(&spec, "sidecar")), ["logs:/logs", "output:/output"]);
    assert_eq!(options(&spec, "sidecar", "SIDECAR_OPTIONS")["gcs_options"]["local_output_dir"], "/output");
}

#[test]
fn upload_may_ignore_interrupts() {
    let spec = made(&job(json!({}), json!({"upload_ignores_interrupts": true})));
    assert_eq!(options(&spec, "sidecar", "SIDECAR_OPTIONS")["ignore_interrupts"], true);
}

#[test]
fn what_cannot_run_is_said() {
    let with = |change: &dyn Fn(&mut ProwJob, &mut DecorationConfig)| {
        let mut job = job(json!({}), json!({}));
        let mut config = job.spec.decoration_config.take().unwrap();
        change(&mut job, &mut config);
        job.spec.decoration_config = Some(config);
        pod(&job, "17", &PodOptions::default()).unwrap_err().to_string()
    };
    assert!(with(&|job, _| job.spec.pod_spec = None).contains("pj (job unit) has no pod_spec"));
    assert!(with(&|job, _| job.spec.pod_spec = Some(Box::default())).contains("has no pod_spec"));
    assert!(with(&|_, c| c.utility_images = None).contains("decoration_config.utility_images is not set"));
    assert!(
        with(&|_, c| c.utility_images.as_mut().unwrap().sidecar.clear()).contains("utility_images.sidecar")
    );
    assert!(with(&|_, c| c.gcs_configuration = None).contains("gcs_configuration is not set"));
    assert!(with(&|_, c| c.ssh_key_secrets = vec![String::new()]).contains("ssh_key_secrets[] is not set"));
    assert!(
        with(&|_, c| c.oauth_token_secret = Some(SecretKey::default())).contains("oauth_token_secret.name")
    );
    assert!(with(&|_, c| c.cookiefile_secret = Some("/key".into())).contains("cookiefile_secret"));
}

#[test]
fn a_nodes_variables_are_not_expanded_from_a_title() {
    let mut job = job(json!({"containers": [{"name": "", "args": ["$(HOME)"]}]}), json!({}));
    job.spec.job_type = prow_api::JobType::Presubmit;
    job.spec.refs.as_mut().unwrap().pulls =
        vec![prow_api::Pull { title: "$(TOKEN) $$(TOKEN)".into(), ..prow_api::Pull::default() }];
    let spec = made(&job);
    for (of, variable) in [("test", "PULL_TITLE"), ("test", "JOB_SPEC"), ("clonerefs", "CLONEREFS_OPTIONS")] {
        let found = container(&spec, of).env.iter().flatten().find(|e| e.name == variable).unwrap();
        let value = found.value.as_deref().unwrap();
        assert!(value.contains("$$(TOKEN) $$$$(TOKEN)"), "{variable}: {value}");
    }
    // The job's own arguments are the configuration's, and Kubernetes expands those as in any Pod.
    assert_eq!(options(&spec, "test", "ENTRYPOINT_OPTIONS")["args"], json!(["$(HOME)"]));
}

#[test]
fn a_title_in_an_argument_stays_in_that_argument() {
    let mut job =
        job(json!({"containers": [{"name": "", "args": ["$(PULL_TITLE)", "$(PULL_NUMBER)"]}]}), json!({}));
    job.spec.job_type = prow_api::JobType::Presubmit;
    job.spec.refs.as_mut().unwrap().pulls =
        vec![prow_api::Pull { title: r#"","args":["evil"]"#.into(), ..prow_api::Pull::default() }];
    let spec = made(&job);
    let want = json!([r#"","args":["evil"]"#, "$(PULL_NUMBER)"]);
    assert_eq!(options(&spec, "test", "ENTRYPOINT_OPTIONS")["args"], want);
    assert_eq!(options(&spec, "sidecar", "SIDECAR_OPTIONS")["entries"][0]["args"], want);
}
