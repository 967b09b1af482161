//! The one tar archive that we write: the root of the pod utilities' containers, which holds mount points and no files.

/// A tar block.
const BLOCK: usize = 512;

/// An archive of directories, links and small texts, all root's.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// A directory; `path` without a leading slash.
    pub fn directory(&mut self, path: &str, mode: u32) {
        self.header(&format!("{path}/"), mode, 0, b'5', "");
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.header(path, 0o777, 0, b'2', target);
    }

    /// A file.
    pub fn file(&mut self, path: &str, text: &str) {
        self.header(path, 0o644, text.len(), b'0', "");
        self.0.extend_from_slice(text.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    /// POSIX ustar. Names are ours and short.
    fn header(&mut self, path: &str, mode: u32, size: usize, kind: u8, target: &str) {
        let mut block = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        put(148, "        ");
        put(157, target);
        put(257, "ustar");
        put(263, "00");
        block[156] = kind;
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn tar_reads_what_we_write() {
        let mut archive = Archive::default();
        archive.directory("usr", 0o755);
        archive.link("bin", "usr/bin");
        archive.file("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        let mut child = std::process::Command::new("tar")
            .args(["-tvf", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        for line in ["drwxr-xr-x", "bin -> usr/bin", "26 1970-01-01", "etc/passwd"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
