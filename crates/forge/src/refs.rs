//! What follows when a repository's refs move: `push` events, pull requests that get new commits, are merged or lose
//! their branch.
//!
//! Crash safety: git's refs are the truth. [`crate::records::KnownRef`] says up to where events were sent, and is
//! written in the same transaction as those events. Whatever lies between the two, after a push or after a crash, is
//! told by [`Forge::settle`], which therefore tells each move once.

use std::collections::BTreeSet;

use prow_git::Expect;
use serde_json::json;

use crate::forge::Tx;
use crate::payloads::Moved;
use crate::records::{Intent, Issue, KnownRef, Merged, Pull, Record, Repo, User};
use crate::repos::ZEROS;
use crate::{Error, Forge, Happening};

/// A ref that moved since its last event.
struct Move {
    name: String,
    before: String,
    after: String,
}

impl Forge {
    /// After a start: finishes what was under way when the process ended. The pushes of a crash are attributed to
    /// whoever was pushing then.
    pub(crate) async fn recover(&self, repo: &Repo) -> Result<(), Error> {
        let _lock = self.lock_repo(repo.id).await;
        let intent = self.read(|s| s.intents.get(&repo.id).cloned());
        let login = intent.as_ref().map_or(repo.owner.as_str(), |i| i.login.as_str());
        let pusher = self.user(login).unwrap_or_else(|_| ghost());
        // A merge whose commit reached the branch was done; one that did not is forgotten, its caller got no answer.
        let merging = match intent.and_then(|i| i.merging) {
            Some((number, sha)) => {
                let base = self
                    .read(|s| s.issues.get(&(repo.id, number)).and_then(|i| i.pull.clone()).map(|p| p.base));
                let tip = match base {
                    Some(base) => self.git(repo.id).rev_parse(&format!("refs/heads/{base}")).await?,
                    None => None,
                };
                tip.filter(|t| *t == sha).map(|_| (number, sha))
            }
            None => None,
        };
        self.settle(repo, &pusher, merging).await?;
        // A pull request's ref may have been lost between its record and git.
        let open: Vec<(i64, Pull)> = self.read(|s| {
            s.issues_of(repo.id)
                .filter(|i| i.open)
                .filter_map(|i| Some((i.number, i.pull.clone()?)))
                .collect()
        });
        for (number, pull) in open {
            let name = format!("refs/pull/{number}/head");
            if self.git(repo.id).rev_parse(&name).await?.as_deref() != Some(&pull.head_sha) {
                self.bring_head(pull.head_repo, repo.id, number, &pull.head_sha).await?;
            }
        }
        Ok(())
    }

    /// Notes who is about to move refs, so that a crash leaves a name behind.
    pub(crate) async fn intend(&self, intent: Intent) -> Result<(), Error> {
        let mut tx = self.begin().await;
        tx.put(Record::Intent(intent));
        tx.commit().await
    }

    /// Tells of every ref that moved since the last time. The caller holds the repository's lock. `merged` names a
    /// pull request whose merge commit is among the moves.
    pub(crate) async fn settle(
        &self,
        repo: &Repo,
        pusher: &User,
        merged: Option<(i64, String)>,
    ) -> Result<(), Error> {
        // A fork's push changes its parent's pull requests. Locks go from fork to parent only, so none wait in a ring.
        let _parent = match repo.parent {
            Some(parent) => Some(self.lock_repo(parent).await),
            None => None,
        };
        let moves = self.moves(repo).await?;
        let known: BTreeSet<String> = self.read(|s| s.refs_of(repo.id).into_values().collect());
        let known: Vec<String> = known.into_iter().collect();
        let mut staged = Staged::default();
        for m in &moves {
            self.stage_push(repo, pusher, m, &known, &mut staged).await?;
        }
        for m in &moves {
            let Some(branch) = m.name.strip_prefix("refs/heads/") else { continue };
            self.stage_heads(repo, pusher, branch, m, &mut staged).await?;
            self.stage_bases(repo, pusher, branch, m, merged.as_ref(), &mut staged).await?;
        }
        let mut tx = self.begin().await;
        for m in &moves {
            let known = KnownRef { repo: repo.id, name: m.name.clone(), sha: m.after.clone() };
            match m.after == ZEROS {
                true => tx.forget(Record::Ref(known)),
                false => tx.put(Record::Ref(known)),
            }
        }
        let done = Intent { repo: repo.id, login: String::new(), merging: None };
        if self.read(|s| s.intents.contains_key(&repo.id)) {
            tx.forget(Record::Intent(done));
        } else if moves.is_empty() {
            return Ok(());
        }
        staged.into_tx(self, &mut tx);
        tx.commit().await
    }

    /// Branches and tags that are not where their last event said.
    async fn moves(&self, repo: &Repo) -> Result<Vec<Move>, Error> {
        let git = self.git(repo.id);
        let mut known = self.read(|s| s.refs_of(repo.id));
        let mut moves = Vec::new();
        for prefix in ["refs/heads/", "refs/tags/"] {
            for entry in git.for_each_ref(prefix).await? {
                let before = known.remove(&entry.name);
                if before.as_ref() != Some(&entry.object) {
                    let before = before.unwrap_or_else(|| ZEROS.to_owned());
                    moves.push(Move { name: entry.name, before, after: entry.object });
                }
            }
        }
        moves.extend(known.into_iter().map(|(name, before)| Move { name, before, after: ZEROS.to_owned() }));
        Ok(moves)
    }

    async fn stage_push(
        &self,
        repo: &Repo,
        pusher: &User,
        m: &Move,
        known: &[String],
        staged: &mut Staged,
    ) -> Result<(), Error> {
        let git = self.git(repo.id);
        // A tag's own object is not a commit; its event names the commit's side where there is one.
        let tip = if m.after == ZEROS { None } else { git.rev_parse(&m.after).await? };
        let old = if m.before == ZEROS { None } else { git.rev_parse(&m.before).await? };
        let commits = match (&tip, &old) {
            (Some(tip), Some(old)) => self.commits_between(repo.id, std::slice::from_ref(old), tip).await?,
            // A new ref brings what no known ref had.
            (Some(tip), None) => self.commits_between(repo.id, known, tip).await?,
            (None, _) => Vec::new(),
        };
        let touched = self.touched(repo.id, &commits).await?;
        let forced = match (&tip, &old) {
            (Some(tip), Some(old)) => !git.is_ancestor(old, tip).await?,
            _ => false,
        };
        let head = match &tip {
            Some(tip) => self.commit(repo.id, tip).await?,
            None => None,
        };
        let head = match head {
            Some(commit) => {
                let touched = self.touched(repo.id, std::slice::from_ref(&commit)).await?;
                Some((commit, touched.into_iter().next().unwrap_or_default()))
            }
            None => None,
        };
        let moved = Moved {
            reference: &m.name,
            before: &m.before,
            after: &m.after,
            forced,
            commits: &commits,
            touched: &touched,
            head: head.as_ref(),
        };
        staged.webhooks.push((repo.clone(), "push", self.push_payload(repo, &moved, pusher)));
        staged.happenings.push(Happening::Push {
            org: repo.owner.clone(),
            repo: repo.name.clone(),
            reference: m.name.clone(),
            before: m.before.clone(),
            after: m.after.clone(),
        });
        Ok(())
    }

    /// Open pull requests whose head is the branch: new commits, or no branch any more.
    async fn stage_heads(
        &self,
        repo: &Repo,
        pusher: &User,
        branch: &str,
        m: &Move,
        staged: &mut Staged,
    ) -> Result<(), Error> {
        let with_head: Vec<Issue> = self.read(|s| {
            let from = |i: &&Issue| {
                i.open && i.pull.as_ref().is_some_and(|p| p.head_repo == repo.id && p.head == branch)
            };
            s.issues.values().filter(from).cloned().collect()
        });
        for issue in with_head {
            // Another ref of the same push may have changed it, or merged it.
            let mut issue = staged.issue(issue.id).unwrap_or(issue);
            let Some(mut pull) = issue.pull.clone().filter(|_| issue.open) else { continue };
            let Some(target) = self.read(|s| s.repos.get(&issue.repo).cloned()) else { continue };
            issue.updated_at = self.now();
            if m.after == ZEROS {
                issue.open = false;
                issue.closed_at = Some(self.now());
                self.stage_pull("closed", &target, issue, pull, pusher, json!({}), staged).await?;
            } else if pull.head_sha != m.after {
                let more = json!({"before": pull.head_sha, "after": m.after});
                pull.head_sha.clone_from(&m.after);
                if let Some(tip) = self.git(target.id).rev_parse(&format!("refs/heads/{}", pull.base)).await?
                {
                    pull.base_sha = tip;
                }
                // Before anybody is told: receivers fetch at once.
                self.bring_head(repo.id, target.id, issue.number, &m.after).await?;
                self.stage_pull("synchronize", &target, issue, pull, pusher, more, staged).await?;
            }
        }
        Ok(())
    }

    /// Open pull requests into the branch: merged if the branch has their head now, else on a new base.
    async fn stage_bases(
        &self,
        repo: &Repo,
        pusher: &User,
        branch: &str,
        m: &Move,
        merged: Option<&(i64, String)>,
        staged: &mut Staged,
    ) -> Result<(), Error> {
        if m.after == ZEROS {
            return Ok(());
        }
        let into: Vec<Issue> = self.read(|s| {
            let into = |i: &&Issue| i.open && i.pull.as_ref().is_some_and(|p| p.base == branch);
            s.issues_of(repo.id).filter(into).cloned().collect()
        });
        for mut issue in into {
            // This very settling may have given it a new head, or closed it.
            if let Some(newer) = staged.issue(issue.id) {
                issue = newer;
            }
            let Some(mut pull) = issue.pull.clone().filter(|_| issue.open) else { continue };
            let merge_sha = match merged {
                Some((number, sha)) if *number == issue.number => Some(sha.clone()),
                _ => self.git(repo.id).is_ancestor(&pull.head_sha, &m.after).await?.then(|| m.after.clone()),
            };
            match merge_sha {
                Some(sha) => {
                    issue.open = false;
                    issue.closed_at = Some(self.now());
                    issue.updated_at = self.now();
                    pull.merged = Some(Merged { sha, by: pusher.login.clone(), at: self.now() });
                    self.stage_pull("closed", repo, issue, pull, pusher, json!({}), staged).await?;
                }
                None => {
                    // GitHub sends nothing for this; mergeability is seen when somebody looks.
                    pull.base_sha.clone_from(&m.after);
                    issue.pull = Some(pull);
                    staged.issues.push(issue);
                }
            }
        }
        Ok(())
    }

    async fn stage_pull(
        &self,
        action: &str,
        repo: &Repo,
        mut issue: Issue,
        pull: Pull,
        sender: &User,
        more: serde_json::Value,
        staged: &mut Staged,
    ) -> Result<(), Error> {
        let facts = self.facts(repo.id, &pull).await?;
        let payload = self.pull_request_payload(action, repo, (&issue, &pull), &facts, sender, more);
        staged.webhooks.push((repo.clone(), "pull_request", payload));
        staged.happenings.push(Happening::PullRequest {
            org: repo.owner.clone(),
            repo: repo.name.clone(),
            number: issue.number,
            action: action.to_owned(),
        });
        issue.pull = Some(pull);
        staged.issues.push(issue);
        Ok(())
    }

    /// Points a branch somewhere for `who`, under the repository's lock, and tells of it.
    pub(crate) async fn move_branch(
        &self,
        repo: &Repo,
        who: &User,
        branch: &str,
        to: &str,
        expect: &Expect,
        merging: Option<i64>,
    ) -> Result<(), Error> {
        let merging = merging.map(|number| (number, to.to_owned()));
        self.intend(Intent { repo: repo.id, login: who.login.clone(), merging: merging.clone() }).await?;
        let moved = self.git(repo.id).update_ref(&format!("refs/heads/{branch}"), to, expect).await;
        // Settling also clears the intent of a move that git refused.
        let merging = if moved.is_ok() { merging } else { None };
        self.settle(repo, who, merging).await?;
        Ok(moved?)
    }
}

/// What settling will write and tell, all at once.
#[derive(Default)]
struct Staged {
    /// In order; a later one of the same id replaces an earlier.
    issues: Vec<Issue>,
    webhooks: Vec<(Repo, &'static str, serde_json::Value)>,
    happenings: Vec<Happening>,
}

impl Staged {
    /// The newest staged form of an issue.
    fn issue(&self, id: i64) -> Option<Issue> {
        self.issues.iter().rev().find(|i| i.id == id).cloned()
    }

    fn into_tx(self, forge: &Forge, tx: &mut Tx) {
        for staged in self.issues {
            // Comments, labels and drafts do not wait for git: what they did meanwhile stays.
            let now = forge.read(|s| s.issues.get(&(staged.repo, staged.number)).cloned());
            let mut issue = now.unwrap_or_else(|| staged.clone());
            let draft = issue.pull.as_ref().is_some_and(|p| p.draft);
            (issue.open, issue.closed_at, issue.updated_at) =
                (staged.open, staged.closed_at, staged.updated_at);
            issue.pull = staged.pull.map(|p| Pull { draft, ..p });
            tx.put(Record::Issue(issue));
        }
        for (repo, event, payload) in &self.webhooks {
            tx.webhook(repo, event, payload);
        }
        for happening in self.happenings {
            tx.tell(happening);
        }
    }
}

/// Who pushed, where nobody can say.
fn ghost() -> User {
    User {
        id: 0,
        login: "ghost".into(),
        kind: crate::AccountKind::User,
        site_admin: false,
        token_sha256: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ForgeOptions, SeedPull};
    use prow_api::Secret;

    async fn open(dir: &std::path::Path) -> Forge {
        Forge::open(dir, ForgeOptions::new("http://forge.invalid".parse().unwrap())).await.unwrap()
    }

    /// A forge with one pull request, and the squash commit that would merge it.
    async fn about_to_merge(dir: &std::path::Path) -> (Forge, Repo, i64, String) {
        let forge = open(dir).await;
        forge.create_user("alice", &Secret::new("t")).await.unwrap();
        let repo = forge.create_repo("alice", "rocket", &[("a", "1\n")]).await.unwrap();
        let seed =
            SeedPull { title: "T", author: "alice", files: &[("b", Some("2\n"))], ..SeedPull::default() };
        let issue = forge.seed_pull_request("alice", "rocket", seed).await.unwrap();
        let (alice, pull) = (forge.user("alice").unwrap(), issue.pull.unwrap());
        let commit = forge.merge_commit(&repo, &pull, &alice, true, "T").await.unwrap().unwrap();
        let merging = Some((issue.number, commit.clone()));
        forge.intend(Intent { repo: repo.id, login: "alice".into(), merging }).await.unwrap();
        (forge, repo, issue.number, commit)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_merge_that_reached_git_before_the_kill_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let (forge, repo, number, commit) = about_to_merge(dir.path()).await;
        forge.git(repo.id).update_ref("refs/heads/main", &commit, &Expect::Anything).await.unwrap();
        forge.shutdown().await;
        let again = open(dir.path()).await;
        let (issue, pull) = again.pull(&repo, number).unwrap();
        let merged = pull.merged.unwrap();
        assert!(!issue.open && merged.sha == commit && merged.by == "alice");
        assert!(again.read(|s| s.intents.is_empty()));
        assert_eq!(again.branch("alice", "rocket", "main"), Some(commit));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_merge_that_did_not_reach_git_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (forge, repo, number, _) = about_to_merge(dir.path()).await;
        forge.shutdown().await;
        let again = open(dir.path()).await;
        let (issue, pull) = again.pull(&repo, number).unwrap();
        assert!(issue.open && pull.merged.is_none());
        assert!(again.read(|s| s.intents.is_empty()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_push_of_branch_and_base_merges_and_does_not_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let (forge, repo, number, _) = about_to_merge(dir.path()).await;
        let (_, pull) = forge.pull(&repo, number).unwrap();
        let (git, alice) = (forge.git(repo.id), forge.user("alice").unwrap());
        // `main` comes before `pull-1` by name: it is merged, and then its branch moves on.
        git.update_ref("refs/heads/main", &pull.head_sha, &Expect::Anything).await.unwrap();
        let next =
            forge.write_commit(repo.id, "pull-1", Some(&pull.head_sha), &alice, "More", &[]).await.unwrap();
        forge.settle(&repo, &alice, None).await.unwrap();
        let (issue, pull) = forge.pull(&repo, number).unwrap();
        assert!(!issue.open && pull.merged.is_some() && pull.head_sha != next);
    }
}
