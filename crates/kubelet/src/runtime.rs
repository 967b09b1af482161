//! The seam between the pod runner and whatever runs containers: supervised processes, or containers of an engine
//! ([`crate::process::ProcessRuntime`]).
//!
//! The runner decides from what [`Runtime::state`] says and never remembers what it asked for: after a crash the same
//! question gives the same answer.

use crate::build::{Objects, Problem, Remark};
use crate::error::Error;
use crate::logs::{LogQuery, LogStream};
use crate::record::{PodRecord, TerminateRequest};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use std::pin::Pin;

/// Where a Pod's run stands, as the runtime finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Nothing is known of the Pod.
    Absent,
    /// Everything lies ready; nothing was ever started.
    Prepared,
    /// It is being started.
    Launching,
    /// It runs.
    Running(PodRecord),
    /// It ran, and who watched over it died without saying how it ended.
    Lost,
    /// Nothing of it runs any more.
    Ended(PodRecord),
}

/// Why a Pod could not be made ready.
#[derive(Debug)]
pub enum PrepareError {
    /// The Pod or what it names; it waits.
    Problem(Problem),
    /// The machine; tried again.
    Failed(Error),
    /// The Pod is not to be run any more.
    Unwanted,
}

/// Comes to pass once a Pod is not to be run any more.
pub type Unwanted<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl From<Error> for PrepareError {
    fn from(e: Error) -> Self {
        match e {
            Error::HostPath { .. } => PrepareError::Problem(Problem::mount(e.to_string(), None)),
            e => PrepareError::Failed(e),
        }
    }
}

/// Runs Pods. A Pod is named by its uid.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// The Pods that the runtime knows of.
    async fn known(&self) -> Result<Vec<String>, Error>;
    /// Where one stands.
    async fn state(&self, uid: &str) -> Result<RunState, Error>;
    /// True if no process works for the Pod any more, whoever watched over it and tidies up after it included.
    async fn quiet(&self, uid: &str) -> Result<bool, Error>;
    /// Makes everything ready, whole or not at all; starts nothing. What takes long is given up once the Pod is unwanted.
    async fn prepare(
        &self,
        pod: &Pod,
        objects: &Objects,
        unwanted: Unwanted<'_>,
    ) -> Result<Vec<Remark>, PrepareError>;
    /// Starts a prepared Pod; never a second time.
    async fn launch(&self, uid: &str) -> Result<(), Error>;
    /// Asks a running Pod to end, or to end sooner.
    async fn terminate(&self, uid: &str, request: &TerminateRequest) -> Result<(), Error>;
    /// Kills what a lost Pod left behind and closes its record.
    async fn close_lost(&self, uid: &str) -> Result<(), Error>;
    /// Forgets a Pod that does not run, with its logs and volumes.
    async fn remove(&self, uid: &str) -> Result<(), Error>;
    /// A container's log; `container` is one of the Pod's.
    async fn logs(&self, uid: &str, container: &str, query: &LogQuery) -> Result<Option<LogStream>, Error>;
    /// The next Pod whose state may have changed. May name Pods too often, and may miss one now and then.
    async fn changed(&self) -> String;
    /// Ends what is kept for all Pods together; none runs any more.
    async fn close(&self);
}
