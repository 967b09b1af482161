//! git over HTTP: the real `git http-backend`, streamed both ways.
//!
//! A push is answered after its events are on disk. If the process dies in between, [`Forge::settle`] finds the moved
//! refs at the next start.

use std::process::Stdio;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::io::ReaderStream;

use crate::api::auth::{Who, authenticate};
use crate::records::{Intent, Permission, Repo, User};
use crate::{Error, Forge};

/// What a repository allows, whatever its own configuration says.
const CONFIG: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("protocol.ext.allow", "never"),
    ("gc.auto", "0"),
    ("receive.autogc", "false"),
    ("http.receivepack", "true"),
    ("http.getanyfile", "false"),
    ("receive.fsckObjects", "true"),
    // The forge keeps these itself.
    ("receive.hideRefs", "refs/pull"),
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("uploadpack.allowReachableSHA1InWant", "true"),
    ("uploadpack.allowTipSHA1InWant", "true"),
    ("uploadpack.allowFilter", "true"),
];

/// Longer CGI headers than these are not git's.
const MAX_HEADERS: usize = 16 << 10;

/// Answers `GET /owner/repo.git/info/refs`, `POST …/git-upload-pack` and `POST …/git-receive-pack`.
pub(crate) async fn serve(
    forge: Forge,
    owner: String,
    name: String,
    rest: String,
    request: Request,
) -> Response {
    match answer(forge, &owner, &name, &rest, request).await {
        Ok(response) => response,
        Err(Error::Unauthorized(message)) => {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")];
            (StatusCode::UNAUTHORIZED, ask, format!("{message}\n")).into_response()
        }
        Err(error) => {
            if error.status().is_server_error() {
                tracing::error!(%error, owner, name, "git over HTTP failed");
            }
            (error.status(), format!("{error}\n")).into_response()
        }
    }
}

async fn answer(
    forge: Forge,
    owner: &str,
    name: &str,
    rest: &str,
    request: Request,
) -> Result<Response, Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let pushing = match (request.method(), rest) {
        (&Method::GET, "info/refs") => match query.as_str() {
            "service=git-upload-pack" => false,
            "service=git-receive-pack" => true,
            _ => return Err(Error::Forbidden("only git's smart protocol is served".into())),
        },
        (&Method::POST, "git-upload-pack") => false,
        (&Method::POST, "git-receive-pack") => true,
        _ => return Err(Error::not_found()),
    };
    let user = match authenticate(&forge, request.headers())? {
        Who::Anonymous => None,
        Who::User(user) => Some(*user),
    };
    let repo = allowed(&forge, owner, name, user.as_ref(), pushing)?;
    let command = backend(&forge, &repo, rest, &query, user.as_ref(), &request);
    match user {
        Some(user) if pushing && rest == "git-receive-pack" => {
            // In a task of its own: a client that goes away must not keep its push from being told.
            let push = tokio::spawn(async move { receive(forge, repo, user, command, request).await });
            push.await.map_err(|e| Error::Setup(format!("a push was cut short: {e}")))?
        }
        _ => stream(command, request.into_body()).await,
    }
}

/// The repository, if `user` may read (or push to) it. Who may not read it does not learn that it exists.
fn allowed(
    forge: &Forge,
    owner: &str,
    name: &str,
    user: Option<&User>,
    pushing: bool,
) -> Result<Repo, Error> {
    let sign_in = || Error::Unauthorized("sign in with a user name and a token".into());
    let Ok(repo) = forge.repo(owner, name) else {
        return Err(if user.is_none() { sign_in() } else { Error::NotFound("repository not found".into()) });
    };
    let has = forge.read(|s| s.permission(&repo, user));
    match has {
        Some(has) if !pushing || has >= Permission::Write => Ok(repo),
        _ if user.is_none() => Err(sign_in()),
        Some(_) => {
            let login = user.map_or("", |u| u.login.as_str());
            Err(Error::Forbidden(format!("permission to {} denied to {login}", repo.full_name())))
        }
        None => Err(Error::NotFound("repository not found".into())),
    }
}

/// `git http-backend` with a CGI environment and nothing else of ours.
fn backend(
    forge: &Forge,
    repo: &Repo,
    rest: &str,
    query: &str,
    user: Option<&User>,
    request: &Request,
) -> Command {
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear().current_dir(forge.inner.dir.join("repos"));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_COUNT", CONFIG.len().to_string())
        .env("GIT_PROJECT_ROOT", forge.inner.dir.join("repos"))
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{}.git/{rest}", repo.id))
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", request.method().as_str())
        .env("GATEWAY_INTERFACE", "CGI/1.1");
    for (i, (key, value)) in CONFIG.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{i}"), key).env(format!("GIT_CONFIG_VALUE_{i}"), value);
    }
    let passed = [
        (header::CONTENT_TYPE, "CONTENT_TYPE"),
        (header::CONTENT_LENGTH, "CONTENT_LENGTH"),
        (header::CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "GIT_PROTOCOL"),
    ];
    for (name, variable) in passed {
        if let Some(value) = request.headers().get(name).and_then(|v| v.to_str().ok()) {
            command.env(variable, value);
        }
    }
    if let Some(user) = user {
        command.env("REMOTE_USER", &user.login);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    command
}

/// A push: everything that hangs on it happens before the client hears of success.
async fn receive(
    forge: Forge,
    repo: Repo,
    user: User,
    command: Command,
    request: Request,
) -> Result<Response, Error> {
    let _lock = forge.lock_repo(repo.id).await;
    forge.intend(Intent { repo: repo.id, login: user.login.clone(), merging: None }).await?;
    let received = async {
        let (mut child, feeding, (status, headers), mut out) = start(command, request.into_body()).await?;
        // A report on a push is short; waiting for all of it is waiting for the refs to have moved.
        let mut body = Vec::new();
        out.read_to_end(&mut body).await.map_err(|source| io("read git's answer", source))?;
        child.wait().await.map_err(|source| io("wait for git", source))?;
        feeding.abort();
        Ok::<_, Error>((status, headers, Body::from(body)).into_response())
    };
    let received = received.await;
    // Also after a failure: git may have moved refs before it failed.
    forge.settle(&repo, &user, None).await?;
    received
}

/// A fetch: bytes go through as git writes them.
async fn stream(command: Command, body: Body) -> Result<Response, Error> {
    let (child, feeding, (status, headers), out) = start(command, body).await?;
    // The child lives in the stream: a client that goes away drops both, and the child with them.
    let stream = ReaderStream::new(out).map(move |chunk| {
        let _held = (&child, &feeding);
        chunk
    });
    Ok((status, headers, Body::from_stream(stream)).into_response())
}

type Started = (Child, tokio::task::JoinHandle<()>, (StatusCode, HeaderMap), BufReader<ChildStdout>);

/// Starts git, feeds it the request's body, and reads the head of its answer.
async fn start(mut command: Command, body: Body) -> Result<Started, Error> {
    let mut child =
        command.spawn().map_err(|source| io("start git http-backend; is git installed?", source))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Error::Setup("git http-backend has no pipes".into()));
    };
    let feeding = tokio::spawn(async move {
        let mut chunks = body.into_data_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            if stdin.write_all(&chunk).await.is_err() {
                return; // git has read all it wants.
            }
        }
    });
    let mut out = BufReader::new(stdout);
    let head = read_head(&mut out).await?;
    Ok((child, feeding, head, out))
}

/// CGI headers, up to the empty line.
async fn read_head(out: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap), Error> {
    let broken = || Error::Setup("git http-backend answered without headers".into());
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    let mut limited = out.take(MAX_HEADERS as u64);
    let mut line = String::new();
    loop {
        line.clear();
        let read = limited.read_line(&mut line).await.map_err(|source| io("read git's answer", source))?;
        let text = line.trim_end();
        match text.split_once(':') {
            _ if read == 0 => return Err(broken()),
            None if text.is_empty() => return Ok((status, headers)),
            None => return Err(broken()),
            Some((name, value)) if name.eq_ignore_ascii_case("status") => {
                let code = value.split_whitespace().next().and_then(|c| c.parse().ok());
                status = code.ok_or_else(broken)?;
            }
            Some((name, value)) => {
                let name: HeaderName = name.parse().map_err(|_| broken())?;
                headers.insert(name, HeaderValue::from_str(value.trim()).map_err(|_| broken())?);
            }
        }
    }
}

fn io(what: &str, source: std::io::Error) -> Error {
    Error::Io { what: what.to_owned(), source }
}
