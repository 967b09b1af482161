//! The Docker Engine API over its unix socket, as far as Pods need it. Podman's service speaks the same. Paths carry the
//! version that was agreed on with the engine when it was found.
//!
//! What an engine should answer at once it has to answer within a bound, so that one that hangs is said to hang. Without
//! bound are only a container's end and its output; a pull has to show some progress now and then.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;

/// Answers that are not streams are small.
const ANSWER_LIMIT: usize = 32 << 20;
/// A line of a pull's progress is smaller.
const PROGRESS_LIMIT: usize = 1 << 20;
/// Longer than an engine takes for anything that it does at once, on a busy machine as well.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than a pull that goes on says nothing; unpacking a large layer is quiet.
const STALL: Duration = Duration::from_secs(300);
/// The version of the API that this is written against; older and newer engines are met on theirs.
const API: Version = Version(1, 41);

/// Why the engine did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody listens.
    #[error("cannot reach the container engine at {}: {source}", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("cannot {what}: the container engine's answer broke off: {why}")]
    Broken {
        /// What was tried.
        what: String,
        /// Why.
        why: String,
    },
    /// It has taken the request and says nothing.
    #[error(
        "cannot {what}: the container engine at {} has not answered for {} s; see whether `docker info` or `podman info` \
         answers, and start the engine again if it does not", socket.display(), patience.as_secs()
    )]
    Silent {
        /// What was tried.
        what: String,
        /// Its socket.
        socket: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It refused.
    #[error("cannot {what}: {message}")]
    Refused {
        /// What was tried.
        what: String,
        /// HTTP status.
        status: u16,
        /// In the engine's words.
        message: String,
    },
}

impl EngineError {
    /// True if there is no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, EngineError::Refused { status: 404, .. })
    }

    /// True if another container has the name. Podman 4 answers with 500.
    pub fn is_name_taken(&self) -> bool {
        match self {
            EngineError::Refused { status: 409, .. } => true,
            EngineError::Refused { status: 500, message, .. } => message.contains("name is already in use"),
            _ => false,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, EngineError>;

/// A client; each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    /// Before every path: nothing, or as `/v1.41`.
    prefix: String,
    patience: Duration,
    stall: Duration,
}

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// Which version to speak with an engine that knows these: ours if it does, else the nearest. `None` for an engine that
/// does not say.
fn agree(oldest: Option<&str>, newest: Option<&str>) -> Option<String> {
    let newest = Version::parse(newest?)?;
    let oldest = oldest.and_then(Version::parse).unwrap_or(newest).min(newest);
    let Version(major, minor) = API.clamp(oldest, newest);
    Some(format!("{major}.{minor}"))
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Name and version, as `Docker Engine 27.1` or `Podman Engine 4.3.1`.
    pub title: String,
    /// The version of the API to speak with it; empty if it does not say.
    pub api: String,
}

/// What the engine knows of a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// How it stands.
    pub state: InspectedState,
}

/// How a container stands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InspectedState {
    /// Its process runs.
    pub running: bool,
    /// The kernel ended it for lack of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Of the container's first process; 0 if it does not run.
    pub pid: u32,
}

/// What the engine knows of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// By which the registry knows it.
    #[serde(default)]
    pub repo_digests: Option<Vec<String>>,
    /// What it is run with.
    #[serde(default)]
    pub config: Option<ImageConfig>,
}

/// What an image is run with.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// Name or id; empty is root.
    pub user: Option<String>,
    /// Its own program.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments, or the program if it has no entrypoint.
    pub cmd: Option<Vec<String>>,
}

/// A container in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// What it was labelled with.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Client {
    /// The engine behind `socket`, spoken to in this version of its API; empty for its newest.
    pub fn new(socket: &Path, api: &str) -> Client {
        let prefix = if api.is_empty() { String::new() } else { format!("/v{api}") };
        Client { socket: socket.to_owned(), prefix, patience: PATIENCE, stall: STALL }
    }

    /// The same with other bounds: for an answer, and for a pull that shows no progress.
    #[must_use]
    pub fn patient(self, patience: Duration, stall: Duration) -> Client {
        Client { patience, stall, ..self }
    }

    async fn bounded<T>(
        &self,
        what: &str,
        patience: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let silent = |_| EngineError::Silent { what: what.to_owned(), socket: self.socket.clone(), patience };
        tokio::time::timeout(patience, work).await.map_err(silent)?
    }

    /// Sends a request and gives the beginning of the answer, however long that takes.
    async fn send(&self, what: &str, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let unreachable = |source| EngineError::Unreachable { socket: self.socket.clone(), source };
        let broken = |e: hyper::Error| EngineError::Broken { what: what.to_owned(), why: e.to_string() };
        let connect = async { UnixStream::connect(&self.socket).await.map_err(unreachable) };
        let stream = self.bounded(what, self.patience, connect).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move {
            if let Err(e) = connection.with_upgrades().await {
                tracing::trace!("a connection to the container engine ended: {e}");
            }
        });
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() || matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::NOT_MODIFIED)
        {
            return Ok(response);
        }
        let body = self.bounded(what, self.patience, collect(what, response)).await?;
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        let message = said.as_ref().and_then(|v| v["message"].as_str()).map(str::to_owned);
        let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
        Err(EngineError::Refused { what: what.to_owned(), status: status.as_u16(), message })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>> {
        let uri = format!("{}{path}", self.prefix);
        let mut request = Request::builder().method(method).uri(uri).header(HOST, "engine");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bad = |e: hyper::http::Error| EngineError::Broken {
            what: format!("ask for {path}"),
            why: e.to_string(),
        };
        request.body(Full::new(body)).map_err(bad)
    }

    pub(super) async fn call(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes> {
        let json = [(CONTENT_TYPE.as_str(), "application/json")];
        let (headers, body) = match body {
            Some(value) => (&json[..], Bytes::from(value.to_string())),
            None => (&[][..], Bytes::new()),
        };
        let request = self.request(method, path, headers, body)?;
        let answer = async { collect(what, self.send(what, request).await?).await };
        self.bounded(what, self.patience, answer).await
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(&self, what: &str, path: &str) -> Result<T> {
        let body = self.call(what, Method::GET, path, None).await?;
        parse(what, &body)
    }

    /// What engine it is, and how to speak with it.
    pub async fn about(&self) -> Result<About> {
        let what = "ask the container engine for its version";
        let version: Value = self.get(what, "/version").await?;
        let component = version["Components"][0]["Name"].as_str().unwrap_or("Engine");
        let name = if component == "Engine" { "Docker Engine" } else { component };
        let title = format!("{name} {}", version["Version"].as_str().unwrap_or("of unknown version"));
        let api = agree(version["MinAPIVersion"].as_str(), version["ApiVersion"].as_str());
        Ok(About { title, api: api.unwrap_or_default() })
    }

    /// An image that is there.
    pub async fn image(&self, name: &str) -> Result<Option<Image>> {
        let what = format!("look for image {name}");
        match self.get(&what, &format!("/images/{}/json", escape(name))).await {
            Ok(image) => Ok(Some(image)),
            Err(e) if e.is_absent() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Pulls an image; `auth` is what `X-Registry-Auth` takes.
    pub async fn pull(&self, image: &str, auth: Option<&str>) -> Result<()> {
        let what = format!("pull image {image}");
        let (name, tag) = super::reference::name_and_tag(image);
        let mut path = format!("/images/create?fromImage={}", escape(name));
        if !tag.is_empty() {
            path.push_str(&format!("&tag={}", escape(tag)));
        }
        let mut headers = Vec::new();
        if let Some(auth) = auth {
            headers.push(("X-Registry-Auth", auth));
        }
        let request = self.request(Method::POST, &path, &headers, Bytes::new())?;
        let response = self.bounded(&what, self.stall, self.send(&what, request)).await?;
        self.progress(&what, response).await
    }

    /// Makes an image of a tar archive.
    pub async fn import(&self, name: &str, tar: Vec<u8>) -> Result<()> {
        let what = format!("make image {name}");
        // With its tag in the name: Podman 4 does not heed a tag beside it.
        let path = format!("/images/create?fromSrc=-&repo={}", escape(name));
        let headers = [(CONTENT_TYPE.as_str(), "application/x-tar")];
        let request = self.request(Method::POST, &path, &headers, Bytes::from(tar))?;
        let response = self.bounded(&what, self.stall, self.send(&what, request)).await?;
        self.progress(&what, response).await
    }

    /// Creates a container and gives its id.
    pub async fn create(&self, name: &str, spec: &Value) -> Result<String> {
        let what = format!("create container {name}");
        let path = format!("/containers/create?name={}", escape(name));
        let body = self.call(&what, Method::POST, &path, Some(spec)).await?;
        let made: Value = parse(&what, &body)?;
        match made["Id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(EngineError::Broken { what, why: "it has no Id".to_owned() }),
        }
    }

    /// Starts one.
    pub async fn start(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{id}/start");
        self.call("start the container", Method::POST, &path, None).await.map(drop)
    }

    /// Signals its first process; one that has ended already is as good.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<()> {
        let path = format!("/containers/{id}/kill?signal={signal}");
        match self.call("signal the container", Method::POST, &path, None).await {
            Err(EngineError::Refused { status: 404 | 409 | 500, .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits until it has ended and gives its exit code.
    pub async fn wait(&self, id: &str) -> Result<i32> {
        let what = "wait for the container";
        let request = self.request(Method::POST, &format!("/containers/{id}/wait"), &[], Bytes::new())?;
        let body = collect(what, self.send(what, request).await?).await?;
        let ended: Value = parse(what, &body)?;
        let code = ended["StatusCode"].as_i64().and_then(|c| i32::try_from(c).ok());
        code.ok_or_else(|| EngineError::Broken {
            what: what.to_owned(),
            why: "it has no StatusCode".to_owned(),
        })
    }

    /// How it stands.
    pub async fn inspect(&self, id: &str) -> Result<Inspected> {
        self.get("look at the container", &format!("/containers/{id}/json")).await
    }

    /// Ends it if it runs, and removes it; one that is not there is as good.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{id}?force=true&v=true");
        match self.call("remove the container", Method::DELETE, &path, None).await {
            Err(e) if e.is_absent() => Ok(()),
            // Somebody else is removing it.
            Err(EngineError::Refused { status: 409, .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Containers with a label, ended ones included.
    pub async fn list(&self, label: &str) -> Result<Vec<Listed>> {
        let filters = json!({ "label": [label] }).to_string();
        self.get("list containers", &format!("/containers/json?all=true&filters={}", escape(&filters))).await
    }

    /// What the container will write, for [`output`].
    pub async fn attach(&self, id: &str) -> Result<impl AsyncRead + Unpin + Send + use<>> {
        let what = "listen to the container";
        let path = format!("/containers/{id}/attach?stream=true&stdout=true&stderr=true");
        let headers = [(CONNECTION.as_str(), "Upgrade"), (UPGRADE.as_str(), "tcp")];
        let request = self.request(Method::POST, &path, &headers, Bytes::new())?;
        let broken = |e: hyper::Error| EngineError::Broken { what: what.to_owned(), why: e.to_string() };
        let upgrade = async {
            let response = self.send(what, request).await?;
            hyper::upgrade::on(response).await.map_err(broken)
        };
        Ok(TokioIo::new(self.bounded(what, self.patience, upgrade).await?))
    }

    /// Reads a stream of JSON objects, a line each, to its end; an object with an error in it is the outcome.
    async fn progress(&self, what: &str, response: Response<Incoming>) -> Result<()> {
        let broken = |why: String| EngineError::Broken { what: what.to_owned(), why };
        let mut body = response.into_body();
        let mut lines = Vec::new();
        loop {
            let frame = async { Ok(body.frame().await) };
            let Some(frame) = self.bounded(what, self.stall, frame).await? else { break };
            let frame = frame.map_err(|e| broken(e.to_string()))?;
            lines.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if lines.len() > PROGRESS_LIMIT {
                return Err(broken("a line of its progress has no end".to_owned()));
            }
            if let Some(end) = lines.iter().rposition(|b| *b == b'\n') {
                complaint(what, &lines[..end])?;
                lines.drain(..=end);
            }
        }
        complaint(what, &lines)
    }
}

async fn collect(what: &str, response: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|e| EngineError::Broken { what: what.to_owned(), why: e.to_string() })
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, body: &[u8]) -> Result<T> {
    let broken = |e: serde_json::Error| EngineError::Broken { what: what.to_owned(), why: e.to_string() };
    serde_json::from_slice(body).map_err(broken)
}

/// The first error that some progress tells of.
fn complaint(what: &str, progress: &[u8]) -> Result<()> {
    for object in serde_json::Deserializer::from_slice(progress).into_iter::<Value>() {
        // Whatever is no JSON is progress for people.
        let Ok(object) = object else { break };
        if let Some(message) = object["error"].as_str().filter(|m| !m.is_empty()) {
            let (what, message) = (what.to_owned(), message.to_owned());
            return Err(EngineError::Refused { what, status: 200, message });
        }
    }
    Ok(())
}

/// Hands on what a container writes, and whether to its standard error. What goes to a terminal comes as it is.
pub async fn output(
    mut from: impl AsyncRead + Unpin,
    tty: bool,
    mut write: impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if !tty {
        return demultiplex(from, write).await;
    }
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            count => write(false, &buffer[..count])?,
        }
    }
}

/// Takes the engine's frames apart: one byte of stream, three of nothing, four of length, the bytes.
async fn demultiplex(
    mut frames: impl AsyncRead + Unpin,
    mut write: impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut header = [0; 8];
    let mut buffer = vec![0; 32 * 1024];
    loop {
        if let Err(e) = frames.read_exact(&mut header).await {
            return if e.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(e) };
        }
        let mut left = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        while left > 0 {
            let part = left.min(buffer.len());
            let count = frames.read(&mut buffer[..part]).await?;
            if count == 0 {
                return Ok(());
            }
            write(header[0] == 2, &buffer[..count])?;
            left -= count;
        }
    }
}

/// For a path or a query: everything but what needs no escape.
pub(super) fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b':' | b'@' => {
                char::from(b).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
