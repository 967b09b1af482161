//! A container's environment: literals, Secrets, ConfigMaps, fields, resources, and `$(VAR)` as Kubernetes expands it.

use super::quantity;
use super::{Objects, Problem, missing_key};
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;

/// PATH of a job that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The address of every Pod and of the machine: this world has one.
pub const ADDRESS: &str = "127.0.0.1";

/// What the machine has, for `resourceFieldRef` of containers without limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// CPUs.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory: f64,
}

/// What the container itself defines, in order, later ones replacing earlier ones of the same name.
pub fn resolve(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    machine: Machine,
) -> Result<Vec<(String, String)>, Problem> {
    let mut env: Vec<(String, String)> = Vec::new();
    let set = |name: String, value: String, env: &mut Vec<(String, String)>| {
        env.retain(|(n, _)| *n != name);
        env.push((name, value));
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let mut take = |data: BTreeMap<String, Vec<u8>>| -> Result<(), Problem> {
            for (key, value) in data {
                let name = format!("{prefix}{key}");
                let value = text(container, &name, value)?;
                set(name, value, &mut env);
            }
            Ok(())
        };
        if let Some(r) = &from.config_map_ref
            && let Some(data) = objects.config_map(&container.name, &r.name, r.optional)?
        {
            take(data)?;
        }
        if let Some(r) = &from.secret_ref
            && let Some(data) = objects.secret(&container.name, &r.name, r.optional)?
        {
            take(data)?;
        }
    }
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            None => Some(expand(var.value.as_deref().unwrap_or_default(), &env)),
            Some(source) => from_source(pod, container, &var.name, source, objects, machine)?,
        };
        if let Some(value) = value {
            set(var.name.clone(), value, &mut env);
        }
    }
    Ok(env)
}

fn from_source(
    pod: &Pod,
    container: &Container,
    name: &str,
    source: &EnvVarSource,
    objects: &Objects,
    machine: Machine,
) -> Result<Option<String>, Problem> {
    let pick = |kind: &str,
                object: &str,
                key: &str,
                optional: Option<bool>,
                data: Option<BTreeMap<String, Vec<u8>>>| {
        let value = data.and_then(|mut d| d.remove(key));
        match value {
            Some(value) => text(container, name, value).map(Some),
            None if optional == Some(true) => Ok(None),
            None => Err(missing_key(pod, &container.name, kind, object, key)),
        }
    };
    if let Some(r) = &source.secret_key_ref {
        let data = objects.secret(&container.name, &r.name, r.optional)?;
        return pick("Secret", &r.name, &r.key, r.optional, data);
    }
    if let Some(r) = &source.config_map_key_ref {
        let data = objects.config_map(&container.name, &r.name, r.optional)?;
        return pick("ConfigMap", &r.name, &r.key, r.optional, data);
    }
    if let Some(r) = &source.field_ref {
        return field(pod, &r.field_path).map(Some).ok_or_else(|| {
            Problem::config(&container.name, format!("env {name}: there is no field {}", r.field_path))
        });
    }
    if let Some(r) = &source.resource_field_ref {
        return resource(pod, Some(container), r, machine).map(Some).ok_or_else(|| {
            Problem::config(&container.name, format!("env {name}: there is no resource {}", r.resource))
        });
    }
    Err(Problem::config(&container.name, format!("env {name}: this kind of valueFrom is not known here")))
}

fn text(container: &Container, name: &str, value: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(value)
        .map_err(|_| Problem::config(&container.name, format!("env {name}: the value is not UTF-8 text")))
}

/// A downward API field of the Pod; `None` if there is no such field. A label or annotation that is not set is empty.
pub fn field(pod: &Pod, path: &str) -> Option<String> {
    let meta = &pod.metadata;
    let lookup = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default()
    };
    let all = |map: &Option<BTreeMap<String, String>>| {
        let lines: Vec<String> = map.iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
        lines.join("\n")
    };
    let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = subscript("metadata.labels") {
        return Some(lookup(&meta.labels, key));
    }
    if let Some(key) = subscript("metadata.annotations") {
        return Some(lookup(&meta.annotations, key));
    }
    let spec = pod.spec.as_ref();
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => all(&meta.labels),
        "metadata.annotations" => all(&meta.annotations),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|s| s.service_account_name.clone()).unwrap_or_else(|| "default".to_owned())
        }
        "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => ADDRESS.to_owned(),
        _ => return None,
    })
}

/// A container's request or limit in units of the divisor, rounded up; a limit that is not set is the machine's.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    machine: Machine,
) -> Option<String> {
    let container = match &selector.container_name {
        Some(name) => {
            let spec = pod.spec.as_ref()?;
            spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == *name)?
        }
        None => own?,
    };
    let (side, name) = selector.resource.split_once('.')?;
    let resources = container.resources.as_ref();
    let map = match side {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return None,
    };
    let value = match map.and_then(|m| m.get(name)) {
        Some(q) => quantity::value(Some(q)),
        None if side == "requests" => 0.0,
        None => match name {
            "cpu" => machine.cpu,
            "memory" => machine.memory,
            _ => 0.0,
        },
    };
    let divisor = match quantity::value(selector.divisor.as_ref()) {
        d if d > 0.0 => d,
        _ => 1.0,
    };
    // Less than a millionth over a whole number is a rounding error, not a need for one more.
    Some(format!("{:.0}", (value / divisor - 1e-6).ceil().max(0.0)))
}

/// Expands `$(VAR)` from what is defined so far; `$$` is a dollar; what is not defined stays as it is.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')')) {
            match env.iter().rev().find(|(n, _)| n == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let env = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$$", "$"),
            ("", ""),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text, &env), want, "{text:?}");
        }
    }
}
