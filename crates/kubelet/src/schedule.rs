//! Which waiting Pods may start now: pure. This machine is the whole cluster, so whoever runs Pods also schedules them.
//!
//! Strictly oldest first: a younger Pod never overtakes an older one that waits for room, so big Pods do not starve.
//! Requests on a laptop are wishes: a Pod that asks for more than the machine has runs when nothing else does.

use crate::build::env::Machine;
use crate::build::{is_sidecar, quantity};
use crate::status::terminal;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::sync::Arc;

/// What to do with one waiting Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Bind it to this node.
    Bind,
    /// It waits; why, in the scheduler's words.
    Wait(String),
}

/// CPUs and bytes that a Pod asks for: the sum of its containers and sidecars, or its largest init container with the
/// sidecars before it.
pub fn requests(pod: &Pod) -> Machine {
    let of = |c: &Container, name: &str| {
        let resources = c.resources.as_ref();
        let request = resources.and_then(|r| r.requests.as_ref()).and_then(|m| m.get(name));
        let limit = || resources.and_then(|r| r.limits.as_ref()).and_then(|m| m.get(name));
        quantity::value(request.or_else(limit))
    };
    let Some(spec) = &pod.spec else { return Machine { cpu: 0.0, memory: 0.0 } };
    let total = |name: &str| {
        let (mut sidecars, mut most) = (0.0, 0.0_f64);
        for init in spec.init_containers.iter().flatten() {
            most = most.max(sidecars + of(init, name));
            if is_sidecar(init) {
                sidecars += of(init, name);
            }
        }
        let together: f64 = spec.containers.iter().map(|c| of(c, name)).sum();
        most.max(sidecars + together)
    };
    Machine { cpu: total("cpu"), memory: total("memory") }
}

fn waits_for_node(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.is_some_and(|s| s.node_name.as_deref().unwrap_or_default().is_empty())
        && spec.is_none_or(|s| s.scheduling_gates.as_ref().is_none_or(Vec::is_empty))
        && pod.metadata.deletion_timestamp.is_none()
        && !terminal(pod)
}

/// A verdict for every Pod that waits for a node, oldest first.
pub fn schedule(
    pods: &[Arc<Pod>],
    node: &str,
    machine: Machine,
    max_pods: Option<usize>,
) -> Vec<(Arc<Pod>, Verdict)> {
    let here =
        |p: &&Arc<Pod>| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node) && !terminal(p);
    let mut count = 0;
    let mut used = Machine { cpu: 0.0, memory: 0.0 };
    for pod in pods.iter().filter(here) {
        let asked = requests(pod);
        count += 1;
        used = Machine { cpu: used.cpu + asked.cpu, memory: used.memory + asked.memory };
    }
    let mut waiting: Vec<&Arc<Pod>> = pods.iter().filter(|p| waits_for_node(p)).collect();
    waiting.sort_by_key(|p| (p.metadata.creation_timestamp.as_ref().map(|t| t.0), p.metadata.name.clone()));
    let mut full: Option<String> = None;
    let mut verdicts = Vec::new();
    for pod in waiting {
        let asked = requests(pod);
        if full.is_none() {
            let mut short = Vec::new();
            // A hair's breadth for sums of decimal fractions.
            if used.cpu + asked.cpu > machine.cpu + 1e-6 && count > 0 && asked.cpu > 0.0 {
                short.push("Insufficient cpu");
            }
            if used.memory + asked.memory > machine.memory && count > 0 && asked.memory > 0.0 {
                short.push("Insufficient memory");
            }
            if max_pods.is_some_and(|max| count >= max) {
                short.push("Too many pods");
            }
            if !short.is_empty() {
                full = Some(format!("0/1 nodes are available: 1 {}.", short.join(", 1 ")));
            }
        }
        match &full {
            Some(why) => verdicts.push((pod.clone(), Verdict::Wait(why.clone()))),
            None => {
                count += 1;
                used = Machine { cpu: used.cpu + asked.cpu, memory: used.memory + asked.memory };
                verdicts.push((pod.clone(), Verdict::Bind));
            }
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, age: i64, cpu: &str, node: Option<&str>, phase: &str) -> Arc<Pod> {
        let created = jiff::Timestamp::from_second(1_000_000 - age).unwrap().to_string();
        let value = json!({
            "metadata": {"name": name, "creationTimestamp": created},
            "spec": {"nodeName": node, "containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": phase},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn sidecars_count_beside_whatever_runs() {
        let cpu = |name: &str, cpu: &str, policy: Option<&str>| json!({"name": name, "restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
        let always = Some("Always");
        let cases = [
            (json!([]), 3.0),
            (json!([cpu("i", "5", None)]), 5.0),
            (json!([cpu("s", "2", always)]), 5.0),
            (json!([cpu("s", "2", always), cpu("i", "4", None)]), 6.0),
            (json!([cpu("i", "4", None), cpu("s", "2", always)]), 5.0),
            (json!([cpu("s", "2", always), cpu("t", "1", always)]), 6.0),
        ];
        for (inits, want) in cases {
            let spec =
                json!({"initContainers": inits, "containers": [cpu("a", "1", None), cpu("b", "2", None)]});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let asked = requests(&pod).cpu;
            assert!((asked - want).abs() < 1e-9, "{inits}: {asked}");
        }
    }

    #[test]
    fn the_oldest_goes_first_and_nobody_overtakes() {
        let machine = Machine { cpu: 2.0, memory: 1e9 };
        let node = Some("here");
        let cases: Vec<(&str, Vec<Arc<Pod>>, Option<usize>, Vec<(&str, bool)>)> = vec![
            (
                "room for all",
                vec![pod("a", 1, "1", None, ""), pod("b", 2, "1", None, "")],
                None,
                vec![("b", true), ("a", true)],
            ),
            (
                "a small one does not overtake",
                vec![
                    pod("r", 9, "1", node, "Running"),
                    pod("big", 5, "2", None, ""),
                    pod("small", 1, "100m", None, ""),
                ],
                None,
                vec![("big", false), ("small", false)],
            ),
            (
                "larger than the machine, alone",
                vec![pod("huge", 1, "64", None, "")],
                None,
                vec![("huge", true)],
            ),
            (
                "larger than the machine, not alone",
                vec![pod("r", 9, "0", node, "Running"), pod("huge", 1, "64", None, "")],
                None,
                vec![("huge", false)],
            ),
            (
                "ended Pods take no room",
                vec![pod("d", 9, "2", node, "Failed"), pod("a", 1, "2", None, "")],
                None,
                vec![("a", true)],
            ),
            (
                "others' Pods take no room",
                vec![pod("o", 9, "2", Some("there"), "Running"), pod("a", 1, "2", None, "")],
                None,
                vec![("a", true)],
            ),
            (
                "no request, full machine",
                vec![pod("r", 9, "2", node, "Running"), pod("a", 1, "0", None, "")],
                None,
                vec![("a", true)],
            ),
            (
                "max pods",
                vec![pod("a", 2, "0", None, ""), pod("b", 1, "0", None, "")],
                Some(1),
                vec![("a", true), ("b", false)],
            ),
        ];
        for (name, pods, max, want) in cases {
            let got: Vec<(String, bool)> = schedule(&pods, "here", machine, max)
                .into_iter()
                .map(|(p, v)| (p.metadata.name.clone().unwrap(), v == Verdict::Bind))
                .collect();
            let want: Vec<(String, bool)> = want.into_iter().map(|(n, b)| (n.to_owned(), b)).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
