//! Runs a job's command inside its own image: output to the log and on, time limits, signals, and at the end a
//! marker file that the sidecar waits for (prow-runtime §8.3, traps 24–27, 32).
//!
//! Standard library, signals and JSON only: the binary is copied into foreign images and may find nothing there,
//! no libc of its own choosing, no /etc/passwd, no certificates, no locale.
//!
//! Properties:
//! * the marker appears once, whole, and with the code that this process exits with;
//! * every way to end writes a marker, but for options so wrong that there is no place for one, and for being
//!   killed, which the sidecar learns from a lock that the kernel gives back;
//! * the command and all it starts are one process group: signals and the final kill reach all of it;
//! * a closed standard output or a full disk loses output, with a message that says so, never the run.

mod alive;
mod cgroup;
mod log;
mod marker;
mod options;
mod output;
mod place;
mod run;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

pub use alive::{died, is_lock, lock_file};
pub use options::{DEFAULT_COPY_DESTINATION, Options, parse};
pub use usage::usage_file;

/// Something of our own failed, or the time limit passed.
pub const INTERNAL_ERROR: i32 = 127;
/// SIGINT or SIGTERM arrived.
pub const INTERRUPTED: i32 = 130;
/// The previous container of a chain failed, so this one did not run.
pub const PREVIOUS_FAILED: i32 = 1130;

/// The whole program: the arguments without the program's name, and the environment.
pub fn main(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let env: std::collections::HashMap<OsString, OsString> = env.into_iter().collect();
    let env = |name: &'static str| env.get(std::ffi::OsStr::new(name)).cloned();
    let args: Vec<OsString> = args.into_iter().collect();
    if options::wants_help(&args, &env) {
        // Nobody there to read it is no reason to fail.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), options::usage().as_bytes());
        return ExitCode::SUCCESS;
    }
    let options = match parse(args, &env) {
        Ok(options) => options,
        Err(error) => {
            log::to_stderr("fatal", &format!("entrypoint: {error}"));
            // Nobody waits for a command that will never run.
            if let Some(marker) = options::marker_of(&env)
                && let Err(error) = marker::write(&marker, 1)
            {
                log::to_stderr("error", &format!("cannot write the marker {}: {error}", marker.display()));
            }
            return ExitCode::from(1);
        }
    };
    if options.copy_mode_only {
        return match place::copy_self(&options.copy_destination) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::to_stderr("fatal", &error);
                ExitCode::from(1)
            }
        };
    }
    // As an exit status only the low byte is left: -1 becomes 255, 1130 becomes 106.
    match u8::try_from(run::run(&options) & 0xff) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(1),
    }
}
