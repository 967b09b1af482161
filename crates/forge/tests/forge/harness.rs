//! A forge that listens, a receiver of webhooks, and a contributor with a clone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::IntoResponse;
use prow_api::Secret;
use prow_forge::{Forge, ForgeOptions, OrgRole, Permission};
use prow_github::webhook::{Event, validate};
use prow_github::{Client, ClientOptions, TokenSource, hmac::Secrets};
use prow_service::clock::SystemClock;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const HOOK_SECRET: &str = "what webhooks are signed with";

/// A listening forge with one organization:
/// `acme` (admin `owner`, member `bot` with write in `rocket`), collaborator `alice` (write), stranger `mallory`.
pub struct World {
    pub forge: Forge,
    pub dir: tempfile::TempDir,
    _stop: DropGuard,
}

pub fn token(login: &str) -> Secret {
    Secret::new(format!("token-of-{login}"))
}

/// Binds, opens and serves a forge on `dir`.
pub async fn open(dir: &Path) -> (Forge, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let forge = Forge::open(dir, ForgeOptions::new(base)).await.unwrap();
    let stop = CancellationToken::new();
    let (serving, until) = (forge.clone(), stop.clone());
    tokio::spawn(async move { serving.serve(listener, until).await.unwrap() });
    (forge, stop.drop_guard())
}

/// The organization, people and repository every test starts with.
pub async fn seed(forge: &Forge) {
    for login in ["owner", "alice", "mallory"] {
        forge.create_user(login, &token(login)).await.unwrap();
    }
    forge.create_bot("bot", &token("bot")).await.unwrap();
    forge.create_org("acme").await.unwrap();
    forge.add_member("acme", "owner", OrgRole::Admin).await.unwrap();
    forge.add_member("acme", "bot", OrgRole::Member).await.unwrap();
    let files =
        [("README.md", "# Rocket\n"), ("src/main.sh", "#!/bin/sh\nexit 0\n"), ("old.txt", "1\n2\n3\n4\n")];
    forge.create_repo("acme", "rocket", &files).await.unwrap();
    for login in ["alice", "bot"] {
        forge.add_collaborator("acme", "rocket", login, Permission::Write).await.unwrap();
    }
}

impl World {
    pub async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let (forge, stop) = open(&dir.path().join("forge")).await;
        seed(&forge).await;
        World { forge, dir, _stop: stop }
    }

    /// Prow's client as `login`, that fails at once where it would retry.
    pub fn client(&self, login: &str) -> Client {
        let options = ClientOptions {
            endpoint: vec![self.forge.api_url().parse().unwrap()],
            token: if login.is_empty() { TokenSource::None } else { TokenSource::Static(token(login)) },
            max_retries: 0,
            max_404_retries: 0,
            ..ClientOptions::default()
        };
        Client::new(options, SystemClock::shared()).unwrap()
    }

    /// A clone by `login` in a folder of its own.
    pub async fn clone(&self, login: &str) -> Clone {
        let dir = self.dir.path().join(format!("clone-{login}-{}", uuid()));
        let url = format!("{}/acme/rocket.git", self.forge.base_url());
        let clone = Clone { dir: self.dir.path().to_owned(), login: login.to_owned() };
        clone.git(&["clone", "--quiet", &url, dir.to_str().unwrap()]).await;
        Clone { dir, ..clone }
    }

    /// An open pull request of `alice`: `README.md` changed, `new.txt` added, `old.txt` renamed.
    pub async fn pull_request(&self) -> (Clone, prow_github::PullRequest) {
        let clone = self.clone("alice").await;
        clone.git(&["checkout", "--quiet", "-b", "feature"]).await;
        clone.write("README.md", "# Rocket\n\nIt flies.\n");
        clone.write("new.txt", "new\n");
        clone.git(&["mv", "old.txt", "moved.txt"]).await;
        clone.commit("Make it fly").await;
        clone.git(&["push", "--quiet", "origin", "feature"]).await;
        let new = prow_github::NewPullRequest {
            title: "Make it fly".into(),
            body: "Please.".into(),
            head: "feature".into(),
            base: "main".into(),
            draft: false,
        };
        let pr = self.client("alice").create_pull_request("acme", "rocket", &new).await.unwrap();
        (clone, pr)
    }
}

fn uuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A work tree and who works in it.
#[derive(Clone)]
pub struct Clone {
    pub dir: PathBuf,
    pub login: String,
}

impl Clone {
    /// Runs git, giving the token through a helper as a person's git would.
    pub async fn try_git(&self, args: &[&str]) -> Output {
        let mut command = Command::new("git");
        let helper = "!f() { test \"$1\" = get && echo username=$WHO && echo password=$TOKEN; }; f";
        command
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("WHO", &self.login)
            .env("TOKEN", token(&self.login).expose_str().unwrap())
            .args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]);
        if !self.login.is_empty() {
            command.args(["-c", &format!("credential.helper={helper}")]);
        }
        command.args(args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub async fn git(&self, args: &[&str]) -> String {
        let out = self.try_git(args).await;
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, path: &str, content: &str) {
        std::fs::write(self.dir.join(path), content).unwrap();
    }

    pub async fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]).await;
        self.git(&["commit", "--quiet", "-m", message]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }
}

/// A webhook receiver that checks signatures as hook does. `refuse` counts down answers of 500.
pub struct Receiver {
    pub url: String,
    pub events: mpsc::UnboundedReceiver<Event>,
    _stop: DropGuard,
}

struct Shared {
    events: mpsc::UnboundedSender<Event>,
    refuse: std::sync::atomic::AtomicI64,
}

impl Receiver {
    pub async fn new(refuse: i64) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on(listener, refuse)
    }

    pub fn on(listener: TcpListener, refuse: i64) -> Receiver {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { events: sender, refuse: refuse.into() });
        let router = axum::Router::new().route("/hook", axum::routing::any(receive)).with_state(shared);
        let stop = CancellationToken::new();
        tokio::spawn(prow_service::listen::serve(listener, router, stop.clone()));
        Receiver { url, events, _stop: stop.drop_guard() }
    }

    /// The next event; a test that waits for one that never comes must fail, not hang.
    pub async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv())
            .await
            .expect("no webhook came")
            .unwrap()
    }

    /// The next event of this type and action; others are passed over.
    pub async fn next_of(&mut self, event_type: &str, action: Option<&str>) -> Event {
        loop {
            let event = self.next().await;
            if event.event_type() == event_type && event.action() == action {
                return event;
            }
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 25 << 20).await.unwrap();
    let secrets = Secrets::global(Secret::new(HOOK_SECRET));
    let delivery = match validate(&parts.method, &parts.headers, &body, &secrets) {
        Ok(delivery) => delivery,
        Err(rejection) => return (rejection.status(), rejection.to_string()).into_response(),
    };
    let event = Event::parse(&delivery.event_type, &delivery.guid, &body).unwrap();
    shared.events.send(event).ok();
    if shared.refuse.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 0 {
        return http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    "Event received. Have a nice day.".into_response()
}
