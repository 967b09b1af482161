//! What Kubernetes takes as a name, label or annotation; the texts are those of its own validation.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::Cause;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
                         or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                     must start and end with an alphanumeric character";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
                         end with an alphanumeric character";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                     '.', and must start and end with an alphanumeric character";
/// All annotations of an object together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 << 10;

fn is_lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// What is wrong with a DNS label of at most 63 characters.
pub fn dns_label_problem(name: &str) -> Option<String> {
    if name.len() > 63 {
        return Some("must be no more than 63 characters".to_owned());
    }
    let b = name.as_bytes();
    let ok = !b.is_empty()
        && b.iter().all(|c| is_lower_alnum(*c) || *c == b'-')
        && is_lower_alnum(b[0])
        && is_lower_alnum(b[b.len() - 1]);
    (!ok).then(|| LABEL.to_owned())
}

/// What is wrong with a DNS subdomain of at most 253 characters.
pub fn dns_subdomain_problem(name: &str) -> Option<String> {
    if name.len() > 253 {
        return Some("must be no more than 253 characters".to_owned());
    }
    let part_ok = |part: &str| {
        let b = part.as_bytes();
        !b.is_empty()
            && b.iter().all(|c| is_lower_alnum(*c) || *c == b'-')
            && is_lower_alnum(b[0])
            && is_lower_alnum(b[b.len() - 1])
    };
    (!name.split('.').all(part_ok)).then(|| SUBDOMAIN.to_owned())
}

fn is_qualified_part(part: &str) -> bool {
    let b = part.as_bytes();
    !b.is_empty()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
}

/// What is wrong with a label key (or annotation key).
pub fn label_key_problem(key: &str) -> Option<String> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if prefix.is_empty() || dns_subdomain_problem(prefix).is_some() {
                return Some(format!("prefix part {SUBDOMAIN}"));
            }
            name
        }
        None => key,
    };
    if name.len() > 63 {
        return Some("name part must be no more than 63 characters".to_owned());
    }
    (!is_qualified_part(name)).then(|| QUALIFIED.to_owned())
}

/// What is wrong with a label value.
pub fn label_value_problem(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 characters".to_owned());
    }
    (!value.is_empty() && !is_qualified_part(value)).then(|| VALUE.to_owned())
}

/// Adds what is wrong with an object's metadata.
pub fn check_metadata(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or("");
    let problem =
        if resource.is_namespaces() { dns_label_problem(name) } else { dns_subdomain_problem(name) };
    if let Some(why) = problem {
        causes.push(Cause::invalid("metadata.name", &meta["name"], &why));
    }
    if let Some(labels) = meta["labels"].as_object() {
        for (key, value) in labels {
            let problem = label_key_problem(key);
            if let Some(why) = problem {
                causes.push(Cause::invalid("metadata.labels", &Value::from(key.as_str()), &why));
            }
            match value.as_str() {
                Some(text) => {
                    if let Some(why) = label_value_problem(text) {
                        causes.push(Cause::invalid("metadata.labels", value, &why));
                    }
                }
                None => causes.push(Cause::type_invalid("metadata.labels", value, "must be of type string")),
            }
        }
    }
    if let Some(annotations) = meta["annotations"].as_object() {
        let mut total = 0;
        for (key, value) in annotations {
            // Annotation keys may have upper case, which their check maps away.
            if let Some(why) = label_key_problem(&key.to_lowercase()) {
                causes.push(Cause::invalid("metadata.annotations", &Value::from(key.as_str()), &why));
            }
            match value.as_str() {
                Some(text) => total += key.len() + text.len(),
                None => {
                    causes.push(Cause::type_invalid("metadata.annotations", value, "must be of type string"))
                }
            }
        }
        if total > ANNOTATIONS_LIMIT {
            causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
        }
    }
    for owner in meta["ownerReferences"].as_array().into_iter().flatten() {
        for member in ["apiVersion", "kind", "name", "uid"] {
            if owner[member].as_str().is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences.{member}");
                causes.push(Cause::invalid(field, &owner[member], "must not be empty"));
            }
        }
    }
    if let Some(finalizers) = meta["finalizers"].as_array() {
        for f in finalizers {
            let problem = match f.as_str() {
                Some(text) => label_key_problem(text),
                None => Some("must be of type string".to_owned()),
            };
            if let Some(why) = problem {
                causes.push(Cause::invalid("metadata.finalizers", f, &why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for ok in ["a", "a-b.c", "0123", "my-job-x.y"] {
            assert_eq!(dns_subdomain_problem(ok), None, "{ok}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", &"a".repeat(254)] {
            assert!(dns_subdomain_problem(bad).is_some(), "{bad}");
        }
        assert!(dns_label_problem("a.b").is_some());
        assert!(dns_label_problem(&"a".repeat(64)).is_some());
    }

    #[test]
    fn labels() {
        for ok in ["a", "prow.k8s.io/id", "created-by-prow", "x/Y_z.1"] {
            assert_eq!(label_key_problem(ok), None, "{ok}");
        }
        for bad in ["", "/a", "a/", "a b", "A_/x", "_a", "a/b/c"] {
            assert!(label_key_problem(bad).is_some(), "{bad}");
        }
        for ok in ["", "a", "A_b.c-1"] {
            assert_eq!(label_value_problem(ok), None, "{ok}");
        }
        for bad in ["a/b", "-a", "a b", &"a".repeat(64)] {
            assert!(label_value_problem(bad).is_some(), "{bad}");
        }
    }
}
