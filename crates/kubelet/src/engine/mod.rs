//! Containers of Docker or Podman in the place of sandboxed processes.
//!
//! ```text
//!   ProcessRuntime::prepare ── images: pull, look up ──▶ engine's socket
//!        │ plan                                             ▲
//!   supervisor ── pod-sandbox engine (one a container) ─────┘  create, attach, start, wait, remove
//!        └─────── pod-sandbox engine-network (one a Pod): the container whose network the others share
//! ```
//!
//! Everything else, from volumes to records, is that of the process runtime: a Pod's supervisor watches over it, and
//! when that dies its stages end the containers. Containers carry labels, so that what a killed machine or engine left
//! is found and removed.

pub(crate) mod context;
mod docker_context;
pub(crate) mod find;
pub(crate) mod http;
pub(crate) mod images;
mod memory;
mod privileged;
mod reference;
pub(crate) mod service;
pub(crate) mod spec;
pub(crate) mod stage;
mod tar;
mod tmpfs;
pub(crate) mod ungranted;

pub(crate) use context::Engine;
pub(crate) use privileged::host_paths as privileged_host_paths;
