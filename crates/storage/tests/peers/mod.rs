//! Storage servers that other people wrote, started for a test: moto for S3, gcp-storage-emulator for GCS. `.ci/run`
//! installs them; a test that finds none says so, and fails where `PROW_TESTS_NEED_PEERS` says that they are there.
#![allow(dead_code)] // Each test that includes this file uses some of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that ends with its test.
pub struct Peer {
    child: Child,
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
}

impl Peer {
    /// Makes a bucket, as S3 has it.
    pub fn make_bucket(&self, name: &str) {
        let address = self.endpoint.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// moto's server, which answers as S3 does.
pub fn moto() -> Option<Peer> {
    start("moto_server", |port| vec!["-H".into(), "127.0.0.1".into(), "-p".into(), port])
}

/// gcp-storage-emulator with one bucket.
pub fn gcs(bucket: &str) -> Option<Peer> {
    start("gcp-storage-emulator", |port| {
        let words =
            ["start", "--host=127.0.0.1", "--in-memory", "--quiet", "--default-bucket", bucket, "--port"];
        words.into_iter().map(str::to_owned).chain([port]).collect()
    })
}

fn start(name: &str, args: impl Fn(String) -> Vec<String>) -> Option<Peer> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let program = cache.unwrap_or_default().join("prow-tests/storage-peers/bin").join(name);
    if !program.exists() {
        assert!(std::env::var_os("PROW_TESTS_NEED_PEERS").is_none(), "{} is missing", program.display());
        eprintln!("skipped: {name} is not installed; .ci/run installs it");
        return None;
    }
    // A port that is free now may be taken the moment after: then the server ends, and another port is tried.
    for _ in 0..5 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(&program)
            .args(args(port.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut peer = Peer { child, endpoint: format!("http://127.0.0.1:{port}") };
        // Python takes its time to load; bounded only so that a broken server fails the test.
        for _ in 0..1_200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(peer);
            }
            if peer.child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    panic!("{name} does not start");
}
