//! Commands and flags.

use crate::{checkconfig, component, demo, jobs, mkpj, mkpod, run, up, why};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Prow: CI/CD and ChatOps for GitHub on Kubernetes, in one binary.
#[derive(Debug, Parser)]
#[command(name = "prow", version, max_term_width = 100, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Begin with `prow demo`: it plays a pull request's whole way on this machine and says where to look.
The pod utilities entrypoint, clonerefs, initupload, sidecar and gcsupload are subcommands as well; they run
inside a job's Pod and take their options from the environment (ENTRYPOINT_OPTIONS, CLONEREFS_OPTIONS, …).";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Up(Box<up::Args>),
    Run(Box<run::Args>),
    Why(Box<why::Args>),
    Mkpj(Box<mkpj::Args>),
    Mkpod(mkpod::Args),
    Checkconfig(Box<checkconfig::Args>),
    Config(jobs::Args),
    #[command(flatten)]
    Component(component::Component),
}

/// Parses and runs.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure; upstream's tools exit 2 on bad flags.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    prow_github::install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("prow: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::main(args).await,
            Command::Up(args) => up::main(*args).await.map(|()| ExitCode::SUCCESS),
            Command::Run(args) => run::main(*args).await,
            Command::Why(args) => why::main(*args).await.map(|()| ExitCode::SUCCESS),
            Command::Mkpj(args) => mkpj::main(*args).await,
            Command::Checkconfig(args) => checkconfig::main(*args).await,
            Command::Mkpod(args) => mkpod::main(&args).map(|()| ExitCode::SUCCESS),
            Command::Component(component) => component::main(component).await,
            Command::Config(args) => jobs::main(args).await,
        }
    });
    // Blocking tasks that still read a file must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("prow: {}", said(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error as it may be shown.
pub fn said(error: &anyhow::Error) -> String {
    prow_service::censor::process().censor(&chain(error)).into_owned()
}

/// An error and its causes in one sentence, without saying anything twice.
fn chain(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if out.is_empty() {
            out = text;
        } else if !out.contains(&text) {
            out = format!("{out}: {text}");
        }
    }
    out
}

/// Go's flag package takes `-flag` for `--flag`: so do we, for flags of more than one letter.
pub fn go_style(args: Vec<OsString>) -> impl Iterator<Item = OsString> {
    let mut plain = false;
    args.into_iter().map(move |arg| {
        let Some(text) = arg.to_str() else { return arg };
        plain |= text == "--";
        let name = text.strip_prefix('-').unwrap_or_default();
        let long = name.chars().take_while(|c| *c != '=').count() > 1;
        if !plain && long && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            format!("-{text}").into()
        } else {
            arg
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        let given = ["up", "-config-path=c", "--port", "1", "-h", "-", "-1", "--", "-left-alone"];
        let seen: Vec<String> =
            go_style(given.iter().map(Into::into).collect()).map(|a| a.into_string().unwrap()).collect();
        assert_eq!(seen, ["up", "--config-path=c", "--port", "1", "-h", "-", "-1", "--", "-left-alone"]);
    }
}
