//! What code a job tests: [`Refs`] and [`Pull`] (prow-config §1.5), and the `org/repo` pair.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

fn is_false(b: &bool) -> bool {
    !*b
}
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// A repository at a base revision, with the pull requests to merge on top.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Refs {
    /// GitHub organisation or user; for Gerrit `https://HOST`.
    pub org: String,
    /// Repository; for Gerrit it may contain `/`.
    pub repo: String,
    /// Web URL of the repository; also decides clone host and source path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_link: String,
    /// Branch or tag, without `refs/heads/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base_ref: String,
    /// Commit of `base_ref`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base_sha: String,
    /// Web URL of the base commit, or of the comparison for a push.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base_link: String,
    /// Pull requests to merge, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pulls: Vec<Pull>,
    /// Directory below `<root>/src` to clone into.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_alias: String,
    /// Make this clone the working directory.
    #[serde(skip_serializing_if = "is_false")]
    pub workdir: bool,
    /// Not the "main" repository for version reporting.
    #[serde(skip_serializing_if = "is_false")]
    pub auxiliary: bool,
    /// Where to clone from; default `<repo_link>.git`, else GitHub.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clone_uri: String,
    /// Submodules are not cloned.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_submodules: bool,
    /// Commits to clone; 0 is all.
    #[serde(skip_serializing_if = "is_zero")]
    pub clone_depth: i64,
    /// The first fetch, without refs, is left out.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_fetch_head: bool,
    /// Clone with `--filter=blob:none`; the decoration's value unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobless_fetch: Option<bool>,
    /// Sparse checkout patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sparse_checkout_files: Vec<String>,
}

/// A pull request, or Gerrit change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pull {
    /// Number, always written.
    pub number: i64,
    /// Login of the author, always written.
    pub author: String,
    /// Head commit, always written.
    pub sha: String,
    /// Title; hostile text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Ref to fetch instead of `pull/<n>/head`, e.g. `refs/changes/00/123/1`.
    #[serde(rename = "ref", skip_serializing_if = "String::is_empty")]
    pub ref_: String,
    /// Branch name in the contributor's repository; hostile text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub head_ref: String,
    /// Web URL of the pull request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// Web URL of the head commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit_link: String,
    /// Web URL of the author.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author_link: String,
}

impl Refs {
    /// `org/repo`, or just `org` when the repository is empty.
    pub fn org_repo(&self) -> String {
        if self.repo.is_empty() { self.org.clone() } else { format!("{}/{}", self.org, self.repo) }
    }

    /// The text form of PULL_REFS and started.json: `base_ref[:base_sha]`, then `number:sha[:ref]` a pull,
    /// joined with commas.
    pub fn refs_string(&self) -> String {
        let mut out = self.base_ref.clone();
        if !self.base_sha.is_empty() {
            out.push(':');
            out.push_str(&self.base_sha);
        }
        for pull in &self.pulls {
            out.push_str(&format!(",{}:{}", pull.number, pull.sha));
            if !pull.ref_.is_empty() {
                out.push(':');
                out.push_str(&pull.ref_);
            }
        }
        out
    }

    /// The directory of this clone below `<root>/src`: `path_alias`, else `repo_link` without scheme, else
    /// `github.com/<org>/<repo>`.
    pub fn source_path(&self) -> String {
        if !self.path_alias.is_empty() {
            return self.path_alias.clone();
        }
        if !self.repo_link.is_empty() {
            let link = self.repo_link.as_str();
            return link.split_once("://").map_or(link, |(_, rest)| rest).to_owned();
        }
        format!("github.com/{}/{}", self.org, self.repo)
    }
}

/// The repository a thing belongs to, parsed from and shown as `org/repo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrgRepo {
    /// Organisation or user.
    pub org: String,
    /// Repository.
    pub repo: String,
}

impl OrgRepo {
    /// From its two halves.
    pub fn new(org: impl Into<String>, repo: impl Into<String>) -> Self {
        OrgRepo { org: org.into(), repo: repo.into() }
    }
}

/// A text that is not `org/repo`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a repository: write it as org/repo")]
pub struct ParseOrgRepoError(pub String);

impl FromStr for OrgRepo {
    type Err = ParseOrgRepoError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.split_once('/') {
            Some((org, repo)) if !org.is_empty() && !repo.is_empty() && !repo.contains('/') => {
                Ok(OrgRepo::new(org, repo))
            }
            _ => Err(ParseOrgRepoError(s.to_owned())),
        }
    }
}

impl fmt::Display for OrgRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.repo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_string_names_base_and_pulls() {
        let mut refs = Refs { base_ref: "main".into(), ..Refs::default() };
        assert_eq!(refs.refs_string(), "main");
        refs.base_sha = "b".into();
        refs.pulls = vec![
            Pull { number: 7, sha: "h".into(), ..Pull::default() },
            Pull { number: 8, sha: "i".into(), ref_: "refs/changes/8".into(), ..Pull::default() },
        ];
        assert_eq!(refs.refs_string(), "main:b,7:h,8:i:refs/changes/8");
    }

    #[test]
    fn empty_members_are_left_out_except_the_three_of_a_pull() {
        let refs = Refs { org: "o".into(), pulls: vec![Pull::default()], ..Refs::default() };
        assert_eq!(
            serde_json::to_string(&refs).unwrap(),
            r#"{"org":"o","repo":"","pulls":[{"number":0,"author":"","sha":""}]}"#
        );
    }
}
