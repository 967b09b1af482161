//! `/user`, `/users`, `/orgs` and collaborators. All memberships are public here.

use axum::extract::{Path, State};
use prow_api::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Who;
use super::reply::{Json, Page, Reply, created, no_content, ok};
use crate::records::{HookScope, OrgRole, Permission};
use crate::{Error, Forge};

pub(super) async fn me(State(forge): State<Forge>, who: Who) -> Reply {
    let user = who.signed_in()?;
    ok(forge.view(|v| v.user(user)))
}

pub(super) async fn user(State(forge): State<Forge>, _who: Who, Path(login): Path<String>) -> Reply {
    if forge.read(|s| s.user(&login).is_none() && s.org(&login).is_none()) {
        return Err(Error::not_found());
    }
    ok(forge.view(|v| v.login(&login)))
}

pub(super) async fn org(State(forge): State<Forge>, _who: Who, Path(login): Path<String>) -> Reply {
    let org = forge.read(|s| s.org(&login).cloned()).ok_or_else(Error::not_found)?;
    ok(forge.view(|v| v.org(&org)))
}

pub(super) async fn org_repos(
    State(forge): State<Forge>,
    who: Who,
    Path(login): Path<String>,
    page: Page,
) -> Reply {
    forge.read(|s| s.org(&login).map(drop)).ok_or_else(Error::not_found)?;
    repos_of(&forge, &who, &login, &page)
}

pub(super) async fn user_repos(
    State(forge): State<Forge>,
    who: Who,
    Path(login): Path<String>,
    page: Page,
) -> Reply {
    forge.user(&login)?;
    repos_of(&forge, &who, &login, &page)
}

fn repos_of(forge: &Forge, who: &Who, owner: &str, page: &Page) -> Reply {
    let all = forge.view(|v| {
        let visible =
            v.state.repos.values().filter(|r| {
                r.owner.eq_ignore_ascii_case(owner) && v.state.permission(r, who.user()).is_some()
            });
        visible.map(|r| v.repo_for(r, who.user())).collect()
    });
    page.list(forge, all)
}

pub(super) async fn members(
    State(forge): State<Forge>,
    _who: Who,
    Path(login): Path<String>,
    page: Page,
) -> Reply {
    let role = page.param("role").unwrap_or("all").to_owned();
    let all = forge.view(|v| {
        let org = v.state.org(&login).ok_or_else(Error::not_found)?;
        let wanted = |r: OrgRole| match role.as_str() {
            "admin" => r == OrgRole::Admin,
            "member" => r == OrgRole::Member,
            _ => true,
        };
        Ok::<_, Error>(
            org.members.iter().filter(|(_, r)| wanted(**r)).map(|(login, _)| v.login(login)).collect(),
        )
    })?;
    page.list(&forge, all)
}

pub(super) async fn member(
    State(forge): State<Forge>,
    _who: Who,
    Path((org, user)): Path<(String, String)>,
) -> Reply {
    match forge.read(|s| s.org(&org).map(|o| o.members.contains_key(&user.to_lowercase()))) {
        Some(true) => no_content(),
        _ => Err(Error::not_found()),
    }
}

pub(super) async fn collaborators(
    State(forge): State<Forge>,
    who: Who,
    Path((org, repo)): Path<(String, String)>,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &repo)?;
    let all = forge.view(|v| {
        let listed = v.state.users.values().filter(|u| v.state.is_collaborator(&repo, &u.login));
        listed.map(|u| v.user(u)).collect()
    });
    page.list(&forge, all)
}

pub(super) async fn collaborator(
    State(forge): State<Forge>,
    who: Who,
    Path((org, repo, user)): Path<(String, String, String)>,
) -> Reply {
    who.signed_in()?;
    let repo = who.reads(&forge, &org, &repo)?;
    match forge.read(|s| s.is_collaborator(&repo, &user)) {
        true => no_content(),
        false => Err(Error::not_found()),
    }
}

pub(super) async fn permission(
    State(forge): State<Forge>,
    who: Who,
    Path((org, repo, login)): Path<(String, String, String)>,
) -> Reply {
    who.signed_in()?;
    let repo = who.reads(&forge, &org, &repo)?;
    let user = forge.user(&login)?;
    let permission = match forge.read(|s| s.permission(&repo, Some(&user))) {
        None => "none",
        // GitHub folds triage into read in this answer.
        Some(Permission::Read | Permission::Triage) => "read",
        Some(Permission::Write) => "write",
        Some(Permission::Admin) => "admin",
    };
    ok(json!({"permission": permission, "role_name": permission, "user": forge.view(|v| v.user(&user))}))
}

/// A webhook to be made.
#[derive(Deserialize)]
pub(super) struct NewHook {
    config: HookConfig,
    #[serde(default = "push_only")]
    events: Vec<String>,
}

#[derive(Deserialize)]
struct HookConfig {
    url: String,
    #[serde(default)]
    secret: String,
}

/// GitHub's default.
fn push_only() -> Vec<String> {
    vec!["push".to_owned()]
}

pub(super) async fn make_hook(forge: &Forge, owner: &str, repo: Option<&str>, new: NewHook) -> Reply {
    let events: Vec<&str> = new.events.iter().map(String::as_str).collect();
    let secret = Secret::new(&new.config.secret);
    let hook = forge.create_webhook(owner, repo, &new.config.url, &secret, &events).await?;
    created(forge.view(|v| v.hook(&hook)))
}

pub(super) fn hooks_of(forge: &Forge, scope: &HookScope) -> Vec<Value> {
    forge.view(|v| v.state.hooks.values().filter(|h| h.scope == *scope).map(|h| v.hook(h)).collect())
}

fn org_admin(forge: &Forge, who: &Who, org: &str) -> Result<String, Error> {
    let user = who.signed_in()?;
    let org = forge.read(|s| s.org(org).cloned()).ok_or_else(Error::not_found)?;
    let role = org.members.get(&user.login.to_lowercase());
    if user.site_admin || role == Some(&OrgRole::Admin) { Ok(org.login) } else { Err(Error::not_found()) }
}

pub(super) async fn org_hooks(
    State(forge): State<Forge>,
    who: Who,
    Path(org): Path<String>,
    page: Page,
) -> Reply {
    let login = org_admin(&forge, &who, &org)?;
    page.list(&forge, hooks_of(&forge, &HookScope::Org(login)))
}

pub(super) async fn create_org_hook(
    State(forge): State<Forge>,
    who: Who,
    Path(org): Path<String>,
    Json(new): Json<NewHook>,
) -> Reply {
    let login = org_admin(&forge, &who, &org)?;
    make_hook(&forge, &login, None, new).await
}
