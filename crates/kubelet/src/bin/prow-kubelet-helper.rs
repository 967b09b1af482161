//! Stands in for the prow executable in this crate's tests: the two hidden subcommands that the pod runner calls, and
//! `host`, which runs a whole pod runner in a process of its own that a test may kill.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|a| a.to_str()) {
        Some("pod-supervisor") => prow_kubelet::supervisor::main(args),
        Some("pod-sandbox") => prow_kubelet::sandbox::main(args),
        // What the utility images are recognised for; the tests only look at whether they ran.
        Some(name @ ("clonerefs" | "initupload" | "entrypoint" | "sidecar" | "gcsupload")) => {
            println!(
                "utility {name} {}",
                args.map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
            );
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("prow-kubelet-helper: no such subcommand: {other:?}");
            ExitCode::from(2)
        }
    }
}
