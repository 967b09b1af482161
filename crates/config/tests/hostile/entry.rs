//! What hostile bytes go into: the entry points that the fuzz targets and the hostile test share. They must come back,
//! with a value or an error, in bounded memory.

use prow_config::{LoadOptions, load, yaml};
use std::fs;
use std::path::Path;

/// The decoder: bytes as a value of any shape, and as a type with fields, lists, maps and free values.
pub fn decode(bytes: &[u8]) {
    let _ = yaml::read::<serde_json::Value>("hostile.yaml", bytes.to_vec());
    let _ = yaml::read::<prow_api::ProwJob>("hostile.yaml", bytes.to_vec());
}

/// The loader: the bytes are the files of a tree, told apart by a byte that no YAML text has.
pub fn load_tree(directory: &Path, bytes: &[u8]) {
    const FILES: [&str; 6] = [
        "jobs/a.yaml",
        "config.yaml",
        "plugins.yaml",
        "jobs/.prowignore",
        "jobs/b.yaml",
        "parts/x_prowconfig.yaml",
    ];
    for name in ["jobs", "parts"] {
        fs::create_dir_all(directory.join(name)).expect("a directory can be made");
    }
    let mut parts = bytes.split(|byte| *byte == 0);
    for name in FILES {
        fs::write(directory.join(name), parts.next().unwrap_or_default()).expect("a file can be written");
    }
    let options = LoadOptions {
        config_path: directory.join("config.yaml"),
        job_config_path: Some(directory.join("jobs")),
        plugin_config: Some(directory.join("plugins.yaml")),
        supplemental_prow_config_dirs: vec![directory.join("parts")],
        ..LoadOptions::default()
    };
    if let Err(errors) = load(&options) {
        assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
    }
}
