//! What every component shares: the clock, shutdown, logs that pass a censor, secrets read from files,
//! a listener that says what is wrong when it cannot listen.

pub mod bot;
pub mod censor;
pub mod clock;
pub mod enablement;
pub mod listen;
pub mod logs;
pub mod metrics;
pub mod secrets;
pub mod shutdown;
