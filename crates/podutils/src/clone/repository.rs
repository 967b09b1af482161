//! Carries out the plan of one clone and records every command.

use super::auth::Access;
use super::credentials::Credentials;
use super::plan::{Common, Plan, Step, plan};
use crate::Host;
use prow_api::Refs;
use prow_api::options::CloneRefsOptions;
use prow_api::results::{CloneCommand, CloneRecord};
use prow_git::Git;
use std::time::{Duration, Instant};

/// Pauses between the attempts of a fetch, in milliseconds (prow-runtime §8.1).
const PAUSES: [u64; 9] = [100, 200, 400, 800, 2_000, 5_000, 10_000, 15_000, 30_000];
/// Output kept of one command.
const OUTPUT: usize = 1 << 20;

/// Collects commands into a record.
pub(crate) struct Recorder {
    begun: Instant,
    commands: Vec<CloneCommand>,
    final_sha: String,
}

fn nanos(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_nanos()).unwrap_or(i64::MAX)
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Recorder { begun: Instant::now(), commands: Vec::new(), final_sha: String::new() }
    }

    /// Duration and final commit stay unset on failure, as upstream has it.
    pub(crate) fn record(self, refs: Refs, failed: bool) -> CloneRecord {
        let duration = if failed { 0 } else { nanos(self.begun) };
        CloneRecord { refs, commands: self.commands, failed, final_sha: self.final_sha, duration }
    }

    /// Does something that gives a value and an output, and records it.
    pub(crate) async fn step<T>(
        &mut self,
        shown: &str,
        work: impl Future<Output = Result<(T, String), String>>,
    ) -> Result<T, ()> {
        let begun = Instant::now();
        let (result, output, error) = match work.await {
            Ok((value, output)) => (Ok(value), output, String::new()),
            Err(error) => (Err(()), String::new(), error),
        };
        self.commands.push(CloneCommand { command: shown.to_owned(), output, error, duration: nanos(begun) });
        result
    }

    /// Does something that is recorded only when it fails.
    pub(crate) async fn silent_step<T>(
        &mut self,
        shown: &str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, ()> {
        work.await.map_err(|error| self.failed(shown, &error))
    }

    pub(crate) fn failed(&mut self, shown: &str, error: &str) {
        self.commands.push(CloneCommand {
            command: shown.to_owned(),
            error: error.to_owned(),
            ..CloneCommand::default()
        });
    }
}

/// Clones one repository.
pub(crate) async fn clone(
    refs: &Refs,
    options: &CloneRefsOptions,
    access: &Access,
    host: &Host,
) -> CloneRecord {
    let mut recorder = Recorder::new();
    let common = Common {
        src_root: &options.src_root,
        user_name: &options.git_user_name,
        user_email: &options.git_user_email,
        cookie_path: &options.cookie_path,
    };
    let attempt = async {
        let plan = recorder.silent_step("check the refs", async { plan(refs, &common) }).await?;
        let token = access.tokens.for_repository(refs, &plan.uri, host);
        let token = recorder.silent_step("get a token from GitHub", token).await?;
        Cloning::new(&plan, access, token.as_deref(), host, &mut recorder).run(&plan).await
    };
    let done: Result<(), ()> = attempt.await;
    if done.is_err() {
        tracing::warn!(repo = refs.org_repo(), "cloning failed");
    }
    recorder.record(refs.clone(), done.is_err())
}

struct Cloning<'a> {
    /// With the Pod's own environment and configuration.
    git: Git,
    /// With a fixed environment, for commits that must not depend on the machine.
    fixed: Git,
    access: &'a Access,
    token: Option<&'a Credentials>,
    host: &'a Host,
    recorder: &'a mut Recorder,
}

impl<'a> Cloning<'a> {
    fn new(
        plan: &Plan,
        access: &'a Access,
        token: Option<&'a Credentials>,
        host: &'a Host,
        recorder: &'a mut Recorder,
    ) -> Self {
        let base = Git::new(&plan.dir).with_timeout(None).with_output_limit(OUTPUT);
        let secrets = token.map(|token| token.env(&plan.uri)).unwrap_or_default();
        let with_env = |mut git: Git| {
            for (key, value) in access.ssh_env.iter().chain(&secrets) {
                git = git.with_env(key, value);
            }
            git
        };
        // Merge commits must come out the same everywhere (trap 29), so a job and tide's own merge test the same
        // commit. Upstream gets there by REPLACING the environment of a merge by its dates: then no GIT_* variable
        // and no user configuration of the image reaches it. So do we, but for PATH and HOME (and proxies,
        // certificates, SSH): without PATH git does not find its own helpers on every image, and in a partial
        // clone a merge fetches blobs, which needs all of these. None of them reaches the commit. The time zone
        // does, so it is fixed too.
        let mut fixed = with_env(base.clone())
            .with_env("TZ", "UTC")
            .with_env("GIT_CONFIG_NOSYSTEM", "0")
            .with_env("GIT_MERGE_AUTOEDIT", "no")
            .with_config("commit.gpgSign", "false")
            .with_config("merge.log", "false");
        if !access.cookie_path.is_empty() {
            fixed = fixed.with_config("http.cookieFile", &access.cookie_path);
        }
        Cloning { git: with_env(base.inheriting()), fixed, access, token, host, recorder }
    }

    async fn run(&mut self, plan: &Plan) -> Result<(), ()> {
        let dir = plan.dir.clone();
        let shown = self.shown("/", &[], &format!("mkdir -p {}", dir.display()));
        self.recorder
            .step(&shown, async {
                tokio::fs::create_dir_all(&dir).await.map(|()| ((), String::new())).map_err(|e| e.to_string())
            })
            .await?;
        for step in &plan.base {
            self.step(step, &[]).await?;
        }
        let mut time = self.head_time().await;
        for merge in &plan.merges {
            self.step(&merge.fetch, &[]).await?;
            time += 1;
            let date = time.to_string();
            let dates = [("GIT_AUTHOR_DATE", date.as_str()), ("GIT_COMMITTER_DATE", date.as_str())];
            self.step(&merge.merge, &dates).await?;
        }
        for step in &plan.after {
            self.step(step, &[]).await?;
        }
        match self.git.text(["rev-parse", "HEAD"]).await {
            Ok(sha) => self.recorder.final_sha = sha,
            Err(error) => {
                let error = self.censored(&error.to_string());
                self.recorder.failed("git rev-parse HEAD", &error);
                return Err(());
            }
        }
        Ok(())
    }

    fn censored(&self, text: &str) -> String {
        self.token.map_or_else(|| text.to_owned(), |token| token.censored(text))
    }

    /// A command as it is recorded: two blanks where there is no environment, as upstream writes it.
    fn shown(&self, dir: &str, more: &[(&str, &str)], command: &str) -> String {
        let env =
            self.access.ssh_env.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(more.iter().copied());
        let env: Vec<_> = env.map(|(key, value)| format!("{key}={value}")).collect();
        format!("PWD={dir} {} {command}", env.join(" "))
    }

    /// Commit time of the base, in seconds.
    async fn head_time(&self) -> i64 {
        let shown = self.git.text(["show", "-s", "--format=format:%ct", "HEAD"]).await;
        match shown.map(|text| text.trim().parse()) {
            Ok(Ok(time)) => time,
            _ => {
                tracing::warn!("the base commit has no readable time; merge commits get today's");
                self.host.now()
            }
        }
    }

    /// One command, with dates if it commits; fetches are tried again. All attempts are one record.
    async fn step(&mut self, step: &Step, dates: &[(&str, &str)]) -> Result<(), ()> {
        let git = if dates.is_empty() { &self.git } else { &self.fixed };
        let shown =
            self.shown(&git.dir().display().to_string(), dates, &format!("git {}", step.args.join(" ")));
        let mut pauses = if step.fetches { PAUSES.iter() } else { [].iter() };
        let begun = Instant::now();
        let (output, error) = loop {
            let mut command = git.command(&step.args).merged();
            for (key, value) in dates {
                command = command.env(key, value);
            }
            let (output, error) = match command.status().await {
                Ok(done) if done.exit.success() => break (done.stdout.to_text(), String::new()),
                Ok(done) => (done.stdout.to_text(), done.exit.to_string()),
                Err(error) => (String::new(), error.to_string()),
            };
            // Whatever the reason: a ref that is not there yet may be there in a moment.
            match pauses.next() {
                Some(pause) => self.host.sleep(Duration::from_millis(*pause)).await,
                None => break (output, error),
            }
        };
        let failed = !error.is_empty();
        let command = CloneCommand {
            command: self.censored(&shown),
            output: self.censored(&output),
            error: self.censored(&error),
            duration: nanos(begun),
        };
        self.recorder.commands.push(command);
        if failed { Err(()) } else { Ok(()) }
    }
}
