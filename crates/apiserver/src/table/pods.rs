//! How `kubectl get pods` sums up a pod: READY, STATUS from phase, container states and deletion, RESTARTS.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, or_none};
use crate::object;

struct Summary {
    ready: i64,
    restarts: i64,
    last_restart: Option<Timestamp>,
    reason: String,
}

pub fn cells(pod: &Value, name: Value, age: Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = summary(pod);
    let total =
        list(&spec["containers"]).count() + list(&spec["initContainers"]).filter(|c| is_sidecar(c)).count();
    let mut restarts = summary.restarts.to_string();
    if let (true, Some(at)) = (summary.restarts != 0, summary.last_restart) {
        restarts = format!("{restarts} ({} ago)", age::human_duration(now.duration_since(at).as_secs()));
    }
    let ip = list(&status["podIPs"]).next().map_or(&status["podIP"], |first| &first["ip"]);
    let gates = list(&spec["readinessGates"]).count();
    let gates_ready = list(&spec["readinessGates"])
        .filter(|g| {
            list(&status["conditions"]).any(|c| c["type"] == g["conditionType"] && c["status"] == "True")
        })
        .count();
    vec![
        name,
        json!(format!("{}/{total}", summary.ready)),
        json!(summary.reason),
        json!(restarts),
        age,
        or_none(ip),
        or_none(&spec["nodeName"]),
        or_none(&status["nominatedNodeName"]),
        json!(if gates == 0 { "<none>".to_owned() } else { format!("{gates_ready}/{gates}") }),
    ]
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// An init container that keeps running beside the others.
fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn terminated_reason(terminated: &Value) -> String {
    match (text(&terminated["reason"]), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn summary(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = text(&status["phase"]);
    let mut reason = match text(&status["reason"]) {
        "" => phase.to_owned(),
        given => given.to_owned(),
    };
    for condition in list(&status["conditions"]) {
        if condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated" {
            reason = "SchedulingGated".to_owned();
        }
    }
    let mut sum = Summary { ready: 0, restarts: 0, last_restart: None, reason };
    let initializing = init_containers(spec, status, &mut sum);
    if !initializing || has_initialized(status) {
        main_containers(status, &mut sum);
    }
    if object::is_deleting(pod) {
        if status["reason"] == "NodeLost" {
            sum.reason = "Unknown".to_owned();
        } else if phase != "Succeeded" && phase != "Failed" {
            sum.reason = "Terminating".to_owned();
        }
    }
    sum
}

fn has_initialized(status: &Value) -> bool {
    list(&status["conditions"]).any(|c| c["type"] == "Initialized" && c["status"] == "True")
}

fn note_restart(container: &Value, sum: &mut Summary) {
    sum.restarts += container["restartCount"].as_i64().unwrap_or(0);
    if let Ok(at) = text(&container["lastState"]["terminated"]["finishedAt"]).parse::<Timestamp>() {
        sum.last_restart = Some(sum.last_restart.map_or(at, |last| last.max(at)));
    }
}

/// True while init containers run; STATUS then tells which.
fn init_containers(spec: &Value, status: &Value, sum: &mut Summary) -> bool {
    let total = list(&spec["initContainers"]).count();
    for (i, container) in list(&status["initContainerStatuses"]).enumerate() {
        let sidecar =
            list(&spec["initContainers"]).find(|c| c["name"] == container["name"]).is_some_and(is_sidecar);
        note_restart(container, sum);
        let state = &container["state"];
        let terminated = &state["terminated"];
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            sum.ready += i64::from(container["ready"] == true);
            continue;
        }
        let waiting = text(&state["waiting"]["reason"]);
        sum.reason = if terminated.is_object() {
            format!("Init:{}", terminated_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{total}")
        };
        return true;
    }
    false
}

fn main_containers(status: &Value, sum: &mut Summary) {
    // The count is that of the main containers once they have begun, as in kubectl.
    let mut main = Summary { ready: 0, restarts: 0, last_restart: sum.last_restart, reason: String::new() };
    let mut has_running = false;
    let statuses: Vec<&Value> = list(&status["containerStatuses"]).collect();
    for container in statuses.iter().rev() {
        note_restart(container, &mut main);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            sum.reason = waiting.to_owned();
        } else if state["terminated"].is_object() {
            sum.reason = terminated_reason(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            has_running = true;
            sum.ready += 1;
        }
    }
    if !statuses.is_empty() {
        sum.restarts = main.restarts;
        sum.last_restart = main.last_restart;
    }
    // One container has ended well, another still runs.
    if sum.reason == "Completed" && has_running {
        let ready = list(&status["conditions"]).any(|c| c["type"] == "Ready" && c["status"] == "True");
        sum.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let now: Timestamp = "2026-11-22T07:00:00Z".parse().unwrap();
        let running = json!({"name": "a", "ready": true, "state": {"running": {}}});
        let done = json!({"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
        let oom = json!({"name": "b", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
        let waiting = json!({"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}});
        let restarted = json!({"name": "a", "ready": true, "state": {"running": {}}, "restartCount": 2,
            "lastState": {"terminated": {"finishedAt": "2026-11-22T06:55:00Z"}}});
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        let deleting = json!({"deletionTimestamp": "2026-11-22T07:00:00Z"});
        for (what, meta, status, expected) in [
            ("new", json!({}), json!({"phase": "Pending"}), ["0/2", "Pending", "0"]),
            (
                "running",
                json!({}),
                json!({"phase": "Running", "containerStatuses": [running]}),
                ["1/2", "Running", "0"],
            ),
            (
                "one done, not ready",
                json!({}),
                json!({"phase": "Running", "containerStatuses": [running, done]}),
                ["1/2", "NotReady", "0"],
            ),
            (
                "one done, ready",
                json!({}),
                json!({"phase": "Running", "containerStatuses": [running, done], "conditions": [{"type": "Ready", "status": "True"}]}),
                ["1/2", "Running", "0"],
            ),
            (
                "all done",
                json!({}),
                json!({"phase": "Succeeded", "containerStatuses": [done]}),
                ["0/2", "Completed", "0"],
            ),
            (
                "out of memory",
                json!({}),
                json!({"phase": "Failed", "containerStatuses": [oom]}),
                ["0/2", "OOMKilled", "0"],
            ),
            (
                "exit code",
                json!({}),
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
                ["0/2", "ExitCode:3", "0"],
            ),
            (
                "killed by a signal",
                json!({}),
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
                ["0/2", "Signal:9", "0"],
            ),
            (
                "cannot pull",
                json!({}),
                json!({"phase": "Pending", "containerStatuses": [waiting]}),
                ["0/2", "ErrImagePull", "0"],
            ),
            ("evicted", json!({}), json!({"phase": "Failed", "reason": "Evicted"}), ["0/2", "Evicted", "0"]),
            (
                "first init container runs",
                json!({}),
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}, {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
                ["0/2", "Init:0/2", "0"],
            ),
            (
                "second init container failed",
                json!({}),
                json!({"phase": "Failed", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
                ["0/2", "Init:Error", "0"],
            ),
            (
                "restarted",
                json!({}),
                json!({"phase": "Running", "containerStatuses": [restarted]}),
                ["1/2", "Running", "2 (5m ago)"],
            ),
            (
                "deleting",
                deleting.clone(),
                json!({"phase": "Running", "containerStatuses": [running]}),
                ["1/2", "Terminating", "0"],
            ),
            (
                "deleted at its end",
                deleting,
                json!({"phase": "Succeeded", "containerStatuses": [done]}),
                ["0/2", "Completed", "0"],
            ),
        ] {
            let pod = json!({"metadata": meta, "spec": two, "status": status});
            let cells = cells(&pod, json!("p"), json!("1m"), now);
            assert_eq!(Value::Array(cells[1..4].to_vec()), json!(expected), "{what}");
        }
    }
}
