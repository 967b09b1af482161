//! How GitHub's JSON becomes our structs: absent and `null` both mean "the zero value", as in Prow.
//!
//! Tests, `phony` and older GitHub Enterprise servers send thin payloads; refusing them would lose events.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default. A missing field never gets here: the struct's `#[serde(default)]` fills it.
pub(crate) fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Declares structs whose every field may be absent or `null`.
macro_rules! wire {
    ($( $(#[$m:meta])* pub struct $name:ident { $( $(#[$fm:meta])* pub $f:ident : $t:ty ),* $(,)? } )*) => { $(
        $(#[$m])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(default)]
        pub struct $name {
            $( $(#[$fm])* #[serde(deserialize_with = "crate::wire::or_default")] pub $f: $t, )*
        }
    )* };
}
pub(crate) use wire;
