//! The forge's payloads beside GitHub's own examples: every field that all examples of an event and action have.
//!
//! The examples are GitHub's; they are not part of this repository. `PROW_SPECS` names the folder they are in, by
//! default one beside the repository.

use std::collections::BTreeSet;

use prow_github::MergeMethod;
use serde_json::Value;

use crate::hooks::listening;

/// Fields the forge leaves out: links to what it does not serve, and what only GitHub Apps or signed commits have.
fn left_out(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    last.ends_with("_url")
        || matches!(
            last,
            "node_id" | "gravatar_id" | "_links" | "installation" | "reactions" | "verification"
        )
        || key.contains("_links.")
}

/// Paths of all fields; an item of a list counts as `[]`.
fn fields(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}{key}");
                fields(value, &format!("{path}."), into);
                into.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, &format!("{path}[]."), into)),
        _ => {}
    }
}

fn all_fields(value: &Value) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    fields(value, "", &mut set);
    set
}

/// True if what `key` is part of is there but empty here: null, or a list without items.
fn inside_empty(payload: &Value, key: &str) -> bool {
    let mut at = payload;
    for part in key.split('.') {
        at = match (part, at) {
            ("[]", Value::Array(items)) => match items.first() {
                Some(item) => item,
                None => return true,
            },
            (_, Value::Null) => return true,
            (name, value) => match value.get(name) {
                Some(value) => value,
                None => return false,
            },
        };
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_have_every_field_that_githubs_examples_share() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/specs");
    let dir = std::env::var_os("PROW_SPECS").unwrap_or_else(|| beside.into());
    let file = std::path::Path::new(&dir).join("github/webhook-examples.json");
    let Ok(text) = std::fs::read(&file) else {
        eprintln!("skipped: no {}; PROW_SPECS can name the folder", file.display());
        return;
    };
    let examples: Vec<Value> = serde_json::from_slice(&text).unwrap();

    let (world, mut receiver) = listening().await;
    let (clone, _) = world.pull_request().await;
    clone.write("new.txt", "newer\n");
    let head = clone.commit("Fly higher").await;
    clone.git(&["push", "--quiet", "origin", "feature"]).await;
    let bot = world.client("bot");
    let said = bot.create_comment("acme", "rocket", 1, "/retest").await.unwrap();
    bot.edit_comment("acme", "rocket", said.id, "/test all").await.unwrap();
    bot.delete_comment("acme", "rocket", said.id).await.unwrap();
    let issue = bot.create_issue("acme", "rocket", "It leaks", "Oil.").await.unwrap();
    for number in [1, issue.number] {
        bot.add_label("acme", "rocket", number, "lgtm").await.unwrap();
        bot.remove_label("acme", "rocket", number, "lgtm").await.unwrap();
    }
    let status =
        prow_github::Status { state: "success".into(), context: "unit".into(), ..Default::default() };
    bot.create_status("acme", "rocket", &head, &status).await.unwrap();
    bot.close_pull_request("acme", "rocket", 1).await.unwrap();
    bot.reopen_pull_request("acme", "rocket", 1).await.unwrap();
    bot.merge("acme", "rocket", 1, &head, MergeMethod::Merge).await.unwrap();
    receiver.next_of("pull_request", Some("closed")).await;

    let mut compared = BTreeSet::new();
    for delivery in world.forge.deliveries() {
        let payload: Value = serde_json::from_str(&delivery.payload).unwrap();
        let ours = all_fields(&payload);
        let same = |e: &&Value| e["action"].as_str() == delivery.action.as_deref();
        let kind = examples.iter().find(|k| k["name"] == delivery.event.as_str()).unwrap();
        let theirs: Vec<_> =
            kind["examples"].as_array().unwrap().iter().filter(same).map(all_fields).collect();
        let Some(shared) = theirs.into_iter().reduce(|a, b| a.intersection(&b).cloned().collect()) else {
            continue;
        };
        let missing: Vec<_> = shared
            .difference(&ours)
            .filter(|key| {
                let parents = key.match_indices('.').map(|(end, _)| &key[..end]);
                !left_out(key) && !parents.into_iter().any(left_out) && !inside_empty(&payload, key)
            })
            .collect();
        assert!(missing.is_empty(), "{} {:?} lacks {missing:?}", delivery.event, delivery.action);
        compared.insert((delivery.event, delivery.action));
    }
    assert!(compared.len() >= 10, "{compared:?}");
}
