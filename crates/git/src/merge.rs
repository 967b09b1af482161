//! Heads laid on a base without a work tree, the way Prow's own checkouts do it (prow-config §8). Writes only
//! objects, so it may run in parallel.

use crate::names::check_object_id;
use crate::{CommitTree, Git, GitError, Merge, Result, Signature};
use prow_config::inrepo::{RepoError, RepoState};

/// Commits of one head that are rebased at most; more are merged in one step, which gives the same files.
const MAX_REBASED: usize = 100;

/// Why heads could not be laid on.
pub(crate) enum Failure {
    /// The repository's content is at fault, or GitHub.
    Repo(RepoError),
    /// git is.
    Git(GitError),
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Failure {
        Failure::Git(error)
    }
}

fn prow(git: &Git, tree: String, parents: &[&str]) -> impl Future<Output = Result<String>> {
    // A fixed time: the same merge is the same commit.
    let who = Signature { name: "prow".into(), email: "prow@localhost".into(), seconds: 0 };
    let commit = CommitTree {
        tree,
        parents: parents.iter().map(|p| (*p).to_owned()).collect(),
        message: "merge".into(),
        author: who.clone(),
        committer: who,
    };
    async move { git.commit_tree(&commit).await }
}

/// The commit that holds the heads on top of the base; all of them are there.
pub(crate) async fn lay_on(git: &Git, state: &RepoState) -> Result<String, Failure> {
    let mut on = check_object_id(&state.base)?.to_owned();
    for head in &state.heads {
        let conflict = |why: String| {
            Failure::Repo(RepoError::Conflict {
                repo: state.repo.to_string(),
                base: state.base.clone(),
                head: head.clone(),
                why,
            })
        };
        let laid = if state.rebase { rebase(git, &on, head).await } else { merge(git, &on, head).await };
        on = match laid {
            Ok(Ok(commit)) => commit,
            Ok(Err(paths)) => return Err(conflict(shown(&paths))),
            // Unrelated histories: git says so and ends with 128.
            Err(error @ GitError::Failed { .. }) => return Err(conflict(error.to_string())),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(on)
}

fn shown(paths: &[String]) -> String {
    let names: Vec<String> = paths.iter().take(5).map(|p| format!("{p:?}")).collect();
    let more = if paths.len() > 5 { " and others" } else { "" };
    format!("conflict in {}{more}", names.join(", "))
}

async fn merge(git: &Git, on: &str, head: &str) -> Result<std::result::Result<String, Vec<String>>> {
    Ok(match git.merge_tree_write_tree(on, check_object_id(head)?).await? {
        Merge::Clean { tree } => Ok(prow(git, tree, &[on, head]).await?),
        Merge::Conflicts { paths } => Err(paths),
    })
}

/// Lays the commits of `head` that `on` lacks onto it, one by one and without merges, as `git rebase` does. One that
/// is there already in other words changes nothing.
async fn rebase(git: &Git, on: &str, head: &str) -> Result<std::result::Result<String, Vec<String>>> {
    let range = format!("{on}..{}", check_object_id(head)?);
    let args = ["rev-list", "--reverse", "--topo-order", "--no-merges", "--parents"];
    let count = format!("--max-count={}", MAX_REBASED + 1);
    let list = git.text(args.iter().copied().chain([count.as_str(), range.as_str(), "--"])).await?;
    let commits: Vec<(&str, Option<&str>)> = list
        .lines()
        .filter_map(|line| {
            let mut ids = line.split(' ');
            Some((ids.next()?, ids.next()))
        })
        .collect();
    if commits.len() > MAX_REBASED {
        return merge(git, on, head).await;
    }
    let mut on = on.to_owned();
    for (commit, parent) in commits {
        let parents: Vec<&str> = parent.into_iter().collect();
        // A stand-in with the files of `on` and the parent of `commit`: what both have in common is that parent.
        let tree = git.text(["rev-parse", "--verify", &format!("{on}^{{tree}}")]).await?;
        let stand_in = prow(git, tree, &parents).await?;
        match git.merge_tree_write_tree(&stand_in, check_object_id(commit)?).await? {
            Merge::Clean { tree } => on = prow(git, tree, &[&on]).await?,
            Merge::Conflicts { paths } => return Ok(Err(paths)),
        }
    }
    Ok(Ok(on))
}
