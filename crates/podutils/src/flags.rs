//! The utilities' flags, for when no `*_OPTIONS` variable is set (prow-runtime §8, §11.24).

use crate::UtilityError;
use clap::{Args, Parser};
use prow_api::options::{CloneRefsOptions, GcsUploadOptions, InitUploadOptions};
use prow_api::{Pull, Refs};
use prow_storage::BucketUrl;
use std::ffi::OsString;

/// Go accepts one dash for long flags; clap wants two.
fn go_style(name: &'static str, args: Vec<OsString>) -> impl Iterator<Item = OsString> {
    let fixed = args.into_iter().map(|arg| match arg.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            OsString::from(format!("-{text}"))
        }
        _ => arg,
    });
    std::iter::once(OsString::from(name)).chain(fixed)
}

fn parse<P: Parser>(name: &'static str, args: Vec<OsString>) -> Result<P, UtilityError> {
    match P::try_parse_from(go_style(name, args)) {
        Ok(parsed) => Ok(parsed),
        // --help is asked for, not wrong.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => Err(UtilityError::Options(error.to_string().trim().to_owned())),
    }
}

/// Clones the refs of a job; options come from CLONEREFS_OPTIONS or these flags.
#[derive(Parser)]
#[command(name = "clonerefs")]
struct CloneRefs {
    /// Where to root source checkouts
    #[arg(long)]
    src_root: String,
    /// Where to write logs
    #[arg(long)]
    log: String,
    /// Username to set in git config
    #[arg(long, default_value = "ci-robot")]
    git_user_name: String,
    /// Email to set in git config
    #[arg(long, default_value = "ci-robot@k8s.io")]
    git_user_email: String,
    /// Refs to clone: org,repo=base-ref[:base-sha][,pull:sha[:ref]...] (repeatable)
    #[arg(long = "repo")]
    repos: Vec<String>,
    /// Path to an SSH key file or a directory of them (repeatable)
    #[arg(long = "ssh-key")]
    ssh_keys: Vec<String>,
    /// Path below src to clone to; {{.Org}} and {{.Repo}} are filled in
    #[arg(long, default_value = "")]
    clone_alias: String,
    /// Prefix of clone URIs, followed by /org/repo; {{.Org}} and {{.Repo}} are filled in
    #[arg(long, default_value = "")]
    uri_prefix: String,
    /// Clones at a time, 0 for as many as there are
    #[arg(long, default_value_t = 0)]
    max_workers: i64,
    /// Path to a git http cookie file
    #[arg(long, default_value = "")]
    cookiefile: String,
    /// Exit with an error if any clone fails
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    fail: bool,
}

/// Options of clonerefs from flags.
pub(crate) fn clonerefs(args: Vec<OsString>) -> Result<CloneRefsOptions, UtilityError> {
    let flags: CloneRefs = parse("clonerefs", args)?;
    let fill = |template: &str, refs: &Refs| {
        template.replace("{{.Org}}", &refs.org).replace("{{.Repo}}", &refs.repo)
    };
    let mut all = Vec::new();
    for text in &flags.repos {
        let mut refs = parse_refs(text)?;
        if !flags.clone_alias.is_empty() {
            refs.path_alias = fill(&flags.clone_alias, &refs);
        }
        if !flags.uri_prefix.is_empty() {
            refs.clone_uri = format!(
                "{}/{}/{}",
                fill(&flags.uri_prefix, &refs).trim_end_matches('/'),
                refs.org,
                refs.repo
            );
        }
        all.push(refs);
    }
    Ok(CloneRefsOptions {
        src_root: flags.src_root,
        log: flags.log,
        git_user_name: flags.git_user_name,
        git_user_email: flags.git_user_email,
        refs: all,
        key_files: flags.ssh_keys,
        max_parallel_workers: flags.max_workers,
        cookie_path: flags.cookiefile,
        fail: flags.fail,
        ..CloneRefsOptions::default()
    })
}

/// `org,repo=base-ref[:base-sha][,pull:sha[:ref]...]`.
fn parse_refs(text: &str) -> Result<Refs, UtilityError> {
    let wrong = |why: &str| {
        UtilityError::Options(format!(
            "--repo {text:?}: {why}; write org,repo=base-ref[:base-sha][,pull:sha[:ref]...]"
        ))
    };
    let (repo, versions) = text.split_once('=').ok_or_else(|| wrong("there is no '='"))?;
    let (org, repo) = repo.split_once(',').ok_or_else(|| wrong("there is no comma between org and repo"))?;
    let mut parts = versions.split(',');
    let base = parts.next().unwrap_or_default();
    let (base_ref, base_sha) = base.split_once(':').unwrap_or((base, ""));
    if org.is_empty() || repo.is_empty() || base_ref.is_empty() {
        return Err(wrong("org, repo or base ref is empty"));
    }
    let mut pulls = Vec::new();
    for pull in parts {
        let mut fields = pull.splitn(3, ':');
        let number =
            fields.next().and_then(|n| n.parse().ok()).ok_or_else(|| wrong("a pull has no number"))?;
        pulls.push(Pull {
            number,
            sha: fields.next().unwrap_or_default().to_owned(),
            ref_: fields.next().unwrap_or_default().to_owned(),
            ..Pull::default()
        });
    }
    Ok(Refs {
        org: org.to_owned(),
        repo: repo.to_owned(),
        base_ref: base_ref.to_owned(),
        base_sha: base_sha.to_owned(),
        pulls,
        ..Refs::default()
    })
}

#[derive(Args)]
struct Upload {
    /// Optional sub-directory of the job's path to which artifacts are uploaded
    #[arg(long, default_value = "")]
    sub_dir: String,
    /// How to encode org and repo into paths: legacy, single or explicit
    #[arg(long, default_value = "explicit")]
    path_strategy: String,
    /// Default organization for legacy and single
    #[arg(long, default_value = "")]
    default_org: String,
    /// Default repository for legacy and single
    #[arg(long, default_value = "")]
    default_repo: String,
    /// Bucket to upload into: gs://bucket[/prefix], s3://bucket[/prefix] or file:///directory
    #[arg(long, default_value = "")]
    gcs_path: String,
    /// Where Google Cloud credentials are
    #[arg(long, default_value = "")]
    gcs_credentials_file: String,
    /// Where S3 credentials are
    #[arg(long, default_value = "")]
    s3_credentials_file: String,
    /// Do not upload
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    dry_run: bool,
    /// extension:media-type (repeatable)
    #[arg(long = "media-type")]
    media_types: Vec<String>,
    /// Copy to this directory instead of uploading
    #[arg(long, default_value = "")]
    local_output_dir: String,
    /// Files and directories
    items: Vec<String>,
}

impl Upload {
    fn options(self) -> Result<GcsUploadOptions, UtilityError> {
        let mut options = GcsUploadOptions {
            items: self.items,
            sub_dir: self.sub_dir,
            gcs_credentials_file: self.gcs_credentials_file,
            s3_credentials_file: self.s3_credentials_file,
            dry_run: self.dry_run,
            ..GcsUploadOptions::default()
        };
        if !self.gcs_path.is_empty() {
            let url = BucketUrl::parse(&self.gcs_path)?;
            options.gcs.bucket = format!("{}://{}", url.scheme().as_str(), url.bucket());
            options.gcs.path_prefix = url.prefix().to_owned();
        } else if self.local_output_dir.is_empty() && !self.dry_run {
            return Err(UtilityError::Options(
                "give a bucket with --gcs-path, or --local-output-dir".to_owned(),
            ));
        }
        options.gcs.path_strategy = self.path_strategy;
        options.gcs.default_org = self.default_org;
        options.gcs.default_repo = self.default_repo;
        options.gcs.local_output_dir = self.local_output_dir;
        for pair in &self.media_types {
            let (extension, media) = pair.split_once(':').ok_or_else(|| {
                UtilityError::Options(format!("--media-type {pair:?}: write extension:media-type"))
            })?;
            options.gcs.media_types.insert(extension.to_owned(), media.to_owned());
        }
        Ok(options)
    }
}

/// Uploads files for a job; options come from GCSUPLOAD_OPTIONS or these flags, the job from JOB_SPEC.
#[derive(Parser)]
#[command(name = "gcsupload")]
struct GcsUpload {
    #[command(flatten)]
    upload: Upload,
}

/// Records the start of a job; options come from INITUPLOAD_OPTIONS or these flags, the job from JOB_SPEC.
#[derive(Parser)]
#[command(name = "initupload")]
struct InitUpload {
    #[command(flatten)]
    upload: Upload,
    /// Path to the clone records of clonerefs
    #[arg(long, default_value = "")]
    clone_log: String,
}

/// Options of gcsupload from flags.
pub(crate) fn gcsupload(args: Vec<OsString>) -> Result<GcsUploadOptions, UtilityError> {
    parse::<GcsUpload>("gcsupload", args)?.upload.options()
}

/// Options of initupload from flags.
pub(crate) fn initupload(args: Vec<OsString>) -> Result<InitUploadOptions, UtilityError> {
    let flags: InitUpload = parse("initupload", args)?;
    Ok(InitUploadOptions { gcs: flags.upload.options()?, log: flags.clone_log })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn clonerefs_flags_become_options() {
        let options = clonerefs(args(
            "-src-root /go --log=/log --repo o,r=main:abc,5:def,6:123:refs/x --repo=o,q=dev --uri-prefix file:///{{.Org}} \
             --clone-alias x/{{.Repo}} --max-workers 2 --fail --ssh-key /k",
        ))
        .unwrap();
        assert_eq!(options.refs.len(), 2);
        let first = &options.refs[0];
        assert_eq!(first.refs_string(), "main:abc,5:def,6:123:refs/x");
        assert_eq!(first.clone_uri, "file:///o/o/r");
        assert_eq!(first.path_alias, "x/r");
        assert_eq!(
            (options.git_user_name.as_str(), options.max_parallel_workers, options.fail),
            ("ci-robot", 2, true)
        );
        for wrong in
            ["--src-root x", "--src-root x --log y --repo o", "--src-root x --log y --repo o,r=m,x", "--nope"]
        {
            assert!(clonerefs(args(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn upload_flags_become_options_and_dry_run_is_the_default() {
        let options = gcsupload(args("--gcs-path gs://b/pre/fix --media-type log:text/x a b")).unwrap();
        assert_eq!((options.gcs.bucket.as_str(), options.gcs.path_prefix.as_str()), ("gs://b", "pre/fix"));
        assert!(options.dry_run);
        assert_eq!(options.items, ["a", "b"]);
        assert_eq!(options.gcs.media_types["log"], "text/x");
        assert!(!gcsupload(args("--dry-run=false --local-output-dir /x")).unwrap().dry_run);
        assert!(gcsupload(args("--dry-run=false")).is_err());
        assert_eq!(initupload(args("--clone-log=/l")).unwrap().log, "/l");
    }
}
