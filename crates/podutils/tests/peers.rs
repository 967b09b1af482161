//! A real sidecar into servers that other people wrote: moto for `s3://`, gcp-storage-emulator for `gs://`.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

#[path = "../../storage/tests/peers/mod.rs"]
mod peers;
mod world;

use prow_storage::{Bucket, Opener, StorageOptions};
use serde_json::json;
use std::process::Command;
use world::World;

/// A finished job with a log, artifacts and a secret, uploaded to a bucket. `environment` is what leads there.
async fn upload(
    world: &World,
    lines: usize,
    bucket: &str,
    s3_file: Option<&str>,
    environment: &[(&str, &str)],
) {
    world.write("secrets/token", "hunter2\n");
    world.write("logs/process-log.txt", "password hunter2\n");
    world.write("logs/marker-file.txt", "0");
    world.write("logs/artifacts/a b#1.json", "{}");
    world.write("logs/artifacts/zipped.log", &"it is hunter2\n".repeat(1000));
    let log = world.path("logs/artifacts/zipped.log");
    assert!(Command::new("gzip").arg(log).status().unwrap().success());
    world.write("logs/artifacts/large.txt", &"0123456789 hunter2\n".repeat(lines));
    let mut options = json!({
        "gcs_options": {"bucket": bucket, "path_strategy": "explicit", "dry_run": false, "path_prefix": "pre",
            "items": [world.path("logs/artifacts")]},
        "entries": [world.entry()],
        "censoring_options": {"secret_directories": [world.path("secrets")]},
    });
    match s3_file {
        Some(file) => options["gcs_options"]["s3_credentials_file"] = json!(world.path(file)),
        None => {
            // The emulator answers one connection at a time, and stumbles over JSON that is put as such.
            options["censoring_options"]["censoring_concurrency"] = json!(1);
            options["gcs_options"]["mediaTypes"] = json!({"json": "text/json"});
        }
    }
    let spec = world.spec(None);
    let mut command = world.command("sidecar", &[("SIDECAR_OPTIONS", &options), ("JOB_SPEC", &spec)]);
    command.envs(environment.iter().copied());
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn text(bucket: &Bucket, name: &str) -> String {
    let bytes = bucket.get_bytes(name, 64 << 20).await.unwrap_or_else(|e| panic!("{e}"));
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What both hold alike.
async fn check(bucket: &Bucket, lines: usize) {
    let dir = "pre/logs/nightly/17";
    assert_eq!(text(bucket, &format!("{dir}/build-log.txt")).await, "password XXXXXXX\n");
    assert_eq!(text(bucket, &format!("{dir}/artifacts/a b%231.json")).await, "{}");
    assert!(text(bucket, &format!("{dir}/finished.json")).await.contains("SUCCESS"));
    assert_eq!(text(bucket, "logs/nightly/latest-build.txt").await, "17");
    let large = text(bucket, &format!("{dir}/artifacts/large.txt")).await;
    assert!(large == "0123456789 XXXXXXX\n".repeat(lines), "{} bytes", large.len());
}

#[tokio::test]
async fn s3() {
    let Some(peer) = peers::moto() else { return };
    peer.make_bucket("bkt");
    let world = World::new();
    let json = json!({"region": "us-east-1", "endpoint": peer.endpoint, "insecure": true,
        "s3_force_path_style": true, "access_key": "k", "secret_key": "s"});
    world.write("s3.json", &json.to_string());
    // Enough to go up in parts.
    let lines = 600_000;
    upload(&world, lines, "s3://bkt", Some("s3.json"), &[]).await;
    let options =
        StorageOptions { s3_credentials_file: Some(world.path("s3.json")), ..StorageOptions::default() };
    let bucket = Opener::new(options).open_str("s3://bkt").unwrap();
    check(&bucket, lines).await;
    // The name says no more that it is compressed; the encoding does (prow-runtime §8.5).
    let zipped = bucket.head("pre/logs/nightly/17/artifacts/zipped.log").await.unwrap().attributes;
    assert_eq!(zipped.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(zipped.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    let mut names: Vec<String> = bucket
        .list("pre/logs/nightly/17/artifacts")
        .await
        .unwrap()
        .objects
        .into_iter()
        .map(|o| o.name.rsplit('/').next().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["a b%231.json", "large.txt", "zipped.log"]);
}

#[tokio::test]
async fn gcs() {
    let Some(peer) = peers::gcs("bkt") else { return };
    let world = World::new();
    // It takes no objects in parts: little enough to go up at once.
    let lines = 100_000;
    upload(&world, lines, "gs://bkt", None, &[("STORAGE_EMULATOR_HOST", &peer.endpoint)]).await;
    let options = StorageOptions {
        anonymous: true,
        gcs_endpoint: Some(peer.endpoint.clone()),
        ..StorageOptions::default()
    };
    let bucket = Opener::new(options).open_str("gs://bkt").unwrap();
    check(&bucket, lines).await;
}
