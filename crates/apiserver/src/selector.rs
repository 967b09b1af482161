//! Label and field selectors: the grammar of `labelSelector` and `fieldSelector`, and what they match.

use crate::resources::Resource;
use crate::status::ApiError;
use crate::store::event::Attrs;

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelRule {
    In(String, Vec<String>),
    /// Also holds where the label is absent, as in Kubernetes.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    GreaterThan(String, i64),
    LessThan(String, i64),
}

/// One requirement on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRule {
    path: String,
    value: String,
    equal: bool,
}

/// What a list, watch or deletecollection is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<LabelRule>,
    fields: Vec<FieldRule>,
}

impl Selector {
    /// Reads both query parameters, each empty if it was not given.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Selector, ApiError> {
        Ok(Selector { labels: parse_labels(labels)?, fields: parse_fields(resource, fields)? })
    }

    /// The one name that can match, if the selector says so.
    pub fn pinned_name(&self) -> Option<&str> {
        self.fields.iter().find(|f| f.equal && f.path == "metadata.name").map(|f| f.value.as_str())
    }

    /// True if it looks at labels or at fields other than name and namespace.
    pub fn needs_attrs(&self) -> bool {
        !self.labels.is_empty() || self.needs_fields()
    }

    /// True if it looks at fields other than name and namespace.
    pub fn needs_fields(&self) -> bool {
        self.fields.iter().any(|f| !f.path.starts_with("metadata."))
    }

    /// Does the part that looks at name and namespace match?
    pub fn matches_key(&self, namespace: &str, name: &str) -> bool {
        self.fields.iter().all(|f| match f.path.as_str() {
            "metadata.name" => (f.value == name) == f.equal,
            "metadata.namespace" => (f.value == namespace) == f.equal,
            _ => true,
        })
    }

    /// Does the rest match?
    pub fn matches_attrs(&self, attrs: &Attrs) -> bool {
        let labels = self.labels.iter().all(|rule| {
            let value = |key: &String| attrs.labels.get(key);
            let number = |key: &String| value(key).and_then(|v| v.parse::<i64>().ok());
            match rule {
                LabelRule::In(k, values) => value(k).is_some_and(|v| values.contains(v)),
                LabelRule::NotIn(k, values) => value(k).is_none_or(|v| !values.contains(v)),
                LabelRule::Exists(k) => value(k).is_some(),
                LabelRule::Absent(k) => value(k).is_none(),
                LabelRule::GreaterThan(k, than) => number(k).is_some_and(|n| n > *than),
                LabelRule::LessThan(k, than) => number(k).is_some_and(|n| n < *than),
            }
        });
        labels
            && self
                .fields
                .iter()
                .filter(|f| !f.path.starts_with("metadata."))
                .all(|f| (attrs.fields.get(&f.path).map_or("", String::as_str) == f.value) == f.equal)
    }
}

fn bad_labels(text: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("unable to parse requirement in label selector {text:?}: {why}"))
}

/// Splits at top-level commas: those outside of parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_labels(text: &str) -> Result<Vec<LabelRule>, ApiError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    requirements(text).into_iter().map(|part| parse_label(text, part.trim())).collect()
}

fn parse_label(text: &str, part: &str) -> Result<LabelRule, ApiError> {
    let key = |k: &str| {
        let k = k.trim();
        match crate::names::label_key_problem(k) {
            None => Ok(k.to_owned()),
            Some(why) => Err(bad_labels(text, &format!("key {k:?}: {why}"))),
        }
    };
    let value = |v: &str| {
        let v = v.trim();
        match crate::names::label_value_problem(v) {
            None => Ok(v.to_owned()),
            Some(why) => Err(bad_labels(text, &format!("value {v:?}: {why}"))),
        }
    };
    if let Some(rest) = part.strip_prefix('!') {
        return Ok(LabelRule::Absent(key(rest)?));
    }
    if let Some(open) = part.find('(') {
        let inner = part[open + 1..]
            .strip_suffix(')')
            .ok_or_else(|| bad_labels(text, "a set must end with a parenthesis"))?;
        let values = inner.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let words: Vec<&str> = part[..open].split_whitespace().collect();
        return match words[..] {
            [k, "in"] => Ok(LabelRule::In(key(k)?, values)),
            [k, "notin"] => Ok(LabelRule::NotIn(key(k)?, values)),
            _ => Err(bad_labels(text, "expected KEY in (...) or KEY notin (...)")),
        };
    }
    if let Some((k, v)) = part.split_once("!=") {
        return Ok(LabelRule::NotIn(key(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(LabelRule::In(key(k)?, vec![value(v)?]));
    }
    let number =
        |v: &str| v.trim().parse::<i64>().map_err(|_| bad_labels(text, "> and < compare with an integer"));
    if let Some((k, v)) = part.split_once('>') {
        return Ok(LabelRule::GreaterThan(key(k)?, number(v)?));
    }
    if let Some((k, v)) = part.split_once('<') {
        return Ok(LabelRule::LessThan(key(k)?, number(v)?));
    }
    Ok(LabelRule::Exists(key(part)?))
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<FieldRule>, ApiError> {
    let mut rules = Vec::new();
    for part in split_fields(text) {
        let Some((path, equal, value)) = split_field(&part) else {
            return Err(ApiError::bad_request(format!(
                "invalid field selector {text:?}: {part:?} has no = or !="
            )));
        };
        let known = path == "metadata.name"
            || (path == "metadata.namespace" && resource.namespaced)
            || resource.fields.contains(&path);
        if !known {
            return Err(ApiError::bad_request(format!("field label not supported: {path}")));
        }
        rules.push(FieldRule { path: path.to_owned(), value: unescape(value), equal });
    }
    Ok(rules)
}

/// Splits at commas that are not escaped; empty parts fall away.
fn split_fields(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut escaped) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        escaped = c == '\\' && !escaped;
        part.push(c);
    }
    parts.push(part);
    parts.retain(|p| !p.is_empty());
    parts
}

fn split_field(part: &str) -> Option<(&str, bool, &str)> {
    let at = part.find('=')?;
    if let Some(path) = part[..at].strip_suffix('!') {
        return Some((path, false, &part[at + 1..]));
    }
    let value = &part[at + 1..];
    Some((&part[..at], true, value.strip_prefix('=').unwrap_or(value)))
}

fn unescape(value: &str) -> String {
    let (mut text, mut escaped) = (String::new(), false);
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::resources::find;

    fn attrs(pairs: &[(&str, &str)], fields: &[(&str, &str)]) -> Attrs {
        let map = |p: &[(&str, &str)]| -> BTreeMap<String, String> {
            p.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        Attrs { labels: map(pairs), fields: map(fields) }
    }

    #[test]
    fn label_selectors() {
        let pods = find("", "v1", "pods").unwrap();
        let object = attrs(&[("a", "1"), ("prow.k8s.io/type", "presubmit"), ("e", "")], &[]);
        for (text, expected) in [
            ("", true),
            ("a=1", true),
            ("a==1", true),
            ("a = 1", true),
            ("a=2", false),
            ("a!=2", true),
            ("b!=2", true),
            ("a!=1", false),
            ("a in (0, 1)", true),
            ("a in (0,2)", false),
            ("b in (1)", false),
            ("a notin (0,2)", true),
            ("b notin (1)", true),
            ("a notin (1)", false),
            ("a", true),
            ("b", false),
            ("!b", true),
            ("!a", false),
            ("e=", true),
            ("b=", false),
            ("a>0", true),
            ("a<1", false),
            ("a=1,prow.k8s.io/type in (presubmit,batch),!zz", true),
            ("a=1,prow.k8s.io/type=batch", false),
        ] {
            let s = Selector::parse(pods, text, "").unwrap();
            assert_eq!(s.matches_attrs(&object), expected, "{text}");
        }
        for text in ["a in 1", "a in (1", "=1", "a=b c", "-a=1", ",", "a of (1)", "a>x"] {
            assert_eq!(Selector::parse(pods, text, "").unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn field_selectors() {
        let pods = find("", "v1", "pods").unwrap();
        let object = attrs(&[], &[("spec.nodeName", "n1"), ("status.phase", "Running")]);
        for (text, expected) in [
            ("metadata.name=p", true),
            ("metadata.name==p", true),
            ("metadata.name=q", false),
            ("metadata.name!=q", true),
            ("metadata.namespace=ns,spec.nodeName=n1", true),
            ("metadata.namespace=other", false),
            ("spec.nodeName=", false),
            ("spec.nodeName!=", true),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("status.podIP=", true),
        ] {
            let s = Selector::parse(pods, "", text).unwrap();
            assert_eq!(s.matches_key("ns", "p") && s.matches_attrs(&object), expected, "{text}");
        }
        let e = Selector::parse(pods, "", "spec.hostname=x").unwrap_err();
        assert_eq!((e.code, e.message.as_str()), (400, "field label not supported: spec.hostname"));
        assert_eq!(Selector::parse(pods, "", "nonsense").unwrap_err().code, 400);
    }

    #[test]
    fn field_values_may_be_escaped() {
        let events = find("", "v1", "events").unwrap();
        let object = attrs(&[], &[("involvedObject.fieldPath", "a,b=c")]);
        let s = Selector::parse(events, "", r"involvedObject.fieldPath=a\,b\=c").unwrap();
        assert!(s.matches_attrs(&object));
    }

    #[test]
    fn names_alone_need_no_attributes() {
        let pods = find("", "v1", "pods").unwrap();
        assert!(!Selector::parse(pods, "", "metadata.name=a").unwrap().needs_attrs());
        assert_eq!(Selector::parse(pods, "", "metadata.name=a").unwrap().pinned_name(), Some("a"));
        assert_eq!(Selector::parse(pods, "", "metadata.name!=a").unwrap().pinned_name(), None);
        assert!(Selector::parse(pods, "", "status.phase=Running").unwrap().needs_attrs());
        assert!(Selector::parse(pods, "a", "").unwrap().needs_attrs());
    }
}
