//! The story, step by step. Every step is found out from facts on the forge, in the API server and in storage, so
//! that a demo which was killed goes on where it was: what has happened is not done again.

use super::contributor::Person;
use super::repo::{self, BOT, BRANCH, CONTRIBUTOR, LINT, ORG, PACKAGE, REPO, UNIT};
use super::telling::Telling;
use crate::world::World;
use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use prow_api::prowjob::{JobType, ProwJob, State};
use prow_forge::Forge;
use prow_github::Client;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A step that is not seen within this long is missing.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything the story plays with.
pub struct Story<'a> {
    pub forge: &'a Forge,
    pub world: &'a World,
    pub contributor: Person,
    pub maintainer: Client,
    /// The results bucket.
    pub results: PathBuf,
    pub telling: &'a Telling,
}

impl Story<'_> {
    /// Plays it; true if every step was seen to happen. After a step that was not, the story ends, since the next
    /// builds on it.
    pub async fn play(&self) -> bool {
        self.tell("branch pushed", self.branch_pushed()).await
            && self.tell("pull request opened", self.pull_request_opened()).await
            && self.tell("webhook accepted", self.webhook_accepted()).await
            && self.tell("presubmits triggered", self.presubmits_triggered()).await
            && self.tell("Pods made", self.pods_made()).await
            && self.tell("one passes, one fails", self.first_results()).await
            && self.tell("results stored", self.results_stored()).await
            && self.tell("reported to the forge", self.reported()).await
            && self.tell("shown in Deck", self.shown_in_deck()).await
            && self.tell("fix pushed, /retest", self.fix_pushed()).await
            && self.tell("green", self.green()).await
            && self.tell("merged, postsubmit run", self.postsubmit()).await
            && self.tell("periodic run", self.periodic()).await
    }

    async fn tell(&self, step: &'static str, work: impl Future<Output = anyhow::Result<String>>) -> bool {
        let seen = match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(what)) => Ok(what),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("not seen within {} s. {}", PATIENCE.as_secs(), self.state_of_affairs())),
        };
        let happened = seen.is_ok();
        self.telling.step(step, seen);
        happened
    }

    async fn branch_pushed(&self) -> anyhow::Result<String> {
        if let Some(sha) = self.forge.branch(ORG, REPO, BRANCH) {
            return Ok(format!("{BRANCH} was pushed before, at {}", short(&sha)));
        }
        let sha = self.contributor.push(&repo::MISTAKE, "Greet more warmly").await?;
        Ok(format!("{CONTRIBUTOR} pushes {BRANCH} ({}) with git over HTTP", short(&sha)))
    }

    async fn pull_request_opened(&self) -> anyhow::Result<String> {
        let number = match self.number().await? {
            Some(number) => number,
            None => {
                let new = prow_github::NewPullRequest {
                    title: "Greet more warmly".into(),
                    body: "A greeting should say that it is good to see somebody.".into(),
                    head: BRANCH.into(),
                    base: "main".into(),
                    ..Default::default()
                };
                self.contributor.github.create_pull_request(ORG, REPO, &new).await?.number
            }
        };
        Ok(format!("{}/{ORG}/{REPO}/pull/{number}", self.forge.base_url()))
    }

    async fn webhook_accepted(&self) -> anyhow::Result<String> {
        let delivery = self
            .forge
            .wait_for(|forge| {
                forge.deliveries().into_iter().find(|d| {
                    d.event == "pull_request" && d.action.as_deref() == Some("opened") && d.status.is_some()
                })
            })
            .await;
        ensure!(
            delivery.status == Some(200),
            "hook answered {:?} to delivery {}",
            delivery.status,
            delivery.guid
        );
        Ok(format!("hook verified the signature, journalled delivery {} and answered 200", delivery.guid))
    }

    async fn presubmits_triggered(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.remove(0);
        for name in [UNIT, LINT] {
            self.world.jobs.wait_for(|_| self.run_at(name, &head)).await;
        }
        Ok(format!("trigger made ProwJobs for {UNIT} and {LINT} at {}", short(&head)))
    }

    async fn pods_made(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.remove(0);
        let pods: Api<Pod> = Api::namespaced(self.world.client.clone(), "test-pods");
        let mut names = Vec::new();
        for name in [UNIT, LINT] {
            let job = self
                .world
                .jobs
                .wait_for(|_| self.run_at(name, &head).filter(|j| !j.status.build_id.is_empty()))
                .await;
            // A Pod that sinker has cleaned up since was seen by what it left: its build id.
            if let Some(pod) = pods.get_opt(job.name()).await? {
                let spec = pod.spec.context("the Pod has no spec")?;
                let init: Vec<String> =
                    spec.init_containers.unwrap_or_default().into_iter().map(|c| c.name).collect();
                ensure!(
                    init == ["clonerefs", "initupload", "place-entrypoint"],
                    "init containers are {init:?}"
                );
                ensure!(spec.containers.iter().any(|c| c.name == "sidecar"), "there is no sidecar");
            }
            names.push(format!("{name} build {}", job.status.build_id));
        }
        Ok(format!("{}: clonerefs, initupload, place-entrypoint, the test, sidecar", names.join(", ")))
    }

    async fn first_results(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.remove(0);
        let mut told = Vec::new();
        for (name, wanted) in [(LINT, State::Success), (UNIT, State::Failure)] {
            let job = self.completed(name, &head).await;
            ensure!(
                job.status.state == wanted,
                "{name} ended as {} ({}); {wanted} was expected. Its log: {}",
                job.status.state,
                job.status.description,
                job.status.url
            );
            told.push(format!("{name} {}", job.status.state));
        }
        Ok(told.join(", "))
    }

    async fn results_stored(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.remove(0);
        let job = self.completed(UNIT, &head).await;
        let number = self.number().await?.context("the pull request is gone")?;
        let dir = format!("pr-logs/pull/{ORG}_{REPO}/{number}/{UNIT}/{}", job.status.build_id);
        for file in [
            "started.json",
            "finished.json",
            "build-log.txt",
            "clone-log.txt",
            "clone-records.json",
            "artifacts/junit_greet.xml",
        ] {
            ensure!(self.results.join(&dir).join(file).is_file(), "{dir}/{file} is not in the bucket");
        }
        for pointer in [
            format!("pr-logs/directory/{UNIT}/latest-build.txt"),
            format!("pr-logs/directory/{UNIT}/{}.txt", job.status.build_id),
            format!("pr-logs/pull/{ORG}_{REPO}/{number}/{UNIT}/latest-build.txt"),
        ] {
            ensure!(self.results.join(&pointer).is_file(), "{pointer} is not in the bucket");
        }
        let finished: serde_json::Value =
            serde_json::from_slice(&std::fs::read(self.results.join(&dir).join("finished.json"))?)?;
        ensure!(
            finished["passed"] == false && finished["result"] == "FAILURE",
            "finished.json says {finished}"
        );
        let log = std::fs::read_to_string(self.results.join(&dir).join("build-log.txt"))?;
        ensure!(
            log.contains("the greeting is wrong"),
            "the build log does not hold the test's output: {log}"
        );
        Ok(format!("{}/{dir}", self.results.display()))
    }

    async fn reported(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.remove(0);
        self.statuses(&head, &[(LINT, "success"), (UNIT, "failure")]).await;
        let number = self.number().await?.context("the pull request is gone")?;
        if self.heads().await?.len() == 1 {
            self.forge
                .wait_for(|forge| {
                    forge.comments(ORG, REPO, number).into_iter().find(|c| {
                        c.author == BOT && c.body.contains("<!-- test report -->") && c.body.contains(UNIT)
                    })
                })
                .await;
        }
        Ok(format!("statuses {LINT} success, {UNIT} failure, and a comment with the table of failures"))
    }

    async fn shown_in_deck(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.remove(0);
        let job = self.completed(UNIT, &head).await;
        let list = get(&self.world.deck_url).await?;
        ensure!(list.contains(UNIT) && list.contains(LINT), "Deck's list does not name the jobs");
        let page = get(&job.status.url).await?;
        ensure!(
            page.contains("the greeting is wrong"),
            "the job's page does not show the log: {}",
            job.status.url
        );
        Ok(job.status.url.clone())
    }

    async fn fix_pushed(&self) -> anyhow::Result<String> {
        let number = self.number().await?.context("the pull request is gone")?;
        let heads = self.heads().await?;
        let head = match heads.get(1) {
            Some(head) => head.clone(),
            None => self.contributor.push(&repo::FIX, "Spell hello as everybody does").await?,
        };
        let asked = |forge: &Forge| {
            forge
                .comments(ORG, REPO, number)
                .iter()
                .any(|c| c.author == CONTRIBUTOR && c.body.trim() == "/retest")
        };
        if !asked(self.forge) {
            self.contributor.github.create_comment(ORG, REPO, number, "/retest").await?;
        }
        let delivery = self
            .forge
            .wait_for(|forge| {
                forge.deliveries().into_iter().find(|d| {
                    d.event == "issue_comment" && d.payload.contains("/retest") && d.status.is_some()
                })
            })
            .await;
        ensure!(delivery.status == Some(200), "hook answered {:?} to the comment", delivery.status);
        Ok(format!("{CONTRIBUTOR} pushes {} and comments /retest", short(&head)))
    }

    async fn green(&self) -> anyhow::Result<String> {
        let head = self.heads().await?.pop().context("the pull request has no commits")?;
        self.statuses(&head, &[(LINT, "success"), (UNIT, "success")]).await;
        let job = self.completed(UNIT, &head).await;
        Ok(format!("all statuses at {} are success: {}", short(&head), job.status.url))
    }

    async fn postsubmit(&self) -> anyhow::Result<String> {
        let number = self.number().await?.context("the pull request is gone")?;
        let pull = self.maintainer.get_pull_request(ORG, REPO, number).await?;
        if !pull.merged {
            let head = self.heads().await?.pop().context("the pull request has no commits")?;
            self.maintainer.merge(ORG, REPO, number, &head, prow_github::MergeMethod::Merge).await?;
        }
        let main = self.maintainer.get_ref(ORG, REPO, "heads/main").await?;
        let job = self
            .world
            .jobs
            .wait_for(|jobs| {
                jobs.all().into_iter().find(|j| {
                    j.spec.job == PACKAGE
                        && j.spec.job_type == JobType::Postsubmit
                        && j.complete()
                        && j.spec.refs.as_ref().is_some_and(|r| r.base_sha == main)
                })
            })
            .await;
        self.passed(&job, "artifacts/greeter.tar", &format!("logs/{PACKAGE}"))?;
        Ok(format!(
            "{} merges #{number}; {PACKAGE} ran on main at {}: {}",
            repo::MAINTAINER,
            short(&main),
            job.status.url
        ))
    }

    async fn periodic(&self) -> anyhow::Result<String> {
        let job = self
            .world
            .jobs
            .wait_for(|jobs| jobs.all().into_iter().find(|j| j.spec.job == repo::AUDIT && j.complete()))
            .await;
        self.passed(&job, "build-log.txt", &format!("logs/{}", repo::AUDIT))?;
        Ok(format!("{} ran meanwhile: {}", repo::AUDIT, job.status.url))
    }

    fn passed(&self, job: &ProwJob, object: &str, dir: &str) -> anyhow::Result<()> {
        let status = &job.status;
        if status.state != State::Success {
            bail!(
                "{} ended as {} ({}). Its log: {}",
                job.spec.job,
                status.state,
                status.description,
                status.url
            );
        }
        let path = self.results.join(dir).join(&status.build_id).join(object);
        ensure!(path.is_file(), "{} is not in the bucket", path.display());
        Ok(())
    }

    async fn number(&self) -> anyhow::Result<Option<i64>> {
        Ok(self
            .forge
            .pull_requests(ORG, REPO)
            .into_iter()
            .find(|p| p.pull.as_ref().is_some_and(|pull| pull.head == BRANCH))
            .map(|p| p.number))
    }

    /// The pull request's commits, oldest first: the mistake, then the fix.
    async fn heads(&self) -> anyhow::Result<Vec<String>> {
        let number = self.number().await?.context("there is no pull request")?;
        let commits = self.contributor.github.list_pull_request_commits(ORG, REPO, number).await?;
        ensure!(!commits.is_empty(), "the pull request has no commits");
        Ok(commits.into_iter().map(|c| c.sha).collect())
    }

    /// The newest run of a presubmit at a head that was not superseded.
    fn run_at(&self, job: &str, head: &str) -> Option<Arc<ProwJob>> {
        let mut runs: Vec<Arc<ProwJob>> = self
            .world
            .jobs
            .all()
            .into_iter()
            .filter(|j| j.spec.job == job && j.status.state != State::Aborted)
            .filter(|j| j.spec.refs.as_ref().and_then(|r| r.pulls.first()).is_some_and(|p| p.sha == head))
            .collect();
        runs.sort_by_key(|j| j.status.start_time.clone());
        runs.pop()
    }

    async fn completed(&self, job: &str, head: &str) -> Arc<ProwJob> {
        self.world.jobs.wait_for(|_| self.run_at(job, head).filter(|j| j.complete())).await
    }

    async fn statuses(&self, sha: &str, wanted: &[(&str, &str)]) {
        self.forge
            .wait_for(|forge| {
                let statuses = forge.statuses(ORG, REPO, sha);
                wanted
                    .iter()
                    .all(|(context, state)| statuses.get(*context).is_some_and(|s| s.state == *state))
                    .then_some(())
            })
            .await;
    }

    /// What there is, for the message of a step that was not seen.
    fn state_of_affairs(&self) -> String {
        let mut jobs: Vec<String> = self
            .world
            .jobs
            .all()
            .iter()
            .map(|j| format!("{} {} ({})", j.spec.job, j.status.state, j.status.description))
            .collect();
        jobs.sort();
        format!("ProwJobs: {}", if jobs.is_empty() { "none".to_owned() } else { jobs.join("; ") })
    }
}

fn short(sha: &str) -> &str {
    sha.get(..8).unwrap_or(sha)
}

async fn get(url: &str) -> anyhow::Result<String> {
    let answer = reqwest::get(url).await.with_context(|| format!("cannot reach {url}"))?;
    let status = answer.status();
    let text = answer.text().await.with_context(|| format!("{url} broke off"))?;
    ensure!(status.is_success(), "{url} answered {status}");
    Ok(text)
}
