//! Arbitrary bytes through the decoder.
#![no_main]

#[allow(dead_code)] // the loader's entry is the other target's
#[path = "../../tests/hostile/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::decode(bytes));
