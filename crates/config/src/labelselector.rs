//! Kubernetes' label selectors in their text form: what configuration may say (prow-config §4.4, §4.14).

use crate::validate::{is_label_value, is_qualified_name};

/// Why a text is no label selector.
type Check = Result<(), String>;

/// Whether a text is a label selector: requirements joined with commas, such as `a=b,c notin (d, e),!f`.
pub(crate) fn check(text: &str) -> Check {
    if text.trim().is_empty() {
        return Ok(());
    }
    requirements(text).into_iter().try_for_each(|part| requirement(part.trim()))
}

/// Split at commas that are not in parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        inside = (inside || c == '(') && c != ')';
        c == ',' && !inside
    })
    .collect()
}

fn requirement(text: &str) -> Check {
    if text.is_empty() {
        return Err("a requirement is empty".into());
    }
    if let Some(absent) = text.strip_prefix('!') {
        return key(absent.trim());
    }
    if let Some((left, set)) = text.split_once('(') {
        let words: Vec<&str> = left.split_whitespace().collect();
        let [name, "in" | "notin"] = words.as_slice() else {
            return Err(format!("{text:?} is not written as KEY in (VALUES) or KEY notin (VALUES)"));
        };
        let Some(values) = set.trim_end().strip_suffix(')') else {
            return Err(format!("{text:?} wants a closing parenthesis"));
        };
        key(name)?;
        return values.split(',').try_for_each(|v| value(v.trim()));
    }
    for operator in ["!=", "==", "="] {
        if let Some((name, wanted)) = text.split_once(operator) {
            key(name.trim())?;
            return value(wanted.trim());
        }
    }
    for operator in ['>', '<'] {
        if let Some((name, wanted)) = text.split_once(operator) {
            key(name.trim())?;
            let number = wanted.trim().parse::<i64>();
            return number.map(drop).map_err(|_| format!("{:?} is not a whole number", wanted.trim()));
        }
    }
    key(text)
}

fn key(text: &str) -> Check {
    if is_qualified_name(text) { Ok(()) } else { Err(format!("{text:?} is no label key")) }
}

fn value(text: &str) -> Check {
    if is_label_value(text) { Ok(()) } else { Err(format!("{text:?} is no label value")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_what_kubernetes_takes() {
        for good in [
            "",
            "a",
            "!a",
            "a=b",
            "a == b",
            "a!=b",
            "a=",
            "x.io/a in (b, c),d notin (e),!f",
            "a in ()",
            "n>1,n<3",
            "prow.k8s.io/type=presubmit, master in (one,two)",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "a,",
            ",",
            "a b",
            "a=b c",
            "a in b",
            "a in (b",
            "within (b)",
            "a at (b)",
            "a>b",
            "=b",
            "-a",
            "a/b/c",
            "!",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
