//! Who asks: tokens as GitHub takes them, and what each asker may do.

use axum::extract::FromRequestParts;
use base64::Engine;
use http::HeaderMap;
use http::request::Parts;

use crate::records::{Permission, Repo, User};
use crate::seed::token_hash;
use crate::{Error, Forge};

/// The asker.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Anonymous,
    User(Box<User>),
}

/// Reads `Authorization: token X`, `Bearer X` or `Basic user:X`. As on GitHub the token alone says who it is.
pub(crate) fn authenticate(forge: &Forge, headers: &HeaderMap) -> Result<Who, Error> {
    let bad = || Error::Unauthorized("Bad credentials".into());
    let Some(value) = headers.get(http::header::AUTHORIZATION) else { return Ok(Who::Anonymous) };
    let (scheme, rest) = value.to_str().ok().and_then(|v| v.trim().split_once(' ')).ok_or_else(bad)?;
    let token = match scheme.to_ascii_lowercase().as_str() {
        "token" | "bearer" => rest.trim().as_bytes().to_vec(),
        "basic" => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).map_err(|_| bad())?;
            let colon = decoded.iter().position(|b| *b == b':').ok_or_else(bad)?;
            decoded[colon + 1..].to_vec()
        }
        _ => return Err(bad()),
    };
    if token.is_empty() {
        return Err(bad());
    }
    // Hashes are compared, so the time this takes says nothing about a token.
    let hash = token_hash(&token);
    let found = forge.read(|s| s.users.values().find(|u| u.token_sha256 == hash).cloned());
    found.map(|u| Who::User(Box::new(u))).ok_or_else(bad)
}

impl FromRequestParts<Forge> for Who {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, forge: &Forge) -> Result<Self, Error> {
        authenticate(forge, &parts.headers)
    }
}

impl Who {
    pub(crate) fn user(&self) -> Option<&User> {
        match self {
            Who::Anonymous => None,
            Who::User(user) => Some(user),
        }
    }

    /// The signed-in user.
    pub(crate) fn signed_in(&self) -> Result<&User, Error> {
        self.user().ok_or_else(|| Error::Unauthorized("Requires authentication".into()))
    }

    /// A repository the asker may read; else it does not exist for them.
    pub(crate) fn reads(&self, forge: &Forge, owner: &str, name: &str) -> Result<Repo, Error> {
        let repo = forge.repo(owner, name)?;
        match forge.read(|s| s.permission(&repo, self.user())) {
            Some(_) => Ok(repo),
            None => Err(Error::not_found()),
        }
    }

    /// The signed-in user, if they have `needed` in `repo`.
    pub(crate) fn may<'a>(
        &'a self,
        forge: &Forge,
        repo: &Repo,
        needed: Permission,
    ) -> Result<&'a User, Error> {
        let user = self.signed_in()?;
        if forge.read(|s| s.permission(repo, Some(user))) >= Some(needed) {
            return Ok(user);
        }
        let what = format!("Must have {} rights to Repository.", format!("{needed:?}").to_lowercase());
        Err(Error::Forbidden(what))
    }

    /// The signed-in user, if they are `author` or have `needed` in `repo`.
    pub(crate) fn author_or<'a>(
        &'a self,
        forge: &Forge,
        repo: &Repo,
        author: &str,
        needed: Permission,
    ) -> Result<&'a User, Error> {
        let user = self.signed_in()?;
        if user.login.eq_ignore_ascii_case(author) { Ok(user) } else { self.may(forge, repo, needed) }
    }
}
