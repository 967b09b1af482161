//! Real input: `prow up` on Kyma's configuration of 2019 exactly as it was, and GitHub's own webhook examples,
//! rewritten only in repository, branch and changed files.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;

use common::{Prow, client, in_time, shared};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use prow_api::prowjob::{JobType, ProwJob};
use prow_api::{Secret, labels};
use prow_forge::{Forge, ForgeOptions, OrgRole, SeedPull};
use prow_kube::{Store, prowjobs};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const HMAC: &str = "a webhook secret of this test";
const COMPONENT: &str = "components/api-controller/main.go";

/// GitHub's example of an event, by its action or ref, as if it had happened in `kyma-project/kyma`.
fn example(name: &str, pick: impl Fn(&Value) -> bool) -> Value {
    let path = shared("specs/github/webhook-examples.json").unwrap();
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let events = all.iter().find(|e| e["name"] == name).unwrap();
    let found = events["examples"].as_array().unwrap().iter().find(|e| pick(e)).unwrap();
    let text = found.to_string().replace("Codertocat/Hello-World", "kyma-project/kyma");
    let mut event: Value = serde_json::from_str(&text).unwrap();
    for repo in ["/repository", "/pull_request/base/repo", "/pull_request/head/repo"] {
        if let Some(repo) = event.pointer_mut(repo) {
            repo["name"] = "kyma".into();
            repo["owner"]["login"] = "kyma-project".into();
            if repo["owner"].get("name").is_some() {
                repo["owner"]["name"] = "kyma-project".into();
            }
        }
    }
    event
}

struct Scene {
    prow: Prow,
    hook: String,
    forge: Forge,
    jobs: Store<ProwJob>,
    pods: Api<Pod>,
    http: reqwest::Client,
    _forge_stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn start(corpus: PathBuf) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let forge =
            Forge::open(dir.path().join("forge"), ForgeOptions::new(base.parse().unwrap())).await.unwrap();
        let token = Secret::new("a token of this test");
        forge.create_user("kyma-bot", &token).await.unwrap();
        forge.create_user("Codertocat", &Secret::new("another token")).await.unwrap();
        forge.create_org("kyma-project").await.unwrap();
        forge.add_member("kyma-project", "kyma-bot", OrgRole::Admin).await.unwrap();
        forge.add_member("kyma-project", "Codertocat", OrgRole::Member).await.unwrap();
        forge
            .create_repo_with(
                "kyma-project",
                "kyma",
                "master",
                false,
                &[(COMPONENT, "package main\n"), ("docs/README.md", "Kyma\n")],
            )
            .await
            .unwrap();
        let pull = SeedPull {
            number: Some(2),
            title: "Update the controller",
            author: "Codertocat",
            base: "master",
            head: "changes",
            files: &[(COMPONENT, Some("package main // changed\n"))],
            ..SeedPull::default()
        };
        forge.seed_pull_request("kyma-project", "kyma", pull).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn({
            let (forge, stop) = (forge.clone(), stop.clone());
            async move { forge.serve(listener, stop).await }
        });
        for (name, text) in [("token", "a token of this test"), ("hmac", HMAC)] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let path = |p: PathBuf| p.to_str().unwrap().to_owned();
        let args = [
            "up".to_owned(),
            format!("--config-path={}", path(corpus.join("config.yaml"))),
            format!("--plugin-config={}", path(corpus.join("plugins.yaml"))),
            format!("--job-config-path={}", path(corpus.join("jobs"))),
            format!("--github-endpoint={base}/api/v3"),
            format!("--github-token-path={}", path(dir.path().join("token"))),
            format!("--hmac-secret-file={}", path(dir.path().join("hmac"))),
            format!("--data-dir={}", path(dir.path().join("data"))),
            "--port=0".to_owned(),
            "--runtime=process".to_owned(),
            "--deck-port=0".to_owned(),
        ];
        let mut prow = Prow::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let line = prow.line_with("prow up: webhooks on ");
        let hook = line.split("webhooks on ").nth(1).unwrap().split(',').next().unwrap().to_owned();
        let kube = client(&dir.path().join("data/kubeconfig")).await;
        let jobs = prowjobs::watch(kube.clone(), "default");
        in_time("the first list of ProwJobs", jobs.ready()).await;
        Scene {
            prow,
            hook,
            forge,
            jobs,
            pods: Api::namespaced(kube, "default"),
            http: reqwest::Client::new(),
            _forge_stop: stop,
            _dir: dir,
        }
    }

    async fn post(&self, event: &str, guid: &str, payload: &Value) {
        let body = payload.to_string();
        let answer = self
            .http
            .post(&self.hook)
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", guid)
            .header("X-Hub-Signature-256", prow_github::hmac::sign(body.as_bytes(), &Secret::new(HMAC)))
            .header("content-type", "application/json")
            .body(body)
            .send();
        assert_eq!(in_time("hook's answer", answer).await.unwrap().status(), 200);
    }

    async fn of_type(&self, kind: JobType) -> Vec<Arc<ProwJob>> {
        self.jobs.all().into_iter().filter(|j| j.spec.job_type == kind).collect()
    }

    async fn pod_of(&self, job: &str) -> (Arc<ProwJob>, Pod) {
        let found = self.jobs.wait_for(|jobs| {
            jobs.all().into_iter().find(|j| j.spec.job == job && !j.status.build_id.is_empty())
        });
        let job = in_time("the job's Pod", found).await;
        let pod = self.pods.get(job.name()).await.unwrap();
        (job, pod)
    }
}

#[tokio::test]
async fn kymas_configuration_and_githubs_webhooks_start_the_right_jobs() {
    let (Some(corpus), Some(_)) = (shared("corpus/kyma-2019"), shared("specs/github/webhook-examples.json"))
    else {
        return;
    };
    prow_github::install_tls();
    let scene = Scene::start(corpus).await;

    // A pull request of an organization member against master that touches one component: of 151 presubmits one is
    // for that component on master, those of the release branches are not, and on master nothing runs always.
    let opened = example("pull_request", |e| e["action"] == "opened");
    scene.post("pull_request", "11111111-0000-4000-8000-000000000001", &opened).await;
    let (job, pod) = scene.pod_of("pre-master-kyma-components-api-controller").await;
    // Events of one pull request are handled in order: once the question after it is answered, nothing more comes.
    let mut question =
        example("issue_comment", |e| e["action"] == "created" && e["issue"]["state"] == "open");
    question["issue"]["number"] = 2.into();
    question["issue"]["pull_request"] = serde_json::json!({"url": "u"});
    question["comment"]["body"] = "/test ?".into();
    scene.post("issue_comment", "11111111-0000-4000-8000-000000000002", &question).await;
    let answered = scene.forge.wait_for(|forge| {
        forge.comments("kyma-project", "kyma", 2).into_iter().find(|c| c.author == "kyma-bot")
    });
    let help = in_time("the answer to /test ?", answered).await.body;
    assert!(help.contains("/test pre-master-kyma-components-api-controller"), "{help}");
    let presubmits: Vec<String> =
        scene.of_type(JobType::Presubmit).await.iter().map(|j| j.spec.job.clone()).collect();
    assert_eq!(presubmits, ["pre-master-kyma-components-api-controller"]);

    // The ProwJob: refs, decoration from the retired key, labels.
    let refs = job.spec.refs.as_ref().unwrap();
    assert_eq!(
        (refs.org.as_str(), refs.repo.as_str(), refs.base_ref.as_str()),
        ("kyma-project", "kyma", "master")
    );
    assert_eq!(refs.path_alias, "github.com/kyma-project/kyma");
    assert_eq!(refs.base_sha, scene.forge.branch("kyma-project", "kyma", "master").unwrap());
    assert_eq!(
        (refs.pulls[0].number, refs.pulls[0].sha.as_str()),
        (2, opened["pull_request"]["head"]["sha"].as_str().unwrap())
    );
    let decoration = job.spec.decoration_config.as_ref().unwrap();
    assert_eq!(decoration.timeout.unwrap().to_string(), "2h0m0s");
    assert_eq!(decoration.gcs_configuration.as_ref().unwrap().bucket, "kyma-prow-logs");
    assert_eq!(job.label(labels::EVENT_GUID), Some("11111111-0000-4000-8000-000000000001"));
    assert!(
        job.status.url.starts_with("https://status.build.kyma-project.io/view/gcs/"),
        "the address follows job_url_prefix: {}",
        job.status.url
    );

    // The Pod: labels, presets, decoration.
    let pod_labels = pod.metadata.labels.unwrap();
    for (key, value) in [
        ("prow.k8s.io/job", "pre-master-kyma-components-api-controller"),
        ("prow.k8s.io/type", "presubmit"),
        ("prow.k8s.io/refs.pull", "2"),
        ("preset-dind-enabled", "true"),
        ("preset-build-pr", "true"),
        ("created-by-prow", "true"),
    ] {
        assert_eq!(pod_labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    let spec = pod.spec.unwrap();
    let init: Vec<&str> = spec.init_containers.as_ref().unwrap().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(init, ["clonerefs", "initupload", "place-entrypoint"]);
    let names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["test", "sidecar"]);
    let test = &spec.containers[0];
    assert_eq!(test.command.as_deref(), Some(["/tools/entrypoint".to_owned()].as_slice()));
    let env = |name: &str| {
        test.env.iter().flatten().find(|v| v.name == name).and_then(|v| v.value.clone()).unwrap_or_default()
    };
    for (name, value) in [
        ("DOCKER_IN_DOCKER_ENABLED", "true"),
        ("DOCKER_PUSH_REPOSITORY", "eu.gcr.io/kyma-project"),
        ("DOCKER_PUSH_DIRECTORY", "/pr"),
        ("BUILD_TYPE", "pr"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/credentials/sa-gcr-push-kyma-project/service-account.json"),
        ("PULL_NUMBER", "2"),
        ("REPO_OWNER", "kyma-project"),
    ] {
        assert_eq!(env(name), value, "{name}");
    }
    assert!(env("ENTRYPOINT_OPTIONS").contains("prow/scripts/build.sh"));
    let volumes: Vec<&str> = spec.volumes.as_ref().unwrap().iter().map(|v| v.name.as_str()).collect();
    for name in ["sa-gcr-push-kyma-project", "docker-graph", "logs", "tools", "code", "gcs-credentials"] {
        assert!(volumes.contains(&name), "volume {name} is not among {volumes:?}");
    }
    let requests = test.resources.as_ref().unwrap().requests.as_ref().unwrap();
    assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("800m", "1536Mi"));
    assert_eq!(spec.automount_service_account_token, Some(false));

    // A push to master that touches the same component.
    let mut push = example("push", |e| e["ref"] == "refs/heads/master");
    push["commits"][0]["added"] = serde_json::json!([]);
    push["commits"][0]["modified"] = serde_json::json!([COMPONENT]);
    scene.post("push", "11111111-0000-4000-8000-000000000003", &push).await;
    let (job, pod) = scene.pod_of("post-master-kyma-components-api-controller").await;
    assert_eq!(job.spec.refs.as_ref().unwrap().base_sha, push["after"].as_str().unwrap());
    assert_eq!(pod.metadata.labels.unwrap()["preset-build-master"], "true");

    // Nothing that was accepted is handled twice: the same delivery again makes nothing new.
    scene.post("pull_request", "11111111-0000-4000-8000-000000000001", &opened).await;
    question["comment"]["body"] = "/test nothing-of-that-name".into();
    scene.post("issue_comment", "11111111-0000-4000-8000-000000000004", &question).await;
    let answered = scene.forge.wait_for(|forge| {
        forge
            .comments("kyma-project", "kyma", 2)
            .into_iter()
            .find(|c| c.author == "kyma-bot" && c.body.contains("were not found"))
    });
    in_time("the answer to an unknown target", answered).await;
    assert_eq!(scene.of_type(JobType::Presubmit).await.len(), 1);

    // The push: the component's postsubmit, and the three of master that have no path filter.
    let expected = [
        "post-master-kyma-components-api-controller",
        "post-master-kyma-gke-integration",
        "post-master-kyma-gke-upgrade",
        "post-master-kyma-integration",
    ];
    for name in expected {
        scene.pod_of(name).await;
    }
    let mut postsubmits: Vec<String> =
        scene.of_type(JobType::Postsubmit).await.iter().map(|j| j.spec.job.clone()).collect();
    postsubmits.sort();
    assert_eq!(postsubmits, expected);
    scene.prow.signal("TERM");
    let (status, _, stderr) = scene.prow.end();
    assert!(status.success(), "{stderr}");
}
