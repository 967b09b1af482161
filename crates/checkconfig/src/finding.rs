//! One thing to look at: how bad it is, where it is, and what to do about it.

use prow_config::{Diagnostic, Severity};
use serde::Serialize;
use std::sync::Arc;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The configuration does not load.
    Error,
    /// It loads and is probably not meant. `--strict` fails on it.
    Warning,
    /// Worth knowing; never a reason to fail.
    Note,
}

impl Level {
    /// As it is written before a finding.
    pub fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        }
    }
}

/// Which files a key path is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Home {
    /// Nowhere: the place is known, or there is none.
    #[default]
    Known,
    /// config.yaml and supplemental files of it.
    Config,
    /// plugins.yaml and supplemental files of it.
    Plugins,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Name of the warning, as `--exclude-warning` takes it; `load` for what the loader found.
    pub check: &'static str,
    /// File as it was reached; empty when no single file is at fault.
    pub file: Arc<str>,
    /// From 1; 0 when unknown.
    pub line: u32,
    /// From 1; 0 when unknown.
    pub column: u32,
    /// Keys from the top of the file; may be empty.
    pub key: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub suggestion: Option<String>,
    /// Key of the job at `line` that the finding is about: whoever has the file may put the finding there.
    #[serde(skip)]
    pub job_key: Option<&'static str>,
    #[serde(skip)]
    pub(crate) home: Home,
}

impl Finding {
    /// A warning without a place.
    pub fn warning(check: &'static str, message: impl Into<String>) -> Finding {
        Finding {
            level: Level::Warning,
            check,
            file: Arc::default(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            suggestion: None,
            job_key: None,
            home: Home::Known,
        }
    }

    /// A note without a place.
    pub fn note(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { level: Level::Note, ..Finding::warning(check, message) }
    }

    /// An error without a place: the configuration cannot be used, or a check cannot be made.
    pub fn error(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { level: Level::Error, ..Finding::warning(check, message) }
    }

    /// What the loader found, under the name of a warning.
    pub fn of(diagnostic: &Diagnostic, level: Level, check: &'static str) -> Finding {
        Finding {
            level,
            file: diagnostic.file.clone(),
            line: diagnostic.line,
            column: diagnostic.column,
            key: diagnostic.key_path.clone(),
            suggestion: diagnostic.suggestion.clone(),
            ..Finding::warning(check, diagnostic.message.clone())
        }
    }

    /// What the loader found: errors, and what is odd as notes.
    pub fn loaded(diagnostic: &Diagnostic) -> Finding {
        let level = match diagnostic.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Note,
        };
        Finding::of(diagnostic, level, "load")
    }

    /// The same with what to do about it.
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Finding {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// The same at a line of a file.
    pub fn at(mut self, file: &Arc<str>, line: u32) -> Finding {
        self.file = file.clone();
        self.line = line;
        self
    }

    /// The same at a key that is looked for in the configuration's files.
    pub(crate) fn in_config(mut self, key: impl Into<String>) -> Finding {
        self.key = key.into();
        self.home = Home::Config;
        self
    }

    /// The same at a key that is looked for in the plugins' files.
    pub(crate) fn in_plugins(mut self, key: impl Into<String>) -> Finding {
        self.key = key.into();
        self.home = Home::Plugins;
        self
    }
}
