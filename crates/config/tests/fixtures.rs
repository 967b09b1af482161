//! One directory a rule: `tests/fixtures/NAME` is loaded, and what comes of it is compared with its `expected.txt`:
//! findings first, then every job as a JSON line. `PROW_UPDATE_FIXTURES=1` writes the files anew; read the diff.

use prow_config::golden::{config_record, job_records, plugin_records};
use prow_config::{Diagnostic, LoadOptions, load};
use std::fs;
use std::path::Path;

fn options(dir: &Path) -> LoadOptions {
    let if_there = |name: &str| Some(dir.join(name)).filter(|p| p.exists());
    let parts: Vec<_> = if_there("parts").into_iter().collect();
    LoadOptions {
        config_path: dir.join("config.yaml"),
        job_config_path: if_there("jobs"),
        plugin_config: if_there("plugins.yaml"),
        supplemental_prow_config_dirs: parts.clone(),
        supplemental_plugin_config_dirs: parts,
        strict: dir.join("strict").exists(),
        ..LoadOptions::default()
    }
}

fn json<T: serde::Serialize>(thing: &T) -> String {
    serde_json::to_string(thing).expect("sections have text keys")
}

fn outcome(dir: &Path) -> String {
    let root = format!("{}/", dir.display());
    let lines = |word: &str, list: &[Diagnostic]| {
        list.iter().map(|d| format!("{word} {}\n", d.to_string().replace(&root, ""))).collect::<String>()
    };
    match load(&options(dir)) {
        Ok(snapshot) => {
            let mut out = lines("warning", &snapshot.warnings);
            if !snapshot.prow.config_version_sha.is_empty() {
                out.push_str(&format!("version {}\n", snapshot.prow.config_version_sha));
            }
            if dir.join("parts").exists() {
                let prow = &snapshot.prow;
                out.push_str(&format!("tide {}\n", json(&prow.tide)));
                out.push_str(&format!("protection {}\n", json(&prow.branch_protection)));
                out.push_str(&format!("slack {:?}\n", prow.slack_reporter_configs.keys()));
                out.push_str(&format!("plugins {}\n", snapshot.plugins.document));
            }
            if dir.join("records").exists() {
                out.push_str(&format!("{}\n", config_record(&snapshot.prow)));
                for record in plugin_records(&snapshot.plugins, &snapshot.jobs) {
                    out.push_str(&format!("{record}\n"));
                }
            }
            for record in job_records(&snapshot.jobs) {
                out.push_str(&format!("{record}\n"));
            }
            out
        }
        Err(errors) => lines("error", &errors.errors) + &lines("warning", &errors.warnings),
    }
}

#[test]
fn every_fixture_comes_out_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let dir = entry.unwrap().path();
        let got = outcome(&dir);
        let expected = dir.join("expected.txt");
        if std::env::var_os("PROW_UPDATE_FIXTURES").is_some() {
            fs::write(&expected, &got).unwrap();
        }
        let want = fs::read_to_string(&expected).unwrap_or_default();
        seen += 1;
        if got != want {
            wrong.push(format!("{}:\n--- wants\n{want}--- got\n{got}", dir.display()));
        }
    }
    assert!(seen > 5, "the fixtures are gone");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gzip_and_a_linked_root_load() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let zip = |text: &str| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    fs::write(dir.path().join("config.yaml"), zip("pod_namespace: zipped\n")).unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    let job = "periodics: [{name: p, interval: 1h, spec: {containers: [{image: i}]}}]\n";
    fs::write(dir.path().join("real/p.yaml"), zip(job)).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("real", dir.path().join("jobs")).unwrap();
    #[cfg(not(unix))]
    fs::rename(dir.path().join("real"), dir.path().join("jobs")).unwrap();
    let snapshot = load(&options(dir.path())).unwrap();
    assert_eq!(snapshot.jobs.periodics[0].base.namespace, "zipped");
}

#[test]
fn lookups_answer_by_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let snapshot = load(&options(&root.join("retired-keys"))).unwrap();
    assert_eq!(snapshot.prow.job_url_prefix("acme", "rocket"), "https://old.example/view/");
    let decoration = snapshot.prow.default_decoration("acme/rocket", "default").unwrap();
    assert_eq!(decoration.timeout.unwrap().to_string(), "2h0m0s");
    let lenses: Vec<&str> = snapshot.prow.deck.spyglass.lenses.iter().map(|l| l.lens.name.as_str()).collect();
    assert_eq!(lenses, ["metadata", "buildlog"]);
    assert_eq!(snapshot.plugins.enabled("acme", "rocket"), ["trigger", "cat", "config-updater"]);
    assert_eq!(snapshot.plugins.enabled("acme", "other"), ["trigger", "cat"]);
    assert_eq!(snapshot.plugins.trigger_for("acme", "x").join_org_url, "https://github.com/orgs/acme/people");
    assert_eq!(snapshot.plugins.trigger_for("else", "x"), Default::default());
    assert_eq!(snapshot.plugins.config_updater.maps["prow/config.yaml"].name, "config");
    assert_eq!(snapshot.postsubmits_for("acme/rocket").len(), 1);
    assert!(snapshot.presubmits_for("acme/rocket").is_empty());
}

#[test]
fn what_larger_installations_write_is_answered_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let snapshot = load(&options(&root.join("other-installations"))).unwrap();
    let names = |repo: &str| -> Vec<String> {
        snapshot.presubmits_for(repo).iter().map(|j| j.base.name.clone()).collect()
    };
    assert_eq!(names("https://review.example/a"), ["with-scheme", "without-scheme"]);
    assert_eq!(names("review.example/a"), ["without-scheme"]);
    let prow = &snapshot.prow;
    let trigger = &prow.pubsub_triggers[0];
    assert_eq!((trigger.project.as_str(), trigger.max_outstanding_messages), ("project", 10));
    assert_eq!((trigger.topics.len(), trigger.allowed_clusters.join(",")), (2, "*".to_owned()));
    assert!(prow.pubsub_subscriptions.contains_key("project") && prow.tide.target_urls.contains_key("*"));
    let decoration = prow.default_decoration("private/thing", "arm").unwrap();
    assert_eq!(decoration.gcs_configuration.unwrap().bucket, "s3://secret");
    assert_eq!(decoration.utility_images.unwrap().sidecar, "s-arm");
    let auth: Vec<&str> = prow.deck.default_rerun_auth_configs.iter().map(|e| e.repo.as_str()).collect();
    assert_eq!(auth, ["*", "acme/rocket"], "the last that matches wins");
    assert!(
        prow.in_repo_config_enabled("https://review.example/a") && !prow.in_repo_config_enabled("else/r")
    );
    assert!(
        !prow.in_repo_config_allows_cluster("default", "acme/rocket"),
        "an empty list for * is respected"
    );
    let plugins = &snapshot.plugins;
    assert_eq!(plugins.enabled("acme", "old"), Vec::<&str>::new());
    assert_eq!(plugins.enabled("acme", "rocket").last(), Some(&"bugzilla"));
    let bug = plugins.bugzilla.options_for("acme", "other", "main");
    assert_eq!(bug.target_release.as_deref(), Some("4.2"), "a number is written as Go writes it");
    assert!(bug.dependent_bug_statuses.is_none() && bug.dependent_bug_states.is_some());
    let external: Vec<&str> =
        plugins.external_plugins_for("acme", "rocket", "push").iter().map(|p| p.endpoint.as_str()).collect();
    assert_eq!(external, ["http://cherrypick:80"]);
    let images = &plugins.config_updater.maps["images/*.yaml"];
    assert_eq!(images.clusters.len(), 2);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn arbitrary_files_never_panic(
        config in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        job in "(presubmits|periodics|presets|- name|spec|containers|o/r|&a |\\*a|<<|null|\\[|\\]|\\{|\\}|[:\\n, 0-9x]|  ){0,40}",
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.yaml"), config).unwrap();
        fs::write(dir.path().join("plugins.yaml"), &job).unwrap();
        fs::create_dir(dir.path().join("jobs")).unwrap();
        fs::write(dir.path().join("jobs/j.yaml"), job).unwrap();
        let _ = load(&options(dir.path()));
    }
}
