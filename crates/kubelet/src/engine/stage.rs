//! The stages of a Pod's supervisor that are not processes but containers: each is a client of the engine that lives as
//! long as its container, passes signals in and output out, and removes it.

use super::http::{Client, EngineError, output};
use super::memory::{self, OomCount};
use super::spec::{self, Bind};
use super::tmpfs;
use crate::error::Error;
use crate::plan::{ContainerPlan, EnginePlan, PodPlan};
use crate::poddir::{PodDir, private_dir};
use crate::sandbox::die_with_parent;
use crate::sandbox::message::{Channel, Message};
use crate::sandbox::process::KILL_ALL;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, mkdirat};
use serde_json::Value;
use std::cell::Cell;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

/// How long output is still read after its container has ended: an engine on a busy machine may have some of it yet.
const DRAIN: Duration = Duration::from_secs(30);
/// How long an engine may be away before its containers are given up: it may be starting again.
const ENGINE_PATIENCE: u32 = 120;
const PAUSE: Duration = Duration::from_millis(500);

/// The signal after which nothing is left to ask for.
const KILL: &str = "KILL";

fn engine(e: EngineError) -> Error {
    Error::Other(e.to_string())
}

fn broken(e: io::Error) -> Error {
    Error::Other(format!("cannot talk to the supervisor: {e}"))
}

/// Signals that a container is sent, by the engine's names; the last means: kill it now.
struct Signals([(Signal, &'static str); 5]);

impl Signals {
    /// From now on they are heard, those that came before included.
    fn listen() -> Result<Signals, Error> {
        let on = |kind, name| {
            let heard = signal(kind).map_err(|e| Error::Other(format!("cannot listen for signals: {e}")))?;
            Ok::<_, Error>((heard, name))
        };
        let signals = Signals([
            on(SignalKind::terminate(), "TERM")?,
            on(SignalKind::interrupt(), "INT")?,
            on(SignalKind::hangup(), "HUP")?,
            on(SignalKind::quit(), "QUIT")?,
            on(SignalKind::user_defined1(), KILL)?,
        ]);
        // The supervisor's mask, which we have inherited, blocks them.
        SigSet::all().thread_unblock().map_err(|e| Error::system("unblock signals", e))?;
        Ok(signals)
    }

    async fn next(&mut self) -> &'static str {
        let [a, b, c, d, e] = &mut self.0;
        tokio::select! {
            _ = a.0.recv() => a.1,
            _ = b.0.recv() => b.1,
            _ = c.0.recv() => c.1,
            _ = d.0.recv() => d.1,
            _ = e.0.recv() => e.1,
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Error::Other(format!("cannot start: {e}")))?.block_on(work)
}

fn plans(dir: &str) -> Result<(PodDir, PodPlan, EnginePlan), Error> {
    let dir = PodDir::new(dir);
    let pod = PodPlan::read(&dir.plan())?;
    let plan = pod.engine.clone();
    let plan = plan.ok_or_else(|| Error::Other("the Pod's plan names no container engine".to_owned()))?;
    Ok((dir, pod, plan))
}

/// Keeps the Pod's network and its volumes in memory: a container that only waits, until we are told to end.
pub fn network(up: &mut Channel, dir: &str, parent: &str) -> Result<(), Error> {
    die_with_parent(parent, KILL_ALL)?;
    block_on(async {
        let mut signals = Signals::listen()?;
        let (_, pod, plan) = plans(dir)?;
        let client = Client::new(&plan.socket, &plan.api);
        let made = tmpfs::make(&client, &pod, &plan).await;
        let id = match made {
            Ok(()) => client.create(&spec::network_name(&pod.uid), &spec::network(&pod, &plan)).await,
            Err(e) => Err(e),
        };
        let id = match id {
            Ok(id) => id,
            Err(e) => {
                tmpfs::remove(&client, &pod).await.map_err(engine)?;
                return Err(engine(e));
            }
        };
        let started = client.start(&id).await.map_err(engine);
        // A supervisor that died meanwhile is no reason to leave the container.
        let started = started.and_then(|()| up.send(&Message::Ready).map_err(broken));
        if started.is_ok() {
            signals.next().await;
        }
        client.remove(&id).await.map_err(engine)?;
        tmpfs::remove(&client, &pod).await.map_err(engine)?;
        started
    })
}

/// Runs one container and reports on `up`.
pub fn container(up: &mut Channel, dir: &str, parent: &str, name: &str) -> Result<(), Error> {
    die_with_parent(parent, KILL_ALL)?;
    block_on(async {
        let signals = Signals::listen()?;
        let (dir, pod, plan) = plans(dir)?;
        let container = pod
            .container(name)
            .ok_or_else(|| Error::Other(format!("the Pod's plan has no container {name}")))?;
        let client = Client::new(&plan.socket, &plan.api);
        let binds = binds(&client, &dir, &pod, container).await?;
        let spec = spec::create(&pod, &plan, container, binds);
        let id = create(&client, &spec::name(&pod.uid, name), &spec).await.map_err(engine)?;
        let run = match up.send(&Message::Created(format!("{}://{id}", plan.scheme))) {
            Ok(()) => {
                let tty = container.engine.as_ref().is_some_and(|e| e.tty);
                run(up, &client, &id, signals, tty).await
            }
            // The supervisor died while the container was being made: nobody wants it any more.
            Err(e) => Err(broken(e)),
        };
        let removed = client.remove(&id).await;
        end(up, run, removed)
    })
}

/// Creates a container. One of that name is what is left of the time before, should the engine have failed to remove it:
/// the supervisor runs each container once at a time.
async fn create(client: &Client, name: &str, spec: &Value) -> Result<String, EngineError> {
    match client.create(name, spec).await {
        Err(e) if e.is_name_taken() => {
            client.remove(name).await?;
            client.create(name, spec).await
        }
        other => other,
    }
}

/// Tells how a container ended. That its engine could not remove it changes nothing of that: it is removed with its Pod.
fn end(up: &mut Channel, run: Result<Message, Error>, removed: Result<(), EngineError>) -> Result<(), Error> {
    if let Err(e) = removed {
        let notice = format!("a container that has ended is still there: {e}");
        up.send(&Message::Notice(notice)).map_err(broken)?;
    }
    up.send(&run?).map_err(broken)
}

/// From a created container to how it ended.
async fn run(
    up: &mut Channel,
    client: &Client,
    id: &str,
    mut signals: Signals,
    tty: bool,
) -> Result<Message, Error> {
    let frames = client.attach(id).await.map_err(engine)?;
    client.start(id).await.map_err(engine)?;
    up.send(&Message::Started).map_err(broken)?;
    let (mut out, mut err) = (own(io::stdout())?, own(io::stderr())?);
    let write = |is_err, bytes: &[u8]| if is_err { err.write_all(bytes) } else { out.write_all(bytes) };
    let copy = output(frames, tty, write);
    let mut copy = std::pin::pin!(copy);
    let away = Cell::new(false);
    let mut wait = std::pin::pin!(ended(client, id, &away));
    let pid = client.inspect(id).await.map_or(0, |i| i.state.pid);
    let mut oom = (pid > 0).then(|| OomCount::of_process(pid, id)).flatten();
    let mut short_of_memory = false;
    let mut copied = false;
    let mut unsent = None;
    let code = loop {
        tokio::select! {
            code = &mut wait => {
                short_of_memory |= oom.as_mut().is_some_and(OomCount::any);
                break code?;
            }
            done = &mut copy, if !copied => {
                copied = true;
                // Usually its end, and the group is still there.
                short_of_memory |= oom.as_mut().is_some_and(OomCount::any);
                if let Err(e) = done {
                    up.send(&Message::Notice(format!("a container's log is incomplete: {e}"))).map_err(broken)?;
                }
            }
            name = signals.next() => {
                // Who has been told to die now is not asked to end after that.
                let name = if unsent == Some(KILL) { KILL } else { name };
                unsent = pass_on(client, id, name).await;
            }
            () = sleep(PAUSE), if unsent.is_some() => {
                if let Some(name) = unsent {
                    unsent = pass_on(client, id, name).await;
                }
            }
        }
    };
    if away.get() {
        let notice = "the container engine was away while a container ran: its log may be incomplete";
        up.send(&Message::Notice(notice.to_owned())).map_err(broken)?;
    }
    if !copied && timeout(DRAIN, copy).await.is_err() {
        up.send(&Message::Notice("a container's output was not closed in time".to_owned()))
            .map_err(broken)?;
    }
    let state = client.inspect(id).await.map_err(engine)?.state;
    Ok(if code != 0 && (state.oom_killed || short_of_memory || memory::logged(id)) {
        Message::OutOfMemory(code)
    } else {
        Message::Exited(code)
    })
}

/// Signals the container. Gives the signal back if the engine is away: a container must not miss it, nor be given up.
async fn pass_on(client: &Client, id: &str, name: &'static str) -> Option<&'static str> {
    match client.kill(id, name).await {
        Ok(()) => None,
        Err(e) => {
            tracing::debug!("cannot send {name} to a container, trying again: {e}");
            Some(name)
        }
    }
}

/// Waits for its end, over an engine that goes away and comes back; notes in `away` that it did.
async fn ended(client: &Client, id: &str, away: &Cell<bool>) -> Result<i32, Error> {
    let mut tries = 0;
    loop {
        let error = match client.wait(id).await {
            Ok(code) => return Ok(code),
            Err(e) => e,
        };
        tries += 1;
        away.set(true);
        if error.is_absent() || tries > ENGINE_PATIENCE {
            return Err(engine(error));
        }
        sleep(PAUSE).await;
    }
}

/// A standard stream without the standard library's buffer.
fn own(stream: impl AsFd) -> Result<File, Error> {
    let stream = stream.as_fd().try_clone_to_owned();
    stream.map(File::from).map_err(|e| Error::Other(format!("cannot use our own output: {e}")))
}

/// The container's volumes and its termination log.
async fn binds(
    client: &Client,
    dir: &PodDir,
    pod: &PodPlan,
    container: &ContainerPlan,
) -> Result<Vec<Bind>, Error> {
    let mut binds = Vec::new();
    for mount in &container.mounts {
        let memory = pod.memory.iter().find(|m| m.path == mount.source);
        let source = match (&mount.sub_path, memory) {
            (None, None) => mount.source.clone(),
            (None, Some(memory)) => tmpfs::name(&pod.uid, &memory.volume).into(),
            (Some(sub), memory) => {
                let volume = match memory {
                    None => mount.source.clone(),
                    Some(memory) => {
                        tmpfs::place(client, &tmpfs::name(&pod.uid, &memory.volume)).await.map_err(engine)?
                    }
                };
                let file = inside(&volume, Path::new(sub)).map_err(|e| {
                    Error::Other(format!("cannot use subPath {sub:?} of {}: {e}", mount.path))
                })?;
                // As it is without links. Nobody can put one in its place meanwhile: the plan grants a subPath only
                // where no other container can write then.
                std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
                    .map_err(|e| Error::io("find the subPath in", &volume, e))?
            }
        };
        binds.push(Bind { source, target: mount.path.clone(), read_only: mount.read_only });
    }
    if !container.utility {
        private_dir(&dir.container(&container.name))?;
        let path = dir.termination_log(&container.name);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|f| f.set_permissions(Permissions::from_mode(0o666)))
            .map_err(|e| Error::io("create", &path, e))?;
        binds.push(Bind { source: path, target: container.termination_path.clone(), read_only: false });
    }
    Ok(binds)
}

/// Opens what is below `root`, never leaving it, as a directory if it is not there yet.
fn inside(root: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let flags = |more| OFlag::O_PATH | OFlag::O_CLOEXEC | more;
    let how = |more| {
        OpenHow::new()
            .flags(flags(more))
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    let mut at = nix::fcntl::open(root, flags(OFlag::empty()), Mode::empty())?;
    match openat2(&at, sub, how(OFlag::empty())) {
        Err(nix::Error::ENOENT) => {}
        other => return Ok(other?),
    }
    for part in sub.components() {
        let Component::Normal(part) = part else { continue };
        match mkdirat(&at, part, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(e) => return Err(e.into()),
        }
        at = openat2(&at, part, how(OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW))?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_container_that_cannot_be_removed_has_ended_as_it_has() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut up, mut supervisor) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
        let refused = EngineError::Refused { what: "remove it".into(), status: 500, message: "busy".into() };
        end(&mut up, Ok(Message::Exited(0)), Err(refused)).unwrap();
        drop(up);
        let mut said = std::iter::from_fn(|| supervisor.receive().unwrap());
        assert!(matches!(said.next(), Some(Message::Notice(text)) if text.contains("busy")));
        assert_eq!((said.next(), said.next()), (Some(Message::Exited(0)), None));
    }

    /// A mock, since no engine fails on demand: these answers, one a request. Gives what was asked for.
    fn engine_that_answers(
        socket: &Path,
        answers: [&'static str; 3],
    ) -> std::thread::JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            let answer = |answer: &str| {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
                let asked = lines.next().unwrap();
                // The whole of the head, so that none of it is lost when we close.
                lines.find(String::is_empty);
                let (status, body) = answer.split_once('|').unwrap();
                let length = body.len();
                write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
                asked
            };
            answers.into_iter().map(answer).collect()
        })
    }

    #[tokio::test]
    async fn what_is_left_of_the_time_before_makes_room() {
        // As Docker 20.10 and Podman 4.3 say it.
        let docker = "409 Conflict|{\"message\":\"Conflict. The container name is already in use\"}";
        let podman =
            "500 Oh|{\"message\":\"container create: the name is taken: that name is already in use\"}";
        for taken in [docker, podman] {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("engine.sock");
            let engine =
                engine_that_answers(&socket, [taken, "204 No Content|", "201 Created|{\"Id\":\"new\"}"]);
            let made = create(&Client::new(&socket, ""), "side", &json!({})).await;
            assert_eq!(made.unwrap(), "new");
            let asked: Vec<String> = engine.join().unwrap();
            let words: Vec<&str> = asked.iter().filter_map(|line| line.split(' ').next()).collect();
            assert_eq!(words, ["POST", "DELETE", "POST"], "{asked:?}");
            assert!(asked[1].contains("/containers/side?force=true"), "{asked:?}");
        }
    }
}
