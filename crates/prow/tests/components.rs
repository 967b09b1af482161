//! Components as processes of their own, as they run on Kubernetes: hook, plank, crier, horologium, sinker, deck and
//! a runner of Pods, each the real executable, against an API server that none of them contains. With
//! `PROW_TEST_KUBECONFIG` the API server is the one which that names (`cargo xtask kubernetes-test`: a real one),
//! else the embedded one.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod common;
mod roles;

use common::{Prow, client, in_time};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use prow_api::Secret;
use prow_api::prowjob::{ProwJob, State};
use prow_forge::{Forge, ForgeOptions, OrgRole};
use prow_github::{Client, ClientOptions, NewPullRequest, TokenSource};
use prow_kube::{Store, prowjobs};
use prow_service::clock::SystemClock;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

struct Cluster {
    kubeconfig: PathBuf,
    client: kube::Client,
    namespace: String,
    /// Kubeconfigs of service accounts with the roles of upstream's manifests, by component; an API server without
    /// role-based access control has none.
    identities: BTreeMap<&'static str, PathBuf>,
    stop: CancellationToken,
}

impl Cluster {
    /// The one which the environment names, or an embedded one of our own; with fresh namespaces.
    async fn get(dir: &Path) -> Cluster {
        prow_github::install_tls();
        let stop = CancellationToken::new();
        let named = std::env::var_os("PROW_TEST_KUBECONFIG");
        let real = named.is_some();
        let kubeconfig = match named {
            Some(path) => PathBuf::from(path),
            None => {
                let server = prow_apiserver::ApiServer::open(
                    &dir.join("apiserver"),
                    prow_apiserver::Options::default(),
                )
                .unwrap();
                let credentials = prow_apiserver::Credentials::load_or_create(dir).unwrap();
                let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let kubeconfig = credentials.write_kubeconfig(dir, socket.local_addr().unwrap()).unwrap();
                let stop = stop.clone();
                tokio::spawn(async move { server.serve(socket, credentials, stop).await });
                kubeconfig
            }
        };
        let kubeconfig = with_a_cluster_that_is_away(&kubeconfig, dir);
        let client = client(&kubeconfig).await;
        let namespace = format!(
            "prow-{}",
            dir.file_name().unwrap().to_string_lossy().trim_start_matches('.').to_lowercase()
        );
        for name in [namespace.clone(), format!("{namespace}-pods")] {
            let namespace = Namespace {
                metadata: ObjectMeta { name: Some(name), ..ObjectMeta::default() },
                ..Namespace::default()
            };
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        let identities = match real {
            true => roles::identities(&client, &kubeconfig, &namespace, dir).await,
            false => BTreeMap::new(),
        };
        Cluster { kubeconfig, client, namespace, identities, stop }
    }

    fn jobs(&self) -> Store<ProwJob> {
        prowjobs::watch(self.client.clone(), &self.namespace)
    }

    async fn end(self) {
        let jobs: Api<ProwJob> = Api::namespaced(self.client.clone(), &self.namespace);
        jobs.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        self.stop.cancel();
    }
}

/// The kubeconfig with a context more, `far`, where nothing listens. A token is had from a credential plugin, as those
/// of cloud providers give them.
fn with_a_cluster_that_is_away(kubeconfig: &Path, dir: &Path) -> PathBuf {
    let mut all = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let current = all.current_context.clone().unwrap();
    let mut context = all.contexts.iter().find(|c| c.name == current).unwrap().clone();
    let mut cluster = all.clusters[0].clone();
    cluster.name = "far".into();
    cluster.cluster.as_mut().unwrap().server = Some("https://127.0.0.1:1".into());
    context.name = "far".into();
    context.context.as_mut().unwrap().cluster = "far".into();
    let written = serde_json::to_value(&all).unwrap();
    if let Some(token) = written["users"][0]["user"]["token"].as_str() {
        let answer = serde_json::json!({
            "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
            "status": {"token": "TOKEN", "expirationTimestamp": "2100-01-01T00:00:00Z"},
        });
        let script = format!("echo '{answer}' | sed \"s|TOKEN|$TOKEN_OF_TEST|\"");
        let user = serde_json::json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "env": [{"name": "TOKEN_OF_TEST", "value": token}], "interactiveMode": "Never",
        }});
        all.auth_infos[0].auth_info = Some(serde_json::from_value(user).unwrap());
    }
    all.clusters.push(cluster);
    all.contexts.push(context);
    // JSON is YAML.
    PathBuf::from(write(dir, "kubeconfig-of-two", &serde_json::to_string(&all).unwrap()))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A component with the flags that all have.
fn component(name: &str, dir: &Path, cluster: &Cluster, more: &[&str]) -> Prow {
    let config = format!("--config-path={}", dir.join("config.yaml").display());
    let jobs = format!("--job-config-path={}", dir.join("jobs.yaml").display());
    let kubeconfig = cluster.identities.get(name).unwrap_or(&cluster.kubeconfig);
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let mut args = vec![name, &config, &jobs, &kubeconfig, "--health-port=0", "--metrics-port=0"];
    args.extend(more);
    Prow::start(&args)
}

/// Where the metrics of a component are, from the line that says so.
fn metrics_of(line: &str) -> String {
    format!("http://127.0.0.1:{}/metrics", port(line.split_once("metrics on ").unwrap().1))
}

/// Waits until a component's metrics have a line with all of `parts`.
async fn metric(url: &str, parts: &[&str]) {
    let seen = async {
        loop {
            let text = reqwest::get(url).await.unwrap().text().await.unwrap();
            if text.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    in_time(&format!("{parts:?} in {url}"), seen).await;
}

fn port(line: &str) -> u16 {
    line.split_whitespace()
        .find_map(|word| word.split('/').next()?.rsplit_once(':')?.1.trim_end_matches(',').parse().ok())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn separate_processes_take_a_pull_request_all_the_way() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    let dir = dir.as_path();
    let cluster = Cluster::get(dir).await;

    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", socket.local_addr().unwrap());
    let forge = Forge::open(dir.join("forge"), ForgeOptions::new(base.parse().unwrap())).await.unwrap();
    forge.create_user("robot", &Secret::new("the robot's token")).await.unwrap();
    forge.create_user("ann", &Secret::new("ann's token")).await.unwrap();
    forge.create_org("acme").await.unwrap();
    forge.add_member("acme", "robot", OrgRole::Admin).await.unwrap();
    forge.add_member("acme", "ann", OrgRole::Member).await.unwrap();
    forge.create_repo("acme", "tool", &[("README.md", "a tool\n")]).await.unwrap();
    let forge_stop = CancellationToken::new();
    tokio::spawn({
        let (forge, stop) = (forge.clone(), forge_stop.clone());
        async move { forge.serve(socket, stop).await }
    });

    let bucket = dir.join("results");
    std::fs::create_dir(&bucket).unwrap();
    let namespace = &cluster.namespace;
    write(
        dir,
        "config.yaml",
        &format!(
            "prowjob_namespace: {namespace}\npod_namespace: {namespace}-pods\nlog_level: info\ngithub: {{link_url: '{base}'}}\n\
plank:\n  job_url_prefix_config: {{'*': 'https://deck.example/view'}}\n  default_decoration_config_entries:\n  - config:\n      timeout: 5m\n      grace_period: 10s\n      \
utility_images: {{clonerefs: prow/clonerefs, initupload: prow/initupload, entrypoint: prow/entrypoint, sidecar: prow/sidecar}}\n      \
gcs_configuration: {{bucket: 'file://{}', path_strategy: explicit}}\n",
            bucket.display()
        ),
    );
    write(
        dir,
        "jobs.yaml",
        "presubmits:\n  acme/tool:\n  - name: check\n    always_run: true\n    decorate: true\n    spec:\n      containers:\n      \
- image: any\n        command: [sh, -c, 'grep -q changed README.md']\n\
periodics:\n- name: stranded\n  cluster: far\n  interval: 24h\n  spec:\n    containers:\n    - image: any\n      command: ['true']\n\
- name: tick\n  interval: 24h\n  spec:\n    containers:\n    - image: any\n      command: ['true']\n",
    );
    let plugins = write(dir, "plugins.yaml", "plugins:\n  acme/tool:\n    plugins: [trigger]\n");
    let token = write(dir, "token", "the robot's token");
    let hmac = write(dir, "hmac", "a secret of this test");

    let github = [format!("--github-endpoint={base}/api/v3"), format!("--github-token-path={token}")];
    let journal = format!("--journal-dir={}", dir.join("journal").display());
    let mut hook = component(
        "hook",
        dir,
        &cluster,
        &[
            "--dry-run=false",
            "--port=0",
            &format!("--plugin-config={plugins}"),
            &format!("--hmac-secret-file={hmac}"),
            &journal,
            &github[0],
            &github[1],
        ],
    );
    let line = hook.line_with("health on ");
    let (health, hook_metrics) = (port(&line), metrics_of(&line));
    let webhook = format!("http://127.0.0.1:{}/hook", port(&hook.line_with("hook: webhooks on ")));
    let mut plank = component("prow-controller-manager", dir, &cluster, &["--dry-run=false"]);
    let plank_metrics = metrics_of(&plank.line_with("health on "));
    let mut crier = component(
        "crier",
        dir,
        &cluster,
        &["--github-workers=2", "--blob-storage-workers=2", &github[0], &github[1]],
    );
    let crier_metrics = metrics_of(&crier.line_with("health on "));
    let _horologium = component("horologium", dir, &cluster, &["--dry-run=false"]);
    let mut deck = component("deck", dir, &cluster, &["--port=0"]);
    let deck_metrics = metrics_of(&deck.line_with("health on "));
    let page = format!("http://127.0.0.1:{}", port(&deck.line_with("deck: on ")));
    let data = format!("--data-dir={}", dir.join("node").display());
    let mut node = component("kubelet", dir, &cluster, &["--runtime=process", &data]);
    node.line_with("kubelet: ");

    forge
        .create_webhook("acme", None, &webhook, &Secret::new("a secret of this test"), &["*"])
        .await
        .unwrap();
    forge
        .push_files(
            "acme",
            "tool",
            "better",
            "ann",
            "Say it better",
            &[("README.md", Some("a changed tool\n"))],
        )
        .await
        .unwrap();
    let ann = Client::new(
        ClientOptions {
            endpoint: vec![forge.api_url().parse().unwrap()],
            token: TokenSource::Static(Secret::new("ann's token")),
            ..ClientOptions::default()
        },
        SystemClock::shared(),
    )
    .unwrap();
    let new = NewPullRequest {
        title: "Say it better".into(),
        body: String::new(),
        head: "better".into(),
        base: "main".into(),
        draft: false,
    };
    let pull = ann.create_pull_request("acme", "tool", &new).await.unwrap();

    let jobs = cluster.jobs();
    let done = |name: &'static str| {
        jobs.wait_for(move |jobs| jobs.all().into_iter().find(|job| job.spec.job == name && job.complete()))
    };
    let check = in_time("the presubmit's end", done("check")).await;
    assert_eq!(check.status.state, State::Success, "{}", check.status.description);
    let tick = in_time("the periodic's end", done("tick")).await;
    assert_eq!(tick.status.state, State::Success, "{}", tick.status.description);
    let reported = forge.wait_for(|forge| {
        forge.statuses("acme", "tool", &pull.head.sha).get("check").filter(|s| s.state == "success").cloned()
    });
    let reported = in_time("the status on the forge", reported).await;
    assert!(reported.target_url.unwrap_or_default().starts_with("https://deck.example/view/"));
    let build =
        bucket.join(format!("pr-logs/pull/acme_tool/{}/check/{}", pull.number, check.status.build_id));
    for file in ["started.json", "build-log.txt", "finished.json", "prowjob.json"] {
        let path = build.join(file);
        in_time("a result in the bucket", async {
            while !path.is_file() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    let text = reqwest::get(format!("{page}/prowjobs.js")).await.unwrap().text().await.unwrap();
    assert!(text.contains(check.name()), "{text}");
    for (path, status) in [("healthz", 200), ("healthz/ready", 200)] {
        let url = format!("http://127.0.0.1:{health}/{path}");
        assert_eq!(reqwest::get(url).await.unwrap().status(), status);
    }

    // What all that looks like to Prometheus.
    for (url, parts) in [
        (&hook_metrics, vec!["prow_webhook_counter{", "event_type=\"pull_request\""]),
        (&hook_metrics, vec!["prow_config_loads_total "]),
        (&hook_metrics, vec!["prow_config_last_success_timestamp_seconds "]),
        (&hook_metrics, vec!["prow_config_load_failures_total 0"]),
        (&hook_metrics, vec!["prow_config_last_load_successful 1"]),
        (&hook_metrics, vec!["prow_webhook_response_codes{response_code=\"200\"}"]),
        (
            &hook_metrics,
            vec!["prow_plugin_handle_duration_seconds_count{action=\"opened\"", "plugin=\"trigger\""],
        ),
        (&plank_metrics, vec!["leader_election_master_status{", "leader-lock\"} 1"]),
        (&plank_metrics, vec!["prowjobs{", "job_name=\"check\"", "org=\"acme\"", "state=\"success\"", "} 1"]),
        (
            &plank_metrics,
            vec!["prowjob_state_transitions{", "job_name=\"check\"", "state=\"pending\"", "} 1"],
        ),
        (&crier_metrics, vec!["crier_reporting_results{reporter=\"github-reporter\",result=\"SUCCESS\"}"]),
        (&crier_metrics, vec!["crier_report_latency_count{reporter=\"gcsreporter\"}"]),
        (
            &deck_metrics,
            vec!["deck_http_request_duration_seconds_count{", "path=\"/prowjobs.js\"", "status=\"200\""],
        ),
        (&deck_metrics, vec!["deck_http_response_size_bytes_count{", "method=\"GET\""]),
    ] {
        metric(url, &parts).await;
    }
    let mut sinker = component("sinker", dir, &cluster, &["--dry-run=false"]);
    let sinker_metrics = metrics_of(&sinker.line_with("health on "));
    metric(&sinker_metrics, &["sinker_prow_jobs_existing 3"]).await;
    metric(&sinker_metrics, &["sinker_loop_duration_seconds "]).await;
    sinker.signal("TERM");
    let (status, _, stderr) = sinker.end();
    assert!(status.success(), "{stderr}");

    // A build cluster that is away stops nobody: its job waits.
    let waiting = jobs.wait_for(|jobs| jobs.all().into_iter().find(|job| job.spec.job == "stranded"));
    let waiting = in_time("the job of the cluster that is away", waiting).await;
    assert_eq!((waiting.status.state, waiting.complete()), (State::Triggered, false));

    // Sinker, once: nothing of this is old enough.
    let sinker = component("sinker", dir, &cluster, &["--dry-run=false", "--run-once"]);
    let (status, stdout, stderr) = sinker.end();
    assert!(
        status.success() && stdout.contains("deleted 0 ProwJobs and 0 Pods; 0 deletions failed"),
        "{stdout}\n{stderr}"
    );

    // Of two planks one leads; when it ends, the other works on at once.
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let held = leases.get("prow-controller-manager-leader-lock").await.unwrap().spec.unwrap();
    assert!(held.holder_identity.is_some_and(|who| !who.is_empty()));
    let second = component("plank", dir, &cluster, &["--dry-run=false"]);
    plank.signal("TERM");
    assert!(plank.end().0.success());
    ann.create_comment("acme", "tool", pull.number, "/test check").await.unwrap();
    let again = jobs.wait_for(|jobs| {
        jobs.all()
            .into_iter()
            .find(|job| job.spec.job == "check" && job.complete() && job.name() != check.name())
    });
    let again = in_time("the second run, led by the second plank", again).await;
    assert_eq!(again.status.state, State::Success);
    drop(second);

    // A dry run changes nothing: the API server checks, and keeps none of it.
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &format!("{namespace}-pods"));
    let before = pods.list(&ListParams::default()).await.unwrap().items.len();
    let (status, _, stderr) = component("sinker", dir, &cluster, &["--run-once"]).end();
    assert!(status.success(), "{stderr}");
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), before);

    node.signal("TERM");
    let (status, stdout, stderr) = node.end();
    assert!(status.success(), "{stdout}\n{stderr}");
    forge_stop.cancel();
    cluster.end().await;
}

#[test]
fn flags_that_cannot_work_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("--config-path={}", write(dir.path(), "config.yaml", "{}"));
    let none = format!("--kubeconfig={}", dir.path().join("none").display());
    for (args, wanted) in [
        (vec!["hook", &config], "--dry-run=false"),
        (vec!["crier", &config], "--github-workers"),
        (vec!["crier", &config, "--slack-workers=1"], "--slack-workers"),
        (vec!["plank", &config, "--enable-controller=planck"], "planck"),
        (vec!["deck", &config, "--hidden-only", "--show-hidden"], "exclude each other"),
        (
            vec!["horologium", &config, &none, "--health-port=0", "--metrics-port=0"],
            "cannot use the kubeconfig",
        ),
    ] {
        let (status, _, stderr) = Prow::start(&args).end();
        assert!(!status.success() && stderr.contains(wanted), "{args:?}: {stderr}");
    }
}
