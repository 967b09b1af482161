//! Which texts may be handed to git as ref names, revisions and object ids.
//!
//! Refs and branch names come from pull requests and are hostile: a leading `-` would be read as an option,
//! `@{…}` and `:` reach the revision grammar. The rules are those of `git check-ref-format`, and one more:
//! nothing begins with `-`.

use crate::{GitError, Result};

fn bad(name: &str, what: &'static str, why: &'static str) -> GitError {
    GitError::BadName { name: name.chars().take(200).collect(), what, why }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > 1024 {
        return Some("it is longer than 1024 bytes");
    }
    if name.starts_with('-') {
        return Some("it begins with '-' and would be read as an option");
    }
    if name.starts_with('/') || name.ends_with('/') || name.contains("//") {
        return Some("it has an empty component");
    }
    if name.ends_with('.') {
        return Some("it ends with '.'");
    }
    if name.contains("..") {
        return Some("it contains '..'");
    }
    if name == "@" || name.contains("@{") {
        return Some("'@' alone and '@{' have a meaning of their own");
    }
    if name.bytes().any(|b| b <= b' ' || b == 0x7f || b"~^:?*[\\".contains(&b)) {
        return Some("it contains a space, a control character or one of ~^:?*[\\");
    }
    for component in name.split('/') {
        if component.starts_with('.') {
            return Some("a component begins with '.'");
        }
        if component.ends_with(".lock") {
            return Some("a component ends with '.lock'");
        }
    }
    None
}

/// A full ref name such as `refs/heads/main`, or `HEAD`.
pub fn check_ref_name(name: &str) -> Result<&str> {
    if let Some(why) = broken_rule(name) {
        return Err(bad(name, "ref name", why));
    }
    if !name.contains('/') && name != "HEAD" {
        return Err(bad(name, "ref name", "it needs at least two components, such as refs/heads/main"));
    }
    Ok(name)
}

/// A branch or tag name without its `refs/heads/`, such as `main` or `release-1.0`.
pub fn check_branch_name(name: &str) -> Result<&str> {
    match broken_rule(name) {
        Some(why) => Err(bad(name, "branch name", why)),
        None if name == "HEAD" => Err(bad(name, "branch name", "HEAD names the current commit")),
        None => Ok(name),
    }
}

/// True for a full hexadecimal object id, SHA-1 or SHA-256.
pub fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A full object id.
pub fn check_object_id(text: &str) -> Result<&str> {
    if is_object_id(text) { Ok(text) } else { Err(bad(text, "object id", "it is not 40 or 64 hex digits")) }
}

/// Something that names one commit: an object id (whole or abbreviated), a ref or a branch. No revision
/// grammar (`~1`, `^{tree}`, ranges) gets through.
pub fn check_revision(text: &str) -> Result<&str> {
    match broken_rule(text) {
        Some(why) => Err(bad(text, "revision", why)),
        None => Ok(text),
    }
}

/// A path inside a tree, relative, without `.` or `..` components.
pub fn check_tree_path(path: &str) -> Result<&str> {
    let why = if path.is_empty() {
        "it is empty"
    } else if path.starts_with('/') {
        "it is absolute"
    } else if path.contains(['\n', '\0']) {
        "it contains a line break or NUL"
    } else if path.split('/').any(|c| matches!(c, "" | "." | "..")) {
        "it has an empty, '.' or '..' component"
    } else {
        return Ok(path);
    };
    Err(bad(path, "path", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ref_names_follow_check_ref_format() {
        for good in ["refs/heads/main", "refs/pull/12/head", "HEAD", "refs/heads/feature/ü-x", "heads/a.b"] {
            assert!(check_ref_name(good).is_ok(), "{good}");
        }
        for evil in [
            "",
            "main",
            "-refs/heads/x",
            "refs/heads/-/../x",
            "refs//x",
            "/refs/x",
            "refs/x/",
            "refs/.x",
            "refs/x.lock",
            "refs/x.lock/y",
            "refs/x..y",
            "refs/x y",
            "refs/x\ny",
            "refs/x~1",
            "refs/x^",
            "refs/x:y",
            "refs/x?",
            "refs/x*",
            "refs/[x",
            "refs/x\\y",
            "refs/x@{1}",
            "refs/x.",
            "@",
            "refs/\u{7f}",
        ] {
            assert!(check_ref_name(evil).is_err(), "{evil:?}");
        }
    }

    #[test]
    fn branches_and_revisions_never_look_like_options() {
        assert!(check_branch_name("main").is_ok());
        assert!(check_branch_name("--upload-pack=evil").is_err());
        assert!(check_branch_name("HEAD").is_err());
        assert!(check_revision("0123abc").is_ok());
        assert!(check_revision("main^{tree}").is_err());
        assert!(check_revision("-x").is_err());
        assert!(check_object_id(&"a".repeat(40)).is_ok());
        assert!(check_object_id("abc").is_err());
    }

    #[test]
    fn tree_paths_stay_inside() {
        assert!(check_tree_path("a/b c/d.yaml").is_ok());
        for evil in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\nb"] {
            assert!(check_tree_path(evil).is_err(), "{evil:?}");
        }
    }

    proptest::proptest! {
        /// git itself is the judge: what we let through as a ref name, it accepts too.
        #[test]
        fn whatever_passes_here_passes_git(name in "refs/[a-zA-Z0-9./@{~^:\\- _]{1,12}") {
            if check_ref_name(&name).is_ok() {
                let ok = std::process::Command::new("git").args(["check-ref-format", &name]).status().unwrap();
                proptest::prop_assert!(ok.success(), "git refuses {:?}", name);
            }
        }
    }
}
