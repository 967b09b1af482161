//! Puts files and texts into a run's place in storage (prow-runtime §8.5, §9): four at a time, four attempts
//! each, streamed, censored on the way.

mod body;
mod naming;
mod open;
mod walk;

pub(crate) use body::Source;
pub(crate) use naming::{Naming, escape};
pub(crate) use open::Beneath;
pub(crate) use walk::{Censoring, artifacts};

use crate::censor::{Withheld, placeholder};
use crate::{Host, UtilityError};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use prow_api::JobSpec;
use prow_api::options::{CensoringOptions, GcsUploadOptions};
use prow_job::paths::JobPaths;
use prow_storage::{Attributes, Bucket, Opener, StorageError, StorageOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const AT_ONCE: usize = 4;
const ATTEMPTS: u64 = 4;
/// After so many objects in a row that did not arrive though all attempts were made, storage is down: the rest of the
/// group is not tried, so that a Pod with thousands of artifacts ends before the night does.
const DOWN_AFTER: usize = 8;

/// One object to be.
#[derive(Clone)]
pub(crate) struct Target {
    /// Its full name in the bucket; in local mode the path below the output directory.
    pub name: String,
    /// Its bytes.
    pub source: Source,
    /// The `link` metadata, for aliases.
    pub link: Option<String>,
}

enum Destination {
    Bucket(Bucket),
    Directory(PathBuf),
    DryRun,
}

/// Uploads for one run.
pub(crate) struct Uploader {
    destination: Destination,
    naming: Naming,
    base: String,
    pointers: Vec<Target>,
    host: Host,
    at_once: usize,
    lenient: bool,
}

/// What became of one object.
enum Delivery {
    Arrived,
    /// It cannot be uploaded, whatever the state of storage.
    Refused,
    /// It did not arrive in all attempts.
    Lost,
}

/// Why one object did not arrive.
enum Failure {
    /// It may not leave: the reason goes in its place.
    Withheld(String),
    /// Trying again is of no use.
    Final(String),
    /// It may work the next time.
    Passing {
        why: String,
        /// The fault is on this side: it says nothing about storage.
        here: bool,
    },
}

impl Uploader {
    /// For the run that `spec` describes. In local mode everything goes right below `local_output_dir`, without
    /// the bucket's directories and pointers (prow-runtime §7.5).
    pub(crate) fn new(options: &GcsUploadOptions, spec: &JobSpec, host: &Host) -> Result<Self, UtilityError> {
        let naming = Naming::new(
            &options.gcs.media_types,
            options.gcs.compress_file_types.as_deref().unwrap_or_default(),
        );
        let local = &options.gcs.local_output_dir;
        if !local.is_empty() {
            let destination = if options.dry_run {
                Destination::DryRun
            } else {
                Destination::Directory(PathBuf::from(local))
            };
            return Ok(Uploader {
                destination,
                naming,
                base: String::new(),
                pointers: Vec::new(),
                host: host.clone(),
                at_once: AT_ONCE,
                lenient: false,
            });
        }
        options.gcs.check().map_err(UtilityError::Options)?;
        let paths = JobPaths::new(spec, &options.gcs)?;
        let destination = if options.dry_run {
            Destination::DryRun
        } else {
            let file = |path: &str| Some(PathBuf::from(path)).filter(|p| !p.as_os_str().is_empty());
            let opener = Opener::new(StorageOptions {
                gcs_credentials_file: file(&options.gcs_credentials_file),
                s3_credentials_file: file(&options.s3_credentials_file),
                retry: host.retry(),
                ..StorageOptions::default()
            });
            Destination::Bucket(opener.open_str(&options.gcs.bucket)?)
        };
        let text = |content: &str| Source::Bytes(Bytes::from(content.to_owned()));
        let mut pointers: Vec<Target> = paths
            .latest_builds
            .iter()
            .map(|name| Target { name: name.clone(), source: text(&spec.build_id), link: None })
            .collect();
        pointers.extend(paths.alias.iter().map(|alias| Target {
            name: alias.path.clone(),
            source: text(&alias.content),
            link: Some(alias.content.clone()),
        }));
        let sub_dir = options.sub_dir.trim_matches('/');
        let base = if sub_dir.is_empty() { paths.dir } else { format!("{}/{sub_dir}", paths.dir) };
        let (at_once, lenient) = (AT_ONCE, false);
        Ok(Uploader { destination, naming, base, pointers, host: host.clone(), at_once, lenient })
    }

    /// With the options of censoring that concern uploads. A file is censored while it goes up, so no more are
    /// censored at once than `censoring_concurrency` says, nor than go up at once.
    pub(crate) fn with_censoring(self, options: &CensoringOptions) -> Self {
        let asked = options.censoring_concurrency.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let at_once = asked.unwrap_or(AT_ONCE).min(AT_ONCE);
        Uploader { at_once, lenient: options.upload_uncensored_on_failure, ..self }
    }

    /// An object in the run's own directory.
    pub(crate) fn target(&self, name: &str, source: Source) -> Target {
        let name = if self.base.is_empty() { name.to_owned() } else { format!("{}/{name}", self.base) };
        Target { name, source, link: None }
    }

    /// Latest-build files and the alias; none in local mode.
    pub(crate) fn pointers(&self) -> Vec<Target> {
        self.pointers.clone()
    }

    /// Uploads a group and gives the number of objects that did not arrive. Each failure is logged.
    pub(crate) async fn upload(&self, targets: Vec<Target>) -> usize {
        self.upload_all(futures::stream::iter(targets)).await
    }

    /// The same for targets that are still being found.
    pub(crate) async fn upload_all(&self, targets: impl Stream<Item = Target>) -> usize {
        let lost = AtomicUsize::new(0);
        let failures = targets
            .map(|target| {
                let lost = &lost;
                async move {
                    if lost.load(Ordering::Relaxed) >= DOWN_AFTER {
                        tracing::debug!(object = %target.name, "not tried: storage is down");
                        return 1;
                    }
                    let delivery = self.deliver(target).await;
                    match delivery {
                        Delivery::Arrived => lost.store(0, Ordering::Relaxed),
                        Delivery::Refused => {}
                        Delivery::Lost => {
                            if lost.fetch_add(1, Ordering::Relaxed) + 1 == DOWN_AFTER {
                                tracing::error!(
                                    "storage seems to be down: the rest of this group is not tried"
                                );
                            }
                        }
                    }
                    usize::from(!matches!(delivery, Delivery::Arrived))
                }
            })
            .buffer_unordered(self.at_once);
        failures.fold(0, |sum, failed| async move { sum + failed }).await
    }

    async fn deliver(&self, mut target: Target) -> Delivery {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.put(&target).await {
                Ok(()) => {
                    tracing::debug!(object = %target.name, "uploaded");
                    return Delivery::Arrived;
                }
                Err(Failure::Withheld(why)) if self.lenient => {
                    tracing::warn!(object = %target.name, "uploaded uncensored, as its options ask for: {why}");
                    target.source = target.source.uncensored();
                }
                Err(Failure::Withheld(why)) => {
                    tracing::warn!(object = %target.name, "withheld: {why}");
                    target = in_its_place(&target.name, &why);
                }
                Err(Failure::Final(why)) => {
                    tracing::error!(object = %target.name, "not uploaded: {why}");
                    return Delivery::Refused;
                }
                Err(Failure::Passing { why, here }) if attempt >= ATTEMPTS => {
                    tracing::error!(object = %target.name, attempts = attempt, "not uploaded: {why}");
                    return if here { Delivery::Refused } else { Delivery::Lost };
                }
                Err(Failure::Passing { why, .. }) => {
                    let pause = Duration::from_secs(attempt * attempt);
                    tracing::warn!(object = %target.name, attempt, "upload failed, trying again in {pause:?}: {why}");
                    self.host.sleep(pause).await;
                }
            }
        }
    }

    async fn put(&self, target: &Target) -> Result<(), Failure> {
        let source = target.source.clone();
        if let Destination::Directory(directory) = &self.destination {
            let path = directory.join(&target.name);
            return blocking(move || copy_out(&source, &path)).await.map_err(|failure| match failure {
                // The directory is the storage.
                Failure::Passing { why, .. } => Failure::Passing { why, here: false },
                other => other,
            });
        }
        let (naming, name) = (self.naming.clone(), target.name.clone());
        let body = blocking(move || body::open(&source, &naming, &name)).await?;
        let bucket = match &self.destination {
            Destination::Bucket(bucket) => bucket,
            _ => {
                tracing::info!(object = %body.name, "dry run: not uploaded");
                return Ok(());
            }
        };
        let mut attributes = Attributes { content_type: body.content_type.clone(), ..Attributes::default() };
        attributes.content_encoding = body.content_encoding.map(str::to_owned);
        if let Some(link) = &target.link {
            // TestGrid's readers look for either; upstream writes the longer.
            attributes = attributes.with_metadata("link", link).with_metadata("x-goog-meta-link", link);
        }
        let name = body.name.clone();
        bucket.put_stream(&name, body.stream(), &attributes).await.map_err(|error| match &error {
            StorageError::Source { source, .. } => classify(source, error.to_string()),
            other if other.is_permanent() => Failure::Final(error.to_string()),
            _ => Failure::Passing { why: error.to_string(), here: false },
        })
    }
}

/// The reason why something is withheld, where it would have been. Readers look for logs under their own names; beside an
/// artifact the reason has a name of its own.
fn in_its_place(name: &str, why: &str) -> Target {
    let name = if name.ends_with(".txt") { name.to_owned() } else { format!("{name}.withheld.txt") };
    Target { name, source: Source::Bytes(Bytes::from(placeholder(why))), link: None }
}

/// The bytes as they are, under a temporary name until they are all there. Names and encodings stay what they
/// were: nobody could tell that a file without its `.gz` is compressed.
fn copy_out(source: &Source, path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let mut staged = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .prefix(".prow-")
        .tempfile_in(parent)?;
    source.open()?.copy_to(staged.as_file_mut())?;
    staged.persist(path).map_err(|e| e.error)?;
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(&error, error.to_string())),
        Err(error) => Err(Failure::Final(format!("reading it broke down: {error}"))),
    }
}

fn classify(error: &io::Error, text: String) -> Failure {
    if let Some(why) = Withheld::reason(error) {
        return Failure::Withheld(why.to_owned());
    }
    // A link where a file was a moment ago: it was put there on purpose.
    if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) {
        return Failure::Final(text);
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
            Failure::Final(text)
        }
        _ => Failure::Passing { why: text, here: true },
    }
}

#[cfg(test)]
mod changing_tests;
#[cfg(test)]
mod trouble_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::censor::Censor;
    use prow_api::options::GcsUploadOptions;
    use prow_api::{JobType, Secret};
    use std::sync::{Arc, Mutex};

    pub(super) fn spec() -> JobSpec {
        JobSpec {
            job_type: Some(JobType::Periodic),
            job: "nightly".into(),
            build_id: "7".into(),
            ..JobSpec::default()
        }
    }

    pub(super) fn host() -> (Host, Arc<Mutex<Vec<u64>>>) {
        let slept = Arc::new(Mutex::new(Vec::new()));
        let log = slept.clone();
        let sleep = move |d: Duration| -> futures::future::BoxFuture<'static, ()> {
            log.lock().unwrap().push(d.as_secs());
            Box::pin(async {})
        };
        (Host::new(|| 0, sleep), slept)
    }

    fn options(bucket: &Path) -> GcsUploadOptions {
        let mut options = GcsUploadOptions::default();
        options.gcs.bucket = format!("file://{}", bucket.display());
        options.gcs.path_strategy = "explicit".into();
        options
    }

    pub(super) fn text(text: &str) -> Source {
        Source::Bytes(Bytes::from(text.to_owned()))
    }

    #[tokio::test]
    async fn pauses_grow_with_the_square_and_then_it_gives_up() {
        // A place where nobody, root included, can make a directory: for all the uploader knows that may pass.
        let bucket = Path::new("/proc/self/no-place-for-a-bucket");
        let (host, slept) = host();
        let uploader = Uploader::new(&options(bucket), &spec(), &host).unwrap();
        assert_eq!(uploader.upload(vec![uploader.target("a.txt", text("x"))]).await, 1);
        assert_eq!(*slept.lock().unwrap(), [1, 4, 9]);
    }

    #[tokio::test]
    async fn objects_get_names_types_and_encodings_and_pointers_lie_outside_the_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let (host, _) = host();
        let mut options = options(dir.path());
        options.gcs.path_prefix = "pre".into();
        options.gcs.compress_file_types = Some(vec!["log".into()]);
        let uploader = Uploader::new(&options, &spec(), &host).unwrap();
        let long = "line\n".repeat(1000);
        let targets = vec![
            uploader.target("artifacts/big.log", text(&long)),
            uploader.target("started.json", text("{}")),
        ];
        assert_eq!(uploader.upload(targets).await, 0);
        assert_eq!(uploader.upload(uploader.pointers()).await, 0);
        let bucket = Opener::new(StorageOptions::default()).open_str(&options.gcs.bucket).unwrap();
        let big = bucket.head("pre/logs/nightly/7/artifacts/big.log").await.unwrap();
        assert_eq!(big.attributes.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(big.attributes.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert!(big.size < 200);
        let started = bucket.head("pre/logs/nightly/7/started.json").await.unwrap();
        assert_eq!(started.attributes.content_type.as_deref(), Some("application/json"));
        assert_eq!(bucket.get_bytes("logs/nightly/latest-build.txt", 10).await.unwrap(), "7");
    }

    #[test]
    fn a_configuration_that_would_lead_astray_is_refused_at_once() {
        let refused = |change: fn(&mut GcsUploadOptions)| {
            let mut options = options(Path::new("/b"));
            change(&mut options);
            Uploader::new(&options, &spec(), &host().0).map(drop).unwrap_err().to_string()
        };
        assert!(refused(|o| o.gcs.path_strategy.clear()).contains("path_strategy"));
        assert!(refused(|o| o.gcs.path_strategy = "single".into()).contains("default_org"));
        let media = refused(|o| drop(o.gcs.media_types.insert("x".into(), "a b".into())));
        assert!(media.contains("\"a b\""), "{media}");
    }

    #[tokio::test]
    async fn what_is_withheld_leaves_its_reason_and_none_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("a.zip"), b"PK\x03\x04 hunter2").unwrap();
        let behind = [b"#!/bin/sh\nPK\x03\x04 hunter2".as_slice(), b"PK\x05\x06", &[0; 18]].concat();
        std::fs::write(files.path().join("behind"), behind).unwrap();
        let (host, _) = host();
        let uploader = Uploader::new(&options(dir.path()), &spec(), &host).unwrap();
        let censor = Arc::new(Censor::new(&[Secret::new("hunter2")], 0).unwrap());
        let root = Arc::new(Beneath::directory(files.path()).unwrap());
        for name in ["a.zip", "behind"] {
            let source = Source::File { root: root.clone(), path: name.into(), censor: Some(censor.clone()) };
            let target = uploader.target(&format!("artifacts/{name}"), source);
            assert_eq!(uploader.upload(vec![target]).await, 0);
            let base = dir.path().join("logs/nightly/7/artifacts");
            assert!(!base.join(name).exists());
            let why = std::fs::read_to_string(base.join(format!("{name}.withheld.txt"))).unwrap();
            assert!(why.contains("zip") && !why.contains("hunter2"), "{why}");
        }
    }

    #[tokio::test]
    async fn local_mode_has_no_job_directory_and_no_pointers() {
        let dir = tempfile::tempdir().unwrap();
        let (host, _) = host();
        let mut options = GcsUploadOptions::default();
        options.gcs.local_output_dir = dir.path().to_str().unwrap().to_owned();
        let uploader = Uploader::new(&options, &spec(), &host).unwrap();
        assert!(uploader.pointers().is_empty());
        assert_eq!(uploader.upload(vec![uploader.target("artifacts/x/y.txt", text("z"))]).await, 0);
        assert_eq!(std::fs::read_to_string(dir.path().join("artifacts/x/y.txt")).unwrap(), "z");
        options.dry_run = true;
        let uploader = Uploader::new(&options, &spec(), &host).unwrap();
        assert_eq!(uploader.upload(vec![uploader.target("dry.txt", text("z"))]).await, 0);
        assert!(!dir.path().join("dry.txt").exists());
    }
}
