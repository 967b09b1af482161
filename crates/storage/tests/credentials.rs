//! Where credentials come from when no file is named: the environment, and the machine (workload identity). The
//! environment belongs to a whole process, so each case is a process of its own: this test, started again.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use prow_storage::{Attributes, Opener, Retry, StorageOptions};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tells the process started again what to write to.
const BUCKET: &str = "PROW_TEST_BUCKET";
const ENDPOINT: &str = "PROW_TEST_GCS_ENDPOINT";

/// Path and credentials of every request.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

async fn answer(State(seen): State<Seen>, headers: HeaderMap, uri: Uri) -> (HeaderMap, String) {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    seen.lock().unwrap().push((uri.path().to_owned(), text("authorization")));
    let mut headers = HeaderMap::new();
    headers.insert("etag", "\"1\"".parse().unwrap());
    if uri.path().starts_with("/computeMetadata/") {
        assert_eq!(text("metadata-flavor"), "Google", "what the real one insists on");
        return (headers, r#"{"access_token": "from-the-machine", "expires_in": 3599}"#.to_owned());
    }
    if uri.path() == "/token" {
        return (headers, r#"{"access_token": "from-the-user", "expires_in": 3599}"#.to_owned());
    }
    (headers, String::new())
}

async fn serve() -> (Seen, String) {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().fallback(answer).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (seen, address)
}

/// What the process started again does; nothing in the usual run.
#[tokio::test]
async fn started_again() {
    let Ok(bucket) = std::env::var(BUCKET) else { return };
    let options = StorageOptions {
        gcs_endpoint: std::env::var(ENDPOINT).ok(),
        retry: Retry { retries: 0, request_timeout: Duration::from_secs(20), ..Retry::default() },
        ..StorageOptions::default()
    };
    let bucket = Opener::new(options).open_str(&bucket).unwrap();
    bucket.put_bytes("object", "x".into(), &Attributes::default()).await.unwrap();
}

/// Writes one object with this environment and gives the requests that it made.
async fn write(
    bucket: &str,
    environment: impl FnOnce(&str) -> Vec<(&'static str, String)>,
) -> Vec<(String, String)> {
    let (seen, address) = serve().await;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "started_again"]).env(BUCKET, bucket).envs(environment(&address));
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    seen.lock().unwrap().clone()
}

#[tokio::test]
async fn workload_identity_asks_the_machine_for_a_token() {
    let seen = write("gs://bkt", |address| {
        vec![("GCE_METADATA_HOST", address.to_owned()), (ENDPOINT, format!("http://{address}"))]
    })
    .await;
    let [(metadata, _), (object, credentials)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(metadata, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!((object.as_str(), credentials.as_str()), ("/bkt/object", "Bearer from-the-machine"));
}

#[tokio::test]
async fn google_application_credentials_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("adc.json");
    let user = r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}"#;
    std::fs::write(&file, user).unwrap();
    // A user's token is asked for at Google itself: without a network that is as far as it gets.
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "started_again"])
        .env(BUCKET, "gs://bkt")
        .env(ENDPOINT, "http://127.0.0.1:1")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("GOOGLE_APPLICATION_CREDENTIALS", &file);
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("token"), "{said}");
    assert!(said.contains("gs://bkt") && said.contains("object"), "{said}");
}

#[tokio::test]
async fn an_emulator_gets_no_credentials() {
    let seen = write("gs://bkt", |address| vec![("STORAGE_EMULATOR_HOST", address.to_owned())]).await;
    assert_eq!(seen[0].0, "/bkt/object");
    assert!(!seen[0].1.contains("from-the"), "{seen:?}");
}

#[tokio::test]
async fn aws_variables_are_used() {
    let seen = write("s3://bkt", |address| {
        vec![
            ("AWS_ENDPOINT", format!("http://{address}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "key-of-the-environment".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hunter2".to_owned()),
        ]
    })
    .await;
    let (object, credentials) = &seen[0];
    assert_eq!(object, "/bkt/object");
    assert!(
        credentials.contains("key-of-the-environment") && credentials.contains("eu-central-1"),
        "{seen:?}"
    );
    assert!(!credentials.contains("hunter2"), "signed, not sent");
}
