//! Pods: the defaults that a real API server fills in, and what it refuses.
//!
//! Filled in where absent. Pod: `restartPolicy` Always, `terminationGracePeriodSeconds` 30 (1 if negative), `dnsPolicy`
//! ClusterFirst, `schedulerName`, `securityContext` {}, `enableServiceLinks` true. Container: `imagePullPolicy`
//! (Always for `:latest` or no tag, else IfNotPresent), `terminationMessagePath`, `terminationMessagePolicy`,
//! `resources` {} with requests from limits, port protocol TCP, `fieldRef.apiVersion`. Volume: `emptyDir` {} if
//! it names no source, `defaultMode` 0644 of secret, configMap, projected and downwardAPI. Status: `phase` Pending,
//! `qosClass`. Not filled in: what admission plugins and the scheduler add (service account, tolerations, priority).

use serde_json::{Value, json};

use super::quantity;
use crate::names;
use crate::status::Cause;

/// The lists of a pod's containers.
pub const CONTAINER_LISTS: [&str; 2] = ["initContainers", "containers"];

fn default(object: &mut Value, member: &str, value: Value) {
    if object[member].is_null() {
        object[member] = value;
    }
}

/// The entries of a list; unlike indexing, this does not leave a null where there is none.
fn list_mut<'a>(object: &'a mut Value, member: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Fills in the spec's defaults.
pub fn default_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "securityContext", json!({}));
    default(spec, "enableServiceLinks", json!(true));
    for list in CONTAINER_LISTS {
        for container in list_mut(spec, list).filter(|c| c.is_object()) {
            default_container(container);
        }
    }
    for volume in list_mut(spec, "volumes") {
        let Some(members) = volume.as_object_mut() else { continue };
        if members.keys().all(|k| k == "name") {
            members.insert("emptyDir".to_owned(), json!({}));
        }
        for source in ["secret", "configMap", "projected", "downwardAPI"] {
            if let Some(source) = members.get_mut(source).filter(|s| s.is_object()) {
                default(source, "defaultMode", json!(0o644));
            }
        }
        if let Some(host_path) = members.get_mut("hostPath").filter(|s| s.is_object()) {
            default(host_path, "type", json!(""));
        }
    }
}

fn default_container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or("");
    let last = image.rsplit('/').next().unwrap_or("");
    let floating = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    default(container, "imagePullPolicy", json!(if floating { "Always" } else { "IfNotPresent" }));
    default(container, "terminationMessagePath", json!("/dev/termination-log"));
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "resources", json!({}));
    if let Some(limits) = container["resources"]["limits"].as_object().cloned() {
        default(&mut container["resources"], "requests", json!({}));
        for (name, amount) in limits {
            default(&mut container["resources"]["requests"], &name, amount);
        }
    }
    for port in list_mut(container, "ports").filter(|p| p.is_object()) {
        default(port, "protocol", json!("TCP"));
    }
    for env in list_mut(container, "env") {
        if env["valueFrom"]["fieldRef"].is_object() {
            default(&mut env["valueFrom"]["fieldRef"], "apiVersion", json!("v1"));
        }
    }
}

/// The status of a pod that was just created; whatever the client sent is dropped.
pub fn initial_status(spec: &Value) -> Value {
    json!({"phase": "Pending", "qosClass": qos_class(spec)})
}

/// Guaranteed if every container has equal requests and limits for CPU and memory, BestEffort if none has any.
fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> =
        CONTAINER_LISTS.iter().flat_map(|l| spec[*l].as_array().into_iter().flatten()).collect();
    let amount = |c: &Value, kind: &str, what: &str| match &c["resources"][kind][what] {
        Value::Null => None,
        v => Some(v.to_string()),
    };
    let any = containers.iter().any(|c| {
        ["limits", "requests"].iter().any(|k| ["cpu", "memory"].iter().any(|w| amount(c, k, w).is_some()))
    });
    let all = containers.iter().all(|c| {
        ["cpu", "memory"]
            .iter()
            .all(|w| amount(c, "limits", w).is_some_and(|l| Some(l) == amount(c, "requests", w)))
    });
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Adds what a real API server would refuse about a pod's spec.
pub fn check(pod: &Value, causes: &mut Vec<Cause>) {
    let spec = &pod["spec"];
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        causes.push(Cause::invalid("spec.activeDeadlineSeconds", &spec["activeDeadlineSeconds"], why));
    }
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.containers", ""));
    }
    let policy = &spec["restartPolicy"];
    if !["Always", "OnFailure", "Never"].contains(&policy.as_str().unwrap_or("")) {
        causes.push(Cause::unsupported("spec.restartPolicy", policy, &["Always", "Never", "OnFailure"]));
    }
    let mut volumes: Vec<&str> = Vec::new();
    for (i, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        check_name(&volume["name"], &format!("spec.volumes[{i}].name"), &mut volumes, causes);
        check_source(volume, &format!("spec.volumes[{i}]"), causes);
    }
    let mut names: Vec<&str> = Vec::new();
    for list in CONTAINER_LISTS {
        for (i, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("spec.{list}[{i}]");
            check_name(&container["name"], &format!("{at}.name"), &mut names, causes);
            if container["image"].as_str().is_none_or(str::is_empty) {
                causes.push(Cause::required(format!("{at}.image"), ""));
            }
            let pull = &container["imagePullPolicy"];
            if !["Always", "IfNotPresent", "Never"].contains(&pull.as_str().unwrap_or("")) {
                let allowed = &["Always", "IfNotPresent", "Never"];
                causes.push(Cause::unsupported(format!("{at}.imagePullPolicy"), pull, allowed));
            }
            for (e, env) in container["env"].as_array().into_iter().flatten().enumerate() {
                let field = || format!("{at}.env[{e}].name");
                match env["name"].as_str().unwrap_or("") {
                    "" => causes.push(Cause::required(field(), "")),
                    name if name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') => {}
                    _ => {
                        let why = "environment variable names must be printable ASCII characters without '='";
                        causes.push(Cause::invalid(field(), &env["name"], why));
                    }
                }
            }
            for (p, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
                let field = format!("{at}.ports[{p}].containerPort");
                match port["containerPort"].as_i64().unwrap_or(0) {
                    0 => causes.push(Cause::required(field, "")),
                    1..=65535 => {}
                    _ => {
                        let why = "must be between 1 and 65535, inclusive";
                        causes.push(Cause::invalid(field, &port["containerPort"], why));
                    }
                }
            }
            quantity::check(&container["resources"], &format!("{at}.resources"), causes);
            let security = &container["securityContext"];
            if security["privileged"] == true && security["allowPrivilegeEscalation"] == false {
                let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
                causes.push(Cause::invalid(format!("{at}.securityContext"), security, why));
            }
            let mut paths: Vec<&str> = Vec::new();
            for (m, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
                let at = format!("{at}.volumeMounts[{m}]");
                let path = mount["mountPath"].as_str().unwrap_or("");
                if !volumes.contains(&mount["name"].as_str().unwrap_or("")) {
                    causes.push(Cause::not_found(format!("{at}.name"), &mount["name"]));
                }
                if path.is_empty() {
                    causes.push(Cause::required(format!("{at}.mountPath"), ""));
                } else if paths.contains(&path) {
                    let why = "must be unique";
                    causes.push(Cause::invalid(format!("{at}.mountPath"), &mount["mountPath"], why));
                } else if path.contains(':') {
                    let why = "must not contain ':'";
                    causes.push(Cause::invalid(format!("{at}.mountPath"), &mount["mountPath"], why));
                }
                paths.push(path);
            }
        }
    }
}

/// A volume has one source, which says what it needs.
fn check_source(volume: &Value, at: &str, causes: &mut Vec<Cause>) {
    let sources: Vec<&str> = volume
        .as_object()
        .into_iter()
        .flat_map(|v| v.keys())
        .map(String::as_str)
        .filter(|k| *k != "name")
        .collect();
    for extra in sources.iter().skip(1) {
        causes.push(Cause::forbidden(format!("{at}.{extra}"), "may not specify more than 1 volume type"));
    }
    for (source, needed) in [("secret", "secretName"), ("configMap", "name"), ("hostPath", "path")] {
        if volume[source].is_object() && volume[source][needed].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{at}.{source}.{needed}"), ""));
        }
    }
}

fn check_name<'a>(value: &'a Value, field: &str, seen: &mut Vec<&'a str>, causes: &mut Vec<Cause>) {
    let name = value.as_str().unwrap_or("");
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if let Some(why) = names::dns_label_problem(name) {
        causes.push(Cause::invalid(field, value, &why));
    } else if seen.contains(&name) {
        causes.push(Cause::duplicate(field, value));
    } else {
        seen.push(name);
    }
}

/// Adds a cause if an update changes more of the spec than Kubernetes lets change. Binding a pod to a node by
/// setting `spec.nodeName` once is taken too, which a real server only takes through `/binding`.
pub fn check_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let masked = |pod: &Value, base: &Value| {
        let mut spec = pod["spec"].clone();
        if let Some(members) = spec.as_object_mut() {
            for free in ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"] {
                members.remove(free);
            }
            if base["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
                members.remove("nodeName");
            }
        }
        for list in CONTAINER_LISTS {
            for container in list_mut(&mut spec, list) {
                if let Some(members) = container.as_object_mut() {
                    members.remove("image");
                }
            }
        }
        spec
    };
    if masked(old, old) != masked(new, old) {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`, \
             `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to \
             existing tolerations), `spec.terminationGracePeriodSeconds`",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"spec": spec});
        default_spec(&mut pod["spec"]);
        pod
    }

    #[test]
    fn defaults() {
        let p = pod(json!({
            "containers": [{"name": "a", "image": "r:5000/x", "ports": [{"containerPort": 1}],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "image": "x:v1"}, {"name": "j", "image": "x@sha256:1"}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "q"}}],
        }));
        let s = &p["spec"];
        assert_eq!(s["restartPolicy"], "Always");
        assert_eq!(s["terminationGracePeriodSeconds"], 30);
        assert_eq!(s["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(s["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(s["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(s["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(s["initContainers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(s["initContainers"][1]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(s["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(s["volumes"][1]["secret"]["defaultMode"], 420);
        let mut causes = Vec::new();
        check(&p, &mut causes);
        assert_eq!(causes, []);
    }

    #[test]
    fn qos() {
        let c =
            |resources: Value| json!({"containers": [{"name": "a", "image": "x:1", "resources": resources}]});
        for (spec, class) in [
            (c(json!({})), "BestEffort"),
            (c(json!({"requests": {"cpu": "1"}})), "Burstable"),
            (c(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed"),
            (c(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable"),
        ] {
            assert_eq!(initial_status(&pod(spec.clone())["spec"])["qosClass"], class, "{spec}");
        }
    }

    #[test]
    fn refusals() {
        for (spec, field) in [
            (json!({}), "spec.containers"),
            (json!({"containers": []}), "spec.containers"),
            (json!({"containers": [{"name": "a", "image": ""}]}), "spec.containers[0].image"),
            (json!({"containers": [{"name": "A", "image": "x"}]}), "spec.containers[0].name"),
            (
                json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}),
                "spec.containers[1].name",
            ),
            (
                json!({"containers": [{"name": "a", "image": "x"}], "restartPolicy": "Sometimes"}),
                "spec.restartPolicy",
            ),
            (
                json!({"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
                "spec.containers[0].volumeMounts[0].name",
            ),
            (
                json!({"containers": [{"name": "a", "image": "x", "env": [{"value": "v"}]}]}),
                "spec.containers[0].env[0].name",
            ),
        ] {
            let mut causes = Vec::new();
            check(&pod(spec.clone()), &mut causes);
            let fields: Vec<&str> = causes.iter().map(|c| c.field.as_str()).collect();
            assert_eq!(fields, [field], "{spec}");
        }
    }

    #[test]
    fn what_an_update_may_change() {
        let old = pod(json!({"containers": [{"name": "a", "image": "x:1"}]}));
        for (pointer, value, ok) in [
            ("/spec/containers/0/image", json!("x:2"), true),
            ("/spec/nodeName", json!("n"), true),
            ("/spec/activeDeadlineSeconds", json!(5), true),
            ("/spec/containers/0/command", json!(["sh"]), false),
            ("/spec/restartPolicy", json!("Never"), false),
        ] {
            let mut new = old.clone();
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            new.pointer_mut(parent).unwrap()[last] = value;
            let mut causes = Vec::new();
            check_update(&old, &new, &mut causes);
            assert_eq!(causes.is_empty(), ok, "{pointer}");
        }
        let mut bound = old.clone();
        bound["spec"]["nodeName"] = json!("n");
        let mut moved = old.clone();
        moved["spec"]["nodeName"] = json!("m");
        let mut causes = Vec::new();
        check_update(&bound, &moved, &mut causes);
        assert_eq!(causes.len(), 1);
    }
}
