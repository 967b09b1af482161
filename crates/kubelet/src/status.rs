//! From what a runtime knows of a run to the Pod status a kubelet would write (prow-runtime §6.2 is what plank reads).

mod conditions;

use crate::build::env::ADDRESS;
use crate::build::{Problem, is_sidecar};
use crate::record::{ContainerRecord, ContainerState as Ran, PodRecord};
pub use conditions::condition;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What containers wait for until init containers are done.
const INITIALIZING: &str = "PodInitializing";
/// What containers wait for otherwise.
const CREATING: &str = "ContainerCreating";

/// True for phases that never change again.
pub fn terminal(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed"))
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// True if the API has it that something of this Pod has been started.
pub fn was_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let started = |c: &ContainerStatus| {
        let now = c.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some());
        now || c.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    };
    status.phase.as_deref() == Some("Running")
        || status
            .init_container_statuses
            .iter()
            .flatten()
            .chain(status.container_statuses.iter().flatten())
            .any(started)
}

/// The status of a Pod that waits; `problem` says for what.
pub fn waiting(pod: &Pod, problem: &Problem, now: Timestamp) -> PodStatus {
    let record = blank(pod, now);
    let mut status = of(pod, &record, now);
    status.phase = Some("Pending".to_owned());
    let inits = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).is_some_and(|i| !i.is_empty());
    let lists = [(&mut status.init_container_statuses, true), (&mut status.container_statuses, false)];
    for (list, init) in lists {
        for container in list.iter_mut().flatten() {
            let about = problem.container.as_deref().is_none_or(|c| c == container.name);
            let reason = match (about, problem.container.is_none()) {
                // A volume's trouble is told by the event; kubelets show only that containers are not made yet.
                (true, true) if inits && !init => INITIALIZING,
                (true, true) => CREATING,
                (true, false) => problem.reason,
                (false, _) if inits && !init => INITIALIZING,
                (false, _) => CREATING,
            };
            let message = (about && problem.container.is_some()).then(|| problem.message.clone());
            container.state = Some(ContainerState {
                waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
                ..ContainerState::default()
            });
        }
    }
    status
}

/// The status of a Pod that the API believes started and of which this machine knows nothing any more.
pub fn vanished(pod: &Pod, now: Timestamp) -> PodStatus {
    let mut record = blank(pod, now);
    let old = pod.status.clone().unwrap_or_default();
    let known: Vec<ContainerStatus> = old
        .init_container_statuses
        .into_iter()
        .flatten()
        .chain(old.container_statuses.into_iter().flatten())
        .collect();
    for container in record.all_mut() {
        let known = known.iter().find(|k| k.name == container.name);
        container.restarts = known.and_then(|k| u32::try_from(k.restart_count).ok()).unwrap_or_default();
        let state = known.and_then(|k| k.state.as_ref());
        if let Some(t) = state.and_then(|s| s.terminated.as_ref()) {
            let time = |t: &Option<Time>| t.as_ref().map_or(now, |t| t.0);
            container.state = Ran::Terminated {
                exit_code: t.exit_code,
                signal: t.signal,
                reason: t.reason.clone().unwrap_or_default(),
                message: t.message.clone(),
                started_at: time(&t.started_at),
                finished_at: time(&t.finished_at),
            };
        } else if let Some(r) = state.and_then(|s| s.running.as_ref()) {
            container.state = Ran::Running { started_at: r.started_at.as_ref().map_or(now, |t| t.0) };
        }
    }
    record.close_as_lost(
        now,
        "nothing is left of this Pod on its node: its data directory was emptied or replaced",
    );
    of(pod, &record, now)
}

fn blank(pod: &Pod, now: Timestamp) -> PodRecord {
    let one = |c: &Container| ContainerRecord { sidecar: is_sidecar(c), ..ContainerRecord::waiting(&c.name) };
    let names = |list: &[Container]| list.iter().map(one).collect();
    let spec = pod.spec.clone().unwrap_or_default();
    PodRecord {
        supervisor_pid: 0,
        started_at: now,
        init_containers: names(spec.init_containers.as_deref().unwrap_or_default()),
        containers: names(&spec.containers),
        termination: None,
        ended: None,
        notices: Vec::new(),
    }
}

/// The status of a Pod that runs or ran. Starts from the Pod's present status, so what others wrote there stays.
pub fn of(pod: &Pod, record: &PodRecord, now: Timestamp) -> PodStatus {
    let mut status = pod.status.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.unwrap_or_default();

    status.phase = Some(phase_of(record).to_owned());
    if let Some(ended) = &record.ended {
        status.reason.clone_from(&ended.cause.reason);
        status.message.clone_from(&ended.cause.message);
    }
    status.start_time.get_or_insert(Time(seconds(record.started_at)));
    status.host_ip = Some(ADDRESS.to_owned());
    status.host_ips = Some(vec![HostIP { ip: ADDRESS.to_owned() }]);
    if record.all().any(|c| !matches!(c.state, Ran::Waiting)) {
        status.pod_ip = Some(ADDRESS.to_owned());
        status.pod_ips = Some(vec![PodIP { ip: ADDRESS.to_owned() }]);
    }
    let waits = if inits.is_empty() { CREATING } else { INITIALIZING };
    let list = |specs: &[Container], records: &[ContainerRecord], init: bool| {
        let statuses =
            specs.iter().zip(records).map(|(s, r)| container_status(pod, s, r, waits, init)).collect();
        (!specs.is_empty()).then_some(statuses)
    };
    status.init_container_statuses = list(&inits, &record.init_containers, true);
    status.container_statuses = list(&spec.containers, &record.containers, false);

    let sidecars: Vec<&str> = record.all().filter(|c| c.sidecar).map(|c| c.name.as_str()).collect();
    conditions::set_all(&mut status, &sidecars, now);
    status
}

fn phase_of(record: &PodRecord) -> &'static str {
    match &record.ended {
        Some(ended) if ended.succeeded => "Succeeded",
        Some(_) => "Failed",
        None if record.containers.iter().any(|c| !matches!(c.state, Ran::Waiting)) => "Running",
        None => "Pending",
    }
}

/// Kubernetes' times have whole seconds; with more, what we write would not be what we read back.
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn container_status(
    pod: &Pod,
    spec: &Container,
    record: &ContainerRecord,
    waits: &str,
    init: bool,
) -> ContainerStatus {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let id = record.container_id.clone().unwrap_or_else(|| format!("process://{uid}/{}", record.name));
    // An init container is ready once it has succeeded; one that goes on is as the others are.
    let done = init && !record.sidecar;
    let (ready, started) = match &record.state {
        Ran::Waiting => (false, false),
        Ran::Running { .. } => (!done, !done),
        Ran::Terminated { exit_code, .. } => (done && *exit_code == 0, false),
    };
    let waiting = match record.back_off_seconds {
        Some(seconds) if seconds > 0 => ContainerStateWaiting {
            reason: Some("CrashLoopBackOff".to_owned()),
            message: Some(format!(
                "back-off {seconds}s restarting failed container={} pod={}_{}({uid})",
                record.name,
                pod.metadata.name.as_deref().unwrap_or_default(),
                pod.metadata.namespace.as_deref().unwrap_or_default(),
            )),
        },
        _ => ContainerStateWaiting { reason: Some(waits.to_owned()), message: None },
    };
    let known = record.state != Ran::Waiting || record.last.is_some();
    ContainerStatus {
        name: record.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        image_id: record.image_id.clone().unwrap_or_default(),
        container_id: known.then(|| id.clone()),
        ready,
        started: Some(started),
        state: Some(state(&record.state, waiting, &id)),
        last_state: Some(
            record.last.as_ref().map_or_else(ContainerState::default, |last| {
                state(last, ContainerStateWaiting::default(), &id)
            }),
        ),
        restart_count: i32::try_from(record.restarts).unwrap_or(i32::MAX),
        ..ContainerStatus::default()
    }
}

fn state(state: &Ran, waiting: ContainerStateWaiting, id: &str) -> ContainerState {
    match state {
        Ran::Waiting => ContainerState { waiting: Some(waiting), ..ContainerState::default() },
        Ran::Running { started_at } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(seconds(*started_at))) }),
            ..ContainerState::default()
        },
        Ran::Terminated { exit_code, signal, reason, message, started_at, finished_at } => ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: *exit_code,
                signal: *signal,
                reason: Some(reason.clone()),
                message: message.clone(),
                started_at: Some(Time(seconds(*started_at))),
                finished_at: Some(Time(seconds(*finished_at))),
                container_id: Some(id.to_owned()),
            }),
            ..ContainerState::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Cause, Ended};
    use serde_json::json;

    fn pod() -> Pod {
        let value = json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"initContainers": [{"name": "i", "image": "x"}],
                     "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]},
        });
        serde_json::from_value(value).expect("a Pod")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn over(exit_code: i32) -> Ran {
        let reason = if exit_code == 0 { "Completed" } else { "Error" }.to_owned();
        Ran::Terminated {
            exit_code,
            signal: None,
            reason,
            message: None,
            started_at: at(1),
            finished_at: at(2),
        }
    }

    fn record(states: [Ran; 3], ended: Option<bool>) -> PodRecord {
        let mut record = blank(&pod(), at(1));
        for (container, state) in record.all_mut().zip(states) {
            container.state = state;
        }
        record.ended = ended.map(|succeeded| Ended { succeeded, at: at(3), cause: Cause::default() });
        record
    }

    #[test]
    fn phase_and_conditions_follow_from_the_containers() {
        let running = || Ran::Running { started_at: at(1) };
        let cases = [
            ("nothing yet", record([Ran::Waiting, Ran::Waiting, Ran::Waiting], None), "Pending", "FF"),
            ("init runs", record([running(), Ran::Waiting, Ran::Waiting], None), "Pending", "FF"),
            ("init done", record([over(0), Ran::Waiting, Ran::Waiting], None), "Pending", "TF"),
            ("one runs", record([over(0), running(), Ran::Waiting], None), "Running", "TF"),
            ("all run", record([over(0), running(), running()], None), "Running", "TT"),
            ("one ended", record([over(0), over(1), running()], None), "Running", "TF"),
            ("all ended, not said so yet", record([over(0), over(0), over(0)], None), "Running", "TF"),
            ("succeeded", record([over(0), over(0), over(0)], Some(true)), "Succeeded", "TF"),
            ("failed", record([over(0), over(0), over(1)], Some(false)), "Failed", "TF"),
            ("init failed", record([over(1), Ran::Waiting, Ran::Waiting], Some(false)), "Failed", "FF"),
        ];
        for (name, record, phase, truths) in cases {
            let status = of(&pod(), &record, at(5));
            assert_eq!(status.phase.as_deref(), Some(phase), "{name}");
            let truth = |kind: &str| {
                let found = status.conditions.iter().flatten().find(|c| c.type_ == kind);
                found.map(|c| c.status.chars().next().unwrap_or('?'))
            };
            let got: String = [truth("Initialized"), truth("Ready")].into_iter().flatten().collect();
            assert_eq!(got, truths, "{name}");
        }
    }

    #[test]
    fn conditions_say_why_in_a_kubelets_words() {
        let running = || Ran::Running { started_at: at(1) };
        let said = |record: &PodRecord| -> Vec<String> {
            let status = of(&pod(), record, at(5));
            let line = |c: &k8s_openapi::api::core::v1::PodCondition| {
                let words =
                    [Some(c.type_.clone()), Some(c.status.clone()), c.reason.clone(), c.message.clone()];
                words.into_iter().flatten().collect::<Vec<_>>().join(" ")
            };
            status.conditions.iter().flatten().map(line).collect()
        };
        assert_eq!(
            said(&record([running(), Ran::Waiting, Ran::Waiting], None)),
            [
                "PodReadyToStartContainers True",
                "Initialized False ContainersNotInitialized containers with incomplete status: [i]",
                "Ready False ContainersNotReady containers with unready status: [a b]",
                "ContainersReady False ContainersNotReady containers with unready status: [a b]",
                "PodScheduled True",
            ]
        );
        assert_eq!(
            said(&record([over(0), over(0), over(0)], Some(true))),
            [
                "PodReadyToStartContainers False",
                "Initialized True PodCompleted",
                "Ready False PodCompleted",
                "ContainersReady False PodCompleted",
                "PodScheduled True",
            ]
        );
        assert_eq!(
            said(&record([over(0), over(1), running()], Some(false)))[1..3],
            ["Initialized True", "Ready False PodFailed"]
        );
    }

    #[test]
    fn a_sidecar_is_ready_while_it_runs_and_tells_of_its_restarts() {
        let mut record = record([Ran::Running { started_at: at(1) }, Ran::Waiting, Ran::Waiting], None);
        record.init_containers[0].sidecar = true;
        let first = |record: &PodRecord| {
            let status = of(&pod(), record, at(5));
            let init = status.init_container_statuses.expect("init containers").remove(0);
            let truth = status.conditions.expect("conditions").remove(1).status;
            (init, truth)
        };
        let (init, initialized) = first(&record);
        assert_eq!((init.ready, init.started, initialized.as_str()), (true, Some(true), "True"));
        let sidecar = &mut record.init_containers[0];
        (sidecar.state, sidecar.last) = (Ran::Waiting, Some(over(3)));
        (sidecar.restarts, sidecar.back_off_seconds) = (2, Some(20));
        let (init, initialized) = first(&record);
        assert_eq!((init.ready, init.started, initialized.as_str()), (false, Some(false), "False"));
        let waiting = init.state.and_then(|s| s.waiting).expect("waits");
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(waiting.message.as_deref(), Some("back-off 20s restarting failed container=i pod=p_(u)"));
        let last = init.last_state.and_then(|s| s.terminated).expect("it has run");
        assert_eq!((last.exit_code, init.restart_count), (3, 2));
    }

    #[test]
    fn what_was_written_is_what_is_wanted_until_something_changes() {
        let mut pod = pod();
        let first = record([over(0), Ran::Running { started_at: at(1) }, Ran::Waiting], None);
        let status = of(&pod, &first, at(5));
        // Through the API and back, as JSON.
        let text = serde_json::to_string(&status).expect("JSON");
        pod.status = Some(serde_json::from_str(&text).expect("a status"));
        assert_eq!(pod.status.as_ref(), Some(&of(&pod, &first, at(99))));
        let later = of(&pod, &record([over(0), over(0), over(0)], Some(true)), at(99));
        let since = |kind: &str| {
            later
                .conditions
                .iter()
                .flatten()
                .find(|c| c.type_ == kind)
                .and_then(|c| c.last_transition_time.clone())
        };
        assert_eq!(since("PodScheduled"), Some(Time(at(5))), "has not changed");
        assert_eq!(later.start_time, Some(Time(at(1))));
    }

    #[test]
    fn a_pod_of_which_nothing_is_left_is_evicted_with_what_is_known_of_it() {
        let mut pod = pod();
        pod.status =
            Some(of(&pod, &record([over(0), Ran::Running { started_at: at(1) }, over(3)], None), at(5)));
        assert!(was_started(&pod) && !terminal(&pod));
        let status = vanished(&pod, at(9));
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
        let codes: Vec<_> = status
            .container_statuses
            .iter()
            .flatten()
            .map(|c| c.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code))
            .collect();
        assert_eq!(codes, [Some(137), Some(3)]);
    }

    #[test]
    fn who_waits_says_for_what() {
        let of_container = Problem::config("b", "no such key".to_owned());
        let of_volume = Problem::mount("no such secret".to_owned(), None);
        let reasons = |problem: &Problem| -> Vec<(String, Option<String>)> {
            let status = waiting(&pod(), problem, at(5));
            assert_eq!(status.phase.as_deref(), Some("Pending"));
            let all = status
                .init_container_statuses
                .into_iter()
                .flatten()
                .chain(status.container_statuses.into_iter().flatten());
            all.filter_map(|c| c.state?.waiting).map(|w| (w.reason.unwrap_or_default(), w.message)).collect()
        };
        let row = |r: &str, m: Option<&str>| (r.to_owned(), m.map(str::to_owned));
        assert_eq!(
            reasons(&of_container),
            [
                row(CREATING, None),
                row(INITIALIZING, None),
                row("CreateContainerConfigError", Some("no such key"))
            ]
        );
        assert_eq!(
            reasons(&of_volume),
            [row(CREATING, None), row(INITIALIZING, None), row(INITIALIZING, None)]
        );
    }
}
