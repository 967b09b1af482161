//! A value that cannot be printed (invariant 8).

use std::fmt;
use std::sync::Arc;

/// Holds a token, key or password. `Debug` and `Display` give a placeholder, there is no `Serialize`,
/// and the only way to the value is [`Secret::expose`], which is easy to search for in review.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Takes the value as it is; callers trim what needs trimming.
    pub fn new(value: impl AsRef<[u8]>) -> Self {
        Secret(Arc::from(value.as_ref()))
    }

    /// The raw value. Never log it, never put it in an argument or URL.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text; `None` if it is not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_value() {
        let s = Secret::new("hunter2");
        assert!(!format!("{s:?} {s} {:#?}", Some(&s)).contains("hunter2"));
        assert_eq!(s.expose_str(), Some("hunter2"));
    }
}
