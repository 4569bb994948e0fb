//! Getting in: a token over https, a key over ssh, and whom to trust.

use knotmeter::observation::LookFailure;
use knotmeter::observers::git::{Error, check};

use super::follower::{Follower, config};
use super::origin::HttpServer;
use super::shop;
use crate::front::TlsFront;

/// Runs this test binary once more with another `ssh`, which says what it was asked for.
#[tokio::test]
async fn ssh_is_asked_to_trust_known_hosts_only_and_what_it_says_is_told_in_our_words() {
    let name = "git::login::ssh_is_asked_to_trust_known_hosts_only_and_what_it_says_is_told_in_our_words";
    let Ok(url) = std::env::var("SSH_URL_FOR_CHILD") else {
        let origin = shop();
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$@\" >{0}/asked\n[ -e {0}/say ] && cat {0}/say >&2 && exit 255\n\
             for last; do :; done\neval \"git-upload-pack $last\"\n",
            folder.path().display()
        );
        let ssh = folder.path().join("ssh");
        std::fs::write(&ssh, script).unwrap();
        std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("PATH", path)
            .env("SSH_FOLDER_FOR_CHILD", folder.path())
            .env("SSH_URL_FOR_CHILD", origin.file_url().replace("file://", "ssh://git@git.example:2222"))
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        assert!(!String::from_utf8_lossy(&child.stderr).contains("hunter2"), "{child:?}");
        return;
    };
    let folder = std::path::PathBuf::from(std::env::var("SSH_FOLDER_FOR_CHILD").unwrap());
    let settings = knotmeter::config::Git {
        ssh_key_file: Some("/keys/it's".into()),
        known_hosts_file: Some("/etc/known hosts".into()),
        ..config(&url)
    };
    let report = check(&settings).await.unwrap();
    assert_eq!(&*report.url, url.replace("git@", ""));
    assert!(report.branches[0].1.is_some(), "{report:?}");
    let asked = std::fs::read_to_string(folder.join("asked")).unwrap();
    for option in [
        "-o BatchMode=yes -o StrictHostKeyChecking=yes ",
        "-o UserKnownHostsFile=/etc/known hosts ",
        "-o IdentitiesOnly=yes -i /keys/it's ",
        "-p2222 git@git.example git-upload-pack ",
    ] {
        assert!(asked.contains(option), "{option} is not in {asked}");
    }
    let mut follower = Follower::new(settings.clone());
    assert!(follower.look().await.contains("main looked at"));
    for (said, failure) in [
        ("hunter2\nHost key verification failed.", LookFailure::Unauthorized),
        ("git@git.example: Permission denied (publickey).", LookFailure::Unauthorized),
        ("ERROR: Repository not found.", LookFailure::Missing),
        ("ssh: connect to host git.example port 2222: Connection refused", LookFailure::Network),
    ] {
        std::fs::write(folder.join("say"), said).unwrap();
        let error = check(&settings).await.unwrap_err();
        assert_eq!(error.failure(), failure, "{error}");
    }
    std::fs::write(folder.join("say"), "Host key verification failed.").unwrap();
    let error = check(&settings).await.unwrap_err().to_string();
    assert!(error.contains("git[].known_hosts_file"), "{error}");
}

#[tokio::test]
async fn a_token_in_a_file_goes_over_https_to_a_server_of_a_private_authority() {
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    server.want(Some("Basic Z2l0OnRva2VuLTE="));
    let front = TlsFront::start(server.address(), &["localhost"]).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "token-1\n").unwrap();
    let url = format!("https://localhost:{}/origin.git", front.address.port());
    let trusting = |ca_file: Option<std::path::PathBuf>| knotmeter::config::Git {
        token_file: Some(token.clone()),
        tls: knotmeter::config::Tls { ca_file, ..Default::default() },
        ..config(&url)
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = check(&trusting(None)).await.unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error}");
    assert!(server.take_requests().is_empty(), "no token for a stranger");
    let settings = trusting(Some(front.ca_file()));
    check(&settings).await.unwrap();
    let mut follower = Follower::new(settings.clone());
    assert!(follower.look().await.contains("main looked at"));

    // The token is read at every connection.
    server.want(Some("Basic Z2l0OnRva2VuLTI="));
    let error = check(&settings).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }) && !error.to_string().contains("token-1"), "{error}");
    std::fs::write(&token, "token-2").unwrap();
    check(&settings).await.unwrap();
    std::fs::remove_file(&token).unwrap();
    let error = check(&settings).await.unwrap_err().to_string();
    assert!(error.contains("cannot log in: ") && error.contains("/token: "), "{error}");
}
