//! The forge against real clients over loopback: git itself, and Prow's own GitHub client.

mod client;
mod crash;
mod git;
mod harness;
mod hooks;
