//! Object storage: `gs://`, `s3://` and `file://` under one [`Opener`] (prow-runtime §8.5, §9).
//!
//! Writers (pod utilities, crier) and readers (Deck) use the same [`Bucket`], so what one writes the other finds,
//! whatever the scheme. Objects stream in both directions: memory does not grow with their size.
//!
//! ```no_run
//! # async fn f() -> Result<(), prow_storage::StorageError> {
//! use prow_storage::{Attributes, BucketUrl, Opener, StorageOptions};
//! let opener = Opener::new(StorageOptions::default());
//! let bucket = opener.open(&BucketUrl::parse("file:///var/lib/prow/bucket")?)?;
//! bucket.put_bytes("logs/job/1/build-log.txt", "hello".into(), &Attributes::default()).await?;
//! # Ok(()) }
//! ```

mod bucket;
mod connect;
mod error;
mod file;
pub mod media;
mod opener;
mod remote;
mod url;

pub use bucket::{Attributes, Bucket, ByteStream, Listing, Object, ObjectMeta};
pub use error::StorageError;
pub use opener::{Opener, Retry, StorageOptions};
pub use url::{BucketUrl, Scheme};

/// What every fallible function of this crate gives.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;
