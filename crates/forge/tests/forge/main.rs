//! The forge against real clients over loopback: git itself, and Prow's own GitHub client.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

mod client;
mod crash;
mod git;
mod harness;
mod hooks;
mod shapes;
