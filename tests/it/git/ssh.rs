//! Git over ssh from the real OpenSSH server, which lets in one key and runs nothing but git.
//!
//! It runs as whoever runs the tests, on a port of loopback, with keys of its own, and ends with its test.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use knotmeter::config::Git;
use knotmeter::observation::LookFailure;
use knotmeter::observers::git::{Error, check};
use tempfile::TempDir;

use super::follower::{Follower, config, deployment};
use super::origin::Origin;
use super::{WEB_1, WEB_2, shop};
use crate::e2e::process::{Program, listening, program, run};

const SERVER: &str = "openssh-server";

/// The server, and the files of who asks it.
struct Sshd {
    port: u16,
    user: String,
    folder: TempDir,
    _process: Program,
}

impl Sshd {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for key in ["host", "other-host", "ours", "stranger"] {
            let file = at.join(key);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", file.to_str().unwrap()];
            run(program("ssh-keygen", &arguments, at), "openssh-client").await.done();
        }
        std::fs::copy(at.join("ours.pub"), at.join("let-in")).unwrap();
        let user = run(program("id", &["-un"], at), "coreutils").await.done().trim().to_owned();
        if run(program("id", &["-u"], at), "coreutils").await.done().trim() == "0" {
            // As root it wants this empty folder, which Debian makes when it starts the service.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let (process, port) = listening(SERVER, at, |port| sshd(at, port), greets).await;
        Self { port, user, folder, _process: process }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How to read a repository there with our key, from a host that is known.
    fn config(&self, origin: &Origin) -> Git {
        let path = origin.file_url().replace("file://", "");
        let known = self.known_as("host");
        Git {
            ssh_key_file: Some(self.file("ours")),
            known_hosts_file: Some(known),
            ..config(&format!("ssh://{}@127.0.0.1:{}{path}", self.user, self.port))
        }
    }

    /// A file of known hosts that has this key for the server.
    fn known_as(&self, key: &str) -> PathBuf {
        let public = std::fs::read_to_string(self.file(&format!("{key}.pub"))).unwrap();
        let file = self.file(&format!("known-as-{key}"));
        std::fs::write(&file, format!("[127.0.0.1]:{} {public}", self.port)).unwrap();
        file
    }
}

fn sshd(at: &Path, port: u16) -> Command {
    let file = at.join("sshd_config");
    let at = at.display();
    let settings = format!(
        "Port {port}
ListenAddress 127.0.0.1
HostKey {at}/host
PidFile none
AuthorizedKeysFile {at}/let-in
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv GIT_PROTOCOL
ForceCommand exec git-shell -c \"$SSH_ORIGINAL_COMMAND\"
"
    );
    std::fs::write(&file, settings).unwrap();
    let found = Path::new("/usr/sbin/sshd");
    // It starts itself again for each connection, and wants its whole path for that.
    let sshd = if found.exists() { found.to_str().unwrap() } else { "sshd" };
    program(sshd, &["-D", "-e", "-f", file.to_str().unwrap()], file.parent().unwrap())
}

async fn greets(port: u16) -> bool {
    use tokio::io::AsyncReadExt as _;
    let Ok(mut stream) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return false;
    };
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_followed_over_ssh() {
    let sshd = Sshd::start().await;
    let origin = shop();
    let settings = sshd.config(&origin);
    let report = check(&settings).await.unwrap();
    let tip = origin.git(&["rev-parse", "HEAD"]);
    assert_eq!(report.branches, [("main".into(), Some(tip.as_str().into()))]);
    assert_eq!(*report.url, *settings.url.replace(&format!("{}@", sshd.user), ""));
    let mut follower = Follower::new(settings);
    assert_eq!(follower.look().await, format!("main: names (backfill)\n{WEB_1}main looked at\n"));
    assert_eq!(follower.look().await, "main looked at\n");
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2")).commit_and_push("Release web 2");
    let expected =
        format!("main: names (poll)\n{WEB_2}  commit \"Release web 2\" added [r.io/web:2]\nmain looked at\n");
    assert_eq!(follower.look().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_openssh_refuses_is_told_with_what_to_do() {
    let sshd = Sshd::start().await;
    let origin = shop();
    let good = sshd.config(&origin);
    let refused = async |settings: Git| {
        let error = check(&settings).await.unwrap_err();
        assert_eq!(error.failure(), LookFailure::Unauthorized, "{error}");
        let shown = error.to_string();
        assert!(!shown.contains(&*sshd.folder.path().to_string_lossy()), "{shown}");
        (error, shown)
    };

    let (error, shown) =
        refused(Git { known_hosts_file: Some(sshd.known_as("other-host")), ..good.clone() }).await;
    assert!(matches!(error, Error::HostChanged { .. }) && shown.contains("ask its owner"), "{shown}");
    for known_hosts_file in [None, Some(sshd.file("nowhere"))] {
        let (error, shown) = refused(Git { known_hosts_file, ..good.clone() }).await;
        assert!(matches!(error, Error::HostUnknown { .. }), "{shown}");
        assert!(shown.contains("`ssh-keyscan`") && shown.contains("git[].known_hosts_file"), "{shown}");
    }
    assert!(!sshd.file("nowhere").exists(), "nothing is learned by itself");

    for key in ["stranger", "nowhere"] {
        let (error, shown) = refused(Git { ssh_key_file: Some(sshd.file(key)), ..good.clone() }).await;
        assert!(matches!(error, Error::Unauthorized { .. }), "{key}: {shown}");
        assert!(shown.contains("git[].ssh_key_file"), "{shown}");
    }
    std::fs::write(sshd.file("broken"), "no key\n").unwrap();
    let open = sshd.file("open");
    std::fs::copy(sshd.file("ours"), &open).unwrap();
    for (file, mode, told) in
        [(open, 0o644, "set its mode to 0400"), (sshd.file("broken"), 0o600, "holds no private key")]
    {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let (_, shown) = refused(Git { ssh_key_file: Some(file), ..good.clone() }).await;
        assert!(shown.contains(told), "{shown}");
    }

    let gone = Git { url: good.url.replace("origin.git", "no-such.git"), ..good.clone() };
    let error = check(&gone).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    // And with everything as it should be it still works.
    check(&good).await.unwrap();
}
