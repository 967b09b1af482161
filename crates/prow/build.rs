//! Builds the entrypoint once more, linked statically, to be put into the executable: place-entrypoint copies it into the
//! images of jobs, where our own libc may not be. Where that cannot be built the executable says so when it matters.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let entrypoint = here.join("../entrypoint");
    for watched in ["src", "Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", entrypoint.join(watched).display());
    }
    let file = out.join("entrypoint-static");
    let why = build(&entrypoint, &out, &file, &variable).err();
    if let Some(why) = why {
        println!("cargo::warning=no statically linked entrypoint, so no decorated jobs in containers: {why}");
        if let Err(e) = std::fs::write(&file, b"") {
            println!("cargo::error=cannot write {}: {e}", file.display());
        }
    }
}

fn build(
    entrypoint: &Path,
    out: &Path,
    file: &Path,
    variable: &dyn Fn(&str) -> String,
) -> Result<(), String> {
    let target = variable("TARGET");
    let directory = out.join("entrypoint");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--offline", "--bin", "entrypoint", "--target", &target])
        .arg("--manifest-path")
        .arg(entrypoint.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&directory)
        // A wrapper such as clippy is for the code that was asked for.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let profile = if variable("PROFILE") == "release" {
        cargo.args(["--profile", "entrypoint"]);
        "entrypoint"
    } else {
        // Small without taking its time.
        cargo.args(["--config", "profile.dev.debug=false", "--config", "profile.dev.strip=true"]);
        "debug"
    };
    let done = cargo.output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(said.lines().find(|l| l.starts_with("error")).unwrap_or("cargo build failed").to_owned());
    }
    let built = directory.join(&target).join(profile).join("entrypoint");
    std::fs::copy(&built, file).map(drop).map_err(|e| format!("cannot copy {}: {e}", built.display()))
}
