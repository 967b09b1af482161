//! The warnings by name, and which of them are on (prow-config §9).

use prow_config::did_you_mean;
use std::collections::BTreeSet;

/// When a warning is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Unless others are asked for by name.
    Default,
    /// With `--expensive-checks`: it asks GitHub about many repositories.
    Expensive,
    /// With `--expensive-checks`, or by name.
    Optional,
}

/// A warning.
#[derive(Debug)]
pub struct Warning {
    /// As `--warnings` takes it.
    pub name: &'static str,
    /// When it is on.
    pub class: Class,
    /// It needs plugins.yaml, and is passed over without.
    pub needs_plugins: bool,
    /// What it is about: the heading of its findings.
    pub about: &'static str,
}

macro_rules! warnings {
    ($($constant:ident = $name:literal, $class:ident, $plugins:literal, $about:literal;)*) => {
        $(#[doc = $about] pub const $constant: &str = $name;)*
        /// Every warning, in the order in which findings are shown.
        pub const WARNINGS: &[Warning] =
            &[$(Warning { name: $name, class: Class::$class, needs_plugins: $plugins, about: $about },)*];
    };
}

warnings! {
    UNKNOWN_FIELDS = "unknown-fields", Default, false, "keys of config.yaml and plugins.yaml that nothing reads";
    UNKNOWN_FIELDS_ALL = "unknown-fields-all", Optional, false, "keys of any file that nothing reads";
    VALIDATE_URLS = "validate-urls", Default, true, "links that are no URLs";
    LONG_JOB_NAMES = "long-job-names", Default, false, "job names that do not fit into a label";
    NON_DECORATED_JOBS = "non-decorated-jobs", Default, false, "jobs without clone, log and artifact upload";
    VALID_DECORATION_CONFIG = "valid-decoration-config", Optional, false, "decoration that misses something";
    DUPLICATE_JOB_REFS = "duplicate-job-refs", Default, false, "repositories that a job clones twice";
    PERIODIC_DEFAULT_CLONE_CONFIG = "periodic-default-clone-config", Default, false, "clone settings without effect on periodics";
    VALIDATE_CLUSTER_FIELD = "validate-cluster-field", Default, false, "build clusters that jobs cannot run on";
    REQUIRED_JOB_ANNOTATIONS = "required-job-annotations", Default, false, "jobs without an annotation that you require";
    MISMATCHED_TIDE = "mismatched-tide", Default, true, "plugins and Tide's queries that do not fit together";
    MISMATCHED_TIDE_LENIENT = "mismatched-tide-lenient", Default, true, "lgtm, approve and Tide's queries that do not fit together";
    NEEDS_OK_TO_TEST = "needs-ok-to-test", Default, false, "Tide queries that forbid needs-ok-to-test beside lgtm";
    TIDE_STRICT_BRANCH = "tide-strict-branch", Default, false, "branches that must be up to date although Tide merges them";
    TIDE_CONTEXT_POLICY = "tide-context-policy", Default, false, "contexts that are required and optional at once";
    UNMANAGED_SUBCONFIG = "validate-unmanaged-branchconfig-has-no-subconfig", Default, false, "branch protection without effect: unmanaged";
    MANAGED_WEBHOOKS = "managed-webhooks", Default, false, "repositories that would get every webhook twice";
    MISSING_TRIGGER = "missing-trigger", Default, true, "repositories with jobs that nothing starts";
    VALIDATE_OWNERS = "validate-owners", Default, true, "OWNERS files that nothing verifies";
    VERIFY_OWNERS_PRESENCE = "verify-owners-presence", Expensive, true, "OWNERS files that are not there";
    VALIDATE_LABEL = "validate-label", Default, true, "restricted labels that restrict nothing";
    CONFIG_UPDATER_ACLS = "validate-config-updater-acls", Default, true, "entries of allowed_repos and denied_repos that match nothing";
    SUPPLEMENTAL_HIERARCHY = "validate-supplemental-prow-config-hierarchy", Default, false, "supplemental files in another's directory";
    GITHUB_APP_INSTALLATION = "validate-github-app-installation", Optional, false, "organisations without the GitHub App";
}

/// Findings that no flag turns off.
pub(crate) const RERUN_COMMAND: &str = "rerun-command";

/// What findings of a name are about.
pub fn about(check: &str) -> &'static str {
    match check {
        "load" => "what the loader found",
        RERUN_COMMAND => "rerun commands that Gerrit does not allow",
        _ => WARNINGS.iter().find(|w| w.name == check).map_or("", |w| w.about),
    }
}

/// A name that is no warning.
#[derive(Debug, thiserror::Error)]
#[error("there is no warning {name:?}{meant}; there are {known}")]
pub struct NoSuchWarning {
    name: String,
    meant: String,
    known: String,
}

impl NoSuchWarning {
    fn new(name: &str) -> NoSuchWarning {
        let names = || WARNINGS.iter().map(|w| w.name);
        let meant = did_you_mean(name, names()).map(|m| format!(", did you mean {m:?}?")).unwrap_or_default();
        NoSuchWarning { name: name.to_owned(), meant, known: names().collect::<Vec<_>>().join(", ") }
    }
}

/// What the flags ask for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `--warnings`.
    pub warnings: Vec<String>,
    /// `--exclude-warning`.
    pub exclude: Vec<String>,
    /// `--expensive-checks`.
    pub expensive: bool,
    /// `--include-default-warnings`.
    pub include_defaults: bool,
    /// A GitHub App was given: whether it is installed can be checked, too.
    pub app: bool,
}

/// The warnings that are on.
#[derive(Debug, Clone)]
pub struct Selection {
    on: BTreeSet<&'static str>,
    excluded: Vec<String>,
}

impl Selection {
    /// Without names (or with the defaults asked for as well) the default ones; then with expensive checks all
    /// there are. What is excluded is off; names to exclude are not checked, as upstream.
    ///
    /// # Errors
    /// A name that is no warning.
    pub fn new(asked: &Asked) -> Result<Selection, NoSuchWarning> {
        let mut on = BTreeSet::new();
        for name in &asked.warnings {
            let known = WARNINGS.iter().find(|w| w.name == name).ok_or_else(|| NoSuchWarning::new(name))?;
            on.insert(known.name);
        }
        if asked.warnings.is_empty() || asked.include_defaults {
            on.extend(
                WARNINGS.iter().filter(|w| asked.expensive || w.class == Class::Default).map(|w| w.name),
            );
        }
        if asked.app {
            on.insert(GITHUB_APP_INSTALLATION);
        }
        on.retain(|name| !asked.exclude.iter().any(|e| e == name));
        Ok(Selection { on, excluded: asked.exclude.clone() })
    }

    /// Whether a warning is on.
    pub fn has(&self, name: &str) -> bool {
        self.on.contains(name)
    }

    /// How many are on.
    pub fn len(&self) -> usize {
        self.on.len()
    }

    /// None is on.
    pub fn is_empty(&self) -> bool {
        self.on.is_empty()
    }

    /// Whether a warning was turned off by name.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.excluded.iter().any(|e| e == name)
    }

    /// Names to exclude that are no warnings.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = NoSuchWarning> + '_ {
        self.excluded.iter().filter(|e| !WARNINGS.iter().any(|w| w.name == *e)).map(|e| NoSuchWarning::new(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(warnings: &[&str], exclude: &[&str], expensive: bool, include_defaults: bool) -> Selection {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Selection::new(&Asked {
            warnings: owned(warnings),
            exclude: owned(exclude),
            expensive,
            include_defaults,
            app: false,
        })
        .unwrap()
    }

    #[test]
    fn the_flags_turn_warnings_on_and_off() {
        assert_eq!(WARNINGS.len(), 24);
        assert_eq!(select(&[], &[], false, false).len(), 20);
        assert_eq!(select(&[], &[], true, false).len(), 24);
        assert_eq!(select(&["long-job-names"], &[], true, false).len(), 1);
        assert_eq!(select(&["unknown-fields-all"], &[], false, true).len(), 21);
        assert_eq!(select(&["unknown-fields-all"], &[], true, true).len(), 24);
        let some = select(&[], &["long-job-names", "no-such"], false, false);
        assert!(!some.has("long-job-names") && some.has("missing-trigger") && some.len() == 19);
        assert_eq!(some.strangers().count(), 1);
        let app = Selection::new(&Asked { app: true, ..Asked::default() }).unwrap();
        assert!(app.len() == 21 && app.has(GITHUB_APP_INSTALLATION));
    }

    #[test]
    fn unknown_names_are_refused_with_what_was_meant() {
        let asked =
            Asked { warnings: vec!["validate-supplemental-prow-config-hirarchy".into()], ..Asked::default() };
        let error = Selection::new(&asked).unwrap_err().to_string();
        assert!(error.contains("did you mean \"validate-supplemental-prow-config-hierarchy\"?"), "{error}");
    }
}
