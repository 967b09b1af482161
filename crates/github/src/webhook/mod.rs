//! Webhooks from GitHub: is it genuine ([`validate`], prow-runtime §2.1), what is it ([`Event::parse`], §2.3), and
//! what did somebody say in it ([`GenericComment`], §2.4).

mod comment;
mod events;
mod validate;

pub use comment::{CommentAction, GenericComment};
pub use events::*;
pub use validate::{Delivery, Rejection, validate};

/// A payload whose fields are not what its event type promises.
#[derive(Debug, thiserror::Error)]
#[error("webhook {guid}: the {event_type} payload cannot be read: {source}; it will not be handled")]
pub struct ParseError {
    pub event_type: String,
    pub guid: String,
    #[source]
    pub source: serde_json::Error,
}
