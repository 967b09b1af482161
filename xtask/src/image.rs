//! `cargo xtask static`: builds what goes into images, and checks that it needs nothing there: entrypoint is copied
//! into foreign images (prow-runtime trap 32), the utilities into an empty one.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is built: package and binary, the profile for it, and the most it may weigh in bytes.
const BINARIES: [Binary; 2] = [
    Binary { name: "entrypoint", package: "prow-entrypoint", profile: "entrypoint", largest: 700_000 },
    Binary { name: "podutils", package: "prow-podutils", profile: "static", largest: 20_000_000 },
];
/// The most memory that an entrypoint may keep while its command runs.
const RESIDENT: u64 = 2_000_000;

struct Binary {
    name: &'static str,
    package: &'static str,
    profile: &'static str,
    largest: u64,
}

/// Builds, checks and prints. `only` is the name of one binary.
pub fn run(target: &str, only: Option<&str>) -> Result<(), Box<dyn Error>> {
    let wanted: Vec<&Binary> = BINARIES.iter().filter(|b| only.is_none_or(|name| name == b.name)).collect();
    if wanted.is_empty() {
        return Err(format!("there is no binary {only:?}; they are entrypoint and podutils").into());
    }
    let mut wrong = Vec::new();
    for binary in wanted {
        let path = build(binary, target)?;
        let bytes = fs::read(&path)?;
        let size = bytes.len() as u64;
        println!("{}: {size} bytes, at most {}: {}", binary.name, binary.largest, path.display());
        if size > binary.largest {
            wrong.push(format!("{} is too large", binary.name));
        }
        match needs(&bytes)? {
            needs if needs.is_empty() => println!("{}: static", binary.name),
            needs => wrong.push(format!("{} is not static: it {}", binary.name, needs.join(" and "))),
        }
        if binary.name == "entrypoint" && target.starts_with(std::env::consts::ARCH) {
            let resident = resident(&path)?;
            println!("entrypoint: {resident} bytes resident while its command runs, at most {RESIDENT}");
            if resident > RESIDENT {
                wrong.push("entrypoint keeps too much memory".to_owned());
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

fn build(binary: &Binary, target: &str) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--package", binary.package, "--bin", binary.name]);
    cargo.args(["--profile", binary.profile, "--target", target]);
    // `ring` has C and assembly in it, which need no C library: the compiler for GNU serves for musl.
    let variable = format!("CC_{}", target.replace('-', "_"));
    let native = target.starts_with(std::env::consts::ARCH);
    if std::env::var_os(&variable).is_none() && !native {
        cargo.env(&variable, format!("{}-linux-gnu-gcc", target.split('-').next().unwrap_or_default()));
    } else if std::env::var_os(&variable).is_none() {
        cargo.env(&variable, "cc");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no workspace")?;
    let status = cargo.current_dir(root).status()?;
    if !status.success() {
        return Err(format!(
            "cannot build {} for {target} ({status}); `rustup target add {target}`, and for the utilities a C \
             compiler for it (Debian: gcc-aarch64-linux-gnu)",
            binary.name
        )
        .into());
    }
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(built).join(target).join(binary.profile).join(binary.name))
}

/// The most memory that an entrypoint had while it ran a command for a moment.
fn resident(entrypoint: &Path) -> Result<u64, Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("prow-static-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let up = dir.join("up");
    // It says that it runs, then waits to be told that it was looked at.
    let script = format!("seq 100000; echo > {0}; while test -e {0}; do sleep 0.05; done", up.display());
    let options = serde_json::json!({"args": ["sh", "-c", script], "process_log": dir.join("log"),
        "marker_file": dir.join("marker")});
    let mut child = Command::new(entrypoint)
        .env("ENTRYPOINT_OPTIONS", options.to_string())
        .stdout(Stdio::null())
        .spawn()?;
    let seen = loop {
        if up.exists() {
            break fs::read_to_string(format!("/proc/{}/status", child.id()));
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("the entrypoint ended at once: {status}").into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    fs::remove_file(&up)?;
    child.wait()?;
    fs::remove_dir_all(&dir)?;
    let seen = seen?;
    let peak =
        seen.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the kernel tells no VmHWM")?;
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// What a program wants from the image it runs in; nothing, if it is static.
fn needs(elf: &[u8]) -> Result<Vec<String>, Box<dyn Error>> {
    const INTERPRETER: u32 = 3;
    const DYNAMIC: u32 = 2;
    const NEEDED: u64 = 1;
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("it is not a 64-bit little-endian ELF file".into());
    }
    let number = |at: usize, bytes: usize| -> Result<u64, Box<dyn Error>> {
        let piece = elf.get(at..at + bytes).ok_or("the ELF file is cut short")?;
        Ok(piece.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let place = |at: usize| Ok::<_, Box<dyn Error>>(usize::try_from(number(at, 8)?)?);
    let (table, size, count) = (place(0x20)?, number(0x36, 2)? as usize, number(0x38, 2)? as usize);
    let mut needs = Vec::new();
    for header in (0..count).map(|n| table + n * size) {
        let (offset, length) = (place(header + 8)?, place(header + 32)?);
        match number(header, 4)? as u32 {
            INTERPRETER => {
                let name = elf.get(offset..offset + length).ok_or("the ELF file is cut short")?;
                let name = String::from_utf8_lossy(name);
                needs.push(format!("wants the loader {}", name.trim_end_matches('\0')));
            }
            DYNAMIC => {
                let entries = (offset..offset + length).step_by(16);
                let libraries =
                    entries.map(|at| number(at, 8)).filter(|tag| matches!(tag, Ok(NEEDED))).count();
                if libraries > 0 {
                    needs.push(format!("wants {libraries} libraries"));
                }
            }
            _ => {}
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers for these segments: kind, and content.
    fn elf(segments: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = vec![0; 0x40 + segments.len() * 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x20] = 0x40;
        file[0x36] = 56;
        file[0x38] = segments.len() as u8;
        for (n, (kind, content)) in segments.iter().enumerate() {
            let (header, offset) = (0x40 + n * 56, file.len());
            file[header..header + 4].copy_from_slice(&kind.to_le_bytes());
            file[header + 8..header + 16].copy_from_slice(&(offset as u64).to_le_bytes());
            file[header + 32..header + 40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            file.extend_from_slice(content);
        }
        file
    }

    #[test]
    fn loaders_and_libraries_are_found() {
        let tag = |tag: u64| [tag.to_le_bytes(), [0; 8]].concat();
        let pie = (2, [tag(5), tag(0)].concat());
        assert!(needs(&elf(&[])).unwrap().is_empty());
        assert!(needs(&elf(&[(1, vec![1, 2]), pie.clone()])).unwrap().is_empty(), "a static PIE");
        let loader = needs(&elf(&[(3, b"/lib/ld.so\0".to_vec()), pie])).unwrap();
        assert_eq!(loader, ["wants the loader /lib/ld.so"]);
        let libraries = needs(&elf(&[(2, [tag(1), tag(1), tag(0)].concat())])).unwrap();
        assert_eq!(libraries, ["wants 2 libraries"]);
        assert!(needs(b"#!/bin/sh").is_err());
        assert!(needs(&elf(&[(3, vec![0; 9])])[..0x50]).is_err());
    }

    #[test]
    fn this_test_itself_is_not_static_on_glibc() {
        let me = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needs(&me).unwrap().is_empty(), cfg!(target_env = "musl"));
    }
}
