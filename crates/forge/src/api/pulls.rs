//! `/repos/{org}/{repo}/pulls`.

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Who;
use super::reply::{Json, Page, Reply, created, no_content, ok};
use crate::pulls::{Edit, MergeRequest, NewPull};
use crate::records::{Issue, Permission, Repo};
use crate::{Error, Forge};

type Names = Path<(String, String)>;
type Numbered = Path<(String, String, i64)>;

async fn show(forge: &Forge, repo: &Repo, issue: &Issue) -> Result<Value, Error> {
    let pull = issue.pull.as_ref().ok_or_else(Error::not_found)?;
    let facts = forge.facts(repo.id, pull).await?;
    Ok(forge.view(|v| v.pull(repo, issue, pull, Some(&facts))))
}

pub(super) async fn list(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let state = page.param("state").unwrap_or("open").to_owned();
    let (base, head) = (page.param("base").map(str::to_owned), page.param("head").map(str::to_owned));
    let all = forge.view(|v| {
        let wanted = v.state.issues_of(repo.id).rev().filter_map(|i| Some((i, i.pull.as_ref()?)));
        let wanted = wanted.filter(|(i, p)| {
            let of_head = |h: &String| {
                let owner = v.state.repos.get(&p.head_repo).map_or("", |r| r.owner.as_str());
                *h == format!("{owner}:{}", p.head)
            };
            (state == "all" || i.open == (state == "open"))
                && base.as_ref().is_none_or(|b| *b == p.base)
                && head.as_ref().is_none_or(of_head)
        });
        wanted.map(|(i, p)| v.pull(&repo, i, p, None)).collect()
    });
    page.list(&forge, all)
}

#[derive(Deserialize)]
pub(super) struct Opening {
    title: String,
    #[serde(default)]
    body: Option<String>,
    head: String,
    base: String,
    #[serde(default)]
    draft: bool,
}

pub(super) async fn open(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    Json(new): Json<Opening>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let user = who.signed_in()?;
    let new = NewPull {
        title: new.title,
        body: new.body.unwrap_or_default(),
        head: new.head,
        base: new.base,
        draft: new.draft,
        ..NewPull::default()
    };
    let issue = forge.open_pull(user, &repo, new).await?;
    created(show(&forge, &repo, &issue).await?)
}

pub(super) async fn get(State(forge): State<Forge>, who: Who, Path((org, name, number)): Numbered) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let (issue, _) = forge.pull(&repo, number)?;
    ok(show(&forge, &repo, &issue).await?)
}

#[derive(Deserialize)]
pub(super) struct Editing {
    title: Option<String>,
    body: Option<String>,
    state: Option<String>,
    base: Option<String>,
}

impl From<Editing> for Edit {
    fn from(e: Editing) -> Self {
        Edit { title: e.title, body: e.body, state: e.state, base: e.base }
    }
}

pub(super) async fn edit(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    Json(edit): Json<Editing>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let (issue, _) = forge.pull(&repo, number)?;
    let user = who.author_or(&forge, &repo, &issue.author, Permission::Triage)?;
    let issue = forge.edit_pull(user, &repo, number, edit.into()).await?;
    ok(show(&forge, &repo, &issue).await?)
}

pub(super) async fn files(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let (_, pull) = forge.pull(&repo, number)?;
    let files = forge.pull_files(repo.id, &pull).await?;
    let all = forge.view(|v| files.iter().map(|f| v.file(&repo, &pull.head_sha, f)).collect());
    page.list(&forge, all)
}

pub(super) async fn commits(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let (_, pull) = forge.pull(&repo, number)?;
    let commits =
        forge.commits_between(repo.id, std::slice::from_ref(&pull.base_sha), &pull.head_sha).await?;
    page.list(&forge, forge.view(|v| commits.iter().map(|c| v.commit(&repo, c)).collect()))
}

#[derive(Deserialize)]
pub(super) struct Merging {
    sha: Option<String>,
    merge_method: Option<String>,
    commit_title: Option<String>,
    commit_message: Option<String>,
}

pub(super) async fn merge(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    Json(new): Json<Merging>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let user = who.may(&forge, &repo, Permission::Write)?;
    let squash = match new.merge_method.as_deref() {
        None | Some("merge") => false,
        Some("squash") => true,
        // GitHub's words where a repository does not allow a method.
        Some("rebase") => {
            return Err(Error::NotAllowed("Rebase merges are not allowed on this repository.".into()));
        }
        Some(other) => return Err(Error::Invalid(format!("merge_method: {other:?} is not one"))),
    };
    let request = MergeRequest { sha: new.sha, squash, title: new.commit_title, message: new.commit_message };
    let sha = forge.merge_pull(user, &repo, number, request).await?;
    ok(json!({"sha": sha, "merged": true, "message": "Pull Request successfully merged"}))
}

pub(super) async fn is_merged(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let (_, pull) = forge.pull(&repo, number)?;
    if pull.merged.is_some() { no_content() } else { Err(Error::not_found()) }
}

pub(super) async fn reviews(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    forge.pull(&repo, number)?;
    let all = forge.view(|v| {
        let of_this = v.state.reviews.range((repo.id, number, i64::MIN)..=(repo.id, number, i64::MAX));
        of_this.map(|(_, r)| v.review(&repo, r)).collect()
    });
    page.list(&forge, all)
}

#[derive(Deserialize)]
pub(super) struct Reviewing {
    event: String,
    #[serde(default)]
    body: String,
}

pub(super) async fn review(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    Json(new): Json<Reviewing>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let review = forge.review_pull(who.signed_in()?, &repo, number, &new.event, &new.body).await?;
    ok(forge.view(|v| v.review(&repo, &review)))
}
