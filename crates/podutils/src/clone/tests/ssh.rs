//! Over SSH: OpenSSH's own server, one process a connection, so that it needs no port of its own.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Sshd {
    dir: tempfile::TempDir,
    port: u16,
    /// The host's key as a line of known_hosts.
    fingerprint: String,
}

fn keygen(path: &Path, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    let done = command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(path).status().unwrap();
    assert!(done.success());
}

impl Sshd {
    /// `None`, and said, where there is no sshd.
    fn start() -> Option<Sshd> {
        let sshd =
            ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].map(PathBuf::from).into_iter().find(|p| p.exists());
        let Some(sshd) = sshd else {
            eprintln!("skipped: sshd is not installed (Debian's openssh-server)");
            return None;
        };
        // As root it insists on this directory, which its service would make.
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "user", "stranger"] {
            keygen(&dir.path().join(name), "");
        }
        keygen(&dir.path().join("locked"), "a passphrase");
        let host = std::fs::read_to_string(dir.path().join("host.pub")).unwrap();
        std::fs::copy(dir.path().join("user.pub"), dir.path().join("authorized")).unwrap();
        let config = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = dir.path().join("config");
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let stdin = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
                let mut command = Command::new(&sshd);
                command.args(["-i", "-f"]).arg(&config);
                command.stdin(Stdio::from(stdin)).stdout(Stdio::from(std::os::fd::OwnedFd::from(socket)));
                let Ok(mut child) = command.stderr(Stdio::null()).spawn() else { return };
                std::thread::spawn(move || child.wait());
            }
        });
        let key = host.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Some(Sshd { dir, port, fingerprint: format!("[127.0.0.1]:{port} {key}") })
    }

    fn repository(&self) -> Refs {
        let repo = self.dir.path().join("repo");
        std::fs::create_dir(&repo).unwrap();
        for args in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &[
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b",
                "commit",
                "--quiet",
                "--allow-empty",
                "-m",
                "base",
            ],
        ] {
            assert!(Command::new("git").args(args).current_dir(&repo).status().unwrap().success());
        }
        let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        Refs {
            org: "o".into(),
            repo: "r".into(),
            base_ref: "main".into(),
            clone_uri: format!("ssh://{me}@127.0.0.1:{}{}", self.port, repo.display()),
            ..Refs::default()
        }
    }
}

#[tokio::test]
async fn a_key_opens_the_server_whose_host_key_is_known_and_no_other() {
    let Some(sshd) = Sshd::start() else { return };
    let refs = sshd.repository();
    // As a Secret's volume looks: the machinery behind it is no key.
    let keys = |name: &str| {
        let dir = sshd.dir.path().join(format!("keys-{name}"));
        std::fs::create_dir_all(dir.join("..data")).unwrap();
        std::fs::write(dir.join("..data/junk"), "no key").unwrap();
        let key = dir.join("ssh-privatekey");
        std::fs::copy(sshd.dir.path().join(name), &key).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400)).unwrap();
        vec![text(&dir)]
    };
    let other = sshd.fingerprint.replace(&format!(":{}", sshd.port), ":1");
    for (number, (key, fingerprint, why)) in [
        ("user", &sshd.fingerprint, ""),
        ("stranger", &sshd.fingerprint, "Permission denied"),
        ("user", &other, "Host key verification failed"),
    ]
    .into_iter()
    .enumerate()
    {
        let run = sshd.dir.path().join(number.to_string());
        let mut options = options(&[]);
        options.refs = vec![refs.clone()];
        options.src_root = text(&run);
        options.key_files = keys(key);
        options.host_fingerprints = vec![fingerprint.clone()];
        let known_hosts = sshd.dir.path().join(format!("known_hosts-{number}"));
        let records = records(&options, &patient().0, &known_hosts).await;
        assert_eq!(records.len(), 2, "{records:?}");
        let setup = &records[0];
        assert!(!setup.failed && setup.commands[0].command == "ssh-agent", "{setup:?}");
        assert!(setup.commands[1].output.contains("Identity added"), "{setup:?}");
        assert_eq!(std::fs::read_to_string(&known_hosts).unwrap(), format!("{fingerprint}\n"));
        let record = &records[1];
        assert_eq!(record.failed, !why.is_empty(), "{record:?}");
        if record.failed {
            assert!(record.commands.last().unwrap().output.contains(why), "{why}: {record:?}");
        } else {
            assert_eq!(record.final_sha.len(), 40);
            assert!(record.commands.iter().any(|c| c.command.contains("UserKnownHostsFile=")), "{record:?}");
        }
    }
}

#[tokio::test]
async fn a_key_with_a_passphrase_fails_instead_of_asking() {
    let Some(sshd) = Sshd::start() else { return };
    let mut options = options(&[("o", "r", "")]);
    options.key_files = vec![text(&sshd.dir.path().join("locked"))];
    let records = records(&options, &patient().0, &sshd.dir.path().join("known_hosts")).await;
    assert_eq!(records.len(), 1, "{records:?}");
    let failed = records[0].commands.last().unwrap();
    assert!(records[0].failed && failed.command.starts_with("ssh-add "), "{failed:?}");
}
