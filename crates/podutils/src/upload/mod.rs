//! Puts files and texts into a run's place in storage (prow-runtime §8.5, §9): four at a time, four attempts
//! each, streamed, censored on the way.

mod body;
mod naming;
mod open;
mod walk;

pub(crate) use body::{Source, peek};
pub(crate) use naming::{Naming, escape};
pub(crate) use open::Beneath;
pub(crate) use walk::{Censoring, artifacts};

use crate::censor::Withheld;
use crate::{Host, UtilityError};
use bytes::Bytes;
use futures::StreamExt;
use prow_api::JobSpec;
use prow_api::options::GcsUploadOptions;
use prow_job::paths::JobPaths;
use prow_storage::{Attributes, Bucket, Opener, StorageError, StorageOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const AT_ONCE: usize = 4;
const ATTEMPTS: u64 = 4;

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
}

/// Why one object did not arrive.
enum Failure {
    /// It may not leave: the reason goes in its place.
    Withheld(String),
    /// Trying again is of no use.
    Final(String),
    /// It may work the next time.
    Passing(String),
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
            });
        }
        let paths = JobPaths::new(spec, &options.gcs)?;
        let destination = if options.dry_run {
            Destination::DryRun
        } else {
            let file = |path: &str| Some(PathBuf::from(path)).filter(|p| !p.as_os_str().is_empty());
            let opener = Opener::new(StorageOptions {
                gcs_credentials_file: file(&options.gcs_credentials_file),
                s3_credentials_file: file(&options.s3_credentials_file),
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
        Ok(Uploader { destination, naming, base, pointers, host: host.clone() })
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
        let failures = futures::stream::iter(targets)
            .map(|target| async move { usize::from(!self.deliver(target).await) })
            .buffer_unordered(AT_ONCE);
        failures.fold(0, |sum, failed| async move { sum + failed }).await
    }

    async fn deliver(&self, target: Target) -> bool {
        for attempt in 1..=ATTEMPTS {
            match self.put(&target).await {
                Ok(()) => {
                    tracing::debug!(object = %target.name, "uploaded");
                    return true;
                }
                Err(Failure::Withheld(why)) => return self.replace(&target, &why).await,
                Err(Failure::Final(why)) => {
                    tracing::error!(object = %target.name, "not uploaded: {why}");
                    return false;
                }
                Err(Failure::Passing(why)) if attempt == ATTEMPTS => {
                    tracing::error!(object = %target.name, attempts = attempt, "not uploaded: {why}");
                    return false;
                }
                Err(Failure::Passing(why)) => {
                    let pause = Duration::from_secs(attempt * attempt);
                    tracing::warn!(object = %target.name, attempt, "upload failed, trying again in {pause:?}: {why}");
                    self.host.sleep(pause).await;
                }
            }
        }
        false
    }

    /// Puts the reason where the object would have been.
    async fn replace(&self, target: &Target, why: &str) -> bool {
        tracing::warn!(object = %target.name, "withheld: {why}");
        let text = format!("Withheld, so that no secret leaves the Pod: {why}.\n");
        // Readers look for logs under their own names; beside an artifact the reason has a name of its own.
        let name = if target.name.ends_with(".txt") {
            target.name.clone()
        } else {
            format!("{}.withheld.txt", target.name)
        };
        let placeholder = Target { name, source: Source::Bytes(Bytes::from(text)), link: None };
        for attempt in 1..=ATTEMPTS {
            match self.put(&placeholder).await {
                Ok(()) => return true,
                Err(Failure::Passing(_)) if attempt < ATTEMPTS => {
                    self.host.sleep(Duration::from_secs(attempt * attempt)).await;
                }
                Err(Failure::Passing(why) | Failure::Final(why) | Failure::Withheld(why)) => {
                    tracing::error!(object = %placeholder.name, "not uploaded: {why}");
                    return false;
                }
            }
        }
        false
    }

    async fn put(&self, target: &Target) -> Result<(), Failure> {
        let source = target.source.clone();
        if let Destination::Directory(directory) = &self.destination {
            let path = directory.join(&target.name);
            return blocking(move || copy_out(&source, &path)).await;
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
            attributes = attributes.with_metadata("link", link);
        }
        let name = body.name.clone();
        bucket.put_stream(&name, body.stream(), &attributes).await.map_err(|error| match &error {
            StorageError::Source { source, .. } => classify(source, error.to_string()),
            other if other.is_permanent() => Failure::Final(error.to_string()),
            _ => Failure::Passing(error.to_string()),
        })
    }
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
    io::copy(&mut source.reader()?, staged.as_file_mut())?;
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
        _ => Failure::Passing(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::censor::Censor;
    use prow_api::options::GcsUploadOptions;
    use prow_api::{JobType, Secret};
    use std::sync::{Arc, Mutex};

    fn spec() -> JobSpec {
        JobSpec {
            job_type: Some(JobType::Periodic),
            job: "nightly".into(),
            build_id: "7".into(),
            ..JobSpec::default()
        }
    }

    fn host() -> (Host, Arc<Mutex<Vec<u64>>>) {
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

    fn text(text: &str) -> Source {
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

    #[tokio::test]
    async fn what_is_withheld_leaves_its_reason_and_none_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("a.zip"), b"PK\x03\x04 hunter2").unwrap();
        let (host, _) = host();
        let uploader = Uploader::new(&options(dir.path()), &spec(), &host).unwrap();
        let censor = Arc::new(Censor::new(&[Secret::new("hunter2")], 0).unwrap());
        let root = Arc::new(Beneath::directory(files.path()).unwrap());
        let source = Source::File { root, path: "a.zip".into(), censor: Some(censor) };
        assert_eq!(uploader.upload(vec![uploader.target("artifacts/a.zip", source)]).await, 0);
        let base = dir.path().join("logs/nightly/7/artifacts");
        assert!(!base.join("a.zip").exists());
        let why = std::fs::read_to_string(base.join("a.zip.withheld.txt")).unwrap();
        assert!(why.contains("zip") && !why.contains("hunter2"), "{why}");
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
