//! Tables: a Pod's words, and what the engine is told.

use super::*;
use serde_json::json;

fn spec_of(container: Value, pod: Value) -> PodSpec {
    let mut one = json!({"name": "c", "image": "i"});
    one.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut spec = json!({"containers": [one]});
    spec.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn image(user: &str) -> Found {
    Found {
        image_id: "sha256:1".to_owned(),
        id: "sha256:1".to_owned(),
        has_program: true,
        user: user.to_owned(),
    }
}

fn told(container_spec: Value, pod: Value, image_user: &str, allow_privileged: bool) -> EngineContainer {
    let spec = spec_of(container_spec, pod);
    container(&spec, &spec.containers[0], Some(&image(image_user)), Default::default(), allow_privileged)
}

#[test]
fn users_are_the_containers_then_the_pods_then_the_images() {
    let security = |s: Value| json!({"securityContext": s});
    let cases = [
        (json!({}), json!({}), "", None),
        (json!({}), json!({}), "7:8", None),
        (json!({"runAsUser": 1}), json!({"runAsUser": 2, "runAsGroup": 3}), "", Some("1:3")),
        (json!({}), json!({"runAsUser": 2}), "", Some("2:0")),
        (json!({"runAsGroup": 5}), json!({}), "", Some("0:5")),
        (json!({"runAsGroup": 5}), json!({}), "nobody:9", Some("nobody:5")),
    ];
    for (own, pod, image, want) in cases {
        let told = told(security(own.clone()), security(pod.clone()), image, false);
        assert_eq!(told.user.as_deref(), want, "{own} {pod} {image}");
    }
}

#[test]
fn who_must_not_be_root_is_known_not_to_be() {
    let cases = [
        (json!({}), "", None),
        (json!({"runAsNonRoot": true}), "", Some("image will run as root")),
        (json!({"runAsNonRoot": true}), "0:5", Some("image will run as root")),
        (json!({"runAsNonRoot": true}), "root", Some("image will run as root")),
        (json!({"runAsNonRoot": true}), "builder", Some("non-numeric user (builder)")),
        (json!({"runAsNonRoot": true}), "1000:0", None),
        (json!({"runAsNonRoot": true, "runAsUser": 1}), "root", None),
        (json!({"runAsNonRoot": true, "runAsUser": 0}), "1000", Some("runAsUser breaks")),
    ];
    for (security, user, want) in cases {
        let spec = spec_of(json!({"securityContext": security}), json!({}));
        let said = forbidden_root(&spec, &spec.containers[0], &image(user));
        match want {
            None => assert_eq!(said, None, "{security} {user}"),
            Some(words) => {
                assert!(said.as_deref().is_some_and(|s| s.contains(words)), "{security} {user}: {said:?}")
            }
        }
    }
}

#[test]
fn privileges_need_to_be_allowed() {
    let container = json!({"tty": true, "stdin": true, "securityContext": {
        "privileged": true, "capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}, "seccompProfile": {"type": "Unconfined"}}});
    let refused = told(container.clone(), json!({}), "", false);
    assert!(!refused.privileged && refused.cap_add.is_empty() && !refused.seccomp_unconfined);
    assert_eq!(refused.cap_drop, ["ALL"]);
    let granted = told(container, json!({}), "", true);
    assert!(granted.privileged && granted.cap_add == ["SYS_ADMIN"] && granted.seccomp_unconfined);
    assert!(granted.tty && granted.stdin);
}

#[test]
fn resources_are_the_kernels() {
    let resources = |r: Value| told(json!({"resources": r}), json!({}), "", false);
    let both = resources(json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "64", "memory": "1Gi"}}));
    assert_eq!(
        (both.memory, both.nano_cpus, both.cpu_shares),
        (Some(1 << 30), Some(64_000_000_000), Some(256))
    );
    let limit = resources(json!({"limits": {"cpu": "2"}}));
    assert_eq!((limit.memory, limit.cpu_shares), (None, Some(2048)));
    let little = resources(json!({"requests": {"cpu": "1m"}}));
    assert_eq!((little.nano_cpus, little.cpu_shares), (None, Some(2)));
    assert_eq!(resources(json!({"requests": {"cpu": "9999"}})).cpu_shares, Some(262_144));
}

#[test]
fn names_are_the_pods() {
    let spec = spec_of(
        json!({}),
        json!({
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}, {"ip": "::1"}],
            "dnsConfig": {"nameservers": ["10.0.0.2"], "searches": ["x.example"],
                          "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}, {"value": "lost"}]},
        }),
    );
    let got = names(&spec, &format!("{}-rest", "p".repeat(62)));
    assert_eq!(got.hosts, ["a:10.0.0.1", "b:10.0.0.1"]);
    assert_eq!((got.nameservers, got.searches), (vec!["10.0.0.2".to_owned()], vec!["x.example".to_owned()]));
    assert_eq!(got.options, ["ndots:2", "edns0"]);
    assert_eq!(got.hostname, "p".repeat(62), "no longer than a host's name, and not ending in a dash");
    assert_eq!(names(&spec_of(json!({}), json!({"hostname": "h"})), "p").hostname, "h");
}
