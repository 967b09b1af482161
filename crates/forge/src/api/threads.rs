//! Issues, comments, labels and the search for issues.

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Who;
use super::pulls::Editing;
use super::reply::{Json, Page, Reply, created, no_content, ok};
use crate::records::{Issue, Permission, Repo};
use crate::{Error, Forge};

type Names = Path<(String, String)>;
type Numbered = Path<(String, String, i64)>;

pub(super) async fn list(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let state = page.param("state").unwrap_or("open").to_owned();
    let all = forge.view(|v| {
        let wanted =
            v.state.issues_of(repo.id).rev().filter(|i| state == "all" || i.open == (state == "open"));
        wanted.map(|i| v.issue(&repo, i)).collect()
    });
    page.list(&forge, all)
}

#[derive(Deserialize)]
pub(super) struct Opening {
    title: String,
    #[serde(default)]
    body: Option<String>,
}

pub(super) async fn open(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    Json(new): Json<Opening>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let body = new.body.unwrap_or_default();
    let issue = forge.open_issue(who.signed_in()?, &repo, &new.title, &body).await?;
    created(forge.view(|v| v.issue(&repo, &issue)))
}

pub(super) async fn get(State(forge): State<Forge>, who: Who, Path((org, name, number)): Numbered) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let issue = forge.issue(&repo, number)?;
    ok(forge.view(|v| v.issue(&repo, &issue)))
}

pub(super) async fn edit(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    Json(edit): Json<Editing>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let issue = forge.issue(&repo, number)?;
    let user = who.author_or(&forge, &repo, &issue.author, Permission::Triage)?;
    let issue = forge.edit_issue(user, &repo, number, edit.into()).await?;
    ok(forge.view(|v| v.issue(&repo, &issue)))
}

pub(super) async fn comments(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    forge.issue(&repo, number)?;
    page.list(
        &forge,
        forge.view(|v| v.state.comments_of(repo.id, number).map(|c| v.comment(&repo, c)).collect()),
    )
}

#[derive(Deserialize)]
pub(super) struct Text {
    body: String,
}

pub(super) async fn comment(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    Json(new): Json<Text>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let comment = forge.comment_on(who.signed_in()?, &repo, number, &new.body).await?;
    created(forge.view(|v| v.comment(&repo, &comment)))
}

pub(super) async fn get_comment(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, id)): Numbered,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let comment = forge.read(|s| s.comment(repo.id, id).cloned()).ok_or_else(Error::not_found)?;
    ok(forge.view(|v| v.comment(&repo, &comment)))
}

pub(super) async fn edit_comment(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, id)): Numbered,
    Json(new): Json<Text>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let comment = forge.read(|s| s.comment(repo.id, id).cloned()).ok_or_else(Error::not_found)?;
    let user = who.author_or(&forge, &repo, &comment.author, Permission::Write)?;
    let comment = forge.edit_comment(user, &repo, id, &new.body).await?;
    ok(forge.view(|v| v.comment(&repo, &comment)))
}

pub(super) async fn delete_comment(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, id)): Numbered,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let comment = forge.read(|s| s.comment(repo.id, id).cloned()).ok_or_else(Error::not_found)?;
    let user = who.author_or(&forge, &repo, &comment.author, Permission::Write)?;
    forge.delete_comment(user, &repo, id).await?;
    no_content()
}

fn labels_json(forge: &Forge, repo: &Repo, issue: &Issue) -> Vec<Value> {
    let repo = forge.fresh(repo);
    forge.view(|v| issue.labels.iter().map(|l| v.label(&repo, l)).collect())
}

pub(super) async fn labels(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let issue = forge.issue(&repo, number)?;
    page.list(&forge, labels_json(&forge, &repo, &issue))
}

/// GitHub takes an object with a list, and a bare list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NewLabels {
    Object { labels: Vec<String> },
    List(Vec<String>),
}

pub(super) async fn add_labels(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number)): Numbered,
    Json(new): Json<NewLabels>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let user = who.may(&forge, &repo, Permission::Triage)?;
    let (NewLabels::Object { labels } | NewLabels::List(labels)) = new;
    let issue = forge.add_labels(user, &repo, number, &labels).await?;
    ok(Value::Array(labels_json(&forge, &repo, &issue)))
}

pub(super) async fn remove_label(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name, number, label)): Path<(String, String, i64, String)>,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    let user = who.may(&forge, &repo, Permission::Triage)?;
    let issue = forge.remove_label(user, &repo, number, &label).await?;
    ok(Value::Array(labels_json(&forge, &repo, &issue)))
}

pub(super) async fn repo_labels(
    State(forge): State<Forge>,
    who: Who,
    Path((org, name)): Names,
    page: Page,
) -> Reply {
    let repo = who.reads(&forge, &org, &name)?;
    page.list(&forge, forge.view(|v| repo.labels.iter().map(|l| v.label_def(&repo, l)).collect()))
}

/// The part of GitHub's search language that Prow uses: `type:`/`is:`, `state:`, `org:`, `repo:`, `author:`, `label:`,
/// each possibly negated with `-`. Anything else is refused rather than ignored.
pub(super) async fn search(State(forge): State<Forge>, who: Who, page: Page) -> Reply {
    let query = page.param("q").unwrap_or_default().to_owned();
    let terms: Vec<Term> = terms(&query)?;
    let all: Vec<Value> = forge.view(|v| {
        let issues = v.state.issues.values().filter_map(|i| Some((v.state.repos.get(&i.repo)?, i)));
        let found = issues.filter(|(repo, issue)| {
            v.state.permission(repo, who.user()).is_some() && terms.iter().all(|t| t.holds(repo, issue))
        });
        found.map(|(repo, issue)| v.issue(repo, issue)).collect()
    });
    let total = all.len();
    page.reply(
        &forge,
        all,
        |items| json!({"total_count": total, "incomplete_results": false, "items": items}),
    )
}

/// One condition of a search.
#[derive(Debug, PartialEq)]
struct Term {
    negated: bool,
    key: String,
    value: String,
}

/// Splits a query at spaces outside of double quotes.
fn terms(query: &str) -> Result<Vec<Term>, Error> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    let term = |word: &String| {
        let (negated, rest) = match word.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, word.as_str()),
        };
        let known = |k: &str, v: &str| match k {
            "type" | "is" => matches!(v, "pr" | "issue" | "open" | "closed" | "merged" | "public" | "draft"),
            "state" => matches!(v, "open" | "closed"),
            "org" | "repo" | "author" | "label" | "base" | "head" | "user" => true,
            _ => false,
        };
        match rest.split_once(':') {
            Some((key, value)) if known(key, value) => {
                Ok(Term { negated, key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(Error::Invalid(format!("q: the forge cannot search for {word:?}"))),
        }
    };
    words.iter().filter(|w| !w.is_empty()).map(term).collect()
}

impl Term {
    fn holds(&self, repo: &Repo, issue: &Issue) -> bool {
        let value = self.value.as_str();
        let pull = issue.pull.as_ref();
        let holds = match (self.key.as_str(), value) {
            ("type" | "is", "pr") => pull.is_some(),
            ("type" | "is", "issue") => pull.is_none(),
            ("is" | "type", "merged") => pull.is_some_and(|p| p.merged.is_some()),
            ("is" | "type", "draft") => pull.is_some_and(|p| p.draft),
            ("is" | "type", "public") => !repo.private,
            ("is" | "type" | "state", "open") => issue.open,
            ("is" | "type" | "state", "closed") => !issue.open,
            ("org" | "user", org) => repo.owner.eq_ignore_ascii_case(org),
            ("repo", name) => repo.full_name().eq_ignore_ascii_case(name),
            ("author", login) => issue.author.eq_ignore_ascii_case(login),
            ("label", label) => issue.labels.iter().any(|l| l.eq_ignore_ascii_case(label)),
            ("base", branch) => pull.is_some_and(|p| p.base == branch),
            ("head", branch) => pull.is_some_and(|p| p.head == branch),
            _ => false,
        };
        holds != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused() {
        let term = |negated, key: &str, value: &str| Term { negated, key: key.into(), value: value.into() };
        let read = terms(r#"type:pr -label:"do not merge"  author:x"#).unwrap();
        assert_eq!(
            read,
            [term(false, "type", "pr"), term(true, "label", "do not merge"), term(false, "author", "x")]
        );
        assert!(terms("").unwrap().is_empty());
        for bad in ["free text", "is:locked", "stars:>1"] {
            assert!(terms(bad).is_err(), "{bad}");
        }
    }
}
