//! What `/plugin-help` says about a plugin (prow-runtime §2.6). Member names are Go's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Help of one plugin. External plugins answer with the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PluginHelp {
    /// What it is for.
    pub description: String,
    /// How it is configured, as HTML, by `org/repo`; `""` for everywhere.
    #[serde(deserialize_with = "null_is_empty")]
    pub config: BTreeMap<String, String>,
    /// An example of its configuration, YAML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snippet: String,
    /// Events it looks at; see [`EVENT_GENERIC_COMMENT`] for the odd one.
    #[serde(deserialize_with = "null_is_empty")]
    pub events: Vec<String>,
    /// What people can write.
    #[serde(deserialize_with = "null_is_empty")]
    pub commands: Vec<Command>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Command {
    /// How it is written, such as `/test [<job name>|all]`.
    pub usage: String,
    /// Shown first.
    pub featured: bool,
    /// What it does.
    pub description: String,
    /// Whole comments.
    #[serde(deserialize_with = "null_is_empty")]
    pub examples: Vec<String>,
    /// Who may.
    pub who_can_use: String,
}

/// Name, in help, of plugins that look at any text that a user wrote.
pub const EVENT_GENERIC_COMMENT: &str = "GenericCommentEvent (any event for user text)";

/// The whole answer of `/plugin-help`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Help {
    /// Every repository that some plugin is enabled for, sorted.
    pub all_repos: Vec<String>,
    /// Plugin names by `org/repo`, by `org`, and all of them under `""`.
    pub repo_plugins: BTreeMap<String, Vec<String>>,
    /// The same of external plugins.
    pub repo_external_plugins: BTreeMap<String, Vec<String>>,
    /// By plugin name.
    pub plugin_help: BTreeMap<String, PluginHelp>,
    /// By plugin name; those that did not answer in time are missing.
    pub external_plugin_help: BTreeMap<String, PluginHelp>,
}

/// Go writes an absent list as null.
fn null_is_empty<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gos_and_null_lists_are_read() {
        let command = Command { usage: "/x".into(), who_can_use: "Anyone".into(), ..Command::default() };
        let help = PluginHelp { commands: vec![command], ..PluginHelp::default() };
        let json = serde_json::to_value(&help).unwrap();
        assert_eq!(json["Commands"][0]["WhoCanUse"], "Anyone");
        assert!(json.get("Snippet").is_none());
        let external: PluginHelp =
            serde_json::from_str(r#"{"Description":"d","Config":null,"Events":null,"Commands":null}"#)
                .unwrap();
        assert_eq!(external, PluginHelp { description: "d".into(), ..PluginHelp::default() });
    }
}
