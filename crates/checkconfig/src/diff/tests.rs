//! Two configurations in, what differs out.

use super::*;
use prow_config::{LoadOptions, load};

fn loaded(config: &str, jobs: &str, plugins: &str) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let options = LoadOptions {
        config_path: put("config.yaml", config),
        job_config_path: Some(put("jobs.yaml", jobs)),
        plugin_config: Some(put("plugins.yaml", plugins)),
        ..LoadOptions::default()
    };
    load(&options).unwrap()
}

fn jobs(jobs: &str) -> Snapshot {
    loaded("", jobs, "")
}

fn names(list: &[JobRef]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

const SPEC: &str = "spec: {containers: [{image: alpine, command: [make]}]}";

#[test]
fn jobs_appear_vanish_and_are_renamed() {
    let old = jobs(&format!(
        "presubmits:\n  o/r:\n  - {{name: a, always_run: true, {SPEC}}}\n  - {{name: gone, {SPEC}, optional: true}}\nperiodics:\n- {{name: p, interval: 1h, {SPEC}}}\n"
    ));
    let new = jobs(&format!(
        "presubmits:\n  o/r:\n  - {{name: b, always_run: true, {SPEC}}}\n  o/s:\n  - {{name: come, {SPEC}}}\nperiodics:\n- {{name: q, interval: 2h, {SPEC}}}\n"
    ));
    let changes = between(&old, &new);
    assert_eq!(names(&changes.added), ["periodic q", "presubmit come of o/s"]);
    assert_eq!(names(&changes.removed), ["periodic p", "presubmit gone of o/r"]);
    assert_eq!(changes.renamed.len(), 1);
    assert_eq!((changes.renamed[0].old.name.as_str(), changes.renamed[0].new.name.as_str()), ("a", "b"));
    assert_eq!(changes.summary(), "2 jobs added, 2 removed, 1 renamed");
    let fixed = |name: &str| jobs(&format!("postsubmits: {{o/r: [{{name: {name}, context: a, {SPEC}}}]}}\n"));
    assert_eq!(between(&fixed("a"), &fixed("b")).summary(), "1 job renamed");
    assert!(between(&old, &old).is_empty());
    assert_eq!(between(&old, &old).summary(), "nothing changes");
}

#[test]
fn a_job_and_its_pod_change_field_by_field() {
    let job = |more: &str, image: &str| {
        jobs(&format!(
            "presubmits:\n  o/r:\n  - name: unit\n{more}    spec: {{containers: [{{image: {image}, command: [make], args: [a, b]}}]}}\n"
        ))
    };
    let old = job("    always_run: true\n", "alpine:1");
    let new = job("    run_if_changed: x\n    labels: {team: a}\n", "alpine:2");
    let changes = between(&old, &new);
    assert_eq!(changes.summary(), "1 job changed");
    let [group] = changes.changed.as_slice() else { panic!("{changes:?}") };
    let fields: Vec<&str> = group.changes.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(fields, ["always_run", "run_if_changed"]);
    let pod = group.pod.as_ref().unwrap();
    let fields: Vec<&str> = pod.changes.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(fields, ["metadata.labels.team", "spec.containers[test].image"]);
    assert!(pod.diff.contains("@@ spec.containers[test].image\n"), "{}", pod.diff);
    assert!(
        pod.diff.contains("    image: alpine:1\n+") && pod.diff.contains("    image: alpine:2\n"),
        "{}",
        pod.diff
    );
    let text = text::text(&changes);
    assert!(text.contains("    always_run: true -> false\n"), "{text}");
    let json = serde_json::to_value(&changes).unwrap();
    assert_eq!(json["changed"][0]["changes"][1]["new"], "x");
}

#[test]
fn a_change_without_another_pod_says_so() {
    let job = |every: &str| jobs(&format!("periodics:\n- {{name: p, interval: {every}, {SPEC}}}\n"));
    let changes = between(&job("1h"), &job("2h"));
    assert_eq!(changes.changed.len(), 1);
    assert!(changes.changed[0].pod.is_none());
    assert_eq!(changes.changed[0].changes[0].path, "interval");
}

const DECORATION: &str = "
plank:
  default_decoration_config_entries:
  - config:
      timeout: TIME
      utility_images: {clonerefs: c, initupload: i, entrypoint: e, sidecar: s}
      gcs_configuration: {bucket: b, path_strategy: explicit}
      gcs_credentials_secret: s
";

#[test]
fn a_new_default_is_one_change_for_all_jobs_and_options_are_laid_open() {
    let jobs = format!(
        "periodics:\n- {{name: p, interval: 1h, decorate: true, {SPEC}}}\n- {{name: q, interval: 1h, decorate: true, {SPEC}}}\n- {{name: bare, interval: 1h, {SPEC}}}\n"
    );
    let old = loaded(&DECORATION.replace("TIME", "1h"), &jobs, "");
    let new = loaded(&DECORATION.replace("TIME", "2h"), &jobs, "plugins: {o: {plugins: [cat]}}");
    let changes = between(&old, &new);
    assert_eq!(changes.summary(), "2 jobs changed, plank of config.yaml, plugins of plugins.yaml");
    let [group] = changes.changed.as_slice() else { panic!("{changes:?}") };
    assert_eq!(names(&group.jobs), ["periodic p", "periodic q"]);
    let pod = group.pod.as_ref().unwrap();
    assert!(
        pod.changes.iter().any(|c| c.path.ends_with("env[ENTRYPOINT_OPTIONS].value.timeout")),
        "{:?}",
        pod.changes
    );
    assert!(
        pod.diff.contains("env[ENTRYPOINT_OPTIONS].value.timeout\n") && !pod.diff.contains("JOB_SPEC].value"),
        "{}",
        pod.diff
    );
    assert_eq!(group.changes[0].path, "decoration_config.timeout");
    assert_eq!(
        changes.config[0].changes[0].path,
        "plank.default_decoration_config_entries[0].config.timeout"
    );
    assert_eq!(changes.plugins[0].changes[0].path, "plugins");
}

#[test]
fn jobs_of_one_name_are_told_apart_by_their_branches() {
    let jobs_with = |list: &[(&str, &str)]| {
        let list: Vec<String> = list
            .iter()
            .map(|(branch, image)| {
                format!(
                    "  - {{name: unit, branches: [{branch}], spec: {{containers: [{{image: {image}}}]}}}}\n"
                )
            })
            .collect();
        jobs(&format!("presubmits:\n  o/r:\n{}", list.concat()))
    };
    let old = jobs_with(&[("main", "a"), ("one", "a"), ("two", "a")]);
    let changes = between(&old, &jobs_with(&[("two", "b"), ("main", "a"), ("one", "a")]));
    assert_eq!(changes.summary(), "1 job changed");
    assert_eq!(changes.changed[0].jobs[0].line, 3);
    let changes = between(&old, &jobs_with(&[("main", "a"), ("one", "a")]));
    assert_eq!(changes.summary(), "1 job removed");
    let changes = between(&old, &jobs_with(&[("main", "a"), ("one", "a"), ("three", "a")]));
    assert_eq!(changes.summary(), "1 job changed");
    assert_eq!(changes.changed[0].changes[0].path, "branches[0]");
}
