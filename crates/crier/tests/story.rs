//! Results become commit statuses, one comment and files, over the forge and the embedded API server.
#![allow(clippy::unwrap_used)]

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use prow_api::labels::IS_OPTIONAL;
use prow_api::{GcsConfiguration, ProwJob, Pull, Refs, Secret, State, Time};
use prow_apiserver::ApiServer;
use prow_config::{GoTemplate, Handle, Snapshot};
use prow_crier::{Crier, Options};
use prow_forge::{Forge, ForgeOptions, SeedPull};
use prow_github::{Client, ClientOptions, TokenSource};
use prow_kube::prowjobs::watch;
use prow_kube::{Clients, Store};
use prow_service::clock::SystemClock;
use prow_storage::{Opener, StorageOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct World {
    forge: Forge,
    github: Client,
    clients: Clients,
    config: Snapshot,
    api: Api<ProwJob>,
    pods: Api<Pod>,
    store: Store<ProwJob>,
    pull: i64,
    head: String,
    dir: tempfile::TempDir,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let forge = Forge::open(dir.path().join("forge"), ForgeOptions::new(base)).await.unwrap();
        let token = Secret::new("the bot's token");
        forge.create_site_admin("prow", &token).await.unwrap();
        forge.create_user("dev", &Secret::new("dev's token")).await.unwrap();
        forge.create_org("o").await.unwrap();
        forge.create_repo("o", "r", &[("README.md", "# R\n")]).await.unwrap();
        let seed =
            SeedPull { author: "dev", title: "t", files: &[("a", Some("x\n"))], ..SeedPull::default() };
        let issue = forge.seed_pull_request("o", "r", seed).await.unwrap();
        let serving = forge.clone();
        tokio::spawn(async move { serving.serve(listener, CancellationToken::new()).await });

        let options = prow_apiserver::Options { sync: false, ..prow_apiserver::Options::default() };
        let server = ApiServer::open(&dir.path().join("api"), options).unwrap();
        let kube = kube::Client::new(server.router(), "default");
        let github = Client::new(
            ClientOptions {
                endpoint: vec![forge.api_url().parse().unwrap()],
                token: TokenSource::Static(token),
                initial_delay: Duration::from_millis(1),
                ..ClientOptions::default()
            },
            SystemClock::shared(),
        )
        .unwrap();
        let mut config = Snapshot::default();
        config.prow.prowjob_namespace = "default".into();
        config.prow.pod_namespace = "default".into();
        let template = "Full history: https://deck/pr/{{with index .Spec.Refs.Pulls 0}}{{.Number}}{{end}}";
        config.prow.plank.report_templates.insert("*".into(), GoTemplate::new(template).unwrap());
        World {
            api: Api::namespaced(kube.clone(), "default"),
            pods: Api::namespaced(kube.clone(), "default"),
            store: watch(kube.clone(), "default"),
            clients: Clients::single(kube),
            forge,
            github,
            config,
            pull: issue.number,
            head: issue.pull.unwrap().head_sha,
            dir,
            running: None,
        }
    }

    fn run(&mut self) {
        let crier = Crier {
            config: Handle::fixed(self.config.clone()),
            clients: self.clients.clone(),
            github: self.github.clone(),
            storage: Arc::new(Opener::new(StorageOptions::default())),
            clock: SystemClock::shared(),
            options: Options { kubernetes_blob_storage_workers: 1, ..Options::default() },
        };
        let stop = CancellationToken::new();
        self.running = Some((tokio::spawn(crier.run(stop.clone())), stop));
    }

    async fn stop(&mut self) {
        let (task, stop) = self.running.take().unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    /// A presubmit's ProwJob as trigger makes it.
    async fn create(&self, name: &str, context: &str) -> ProwJob {
        let mut job = ProwJob::default();
        job.metadata.name = Some(name.into());
        job.metadata.labels = Some([(IS_OPTIONAL.to_owned(), "false".to_owned())].into());
        job.spec.job = context.into();
        job.spec.context = context.into();
        job.spec.report = true;
        job.spec.agent = "kubernetes".into();
        job.spec.rerun_command = format!("/test {context}");
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: "r".into(),
            base_ref: "main".into(),
            base_sha: self.forge.branch("o", "r", "main").unwrap(),
            pulls: vec![Pull {
                number: self.pull,
                author: "dev".into(),
                sha: self.head.clone(),
                ..Pull::default()
            }],
            ..Refs::default()
        });
        job.spec.decoration_config = Some(Box::default());
        if let Some(decoration) = job.spec.decoration_config.as_mut() {
            decoration.gcs_configuration = Some(GcsConfiguration {
                bucket: format!("file://{}", self.dir.path().join("bucket").display()),
                path_strategy: "explicit".into(),
                ..GcsConfiguration::default()
            });
        }
        job.status.start_time = Some(Time(jiff::Timestamp::from_second(1_700_000_000).unwrap()));
        job.status.pending_time = job.status.start_time.clone();
        let pod = serde_json::json!({
            "metadata": {"name": name}, "spec": {"containers": [{"name": "test", "image": "go"}]}
        });
        self.pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        self.api.create(&PostParams::default(), &job).await.unwrap()
    }

    /// Moves a ProwJob on as plank would, and returns once all reporters have reported that.
    async fn becomes(&self, name: &str, state: State) {
        let mut job = self.api.get(name).await.unwrap();
        job.status.state = state;
        job.status.build_id = "17".into();
        job.status.url = format!("https://deck/{name}");
        job.status.description = format!("Job {state}.");
        if state != State::Pending {
            job.status.completion_time = job.status.start_time.clone();
        }
        // crier writes the same object: a conflict is no failure of the story.
        while let Err(error) = self.api.replace(name, &PostParams::default(), &job).await {
            assert!(prow_kube::prowjobs::conflict(&error), "{error}");
            job.metadata.resource_version = self.api.get(name).await.unwrap().metadata.resource_version;
        }
        self.reported(name, state).await;
    }

    async fn reported(&self, name: &str, state: State) {
        self.store
            .wait_for(|store| {
                let states = store.get(name)?.status.prev_report_states.clone();
                let all = ["github-reporter", "gcsreporter", "gcsk8sreporter"]
                    .iter()
                    .all(|r| states.get(*r) == Some(&state));
                all.then_some(())
            })
            .await;
    }

    fn status(&self, context: &str) -> (String, String) {
        let status = &self.forge.statuses("o", "r", &self.head)[context];
        (status.state.clone(), status.description.clone().unwrap_or_default())
    }

    fn comments(&self) -> Vec<String> {
        self.forge.comments("o", "r", self.pull).into_iter().map(|c| c.body).collect()
    }

    fn file(&self, context: &str, file: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("bucket/pr-logs/pull/o_r/{}/{context}/17/{file}", self.pull))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_requests_results_are_told() {
    let mut world = World::new().await;
    world.run();
    for context in ["unit", "lint"] {
        world.create(context, context).await;
        world.becomes(context, State::Pending).await;
    }
    let (state, description) = world.status("unit");
    assert_eq!(state, "pending");
    let base = world.forge.branch("o", "r", "main").unwrap();
    assert!(
        description.starts_with("Job pending.\u{2001}") && description.ends_with(&format!(" BaseSHA:{base}")),
        "{description:?}"
    );
    assert!(world.comments().is_empty(), "nothing failed yet");

    world.becomes("unit", State::Failure).await;
    let said = world.comments();
    assert_eq!(said.len(), 1);
    let row = format!("unit | {} | [link](https://deck/unit) | true | `/test unit`", world.head);
    assert!(said[0].starts_with("@dev: The following test **failed**") && said[0].contains(&row), "{said:?}");
    assert!(said[0].contains(&format!("\n\nFull history: https://deck/pr/{}\n", world.pull)), "{said:?}");
    assert_eq!(world.status("unit").0, "failure");

    world.becomes("lint", State::Success).await;
    assert_eq!(world.comments(), said, "a success says nothing");
    assert_eq!(world.status("lint").0, "success");

    world.create("again", "unit").await;
    world.becomes("again", State::Success).await;
    assert_eq!(world.comments(), [""; 0], "all is well again");
    assert_eq!(world.status("unit").0, "success");

    for (context, file, there) in [
        ("unit", "started.json", true),
        ("unit", "finished.json", true),
        ("lint", "prowjob.json", true),
        ("lint", "podinfo.json", true),
        ("lint", "clone-log.txt", false),
    ] {
        assert_eq!(world.file(context, file).exists(), there, "{context} {file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_is_not_told_again_after_a_restart_and_what_was_not_is() {
    let mut world = World::new().await;
    world.run();
    world.create("unit", "unit").await;
    world.becomes("unit", State::Failure).await;
    world.stop().await;
    let told = (world.forge.status_history("o", "r", &world.head).len(), world.comments());

    world.create("lint", "lint").await;
    world.run();
    world.becomes("lint", State::Success).await;
    world.stop().await;
    let history = world.forge.status_history("o", "r", &world.head);
    assert_eq!(history.iter().filter(|s| s.context == "unit").count(), told.0);
    assert_eq!(world.comments(), told.1);
    assert_eq!(world.status("lint").0, "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_stays_until_it_was_looked_at() {
    let mut world = World::new().await;
    world.run();
    world.create("unit", "unit").await;
    world.becomes("unit", State::Pending).await;
    world.pods.delete("unit", &DeleteParams::default().grace_period(0)).await.unwrap();
    let held = world.pods.get("unit").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());

    world.becomes("unit", State::Error).await;
    assert!(world.pods.get_opt("unit").await.unwrap().is_none(), "it is let go");
    let info: serde_json::Value =
        serde_json::from_slice(&std::fs::read(world.file("unit", "podinfo.json")).unwrap()).unwrap();
    assert_eq!(info["pod"]["metadata"]["name"], "unit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_choose_how_much_is_said() {
    let mut world = World::new().await;
    world.config.prow.github_reporter.no_comment_repos = vec!["o/r".into()];
    world.run();
    world.create("unit", "unit").await;
    world.becomes("unit", State::Failure).await;
    assert_eq!((world.status("unit").0.as_str(), world.comments().len()), ("failure", 0));
    world.stop().await;

    world.config.prow.github_reporter.no_comment_repos.clear();
    world.config.prow.github_reporter.summary_comment_repos = vec!["o".into()];
    world.run();
    world.create("again", "unit").await;
    world.create("lint", "lint").await;
    // The failed run is older than this one: the summary is about the newest of each job.
    world.becomes("again", State::Success).await;
    assert!(world.comments().is_empty(), "lint is not through");
    world.becomes("lint", State::Success).await;
    let said = world.comments();
    assert!(said.len() == 1 && said[0].starts_with("@dev: all tests **passed!**"), "{said:?}");
}
