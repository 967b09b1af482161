//! Each warning fires on a configuration that has it wrong, at its line, and stays silent on one that has it right.

use super::*;
use prow_config::{LoadOptions, PluginConfig, load};
use std::fs;

/// Files of a configuration, as a test writes them.
#[derive(Default)]
struct Case<'c> {
    config: &'c str,
    jobs: &'c str,
    plugins: Option<&'c str>,
    /// Path below the supplemental directory, and text; `_prowconfig.yaml` or `_pluginconfig.yaml`.
    supplemental: &'c [(&'c str, &'c str)],
    statuses: Option<&'c [(&'c str, &'c str)]>,
    annotations: &'c [&'c str],
    warnings: &'c [&'c str],
    exclude: &'c [&'c str],
}

const DECORATED: &str = "
plank:
  default_decoration_config_entries:
  - config:
      utility_images: {clonerefs: c, initupload: i, entrypoint: e, sidecar: s}
      gcs_configuration: {bucket: b, path_strategy: explicit}
      gcs_credentials_secret: s
";

impl Case<'_> {
    fn findings(&self) -> Vec<Finding> {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut files = Vec::new();
        let mut put = |kind, name: &str, below: &str, text: &str| {
            let path = at(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let name = path.to_string_lossy().as_ref().into();
            files.push(SourceFile { kind, name, below_root: below.to_owned(), text: text.to_owned() });
        };
        put(FileKind::Config, "config.yaml", "", self.config);
        fs::write(at("jobs.yaml"), self.jobs).unwrap();
        if let Some(text) = self.plugins {
            put(FileKind::Plugins, "plugins.yaml", "", text);
        }
        let mut options = LoadOptions {
            config_path: at("config.yaml"),
            job_config_path: Some(at("jobs.yaml")),
            plugin_config: self.plugins.map(|_| at("plugins.yaml")),
            ..LoadOptions::default()
        };
        for (below, text) in self.supplemental {
            let kind = if below.ends_with("_prowconfig.yaml") {
                FileKind::SupplementalConfig
            } else {
                FileKind::SupplementalPlugins
            };
            put(kind, &format!("more/{below}"), below, text);
            options.supplemental_prow_config_dirs = vec![at("more")];
            options.supplemental_plugin_config_dirs = vec![at("more")];
        }
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let statuses: Option<BTreeMap<String, String>> =
            self.statuses.map(|list| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
        let asked =
            Asked { warnings: owned(self.warnings), exclude: owned(self.exclude), ..Asked::default() };
        let input = Input {
            snapshot: &load(&options).unwrap(),
            files: &files,
            plugins: self.plugins.is_some(),
            cluster_statuses: statuses.as_ref(),
            required_annotations: &owned(self.annotations),
        };
        let mut found = run(&input, &Selection::new(&asked).unwrap());
        let prefix = format!("{}/", dir.path().display());
        found.iter_mut().for_each(|f| f.file = f.file.replace(&prefix, "").into());
        found
    }

    /// `file:line: level: check: key: message (suggestion)` of each finding of a check.
    fn of(&self, check: &str) -> Vec<String> {
        let shown = |f: Finding| {
            let suggestion = f.suggestion.map(|s| format!(" ({s})")).unwrap_or_default();
            format!("{}:{}: {}: {}: {}{suggestion}", f.file, f.line, f.level.word(), f.key, f.message)
        };
        self.findings().into_iter().filter(|f| f.check == check).map(shown).collect()
    }
}

/// The one finding of a check; it begins and contains as said.
fn one(check: &str, case: &Case<'_>, begins: &str, contains: &str) {
    let found = case.of(check);
    assert_eq!(found.len(), 1, "{check}: {found:?}");
    assert!(found[0].starts_with(begins) && found[0].contains(contains), "{check}: {found:?}");
}

fn none(check: &str, case: &Case<'_>) {
    assert_eq!(case.of(check), [""; 0], "{check}");
}

fn presubmit(more: &str) -> String {
    format!(
        "presubmits:\n  acme/rocket:\n  - name: unit\n    always_run: true\n{more}    spec: {{containers: [{{image: a, command: [c]}}]}}\n"
    )
}

fn periodic(more: &str) -> String {
    format!(
        "periodics:\n- name: audit\n  interval: 1h\n{more}  spec: {{containers: [{{image: a, command: [c]}}]}}\n"
    )
}

#[test]
fn unknown_fields() {
    let config = "plank: {max_goroutines: 3}\nplonk: {}\n";
    let case = Case { config, ..Case::default() };
    one("unknown-fields", &case, "config.yaml:2: warning: plonk:", "did you mean \"plank\"?");
    let plugins = Some("triggers: [{repo: [x]}]\n");
    one(
        "unknown-fields",
        &Case { plugins, ..Case::default() },
        "plugins.yaml:1: warning: triggers[0].repo",
        "",
    );
    none("unknown-fields", &Case { config: "plank: {max_goroutines: 3}\n", ..Case::default() });
    none("unknown-fields", &Case { config, exclude: &["unknown-fields"], ..Case::default() });
}

#[test]
fn unknown_fields_all() {
    let jobs = periodic("  crn: x\n");
    let case = Case { jobs: &jobs, ..Case::default() };
    one("unknown-fields-all", &case, "jobs.yaml:4: note: periodics[0].crn", "did you mean \"cron\"?");
    let asked = Case { warnings: &["unknown-fields-all"], ..case };
    one("unknown-fields-all", &asked, "jobs.yaml:4: warning: periodics[0].crn", "");
    none(
        "unknown-fields-all",
        &Case { jobs: &periodic(""), warnings: &["unknown-fields-all"], ..Case::default() },
    );
}

#[test]
fn validate_urls() {
    let case = |link| Case { config: link, plugins: Some(""), ..Case::default() };
    one(
        "validate-urls",
        &case("x: 1\nstatus_error_link: 'http://[oops'\n"),
        "config.yaml:2: warning: status_error_link: \"http://[oops\"",
        "",
    );
    none("validate-urls", &case("status_error_link: https://e.example/x\n"));
    none("validate-urls", &Case { config: "status_error_link: 'http://[oops'\n", ..Case::default() });
}

#[test]
fn long_job_names() {
    let (fits, long) = ("x".repeat(63), "x".repeat(64));
    let jobs = |name: &str| periodic("").replace("audit", name);
    one(
        "long-job-names",
        &Case { jobs: &jobs(&long), ..Case::default() },
        "jobs.yaml:2: warning: ",
        "64 characters",
    );
    none("long-job-names", &Case { jobs: &jobs(&fits), ..Case::default() });
}

#[test]
fn non_decorated_jobs() {
    let jobs = presubmit("");
    one(
        "non-decorated-jobs",
        &Case { jobs: &jobs, ..Case::default() },
        "jobs.yaml:3: warning: : presubmit \"unit\" of acme/rocket is not decorated",
        "set decorate: true",
    );
    none(
        "non-decorated-jobs",
        &Case { jobs: &presubmit("    decorate: true\n"), config: DECORATED, ..Case::default() },
    );
}

#[test]
fn valid_decoration_config() {
    let case = Case {
        jobs: &periodic("  decorate: true\n"),
        config: DECORATED,
        warnings: &["valid-decoration-config"],
        ..Case::default()
    };
    none("valid-decoration-config", &case);
    // Loading refuses such jobs; a snapshot that was made otherwise may have one.
    let mut snapshot = Snapshot::default();
    let base = prow_config::jobs::JobBase {
        name: "bare".into(),
        agent: "kubernetes".into(),
        decorate: Some(true),
        decoration_config: Some(Default::default()),
        ..Default::default()
    };
    snapshot.jobs.periodics = vec![prow_config::Periodic { base, ..Default::default() }].into();
    let mut found = Vec::new();
    jobs::decoration(&snapshot, &mut found);
    assert!(found.len() == 1 && found[0].message.contains("utility_images is missing"), "{found:?}");
}

#[test]
fn duplicate_job_refs() {
    let refs = |list: &str| presubmit(&format!("    extra_refs: [{list}]\n"));
    let a = "{org: acme, repo: a, base_ref: main}";
    let jobs = refs(&format!("{a}, {a}"));
    one(
        "duplicate-job-refs",
        &Case { jobs: &jobs, ..Case::default() },
        "jobs.yaml:3: warning:",
        "has acme/a more than once",
    );
    let jobs = refs("{org: acme, repo: rocket, base_ref: x}");
    one("duplicate-job-refs", &Case { jobs: &jobs, ..Case::default() }, "jobs.yaml:3:", "which it tests");
    none("duplicate-job-refs", &Case { jobs: &refs(a), ..Case::default() });
}

#[test]
fn periodic_default_clone_config() {
    let jobs = periodic("  clone_depth: 1\n  path_alias: x\n");
    let found = Case { jobs: &jobs, ..Case::default() }.of("periodic-default-clone-config");
    assert!(
        found.len() == 2 && found[0].contains("clone_depth") && found[1].contains("path_alias"),
        "{found:?}"
    );
    none("periodic-default-clone-config", &Case { jobs: &periodic(""), ..Case::default() });
    none(
        "periodic-default-clone-config",
        &Case { jobs: &presubmit("    clone_depth: 1\n"), ..Case::default() },
    );
}

#[test]
fn validate_cluster_field() {
    let check = "validate-cluster-field";
    let jobs = periodic("  cluster: bild\n");
    let statuses: &[_] = &[("default", "Reachable"), ("build", "Reachable"), ("far", "Error")];
    let case = Case { jobs: &jobs, statuses: Some(statuses), ..Case::default() };
    one(
        check,
        &case,
        "jobs.yaml:2: warning: : periodic \"audit\" names cluster \"bild\"",
        "did you mean \"build\"?",
    );
    none(check, &Case { statuses: None, ..case });
    none(check, &Case { jobs: &periodic("  cluster: build\n"), statuses: Some(statuses), ..Case::default() });
    let far = Case { jobs: &periodic("  cluster: far\n"), statuses: Some(statuses), ..Case::default() };
    one(check, &far, "jobs.yaml:2: note: ", "cannot use now: Error");
    let jenkins = "periodics: [{name: j, agent: jenkins, interval: 1h, decorate: false, cluster: build}]\n";
    one(check, &Case { jobs: jenkins, ..Case::default() }, "jobs.yaml:1: warning: ", "agent jenkins");
}

#[test]
fn required_job_annotations() {
    let jobs = periodic("  annotations: {owner: me}\n");
    let case = Case { jobs: &jobs, annotations: &["owner", "description"], ..Case::default() };
    one("required-job-annotations", &case, "jobs.yaml:2: warning: ", "annotation description");
    none("required-job-annotations", &Case { annotations: &["owner"], ..case });
}

const QUERY: &str = "x: 1\ntide:\n  queries:\n  - orgs: [other]\n    labels: [lgtm]\n  - orgs: [acme]\n    labels: [lgtm]\n    missingLabels: [do-not-merge/hold, needs-rebase]\n";

#[test]
fn mismatched_tide() {
    let check = "mismatched-tide";
    let plugins = |text| Case { config: QUERY, plugins: Some(text), ..Case::default() };
    let right = "plugins:\n  other: {plugins: [lgtm]}\n  acme: {plugins: [lgtm, hold]}\nexternal_plugins:\n  acme: [{name: needs-rebase}]\n";
    none(check, &plugins(right));
    let without_hold = right.replace(", hold", "");
    one(
        check,
        &plugins(&without_hold),
        "config.yaml:6: warning: tide.queries[1]: Tide forbids do-not-merge/hold in acme",
        "(hold) is not enabled",
    );
    let with_wip = right.replace("hold]", "hold, wip, approve]");
    let found = plugins(&with_wip).of(check);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("plugins.yaml:3: warning: plugins[\"acme\"]: acme enables approve, but Tide merges there without the label approved"), "{found:?}");
    assert!(found[1].contains("enables wip, but Tide merges there in spite of"), "{found:?}");
    let excluded = right.replace("[lgtm, hold]", "[lgtm, hold], excluded_repos: [a]");
    let found = plugins(&excluded).of(check);
    assert!(found.len() == 2 && found.iter().all(|f| f.contains("acme/a")), "{found:?}");
    let unset = right.replace("  other: {plugins: [lgtm]}\n", "");
    one(
        check,
        &plugins(&unset),
        "config.yaml:4: warning: tide.queries[0]: Tide requires lgtm in other",
        "nothing merges",
    );
}

#[test]
fn mismatched_tide_lenient() {
    let check = "mismatched-tide-lenient";
    let plugins = Some("plugins:\n  acme: {plugins: [lgtm, wip]}\n");
    let case = Case { config: QUERY, plugins, warnings: &["mismatched-tide-lenient"], ..Case::default() };
    one(check, &case, "config.yaml:4: warning: tide.queries[0]: Tide requires lgtm in other", "");
    none(check, &Case { warnings: &["mismatched-tide-lenient", "mismatched-tide"], ..case });
    let plugins = Some("plugins: {acme: {plugins: [lgtm, wip]}, other: {plugins: [lgtm]}}\n");
    none(check, &Case { plugins, config: QUERY, warnings: &["mismatched-tide-lenient"], ..Case::default() });
}

#[test]
fn needs_ok_to_test() {
    let query = |missing| {
        format!(
            "tide: {{queries: [{{orgs: [z]}}, {{orgs: [o], labels: [lgtm], missingLabels: [{missing}]}}]}}\n"
        )
    };
    let (bad, good) = (query("needs-ok-to-test"), query("hold"));
    one(
        "needs-ok-to-test",
        &Case { config: &bad, ..Case::default() },
        "config.yaml:1: warning: tide.queries[1]",
        "",
    );
    none("needs-ok-to-test", &Case { config: &good, ..Case::default() });
    let supplemental: &[_] = &[("o_prowconfig.yaml", bad.as_str())];
    one(
        "needs-ok-to-test",
        &Case { supplemental, ..Case::default() },
        "more/o_prowconfig.yaml:1: warning: ",
        "",
    );
}

#[test]
fn tide_strict_branch() {
    let check = "tide-strict-branch";
    let queries = "tide: {queries: [{orgs: [acme], labels: [l]}]}\n";
    let strict = "protect: true, required_status_checks: {strict: true}";
    let tree = |at: &str| format!("{queries}branch-protection:\n  {at}\n");
    let repo = tree(&format!("orgs: {{acme: {{repos: {{a: {{branches: {{main: {{{strict}}}}}}}}}}}}}"));
    one(
        check,
        &Case { config: &repo, ..Case::default() },
        "config.yaml:3: warning: branch-protection.orgs[\"acme\"].repos[\"a\"]",
        "acme/a has strict",
    );
    let elsewhere = tree(&format!("orgs: {{other: {{{strict}}}}}"));
    none(check, &Case { config: &elsewhere, ..Case::default() });
    let org = tree(&format!(
        "orgs: {{acme: {{{strict}, repos: {{a: {{required_status_checks: {{strict: false}}}}}}}}}}"
    ));
    one(
        check,
        &Case { config: &org, ..Case::default() },
        "config.yaml:3: warning: branch-protection.orgs[\"acme\"]: acme (all but acme/a)",
        "",
    );
    let all = format!("{queries}branch-protection: {{{strict}}}\n");
    one(check, &Case { config: &all, ..Case::default() }, "config.yaml:2: warning: ", "on for everything");
    none(check, &Case { config: &all.replace(queries, ""), ..Case::default() });
    let undecided = tree("orgs: {acme: {repos: {a: {branches: {main: {}}}}}}");
    one(
        check,
        &Case { config: &undecided, ..Case::default() },
        "config.yaml:3: warning: ",
        "protect must be true or false",
    );
}

#[test]
fn tide_context_policy() {
    let check = "tide-context-policy";
    let config = |options: &str| format!("x: 1\ntide:\n  context_options:\n    {options}\n");
    let both = config("orgs: {acme: {repos: {a: {required-contexts: [c], optional-contexts: [c]}}}}");
    one(
        check,
        &Case { config: &both, ..Case::default() },
        "config.yaml:4: warning: tide.context_options.orgs[\"acme\"]",
        "acme/a@master",
    );
    let branches = config(
        "orgs: {acme: {repos: {a: {required-contexts: [c], optional-contexts: [c], branches: {x: {}, y: {}}}}}}",
    );
    one(
        check,
        &Case { config: &branches, ..Case::default() },
        "config.yaml:4: ",
        "(and so for 1 more branch)",
    );
    // The job's context must pass, and the pattern says it may fail.
    let jobs = presubmit("    branches: [main]\n");
    let pattern = config("optional-regex-contexts: [^un]");
    one(
        check,
        &Case { config: &pattern, jobs: &jobs, ..Case::default() },
        "config.yaml:3: ",
        "acme/rocket@main",
    );
    none(
        check,
        &Case { config: &config("optional-regex-contexts: [^other]"), jobs: &jobs, ..Case::default() },
    );
}

#[test]
fn unmanaged_branch_protection() {
    let check = "validate-unmanaged-branchconfig-has-no-subconfig";
    for (tree, keys) in [
        ("{unmanaged: true, enforce_admins: true}", vec!["branch-protection:"]),
        ("{unmanaged: true, enforce_admins: true, orgs: {o: {unmanaged: false}}}", vec![]),
        ("{unmanaged: true, orgs: {o: {protect: true}}}", vec!["branch-protection.orgs[\"o\"]:"]),
        ("{unmanaged: true, orgs: {o: {repos: {r: {unmanaged: false}}}}}", vec![]),
        ("{orgs: {o: {unmanaged: true, protect: true}}}", vec!["branch-protection.orgs[\"o\"]:"]),
        (
            "{orgs: {o: {unmanaged: true, repos: {r: {protect: true}}}}}",
            vec!["branch-protection.orgs[\"o\"].repos[\"r\"]:"],
        ),
        ("{orgs: {o: {unmanaged: true, repos: {r: {unmanaged: false, protect: true}}}}}", vec![]),
        (
            "{orgs: {o: {repos: {r: {unmanaged: true, protect: true, branches: {b: {protect: true}, c: {unmanaged: true}}}}}}}",
            vec![
                "branch-protection.orgs[\"o\"].repos[\"r\"]:",
                "branch-protection.orgs[\"o\"].repos[\"r\"].branches[\"b\"]:",
                "branch-protection.orgs[\"o\"].repos[\"r\"].branches[\"c\"]:",
            ],
        ),
        (
            "{orgs: {o: {repos: {r: {branches: {b: {unmanaged: true, protect: true}}}}}}}",
            vec!["branch-protection.orgs[\"o\"].repos[\"r\"].branches[\"b\"]:"],
        ),
        (
            "{orgs: {o: {repos: {r: {unmanaged: true, branches: {b: {unmanaged: false, protect: true}}}}}}}",
            vec![],
        ),
        ("{orgs: {o: {repos: {r: {unmanaged: true}}}}}", vec![]),
    ] {
        let config = format!("branch-protection: {tree}\n");
        let found = Case { config: &config, ..Case::default() }.of(check);
        let want: Vec<String> = keys.iter().map(|k| format!("config.yaml:1: warning: {k}")).collect();
        assert!(
            found.len() == want.len() && found.iter().zip(&want).all(|(f, w)| f.starts_with(w)),
            "{tree}: {found:?}"
        );
    }
}

#[test]
fn managed_webhooks_twice() {
    let config = |keys: &str| format!("managed_webhooks:\n  org_repo_config: {{{keys}}}\n");
    let created = "{token_created_after: 2020-01-01T00:00:00Z}";
    let (bad, good) = (
        config(&format!("acme: {created}, acme/a: {created}")),
        config(&format!("acme: {created}, other/a: {created}")),
    );
    one(
        "managed-webhooks",
        &Case { config: &bad, ..Case::default() },
        "config.yaml:2: warning: managed_webhooks.org_repo_config[\"acme/a\"]",
        "arrive twice",
    );
    none("managed-webhooks", &Case { config: &good, ..Case::default() });
}

#[test]
fn missing_trigger() {
    let jobs = presubmit("");
    let case = |plugins| Case { jobs: &jobs, plugins, ..Case::default() };
    one(
        "missing-trigger",
        &case(Some("plugins: {acme: {plugins: [trigger], excluded_repos: [rocket]}}")),
        "jobs.yaml:3: warning: : acme/rocket has 1 job but not the plugin trigger",
        "",
    );
    none("missing-trigger", &case(Some("plugins: {acme: {plugins: [trigger]}}")));
    none("missing-trigger", &case(Some("plugins: {acme/rocket: {plugins: [trigger]}}")));
    none("missing-trigger", &case(None));
}

#[test]
fn validate_owners() {
    let case = |plugins| Case { plugins: Some(plugins), ..Case::default() };
    one(
        "validate-owners",
        &case("plugins:\n  acme: {plugins: [approve, blunderbuss]}\n"),
        "plugins.yaml:2: warning: plugins[\"acme\"]: acme enables approve and blunderbuss",
        "not verify-owners",
    );
    none("validate-owners", &case("plugins: {acme: {plugins: [approve, verify-owners]}}"));
    none("validate-owners", &case("plugins: {acme: {plugins: [lgtm]}}"));
    let supplemental: &[_] = &[("acme/x_pluginconfig.yaml", "plugins: {acme: {plugins: [rifle]}}\n")];
    one(
        "validate-owners",
        &Case { plugins: Some(""), supplemental, ..Case::default() },
        "more/acme/x_pluginconfig.yaml:1: warning: ",
        "enables rifle",
    );
}

#[test]
fn verify_owners_presence() {
    let mut plugins = PluginConfig::default();
    for (place, names) in
        [("acme", ["lgtm", "approve"]), ("other/a", ["owners-label", "cat"]), ("other/b", ["cat", "dog"])]
    {
        let plugins_there = names.iter().map(|n| (*n).to_owned()).collect();
        let there =
            prow_config::plugins::OrgPlugins { plugins: plugins_there, excluded_repos: vec!["x".into()] };
        plugins.plugins.insert(place.into(), there);
    }
    let users = owners_users(&plugins);
    for (repo, reads) in [("acme/a", true), ("acme/x", false), ("other/a", true), ("other/b", false)] {
        assert_eq!(users.contains(repo), reads, "{repo}");
    }
    let found = no_owners(&plugins, "other/a");
    assert!(
        found.key == "plugins[\"other/a\"]" && found.message.contains("enables owners-label"),
        "{found:?}"
    );
}

#[test]
fn validate_github_app_installation() {
    let mut snapshot = Snapshot::default();
    snapshot.jobs.postsubmits.insert("Acme/rocket".into(), vec![Default::default()].into());
    let query = prow_config::prowconfig::TideQuery { repos: vec!["other/a".into()], ..Default::default() };
    snapshot.prow.tide.queries.push(query);
    let missing = |installed: &[&str]| -> Vec<String> {
        let installed: Vec<String> = installed.iter().map(|s| (*s).to_owned()).collect();
        without_app(&snapshot, &installed).into_iter().map(|f| f.message).collect()
    };
    assert_eq!(missing(&["acme", "other"]), [""; 0]);
    assert_eq!(missing(&["acme"]), ["other has configuration, but the GitHub App is not installed there"]);
    assert_eq!(missing(&[]).len(), 2);
}

#[test]
fn validate_label() {
    let case = |plugins| Case { plugins: Some(plugins), ..Case::default() };
    let both =
        "label:\n  additional_labels: [a]\n  restricted_labels:\n    acme:\n    - label: b\n    - label: a\n";
    one(
        "validate-label",
        &case(both),
        "plugins.yaml:6: warning: label.restricted_labels[\"acme\"][1]",
        "everyone may set it",
    );
    one(
        "validate-label",
        &case("label: {restricted_labels: {'*': [{allowed_users: [x]}]}}"),
        "plugins.yaml:1: warning: ",
        "without a name",
    );
    none("validate-label", &case("label: {additional_labels: [a], restricted_labels: {acme: [{label: b}]}}"));
}

#[test]
fn validate_config_updater_acls() {
    let case = |list: &str| {
        format!("config_updater:\n  maps:\n    a/b.yaml:\n      name: cm\n      denied_repos: [{list}]\n")
    };
    let check = "validate-config-updater-acls";
    for (entry, why) in [("a/b/c", "more than one slash"), ("''", "empty"), ("/x", "no organisation")] {
        let plugins = case(entry);
        let case = Case { plugins: Some(&plugins), ..Case::default() };
        one(check, &case, "plugins.yaml:5: warning: config_updater.maps[\"a/b.yaml\"].denied_repos[0]", why);
    }
    none(check, &Case { plugins: Some(&case("acme, acme/a")), ..Case::default() });
}

#[test]
fn supplemental_hierarchy() {
    let check = "validate-supplemental-prow-config-hierarchy";
    let org = "branch-protection: {orgs: {acme: {protect: true}}}\n";
    let repo = "tide: {queries: [{repos: [acme/a], labels: [l]}]}\n";
    let everyone = "branch-protection: {protect: true}\n";
    for (path, text, want) in [
        ("x_prowconfig.yaml", everyone, ""),
        ("acme/x_prowconfig.yaml", org, ""),
        ("acme/a/x_prowconfig.yaml", repo, ""),
        ("acme/x_prowconfig.yaml", repo, "configures repository acme/a"),
        ("acme/a/x_prowconfig.yaml", org, "configures organisation acme"),
        ("acme/a/b/x_prowconfig.yaml", repo, "too deep"),
        ("acme/x_prowconfig.yaml", everyone, "configures everyone"),
        ("acme/x_prowconfig.yaml", "slack_reporter_configs: {'*': {channel: c}}\n", "configures everyone"),
        ("acme/x_prowconfig.yaml", "", "configures nothing of it"),
        ("acme/x_pluginconfig.yaml", "plugins: {acme: {plugins: [cat]}}\n", ""),
        (
            "acme/a/x_pluginconfig.yaml",
            "lgtm: [{repos: [acme/a]}]\nexternal_plugins: {acme/a: [{name: x}]}\n",
            "",
        ),
        ("acme/a/x_pluginconfig.yaml", "approve: [{repos: [acme/b]}]\n", "configures repository acme/b"),
        ("acme/x_pluginconfig.yaml", "bugzilla: {default: {'*': {is_open: true}}}\n", "configures everyone"),
        ("acme/x_pluginconfig.yaml", "bugzilla: {orgs: {acme: {default: {'*': {is_open: true}}}}}\n", ""),
        (
            "acme/x_pluginconfig.yaml",
            "label: {restricted_labels: {other: [{label: l}]}}\n",
            "configures organisation other",
        ),
    ] {
        let supplemental: &[_] = &[(path, text)];
        let case = Case { supplemental, plugins: Some(""), ..Case::default() };
        match want {
            "" => none(check, &case),
            want => one(check, &case, &format!("more/{path}:1: warning: "), want),
        }
    }
}

#[test]
fn rerun_commands_that_gerrit_refuses() {
    let jobs = presubmit("");
    let gerrit = |re: &str| format!("gerrit: {{allowed_presubmit_trigger_re: '{re}'}}\n");
    one(
        "rerun-command",
        &Case { jobs: &jobs, config: &gerrit("^/check"), ..Case::default() },
        "jobs.yaml:3: warning: ",
        "\"/test unit\"",
    );
    none("rerun-command", &Case { jobs: &jobs, config: &gerrit("^/test"), ..Case::default() });
}

#[test]
fn plugins_that_do_not_exist_are_errors() {
    let case =
        Case { plugins: Some("plugins:\n  acme: {plugins: [triger, lgtm, mine]}\n"), ..Case::default() };
    let found = case.of("load");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("plugins.yaml:2: error: plugins[\"acme\"]: there is no plugin \"triger\" (did you mean \"trigger\"?)"), "{found:?}");
    assert!(found[1].contains("external_plugins"), "{found:?}");
}

#[test]
fn names_to_exclude_that_do_not_exist_are_said() {
    let case = Case { exclude: &["long-job-name"], ..Case::default() };
    one(
        "load",
        &case,
        ":0: note: : --exclude-warning: there is no warning",
        "did you mean \"long-job-names\"?",
    );
}
