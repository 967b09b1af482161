//! `--shell-on-failure`: the job's command is wrapped in a few lines of sh that, when it fails, connect a shell to two
//! pipes of a volume. Whoever opens them from this side is in the container, whatever runs it.

use crate::datadir::Scratch;
use anyhow::Context;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume, VolumeMount};
use nix::sys::stat::Mode;
use prow_api::prowjob::ProwJobSpec;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const IN_POD: &str = "/prow-run/shell";
const VOLUME: &str = "prow-run-shell";

/// The wrapper: `$1` says which pipes, the rest is the job's command.
const WRAPPER: &str = "pipes=$1; shift; \"$@\"; code=$?; if [ \"$code\" -ne 0 ]; then \
sh -i <\"$pipes.in\" >\"$pipes.out\" 2>&1; fi; exit \"$code\"";

/// The pipes of a run.
#[derive(Clone)]
pub struct Shell {
    dir: PathBuf,
    containers: Vec<String>,
}

/// Wraps every container of the job that has a command, and makes the pipes.
pub fn prepare(spec: &mut ProwJobSpec, scratch: &Scratch) -> anyhow::Result<Shell> {
    let dir = scratch.directory("shell")?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut shell = Shell { dir: dir.clone(), containers: Vec::new() };
    let Some(pod) = spec.pod_spec.as_deref_mut() else { return Ok(shell) };
    for (index, container) in pod.containers.iter_mut().enumerate() {
        let command = container.command.take().unwrap_or_default();
        if command.is_empty() && container.args.as_ref().is_none_or(Vec::is_empty) {
            // Its image knows what it runs, and only it.
            continue;
        }
        let name = index.to_string();
        for end in ["in", "out"] {
            let pipe = dir.join(format!("{name}.{end}"));
            let made = nix::unistd::mkfifo(&pipe, Mode::S_IRWXU)
                .map_err(std::io::Error::from)
                .and_then(|()| std::fs::set_permissions(&pipe, Permissions::from_mode(0o666)));
            made.with_context(|| format!("cannot make the pipe {}", pipe.display()))?;
        }
        let wrapped = ["sh", "-c", WRAPPER, "prow-run", &format!("{IN_POD}/{name}")].map(str::to_owned);
        container.command = Some(wrapped.into_iter().chain(command).collect());
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: IN_POD.to_owned(),
            ..VolumeMount::default()
        });
        shell.containers.push(name);
    }
    let path = dir.to_str().context("the temporary directory's name is not UTF-8")?.to_owned();
    pod.volumes.get_or_insert_default().push(Volume {
        name: VOLUME.to_owned(),
        host_path: Some(HostPathVolumeSource { path, type_: None }),
        ..Volume::default()
    });
    Ok(shell)
}

impl Shell {
    /// Where the pipes are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits, on threads that the end of this process ends, for containers that fail, and connects the keyboard to
    /// one after the other.
    pub fn serve(&self) {
        let turn = Arc::new(Mutex::new(()));
        for name in self.containers.clone() {
            let (dir, turn) = (self.dir.clone(), turn.clone());
            std::thread::spawn(move || {
                if let Err(error) = connect(&dir, &name, &turn) {
                    eprintln!("prow run: the shell's connection broke: {error}");
                }
            });
        }
    }
}

fn connect(dir: &Path, name: &str, turn: &Mutex<()>) -> std::io::Result<()> {
    // Opening a pipe waits for the other side, which opens it when the job has failed.
    let mut to = OpenOptions::new().write(true).open(dir.join(format!("{name}.in")))?;
    let mut from = File::open(dir.join(format!("{name}.out")))?;
    let _turn = turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    eprintln!(
        "prow run: the job failed; this is a shell where it ran, in its working directory. `exit` or Ctrl-D ends it."
    );
    // Not joined: it may wait for a key that never comes, after the shell has gone.
    std::thread::spawn(move || {
        let mut keys = std::io::stdin();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = keys.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    });
    let mut buffer = [0; 4096];
    let mut screen = std::io::stderr();
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => screen.write_all(&buffer[..count])?,
        }
    }
}
