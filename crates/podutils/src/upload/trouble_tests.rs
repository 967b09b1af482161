//! Uploads to storage that answers badly: what passes is survived, what stays ends in a bounded number of requests.

use super::tests::{host, spec, text};
use super::*;
use prow_storage::Retry;
use server::{Trouble, Troubled};

#[path = "../../../storage/tests/peers/trouble.rs"]
mod server;

const QUICK: Retry = Retry {
    retries: 1,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    give_up_after: Duration::from_secs(20),
    request_timeout: Duration::from_millis(300),
};
/// Of one object: what the uploader does, and what each of its attempts does.
const REQUESTS: usize = ATTEMPTS as usize * (QUICK.retries + 1);

fn uploader(server: &Troubled, dir: &Path) -> Uploader {
    let mut options = GcsUploadOptions::default();
    options.gcs.bucket = "s3://bkt".into();
    options.gcs.path_strategy = "explicit".into();
    options.s3_credentials_file = server.s3_file(dir).to_str().unwrap().into();
    Uploader::new(&options, &spec(), &host().0.with_retry(QUICK)).unwrap()
}

#[tokio::test]
async fn whatever_passes_within_four_attempts_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Troubled::start().await;
    for trouble in [
        Trouble::Status(403, None),
        Trouble::Status(429, Some(0)),
        Trouble::Status(500, None),
        Trouble::Hang,
        Trouble::Cut,
    ] {
        server.set(trouble, 3);
        let uploader = uploader(&server, dir.path());
        let lost = uploader.upload(vec![uploader.target("a.txt", text("x"))]).await;
        assert_eq!(lost, 0, "{trouble:?}");
        assert_eq!(server.requests(), 4, "{trouble:?}");
    }
}

#[tokio::test]
async fn storage_that_is_down_is_not_tried_for_every_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let server = Troubled::start().await;
    for (trouble, requests) in [
        // Without permission a request is not repeated, only the attempt.
        (Trouble::Status(403, None), ATTEMPTS as usize),
        (Trouble::Status(500, None), REQUESTS),
        (Trouble::Hang, REQUESTS),
        (Trouble::Cut, REQUESTS),
    ] {
        server.set(trouble, usize::MAX);
        let uploader = uploader(&server, dir.path());
        let many = (0..500).map(|n| uploader.target(&format!("artifacts/{n}"), text("x"))).collect();
        assert_eq!(uploader.upload(many).await, 500, "each counts as missing");
        let tried = server.requests();
        assert!(tried <= (DOWN_AFTER + AT_ONCE) * requests, "{trouble:?}: {tried}");
        // What matters most is tried all the same, and arrives when storage is back.
        server.set(trouble, 1);
        assert_eq!(
            uploader.upload(vec![uploader.target("finished.json", text("{}"))]).await,
            0,
            "{trouble:?}"
        );
    }
}

#[tokio::test]
async fn objects_that_no_store_takes_do_not_count_as_storage_that_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let server = Troubled::start().await;
    let uploader = uploader(&server, dir.path());
    let long = "x".repeat(1100);
    let mut targets: Vec<Target> =
        (0..20).map(|n| uploader.target(&format!("{n}{long}"), text("x"))).collect();
    targets.push(uploader.target("good", text("x")));
    assert_eq!(uploader.upload(targets).await, 20);
    assert_eq!(server.requests(), 1, "only the good one, and once");
}
