//! The engine against a server that misbehaves in scripted ways.
use super::*;
