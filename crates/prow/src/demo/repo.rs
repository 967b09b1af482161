//! The repository of the demo, its configuration, and the contributor's changes. All texts are the demo's own.

use std::path::Path;

/// Organisation of the demo.
pub const ORG: &str = "acme";
/// Repository of the demo.
pub const REPO: &str = "greeter";
/// Contributor, member of the organisation.
pub const CONTRIBUTOR: &str = "maya";
/// Merges.
pub const MAINTAINER: &str = "ada";
/// Prow's own account.
pub const BOT: &str = "acme-prow";
/// The contributor's branch.
pub const BRANCH: &str = "warmer-greeting";
/// Presubmit that passes all the time.
pub const LINT: &str = "lint";
/// Presubmit that finds the mistake.
pub const UNIT: &str = "unit";
/// Postsubmit of main.
pub const PACKAGE: &str = "package";
/// Periodic.
pub const AUDIT: &str = "audit";

/// A file: path and text. Scripts (`#!`) are executable.
pub type Source = (&'static str, &'static str);

/// What main holds at first.
pub const MAIN: [Source; 6] = [
    ("README.md", "# greeter\n\nSays hello. `./greet.sh NAME`\n"),
    ("greet.sh", "#!/bin/sh\n# Greets whoever is named.\necho \"Hello, ${1:-world}!\"\n"),
    (
        "test/unit.sh",
        "#!/bin/sh\n\
# Checks what greet.sh says and leaves a JUnit report among the artifacts.\n\
want=\"$(cat test/expected.txt)\"\n\
got=\"$(./greet.sh Prow)\"\n\
echo \"want: $want\"\n\
echo \"got:  $got\"\n\
if [ \"$got\" = \"$want\" ]; then\n\
  echo '<testsuite name=\"greet\" tests=\"1\" failures=\"0\"><testcase classname=\"greet\" name=\"says hello\"/></testsuite>' > \"$ARTIFACTS/junit_greet.xml\"\n\
  echo \"PASS: the greeting is right\"\n\
else\n\
  echo '<testsuite name=\"greet\" tests=\"1\" failures=\"1\"><testcase classname=\"greet\" name=\"says hello\"><failure>wrong greeting</failure></testcase></testsuite>' > \"$ARTIFACTS/junit_greet.xml\"\n\
  echo \"ERROR: FAIL: the greeting is wrong\"\n\
  exit 1\n\
fi\n",
    ),
    ("test/expected.txt", "Hello, Prow!\n"),
    (
        "test/lint.sh",
        "#!/bin/sh\n# Every script must at least parse.\nfor script in *.sh test/*.sh; do\n  sh -n \"$script\" || exit 1\n  echo \"ok: $script\"\ndone\n",
    ),
    (
        "test/package.sh",
        "#!/bin/sh\n# Packs what main is now.\nset -e\ntar -cf \"$ARTIFACTS/greeter.tar\" greet.sh README.md\necho \"packed $(git rev-parse HEAD)\"\n",
    ),
];

/// The contributor's first try: the expectation changes, the script has a slip.
pub const MISTAKE: [Source; 2] = [
    ("greet.sh", "#!/bin/sh\n# Greets whoever is named.\necho \"Helo, ${1:-world}! Good to see you.\"\n"),
    ("test/expected.txt", "Hello, Prow! Good to see you.\n"),
];

/// The fix.
pub const FIX: [Source; 1] =
    [("greet.sh", "#!/bin/sh\n# Greets whoever is named.\necho \"Hello, ${1:-world}! Good to see you.\"\n")];

/// Writes files below `dir`.
pub fn write(dir: &Path, files: &[Source]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, text) in files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        std::fs::set_permissions(
            &path,
            PermissionsExt::from_mode(if text.starts_with("#!") { 0o755 } else { 0o644 }),
        )?;
    }
    Ok(())
}

/// config.yaml.
pub fn config_yaml(deck_url: &str, forge_url: &str, bucket: &Path) -> String {
    format!(
        "\
# Configuration of the demo. It is read again when you change it.
prowjob_namespace: default
pod_namespace: test-pods
log_level: info
github:
  link_url: {forge_url}
plank:
  job_url_prefix_config:
    '*': {deck_url}/view
  report_templates:
    '*': '[All runs of this pull request]({deck_url}/pr-history?org={{{{.Spec.Refs.Org}}}}&repo={{{{.Spec.Refs.Repo}}}}&pr={{{{with index .Spec.Refs.Pulls 0}}}}{{{{.Number}}}}{{{{end}}}})'
  default_decoration_config_entries:
  - config:
      timeout: 10m
      grace_period: 15s
      utility_images:
        clonerefs: prow/clonerefs
        initupload: prow/initupload
        entrypoint: prow/entrypoint
        sidecar: prow/sidecar
      gcs_configuration:
        bucket: file://{bucket}
        path_strategy: explicit
horologium:
  tick_interval: 5s
sinker:
  resync_period: 1m
",
        bucket = bucket.display()
    )
}

/// plugins.yaml.
pub fn plugins_yaml() -> String {
    format!("plugins:\n  {ORG}/{REPO}:\n    plugins:\n    - trigger\ntriggers:\n- repos:\n  - {ORG}/{REPO}\n")
}

/// jobs/greeter.yaml.
pub fn jobs_yaml(forge_url: &str) -> String {
    format!(
        "\
presubmits:
  {ORG}/{REPO}:
  - name: {UNIT}
    always_run: true
    decorate: true
    spec:
      containers:
      - image: any            # this runner runs processes: the image is not used
        command: [./test/unit.sh]
  - name: {LINT}
    always_run: true
    decorate: true
    spec:
      containers:
      - image: any
        command: [./test/lint.sh]
postsubmits:
  {ORG}/{REPO}:
  - name: {PACKAGE}
    branches: [^main$]
    decorate: true
    spec:
      containers:
      - image: any
        command: [./test/package.sh]
periodics:
- name: {AUDIT}
  interval: 24h
  decorate: true
  extra_refs:
  - org: {ORG}
    repo: {REPO}
    base_ref: main
    clone_uri: {forge_url}/{ORG}/{REPO}.git
  spec:
    containers:
    - image: any
      command: [sh, -c]
      args: ['echo \"$(git ls-files | wc -l) files on main, all accounted for\"']
"
    )
}
