//! The ways in which a kubeconfig says how to trust a cluster and who asks, against an API server behind TLS that asks
//! for client certificates or tokens and whose rights are changed while clients run.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use prow_apiserver::{Access, ApiServer};
use prow_kube::clusters::{self, Connected, PLANK_VERBS, Restart};
use prow_kube::kubeconfig::KubernetesOptions;
use prow_kube::{Client, Store};
use prow_service::clock::ManualClock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The only name that the server's certificate is for.
const NAME: &str = "api.test";
/// Who shows a certificate.
const CERTIFICATE: &str = "a certificate";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn client(&self) -> (String, String) {
        self.issue("ann", ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn tls(&self) -> rustls::ServerConfig {
        let (certificate, key) = self.issue(NAME, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let clients =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap()
    }
}

struct Inner {
    /// By token; those without access are known and may do nothing.
    rights: Mutex<BTreeMap<String, Option<Access>>>,
    /// How often somebody was told so.
    refused: watch::Sender<usize>,
    /// Ends all connections.
    cut: Mutex<CancellationToken>,
    api: ApiServer,
}

struct Server {
    inner: Arc<Inner>,
    authority: Authority,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let api = ApiServer::open(&dir.path().join("store"), prow_apiserver::Options::default()).unwrap();
        let inner = Arc::new(Inner {
            rights: Mutex::new(BTreeMap::from([(CERTIFICATE.to_owned(), Some(Access::Everything))])),
            refused: watch::Sender::new(0),
            cut: Mutex::default(),
            api,
        });
        let authority = Authority::new("ours");
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(authority.tls()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = inner.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, shared) = (tls.clone(), shared.clone());
                let cut = shared.cut.lock().unwrap().clone();
                tokio::spawn(cut.run_until_cancelled_owned(async move {
                    // A client that does not agree on TLS says so itself.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let certified = stream.get_ref().1.peer_certificates().is_some();
                    let router =
                        axum::Router::new().fallback(answer).layer(Extension(certified)).with_state(shared);
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(router);
                    // However it ends.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                }));
            }
        });
        Server { inner, authority, port, dir }
    }

    /// What `token` may do from now on.
    fn allow(&self, token: &str, rights: Option<Access>) {
        self.inner.rights.lock().unwrap().insert(token.to_owned(), rights);
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `clusters[].cluster` that trusts this server.
    fn trusted(&self) -> Value {
        json!({"certificate-authority-data": STANDARD.encode(self.authority.pem()), "tls-server-name": NAME})
    }

    /// Clients of a kubeconfig with these contexts, the first the current one.
    async fn connect(&self, contexts: &[(&str, Value, Value)]) -> Connected {
        let server = format!("https://127.0.0.1:{}", self.port);
        let list =
            |entry: &dyn Fn(&(&str, Value, Value)) -> Value| contexts.iter().map(entry).collect::<Value>();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": contexts[0].0,
            "clusters": list(&|(name, cluster, _)| {
                let mut cluster = cluster.clone();
                cluster["server"] = json!(server);
                json!({"name": name, "cluster": cluster})
            }),
            "users": list(&|(name, _, user)| json!({"name": name, "user": user})),
            "contexts": list(&|(name, ..)| json!({"name": name, "context": {"cluster": name, "user": name}})),
        });
        let options = KubernetesOptions {
            kubeconfig: Some(self.file("kubeconfig", &text.to_string())),
            no_in_cluster_config: true,
            ..KubernetesOptions::default()
        };
        clusters::connect(&options, &[], false).await.unwrap()
    }
}

async fn answer(
    State(server): State<Arc<Inner>>,
    Extension(certified): Extension<bool>,
    request: Request,
) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = sent.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
    let rights = server.rights.lock().unwrap().get(if certified { CERTIFICATE } else { token }).copied();
    let said = |code: StatusCode, reason: &str| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "reason": reason,
            "message": "no",
        });
        (code, axum::Json(status)).into_response()
    };
    match rights {
        None => said(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Some(None) => {
            server.refused.send_modify(|times| *times += 1);
            said(StatusCode::FORBIDDEN, "Forbidden")
        }
        Some(Some(access)) => server.api.router_for(access).oneshot(request).await.unwrap(),
    }
}

fn pods(client: Client) -> Api<Pod> {
    Api::namespaced(client, "default")
}

/// What listing Pods comes to: `ok`, a status code, or `no TLS`.
async fn outcome(connected: &Connected, alias: &str) -> String {
    let client = match connected.clients.build(alias) {
        Ok(client) => client,
        Err(error) => return error.to_string(),
    };
    match in_time("an answer", pods(client).list(&Default::default())).await {
        Ok(_) => "ok".into(),
        Err(kube::Error::Api(status)) => status.code.to_string(),
        Err(_) => "no TLS".into(),
    }
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| panic!("not seen in time: {what}"))
}

#[tokio::test]
async fn every_way_to_trust_a_cluster_and_to_be_known_there() {
    let server = Server::start().await;
    server.allow("t", Some(Access::Everything));
    let (certificate, key) = server.authority.client();
    let stranger = Authority::new("another");
    let (other_certificate, other_key) = stranger.client();
    let data = |text: &str| json!(STANDARD.encode(text));
    for (name, text) in [
        ("ca.pem", &server.authority.pem()),
        ("my.pem", &certificate),
        ("my.key", &key),
        ("token", &"t\n".into()),
    ] {
        server.file(name, text);
    }
    let (trusted, token) = (server.trusted(), json!({"token": "t"}));
    let mut strange = trusted.clone();
    strange["certificate-authority-data"] = data(&stranger.pem());
    // Relative paths are from the kubeconfig on.
    let with_file = json!({"certificate-authority": "ca.pem", "tls-server-name": NAME});
    let cases = [
        ("authority-data", trusted.clone(), token.clone(), "ok"),
        ("authority-file", with_file, token.clone(), "ok"),
        ("authority-of-others", strange, token.clone(), "no TLS"),
        ("another-name", json!({"certificate-authority": "ca.pem"}), token.clone(), "no TLS"),
        ("any-certificate", json!({"insecure-skip-tls-verify": true}), token, "ok"),
        (
            "certificate-data",
            trusted.clone(),
            json!({"client-certificate-data": data(&certificate), "client-key-data": data(&key)}),
            "ok",
        ),
        (
            "certificate-file",
            trusted.clone(),
            json!({"client-certificate": "my.pem", "client-key": "my.key"}),
            "ok",
        ),
        (
            "certificate-of-others",
            trusted.clone(),
            json!({"client-certificate-data": data(&other_certificate), "client-key-data": data(&other_key)}),
            "no TLS",
        ),
        ("token-file", trusted.clone(), json!({"tokenFile": "token"}), "ok"),
        ("token-file-first", trusted.clone(), json!({"tokenFile": "token", "token": "wrong"}), "ok"),
        ("token-without-file", trusted.clone(), json!({"tokenFile": "absent", "token": "t"}), "ok"),
        ("wrong-token", trusted.clone(), json!({"token": "wrong"}), "401"),
        ("nobody", trusted, json!({}), "401"),
    ];
    let contexts: Vec<_> =
        cases.iter().map(|(name, cluster, user, _)| (*name, cluster.clone(), user.clone())).collect();
    let mut connected = server.connect(&contexts).await;
    for (name, _, _, wanted) in &cases {
        assert_eq!(outcome(&connected, name).await, *wanted, "{name}");
    }
    in_time("checks", connected.leave_out_unusable("default", &PLANK_VERBS)).await;
    for (name, _, _, wanted) in &cases {
        assert_eq!(connected.clients.left_out().contains_key(*name), *wanted != "ok", "{name}");
    }
}

#[tokio::test]
async fn a_token_that_rotates_is_taken_at_once() {
    let server = Server::start().await;
    server.allow("first", Some(Access::Everything));
    let file = server.file("token", "first");
    let connected = server.connect(&[("here", server.trusted(), json!({"tokenFile": file}))]).await;
    assert_eq!(outcome(&connected, "here").await, "ok");
    server.inner.rights.lock().unwrap().remove("first");
    server.allow("the second", Some(Access::Everything));
    assert_eq!(outcome(&connected, "here").await, "401");
    server.file("token", "the second\n");
    assert_eq!(outcome(&connected, "here").await, "ok");
    // One that has gone stays in force, as some remove it once it was read.
    std::fs::remove_file(file).unwrap();
    assert_eq!(outcome(&connected, "here").await, "ok");
}

#[tokio::test]
async fn a_certificate_that_is_renewed_asks_for_a_restart() {
    let server = Server::start().await;
    let (certificate, key) = server.authority.client();
    let path = server.file("my.pem", &certificate);
    let user = json!({"client-certificate": path, "client-key": server.file("my.key", &key)});
    let connected = server.connect(&[("here", server.trusted(), user)]).await;
    let clock = ManualClock::new(jiff::Timestamp::now());
    let mut restart = Box::pin(connected.restart_needed("default".into(), &PLANK_VERBS, clock.shared()));
    // Nothing is another yet.
    for _ in 0..2 {
        assert!(futures::poll!(&mut restart).is_pending());
        clock.advance(Duration::from_secs(5));
    }
    assert!(futures::poll!(&mut restart).is_pending());
    std::fs::rename(server.file("new.pem", &server.authority.client().0), path).unwrap();
    clock.advance(Duration::from_secs(5));
    assert_eq!(in_time("the restart", restart).await, Restart::Files);
}

#[tokio::test]
async fn rights_that_come_and_go_hold_one_cluster_and_no_other() {
    let server = Server::start().await;
    server.allow("stays", Some(Access::Everything));
    server.allow("comes", Some(Access::ReadOnly));
    server.allow("goes", Some(Access::Everything));
    let contexts = ["stays", "comes", "goes"].map(|name| (name, server.trusted(), json!({"token": name})));
    let mut connected = server.connect(&contexts).await;
    // One may not do all of it when we begin.
    in_time("checks", connected.leave_out_unusable("default", &PLANK_VERBS)).await;
    let left_out = connected.clients.left_out();
    assert_eq!(left_out.keys().collect::<Vec<_>>(), ["comes"]);
    assert!(left_out["comes"].contains("we may not create, delete, patch pods"), "{left_out:?}");
    assert!(connected.clients.build("comes").is_err());

    // One may do nothing any more while we run.
    let client = |alias: &str| connected.clients.build(alias).unwrap();
    let watched = |alias: &str| Store::<Pod>::watch(pods(client(alias)), watcher::Config::default(), &[]);
    let (stays, goes) = (watched("stays"), watched("goes"));
    let make = async |name: &str| {
        let spec = json!({"containers": [{"name": "test", "image": "any"}]});
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        pods(client("stays")).create(&PostParams::default(), &pod).await.unwrap();
    };
    let sees = async |store: &Store<Pod>, name: &str| {
        in_time(name, store.wait_for(|store| store.get(name))).await;
    };
    make("before").await;
    sees(&stays, "before").await;
    sees(&goes, "before").await;
    let mut refused = server.inner.refused.subscribe();
    server.allow("goes", None);
    // Whoever watches has to ask again.
    std::mem::take(&mut *server.inner.cut.lock().unwrap()).cancel();
    in_time("the refusal", refused.wait_for(|times| *times > 0)).await.unwrap();
    assert_eq!(outcome(&connected, "goes").await, "403");
    make("meanwhile").await;
    sees(&stays, "meanwhile").await;
    // What it knew it still knows, and no more.
    assert!(goes.get("before").is_some() && goes.get("meanwhile").is_none());
    server.allow("goes", Some(Access::Everything));
    sees(&goes, "meanwhile").await;

    // And the one that was left out is noticed when it gets them.
    let clock = ManualClock::new(jiff::Timestamp::now());
    let mut restart = Box::pin(connected.restart_needed("default".into(), &PLANK_VERBS, clock.shared()));
    assert!(futures::poll!(&mut restart).is_pending());
    server.allow("comes", Some(Access::Everything));
    clock.advance(Duration::from_secs(5));
    assert_eq!(in_time("the recovery", restart).await, Restart::Recovered("comes".into()));
}
