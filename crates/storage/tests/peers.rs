//! `s3://` against moto and `gs://` against gcp-storage-emulator.
//!
//! What covers what: moto all of S3 that we use. gcp-storage-emulator takes XML puts in one request and gives whole
//! objects and ranges with their type, and lists through the JSON API, which we use here to look from outside. Listings,
//! conditional writes, uploads in parts, encodings and metadata of GCS it does not answer as GCS does: for those see
//! `remote.rs`. It cannot take an object of the type application/json.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

#[path = "peers/mod.rs"]
mod peers;

use bytes::Bytes;
use futures::TryStreamExt;
use prow_storage::{Attributes, Bucket, Opener, StorageError, StorageOptions};

/// Names that a job may choose for its files.
const ODD: [&str; 6] = ["a b", "a+b", "ü/ß", "a%20b", "a?b&c=d", "[x]{y}^`\"<>|\\~'"];

async fn fetch(url: &str) -> String {
    // Ours has no TLS of its own; whoever opens a bucket installs one too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(url).await.unwrap();
    assert!(response.status().is_success(), "{url}: {}", response.status());
    response.text().await.unwrap()
}

fn large() -> Bytes {
    (0..20u32 << 20).map(|n| (n ^ (n >> 13)) as u8).collect::<Vec<u8>>().into()
}

async fn put_stream(bucket: &Bucket, name: &str, bytes: &Bytes, attributes: &Attributes) {
    let pieces: Vec<_> = bytes.chunks(300_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    bucket.put_stream(name, futures::stream::iter(pieces), attributes).await.unwrap();
}

async fn names(bucket: &Bucket, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = bucket.list_all(prefix).map_ok(|o| o.name).try_collect().await.unwrap();
    names.sort();
    names
}

#[tokio::test]
async fn moto_keeps_what_we_write_to_s3() {
    let Some(peer) = peers::moto() else { return };
    peer.make_bucket("bkt");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s3.json");
    let json = serde_json::json!({"region": "us-east-1", "endpoint": peer.endpoint, "insecure": true,
        "s3_force_path_style": true, "access_key": "k", "secret_key": "s"});
    std::fs::write(&file, json.to_string()).unwrap();
    let opener = Opener::new(StorageOptions { s3_credentials_file: Some(file), ..StorageOptions::default() });
    let bucket = opener.open_str("s3://bkt/some/prefix").unwrap();

    let attributes = Attributes {
        content_encoding: Some("gzip".into()),
        cache_control: Some("no-cache".into()),
        ..Attributes::content_type("text/plain; charset=utf-8")
    }
    .with_metadata("link", "s3://b/x");
    bucket.put_bytes("logs/job/17/build-log.txt", "0123456789".into(), &attributes).await.unwrap();
    let meta = bucket.head("logs/job/17/build-log.txt").await.unwrap();
    assert_eq!((meta.size, &meta.attributes), (10, &attributes));
    assert_eq!(bucket.get_range("logs/job/17/build-log.txt", 2..5).await.unwrap(), "234");
    assert_eq!(bucket.get_range("logs/job/17/build-log.txt", 8..50).await.unwrap(), "89");
    assert_eq!(bucket.get_range("logs/job/17/build-log.txt", 50..60).await.unwrap(), "");

    // In parts, each larger than what S3 takes for one.
    let large = large();
    put_stream(&bucket, "logs/job/17/artifacts/large.bin", &large, &Attributes::content_type("my/type"))
        .await;
    assert!(bucket.get_bytes("logs/job/17/artifacts/large.bin", 1 << 30).await.unwrap() == large);
    let meta = bucket.head("logs/job/17/artifacts/large.bin").await.unwrap();
    assert_eq!(meta.attributes.content_type.as_deref(), Some("my/type"));

    assert!(bucket.put_if_absent("finished.json", "1".into(), &Attributes::default()).await.unwrap());
    assert!(!bucket.put_if_absent("finished.json", "2".into(), &Attributes::default()).await.unwrap());
    assert_eq!(bucket.get_bytes("finished.json", 9).await.unwrap(), "1");

    for odd in ODD {
        let name = format!("odd/{odd}/x");
        bucket.put_bytes(&name, odd.into(), &Attributes::default()).await.unwrap();
        assert_eq!(bucket.get_bytes(&name, 100).await.unwrap(), odd.as_bytes());
    }
    let mut odd: Vec<String> = ODD.iter().map(|odd| format!("odd/{odd}/x")).collect();
    odd.sort();
    assert_eq!(names(&bucket, "odd").await, odd);

    // More than one page of a listing.
    for n in 0..1_005 {
        bucket.put_bytes(&format!("many/{n:04}/x"), "".into(), &Attributes::default()).await.unwrap();
    }
    let many = bucket.list("many").await.unwrap();
    assert_eq!((many.prefixes.len(), many.objects.len()), (1_005, 0));
    assert_eq!((many.prefixes[0].as_str(), many.prefixes[1_004].as_str()), ("many/0000/", "many/1004/"));
    assert_eq!(names(&bucket, "many").await.len(), 1_005);
    let level = bucket.list("logs/job/17").await.unwrap();
    assert_eq!(level.prefixes, ["logs/job/17/artifacts/"]);
    assert_eq!(
        level.objects.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(),
        ["logs/job/17/build-log.txt"]
    );
    assert_eq!(bucket.list("none").await.unwrap(), prow_storage::Listing::default());

    bucket.delete("finished.json").await.unwrap();
    bucket.delete("finished.json").await.unwrap();
    assert!(!bucket.exists("finished.json").await.unwrap());
    let none = opener.open_str("s3://no-such-bucket").unwrap();
    let error = none.put_bytes("x", "y".into(), &Attributes::default()).await.unwrap_err();
    assert!(matches!(error, StorageError::NoBucket { .. }), "{error}");
}

#[tokio::test]
async fn the_gcs_emulator_keeps_what_we_write_to_gs() {
    let Some(peer) = peers::gcs("bkt") else { return };
    let opener = Opener::new(StorageOptions {
        anonymous: true,
        gcs_endpoint: Some(peer.endpoint.clone()),
        ..StorageOptions::default()
    });
    let bucket = opener.open_str("gs://bkt/some/prefix").unwrap();
    let typed = Attributes::content_type("text/plain; charset=utf-8");
    bucket.put_bytes("logs/job/17/build-log.txt", "0123456789".into(), &typed).await.unwrap();
    let pieces = Bytes::from_static(b"in several pieces");
    put_stream(&bucket, "logs/job/17/artifacts/x.txt", &pieces, &typed).await;
    assert_eq!(bucket.get_bytes("logs/job/17/artifacts/x.txt", 100).await.unwrap(), pieces);
    assert_eq!(bucket.get_bytes("logs/job/17/build-log.txt", 100).await.unwrap(), "0123456789");
    assert_eq!(bucket.get_range("logs/job/17/build-log.txt", 2..5).await.unwrap(), "234");
    for odd in ODD {
        let name = format!("odd/{odd}/x");
        bucket.put_bytes(&name, odd.into(), &typed).await.unwrap();
        assert_eq!(bucket.get_bytes(&name, 100).await.unwrap(), odd.as_bytes());
    }
    assert!(bucket.get("none").await.map(drop).unwrap_err().is_not_found());

    // What others see.
    let listing = fetch(&format!("{}/storage/v1/b/bkt/o", peer.endpoint)).await;
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let mut seen: Vec<(String, String)> = listing["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (item["name"].as_str().unwrap().to_owned(), item["contentType"].as_str().unwrap().to_owned())
        })
        .collect();
    seen.sort();
    let mut expected: Vec<String> = ODD.iter().map(|odd| format!("some/prefix/odd/{odd}/x")).collect();
    expected
        .extend(["artifacts/x.txt", "build-log.txt"].map(|name| format!("some/prefix/logs/job/17/{name}")));
    expected.sort();
    assert_eq!(seen.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert!(seen.iter().all(|(_, media)| media == "text/plain; charset=utf-8"), "{seen:?}");
}
