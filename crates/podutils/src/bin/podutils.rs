//! Every pod utility in one binary: `podutils sidecar`, or called under the name `sidecar`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().and_then(|a| Path::new(a).file_name()?.to_str().map(str::to_owned));
    let name =
        match called.filter(|name| prow_podutils::TOOLS.contains(&name.as_str()) || name == "entrypoint") {
            Some(name) => {
                args.drain(..1);
                name
            }
            None => {
                let name = args.get(1).map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
                args.drain(..args.len().min(2));
                name
            }
        };
    if name == "entrypoint" {
        return prow_entrypoint::main(args, std::env::vars_os());
    }
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(prow_podutils::main(&name, args)),
        Err(error) => {
            eprintln!("{name}: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
