//! Holds the house to ARCHITECTURE.md: which room may depend on which, what the pure rooms may not touch, and a few
//! habits that are easy to lose. Dev-dependencies are free: tests may build a whole world.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors of the house, lowest first. A room depends on lower floors only, unless an exception below says otherwise.
const FLOORS: [(&str, &[&str]); 6] = [
    ("things", &["api", "config", "job", "checkconfig"]),
    ("shared", &["service"]),
    ("adapters", &["github", "git", "storage", "kube"]),
    (
        "workers",
        &["hook", "plugins", "plank", "horologium", "sinker", "crier", "deck", "podutils", "entrypoint"],
    ),
    ("world", &["apiserver", "kubelet", "forge"]),
    ("tests", &["conformance"]),
];

/// Dependencies on one's own floor that are meant.
const SIDEWAYS: [(&str, &str); 8] = [
    ("config", "api"),
    ("job", "api"),
    ("job", "config"),
    ("checkconfig", "api"),
    ("checkconfig", "config"),
    ("checkconfig", "job"),
    // Hook's one purpose is to hand events to plugins.
    ("hook", "plugins"),
    // One file that is every pod utility, for images.
    ("podutils", "entrypoint"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|(_, rooms)| rooms.contains(&room))
        .unwrap_or_else(|| panic!("crates/{room} is on no floor: add it to ARCHITECTURE.md and to this test"))
}

/// `prow-*` dependencies by room, without dev-dependencies.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Ok(manifest) = fs::read_to_string(path.join("Cargo.toml")) else { continue };
        let mut section = String::new();
        let mut rooms = Vec::new();
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line.trim().to_owned();
            } else if section == "[dependencies]"
                && let Some(rest) = line.strip_prefix("prow-")
            {
                rooms.push(rest.split(['.', ' ', '=']).next().unwrap().to_owned());
            }
        }
        out.insert(room, rooms);
    }
    out
}

#[test]
fn rooms_depend_only_on_lower_floors() {
    let all = dependencies();
    assert!(all.len() > 15, "only {} crates were found", all.len());
    let mut wrong = Vec::new();
    for (room, needs) in all.iter().filter(|(room, _)| *room != "prow") {
        for need in needs {
            let sideways = SIDEWAYS.contains(&(room.as_str(), need.as_str()));
            let from_workers_to_world = floor(need) == 4;
            // The world stands beside the workers: it knows adapters, not them.
            let world_to_workers = floor(room) == 4 && floor(need) == 3;
            if !sideways && (floor(need) >= floor(room) || from_workers_to_world || world_to_workers) {
                wrong.push(format!("{room} -> {need}"));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies against ARCHITECTURE.md: {wrong:?}");
    assert!(all["entrypoint"].is_empty(), "the entrypoint is copied into job images and stays small");
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("fixtures") {
                sources(&path, out);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(&root().join("crates"), &mut paths);
    sources(&root().join("xtask"), &mut paths);
    paths
        .into_iter()
        .map(|p| (p.strip_prefix(root()).unwrap().display().to_string(), fs::read_to_string(&p).unwrap()))
        .collect()
}

/// The part of a file before its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn pure_rooms_touch_no_clock_disk_network_or_chance() {
    // The loader of config reads files and watches them: that is its one purpose, and it lives in these files.
    const LOADER: [&str; 5] = ["src/agent", "src/load", "src/files", "src/stamp", "src/walk"];
    const FORBIDDEN: [&str; 10] = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "tokio::",
        "rand::",
        "Uuid::new_v4",
    ];
    for (path, text) in all_sources() {
        let room = ["api", "config", "job", "checkconfig"]
            .iter()
            .find(|r| path.starts_with(&format!("crates/{r}/src")));
        let Some(room) = room else { continue };
        if path.contains("/golden")
            || path.contains("tests")
            || (*room == "config" && LOADER.iter().any(|l| path.contains(l)))
        {
            continue;
        }
        for word in FORBIDDEN {
            let used = code(&text).lines().any(|l| l.contains(word) && !l.trim_start().starts_with("//"));
            assert!(!used, "{path} uses {word}: {room} is pure (ARCHITECTURE.md, invariant 1)");
        }
    }
}

#[test]
fn every_file_says_its_reason_first() {
    for (path, text) in all_sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//!"),
            "{path}: the first line says why the file exists (`//! …`), not {first:?}"
        );
    }
}

#[test]
fn nothing_is_left_half_and_no_machine_is_named() {
    // Assembled, so that this file does not find itself.
    let words = [
        ["todo", "!("].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
        ["unimple", "mented!("].concat(),
    ];
    let paths = [["/wo", "rk/"].concat(), ["/ro", "ot/."].concat()];
    for (path, text) in all_sources() {
        for word in words.iter().chain(&paths) {
            assert!(!text.contains(word.as_str()), "{path} contains {word}");
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            manifest.display()
        );
    }
    assert!(fs::read_to_string(root().join("Cargo.toml")).unwrap().contains("unsafe_code = \"forbid\""));
    for (path, text) in all_sources() {
        let word = ["unsafe", " {"].concat();
        assert!(!text.contains(&word), "{path} contains unsafe code");
    }
}

#[test]
fn the_map_in_architecture_names_every_room() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for room in dependencies().keys() {
        assert!(map.contains(&format!("{room}/")), "ARCHITECTURE.md does not name crates/{room}/");
    }
}
