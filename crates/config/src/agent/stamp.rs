//! What the files of a configuration look like from outside: enough to tell whether anything changed.

use crate::load::LoadOptions;
use crate::walk;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Path, modification time, length and identity of every file that is read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<(SystemTime, u64, u64)>)>);

impl Stamp {
    /// Looks at the files now. What cannot be looked at counts as absent.
    pub(super) fn of(options: &LoadOptions) -> Stamp {
        let mut out = Stamp::default();
        out.file(&options.config_path);
        out.file(&options.config_path.with_file_name("VERSION"));
        if let Some(plugins) = &options.plugin_config {
            out.file(plugins);
        }
        if let Some(jobs) = &options.job_config_path {
            out.tree(jobs);
        }
        for directory in
            options.supplemental_prow_config_dirs.iter().chain(&options.supplemental_plugin_config_dirs)
        {
            out.tree(directory);
        }
        out
    }

    fn file(&mut self, path: &Path) {
        // Links are followed: a ConfigMap's file changes when the link above it is flipped.
        let seen = fs::metadata(path)
            .ok()
            .map(|m| (m.modified().unwrap_or(SystemTime::UNIX_EPOCH), m.len(), identity(&m)));
        self.0.push((path.to_owned(), seen));
    }

    fn tree(&mut self, path: &Path) {
        if !path.is_dir() {
            self.file(path);
            return;
        }
        for entry in walk::sorted_entries(path).unwrap_or_default() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("..") {
                continue;
            }
            let below = entry.path();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.tree(&below);
            } else if name.ends_with(".yaml") || name.ends_with(".yml") || name == ".prowignore" {
                self.file(&below);
            }
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> u64 {
    0
}
