//! Names of images: what they mean without a registry, and whose credentials are for them. Pure.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// The registry of names that have none, and how its credentials are filed.
const DOCKER: &str = "docker.io";
const DOCKER_FILED: [&str; 3] = ["index.docker.io", "registry-1.docker.io", DOCKER];

/// An image's whole name, as `docker.io/library/alpine:latest` for `alpine`; `None` if it is no name of an image.
pub fn whole(image: &str) -> Option<String> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    if let Some(digest) = digest {
        let (algorithm, hex) = digest.split_once(':')?;
        let fine = algorithm.bytes().all(|b| b.is_ascii_alphanumeric()) && !algorithm.is_empty();
        if !fine || hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
            return None;
        }
    }
    let (path, tag) = split_tag(name);
    let tag_fine = |t: &str| {
        !t.is_empty()
            && t.len() <= 128
            && !t.starts_with(['.', '-'])
            && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    if tag.is_some_and(|t| !tag_fine(t)) {
        return None;
    }
    let (host, rest) = match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
        Some(_) => (DOCKER, path.to_owned()),
        None => (DOCKER, format!("library/{path}")),
    };
    let part_fine = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && p.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
    };
    let host_fine = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if !host_fine || !rest.split('/').all(part_fine) {
        return None;
    }
    Some(match (tag, digest) {
        (_, Some(digest)) => format!("{host}/{rest}@{digest}"),
        (Some(tag), None) => format!("{host}/{rest}:{tag}"),
        (None, None) => format!("{host}/{rest}:latest"),
    })
}

fn split_tag(name: &str) -> (&str, Option<&str>) {
    let last = name.rfind('/').map_or(0, |at| at + 1);
    match name[last..].find(':') {
        Some(at) => (&name[..last + at], Some(&name[last + at + 1..])),
        None => (name, None),
    }
}

/// A whole name as the engine's pull takes it; a digest stays in the name.
pub fn name_and_tag(image: &str) -> (&str, &str) {
    if image.contains('@') {
        return (image, "");
    }
    let (name, tag) = split_tag(image);
    (name, tag.unwrap_or_default())
}

/// True if the policy has to ask the registry even if the image is there: `Always`, or none and the tag is `latest`.
pub fn pull_always(policy: Option<&str>, whole: &str) -> bool {
    match policy {
        Some("Always") => true,
        Some(_) => false,
        None => whole.ends_with(":latest"),
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// True if credentials that are filed under this host are for that one: the same, or each part of its name matches.
fn host_matches(filed: &str, host: &str) -> bool {
    let (mut ours, mut theirs) = (filed.split('.'), host.split('.'));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern, part) => {}
            _ => return false,
        }
    }
}

/// A part of a host's name; `*` stands for any number of characters.
fn part_matches(pattern: &str, part: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == part,
        Some((head, rest)) => part.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices()
                .map(|(at, _)| at)
                .chain([tail.len()])
                .any(|at| part_matches(rest, &tail[at..]))
        }),
    }
}

/// What `X-Registry-Auth` takes for each of the credentials that are for the image, the closest match first. `config` is
/// the content of `.dockerconfigjson`, or of the older `.dockercfg`, which has no `auths` around it. Secret.
pub fn credentials(config: &[u8], whole: &str) -> Vec<String> {
    let auths = match serde_json::from_slice::<DockerConfig>(config) {
        Ok(config) if !config.auths.is_empty() => config.auths,
        _ => serde_json::from_slice(config).unwrap_or_default(),
    };
    let (name, _) = name_and_tag(whole.split('@').next().unwrap_or_default());
    let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
    let mut found: Vec<(usize, String)> = Vec::new();
    for (filed, auth) in auths {
        let place = filed.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        // Docker's own registry is filed under `https://index.docker.io/v1/`.
        let (host, path) =
            if DOCKER_FILED.contains(&host) { (DOCKER, path.trim_start_matches("v1")) } else { (host, path) };
        let path = path.trim_matches('/');
        let path_is_for = path.is_empty()
            || repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !host_matches(host, registry) || !path_is_for {
            continue;
        }
        let decoded = BASE64_STANDARD.decode(auth.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        let (user, password) = match decoded.as_deref().and_then(|d| d.split_once(':')) {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            None => (auth.username, auth.password),
        };
        let value = json!({"username": user, "password": password, "identitytoken": auth.identitytoken, "serveraddress": registry});
        found.push((host.len() + path.len(), BASE64_URL_SAFE.encode(value.to_string())));
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, header)| header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_whole_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("alpine", Some("docker.io/library/alpine:latest".to_owned())),
            ("alpine:3", Some("docker.io/library/alpine:3".to_owned())),
            ("org/tool", Some("docker.io/org/tool:latest".to_owned())),
            ("gcr.io/p/i:v1", Some("gcr.io/p/i:v1".to_owned())),
            ("localhost/i", Some("localhost/i:latest".to_owned())),
            ("127.0.0.1:5000/i", Some("127.0.0.1:5000/i:latest".to_owned())),
            (&format!("gcr.io/p/i:v1@{digest}"), Some(format!("gcr.io/p/i@{digest}"))),
            ("", None),
            ("Upper", None),
            ("a b", None),
            ("a:", None),
            ("a/../b", None),
            ("-a", None),
            ("a@sha256:zz", None),
            ("a?x=y", None),
        ];
        for (image, want) in cases {
            assert_eq!(whole(image), want, "{image:?}");
        }
        assert_eq!(name_and_tag("h:1/a/b:t"), ("h:1/a/b", "t"));
        assert!(
            pull_always(None, "a:latest")
                && !pull_always(None, "a:1")
                && !pull_always(Some("Never"), "a:latest")
        );
    }

    #[test]
    fn credentials_are_for_the_registry_they_are_filed_under() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": BASE64_STANDARD.encode("d:1")},
            "gcr.io": {"username": "g", "password": "2"},
            "gcr.io/p": {"auth": BASE64_STANDARD.encode("p:3")},
            "https://*.registry.example:5000": {"auth": BASE64_STANDARD.encode("w:4")},
        }})
        .to_string();
        let users = |image: &str| -> Vec<String> {
            credentials(config.as_bytes(), image)
                .iter()
                .map(|h| {
                    let text = BASE64_URL_SAFE.decode(h).unwrap();
                    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
                    format!("{}:{}", value["username"].as_str().unwrap(), value["password"].as_str().unwrap())
                })
                .collect()
        };
        assert_eq!(users("docker.io/library/alpine:latest"), ["d:1"]);
        assert_eq!(users("gcr.io/p/i:1"), ["p:3", "g:2"]);
        assert_eq!(users("gcr.io/pp/i:1"), ["g:2"]);
        assert!(users("gcr.io.evil.example/p/i:1").is_empty() && credentials(b"{", "a").is_empty());
        assert_eq!(users("eu.registry.example:5000/p/i:1"), ["w:4"]);
        assert!(users("registry.example:5000/p/i:1").is_empty(), "a wildcard stands for one part");
        assert!(users("a.b.registry.example:5000/p/i:1").is_empty(), "a wildcard stands for one part");
        let older = json!({"gcr.io": {"auth": BASE64_STANDARD.encode("o:5")}}).to_string();
        assert_eq!(credentials(older.as_bytes(), "gcr.io/p/i:1").len(), 1);
        assert!(credentials(older.as_bytes(), "other.example/p/i:1").is_empty());
    }
}
