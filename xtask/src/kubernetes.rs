//! `cargo xtask kubernetes-test`: the conformance suite against the embedded API server and against a real
//! kube-apiserver with etcd, and a table of how each did; then Prow itself on the real one: components as separate
//! processes, and the story of `prow demo`.
//!
//! The real programs are built with Go from the modules that `xtask/kubernetes` pins, and kept in the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use prow_apiserver::{Access, ApiServer, Options, prowjob_crd};
use prow_conformance::real::{Binaries, RealCluster};
use prow_conformance::{Case, Outcome, Server, cases, run};

type Failure = Box<dyn std::error::Error>;

/// Events that the embedded server keeps, so few that the suite sees history end.
const HISTORY: usize = 300;

/// Runs the cases whose names contain `only`. True if every one of them passed on both.
pub fn test(only: &str, build_only: bool) -> Result<bool, Failure> {
    let binaries = binaries()?;
    if build_only {
        println!("{}\n{}", binaries.etcd.display(), binaries.apiserver.display());
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compare(&binaries, only))
}

async fn compare(binaries: &Binaries, only: &str) -> Result<bool, Failure> {
    let chosen: Vec<Case> = cases().into_iter().filter(|c| c.name.contains(only)).collect();
    if chosen.is_empty() {
        return Err(format!("no case has {only:?} in its name").into());
    }
    // A failed case panics; the table says what it said.
    std::panic::set_hook(Box::new(|_| {}));
    let dir = tempfile::tempdir()?;
    let options = Options { sync: false, history: HISTORY, ..Options::default() };
    let embedded = ApiServer::open(dir.path(), options)?;
    let client = |access| kube::Client::new(embedded.router_for(access), "default");
    let server = Server { admin: client(Access::Everything), viewer: client(Access::ReadOnly) };
    let here = run(&server, &chosen, |_| ()).await;
    let cluster = RealCluster::start(binaries, &[prowjob_crd()]).await?;
    let there = run(&cluster.server().await?, &chosen, |_| ()).await;
    let _ = std::panic::take_hook();
    let word = |o: &Outcome| if o.failure.is_none() { "ok" } else { "FAILED" };
    println!("| embedded | real | case |\n|---|---|---|");
    for (h, t) in here.iter().zip(&there) {
        println!("| {} | {} | {} |", word(h), word(t), h.name);
    }
    for (outcomes, whose) in [(&here, "embedded"), (&there, "real")] {
        for o in outcomes {
            if let Some(why) = &o.failure {
                println!("\n{whose}: {}\n  {}", o.name, why.replace('\n', "\n  "));
            }
        }
    }
    let stories = only.is_empty().then(|| stories(cluster.kubeconfig())).transpose()?;
    let failed = |all: &[Outcome]| all.iter().filter(|o| o.failure.is_some()).count();
    println!(
        "\n{} cases: {} failed on the embedded server, {} on Kubernetes {}",
        here.len(),
        failed(&here),
        failed(&there),
        version()?
    );
    Ok(failed(&here) + failed(&there) == 0 && stories != Some(false))
}

/// Prow's own tests that can do with any API server, on this one. Packages are not chosen, so that what `cargo test`
/// has built is what runs.
fn stories(kubeconfig: &Path) -> Result<bool, Failure> {
    println!("\nProw on the real API server:");
    let status = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--quiet", "--test", "components", "--test", "story", "--"])
        .args(["separate_processes", "on_real_kubernetes"])
        .env("PROW_TEST_KUBECONFIG", kubeconfig)
        .status()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    Ok(status.success())
}

fn pins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes")
}

/// The pinned version of Kubernetes, without its `v`.
fn version() -> Result<String, Failure> {
    let path = pins().join("go.mod");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let line = text
        .lines()
        .find_map(|l| l.trim().trim_start_matches("require ").strip_prefix("k8s.io/kubernetes v"));
    let version = line.and_then(|l| l.split_whitespace().next());
    Ok(version.ok_or_else(|| format!("{} does not pin k8s.io/kubernetes", path.display()))?.to_owned())
}

/// The programs: from the cache, or built into it.
fn binaries() -> Result<Binaries, Failure> {
    let dir =
        Binaries::cache(&version()?).ok_or("there is no home directory to keep the programs in; set HOME")?;
    let binaries = Binaries::of(&dir);
    if binaries.exist() {
        return Ok(binaries);
    }
    std::fs::create_dir_all(&dir)?;
    for (name, package) in
        [("etcd", "go.etcd.io/etcd/server/v3"), ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver")]
    {
        let wanted = dir.join(name);
        if wanted.is_file() {
            continue;
        }
        println!("building {name}; from nothing this takes some minutes");
        // Built beside and moved, so that a build that is broken off leaves nothing that looks whole.
        let beside = dir.join(format!("{name}.new"));
        let status = Command::new("go")
            .current_dir(pins())
            .env("CGO_ENABLED", "0")
            .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
            .arg(&beside)
            .arg(package)
            .status()
            .map_err(|e| format!("cannot run go, which builds {name}: {e}; install Go 1.24 or newer"))?;
        if !status.success() {
            return Err(format!("go could not build {package} ({status})").into());
        }
        std::fs::rename(&beside, &wanted)?;
    }
    Ok(binaries)
}
