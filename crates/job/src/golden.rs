//! Golden (being written)
