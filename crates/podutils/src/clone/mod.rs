//! clonerefs: puts the code under test in place and records how (prow-runtime §8.1, traps 28, 29).
//!
//! A clone that fails is not a failure of this utility: the records say so, and initupload makes it the Pod's.

mod auth;
mod credentials;
mod plan;
mod repository;
#[cfg(test)]
mod tests;

use crate::{Env, Host, UtilityError, flags};
use auth::{Access, KNOWN_HOSTS};
use futures::StreamExt;
use prow_api::options::{CLONEREFS_OPTIONS, CloneRefsOptions};
use prow_api::results::CloneRecord;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Options from CLONEREFS_OPTIONS, else flags.
pub(crate) async fn main(args: Vec<OsString>, env: &Env, host: &Host) -> Result<u8, UtilityError> {
    let options = match env.json(CLONEREFS_OPTIONS)? {
        Some(options) => options,
        None => flags::clonerefs(args)?,
    };
    run(options, host).await
}

async fn run(mut options: CloneRefsOptions, host: &Host) -> Result<u8, UtilityError> {
    check(&options)?;
    for (member, default) in
        [(&mut options.git_user_name, "ci-robot"), (&mut options.git_user_email, "ci-robot@k8s.io")]
    {
        if member.is_empty() {
            *member = default.to_owned();
        }
    }
    let records = records(&options, host, Path::new(KNOWN_HOSTS)).await;
    let failed = records.iter().filter(|record| record.failed).count();
    write(Path::new(&options.log), &records)?;
    if failed > 0 {
        tracing::warn!(failed, "not everything could be cloned; the records in {} say why", options.log);
    }
    Ok(u8::from(options.fail && failed > 0))
}

fn check(options: &CloneRefsOptions) -> Result<(), UtilityError> {
    let wrong = |text: String| Err(UtilityError::Options(text));
    if options.src_root.is_empty() {
        return wrong("no source root specified: set src_root".to_owned());
    }
    if options.log.is_empty() {
        return wrong("no log file specified: set log".to_owned());
    }
    if options.refs.is_empty() {
        return wrong("no refs specified to clone".to_owned());
    }
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for refs in &options.refs {
        let (path, name) = (refs.source_path(), refs.org_repo());
        match seen.get(&path) {
            Some(other) if *other == name => {
                return wrong(format!("sync config for {name} provided more than once, both in {path}"));
            }
            Some(other) => {
                tracing::warn!("{name} and {other} are cloned into the same directory {path}");
            }
            None => {
                seen.insert(path, name);
            }
        }
    }
    if !options.github_app_id.is_empty() || !options.github_app_private_key_file.is_empty() {
        if !options.oauth_token_file.is_empty() {
            return wrong("a GitHub App and an OAuth token exclude each other: set one of them".to_owned());
        }
        if options.github_app_id.is_empty() || options.github_app_private_key_file.is_empty() {
            return wrong(
                "github_app_id and github_app_private_key_file belong together: set both".to_owned(),
            );
        }
    }
    Ok(())
}

async fn records(options: &CloneRefsOptions, host: &Host, known_hosts: &Path) -> Vec<CloneRecord> {
    let (setup, access) = Access::set_up(options, known_hosts).await;
    let Some(access) = access else { return vec![setup] };
    let workers = match usize::try_from(options.max_parallel_workers) {
        Ok(0) | Err(_) => options.refs.len(),
        Ok(workers) => workers,
    };
    let mut records = vec![setup];
    let access = &access;
    let clones = futures::stream::iter(&options.refs)
        .map(|refs| repository::clone(refs, options, access, host))
        .buffer_unordered(workers.max(1));
    records.extend(clones.collect::<Vec<_>>().await);
    records
}

fn write(path: &Path, records: &[CloneRecord]) -> Result<(), UtilityError> {
    let write = || {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut staged = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .prefix(".clone-")
            .tempfile_in(parent)?;
        serde_json::to_writer(staged.as_file_mut(), records)?;
        staged.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| UtilityError::File {
        action: "write",
        path: path.display().to_string(),
        why: e.to_string(),
    })
}
