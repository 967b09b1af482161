//! Over HTTP: the forge's repositories, served by git itself, behind a front that can fail and that remembers who came
//! with what; and GitHub's two calls that make a token for an App.

use super::*;
use axum::Router;
use axum::extract::{Path as Segments, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prow_api::{Pull, Secret};
use prow_forge::{Forge, ForgeOptions, Permission, SeedPull};
use serde_json::{Value, json};
use std::process::Command;

/// What came by.
#[derive(Default)]
struct Seen {
    /// Requests for git: path, and credentials if it had any.
    git: Vec<(String, Option<String>)>,
    /// What was asked for with each token.
    asked: Vec<Value>,
    /// So many of git's requests are answered with 503.
    failures: usize,
    /// The App may not read content.
    no_contents: bool,
}

#[derive(Clone)]
struct Hub {
    forge: Forge,
    url: String,
    seen: Arc<Mutex<Seen>>,
    _dir: Arc<tempfile::TempDir>,
}

impl Hub {
    /// The organization `acme` with `alice`, who writes, `bot`, whose token is the App's, and private repositories of
    /// these names.
    async fn new(repositories: &[&str]) -> Hub {
        let dir = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let options = ForgeOptions::new(url.parse().unwrap());
        let forge = Forge::open(dir.path().join("forge"), options).await.unwrap();
        for login in ["alice", "bot"] {
            forge.create_user(login, &Secret::new(format!("token-of-{login}"))).await.unwrap();
        }
        forge.create_org("acme").await.unwrap();
        for name in repositories {
            let files = [("a", "a\n"), ("b", "b\n"), ("d/x", "x\n"), ("e/y", "y\n")];
            forge.create_repo_with("acme", name, "main", true, &files).await.unwrap();
            forge.add_collaborator("acme", name, "alice", Permission::Write).await.unwrap();
            forge.add_collaborator("acme", name, "bot", Permission::Read).await.unwrap();
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let hub = Hub { forge: forge.clone(), url, seen, _dir: Arc::new(dir) };
        let router = Router::new()
            .route("/api/v3/repos/{org}/{repo}/installation", get(installation))
            .route("/api/v3/app/installations/77/access_tokens", post(access_token))
            .fallback_service(forge.router())
            .layer(from_fn_with_state(hub.clone(), front))
            .with_state(hub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        hub
    }

    /// One pull request for each file and content.
    async fn refs(&self, repo: &str, pulls: &[(&str, &str)]) -> Refs {
        let mut refs = Refs {
            org: "acme".into(),
            repo: repo.into(),
            base_ref: "main".into(),
            base_sha: self.forge.branch("acme", repo, "main").unwrap(),
            clone_uri: format!("{}/acme/{repo}.git", self.url),
            ..Refs::default()
        };
        for (file, content) in pulls {
            let files = [(*file, Some(*content))];
            let seed = SeedPull { author: "alice", title: "change", files: &files, ..SeedPull::default() };
            let number = self.forge.seed_pull_request("acme", repo, seed).await.unwrap().number;
            let sha = self.forge.branch("acme", repo, &format!("pull-{number}")).unwrap();
            refs.pulls.push(Pull { number, sha, ..Pull::default() });
        }
        refs
    }

    fn credentials(&self, repo: &str) -> Vec<Option<String>> {
        let seen = self.seen.lock().unwrap();
        let of_repo = seen.git.iter().filter(|(path, _)| path.contains(repo));
        of_repo.map(|(_, credentials)| credentials.clone()).collect()
    }
}

async fn front(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    if request.uri().path().contains(".git/") {
        let mut seen = hub.seen.lock().unwrap();
        let credentials = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
        seen.git.push((request.uri().path().to_owned(), credentials));
        if seen.failures > 0 {
            seen.failures -= 1;
            return (StatusCode::SERVICE_UNAVAILABLE, "in a moment").into_response();
        }
    }
    next.run(request).await
}

fn speaks_as_app(headers: &HeaderMap) -> bool {
    let given = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    given.strip_prefix("Bearer ").is_some_and(|jwt| jwt.split('.').count() == 3)
}

async fn installation(Segments((_, repo)): Segments<(String, String)>, headers: HeaderMap) -> Response {
    match speaks_as_app(&headers) {
        false => StatusCode::UNAUTHORIZED.into_response(),
        true if repo == "elsewhere" => (StatusCode::NOT_FOUND, r#"{"message":"Not Found"}"#).into_response(),
        true => axum::Json(json!({"id": 77})).into_response(),
    }
}

async fn access_token(State(hub): State<Hub>, headers: HeaderMap, body: axum::Json<Value>) -> Response {
    if !speaks_as_app(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut seen = hub.seen.lock().unwrap();
    let refused = seen.no_contents && body["permissions"]["contents"] != Value::Null;
    seen.asked.push(body.0);
    match refused {
        true => (StatusCode::UNPROCESSABLE_ENTITY, r#"{"message":"not granted"}"#).into_response(),
        false => (StatusCode::CREATED, axum::Json(json!({"token": "token-of-bot"}))).into_response(),
    }
}

/// A run's directory and options.
fn prepared(refs: Vec<Refs>) -> (tempfile::TempDir, CloneRefsOptions) {
    let dir = tempfile::tempdir().unwrap();
    let options = CloneRefsOptions {
        src_root: text(&dir.path().join("go")),
        log: text(&dir.path().join("clone.json")),
        refs,
        git_user_name: "ci-robot".into(),
        git_user_email: "ci-robot@k8s.io".into(),
        ..CloneRefsOptions::default()
    };
    (dir, options)
}

fn with_oauth(dir: &Path, options: &mut CloneRefsOptions) {
    std::fs::write(dir.join("oauth"), "token-of-alice\n").unwrap();
    options.oauth_token_file = text(&dir.join("oauth"));
}

/// `false`, and said, where there is no OpenSSL to make a key.
fn with_app(dir: &Path, hub: &Hub, options: &mut CloneRefsOptions) -> bool {
    let key = dir.join("app.pem");
    let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output();
    if !made.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: openssl is not installed");
        return false;
    }
    options.github_app_id = "4711".into();
    options.github_app_private_key_file = text(&key);
    options.github_api_endpoints = vec![format!("{}/api/v3", hub.url)];
    true
}

/// By repository; the setup is checked.
async fn cloned(options: &CloneRefsOptions, host: &Host) -> BTreeMap<String, CloneRecord> {
    let records = records(options, host, Path::new("/no/such/known_hosts")).await;
    assert!(!records[0].failed, "{records:?}");
    records.into_iter().skip(1).map(|record| (record.refs.repo.clone(), record)).collect()
}

fn basic(token: &str) -> Option<String> {
    let engine = &base64::engine::general_purpose::STANDARD;
    Some(format!("Basic {}", base64::Engine::encode(engine, format!("x-access-token:{token}"))))
}

#[tokio::test]
async fn a_private_repository_is_cloned_with_the_token_which_stays_nowhere() {
    let hub = Hub::new(&["rocket"]).await;
    let refs = hub.refs("rocket", &[("a", "one\n"), ("b", "two\n")]).await;
    let (dir, mut options) = prepared(vec![refs]);
    let (host, slept) = patient();
    let without = cloned(&options, &host).await;
    assert!(without["rocket"].failed, "it is private");
    assert_eq!(slept.lock().unwrap().iter().sum::<Duration>(), Duration::from_millis(63_500));

    with_oauth(dir.path(), &mut options);
    options.src_root = text(&dir.path().join("second"));
    let records = cloned(&options, &host).await;
    let record = &records["rocket"];
    assert!(!record.failed, "{record:?}");
    let clone = dir.path().join("second/src/github.com/acme/rocket");
    assert_eq!(std::fs::read_to_string(clone.join("a")).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(clone.join("b")).unwrap(), "two\n");
    assert!(hub.credentials("rocket").contains(&basic("token-of-alice")));
    std::fs::write(dir.path().join("second/records"), serde_json::to_string(&records).unwrap()).unwrap();
    assert!(!holds(&dir.path().join("second"), "token-of-alice"), "neither in .git nor in the records");
}

#[tokio::test]
async fn two_that_conflict_are_a_failed_record_with_gits_own_words() {
    let hub = Hub::new(&["rocket"]).await;
    let (dir, mut options) = prepared(vec![hub.refs("rocket", &[("a", "one\n"), ("a", "two\n")]).await]);
    with_oauth(dir.path(), &mut options);
    let record = cloned(&options, &patient().0).await.remove("rocket").unwrap();
    assert!(record.failed && record.final_sha.is_empty() && record.duration == 0);
    let last = record.commands.last().unwrap();
    assert!(last.output.contains("CONFLICT") && last.error == "exit status 1", "{last:?}");
}

#[tokio::test]
async fn an_app_gets_a_token_for_each_repository_and_one_failure_leaves_the_others() {
    let hub = Hub::new(&["rocket", "engine", "elsewhere", "mirror"]).await;
    let mut refs = Vec::new();
    for name in ["rocket", "engine", "elsewhere", "mirror"] {
        refs.push(hub.refs(name, &[("a", "one\n")]).await);
    }
    // Not the App's own GitHub, as far as its API address says: a job could name any server here.
    refs[3].clone_uri = refs[3].clone_uri.replace("127.0.0.1", "localhost");
    let (dir, mut options) = prepared(refs);
    if !with_app(dir.path(), &hub, &mut options) {
        return;
    }
    let records = cloned(&options, &patient().0).await;
    for (name, failed) in [("rocket", false), ("engine", false), ("elsewhere", true), ("mirror", true)] {
        assert_eq!(records[name].failed, failed, "{:?}", records[name]);
    }
    let why = &records["elsewhere"].commands.last().unwrap().error;
    assert!(why.contains("is the App installed on acme/elsewhere?"), "{why}");
    assert_eq!(records["elsewhere"].commands.len(), 1, "nothing was tried without it");
    assert!(hub.credentials("rocket").contains(&basic("token-of-bot")));
    assert!(hub.credentials("mirror").iter().all(Option::is_none), "no token for another host");
    let mut asked = hub.seen.lock().unwrap().asked.clone();
    asked.sort_by_key(Value::to_string);
    let narrow = |repo: &str| json!({"repositories": [repo], "permissions": {"contents": "read"}});
    assert_eq!(asked, [narrow("engine"), narrow("rocket")]);
    std::fs::write(dir.path().join("go/records"), serde_json::to_string(&records).unwrap()).unwrap();
    assert!(!holds(&dir.path().join("go"), "token-of-bot"), "neither in .git nor in the records");
}

#[tokio::test]
async fn an_app_without_the_right_to_read_content_gets_no_more_than_the_metadata() {
    let hub = Hub::new(&["rocket"]).await;
    let (dir, mut options) = prepared(vec![hub.refs("rocket", &[]).await]);
    if !with_app(dir.path(), &hub, &mut options) {
        return;
    }
    hub.seen.lock().unwrap().no_contents = true;
    assert!(!cloned(&options, &patient().0).await["rocket"].failed);
    let metadata = json!({"repositories": ["rocket"], "permissions": {"metadata": "read"}});
    assert_eq!(hub.seen.lock().unwrap().asked[1], metadata);
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again() {
    let hub = Hub::new(&["rocket"]).await;
    let (dir, mut options) = prepared(vec![hub.refs("rocket", &[("a", "one\n")]).await]);
    with_oauth(dir.path(), &mut options);
    hub.seen.lock().unwrap().failures = 4;
    let (host, slept) = patient();
    let record = cloned(&options, &host).await.remove("rocket").unwrap();
    assert!(!record.failed, "{record:?}");
    let pauses: Vec<u128> = slept.lock().unwrap().iter().map(Duration::as_millis).collect();
    assert_eq!(pauses, [100, 200, 400, 800]);
    let fetches = record.commands.iter().filter(|c| c.command.contains(" git fetch ")).count();
    assert_eq!(fetches, 3, "all attempts of a command are one in the record");
}

#[tokio::test]
async fn what_is_left_out_is_not_fetched_and_the_merge_is_the_same_commit() {
    let hub = Hub::new(&["rocket"]).await;
    // A past whose content nobody needs.
    let newer = [("e/y", Some("newer\n"))];
    hub.forge.push_files("acme", "rocket", "main", "alice", "newer", &newer).await.unwrap();
    let whole = hub.refs("rocket", &[("a", "one\n"), ("b", "two\n")]).await;
    let shapes: [(&str, fn(&mut Refs)); 4] = [
        ("whole", |_| {}),
        ("blobless", |r| r.blobless_fetch = Some(true)),
        ("sparse", |r| r.sparse_checkout_files = vec!["d".into()]),
        ("bare", |r| {
            r.skip_fetch_head = true;
            r.skip_submodules = true;
        }),
    ];
    let mut commits = Vec::new();
    for (name, shape) in shapes {
        let mut refs = whole.clone();
        shape(&mut refs);
        let (dir, mut options) = prepared(vec![refs]);
        with_oauth(dir.path(), &mut options);
        let record = cloned(&options, &patient().0).await.remove("rocket").unwrap();
        assert!(!record.failed, "{name}: {record:?}");
        let clone = dir.path().join("go/src/github.com/acme/rocket");
        let objects = Command::new("git")
            .args(["rev-list", "--objects", "--all", "--missing=print"])
            .current_dir(&clone)
            .output()
            .unwrap();
        let missing =
            String::from_utf8(objects.stdout).unwrap().lines().filter(|l| l.starts_with('?')).count();
        let partial = matches!(name, "blobless" | "sparse");
        assert_eq!(missing > 0, partial, "{name}: {missing} objects are not here");
        assert_eq!(clone.join("e/y").exists(), name != "sparse", "{name}");
        assert!(clone.join("d/x").exists(), "{name}");
        commits.push(record.final_sha);
    }
    assert!(commits.iter().all(|commit| *commit == commits[0]), "{commits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_is_fetched_without_the_token() {
    let hub = Hub::new(&["rocket"]).await;
    hub.forge.create_repo("acme", "engine", &[("piston", "up\n")]).await.unwrap();
    let work = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let url = hub.url.replace("http://", "http://alice:token-of-alice@");
        let args = args.iter().map(|arg| arg.replace("$HUB", &url)).collect::<Vec<_>>();
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]).args(&args);
        command
            .current_dir(work.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", work.path())
            .output()
            .unwrap()
    };
    let public = format!("{}/acme/engine.git", hub.url);
    let steps: [&[&str]; 4] = [
        &["clone", "--quiet", "$HUB/acme/rocket.git", "."],
        &["submodule", "--quiet", "add", &public, "engine"],
        &["commit", "--quiet", "-m", "with an engine"],
        &["push", "--quiet", "origin", "HEAD:main"],
    ];
    for step in steps {
        let done = tokio::task::block_in_place(|| git(step));
        assert!(done.status.success(), "{step:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    hub.seen.lock().unwrap().git.clear();
    let (dir, mut options) = prepared(vec![hub.refs("rocket", &[]).await]);
    with_oauth(dir.path(), &mut options);
    let record = cloned(&options, &patient().0).await.remove("rocket").unwrap();
    assert!(!record.failed, "{record:?}");
    let piston = dir.path().join("go/src/github.com/acme/rocket/engine/piston");
    assert_eq!(std::fs::read_to_string(piston).unwrap(), "up\n");
    let submodule = hub.credentials("engine");
    assert!(!submodule.is_empty() && submodule.iter().all(Option::is_none), "{submodule:?}");
    assert!(hub.credentials("rocket").contains(&basic("token-of-alice")));
}
