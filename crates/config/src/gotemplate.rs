//! Go's text/template (prow-config §11.1), compiled when the configuration is loaded.

use gtmpl_ng::{Context, FuncError, Template, Value as TemplateValue};
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
        template.add_func("replace", replace);
        template.parse(source).map_err(|e| TemplateError::Parse(e.to_string()))?;
        Ok(GoTemplate { source: source.into(), compiled: Some(Arc::new(template)) })
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

/// `replace old new src`: what jenkins_operators' templates may use beside the built-ins.
fn replace(args: &[TemplateValue]) -> Result<TemplateValue, FuncError> {
    let [TemplateValue::String(old), TemplateValue::String(new), TemplateValue::String(text)] = args else {
        return Err(FuncError::Generic("replace wants three strings: old, new, text".into()));
    };
    Ok(TemplateValue::String(text.replace(old.as_str(), new)))
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
