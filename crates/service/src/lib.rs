//! What every component shares: the clock, shutdown, logs that pass a censor, secrets read from files.

pub mod clock;
