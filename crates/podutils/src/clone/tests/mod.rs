//! clonerefs against real peers: git's own http-backend, OpenSSH's sshd, and a server that wants a token.
#![allow(clippy::unwrap_used)] // A test may fail by panicking, also in its helpers.

mod http;
mod ssh;

use super::*;
use prow_api::Refs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A host on which pauses take no time, and the pauses that it was asked for.
fn patient() -> (Host, Arc<Mutex<Vec<Duration>>>) {
    let slept = Arc::new(Mutex::new(Vec::new()));
    let pauses = slept.clone();
    let host = Host::new(
        || jiff::Timestamp::now().as_second(),
        move |pause| {
            pauses.lock().unwrap().push(pause);
            Box::pin(async {})
        },
    );
    (host, slept)
}

/// True if any file below holds this text.
fn holds(dir: &Path, needle: &str) -> bool {
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(needle) {
                return true;
            }
        }
    }
    false
}

fn options(repos: &[(&str, &str, &str)]) -> CloneRefsOptions {
    CloneRefsOptions {
        src_root: "/go".into(),
        log: "/log".into(),
        refs: repos
            .iter()
            .map(|(org, repo, alias)| Refs {
                org: (*org).into(),
                repo: (*repo).into(),
                path_alias: (*alias).into(),
                ..Refs::default()
            })
            .collect(),
        ..CloneRefsOptions::default()
    }
}

#[test]
fn options_are_checked() {
    assert!(check(&options(&[("o", "r", "")])).is_ok());
    assert!(check(&options(&[("o", "r", "x"), ("o", "q", "x")])).is_ok(), "only a warning");
    let mut app = options(&[("o", "r", "")]);
    app.github_app_id = "1".into();
    let mut both = app.clone();
    both.oauth_token_file = "/t".into();
    let mut no_log = options(&[("o", "r", "")]);
    no_log.log.clear();
    for (options, why) in [
        (options(&[]), "no refs"),
        (options(&[("o", "r", ""), ("o", "r", "")]), "more than once"),
        (app, "belong together"),
        (both, "exclude each other"),
        (no_log, "no log file"),
    ] {
        let error = check(&options).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Wants basic authentication, notes what it got, and has nothing.
async fn server(seen: Arc<Mutex<Vec<(String, String)>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap_or(0) > 0 {}
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let header = request.lines().find_map(|l| l.strip_prefix("Authorization: "));
            let answer = match header {
                Some(value) => {
                    seen.lock().unwrap().push((path, value.to_owned()));
                    "HTTP/1.1 404 Not Found\r\n"
                }
                None => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n",
            };
            let answer = format!("{answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_token_reaches_its_own_repository_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("oauth");
    std::fs::write(&token, "hunter2\n").unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let uri = format!("{}/org/repo.git", server(seen.clone()).await);
    let mut options = options(&[("org", "repo", "")]);
    options.src_root = text(&dir.path().join("go"));
    options.log = text(&dir.path().join("clone.json"));
    options.oauth_token_file = text(&token);
    options.refs[0].clone_uri = uri.clone();
    options.refs[0].base_ref = "main".into();
    let (host, slept) = patient();
    assert_eq!(run(options.clone(), &host).await.unwrap(), 0, "a failed clone is not our failure");
    assert_eq!(slept.lock().unwrap().len(), 9, "fetches are tried ten times");
    let seen = seen.lock().unwrap().clone();
    let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "x-access-token:hunter2");
    assert!(!seen.is_empty());
    assert!(
        seen.iter().all(|(path, header)| {
            path.starts_with("/org/repo.git/") && *header == format!("Basic {basic}")
        })
    );
    // Neither records nor the repository know it.
    let records = std::fs::read_to_string(&options.log).unwrap();
    assert!(records.contains("\"failed\":true") && !records.contains("hunter2"), "{records}");
    let config = std::fs::read_to_string(dir.path().join("go/src/github.com/org/repo/.git/config")).unwrap();
    assert!(!config.contains("hunter2"));

    let (_, access) = Access::set_up(&options, Path::new("/no/such/known_hosts")).await;
    let tokens = access.unwrap().tokens;
    let token = tokens.for_repository(&options.refs[0], &uri, &host).await.unwrap().unwrap();
    for (url, given) in [
        (uri.clone(), true),
        (uri.replace("/repo.git", "/other.git"), false),
        (uri.replace("127.0.0.1", "localhost"), false),
    ] {
        let mut git = prow_git::Git::new(dir.path());
        for (key, value) in token.env(&uri) {
            git = git.with_env(key, value);
        }
        let asked =
            git.command(["credential", "fill"]).stdin(format!("url={url}\n\n")).status().await.unwrap();
        assert_eq!(asked.stdout.to_text().contains("password=hunter2"), given, "{url}");
    }
    let over_ssh = tokens.for_repository(&options.refs[0], "git@github.com:org/repo.git", &host).await;
    assert!(over_ssh.unwrap().is_none());
    assert_eq!(token.censored("a hunter2 b"), "a CENSORED b");
}

#[tokio::test]
async fn a_setup_that_fails_is_the_only_record() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "not a key").unwrap();
    for spoil in [
        (|o: &mut CloneRefsOptions, _: &Path| o.oauth_token_file = "/no/such/token".into())
            as fn(&mut CloneRefsOptions, &Path),
        |o, dir| o.key_files = vec![dir.join("missing").to_str().unwrap().into()],
        |o, dir| o.key_files = vec![dir.to_str().unwrap().into()],
        |o, dir| o.host_fingerprints = vec![text(dir)],
        |o, _| {
            o.github_app_id = "1".into();
            o.github_app_private_key_file = "/no/such/key".into();
        },
        |o, dir| {
            o.github_app_id = "1".into();
            o.github_app_private_key_file = text(&dir.join("key"));
        },
    ] {
        let mut options = options(&[("o", "r", "")]);
        spoil(&mut options, dir.path());
        let records = records(&options, &Host::system(), &dir.path().join("no/hosts")).await;
        assert_eq!(records.len(), 1, "{records:?}");
        assert!(records[0].failed && records[0].refs.org.is_empty());
        assert!(!records[0].commands.last().unwrap().error.is_empty());
    }
}
