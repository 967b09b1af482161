//! Storage that refuses, is overloaded, fails, hangs, or cuts connections: what passes is survived, what stays ends in
//! bounded time with an error that names bucket and object.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

#[path = "peers/trouble.rs"]
mod server;

use prow_storage::{Attributes, Bucket, Opener, Retry, StorageError, StorageOptions};
use server::{CONTENT, Trouble, Troubled};
use std::time::Duration;

const RETRIES: usize = 2;
/// Larger than what is buffered on the way, so that a connection can be cut in the middle of it.
const LARGE: usize = 6 << 20;

fn bucket(server: &Troubled, scheme: &str, dir: &std::path::Path) -> Bucket {
    let options = StorageOptions {
        s3_credentials_file: Some(server.s3_file(dir)),
        anonymous: scheme == "gs",
        gcs_endpoint: Some(server.endpoint.clone()),
        retry: Retry {
            retries: RETRIES,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
            give_up_after: Duration::from_secs(20),
            request_timeout: Duration::from_millis(700),
        },
        ..StorageOptions::default()
    };
    Opener::new(options).open_str(&format!("{scheme}://bkt")).unwrap()
}

async fn write(bucket: &Bucket) -> Result<(), StorageError> {
    bucket.put_bytes("dir/object", vec![b'x'; LARGE].into(), &Attributes::default()).await
}

async fn read(bucket: &Bucket) -> Result<(), StorageError> {
    let bytes = bucket.get_bytes("dir/object", 100).await?;
    assert_eq!(bytes, CONTENT, "never a part of it as if it were all");
    Ok(())
}

#[tokio::test]
async fn trouble_that_passes_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let server = Troubled::start().await;
    for scheme in ["gs", "s3"] {
        let bucket = bucket(&server, scheme, dir.path());
        for trouble in [
            Trouble::Status(429, None),
            Trouble::Status(429, Some(1)),
            Trouble::Status(503, None),
            Trouble::Status(500, None),
            Trouble::Hang,
            Trouble::Cut,
        ] {
            server.set(trouble, 1);
            let wrote = write(&bucket).await;
            assert!(wrote.is_ok(), "{scheme} {trouble:?}: {wrote:?}");
            assert_eq!(server.requests(), 2, "{scheme} {trouble:?}");
            server.set(trouble, 1);
            let got = read(&bucket).await;
            assert!(got.is_ok(), "{scheme} {trouble:?}: {got:?}");
        }
    }
}

#[tokio::test]
async fn trouble_that_stays_ends_with_an_error_that_says_what_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let server = Troubled::start().await;
    for scheme in ["gs", "s3"] {
        let bucket = bucket(&server, scheme, dir.path());
        for (trouble, requests, why) in [
            (Trouble::Status(401, None), 1, "no permission"),
            (Trouble::Status(403, None), 1, "no permission"),
            (Trouble::Status(429, None), RETRIES + 1, "429"),
            (Trouble::Status(500, None), RETRIES + 1, "500"),
            (Trouble::Hang, RETRIES + 1, "HTTP error"),
            (Trouble::Cut, RETRIES + 1, "HTTP error"),
        ] {
            server.set(trouble, usize::MAX);
            let error = write(&bucket).await.unwrap_err().to_string();
            assert_eq!(server.requests(), requests, "{scheme} {trouble:?}: {error}");
            for part in [&format!("{scheme}://bkt"), "\"dir/object\"", "write", why] {
                assert!(error.contains(part), "{scheme} {trouble:?}: {part}: {error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
            server.set(trouble, usize::MAX);
            let error = read(&bucket).await.unwrap_err().to_string();
            for part in [&format!("{scheme}://bkt"), "\"dir/object\"", "read"] {
                assert!(error.contains(part), "{scheme} {trouble:?}: {part}: {error}");
            }
        }
        server.set(Trouble::Status(404, None), usize::MAX);
        let error = write(&bucket).await.unwrap_err();
        assert!(matches!(error, StorageError::NoBucket { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_nobody_runs_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let gone = Troubled::start().await.endpoint;
    let port = gone.rsplit(':').next().unwrap().to_owned();
    // Nothing listens on port 1 of this machine.
    let server = Troubled { endpoint: gone.replace(&port, "1"), state: Default::default() };
    for scheme in ["gs", "s3"] {
        let error = write(&bucket(&server, scheme, dir.path())).await.unwrap_err();
        assert!(matches!(error, StorageError::Failed { action: "write", .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("127.0.0.1:1") && error.contains("reachable"), "{error}");
    }
}
