//! What Go leaves out of a Pod: zero values of fields that are no pointers and marked `omitempty`. A Pod that says
//! `value: ""` or `readOnly: false` is the same Pod as one that does not, and is kept in that form.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, PodSpec, ResourceFieldSelector, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

fn no_text(field: &mut Option<String>) {
    if field.as_ref().is_some_and(String::is_empty) {
        *field = None;
    }
}
fn no_list<T>(field: &mut Option<Vec<T>>) {
    if field.as_ref().is_some_and(Vec::is_empty) {
        *field = None;
    }
}
fn no_false(field: &mut Option<bool>) {
    if *field == Some(false) {
        *field = None;
    }
}
fn no_zero(field: &mut Option<i32>) {
    if *field == Some(0) {
        *field = None;
    }
}

/// A quantity that is no pointer is written even when it is zero.
fn divisor(reference: Option<&mut ResourceFieldSelector>) {
    if let Some(reference) = reference {
        reference.divisor.get_or_insert_with(|| Quantity("0".into()));
    }
}

/// One variable.
pub(crate) fn env(env: &mut EnvVar) {
    no_text(&mut env.value);
    divisor(env.value_from.as_mut().and_then(|v| v.resource_field_ref.as_mut()));
}

/// One mount.
pub(crate) fn mount(mount: &mut VolumeMount) {
    no_false(&mut mount.read_only);
    no_text(&mut mount.sub_path);
    no_text(&mut mount.sub_path_expr);
}

/// One toleration.
pub(crate) fn toleration(toleration: &mut Toleration) {
    no_text(&mut toleration.key);
    no_text(&mut toleration.value);
    no_text(&mut toleration.effect);
    no_text(&mut toleration.operator);
}

/// One volume.
pub(crate) fn volume(volume: &mut Volume) {
    if let Some(secret) = &mut volume.secret {
        no_list(&mut secret.items);
        no_text(&mut secret.secret_name);
    }
    if let Some(map) = &mut volume.config_map {
        no_list(&mut map.items);
    }
    if let Some(empty) = &mut volume.empty_dir {
        no_text(&mut empty.medium);
    }
    if let Some(claim) = &mut volume.persistent_volume_claim {
        no_false(&mut claim.read_only);
    }
    if let Some(nfs) = &mut volume.nfs {
        no_false(&mut nfs.read_only);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.items.iter_mut().flatten().for_each(|i| divisor(i.resource_field_ref.as_mut()));
        no_list(&mut downward.items);
    }
    if let Some(projected) = &mut volume.projected {
        no_list(&mut projected.sources);
    }
}

fn container(container: &mut Container) {
    for text in [
        &mut container.image,
        &mut container.image_pull_policy,
        &mut container.working_dir,
        &mut container.termination_message_path,
        &mut container.termination_message_policy,
    ] {
        no_text(text);
    }
    for list in [&mut container.command, &mut container.args] {
        no_list(list);
    }
    for flag in [&mut container.stdin, &mut container.stdin_once, &mut container.tty] {
        no_false(flag);
    }
    container.env.iter_mut().flatten().for_each(env);
    container.volume_mounts.iter_mut().flatten().for_each(mount);
    for port in container.ports.iter_mut().flatten() {
        no_zero(&mut port.host_port);
        no_text(&mut port.host_ip);
        no_text(&mut port.name);
        no_text(&mut port.protocol);
    }
    for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe]
    {
        let Some(probe) = probe else { continue };
        for number in [
            &mut probe.initial_delay_seconds,
            &mut probe.timeout_seconds,
            &mut probe.period_seconds,
            &mut probe.success_threshold,
            &mut probe.failure_threshold,
        ] {
            no_zero(number);
        }
    }
    no_list(&mut container.env);
    no_list(&mut container.env_from);
    no_list(&mut container.ports);
    no_list(&mut container.volume_mounts);
    no_list(&mut container.volume_devices);
    no_list(&mut container.resize_policy);
}

/// A whole Pod.
pub(crate) fn pod(spec: &mut PodSpec) {
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(container);
    spec.volumes.iter_mut().flatten().for_each(volume);
    spec.tolerations.iter_mut().flatten().for_each(toleration);
    for text in [
        &mut spec.restart_policy,
        &mut spec.dns_policy,
        &mut spec.service_account_name,
        &mut spec.service_account,
        &mut spec.node_name,
        &mut spec.hostname,
        &mut spec.subdomain,
        &mut spec.scheduler_name,
        &mut spec.priority_class_name,
    ] {
        no_text(text);
    }
    for flag in [&mut spec.host_network, &mut spec.host_pid, &mut spec.host_ipc] {
        no_false(flag);
    }
    no_list(&mut spec.init_containers);
    no_list(&mut spec.ephemeral_containers);
    no_list(&mut spec.volumes);
    no_list(&mut spec.tolerations);
    no_list(&mut spec.image_pull_secrets);
    no_list(&mut spec.host_aliases);
    no_list(&mut spec.readiness_gates);
    no_list(&mut spec.topology_spread_constraints);
    no_list(&mut spec.resource_claims);
    no_list(&mut spec.scheduling_gates);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zero_values_go_and_pointers_stay() {
        let mut spec: PodSpec = serde_json::from_value(json!({
            "hostNetwork": false, "automountServiceAccountToken": false, "volumes": [], "serviceAccountName": "",
            "containers": [{"args": [], "tty": false, "env": [{"name": "E", "value": ""}],
                "securityContext": {"privileged": false}, "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": false}]}]
        }))
        .unwrap();
        pod(&mut spec);
        assert_eq!(
            serde_json::to_value(&spec).unwrap(),
            json!({
                "automountServiceAccountToken": false,
                "containers": [{"name": "", "env": [{"name": "E"}], "securityContext": {"privileged": false},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]
            })
        );
    }
}
