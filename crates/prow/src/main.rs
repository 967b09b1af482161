//! The executable: every component and tool as a subcommand, or by the name it is called under.

mod checkconfig;
mod cli;
mod component;
mod configdiff;
mod datadir;
mod demo;
mod describe;
mod flags;
mod jobs;
mod mkpj;
mod mkpod;
mod own_jobs;
mod ports;
mod run;
mod up;
mod wanted;
mod why;
mod world;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Names under which the binary acts as that tool, so that it can stand in a container image (or be copied into a
/// job's volume) as upstream's binaries do.
const CALLED_AS: [&str; 5] = ["entrypoint", "clonerefs", "initupload", "sidecar", "gcsupload"];

/// Tools that are called by their own name as well: subcommands that go on as such.
const TOOLS: [&str; 3] = ["checkconfig", "mkpj", "mkpod"];

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
    let rest: Vec<OsString> = args.collect();
    if CALLED_AS.contains(&name.as_str()) {
        return tool(&name, rest);
    }
    match rest.first().and_then(|a| a.to_str()).map(str::to_owned) {
        Some(first) if CALLED_AS.contains(&first.as_str()) => tool(&first, rest[1..].to_vec()),
        // These become namespaces and PID 1 of a Pod: they must stay single-threaded, so no runtime is started.
        Some(first) if first == "pod-supervisor" => prow_kubelet::supervisor::main(rest.into_iter().skip(1)),
        Some(first) if first == "pod-sandbox" => prow_kubelet::sandbox::main(rest.into_iter().skip(1)),
        _ if component::NAMES.contains(&name.as_str()) || TOOLS.contains(&name.as_str()) => {
            cli::main([program, name.into()].into_iter().chain(cli::go_style(rest)))
        }
        _ => cli::main(std::iter::once(program).chain(cli::go_style(rest))),
    }
}

/// A pod utility. It takes its options from the environment or from Go-style flags.
fn tool(name: &str, args: Vec<OsString>) -> ExitCode {
    if name == "entrypoint" {
        return prow_entrypoint::main(args, std::env::vars_os());
    }
    prow_github::install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(prow_podutils::main(name, args))
}
