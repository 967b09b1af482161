//! hostPath: which directories of this machine a Pod may have, and the check of what is there.

use super::{Context, Problem};
use crate::beneath;
use crate::error::Error;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// The allowed directory that `path` lies in. If they lie in each other, the outermost: below that one jobs may have put
/// links.
pub(super) fn allowed(volume: &str, path: &Path, context: &Context<'_>) -> Result<PathBuf, Problem> {
    let refused = |why: String| {
        Err(Problem::mount(format!("volume {volume}: hostPath {} {why}", path.display()), None))
    };
    let plain = path.is_absolute() && !path.components().any(|c| c == Component::ParentDir);
    let outermost = context
        .allow_host_paths
        .iter()
        .filter(|allowed| plain && path.starts_with(allowed))
        .min_by_key(|allowed| allowed.components().count());
    match outermost {
        None => refused("is not below a directory this pod runner allows".to_owned()),
        Some(root) if context.engine.is_some() && root != path => refused(
            "is below a directory that this pod runner allows: an engine mounts by name, and a job could put a link there \
             in time, so name the allowed directory itself"
                .to_owned(),
        ),
        Some(root) => Ok(root.clone()),
    }
}

/// Makes or checks what is there, by the volume's `type`.
pub(super) fn prepare(volume: &str, path: &Path, check: &str, root: &Path) -> Result<(), Error> {
    let refused = |why: String| Error::HostPath { volume: volume.to_owned(), why };
    if check.ends_with("OrCreate") {
        // Whoever allowed it meant a directory; nobody else can have put a link here.
        std::fs::create_dir_all(root)
            .map_err(|e| refused(format!("cannot create {}: {e}", root.display())))?;
    }
    let opened = match check {
        "DirectoryOrCreate" => beneath::below_or_made(root, path),
        "FileOrCreate" => beneath::file_or_made(root, path),
        _ => beneath::below(root, path),
    };
    let opened = opened.map_err(|e| refused(e.to_string()))?;
    let kind = std::fs::metadata(beneath::fd_path(&opened))
        .map_err(|e| refused(format!("cannot look at {}: {e}", path.display())))?
        .file_type();
    let (fits, what) = match check {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (kind.is_dir(), "a directory"),
        "File" | "FileOrCreate" => (kind.is_file(), "a file"),
        "Socket" => (kind.is_socket(), "a socket file"),
        "CharDevice" => (kind.is_char_device(), "a character device"),
        "BlockDevice" => (kind.is_block_device(), "a block device"),
        other => return Err(refused(format!("the hostPath type {other} is not known to this pod runner"))),
    };
    if fits {
        Ok(())
    } else {
        Err(refused(format!("hostPath type check failed: {} is not {what}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_what_the_volume_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("allowed");
        let says = |path: &str, check: &str| match prepare("v", &root.join(path), check, &root) {
            Ok(()) => "fine".to_owned(),
            Err(e) => e.to_string(),
        };
        assert!(says("", "Directory").contains("No such file"), "{}", says("", "Directory"));
        assert_eq!(says("new/deep", "DirectoryOrCreate"), "fine");
        assert_eq!(says("new/file", "FileOrCreate"), "fine");
        for (path, check, want) in [
            ("new", "", "fine"),
            ("new", "Directory", "fine"),
            ("new/file", "File", "fine"),
            ("new/file", "Directory", "new/file is not a directory"),
            ("new/file", "DirectoryOrCreate", "new/file is not a directory"),
            ("new", "File", "new is not a file"),
            ("new", "Socket", "new is not a socket file"),
            ("new", "BlockDevice", "new is not a block device"),
            ("new", "Tape", "type Tape is not known"),
            ("gone", "", "No such file"),
        ] {
            let said = says(path, check);
            assert!(
                said.ends_with(want) || (want != "fine" && said.contains(want)),
                "{path} {check}: {said}"
            );
        }
        let said = says("new/file", "Directory");
        assert!(
            said.starts_with("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: "),
            "{said}"
        );
        std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
        for check in ["", "DirectoryOrCreate", "FileOrCreate", "Directory"] {
            assert!(says("link/x", check).contains("leads out of"), "{check}: {}", says("link/x", check));
        }
    }
}
