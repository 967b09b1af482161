//! The secrets webhooks are signed with (prow-runtime §2.2), and GitHub's `sha256=` signature.

use std::collections::HashMap;

use ::hmac::{Hmac, KeyInit, Mac};
use prow_api::Secret;
use sha2::Sha256;

/// The value of `X-Hub-Signature-256` for `body`: `sha256=` and 64 hex digits.
pub fn sign(body: &[u8], secret: &Secret) -> String {
    format!("sha256={}", hex::encode(mac(body, secret).finalize().into_bytes()))
}

/// True if `signature` (as [`sign`] writes it) was made with `secret`; compares in constant time.
pub fn matches(body: &[u8], signature: &str, secret: &Secret) -> bool {
    match signature.strip_prefix("sha256=").map(hex::decode) {
        Some(Ok(bytes)) => mac(body, secret).verify_slice(&bytes).is_ok(),
        _ => false,
    }
}

fn mac(body: &[u8], secret: &Secret) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes keys of any length");
    mac.update(body);
    mac
}

/// The content of `--hmac-secret-file`.
#[derive(Clone, Debug)]
pub struct Secrets {
    kind: Tokens,
}

#[derive(Clone, Debug)]
enum Tokens {
    /// The whole file is one token for everyone.
    Global(Secret),
    /// By `org/repo`, `org` or `*`.
    ByScope(HashMap<String, Vec<Secret>>),
}

#[derive(serde::Deserialize)]
struct Token {
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    created_at: Option<jiff::Timestamp>,
}

impl Secrets {
    /// One token for everyone.
    pub fn global(token: Secret) -> Self {
        Secrets { kind: Tokens::Global(token) }
    }

    /// Reads the file's text. `yaml` reads YAML as JSON and gives `None` for what is not YAML; this crate has no
    /// YAML reader of its own. What is not a map of scopes to lists of `{value, created_at}` is one global token,
    /// trimmed.
    pub fn parse(text: &str, yaml: impl FnOnce(&str) -> Option<serde_json::Value>) -> Self {
        let map = yaml(text)
            .and_then(|v| serde_json::from_value::<Option<HashMap<String, Option<Vec<Token>>>>>(v).ok());
        let Some(map) = map else { return Secrets::global(Secret::new(text.trim())) };
        let scopes = map.unwrap_or_default().into_iter().map(|(scope, tokens)| {
            let mut tokens = tokens.unwrap_or_default();
            // The newest is the likeliest to match.
            tokens.sort_by_key(|t| std::cmp::Reverse(t.created_at));
            (scope, tokens.into_iter().map(|t| Secret::new(t.value.unwrap_or_default())).collect())
        });
        Secrets { kind: Tokens::ByScope(scopes.collect()) }
    }

    /// The tokens that may sign for `scope` (`org/repo`, or `org` for an organization's own events): those of the
    /// most specific level that exists, with no fall-back to a wider one. `None` if no level exists.
    pub fn lookup(&self, scope: &str) -> Option<&[Secret]> {
        let map = match &self.kind {
            Tokens::Global(token) => return Some(std::slice::from_ref(token)),
            Tokens::ByScope(map) => map,
        };
        let org = scope.split('/').next().unwrap_or_default();
        [scope, org, "*"].into_iter().find_map(|key| map.get(key)).map(Vec::as_slice)
    }

    /// Every token, for the censor.
    pub fn all(&self) -> Vec<Secret> {
        match &self.kind {
            Tokens::Global(token) => vec![token.clone()],
            Tokens::ByScope(map) => map.values().flatten().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_like_github_documents() {
        // The example of GitHub's page "Validating webhook deliveries".
        let secret = Secret::new("It's a Secret to Everybody");
        let signature = sign(b"Hello, World!", &secret);
        assert_eq!(signature, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        assert!(matches(b"Hello, World!", &signature, &secret));
        assert!(!matches(b"Hello, World?", &signature, &secret));
        assert!(!matches(b"Hello, World!", &signature, &Secret::new("else")));
        assert!(!matches(b"Hello, World!", "sha256=zz", &secret) && !matches(b"", "sha1=00", &secret));
    }

    #[test]
    fn the_most_specific_level_alone_counts() {
        let json = |t: &str| serde_json::from_str(t).ok();
        let text = r#"{"*":[{"value":"star"}],"o":[{"value":"old","created_at":"2020-01-01T00:00:00Z"},
            {"value":"new","created_at":"2021-01-01T00:00:00Z"}],"o/r":[{"value":"repo"}],"none":[]}"#;
        let secrets = Secrets::parse(text, json);
        let cases: &[(&str, &[&str])] = &[
            ("o/r", &["repo"]),
            ("o/x", &["new", "old"]),
            ("o", &["new", "old"]),
            ("p/q", &["star"]),
            ("none/q", &[]),
            ("", &["star"]),
        ];
        for (scope, want) in cases {
            let got: Vec<_> =
                secrets.lookup(scope).unwrap().iter().map(|s| s.expose_str().unwrap()).collect();
            assert_eq!(got, *want, "{scope}");
        }
        assert!(Secrets::parse(r#"{"o":[]}"#, json).lookup("p/q").is_none());
        assert_eq!(secrets.all().len(), 4);
    }

    #[test]
    fn what_is_no_map_is_one_global_token() {
        let cases = [
            (" abc\n", None),
            ("abc", Some("\"abc\"")),
            ("o: [{created_at: soon}]", Some(r#"{"o":[{"created_at":"soon"}]}"#)),
        ];
        for (text, as_json) in cases {
            let secrets = Secrets::parse(text, |_| as_json.and_then(|j| serde_json::from_str(j).ok()));
            assert_eq!(secrets.lookup("any/thing").unwrap(), [Secret::new(text.trim())], "{text:?}");
        }
        // An empty file is an empty map in YAML: nobody may sign.
        assert!(Secrets::parse("", |_| Some(serde_json::Value::Null)).lookup("o/r").is_none());
    }
}
