//! `gs://` and `s3://` against a small server on loopback that keeps objects in memory: what goes over the wire, and
//! what comes of answers that are not 200. Servers that other people wrote are in `peers.rs`; what they do not answer as
//! GCS does is here: listings, conditional writes, encodings and metadata.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use futures::StreamExt;
use prow_storage::{Attributes, BucketUrl, Opener, Retry, StorageError, StorageOptions};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Server {
    objects: BTreeMap<String, (HeaderMap, Bytes)>,
    /// Answer this many requests with this status first.
    trouble: (usize, u16),
    requests: usize,
    /// Credentials of the last request.
    authorization: Option<String>,
}

/// Names on one page of a listing.
const PAGE: usize = 2;

type Shared = Arc<Mutex<Server>>;

async fn answer(State(server): State<Shared>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let mut server = server.lock().unwrap();
    server.requests += 1;
    server.authorization = parts.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    if server.trouble.0 > 0 {
        server.trouble.0 -= 1;
        return status(server.trouble.1);
    }
    let name = decode(&parts.uri);
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let part =
        query.split('&').find_map(|q| q.strip_prefix("partNumber=")).map(|n| format!("{name}#{n:0>3}"));
    match parts.method {
        Method::POST if query.split('&').any(|q| q.starts_with("uploads")) => {
            server.objects.insert(format!("{name}#"), (parts.headers, Bytes::new()));
            let xml = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";
            Response::new(Body::from(xml))
        }
        Method::POST => {
            let all: Vec<String> =
                server.objects.keys().filter(|k| k.starts_with(&format!("{name}#"))).cloned().collect();
            let mut whole = Vec::new();
            let mut headers = HeaderMap::new();
            for key in all {
                let (first, bytes) = server.objects.remove(&key).unwrap();
                if key.ends_with('#') {
                    headers = first;
                }
                whole.extend_from_slice(&bytes);
            }
            server.objects.insert(name, (headers, whole.into()));
            let xml = "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>";
            Response::new(Body::from(xml))
        }
        Method::PUT if part.is_some() => {
            server.objects.insert(part.unwrap(), (parts.headers, body));
            Response::builder().header("etag", "\"1\"").body(Body::empty()).unwrap()
        }
        Method::PUT => {
            let create = parts.headers.get("x-goog-if-generation-match").is_some_and(|v| v == "0")
                || parts.headers.get("if-none-match").is_some();
            if create && server.objects.contains_key(&name) {
                return status(412);
            }
            server.objects.insert(name, (parts.headers, body));
            Response::builder().header("etag", "\"1\"").body(Body::empty()).unwrap()
        }
        Method::GET if query.contains("list-type=2") => {
            Response::new(Body::from(page(&server, &name, &query)))
        }
        Method::GET | Method::HEAD => match server.objects.get(&name) {
            None => status(404),
            Some((headers, bytes)) => {
                let mut response = Response::builder()
                    .header("etag", "\"1\"")
                    .header("last-modified", "Sun, 22 Nov 2026 07:00:00 GMT");
                for (key, value) in headers {
                    let kept = ["content-type", "content-encoding", "cache-control"].contains(&key.as_str())
                        || key.as_str().contains("-meta-");
                    if kept {
                        response = response.header(key, value);
                    }
                }
                let range = parts.headers.get("range").and_then(|r| {
                    let (from, to) = r.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
                    Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()? + 1))
                });
                let mut bytes = bytes.clone();
                if let Some((from, to)) = range {
                    if from >= bytes.len() {
                        return status(416);
                    }
                    let to = to.min(bytes.len());
                    let all = bytes.len();
                    bytes = bytes.slice(from..to);
                    response = response
                        .status(206)
                        .header("content-range", format!("bytes {from}-{}/{all}", to - 1));
                }
                response = response.header("content-length", bytes.len());
                let body = if parts.method == Method::HEAD { Body::empty() } else { Body::from(bytes) };
                response.body(body).unwrap()
            }
        },
        Method::DELETE => status(if server.objects.remove(&name).is_some() { 204 } else { 404 }),
        _ => status(405),
    }
}

/// One page of a listing: names below a prefix, and those that have a delimiter behind it only up to that.
fn page(server: &Server, bucket: &str, query: &str) -> String {
    let parameter = |name: &str| {
        let value = query.split('&').find_map(|q| q.strip_prefix(&format!("{name}=")));
        value.map(unescape).unwrap_or_default()
    };
    let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
    let mut entries = std::collections::BTreeSet::new();
    for key in server.objects.keys() {
        let Some(key) = key.strip_prefix(&format!("{}/", bucket.trim_end_matches('/'))) else { continue };
        let Some(rest) = key.strip_prefix(&prefix) else { continue };
        match rest.split_once(&delimiter).filter(|_| !delimiter.is_empty()) {
            Some((first, _)) => entries.insert((format!("{prefix}{first}{delimiter}"), true)),
            None => entries.insert((key.to_owned(), false)),
        };
    }
    let after = parameter("continuation-token");
    let mut rest = entries.into_iter().filter(|(name, _)| *name > after);
    let mut xml = String::from("<ListBucketResult>");
    let mut last = String::new();
    for (name, is_prefix) in rest.by_ref().take(PAGE) {
        xml += &match is_prefix {
            true => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
            false => format!(
                "<Contents><Key>{name}</Key><Size>1</Size><ETag>1</ETag><LastModified>2026-11-22T07:00:00.000Z</LastModified></Contents>"
            ),
        };
        last = name;
    }
    if rest.next().is_some() {
        xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    xml + "</ListBucketResult>"
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(Body::empty()).unwrap()
}

fn decode(uri: &Uri) -> String {
    unescape(uri.path()).trim_start_matches('/').to_owned()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).unwrap()
}

async fn serve() -> (Shared, String) {
    let server = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (server, endpoint)
}

fn quick() -> Retry {
    Retry {
        retries: 2,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        ..Retry::default()
    }
}

/// One opener for both schemes.
async fn opener(dir: &std::path::Path) -> (Shared, Opener) {
    let (server, endpoint) = serve().await;
    let s3 = dir.join("s3.json");
    let json = serde_json::json!({"region": "minio", "endpoint": endpoint, "insecure": true,
        "s3_force_path_style": true, "access_key": "key", "secret_key": "hunter2"});
    std::fs::write(&s3, json.to_string()).unwrap();
    let options = StorageOptions {
        s3_credentials_file: Some(s3),
        anonymous: false,
        gcs_endpoint: Some(endpoint),
        retry: quick(),
        ..StorageOptions::default()
    };
    (server, Opener::new(options))
}

async fn gcs(server_options: (Shared, String)) -> (Shared, Opener) {
    let (server, endpoint) = server_options;
    let options = StorageOptions {
        anonymous: true,
        gcs_endpoint: Some(endpoint),
        retry: quick(),
        ..StorageOptions::default()
    };
    (server, Opener::new(options))
}

#[tokio::test]
async fn both_stores_keep_bytes_and_attributes_below_the_buckets_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = opener(dir.path()).await;
    let gs = gcs(serve().await).await;
    for ((server, opener), url) in [(s3, "s3://bkt/some/prefix"), (gs, "gs://bkt/some/prefix")] {
        let bucket = opener.open(&BucketUrl::parse(url).unwrap()).unwrap();
        let attributes = Attributes {
            content_encoding: Some("gzip".into()),
            cache_control: Some("no-cache".into()),
            ..Attributes::content_type("text/plain; charset=utf-8")
        }
        .with_metadata("link", "gs://b/x");
        let name = "logs/a b#c/17/build-log.txt";
        bucket.put_bytes(name, "0123456789".into(), &attributes).await.unwrap();
        let key = format!("bkt/some/prefix/{name}");
        assert!(
            server.lock().unwrap().objects.contains_key(&key),
            "{:?}",
            server.lock().unwrap().objects.keys()
        );
        let meta = bucket.head(name).await.unwrap();
        assert_eq!((meta.name.as_str(), meta.size, &meta.attributes), (name, 10, &attributes), "{url}");
        assert_eq!(bucket.get_bytes(name, 100).await.unwrap(), "0123456789");
        assert_eq!(bucket.get_range(name, 2..5).await.unwrap(), "234");
        assert_eq!(bucket.get_range(name, 20..25).await.unwrap(), "", "{url}");
        assert!(bucket.get("nope").await.map(|_| ()).unwrap_err().is_not_found());
        assert!(!bucket.put_if_absent(name, "x".into(), &Attributes::default()).await.unwrap(), "{url}");
        assert!(bucket.put_if_absent("new", "x".into(), &Attributes::default()).await.unwrap(), "{url}");
        let pieces = futures::stream::iter(["a", "b"]).map(|p| Ok(Bytes::from(p)));
        bucket.put_stream("stream", pieces, &Attributes::default()).await.unwrap();
        assert_eq!(bucket.get_bytes("stream", 9).await.unwrap(), "ab");
        // Larger than one part: it goes up in several and comes back as one, attributes and all.
        let piece = |n: u8| Bytes::from(vec![n; 1 << 20]);
        let pieces = futures::stream::iter((0..20).map(move |n| Ok(piece(n))));
        bucket.put_stream("large", pieces, &Attributes::content_type("my/type")).await.unwrap();
        let large = bucket.get_bytes("large", 64 << 20).await.unwrap();
        assert_eq!(large.len(), 20 << 20);
        assert!((0..20u8).all(|n| large[usize::from(n) << 20] == n), "in order");
        assert_eq!(bucket.head("large").await.unwrap().attributes, Attributes::content_type("my/type"));
        // A source that breaks in the middle leaves nothing.
        let torn =
            (0..20).map(move |n| if n < 19 { Ok(piece(n)) } else { Err(std::io::Error::other("torn")) });
        let error =
            bucket.put_stream("torn", futures::stream::iter(torn), &Attributes::default()).await.unwrap_err();
        assert!(matches!(error, StorageError::Source { .. }), "{error}");
        assert!(!bucket.exists("torn").await.unwrap());
    }
}

#[tokio::test]
async fn levels_are_listed_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = opener(dir.path()).await;
    let gs = gcs(serve().await).await;
    for ((_server, opener), url) in [(s3, "s3://bkt/some/prefix"), (gs, "gs://bkt/some/prefix")] {
        let bucket = opener.open_str(url).unwrap();
        let names = ["logs/a/1/x", "logs/a/2/x", "logs/a/3/y", "logs/a/latest", "logs/b", "logs/ab/1", "z"];
        for name in names {
            bucket.put_bytes(name, "x".into(), &Attributes::default()).await.unwrap();
        }
        let level = bucket.list("logs/a").await.unwrap();
        assert_eq!(level.prefixes, ["logs/a/1/", "logs/a/2/", "logs/a/3/"], "{url}");
        assert_eq!(level.objects.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["logs/a/latest"]);
        let root = bucket.list("").await.unwrap();
        assert_eq!((root.prefixes, root.objects.len()), (vec!["logs/".to_owned()], 1));
        let mut all: Vec<String> = bucket.list_all("").map(|o| o.unwrap().name).collect().await;
        all.sort();
        let mut expected = names.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(all, expected, "{url}");
    }
}

#[tokio::test]
async fn public_buckets_are_read_without_credentials() {
    let (server, endpoint) = serve().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s3.json");
    let json = serde_json::json!({"endpoint": endpoint, "insecure": true, "s3_force_path_style": true});
    std::fs::write(&file, json.to_string()).unwrap();
    server.lock().unwrap().objects.insert("bkt/x".into(), (HeaderMap::new(), Bytes::from_static(b"public")));
    let options = StorageOptions {
        anonymous: true,
        gcs_endpoint: Some(endpoint),
        s3_credentials_file: Some(file),
        retry: quick(),
        ..StorageOptions::default()
    };
    for url in ["gs://bkt", "s3://bkt"] {
        let bucket = Opener::new(options.clone()).open_str(url).unwrap();
        assert_eq!(bucket.get_bytes("x", 10).await.unwrap(), "public");
        assert_eq!(server.lock().unwrap().authorization, None, "{url}");
    }
}

#[tokio::test]
async fn passing_trouble_is_survived_and_lasting_trouble_is_told_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let (server, opener) = opener(dir.path()).await;
    let bucket = opener.open_str("s3://bkt").unwrap();
    server.lock().unwrap().trouble = (2, 503);
    bucket.put_bytes("x", "1".into(), &Attributes::default()).await.unwrap();
    server.lock().unwrap().trouble = (100, 500);
    let error = bucket.put_bytes("x", "1".into(), &Attributes::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StorageError::Failed { action: "write", .. }), "{text}");
    assert!(text.contains("s3://bkt") && text.contains("\"x\"") && !text.contains("hunter2"), "{text}");
    server.lock().unwrap().trouble = (100, 403);
    let before = server.lock().unwrap().requests;
    let error = bucket.head("x").await.unwrap_err();
    assert!(matches!(error, StorageError::Denied { action: "read", .. }), "{error}");
    assert_eq!(server.lock().unwrap().requests, before + 1, "no permission is not tried again");
}

#[tokio::test]
async fn credentials_files_that_are_wrong_are_named_without_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.json");
    for (scheme, content) in [("s3", "hunter2"), ("gs", "hunter2"), ("gs", r#"{"private_key": "hunter2"}"#)] {
        std::fs::write(&file, content).unwrap();
        let options = StorageOptions {
            gcs_credentials_file: Some(file.clone()),
            s3_credentials_file: Some(file.clone()),
            ..StorageOptions::default()
        };
        let error = Opener::new(options).open_str(&format!("{scheme}://b")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("c.json") && !text.contains("hunter2"), "{scheme}: {text}");
    }
    let options =
        StorageOptions { gcs_credentials_file: Some("/no/such/file".into()), ..StorageOptions::default() };
    let error = Opener::new(options).open_str("b").unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}
