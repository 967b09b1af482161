//! What an API server demands of a Pod beyond its schema: the parts of Kubernetes' `ValidatePod` that decoration and
//! labels can break.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where the Pod breaks a rule, as `path: what is wrong`.
pub fn check(pod: &Pod) -> Vec<String> {
    let mut rules = Rules(Vec::new());
    let spec = pod.spec.as_ref();
    rules.metadata(pod);
    match spec {
        Some(spec) => rules.spec(spec),
        None => rules.broken("spec", "is required"),
    }
    // etcd takes no more in one request.
    rules.unless(json!(pod).to_string().len() < 1_500_000, "", "is larger than 1.5 MB");
    rules.0
}

struct Rules(Vec<String>);

impl Rules {
    fn broken(&mut self, at: &str, what: impl AsRef<str>) {
        self.0.push(format!("{at}: {}", what.as_ref()));
    }

    fn unless(&mut self, good: bool, at: &str, what: impl AsRef<str>) {
        if !good {
            self.broken(at, what);
        }
    }

    fn metadata(&mut self, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.unless(is_subdomain(name), "metadata.name", format!("{name:?} is no DNS-1123 subdomain"));
        for (key, value) in pod.metadata.labels.iter().flatten() {
            self.unless(is_qualified(key), "metadata.labels", format!("{key:?} is no label key"));
            self.unless(
                is_label_value(value),
                "metadata.labels",
                format!("{key}: {value:?} is no label value"),
            );
        }
        let mut size = 0;
        for (key, value) in pod.metadata.annotations.iter().flatten() {
            self.unless(
                is_qualified(&key.to_lowercase()),
                "metadata.annotations",
                format!("{key:?} is no key"),
            );
            size += key.len() + value.len();
        }
        self.unless(size <= 256 * 1024, "metadata.annotations", "are larger than 256 KiB");
    }

    fn spec(&mut self, spec: &PodSpec) {
        let mut volumes = BTreeSet::new();
        for volume in spec.volumes.iter().flatten() {
            let at = format!("spec.volumes[{}]", volume.name);
            self.unless(is_dns_label(&volume.name), &at, "is no DNS-1123 label");
            self.unless(volumes.insert(volume.name.as_str()), &at, "is there twice");
            self.volume(&at, volume);
        }
        self.unless(!spec.containers.is_empty(), "spec.containers", "are required");
        let mut names = BTreeSet::new();
        let init = spec.init_containers.iter().flatten().map(|c| (c, true));
        for (container, is_init) in spec.containers.iter().map(|c| (c, false)).chain(init) {
            let at = format!("spec.containers[{}]", container.name);
            self.unless(is_dns_label(&container.name), &at, "is no DNS-1123 label");
            self.unless(names.insert(container.name.as_str()), &at, "is there twice");
            self.container(&at, container, is_init, &volumes);
        }
        self.one_of("spec.restartPolicy", &spec.restart_policy, &["Always", "OnFailure", "Never"]);
        self.one_of(
            "spec.dnsPolicy",
            &spec.dns_policy,
            &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        );
        let grace = spec.termination_grace_period_seconds.unwrap_or_default();
        self.unless(grace >= 0, "spec.terminationGracePeriodSeconds", "is below 0");
        self.unless(
            spec.active_deadline_seconds.is_none_or(|s| s >= 1),
            "spec.activeDeadlineSeconds",
            "is below 1",
        );
        let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty());
        self.unless(account.is_none_or(is_subdomain), "spec.serviceAccountName", "is no DNS-1123 subdomain");
        for (key, value) in spec.node_selector.iter().flatten() {
            let good = is_qualified(key) && is_label_value(value);
            self.unless(good, "spec.nodeSelector", format!("{key}={value} is no label"));
        }
        if let Some(security) = &spec.security_context {
            for id in [security.run_as_user, security.run_as_group, security.fs_group].into_iter().flatten() {
                let good = (0..=i64::from(i32::MAX)).contains(&id);
                self.unless(good, "spec.securityContext", format!("{id} is no user or group"));
            }
        }
        for toleration in spec.tolerations.iter().flatten() {
            let key = toleration.key.as_deref().unwrap_or_default();
            let exists = toleration.operator.as_deref() == Some("Exists");
            let good = if key.is_empty() { exists } else { is_qualified(key) };
            self.unless(
                good,
                "spec.tolerations",
                format!("the key {key:?} needs the operator Exists or is no key"),
            );
            let value = toleration.value.as_deref().unwrap_or_default();
            self.unless(!exists || value.is_empty(), "spec.tolerations", "Exists takes no value");
        }
    }

    fn volume(&mut self, at: &str, volume: &Volume) {
        let sources = json!(volume).as_object().map_or(0, |members| members.len() - 1);
        self.unless(sources == 1, at, format!("has {sources} sources, not one"));
        if let Some(source) = &volume.host_path {
            self.unless(
                !source.path.is_empty() && !climbs(&source.path),
                at,
                format!("{:?} is no path", source.path),
            );
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            self.unless(!name.is_empty(), at, "names no Secret");
            self.unless(
                source.default_mode.is_none_or(|mode| (0..=0o777).contains(&mode)),
                at,
                "has a bad mode",
            );
            for item in source.items.iter().flatten() {
                self.unless(is_data_key(&item.key), at, format!("{:?} is no key of a Secret", item.key));
                let inside = !item.path.is_empty() && !item.path.starts_with('/') && !climbs(&item.path);
                self.unless(inside, at, format!("{:?} is no path in a volume", item.path));
            }
        }
    }

    fn container(&mut self, at: &str, container: &Container, is_init: bool, volumes: &BTreeSet<&str>) {
        let image = container.image.as_deref().unwrap_or_default();
        self.unless(!image.is_empty() && image == image.trim(), at, format!("{image:?} is no image"));
        self.one_of(at, &container.termination_message_policy, &["File", "FallbackToLogsOnError"]);
        self.one_of(at, &container.image_pull_policy, &["Always", "IfNotPresent", "Never"]);
        let restart = container.restart_policy.as_deref();
        self.unless(restart.is_none() || (is_init && restart == Some("Always")), at, "has a restartPolicy");
        for var in container.env.iter().flatten() {
            self.unless(is_env_name(&var.name), at, format!("{:?} is no name of a variable", var.name));
            let both = var.value_from.is_some() && var.value.as_deref().is_some_and(|v| !v.is_empty());
            self.unless(!both, at, format!("{} has value and valueFrom", var.name));
            let sources = json!(var.value_from).as_object().map_or(1, serde_json::Map::len);
            self.unless(sources == 1, at, format!("{} has {sources} sources", var.name));
        }
        let mut ports = BTreeSet::new();
        for port in container.ports.iter().flatten() {
            let good = (1..=65535).contains(&port.container_port);
            self.unless(good, at, format!("{} is no port", port.container_port));
            let name = port.name.as_deref().filter(|name| !name.is_empty());
            self.unless(name.is_none_or(|name| ports.insert(name)), at, "has two ports of one name");
        }
        let mut paths = BTreeSet::new();
        for mount in container.volume_mounts.iter().flatten() {
            self.mount(at, mount, volumes);
            let first = paths.insert(mount.mount_path.as_str());
            self.unless(first, at, format!("mounts two things at {}", mount.mount_path));
        }
        if let Some(resources) = &container.resources {
            self.resources(at, &resources.requests, &resources.limits);
        }
        if let Some(security) = &container.security_context {
            let bad = security.privileged == Some(true) && security.allow_privilege_escalation == Some(false);
            self.unless(!bad, at, "is privileged and may not escalate");
        }
    }

    fn mount(&mut self, at: &str, mount: &VolumeMount, volumes: &BTreeSet<&str>) {
        let at = format!("{at}.volumeMounts[{}]", mount.mount_path);
        self.unless(!mount.mount_path.is_empty(), &at, "has no mountPath");
        // Not validated, but documented as refused, and runtimes fail on it.
        self.unless(!mount.mount_path.contains(':'), &at, "has a colon in its path");
        self.unless(
            volumes.contains(mount.name.as_str()),
            &at,
            format!("there is no volume {:?}", mount.name),
        );
        let sub = mount.sub_path.as_deref().unwrap_or_default();
        self.unless(!sub.starts_with('/') && !climbs(sub), &at, format!("{sub:?} climbs out of the volume"));
    }

    fn resources(
        &mut self,
        at: &str,
        requests: &Option<BTreeMap<String, Quantity>>,
        limits: &Option<BTreeMap<String, Quantity>>,
    ) {
        for (name, quantity) in requests.iter().chain(limits).flatten() {
            let good = amount(quantity).is_some_and(|amount| amount >= 0.0);
            self.unless(good, at, format!("{name}: {:?} is no amount", quantity.0));
            let standard = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
            let known =
                standard || name.starts_with("hugepages-") || (name.contains('/') && is_qualified(name));
            self.unless(known, at, format!("{name:?} is no resource of a container"));
        }
        for (name, request) in requests.iter().flatten() {
            let limit = limits.iter().flatten().find(|(of, _)| *of == name).map(|(_, limit)| limit);
            let above = limit.is_some_and(|limit| amount(request) > amount(limit));
            self.unless(!above, at, format!("{name}: the request is above the limit"));
            let extended = name.contains('/');
            let equal = limit.is_some_and(|limit| amount(request) == amount(limit));
            self.unless(!extended || equal, at, format!("{name}: the limit must be equal to the request"));
        }
    }

    fn one_of(&mut self, at: &str, value: &Option<String>, allowed: &[&str]) {
        if let Some(value) = value {
            self.unless(
                allowed.contains(&value.as_str()),
                at,
                format!("{value:?} is not one of {allowed:?}"),
            );
        }
    }
}

fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

fn bounded(text: &str, max: usize, inner: impl Fn(u8) -> bool, end: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    (1..=max).contains(&bytes.len())
        && bytes.iter().all(|&b| inner(b))
        && end(bytes[0])
        && end(bytes[bytes.len() - 1])
}

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bounded(text, 63, |b| alphanumeric(b) || b == b'-', alphanumeric)
}

fn is_subdomain(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| bounded(part, 253, |b| alphanumeric(b) || b == b'-', alphanumeric);
    text.len() <= 253 && text.split('.').all(part)
}

fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let end = |b: u8| b.is_ascii_alphanumeric();
    text.is_empty() || bounded(text, 63, |b| end(b) || b"-_.".contains(&b), end)
}

fn is_data_key(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    bounded(text, 253, good, good) && text != "." && !text.starts_with("..")
}

fn is_env_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    bounded(text, usize::MAX, good, good)
        && !text.as_bytes()[0].is_ascii_digit()
        && text != "."
        && !text.starts_with("..")
}

fn amount(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.as_str();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = |base: f64, letters: &str, suffix: &str| {
        letters.find(suffix).map(|at| base.powi(i32::try_from(at + 1).unwrap_or_default()))
    };
    let factor = match &text[digits.len()..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        suffix if suffix.len() == 1 => power(1000.0, "kMGTPE", suffix)?,
        suffix => power(1024.0, "KMGTPE", suffix.strip_suffix('i')?)?,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[test]
fn the_rules_find_what_is_broken() {
    let good = json!({
        "metadata": {"name": "pj", "labels": {"a.b/c": "d"}, "annotations": {"Note": "n"}},
        "spec": {
            "restartPolicy": "Never", "serviceAccountName": "builder",
            "volumes": [{"name": "v", "secret": {"secretName": "s.t", "items": [{"key": "k", "path": "./k"}]}}],
            "containers": [{
                "name": "a", "image": "i", "env": [{"name": "X", "value": "1"}],
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1.5G"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]
            }],
            "tolerations": [{"operator": "Exists"}]
        }
    });
    let found = |value: &Value| check(&serde_json::from_value::<Pod>(value.clone()).unwrap());
    assert_eq!(found(&good), [""; 0]);
    for (pointer, value, want) in [
        ("/metadata/name", json!("A"), "metadata.name"),
        ("/metadata/labels", json!({"-": "x"}), "is no label key"),
        ("/metadata/labels", json!({"a": "b/c"}), "is no label value"),
        ("/metadata/annotations", json!({"a": "x".repeat(300_000)}), "larger than 256 KiB"),
        ("/spec/restartPolicy", json!("Sometimes"), "is not one of"),
        ("/spec/serviceAccountName", json!("a b"), "spec.serviceAccountName"),
        ("/spec/volumes/0/name", json!("v.w"), "is no DNS-1123 label"),
        ("/spec/volumes/0", json!({"name": "v"}), "has 0 sources"),
        ("/spec/volumes/0", json!({"name": "v", "hostPath": {"path": "/a/../b"}}), "is no path"),
        ("/spec/volumes/0/secret", json!({}), "names no Secret"),
        ("/spec/volumes/0/secret/items/0/path", json!("../k"), "is no path in a volume"),
        ("/spec/volumes/0/secret/items/0/key", json!("a b"), "is no key of a Secret"),
        ("/spec/containers/0/name", json!("A"), "is no DNS-1123 label"),
        ("/spec/containers/0/image", json!(""), "is no image"),
        ("/spec/containers/0/env/0/name", json!("1"), "is no name of a variable"),
        ("/spec/containers/0/volumeMounts/0/name", json!("w"), "there is no volume"),
        ("/spec/containers/0/resources/requests/memory", json!("2G"), "the request is above the limit"),
        ("/spec/containers/0/resources/requests/memory", json!("much"), "is no amount"),
        ("/spec/containers/0/resources/requests", json!({"gpu/x": "1"}), "the limit must be equal"),
        ("/spec/containers/0/resources/requests", json!({"gpu": "1"}), "is no resource"),
        ("/spec/tolerations/0", json!({"value": "x"}), "needs the operator Exists"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let found = found(&bad);
        assert!(found.iter().any(|rule| rule.contains(want)), "{pointer} {want}: {found:?}");
    }
    for list in ["containers", "volumes"] {
        let mut twice = good.clone();
        let entries = twice["spec"][list].as_array_mut().unwrap();
        entries.push(entries[0].clone());
        assert!(found(&twice).iter().any(|rule| rule.contains("is there twice")), "{list}");
    }
}
