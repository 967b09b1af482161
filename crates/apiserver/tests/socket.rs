//! The socket: who gets in, and kubectl itself. Without kubectl on PATH its part says so and is skipped.

// Helpers of tests may panic like tests.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use common::{JOBS, PODS, World, pod, prowjob};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use prow_apiserver::{Credentials, Error, LogError, LogOptions, PodLogs};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Served {
    world: World,
    credentials: Credentials,
    addr: SocketAddr,
    kubeconfig: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

async fn served() -> Served {
    let world = World::new();
    let credentials = Credentials::load_or_create(world.dir.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let kubeconfig = credentials.write_kubeconfig(world.dir.path(), addr).unwrap();
    let stop = CancellationToken::new();
    let (server, own, token) = (world.server.clone(), credentials.clone(), stop.clone());
    let task = tokio::spawn(async move { server.serve(listener, own, token).await });
    Served { world, credentials, addr, kubeconfig, stop, task }
}

async fn client(kubeconfig: &str) -> Client {
    let config = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn only_the_token_opens_and_shutdown_ends_watches() {
    let s = served().await;
    s.world.post(PODS, pod("p")).await;
    let kubeconfig = std::fs::read_to_string(&s.kubeconfig).unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client(&kubeconfig).await);
    assert_eq!(pods.get("p").await.unwrap().metadata.name.as_deref(), Some("p"));

    let token = s.credentials.token().expose_str().unwrap();
    for wrong in ["\"wrong\"".to_owned(), format!("\"{}x\"", &token[1..]), "\"\"".to_owned()] {
        let other = kubeconfig.replace(&format!("\"{token}\""), &wrong);
        assert_ne!(other, kubeconfig);
        let pods: Api<Pod> = Api::default_namespaced(client(&other).await);
        match pods.get("p").await.unwrap_err() {
            kube::Error::Api(status) => {
                assert_eq!((status.code, status.reason.as_str()), (401, "Unauthorized"))
            }
            e => panic!("{e}"),
        }
    }
    // Another server's certificate is not trusted.
    let elsewhere = tempfile::tempdir().unwrap();
    let strange = Credentials::load_or_create(elsewhere.path()).unwrap().kubeconfig(s.addr);
    let pods_there: Api<Pod> = Api::default_namespaced(client(&strange).await);
    assert!(!matches!(pods_there.get("p").await.unwrap_err(), kube::Error::Api(_)));

    let mut watch = pods.watch(&kube::api::WatchParams::default(), "0").await.unwrap().boxed();
    assert!(watch.next().await.unwrap().is_ok());
    s.stop.cancel();
    assert!(watch.next().await.is_none());
    s.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_world_outside_is_refused() {
    let w = World::new();
    let credentials = Credentials::load_or_create(w.dir.path()).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let e = w.server.serve(listener, credentials, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(e, Error::NotLoopback(_)), "{e}");
}

#[tokio::test]
async fn elsewhere_the_names_are_certified_and_tokens_asked_for() {
    let w = World::new();
    let names = ["ci.example.com".to_owned()];
    let credentials = Credentials::load_or_create_for(w.dir.path(), &names).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let stop = CancellationToken::new();
    let (server, own, token) = (w.server.clone(), credentials.clone(), stop.clone());
    let task = tokio::spawn(async move { server.serve(listener, own, token).await });
    // Under TLS and with a token.
    let kubeconfig = credentials.kubeconfig(addr).replace("127.0.0.1:", "localhost:");
    let pods: Api<Pod> = Api::default_namespaced(client(&kubeconfig).await);
    assert!(pods.list(&Default::default()).await.unwrap().items.is_empty());
    let token = credentials.token().expose_str().unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client(&kubeconfig.replace(token, "guessed")).await);
    match pods.list(&Default::default()).await.unwrap_err() {
        kube::Error::Api(status) => assert_eq!((status.code, status.reason.as_str()), (401, "Unauthorized")),
        e => panic!("{e}"),
    }
    // Without TLS there is no answer at all.
    let mut plain = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Whether the server hangs up properly is its own affair.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    stop.cancel();
    task.await.unwrap().unwrap();
}

struct Lines;

#[async_trait::async_trait]
impl PodLogs for Lines {
    async fn logs(
        &self,
        _namespace: &str,
        _pod: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, std::io::Error>>, LogError> {
        let text = format!("hello from {} (follow {})\n", options.container, options.follow);
        Ok(futures::stream::iter([Ok(Bytes::from(text))]).boxed())
    }
}

struct Kubectl<'a> {
    kubeconfig: &'a Path,
}

impl Kubectl<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        // A cache and home of its own: nothing of this machine's kubectl comes in.
        let home = self.kubeconfig.parent().unwrap();
        command
            .args(args)
            .env("KUBECONFIG", self.kubeconfig)
            .env("HOME", home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it; standard output if it went well, standard error as `Err` if not.
    async fn run(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(args).output().await.unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    async fn ok(&self, args: &[&str]) -> String {
        self.run(args).await.unwrap_or_else(|e| panic!("kubectl {args:?}: {e}"))
    }
}

/// The words of a line, for comparing columns without their widths.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test]
async fn kubectl_works() {
    let found = Command::new("kubectl").args(["version", "--client"]).output().await;
    if !found.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no kubectl on PATH");
        return;
    }
    let s = served().await;
    s.world.server.set_pod_logs(Arc::new(Lines));
    let k = Kubectl { kubeconfig: &s.kubeconfig };
    let file = |name: &str, content: serde_json::Value| {
        let path = s.world.dir.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };

    // create -f, and the CRD's columns.
    assert_eq!(
        k.ok(&["create", "-f", &file("job.json", prowjob("j1"))]).await,
        "prowjob.prow.k8s.io/j1 created\n"
    );
    let table = k.ok(&["get", "prowjobs"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        words(lines[0]),
        ["NAME", "JOB", "BUILDID", "TYPE", "ORG", "REPO", "PULLS", "STARTTIME", "COMPLETIONTIME", "STATE"]
    );
    let row = words(lines[1]);
    assert_eq!(row[..7], ["j1", "unit", "1001", "presubmit", "acme", "app", "7"]);
    assert_eq!(row.last(), Some(&"triggered"));
    let mut wrong = prowjob("j2");
    wrong["spec"]["type"] = json!("nightly");
    let refused = k.run(&["create", "-f", &file("wrong.json", wrong)]).await.unwrap_err();
    assert!(refused.contains("spec.type: Unsupported value: \"nightly\""), "{refused}");
    let refused = k.run(&["create", "-f", &file("job.json", prowjob("j1"))]).await.unwrap_err();
    assert!(refused.contains("AlreadyExists"), "{refused}");

    // get -o yaml, label, describe.
    let yaml = k.ok(&["get", "prowjob", "j1", "-o", "yaml"]).await;
    assert!(yaml.contains("kind: ProwJob") && yaml.contains("  job: unit"), "{yaml}");
    k.ok(&["label", "prowjob", "j1", "color=red"]).await;
    assert_eq!(k.ok(&["get", "prowjob", "-l", "color=blue", "-o", "name"]).await.as_str().trim(), "");
    assert_eq!(
        k.ok(&["get", "prowjob", "-l", "color=red", "-o", "name"]).await.trim(),
        "prowjob.prow.k8s.io/j1"
    );
    let described = k.ok(&["describe", "prowjob", "j1"]).await;
    assert!(described.contains("Kind:         ProwJob"), "{described}");

    // get -w: the present, then what happens, as it happens.
    let mut watching = k
        .command(&["get", "prowjobs", "-w", "--output-watch-events"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = async || lines.next_line().await.unwrap().unwrap();
    assert_eq!(words(&next().await)[..2], ["EVENT", "NAME"]);
    assert_eq!(words(&next().await)[..2], ["ADDED", "j1"]);
    s.world.merge(&format!("{JOBS}/j1"), json!({"status": {"state": "pending"}})).await;
    let modified = next().await;
    assert_eq!(words(&modified)[..2], ["MODIFIED", "j1"]);
    assert_eq!(words(&modified).last(), Some(&"pending"));
    s.world.delete(&format!("{JOBS}/j1")).await;
    assert_eq!(words(&next().await)[..2], ["DELETED", "j1"]);
    watching.kill().await.unwrap();

    // Pods: columns, logs, apply, wait, delete.
    k.ok(&["apply", "-f", &file("pod.json", pod("p1"))]).await;
    let mut changed = pod("p1");
    changed["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(k.ok(&["apply", "-f", &file("pod.json", changed)]).await, "pod/p1 configured\n");
    let table = k.ok(&["get", "pods"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(words(lines[0]), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(words(lines[1])[..4], ["p1", "0/1", "Pending", "0"]);
    assert_eq!(k.ok(&["logs", "p1"]).await, "hello from test (follow false)\n");
    assert_eq!(k.ok(&["logs", "-f", "p1", "-c", "test"]).await, "hello from test (follow true)\n");
    s.world.merge(&format!("{PODS}/p1/status"), json!({"status": {"phase": "Succeeded"}})).await;
    k.ok(&["wait", "pod/p1", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s"]).await;
    assert!(k.ok(&["describe", "pod", "p1"]).await.contains("Status:       Succeeded"));
    assert_eq!(k.ok(&["delete", "pod", "p1"]).await, "pod \"p1\" deleted\n");
    let absent = k.run(&["get", "pod", "p1"]).await.unwrap_err();
    assert!(absent.contains("NotFound"), "{absent}");

    // What kubectl sends in protobuf.
    k.ok(&["create", "namespace", "work"]).await;
    k.ok(&["create", "configmap", "settings", "--from-literal=a=b", "-n", "work"]).await;
    k.ok(&["create", "secret", "generic", "token", "--from-literal=a=b", "-n", "work"]).await;
    k.ok(&["create", "serviceaccount", "robot", "-n", "work"]).await;
    assert_eq!(k.ok(&["get", "secret", "token", "-n", "work", "-o", "jsonpath={.data.a}"]).await, "Yg==");
    assert_eq!(k.ok(&["auth", "can-i", "create", "pods"]).await, "yes\n");
    assert!(k.ok(&["auth", "can-i", "--list"]).await.contains("*.*"));
    assert!(k.ok(&["auth", "whoami"]).await.contains("admin"));
    k.ok(&["delete", "namespace", "work"]).await;
    assert!(k.run(&["get", "namespace", "work"]).await.is_err());

    // Server-side apply: owners, a conflict that names them, force.
    let config = |value: &str| {
        file(
            "owned.json",
            json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "owned"}, "data": {"a": value}}),
        )
    };
    let apply = ["apply", "--server-side", "--field-manager", "ann", "-f"];
    assert_eq!(k.ok(&[&apply[..], &[&config("1")]].concat()).await, "configmap/owned serverside-applied\n");
    let other = ["apply", "--server-side", "--field-manager", "ben", "-f"];
    let conflict = k.run(&[&other[..], &[&config("2")]].concat()).await.unwrap_err();
    assert!(conflict.contains("conflict with \"ann\": .data.a"), "{conflict}");
    k.ok(&[&other[..], &[&config("2"), "--force-conflicts"]].concat()).await;
    let owners = k.ok(&[
        "get",
        "configmap",
        "owned",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[*].manager}",
    ]);
    assert_eq!(owners.await, "ben");
    // From what kubectl applied by itself to the server's own.
    k.ok(&["apply", "-f", &file("moved.json", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moved"}, "data": {"a": "1"}}))]).await;
    let moved = file(
        "moved.json",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moved"}, "data": {"a": "2"}}),
    );
    k.ok(&["apply", "--server-side", "-f", &moved]).await;
    assert_eq!(k.ok(&["get", "configmap", "moved", "-o", "jsonpath={.data.a}"]).await, "2");
    k.ok(&["patch", "configmap", "moved", "-p", r#"{"data":{"b":"1"}}"#]).await;
    k.ok(&["patch", "configmap", "moved", "--type=json", "-p", r#"[{"op":"remove","path":"/data/b"}]"#])
        .await;

    // explain, from the tables of types.
    let explained = k.ok(&["explain", "prowjob.spec"]).await;
    for expected in [
        "KIND:       ProwJob",
        "FIELD: spec <ProwJobSpec>",
        "max_concurrency\t<integer>",
        "Most runs of this job at a time",
    ] {
        assert!(explained.contains(expected), "{expected}: {explained}");
    }
    let explained = k.ok(&["explain", "pods.spec.containers"]).await;
    for expected in ["KIND:       Pod", "containers <[]Container>", "imagePullPolicy\t<string>"] {
        assert!(explained.contains(expected), "{expected}: {explained}");
    }
    let types = k.ok(&["explain", "prowjob", "--recursive"]).await;
    assert!(types.contains("gcs_configuration\t<GCSConfiguration>"), "{types}");

    // The one who may only look.
    let view = s.kubeconfig.with_extension("view");
    let viewer = Kubectl { kubeconfig: &view };
    assert!(viewer.ok(&["get", "configmap", "moved", "-o", "name"]).await.contains("moved"));
    assert_eq!(viewer.run(&["auth", "can-i", "delete", "pods"]).await.unwrap_err(), "");
    for refused in [&["delete", "configmap", "moved"][..], &["get", "secrets"]] {
        let e = viewer.run(refused).await.unwrap_err();
        assert!(e.contains("(Forbidden)") && e.contains("User \"viewer\" cannot"), "{e}");
    }

    // What is beside them.
    let resources = k.ok(&["api-resources", "-o", "name"]).await;
    for name in ["pods", "prowjobs.prow.k8s.io", "leases.coordination.k8s.io"] {
        assert!(resources.lines().any(|l| l == name), "{resources}");
    }
    s.stop.cancel();
    s.task.await.unwrap().unwrap();
}
