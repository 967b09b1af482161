//! Arbitrary trees through the loader: zero bytes part the files.
#![no_main]

#[allow(dead_code)] // the decoder's entry is the other target's
#[path = "../../tests/hostile/entry.rs"]
mod entry;

use std::sync::LazyLock;

static DIRECTORY: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::load_tree(DIRECTORY.path(), bytes));
