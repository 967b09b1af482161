//! A whole world for hook: the forge as GitHub, the embedded API server as Kubernetes, a real configuration, and a
//! socket behind which a hook can be stopped and started.
#![allow(dead_code, reason = "each test uses a part of it")]

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use kube::api::{Api, ListParams, PostParams};
use parking_lot::Mutex;
use prow_api::{ProwJob, Secret};
use prow_apiserver::ApiServer;
use prow_config::inrepo::InRepo;
use prow_config::{Handle, LoadOptions};
use prow_forge::{Forge, ForgeOptions, Issue, OrgRole, SeedPull};
use prow_git::{MirrorOptions, Mirrors};
use prow_github::{Client, ClientOptions, TokenSource};
use prow_hook::{Deps, Hook, Options};
use prow_plugins::jobs::{JobSource, RepositoryJobs};
use prow_plugins::{CatOptions, Registry, RegistryOptions};
use prow_service::clock::SystemClock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub const SECRET: &str = "webhook secret";
pub const ORG: &str = "acme";
pub const REPO: &str = "rocket";

const CONFIG: &str = "prowjob_namespace: prow\npod_namespace: test-pods\n";
const IN_REPO: &str = "in_repo_config:\n  enabled: {acme: true}\n";
const JOBS: &str = r"
presubmits:
  acme/rocket:
  - name: unit
    always_run: true
    spec: {containers: [{image: go, command: [make]}]}
  - name: docs
    run_if_changed: ^docs/
    spec: {containers: [{image: go, command: [make]}]}
  - name: deep
    optional: true
    spec: {containers: [{image: go, command: [make]}]}
postsubmits:
  acme/rocket:
  - name: publish
    branches: [^main$]
    spec: {containers: [{image: go, command: [make]}]}
";
pub const PLUGINS: &str = "plugins:\n  acme:\n    plugins: [trigger, cat]\n";

type Switch = Arc<Mutex<Option<axum::Router>>>;

pub struct World {
    pub forge: Forge,
    pub hook: Hook,
    pub url: String,
    kube: kube::Client,
    deps: Deps,
    options: Options,
    switch: Switch,
    running: Option<(JoinHandle<()>, CancellationToken)>,
    _dir: tempfile::TempDir,
}

/// Whatever hook is switched on, answers.
async fn switchboard(State(switch): State<Switch>, request: Request) -> Response {
    let router = switch.lock().clone();
    match router {
        Some(router) => router.oneshot(request).await.into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

pub async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

impl World {
    /// `alice` is a member, `mallory` is not, `prow` is the bot.
    pub async fn new() -> World {
        World::with_plugins(PLUGINS).await
    }

    /// As [`World::running`], with the jobs that repositories define themselves. Their source goes through `around`.
    pub async fn with_in_repo(around: impl FnOnce(RepositoryJobs) -> Arc<dyn JobSource>) -> World {
        let mut world = World::made(PLUGINS, IN_REPO, around).await;
        world.run();
        world
    }

    /// As [`World::new`], with this plugins.yaml.
    pub async fn with_plugins(plugins: &str) -> World {
        World::made(plugins, "", |jobs| Arc::new(jobs)).await
    }

    async fn made(
        plugins: &str,
        more_config: &str,
        around: impl FnOnce(RepositoryJobs) -> Arc<dyn JobSource>,
    ) -> World {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| -> PathBuf {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let forge = Forge::open(dir.path().join("forge"), ForgeOptions::new(base)).await.unwrap();
        let token = Secret::new("the bot's token");
        forge.create_site_admin("prow", &token).await.unwrap();
        for user in ["alice", "mallory"] {
            forge.create_user(user, &Secret::new(format!("{user}'s token"))).await.unwrap();
        }
        forge.create_org(ORG).await.unwrap();
        forge.add_member(ORG, "alice", OrgRole::Member).await.unwrap();
        forge.create_repo(ORG, REPO, &[("README.md", "# Rocket\n")]).await.unwrap();
        let serving = forge.clone();
        tokio::spawn(async move { serving.serve(listener, CancellationToken::new()).await });

        let options = prow_apiserver::Options { sync: false, ..prow_apiserver::Options::default() };
        let server = ApiServer::open(&dir.path().join("api"), options).unwrap();
        server.ensure_namespace("prow").await.unwrap();
        let kube = kube::Client::new(server.router(), "default");

        let config = prow_config::load(&LoadOptions {
            config_path: write("config.yaml", &format!("{CONFIG}{more_config}")),
            job_config_path: Some(write("jobs.yaml", JOBS)),
            plugin_config: Some(write("plugins.yaml", plugins)),
            ..LoadOptions::default()
        })
        .unwrap();
        let clock = SystemClock::shared();
        let github = Client::new(
            ClientOptions {
                endpoint: vec![forge.api_url().parse().unwrap()],
                token: TokenSource::Static(token),
                initial_delay: Duration::from_millis(1),
                ..ClientOptions::default()
            },
            clock.clone(),
        )
        .unwrap();
        let cats = cats().await;
        let reader = github.clone();
        let mirrors = MirrorOptions::at(dir.path().join("mirrors"), forge.base_url())
            .with_token(move || reader.token().map_err(|e| e.to_string()));
        let jobs = RepositoryJobs::new(InRepo::new(Arc::new(Mirrors::new(mirrors))));
        let deps = Deps {
            config: Handle::fixed(config),
            github,
            kube: kube.clone(),
            jobs: around(jobs),
            registry: Registry::builtin(RegistryOptions { cat: CatOptions { endpoint: cats } }),
            clock,
        };
        let mut options = Options::new(dir.path().join("journal"), write("hmac", SECRET));
        options.retry.first_pause = Duration::from_millis(1);
        let hook = Hook::open(options.clone(), deps.clone()).unwrap();
        let switch: Switch = Arc::new(Mutex::new(Some(hook.router())));
        let url = serve(axum::Router::new().fallback(switchboard).with_state(Arc::clone(&switch))).await;
        forge.create_webhook(ORG, None, &format!("{url}/hook"), &Secret::new(SECRET), &["*"]).await.unwrap();
        World { forge, hook, url, kube, deps, options, switch, running: None, _dir: dir }
    }

    /// As [`World::new`], with the dispatcher running.
    pub async fn running() -> World {
        let mut world = World::new().await;
        world.run();
        world
    }

    /// Lets the dispatcher run.
    pub fn run(&mut self) {
        let (hook, stop) = (self.hook.clone(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move { hook.run(stopped).await.unwrap() });
        self.running = Some((task, stop));
    }

    /// Ends the hook, politely if its dispatcher runs, and opens another one on the same journal.
    pub async fn restart(mut self) -> World {
        *self.switch.lock() = None;
        if let Some((task, stop)) = self.running.take() {
            stop.cancel();
            task.await.unwrap();
        }
        let World { forge, hook, url, kube, deps, options, switch, _dir, .. } = self;
        drop(hook);
        // A request under way may hold the journal for a moment longer.
        let hook = loop {
            match Hook::open(options.clone(), deps.clone()) {
                Ok(hook) => break hook,
                Err(prow_hook::Error::JournalInUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        *switch.lock() = Some(hook.router());
        World { forge, hook, url, kube, deps, options, switch, running: None, _dir }
    }

    /// Returns once every webhook has arrived and every event is handled.
    pub async fn settle(&self) {
        loop {
            self.delivered().await;
            self.hook.settled().await;
            if self.forge.deliveries().iter().all(|d| d.delivered) && self.hook.stats().open == 0 {
                assert_eq!(self.hook.stats().failed, 0, "a plugin gave up");
                return;
            }
        }
    }

    /// Returns once every webhook was answered 200.
    pub async fn delivered(&self) {
        self.forge.wait_for(|f| f.deliveries().iter().all(|d| d.delivered).then_some(())).await;
    }

    pub async fn open_pull(&self, author: &str, files: &[&str]) -> i64 {
        self.open(SeedPull { author, ..SeedPull::default() }, files).await
    }

    pub async fn open(&self, seed: SeedPull<'_>, files: &[&str]) -> i64 {
        let files: Vec<_> = files.iter().map(|path| (*path, Some("content\n"))).collect();
        let seed = SeedPull { title: "A change", files: &files, ..seed };
        self.forge.seed_pull_request(ORG, REPO, seed).await.unwrap().number
    }

    pub async fn say(&self, number: i64, who: &str, text: &str) {
        self.forge.say(ORG, REPO, number, who, text).await.unwrap();
    }

    pub fn github(&self) -> &Client {
        &self.deps.github
    }

    pub fn pull(&self, number: i64) -> Issue {
        self.forge.pull_requests(ORG, REPO).into_iter().find(|p| p.number == number).unwrap()
    }

    pub fn head(&self, number: i64) -> String {
        self.pull(number).pull.unwrap().head_sha
    }

    /// What the bot said on a pull request.
    pub fn bot_comments(&self, number: i64) -> Vec<String> {
        let comments = self.forge.comments(ORG, REPO, number);
        comments.into_iter().filter(|c| c.author == "prow").map(|c| c.body).collect()
    }

    pub async fn prowjobs(&self) -> Vec<ProwJob> {
        let api: Api<ProwJob> = Api::namespaced(self.kube.clone(), "prow");
        let mut jobs = api.list(&ListParams::default()).await.unwrap().items;
        jobs.sort_by(|a, b| a.spec.job.cmp(&b.spec.job).then(a.status.state.cmp(&b.status.state)));
        jobs
    }

    /// `job state` of every ProwJob, by job.
    pub async fn states(&self) -> Vec<String> {
        self.prowjobs().await.iter().map(|j| format!("{} {}", j.spec.job, j.status.state)).collect()
    }

    /// Ends a ProwJob as plank would.
    pub async fn end(&self, job: &ProwJob, state: prow_api::State) {
        let api: Api<ProwJob> = Api::namespaced(self.kube.clone(), "prow");
        let mut job = job.clone();
        job.status.state = state;
        job.status.completion_time = job.status.start_time.clone();
        api.replace(job.name(), &PostParams::default(), &job).await.unwrap();
    }

    /// Sends a webhook that the forge sent before once more, as "Redeliver" does.
    pub async fn redeliver(&self, event: &str, action: &str) {
        let deliveries = self.forge.deliveries();
        let sent =
            deliveries.iter().find(|d| d.event == event && d.action.as_deref() == Some(action)).unwrap();
        let answer = self.post(&sent.event, &sent.guid, sent.payload.as_bytes(), SECRET).await;
        assert_eq!(answer.0, StatusCode::OK);
    }

    /// Posts a webhook signed with `secret`.
    pub async fn post(&self, event: &str, guid: &str, body: &[u8], secret: &str) -> (StatusCode, String) {
        let answer = self.send(&reqwest::Client::new(), event, guid, body, secret).await;
        (answer.status(), answer.text().await.unwrap())
    }

    /// Posts a genuine webhook over a client of the caller's.
    pub async fn post_with(
        &self,
        http: &reqwest::Client,
        event: &str,
        guid: &str,
        body: &[u8],
    ) -> StatusCode {
        self.send(http, event, guid, body, SECRET).await.status()
    }

    async fn send(
        &self,
        http: &reqwest::Client,
        event: &str,
        guid: &str,
        body: &[u8],
        secret: &str,
    ) -> reqwest::Response {
        http.post(format!("{}/hook", self.url))
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", guid)
            .header("X-Hub-Signature-256", prow_github::hmac::sign(body, &Secret::new(secret)))
            .header("Content-Type", "application/json")
            .body(body.to_vec())
            .send()
            .await
            .unwrap()
    }
}

/// A cat API with one cat.
async fn cats() -> url::Url {
    let cat = "picture".repeat(10);
    let router = axum::Router::new().route("/cat.jpg", axum::routing::get(move || async move { cat })).route(
        "/search",
        axum::routing::get(|headers: http::HeaderMap| async move {
            let host = headers["host"].to_str().unwrap();
            axum::Json(serde_json::json!([{ "url": format!("http://{host}/cat.jpg") }]))
        }),
    );
    format!("{}/search", serve(router).await).parse().unwrap()
}
