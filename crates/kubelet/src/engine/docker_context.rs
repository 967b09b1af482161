//! Where the `docker` command's own configuration says that the engine is: `docker context use` is how rootless Docker and
//! Docker Desktop make themselves known.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The context that there always is, and that means DOCKER_HOST or the usual socket.
const DEFAULT: &str = "default";

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    name: String,
    #[serde(default)]
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
}

/// The endpoint, as `unix:///path`, of the context that is `named` or else the current one of this directory, which is
/// usually `~/.docker`. `None` for the default; an error says why a context cannot be used.
pub fn endpoint(dir: &Path, named: Option<&str>) -> Option<Result<String, String>> {
    let named = named.filter(|n| !n.is_empty()).map(str::to_owned);
    let name = named.or_else(|| {
        let text = std::fs::read(dir.join("config.json")).ok()?;
        Some(serde_json::from_slice::<Config>(&text).ok()?.current_context)
    })?;
    if name.is_empty() || name == DEFAULT {
        return None;
    }
    // Directories are named after a hash of the name, and hold the name.
    let metas = std::fs::read_dir(dir.join("contexts/meta")).into_iter().flatten().flatten();
    let meta = metas
        .filter_map(|entry| std::fs::read(entry.path().join("meta.json")).ok())
        .filter_map(|text| serde_json::from_slice::<Meta>(&text).ok())
        .find(|meta| meta.name == name);
    let host = meta.and_then(|mut meta| meta.endpoints.remove("docker")).map(|e| e.host);
    Some(match host {
        Some(host) if !host.is_empty() => Ok(host),
        _ => Err(format!(
            "the docker context {name:?} names no engine in {}; see `docker context ls`",
            dir.display()
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_context_in_use_names_the_engine() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        assert_eq!(endpoint(dir, None), None, "docker was never used here");
        let meta = dir.join("contexts/meta/aaaa");
        fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name": "rootless", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///r/docker.sock", "SkipTLSVerify": false}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();
        fs::create_dir_all(dir.join("contexts/meta/broken")).unwrap();
        let rootless = Some(Ok("unix:///r/docker.sock".to_owned()));
        assert_eq!(endpoint(dir, Some("rootless")), rootless);
        for (config, want) in [
            (r#"{"auths": {}}"#, None),
            (r#"{"currentContext": "default"}"#, None),
            (r#"{"currentContext": "rootless"}"#, rootless),
            ("{", None),
        ] {
            fs::write(dir.join("config.json"), config).unwrap();
            assert_eq!(endpoint(dir, None), want, "{config}");
        }
        let gone = endpoint(dir, Some("gone")).unwrap().unwrap_err();
        assert!(gone.contains("\"gone\"") && gone.contains("docker context ls"), "{gone}");
    }
}
