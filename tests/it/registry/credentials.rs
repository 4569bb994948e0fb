//! Where logins come from: files that change, folders of pull secrets, helper programs; and how long tokens live.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knotmeter::config::{Registry, Tls};
use knotmeter::image::Repository;
use knotmeter::observation::{Interests, LookFailure};
use knotmeter::observers::registry::credentials::{Keyring, Login, Secret};
use knotmeter::observers::registry::{Limits, client::NamedBy, scan};
use reqwest::Url;

use super::fake::{Asked, Fake, ok, page, status, with};
use super::{Watching, registry, ring};
use crate::front::{Clients, TlsFront};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn auths<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> String {
    let entry = |(key, user, password): (&str, &str, &str)| {
        (key.to_owned(), serde_json::json!({"username": user, "password": password}))
    };
    let entries: serde_json::Map<_, _> = entries.into_iter().map(entry).collect();
    serde_json::json!({ "auths": entries }).to_string()
}

fn with_config(host: &str, path: &Path) -> Registry {
    Registry { docker_config: Some(path.to_owned()), ..registry(host, &[]) }
}

fn keyring(path: &Path) -> Keyring {
    Keyring::new("r.example".into(), true, NamedBy::Operator, Some(path.to_owned()))
}

async fn user(keyring: &Keyring, path: &str) -> Result<Option<String>, String> {
    let found = keyring.login(path, &Url::parse("http://r.example/").unwrap()).await?;
    Ok(found.map(|found| match found.login {
        Login::Password { user, .. } => user,
        Login::Identity(_) => "an identity token".into(),
    }))
}

#[tokio::test]
async fn a_folder_of_pull_secrets_is_read_as_kubernetes_mounts_it_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // A mounted secret: the file is a link through `..data`, which another version replaces.
    for (version, user) in [("..v1", "old"), ("..v2", "new")] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join(".dockerconfigjson"), auths([("r.example", user, "p")])).unwrap();
    }
    std::os::unix::fs::symlink("..v1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/.dockerconfigjson", at(".dockerconfigjson")).unwrap();
    // Another one in a folder of its own, and an old one.
    std::fs::create_dir(at("team")).unwrap();
    std::fs::write(at("team/.dockerconfigjson"), auths([("r.example/team", "team", "p")])).unwrap();
    std::fs::write(at("old.dockercfg"), r#"{"r.example/old": {"username": "dockercfg", "password": "p"}}"#)
        .unwrap();
    std::fs::write(at("README"), "no login").unwrap();

    let keyring = keyring(folder.path());
    assert_eq!(user(&keyring, "other/web").await.unwrap().as_deref(), Some("old"));
    assert_eq!(user(&keyring, "team/web").await.unwrap().as_deref(), Some("team"));
    assert_eq!(user(&keyring, "old/web").await.unwrap().as_deref(), Some("dockercfg"));

    std::os::unix::fs::symlink("..v2", at("..next")).unwrap();
    std::fs::rename(at("..next"), at("..data")).unwrap();
    assert_eq!(user(&keyring, "other/web").await.unwrap().as_deref(), Some("new"));

    // A broken file takes nothing from the others, and is told where nothing else fits.
    std::fs::write(at("team/.dockerconfigjson"), "{hunter2").unwrap();
    assert_eq!(user(&keyring, "team/web").await.unwrap().as_deref(), Some("new"));
    std::fs::remove_file(at(".dockerconfigjson")).unwrap();
    let told = user(&keyring, "team/web").await.unwrap_err();
    assert!(told.contains("team/.dockerconfigjson: not a docker config (line 1, column 2)"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn repositories_of_one_host_have_logins_of_their_own() {
    ring();
    let fake = Fake::start(|_, asked| {
        let expected = if asked.target.contains("/team/") { basic("team", "a") } else { basic("all", "b") };
        match asked.authorization.as_deref() {
            Some(sent) if sent == expected => ok(page(["1"])),
            _ => with(401, &[("www-authenticate", "Basic realm=r")], ""),
        }
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let team = format!("{}/team", fake.host);
    std::fs::write(file.path(), auths([(team.as_str(), "team", "a"), (fake.host.as_str(), "all", "b")]))
        .unwrap();
    let mut watching = Watching::start(
        vec![Registry {
            docker_config: Some(file.path().to_owned()),
            ..registry(&fake.host, &["team/web", "other/web"])
        }],
        Interests::default(),
        Limits::default(),
    );
    for _ in 0..4 {
        watching.look_completed().await;
    }
    let refused = fake.asked().iter().filter(|one| one.authorization.is_none()).count();
    assert!(refused <= 2, "a login is known from the first refusal on: {:?}", fake.asked());
}

#[tokio::test]
async fn a_rotated_password_is_taken_up_without_a_restart() {
    static GOOD: Mutex<&str> = Mutex::new("first");
    let fake = Fake::start(|_, asked| {
        let good = basic("robot", *GOOD.lock().unwrap());
        match asked.authorization.as_deref() {
            Some(sent) if sent == good => ok(page(["1"])),
            _ => with(401, &[("www-authenticate", "Basic realm=r")], ""),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let write = |password: &str| {
        let draft = folder.path().join("draft");
        std::fs::write(&draft, auths([(fake.host.as_str(), "robot", password)])).unwrap();
        std::fs::rename(draft, folder.path().join("config.json")).unwrap();
    };
    write("first");
    let listed = Registry {
        docker_config: Some(folder.path().join("config.json")),
        ..registry(&fake.host, &["shop/web"])
    };
    let mut watching = Watching::start(vec![listed], Interests::default(), Limits::default());
    watching.look_completed().await;
    *GOOD.lock().unwrap() = "second";
    assert_eq!(watching.look_failed().await.0, LookFailure::Unauthorized);
    write("second");
    watching.look_completed().await;
}

/// A registry with a token service whose answers a test writes; requests for tokens are counted.
async fn with_tokens(answer: fn(&Asked) -> axum::response::Response) -> Fake {
    Fake::start(move |_, asked| {
        if asked.target.starts_with("/token") {
            return answer(asked);
        }
        match asked.authorization.as_deref() {
            Some(sent) if sent.starts_with("Bearer t") => ok(page(["1"])),
            _ => {
                let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, asked.host);
                with(401, &[("www-authenticate", &realm)], "")
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_as_old_as_its_service_says() {
    // Handed out two hours after it was made, good for one: every question needs a new one. The dates are the
    // service's own, far from ours.
    let stale = with_tokens(|_| {
        let body = r#"{"token":"t","expires_in":3600,"issued_at":"2001-01-01T00:00:00Z"}"#;
        with(200, &[("date", "Mon, 01 Jan 2001 02:00:00 GMT")], body)
    })
    .await;
    let fresh = with_tokens(|_| {
        let body = r#"{"token":"t","expires_in":3600,"issued_at":"2001-01-01T00:00:00Z"}"#;
        with(200, &[("date", "Mon, 01 Jan 2001 00:10:00 GMT")], body)
    })
    .await;
    for (fake, once) in [(&stale, false), (&fresh, true)] {
        let listed = registry(&fake.host, &["shop/web"]);
        let mut watching = Watching::start(vec![listed], Interests::default(), Limits::default());
        for _ in 0..3 {
            watching.look_completed().await;
        }
        assert_eq!(fake.count("/token") == 1, once, "{:?}", fake.asked());
    }
}

#[tokio::test]
async fn many_questions_wait_for_one_token() {
    static TOKENS: AtomicUsize = AtomicUsize::new(0);
    let fake = with_tokens(|_| {
        TOKENS.fetch_add(1, Ordering::SeqCst);
        // Without a life a token has a minute.
        ok(r#"{"token":"t"}"#)
    })
    .await;
    ring();
    let repository: Repository = format!("{}/shop/web", fake.host).parse().unwrap();
    let listed = registry(&fake.host, &["shop/web", "shop/api"]);
    let mut watching = Watching::start(vec![listed], Interests::default(), Limits::default());
    for _ in 0..6 {
        watching.look_completed().await;
    }
    assert_eq!(TOKENS.load(Ordering::SeqCst), 2, "one for each repository: {repository}");
}

#[tokio::test]
async fn an_identity_token_is_posted_and_a_password_of_harbor_and_gitlab_is_sent_to_their_token_service() {
    ring();
    // GHCR, GitLab and Harbor: the user's token is the password of a request for a token.
    let passwords = with_tokens(|asked| match asked.authorization.as_deref() {
        Some(sent) if sent == basic("robot$ci", "glpat") => ok(r#"{"token":"t","expires_in":300}"#),
        _ => status(401),
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), auths([(passwords.host.as_str(), "robot$ci", "glpat")])).unwrap();
    let repository = format!("{}/shop/web", passwords.host).parse().unwrap();
    scan(&with_config(&passwords.host, file.path()), &repository).await.unwrap();

    let identities = with_tokens(|asked| match asked.method.as_str() {
        "POST" => ok(r#"{"access_token":"t","expires_in":300}"#),
        _ => status(401),
    })
    .await;
    let config = serde_json::json!({"auths": {&identities.host: {"identitytoken": "refresh"}}});
    std::fs::write(file.path(), config.to_string()).unwrap();
    let repository = format!("{}/shop/web", identities.host).parse().unwrap();
    scan(&with_config(&identities.host, file.path()), &repository).await.unwrap();
    assert!(identities.asked().iter().all(|one| !one.target.contains("refresh")), "only in the body");
}

/// A helper program, as a script, and a docker config that names it.
fn helper(folder: &Path, script: &str, config: &serde_json::Value) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let program = folder.join("docker-credential-knotmeter-test");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.join("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

#[tokio::test]
async fn a_helper_that_is_not_there_is_told_with_what_to_do_instead() {
    let folder = tempfile::tempdir().unwrap();
    let named = serde_json::json!({"credHelpers": {"r.example": "knotmeter-none"}});
    let file = helper(folder.path(), "", &named);
    let told = user(&keyring(&file), "team/web").await.unwrap_err();
    assert!(told.contains("docker-credential-knotmeter-none") && told.contains("pull secret"), "{told}");
    // A store that a desktop's config names is no reason to fail; a login that is written down needs no program.
    let named = serde_json::json!({"credsStore": "knotmeter-none", "auths": {"r.example": {}}});
    assert_eq!(user(&keyring(&helper(folder.path(), "", &named)), "team/web").await, Ok(None));
    let named = serde_json::json!({
        "credHelpers": {"r.example": "knotmeter-none"}, "auths": {"r.example": {"auth": STANDARD.encode("u:p")}}
    });
    assert_eq!(user(&keyring(&helper(folder.path(), "", &named)), "").await, Ok(Some("u".into())));
    let named = serde_json::json!({"credHelpers": {"r.example": "../../bin/sh"}});
    let told = user(&keyring(&helper(folder.path(), "", &named)), "").await.unwrap_err();
    assert!(told.contains("is no name of a credential helper"), "{told}");
}

#[tokio::test]
async fn a_helper_is_given_the_host_and_its_output_is_never_shown() {
    use knotmeter::observers::registry::credentials::program::Helper;
    let folder = tempfile::tempdir().unwrap();
    let ask = async |script: &str| {
        let file = helper(folder.path(), script, &serde_json::json!({}));
        let program = folder.path().join("docker-credential-knotmeter-test");
        Helper::at(program).ask("r.example").await.map_err(|why| (why, file))
    };
    let password =
        |user: &str, text: &str| Some(Login::Password { user: user.into(), password: Secret::new(text) });
    let echo =
        r#"read host; printf '{"ServerURL":"%s","Username":"%s","Secret":"hunter2"}' "$host" "$1-$host""#;
    assert_eq!(ask(echo).await.unwrap(), password("get-r.example", "hunter2"));
    let token = r#"printf '{"Username":"<token>","Secret":"hunter2"}'"#;
    assert_eq!(ask(token).await.unwrap(), Some(Login::Identity(Secret::new("hunter2"))));
    let unknown = "echo 'credentials not found in native keychain'; exit 1";
    assert_eq!(ask(unknown).await.unwrap(), None);
    for bad in ["echo hunter2", "echo hunter2; echo hunter2 >&2; exit 3", "yes hunter2"] {
        let (told, _) = ask(bad).await.unwrap_err();
        assert!(told.starts_with("docker-credential-knotmeter-test "), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn a_registry_of_a_private_authority_that_wants_a_client_certificate_gets_it() {
    ring();
    let fake = Fake::start(|_, _| ok(page(["1"]))).await;
    let front = TlsFront::for_clients(fake.host.parse().unwrap(), &["localhost"], Clients::Known).await;
    let host = format!("localhost:{}", front.address.port());
    let repository: Repository = format!("{host}/shop/web").parse().unwrap();
    let with = |tls: Tls| Registry { plain_http: false, tls, ..registry(&host, &[]) };
    let trusting = Tls { ca_file: Some(front.ca_file()), ..Tls::default() };
    let known = Tls {
        certificate_file: Some(front.authority.client_certificate()),
        key_file: Some(front.authority.client_key()),
        ..trusting.clone()
    };
    for (tls, says) in [(Tls::default(), "UnknownIssuer"), (trusting, "CertificateRequired")] {
        let error = scan(&with(tls), &repository).await.unwrap_err();
        assert_eq!(error.class(), LookFailure::Network);
        assert!(error.to_string().contains("TLS fails") && error.to_string().contains(says), "{error}");
    }
    assert_eq!(scan(&with(known.clone()), &repository).await.unwrap().tags.len(), 1);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2").unwrap();
    for tls in [
        Tls { ca_file: Some(file.path().to_owned()), ..Tls::default() },
        Tls { certificate_file: Some(file.path().to_owned()), ..known.clone() },
        Tls { key_file: Some(file.path().to_owned()), ..known },
    ] {
        let told = scan(&with(tls), &repository).await.unwrap_err().to_string();
        assert!(told.contains(&file.path().display().to_string()) && !told.contains("hunter2"), "{told}");
    }
}
