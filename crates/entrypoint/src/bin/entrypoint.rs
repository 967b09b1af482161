//! The small static binary that is copied into a job's image.

fn main() -> std::process::ExitCode {
    prow_entrypoint::main(std::env::args_os().skip(1), std::env::vars_os())
}
