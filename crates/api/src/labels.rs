//! Label and annotation keys (prow-config §2.1) and the other names that are contracts.

/// `true` on every ProwJob and Pod that Prow made.
pub const CREATED_BY_PROW: &str = "created-by-prow";
/// Job type.
pub const TYPE: &str = "prow.k8s.io/type";
/// Job name: label (cut to 63 bytes) and annotation (whole).
pub const JOB: &str = "prow.k8s.io/job";
/// Status context: label (cut) and annotation (whole).
pub const CONTEXT: &str = "prow.k8s.io/context";
/// Organisation of refs, else of the first extra ref.
pub const ORG: &str = "prow.k8s.io/refs.org";
/// Repository of refs, else of the first extra ref.
pub const REPO: &str = "prow.k8s.io/refs.repo";
/// Base ref of refs, else of the first extra ref.
pub const BASE_REF: &str = "prow.k8s.io/refs.base_ref";
/// Number of the first pull.
pub const PULL: &str = "prow.k8s.io/refs.pull";
/// Name of the ProwJob.
pub const PROW_JOB_ID: &str = "prow.k8s.io/id";
/// Build id.
pub const BUILD_ID: &str = "prow.k8s.io/build-id";
/// Version of the plank that made the Pod.
pub const PLANK_VERSION: &str = "prow.k8s.io/plank-version";
/// `true`/`false` on presubmits made through a pull request.
pub const IS_OPTIONAL: &str = "prow.k8s.io/is-optional";
/// `true` when made by `/retest` or `/retest-required`.
pub const RETEST: &str = "prow.k8s.io/retest";
/// Horologium's retry attempt, from 1.
pub const RERUN: &str = "prow.k8s.io/re-run";
/// GitHub's delivery GUID.
pub const EVENT_GUID: &str = "event-GUID";
/// `true` on Tide's jobs.
pub const CREATED_BY_TIDE: &str = "created-by-tide";
/// Label to vote on in Gerrit.
pub const GERRIT_REPORT_LABEL: &str = "prow.k8s.io/gerrit-report-label";

/// Finalizer that crier's Pod reporter puts on Pods.
pub const GCSK8S_FINALIZER: &str = "prow.x-k8s.io/gcsk8sreporter";

/// Pull request labels of the trigger plugin.
pub const OK_TO_TEST: &str = "ok-to-test";
/// See [`OK_TO_TEST`].
pub const NEEDS_OK_TO_TEST: &str = "needs-ok-to-test";
/// Label of the lgtm plugin.
pub const LGTM: &str = "lgtm";

/// Keys that a job's configuration may not set.
pub const RESERVED: [&str; 3] = [TYPE, CREATED_BY_PROW, PROW_JOB_ID];
