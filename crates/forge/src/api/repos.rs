//! Repositories: refs, commits, contents, statuses, webhooks, forks.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use prow_git::names::{check_revision, check_tree_path};
use serde_json::{Value, json};

use super::auth::Who;
use super::people::{NewHook, hooks_of, make_hook};
use super::reply::{Json, Page, Reply, created, ok};
use crate::records::{HookScope, Permission, Repo, Status};
use crate::{Error, Forge};

type Names = Path<(String, String)>;
type Named = Path<(String, String, String)>;

pub(super) async fn repo(State(forge): State<Forge>, who: Who, Path((org, name)): Names) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    ok(forge.view(|v| v.repo_for(&repo, who.user())))
}

pub(super) async fn fork(State(forge): State<Forge>, who: Who, Path((org, name)): Names) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let fork = forge.fork(who.signed_in()?, &repo).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(forge.view(|v| v.repo(&fork)))).into_response())
}

pub(super) async fn hooks(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    who.may(&forge, &repo, Permission::Admin)?;
    page.list(&forge, hooks_of(&forge, &HookScope::Repo(repo.id)))
}

pub(super) async fn create_hook(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    Json(new): Json<NewHook>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    who.may(&forge, &repo, Permission::Admin)?;
    make_hook(&forge, &repo.owner, Some(&repo.name), new).await
}

fn branch_json(forge: &Forge, repo: &Repo, name: &str, sha: &str) -> Value {
    let url = format!("{}/repos/{}/commits/{sha}", forge.api_url(), repo.full_name());
    json!({"name": name, "commit": {"sha": sha, "url": url}, "protected": false})
}

pub(super) async fn branches(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let refs = forge.git(repo.id).for_each_ref("refs/heads/").await?;
    let all =
        refs.iter().map(|r| branch_json(&forge, &repo, r.name.trim_start_matches("refs/heads/"), &r.object));
    page.list(&forge, all.collect())
}

pub(super) async fn branch(State(forge): State<Forge>, who: Who, Path((org, name, branch)): Named) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let sha = forge.git(repo.id).rev_parse(&format!("refs/heads/{branch}")).await;
    let sha = sha.ok().flatten().ok_or_else(|| Error::NotFound("Branch not found".into()))?;
    ok(branch_json(&forge, &repo, &branch, &sha))
}

/// `heads/x`, `tags/x` or `pull/1/head`.
pub(super) async fn git_ref(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, reference)): Named,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let full = format!("refs/{reference}");
    prow_git::names::check_ref_name(&full).map_err(|_| Error::not_found())?;
    let entries = forge.git(repo.id).for_each_ref(&full).await?;
    // git lists a prefix's children too; the question is for this one alone.
    let entry = entries.into_iter().find(|e| e.name == full).ok_or_else(Error::not_found)?;
    let api = format!("{}/repos/{}/git", forge.api_url(), repo.full_name());
    ok(json!({
        "ref": full, "node_id": format!("REF_{full}"), "url": format!("{api}/{full}"),
        "object": {"type": entry.kind, "sha": entry.object, "url": format!("{api}/{}s/{}", entry.kind, entry.object)},
    }))
}

/// The commit a name stands for: SHA, branch or tag.
async fn resolve(forge: &Forge, repo: &Repo, name: &str) -> Result<String, Error> {
    let missing = || Error::Invalid(format!("No commit found for SHA: {name}"));
    check_revision(name).map_err(|_| missing())?;
    let git = forge.git(repo.id);
    for candidate in [format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()] {
        if let Some(sha) = git.rev_parse(&candidate).await? {
            return Ok(sha);
        }
    }
    Err(missing())
}

pub(super) async fn commit(State(forge): State<Forge>, who: Who, Path((org, name, sha)): Named) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let sha = resolve(&forge, &repo, &sha).await?;
    let commit = forge.commit(repo.id, &sha).await?.ok_or_else(Error::not_found)?;
    ok(forge.view(|v| v.commit(&repo, &commit)))
}

pub(super) async fn contents(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, path)): Named,
    page: Page,
    headers: HeaderMap,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    check_tree_path(&path).map_err(|_| Error::not_found())?;
    let reference = page.param("ref").filter(|r| !r.is_empty()).unwrap_or(&repo.default_branch).to_owned();
    let sha = resolve(&forge, &repo, &reference)
        .await
        .map_err(|_| Error::NotFound(format!("No commit found for the ref {reference}")))?;
    let git = forge.git(repo.id);
    let entries = git.command(["ls-tree", "-z", "--long", &sha, "--", &path]).bytes().await?;
    let text = String::from_utf8_lossy(&entries).into_owned();
    let entry = text.split('\0').find(|e| e.ends_with(&format!("\t{path}"))).ok_or_else(Error::not_found)?;
    let mut words = entry.split_whitespace();
    let (_, kind, id) =
        (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let url = format!("{}/repos/{}/contents/{path}?ref={reference}", forge.api_url(), repo.full_name());
    if kind == "tree" {
        let inside =
            git.command(["ls-tree", "-z", "--long", &sha, "--", &format!("{path}/")]).bytes().await?;
        return ok(Value::Array(directory(&String::from_utf8_lossy(&inside))));
    }
    let content = git.read_file(&sha, &path).await?.ok_or_else(Error::not_found)?;
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    if accept.contains(".raw") {
        return Ok(([(header::CONTENT_TYPE, "application/vnd.github.raw+json")], content).into_response());
    }
    // Past a megabyte GitHub gives the content only raw.
    let (encoding, text) = match content.len() > 1 << 20 {
        true => ("none", String::new()),
        false => ("base64", base64::engine::general_purpose::STANDARD.encode(&content)),
    };
    ok(json!({
        "type": "file", "name": path.rsplit('/').next(), "path": path, "sha": id, "size": content.len(),
        "encoding": encoding, "content": text, "url": url,
        "html_url": format!("{}/{}/blob/{reference}/{path}", forge.inner.base_url, repo.full_name()),
    }))
}

/// `git ls-tree -z --long` as GitHub lists a directory.
fn directory(listing: &str) -> Vec<Value> {
    let entries = listing.split('\0').filter_map(|e| e.split_once('\t'));
    let items = entries.map(|(about, path)| {
        let words: Vec<&str> = about.split_whitespace().collect();
        let kind = match words.get(1) {
            Some(&"tree") => "dir",
            Some(&"commit") => "submodule",
            _ => "file",
        };
        let size = words.get(3).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
        json!({"type": kind, "path": path, "name": path.rsplit('/').next(), "sha": words.get(2), "size": size})
    });
    items.collect()
}

/// The newest status of each context, newest first.
pub(crate) fn latest(statuses: Vec<Status>) -> Vec<Status> {
    let mut latest: Vec<Status> = Vec::new();
    for status in statuses.into_iter().rev() {
        if !latest.iter().any(|s| s.context == status.context) {
            latest.push(status);
        }
    }
    latest
}

/// What all contexts together say.
pub(crate) fn combined(latest: &[Status]) -> &'static str {
    if latest.iter().any(|s| matches!(s.state.as_str(), "failure" | "error")) {
        "failure"
    } else if latest.is_empty() || latest.iter().any(|s| s.state == "pending") {
        "pending"
    } else {
        "success"
    }
}

pub(super) async fn combined_status(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, sha)): Named,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let sha = resolve(&forge, &repo, &sha).await.map_err(|_| Error::not_found())?;
    let latest = latest(forge.read(|s| s.statuses_of(repo.id, &sha).cloned().collect()));
    let (state, total) = (combined(&latest), latest.len());
    let (items, repository) =
        forge.view(|v| (latest.iter().map(|s| v.status(&repo, s)).collect::<Vec<Value>>(), v.repo(&repo)));
    page.reply(&forge, items, |items| {
        json!({"sha": sha, "state": state, "total_count": total, "statuses": items, "repository": repository})
    })
}

pub(super) async fn statuses(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, sha)): Named,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let sha = resolve(&forge, &repo, &sha).await.map_err(|_| Error::not_found())?;
    let all = forge.view(|v| v.state.statuses_of(repo.id, &sha).rev().map(|s| v.status(&repo, s)).collect());
    page.list(&forge, all)
}

pub(super) async fn create_status(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, sha)): Named,
    Json(new): Json<Value>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let user = who.may(&forge, &repo, Permission::Write)?;
    let status = forge.set_status(user, &repo, &sha, &new).await?;
    created(forge.view(|v| v.status(&repo, &status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_combine_as_on_github() {
        let status = |id: i64, context: &str, state: &str| Status {
            id,
            repo: 1,
            sha: "s".into(),
            state: state.into(),
            context: context.into(),
            description: None,
            target_url: None,
            creator: "c".into(),
            created_at: "t".into(),
        };
        let cases = [
            (vec![], "pending"),
            (vec![status(1, "a", "success")], "success"),
            (vec![status(1, "a", "success"), status(2, "b", "pending")], "pending"),
            (vec![status(1, "a", "error"), status(2, "b", "pending")], "failure"),
            (vec![status(1, "a", "failure"), status(2, "a", "success")], "success"),
        ];
        for (statuses, want) in cases {
            assert_eq!(combined(&latest(statuses.clone())), want, "{statuses:?}");
        }
        assert_eq!(latest(vec![status(1, "a", "failure"), status(2, "a", "success")])[0].id, 2);
    }
}
