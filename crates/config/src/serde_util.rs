//! Small helpers that serde attributes name: what Go's `omitempty` leaves out.

/// `false` is left out.
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
/// Zero is left out.
pub(crate) fn is_zero(value: &i64) -> bool {
    *value == 0
}
/// A section that says nothing is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
/// An absent or empty list is left out.
pub(crate) fn none_or_empty<T>(value: &Option<Vec<T>>) -> bool {
    value.as_ref().is_none_or(Vec::is_empty)
}
