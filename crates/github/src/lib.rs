//! GitHub, as Prow talks to it: a REST client that retries, throttles and caches ([`Client`]), the webhook
//! payloads it sends us ([`webhook`]), and the secrets those are signed with ([`hmac`]).
//!
//! This crate knows nothing of components. The forge (our GitHub stand-in) is held to it by its tests, not by a
//! shared type: what crosses between them is HTTP.

pub mod app;
pub mod client;
pub mod error;
pub mod hmac;
pub mod types;
pub mod webhook;
mod wire;

pub use app::AppKey;
pub use client::token::TokenSource;
pub use client::{BotUser, Client, ClientOptions, MergeMethod, NewPullRequest, ThrottleOptions, install_tls};
pub use error::Error;
pub use types::*;
