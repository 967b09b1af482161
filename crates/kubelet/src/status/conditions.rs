//! A Pod's conditions, in a kubelet's order, with its reasons and messages.

use super::seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const COMPLETED: &str = "PodCompleted";

/// How one condition stands.
struct Truth {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Truth {
    fn holds() -> Truth {
        Truth { holds: true, reason: None, message: None }
    }

    fn fails(reason: &'static str, message: Option<String>) -> Truth {
        Truth { holds: false, reason: Some(reason), message }
    }

    /// Fails if there are any of these containers.
    fn without(names: &[&str], reason: &'static str, what: &str) -> Truth {
        if names.is_empty() {
            return Truth::holds();
        }
        Truth::fails(reason, Some(format!("containers with {what} status: [{}]", names.join(" "))))
    }
}

/// Sets all of them; phase and container statuses are there already. `sidecars` names init containers that go on.
pub(super) fn set_all(status: &mut PodStatus, sidecars: &[&str], now: Timestamp) {
    let phase = status.phase.clone().unwrap_or_default();
    let inits = status.init_container_statuses.clone().unwrap_or_default();
    let containers = status.container_statuses.clone().unwrap_or_default();
    let is_sidecar = |c: &&ContainerStatus| sidecars.contains(&c.name.as_str());
    let begun =
        |c: &ContainerStatus| c.state.as_ref().is_some_and(|s| s.waiting.is_none()) || c.restart_count > 0;

    let sandbox =
        !matches!(phase.as_str(), "Succeeded" | "Failed") && inits.iter().chain(&containers).any(begun);
    let initialized = if phase == "Succeeded" {
        Truth { reason: Some(COMPLETED), ..Truth::holds() }
    } else if containers.iter().any(begun) {
        Truth::holds()
    } else {
        let incomplete = |c: &&ContainerStatus| {
            if is_sidecar(c) { c.started != Some(true) } else { !c.ready }
        };
        let names: Vec<&str> = inits.iter().filter(incomplete).map(|c| c.name.as_str()).collect();
        Truth::without(&names, "ContainersNotInitialized", "incomplete")
    };
    let ready = || match phase.as_str() {
        "Succeeded" => Truth::fails(COMPLETED, None),
        "Failed" => Truth::fails("PodFailed", None),
        _ => {
            let all = inits.iter().filter(is_sidecar).chain(&containers);
            let names: Vec<&str> = all.filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
            Truth::without(&names, "ContainersNotReady", "unready")
        }
    };
    let conditions = status.conditions.get_or_insert_default();
    for (kind, truth) in [
        ("PodReadyToStartContainers", Truth { holds: sandbox, reason: None, message: None }),
        ("Initialized", initialized),
        ("Ready", ready()),
        ("ContainersReady", ready()),
        ("PodScheduled", Truth::holds()),
    ] {
        condition(conditions, kind, truth.holds, truth.reason, truth.message.as_deref(), now);
    }
}

/// Sets a condition; the time of its last transition moves only if its truth does.
pub fn condition(
    conditions: &mut Vec<PodCondition>,
    kind: &str,
    truth: bool,
    reason: Option<&str>,
    message: Option<&str>,
    now: Timestamp,
) {
    let truth = if truth { "True" } else { "False" };
    let index = conditions.iter().position(|c| c.type_ == kind).unwrap_or_else(|| {
        conditions.push(PodCondition { type_: kind.to_owned(), ..PodCondition::default() });
        conditions.len() - 1
    });
    let condition = &mut conditions[index];
    if condition.status != truth || condition.last_transition_time.is_none() {
        truth.clone_into(&mut condition.status);
        condition.last_transition_time = Some(Time(seconds(now)));
    }
    condition.reason = reason.map(str::to_owned);
    condition.message = message.map(str::to_owned);
}
