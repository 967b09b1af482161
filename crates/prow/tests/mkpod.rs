//! `prow mkpod` as people run it.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod tools;

use serde_json::{Value, json};
use tools::{Fixture, prow, yaml};

const JOB: &str = r#"
apiVersion: prow.k8s.io/v1
kind: ProwJob
metadata:
  name: 11111111-2222-3333-4444-555555555555
  labels: {created-by-prow: "true", team: rocketry}
spec:
  type: periodic
  agent: kubernetes
  job: audit
  decoration_config:
    timeout: 2h
    grace_period: 15m
    utility_images: {clonerefs: i/c, initupload: i/i, entrypoint: i/e, sidecar: i/s}
    gcs_configuration: {bucket: results, path_strategy: explicit}
    gcs_credentials_secret: service-account
  pod_spec:
    containers:
    - image: alpine
      command: [make]
      volumeMounts: [{name: keys, mountPath: /keys}, {name: conf, mountPath: /conf}]
    volumes:
    - {name: keys, secret: {secretName: keys}}
    - {name: conf, configMap: {name: conf}}
    - {name: more, persistentVolumeClaim: {claimName: more}}
    - {name: tmp, emptyDir: {}}
status:
  state: triggered
  build_id: "17"
"#;

fn mkpod<'a>(more: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("mkpod").chain(more.iter().copied()).collect()
}

fn volume<'p>(pod: &'p Value, name: &str) -> &'p Value {
    pod["spec"]["volumes"].as_array().unwrap().iter().find(|v| v["name"] == name).unwrap()
}

#[test]
fn a_pod_is_printed_without_the_label_that_sinker_looks_for() {
    let ran = prow(&mkpod(&["--prow-job", "-"]), JOB);
    assert_eq!(ran.stderr, "");
    let pod = yaml(&ran.ok());
    assert_eq!((&pod["apiVersion"], &pod["kind"]), (&json!("v1"), &json!("Pod")));
    let labels = pod["metadata"]["labels"].as_object().unwrap();
    assert!(!labels.contains_key("created-by-prow"));
    assert_eq!((&labels["prow.k8s.io/build-id"], &labels["team"]), (&json!("17"), &json!("rocketry")));
    let names: Vec<&Value> =
        pod["spec"]["containers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["test", "sidecar"]);
    assert_eq!(volume(&pod, "gcs-credentials")["secret"]["secretName"], "service-account");
    let json: Value =
        serde_json::from_str(&prow(&mkpod(&["--prow-job", "-", "-o", "json"]), JOB).ok()).unwrap();
    assert_eq!(json, pod);
}

#[test]
fn build_ids_are_given_made_or_missed() {
    let id = |args: &[&str]| {
        let pod = yaml(&prow(&mkpod(args), JOB).ok());
        pod["metadata"]["labels"]["prow.k8s.io/build-id"].as_str().unwrap().to_owned()
    };
    assert_eq!(id(&["--prow-job", "-", "--build-id", "23"]), "23");
    let made: u64 = id(&["--prow-job", "-", "--build-id=snowflake"]).parse().unwrap();
    assert!(made > 1 << 60, "{made}");
    let ran = prow(&mkpod(&["--prow-job", "-"]), &JOB.replace("build_id", "build_idd"));
    assert!(
        ran.stderr.contains("there is no build id") && ran.stderr.contains("build_idd"),
        "{}",
        ran.stderr
    );
    ran.ok();
}

#[test]
fn local_mode_asks_for_the_volumes_that_only_a_cluster_has() {
    let fixture = Fixture::new();
    let job = fixture.write("job.yaml", JOB);
    let out = fixture.path("out");
    let ran = prow(&mkpod(&["--prow-job", &job, "--local", "--out-dir", &out]), "empty\n/etc/conf\n\n");
    for text in ["Volume \"keys\": ", "Volume \"conf\": ", "Volume \"more\": ", "'empty' for an emptyDir"] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    assert!(
        !ran.stderr.contains("Volume \"tmp\"") && !ran.stderr.contains("Volume \"output\""),
        "{}",
        ran.stderr
    );
    let pod = yaml(&ran.ok());
    assert_eq!(volume(&pod, "keys"), &json!({"name": "keys", "emptyDir": {}}));
    assert_eq!(volume(&pod, "conf"), &json!({"name": "conf", "hostPath": {"path": "/etc/conf"}}));
    assert_eq!(volume(&pod, "more")["persistentVolumeClaim"]["claimName"], "more");
    assert_eq!(volume(&pod, "output")["hostPath"]["path"], format!("{out}/17"));
    let names: Vec<&Value> = pod["spec"]["volumes"].as_array().unwrap().iter().map(|v| &v["name"]).collect();
    assert!(!names.contains(&&json!("gcs-credentials")), "{names:?}");
    // The answers may end early, and cannot come from where the ProwJob came from.
    let ran = prow(&mkpod(&["--prow-job", &job, "--local=true", "--out-dir", &out]), "");
    assert!(volume(&yaml(&ran.ok()), "keys")["secret"].is_object());
    let ran = prow(&mkpod(&["--prow-job", "-", "--local", "--out-dir", &out]), JOB);
    assert!(ran.stderr.contains("keys, conf, more"), "{}", ran.stderr);
    assert!(volume(&yaml(&ran.ok()), "keys")["secret"].is_object());
}

#[test]
fn what_cannot_be_done_is_said() {
    let said = |args: &[&str], stdin: &str| prow(&mkpod(args), stdin).refused();
    assert!(said(&["--prow-job", "/nonesuch"], "").contains("cannot read the ProwJob from /nonesuch"));
    assert!(said(&["--prow-job", "-"], "kind: Pod\n").contains("not a ProwJob"));
    assert!(said(&["--prow-job", "-"], "").contains("it is empty"));
    assert!(said(&["--prow-job", "-"], "spec: {job: [}\n").contains("standard input:1:"));
    assert!(said(&["--prow-job", "-"], "spec: {job: x}\n").contains("no pod_spec"));
    assert!(said(&["--prow-job", "-", "--out-dir", "o"], JOB).contains("give --local too"));
    assert_eq!(prow(&["mkpod"], "").code, Some(2));
    let help = prow(&["mkpod", "--help"], "").ok();
    assert!(help.contains("snowflake") && help.contains("sinker would delete"), "{help}");
}

#[test]
fn what_mkpj_prints_mkpod_reads() {
    let fixture = Fixture::new();
    let job = fixture.prow(&["mkpj", "--job", "audit"], "").ok();
    let pod = yaml(&prow(&mkpod(&["--prow-job", "-", "--build-id", "5"]), &job).ok());
    let env = &pod["spec"]["containers"][0]["env"];
    assert!(env.as_array().unwrap().contains(&json!({"name": "JOB_NAME", "value": "audit"})), "{env}");
}
