//! The jobs that a repository defines itself, read from a directory on this machine as it is, committed or not: for
//! tools that people and presubmits run in a checkout (prow-config §8, §9).

use crate::diagnostic::{Diagnostic, LoadErrors};
use crate::goyaml;
use crate::inrepo::{Chosen, DIRECTORY, EntryKind, FILE, IGNORE, InRepoJobs, Listing, Parsed, RepoEntry};
use crate::snapshot::Snapshot;
use crate::walk::sorted_entries;
use std::path::{Path, PathBuf};

/// Directories below each other; git's own limit on paths is far below what this could be.
const MAX_DEPTH: usize = 64;

/// The jobs of `identifier` (`org/repo`) in its checkout at `root`, defaulted and checked beside the
/// configuration's. Whether in-repo configuration is enabled for it does not matter here.
pub fn own_jobs(root: &Path, config: &Snapshot, identifier: &str) -> Result<InRepoJobs, LoadErrors> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot read the checkout {}: {error}", root.display());
        LoadErrors { errors: vec![Diagnostic::error(message)], warnings: Vec::new() }
    };
    let root = root.canonicalize().map_err(failed)?;
    let mut entries = Vec::new();
    for name in [DIRECTORY, FILE, IGNORE] {
        visit(&root, root.join(name), name.to_owned(), 0, &mut entries).map_err(failed)?;
    }
    let listing = Listing::of(&entries);
    // The path stands for the content's id: nothing is kept here.
    let read = |chosen: &Chosen| std::fs::read(root.join(&chosen.id));
    let ignores = listing.ignores.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let ignores: Vec<String> =
        ignores.into_iter().map(|bytes| goyaml::decode_text(bytes).unwrap_or_default()).collect();
    let mut files = Vec::new();
    for chosen in listing.kept(&ignores) {
        files.push((chosen, read(chosen).map_err(failed)?));
    }
    InRepoJobs::of(config, identifier, &Parsed::new(&files, listing.findings()))
}

fn visit(
    root: &Path,
    at: PathBuf,
    path: String,
    depth: usize,
    out: &mut Vec<RepoEntry>,
) -> Result<(), std::io::Error> {
    let meta = match at.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let kind = if meta.is_dir() {
        EntryKind::Directory
    } else if meta.is_file() {
        EntryKind::File { id: path.clone(), size: meta.len() }
    } else if !meta.is_symlink() {
        EntryKind::Unreadable("is neither a file nor a directory")
    } else {
        match at.canonicalize() {
            Err(_) => EntryKind::Unreadable("is a link that leads nowhere"),
            Ok(target) if !target.starts_with(root) => {
                EntryKind::Unreadable("is a link that leads out of the repository")
            }
            Ok(target) => match target.metadata()? {
                meta if meta.is_dir() => EntryKind::DirectoryLink,
                meta if meta.is_file() => EntryKind::File { id: path.clone(), size: meta.len() },
                _ => EntryKind::Unreadable("is a link to something that is no file"),
            },
        }
    };
    let deeper = kind == EntryKind::Directory && depth < MAX_DEPTH;
    out.push(RepoEntry { path: path.clone(), kind });
    if deeper {
        for entry in sorted_entries(&at)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            visit(root, entry.path(), format!("{path}/{name}"), depth + 1, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn job(name: &str) -> String {
        format!("presubmits:\n- name: {name}\n  spec: {{containers: [{{image: i}}]}}\n")
    }

    fn config() -> Snapshot {
        let mut config = Snapshot::default();
        config.prow.in_repo_config.allowed_clusters.insert("*".into(), vec!["default".into()]);
        config
    }

    #[test]
    fn a_checkout_is_read_as_git_would_read_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join("checkout").join(p);
        fs::create_dir_all(at(".prow/deep")).unwrap();
        fs::create_dir_all(at("ci")).unwrap();
        fs::write(at("ci/shared.yaml"), job("shared")).unwrap();
        fs::write(at(".prow/deep/a.yaml"), job("a")).unwrap();
        fs::write(at(".prow/b.yaml"), job("b")).unwrap();
        fs::write(at(".prow/skip.yaml"), "[").unwrap();
        fs::write(at(".prowignore"), "skip.yaml\n").unwrap();
        fs::write(at(".prow.yaml"), job("single")).unwrap();
        std::os::unix::fs::symlink("../ci/shared.yaml", at(".prow/c.yaml")).unwrap();
        std::os::unix::fs::symlink("../ci", at(".prow/linked")).unwrap();
        let names =
            |jobs: &InRepoJobs| jobs.presubmits.iter().map(|j| j.base.name.clone()).collect::<Vec<_>>();
        let own = own_jobs(&at(""), &config(), "o/r").unwrap();
        assert_eq!(names(&own), ["b", "shared", "a"]);
        fs::write(dir.path().join("secret.yaml"), job("secret")).unwrap();
        std::os::unix::fs::symlink("../../secret.yaml", at(".prow/out.yaml")).unwrap();
        let errors = own_jobs(&at(""), &config(), "o/r").unwrap_err();
        assert!(errors.to_string().contains(".prow/out.yaml: it is a link that leads out"), "{errors}");
        fs::remove_dir_all(at(".prow")).unwrap();
        assert_eq!(names(&own_jobs(&at(""), &config(), "o/r").unwrap()), ["single"]);
        fs::remove_file(at(".prow.yaml")).unwrap();
        assert!(own_jobs(&at(""), &config(), "o/r").unwrap().presubmits.is_empty());
        assert!(own_jobs(&at("nowhere"), &config(), "o/r").is_err());
    }
}
