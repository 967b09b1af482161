//! A store that answers badly: with errors, never, or half. It keeps no objects; what is asked for is always the same
//! ten digits.
#![allow(dead_code)] // Each test that includes this file uses some of it.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What every object holds.
pub const CONTENT: &str = "0123456789";

/// How a request ends badly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// With a status and a `Retry-After` header, if any.
    Status(u16, Option<u64>),
    /// Never.
    Hang,
    /// The connection is cut in the middle of what is sent: the request's body, or the answer's.
    Cut,
}

/// The first so many requests end badly, those after them well.
#[derive(Default)]
pub struct State {
    pub trouble: Option<(Trouble, usize)>,
    pub requests: usize,
}

pub struct Troubled {
    pub endpoint: String,
    pub state: Arc<Mutex<State>>,
}

impl Troubled {
    pub async fn start() -> Troubled {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = shared.clone();
                tokio::spawn(async move {
                    // Nothing can be answered to a client that is gone.
                    let _ = answer(stream, &state).await;
                });
            }
        });
        Troubled { endpoint, state }
    }

    /// From now on the next `times` requests end like this.
    pub fn set(&self, trouble: Trouble, times: usize) {
        *self.state.lock().unwrap() = State { trouble: Some((trouble, times)), requests: 0 };
    }

    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// The S3 credentials file that leads here.
    pub fn s3_file(&self, dir: &std::path::Path) -> std::path::PathBuf {
        let path = dir.join("s3.json");
        let json = format!(
            r#"{{"region":"r","endpoint":"{}","insecure":true,"s3_force_path_style":true,"access_key":"k","secret_key":"hunter2"}}"#,
            self.endpoint
        );
        std::fs::write(&path, json).unwrap();
        path
    }
}

async fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let header =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
    let length: usize = header("content-length").map_or(0, |n| n.parse().unwrap());
    let trouble = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        state.trouble.as_mut().filter(|(_, left)| *left > 0).map(|(trouble, left)| {
            *left -= 1;
            *trouble
        })
    };
    if trouble == Some(Trouble::Hang) {
        return std::future::pending().await;
    }
    let reading = head.starts_with("get ");
    if trouble == Some(Trouble::Cut) && !reading {
        stream.read_exact(&mut vec![0; length / 2]).await?;
        return Ok(());
    }
    stream.read_exact(&mut vec![0; length]).await?;
    let common = "connection: close\r\netag: \"1\"\r\nlast-modified: Sun, 22 Nov 2026 07:00:00 GMT\r\n";
    let text = match trouble {
        Some(Trouble::Status(status, retry_after)) => {
            let retry_after = retry_after.map_or(String::new(), |n| format!("retry-after: {n}\r\n"));
            format!("HTTP/1.1 {status} Trouble\r\n{common}{retry_after}content-length: 7\r\n\r\ntrouble")
        }
        _ if reading => {
            let from: usize = header("range")
                .and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok())
                .unwrap_or(0);
            let part = &CONTENT[from..];
            let status = match header("range") {
                None => "200 OK\r\n".to_owned(),
                Some(_) => format!("206 Partial\r\ncontent-range: bytes {from}-9/10\r\n"),
            };
            let body = if trouble == Some(Trouble::Cut) { &part[..part.len() / 2] } else { part };
            format!("HTTP/1.1 {status}{common}content-length: {}\r\n\r\n{body}", part.len())
        }
        _ => format!("HTTP/1.1 200 OK\r\n{common}content-length: 0\r\n\r\n"),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
