//! Which git commands one clone takes, as a pure function of its refs (prow-runtime §8.1).
//!
//! Refs come from webhooks and are hostile: what git would read as an option or as its own grammar is refused.

use prow_api::Refs;
use prow_git::names::check_revision;
use std::path::{Component, Path, PathBuf};

/// One git command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its arguments.
    pub args: Vec<String>,
    /// It talks to a server and is tried again.
    pub fetches: bool,
}

/// Fetching and merging one pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Gets its commits.
    pub fetch: Step,
    /// Merges them; gets its dates when it runs.
    pub merge: Step,
}

/// All of one clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Where to.
    pub dir: PathBuf,
    /// Where from.
    pub uri: String,
    /// Up to the checked-out base.
    pub base: Vec<Step>,
    /// The pulls in order.
    pub merges: Vec<Merge>,
    /// After the merges.
    pub after: Vec<Step>,
}

/// What all clones of a run share.
pub(crate) struct Common<'a> {
    pub src_root: &'a str,
    pub user_name: &'a str,
    pub user_email: &'a str,
    pub cookie_path: &'a str,
}

fn step(args: &[&str]) -> Step {
    Step { args: args.iter().map(|a| (*a).to_owned()).collect(), fetches: false }
}

/// `git fetch` with options, from the URI, and what to fetch.
fn fetch(options: &[String], uri: &str, what: &[&str]) -> Step {
    let mut args = vec!["fetch".to_owned()];
    args.extend_from_slice(options);
    args.push(uri.to_owned());
    args.extend(what.iter().map(|w| (*w).to_owned()));
    Step { args, fetches: true }
}

/// Where a repository is cloned from.
pub(crate) fn uri(refs: &Refs) -> String {
    if !refs.clone_uri.is_empty() {
        refs.clone_uri.clone()
    } else if !refs.repo_link.is_empty() {
        format!("{}.git", refs.repo_link)
    } else {
        format!("https://github.com/{}/{}.git", refs.org, refs.repo)
    }
}

/// The directory of a clone, if it lies below the source root.
fn directory(src_root: &str, refs: &Refs) -> Result<PathBuf, String> {
    let path = refs.source_path();
    if path.is_empty() || Path::new(&path).components().any(|c| !matches!(c, Component::Normal(_))) {
        return Err(format!("the clone path {path:?} leads out of the source directory"));
    }
    Ok(Path::new(src_root).join("src").join(path))
}

/// The whole procedure, or why it cannot be.
pub(crate) fn plan(refs: &Refs, common: &Common<'_>) -> Result<Plan, String> {
    let dir = directory(common.src_root, refs)?;
    let uri = uri(refs);
    if uri.starts_with('-') || uri.chars().any(char::is_control) {
        return Err(format!("{uri:?} is not a clone URI"));
    }
    let named = |name: &str| check_revision(name).map(str::to_owned).map_err(|e| e.to_string());
    let base_ref = named(&refs.base_ref)?;
    let sparse = !refs.sparse_checkout_files.is_empty();

    let mut filter = Vec::new();
    if refs.blobless_fetch == Some(true) || sparse {
        filter.push("--filter=blob:none".to_owned());
    }
    let mut options = Vec::new();
    if refs.clone_depth > 0 {
        options.extend(["--depth".to_owned(), refs.clone_depth.to_string()]);
    } else if sparse && refs.pulls.is_empty() {
        // One commit is all that a sparse checkout needs, unless something must be merged: then the common
        // ancestor has to be there.
        options.extend(["--depth".to_owned(), "1".to_owned()]);
    }
    options.extend_from_slice(&filter);

    let mut base = vec![
        step(&["init"]),
        step(&["config", "user.name", common.user_name]),
        step(&["config", "user.email", common.user_email]),
    ];
    if !common.cookie_path.is_empty() && refs.skip_submodules {
        base.push(step(&["config", "http.cookiefile", common.cookie_path]));
    }
    if sparse {
        base.push(step(&["sparse-checkout", "init"]));
    }
    if !refs.skip_fetch_head && !sparse {
        base.push(fetch(&options, &uri, &["--tags", "--prune"]));
    }
    if sparse {
        options.push("--no-tags".to_owned());
    }
    let (wanted, target) = if refs.base_sha.is_empty() {
        (base_ref.clone(), "FETCH_HEAD".to_owned())
    } else {
        let sha = named(&refs.base_sha)?;
        (sha.clone(), sha)
    };
    base.push(fetch(&options, &uri, &[&wanted]));
    if sparse {
        let mut set = step(&["sparse-checkout", "set"]);
        for pattern in &refs.sparse_checkout_files {
            if pattern.starts_with('-') {
                return Err(format!("the sparse checkout pattern {pattern:?} would be read as an option"));
            }
            set.args.push(pattern.clone());
        }
        base.push(set);
    }
    base.push(step(&["checkout", &target]));
    base.push(step(&["branch", "--force", &base_ref, &target]));
    base.push(step(&["checkout", &base_ref]));

    let mut merges = Vec::new();
    for pull in &refs.pulls {
        let what = if !pull.ref_.is_empty() {
            named(&pull.ref_)?
        } else if !pull.sha.is_empty() {
            named(&pull.sha)?
        } else {
            format!("pull/{}/head", pull.number)
        };
        let head = if pull.sha.is_empty() { "FETCH_HEAD".to_owned() } else { named(&pull.sha)? };
        merges
            .push(Merge { fetch: fetch(&filter, &uri, &[&what]), merge: step(&["merge", "--no-ff", &head]) });
    }
    let mut after = Vec::new();
    if !refs.skip_submodules {
        after.push(step(&["submodule", "update", "--init", "--recursive"]));
    }
    Ok(Plan { dir, uri, base, merges, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Pull;

    const COMMON: Common<'_> =
        Common { src_root: "/go", user_name: "ci-robot", user_email: "ci-robot@k8s.io", cookie_path: "" };

    fn refs() -> Refs {
        Refs { org: "o".into(), repo: "r".into(), base_ref: "main".into(), ..Refs::default() }
    }

    fn lines(refs: &Refs, common: &Common<'_>) -> Vec<String> {
        let plan = plan(refs, common).unwrap();
        let merges = plan.merges.into_iter().flat_map(|m| [m.fetch, m.merge]);
        plan.base.into_iter().chain(merges).chain(plan.after).map(|s| s.args.join(" ")).collect()
    }

    #[test]
    fn the_plain_case() {
        let mut refs = refs();
        refs.base_sha = "abc".into();
        refs.pulls = vec![
            Pull { number: 5, sha: "def".into(), ..Pull::default() },
            Pull { number: 6, ..Pull::default() },
            Pull { number: 7, sha: "123".into(), ref_: "refs/changes/07/7/1".into(), ..Pull::default() },
        ];
        let uri = "https://github.com/o/r.git";
        assert_eq!(
            lines(&refs, &COMMON),
            [
                "init",
                "config user.name ci-robot",
                "config user.email ci-robot@k8s.io",
                &format!("fetch {uri} --tags --prune"),
                &format!("fetch {uri} abc"),
                "checkout abc",
                "branch --force main abc",
                "checkout main",
                &format!("fetch {uri} def"),
                "merge --no-ff def",
                &format!("fetch {uri} pull/6/head"),
                "merge --no-ff FETCH_HEAD",
                &format!("fetch {uri} refs/changes/07/7/1"),
                "merge --no-ff 123",
                "submodule update --init --recursive",
            ]
        );
    }

    #[test]
    fn every_option_changes_its_commands() {
        let mut refs = refs();
        refs.repo_link = "https://git.example.com/o/r".into();
        refs.skip_submodules = true;
        refs.skip_fetch_head = true;
        refs.clone_depth = 3;
        refs.blobless_fetch = Some(true);
        refs.pulls = vec![Pull { number: 6, ..Pull::default() }];
        let uri = "https://git.example.com/o/r.git";
        assert_eq!(
            lines(&refs, &Common { cookie_path: "/c", ..COMMON }),
            [
                "init",
                "config user.name ci-robot",
                "config user.email ci-robot@k8s.io",
                "config http.cookiefile /c",
                &format!("fetch --depth 3 --filter=blob:none {uri} main"),
                "checkout FETCH_HEAD",
                "branch --force main FETCH_HEAD",
                "checkout main",
                &format!("fetch --filter=blob:none {uri} pull/6/head"),
                "merge --no-ff FETCH_HEAD",
            ]
        );
        assert_eq!(plan(&refs, &COMMON).unwrap().dir, Path::new("/go/src/git.example.com/o/r"));
        let sparse = Refs {
            sparse_checkout_files: vec!["a/*".into(), "b".into()],
            skip_submodules: true,
            ..super::tests::refs()
        };
        let uri = "https://github.com/o/r.git";
        assert_eq!(
            lines(&sparse, &COMMON)[3..6],
            [
                "sparse-checkout init".to_owned(),
                format!("fetch --depth 1 --filter=blob:none --no-tags {uri} main"),
                "sparse-checkout set a/* b".to_owned()
            ]
        );
    }

    #[test]
    fn hostile_refs_are_refused() {
        for spoil in [
            (|r: &mut Refs| r.base_ref = "--upload-pack=touch x".into()) as fn(&mut Refs),
            |r| r.base_ref = String::new(),
            |r| r.base_sha = "-x".into(),
            |r| r.clone_uri = "--config=x".into(),
            |r| r.path_alias = "../../etc".into(),
            |r| r.path_alias = "/etc".into(),
            |r| r.pulls = vec![Pull { sha: "--abort".into(), ..Pull::default() }],
            |r| r.pulls = vec![Pull { ref_: "+refs/*:refs/*".into(), ..Pull::default() }],
            |r| r.sparse_checkout_files = vec!["--stdin".into()],
        ] {
            let mut refs = refs();
            spoil(&mut refs);
            assert!(plan(&refs, &COMMON).is_err(), "{refs:?}");
        }
    }
}
