//! Hostile (being written)
