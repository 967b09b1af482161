//! `cargo xtask golden` against the golden records, where those are; by the tool that comes with them.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    if path.join("tools/golden-diff").exists() {
        return Some(path);
    }
    eprintln!("skipped: {} has no golden records and tools", path.display());
    None
}

fn golden(args: &[&Path]) -> Output {
    let flags = ["--config-path", "--job-config-path", "--out", "--like"];
    let args = flags.iter().zip(args).flat_map(|(flag, path)| [Path::new(flag), *path]);
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("golden").args(args).output().unwrap()
}

#[test]
fn kyma_2019_is_written_as_upstream_makes_it() {
    let Some(shared) = shared() else { return };
    let out = std::env::temp_dir().join(format!("xtask-golden-{}", std::process::id()));
    let records = shared.join("golden/kyma-2019");
    let ran =
        golden(&[&records.join("config.modern.yaml"), &shared.join("corpus/kyma-2019/jobs"), &out, &records]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for kind in ["config", "jobs", "pods", "triggers", "branch_protection", "tide"] {
        let diff = Command::new(shared.join("tools/golden-diff"))
            .arg(&records)
            .arg(&out)
            .args(["--only", kind])
            .output();
        let diff = diff.unwrap();
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    }
    std::fs::remove_dir_all(&out).unwrap();
}

#[test]
fn without_records_it_asks_its_own_questions() {
    let dir = std::env::temp_dir().join(format!("xtask-own-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (config, jobs, out) = (dir.join("config.yaml"), dir.join("jobs.yaml"), dir.join("out"));
    std::fs::write(&config, "plank: {}\n").unwrap();
    std::fs::write(
        &jobs,
        "presubmits:\n  o/r:\n  - {name: unit, always_run: true, spec: {containers: [{image: i}]}}\n",
    )
    .unwrap();
    let ran = golden(&[&config, &jobs, &out]);
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    for line in ["1 records in", "2 records in", "40 records in", "4 records in", "3 records in"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let ran = golden(&[&config, &jobs, &out, &dir]);
    assert!(!ran.status.success() && String::from_utf8_lossy(&ran.stderr).contains("pods.jsonl"));
    std::fs::remove_dir_all(&dir).unwrap();
}
