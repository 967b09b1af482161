//! Zip archives as `zip` makes them, and as it does not, through the censor.

use super::Withheld;
use super::tests::{censored, gunzip, gzip, has, run};
use std::fs;
use std::path::Path;

/// Unpacks what became of an archive, after `unzip` has found it in order.
fn unzipped(archive: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("out.zip"), archive).unwrap();
    run(dir.path(), "unzip", &["-tq", "out.zip"]);
    run(dir.path(), "unzip", &["-q", "out.zip"]);
    dir
}

fn fill(path: &Path) {
    fs::create_dir(path.join("d")).unwrap();
    fs::write(path.join("d/a.txt"), "it is s3cr3t, ".repeat(100)).unwrap();
    fs::write(path.join("b.gz"), gzip("s3cr3t ".repeat(3000).as_bytes())).unwrap();
    fs::write(path.join("c.xz"), b"\xfd7zXZ\0s3cr3t").unwrap();
    fs::write(path.join("empty"), "").unwrap();
    fs::write(path.join("s3cr3t.sh"), "#!/bin/sh").unwrap();
    fs::set_permissions(path.join("s3cr3t.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn check(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let read = |name: &str| fs::read(path.join(name)).unwrap();
    assert_eq!(read("d/a.txt"), "it is XXXXXX, ".repeat(100).as_bytes());
    assert_eq!(gunzip(&read("b.gz")), "XXXXXX ".repeat(3000).as_bytes());
    assert!(String::from_utf8(read("c.xz")).unwrap().starts_with("Withheld"));
    assert_eq!((read("empty"), read("XXXXXX.sh")), (vec![], b"#!/bin/sh".to_vec()));
    let mode = fs::metadata(path.join("XXXXXX.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755, "modes are in the directory at the end");
}

#[test]
fn entries_are_censored_and_the_archive_stays_one_that_unzip_reads() {
    if !has("zip") || !has("unzip") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    // Deflated, stored, and written to a pipe: then sizes follow the content.
    run(dir.path(), "sh", &["-c", "zip -qr deflated.zip d b.gz c.xz empty s3cr3t.sh"]);
    run(dir.path(), "sh", &["-c", "zip -qr0 stored.zip d b.gz c.xz empty s3cr3t.sh"]);
    run(dir.path(), "sh", &["-c", "zip -qr - d b.gz c.xz empty s3cr3t.sh | cat > piped.zip"]);
    run(dir.path(), "sh", &["-c", "zip -qr0 - d b.gz c.xz empty s3cr3t.sh | cat > piped-stored.zip"]);
    // With sizes of eight bytes, as for what is larger than 4 GiB.
    run(dir.path(), "sh", &["-c", "zip -qr -fz large.zip d b.gz c.xz empty s3cr3t.sh"]);
    run(dir.path(), "sh", &["-c", "zip -qr -fz - d b.gz c.xz empty s3cr3t.sh | cat > large-piped.zip"]);
    run(dir.path(), "sh", &["-c", "zip -q outer.zip deflated.zip && tar cf zips.tar stored.zip"]);
    for archive in
        ["deflated.zip", "stored.zip", "piped.zip", "piped-stored.zip", "large.zip", "large-piped.zip"]
    {
        let out = censored(&fs::read(dir.path().join(archive)).unwrap(), &["s3cr3t"]).unwrap();
        assert!(!out.windows(6).any(|w| w == b"s3cr3t"));
        check(unzipped(&out).path());
        let again = censored(&out, &["XXXXXX"]).unwrap();
        unzipped(&again);
    }
    let outer = unzipped(&censored(&fs::read(dir.path().join("outer.zip")).unwrap(), &["s3cr3t"]).unwrap());
    check(unzipped(&fs::read(outer.path().join("deflated.zip")).unwrap()).path());
    let tarred = censored(&fs::read(dir.path().join("zips.tar")).unwrap(), &["s3cr3t"]).unwrap();
    fs::write(outer.path().join("out.tar"), tarred).unwrap();
    run(outer.path(), "tar", &["xf", "out.tar"]);
    check(unzipped(&fs::read(outer.path().join("stored.zip")).unwrap()).path());
}

#[test]
fn what_is_not_understood_is_withheld() {
    if !has("zip") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "it is s3cr3t, ".repeat(100)).unwrap();
    run(dir.path(), "zip", &["-q", "a.zip", "a.txt"]);
    run(dir.path(), "zip", &["-q", "-P", "x", "locked.zip", "a.txt"]);
    let good = fs::read(dir.path().join("a.zip")).unwrap();
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    for (archive, why) in [
        (fs::read(dir.path().join("locked.zip")).unwrap(), "encrypted"),
        (change(&|z| z.truncate(60)), "zip archive"),
        (change(&|z| z.truncate(good.len() - 22)), "zip archive"),
        (change(&|z| z.extend(b"hidden s3cr3t")), "follows its end"),
        (change(&|z| z[14] ^= 1), "checksum"),
        (change(&|z| z[8] = 12), "method 12"),
        (change(&|z| z[directory + 42] ^= 1), "not there"),
    ] {
        let error = censored(&archive, &["s3cr3t"]).map(drop).unwrap_err();
        assert!(Withheld::reason(&error).unwrap_or_default().contains(why), "{why}: {error}");
    }
}
