//! What a `prow run` leaves that was killed outright: a Pod that goes on, its containers, a Podman service, a scratch
//! directory with Secrets in it. The next `prow run` ends and removes that.

use super::SCRATCH;
use super::here::Here;
use crate::datadir::Abandoned;
use crate::world::{RunnerArgs, Runtime};
use std::path::{Path, PathBuf};

/// Does so; what does not work is said, and tried again next time.
pub async fn tidy(runner: &RunnerArgs) {
    for left in Abandoned::find(SCRATCH) {
        let path = left.path().to_owned();
        eprintln!("prow run: cleaning up after a run that was killed ({})", path.display());
        let ended = match end(runner, &path).await {
            Ok(()) => left.remove(),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            eprintln!("prow run: {} is left: {}", path.display(), crate::cli::said(&error));
        }
    }
}

/// Ends the Pods of the directory's worlds.
async fn end(runner: &RunnerArgs, scratch: &Path) -> anyhow::Result<()> {
    let worlds = std::fs::read_dir(scratch)?.flatten().map(|e| e.path());
    let worlds: Vec<PathBuf> = worlds.filter(|p| p.join("pods").is_dir()).collect();
    for world in worlds {
        let mut runner = runner.clone();
        if world.join("pods/engine").is_dir() {
            // Of its own, and nobody else ends it.
            runner.runtime = Runtime::Podman;
        }
        let here = Here::start(&runner, &world, Vec::new(), "default").await?;
        let ended = here.end_all().await;
        here.end().await;
        ended?;
    }
    Ok(())
}
