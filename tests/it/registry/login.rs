//! Logging in: what is sent to whom, how often, and that no secret is ever told.

use std::sync::atomic::{AtomicUsize, Ordering};

use knotmeter::config::Registry;
use knotmeter::observation::{Interests, LookFailure};
use knotmeter::observers::registry::{Limits, check, scan};

use super::fake::{Asked, Content, Fake, ok, page, status, with};
use super::{Watching, docker_config, interest, registry, ring};

/// base64 of `robot:hunter2`.
const BASIC: &str = "Basic cm9ib3Q6aHVudGVyMg==";

fn with_login(fake_host: &str, file: &tempfile::NamedTempFile) -> Registry {
    Registry { docker_config: Some(file.path().to_owned()), ..registry(fake_host, &["shop/web"]) }
}

fn basic_only(asked: &Asked) -> axum::response::Response {
    if asked.authorization.as_deref() == Some(BASIC) {
        return ok(page(["a"]));
    }
    with(401, &[("www-authenticate", r#"Basic realm="shop, inc""#)], "")
}

#[tokio::test]
async fn a_password_is_sent_only_when_asked_for() {
    let fake = Fake::start(|_, asked| basic_only(asked)).await;
    let file = docker_config(&fake.host, "robot", "hunter2");
    let mut watching =
        Watching::start(vec![with_login(&fake.host, &file)], Interests::default(), Limits::default());
    watching.look_completed().await;
    watching.look_completed().await;
    let sent: Vec<Option<String>> = fake.asked().into_iter().take(3).map(|one| one.authorization).collect();
    assert_eq!(sent, [None, Some(BASIC.to_owned()), Some(BASIC.to_owned())]);
}

#[tokio::test]
async fn a_missing_and_a_wrong_login_are_told_apart_and_never_printed() {
    ring();
    let fake = Fake::start(|_, asked| basic_only(asked)).await;
    let repository = format!("{}/shop/web", fake.host).parse().unwrap();
    let error = scan(&registry(&fake.host, &[]), &repository).await.unwrap_err();
    assert_eq!(error.class(), LookFailure::Unauthorized);
    assert!(error.to_string().contains("none found for it"), "{error}");
    let file = docker_config(&fake.host, "robot", "wrong-hunter2");
    let error = scan(&with_login(&fake.host, &file), &repository).await.unwrap_err();
    assert_eq!(error.class(), LookFailure::Unauthorized);
    assert!(error.to_string().contains("the one we have was refused"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(fake.asked().len(), 3, "a password that was refused is not sent again");
}

#[tokio::test]
async fn one_token_serves_all_questions_about_a_repository() {
    let mut content = Content::default();
    for n in 0..20 {
        content.tag_image(&format!("1.0.{n}"), &format!("2026-01-01T00:00:{n:02}Z"));
    }
    let tags: Vec<String> = content.tags.keys().cloned().collect();
    let fake = Fake::start(move |_, asked| {
        if asked.target.starts_with("/token") {
            assert_eq!(asked.target, "/token?service=reg&scope=repository%3Ashop%2Fweb%3Apull");
            return ok(r#"{"token":"t0","expires_in":300}"#);
        }
        if asked.authorization.as_deref() == Some("Bearer t0") {
            return content.answer(asked);
        }
        let host = &asked.host;
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="reg",scope="whatever""#);
        with(401, &[("www-authenticate", &challenge)], "")
    })
    .await;
    let names: Vec<&str> = tags.iter().map(String::as_str).collect();
    let interests = interest(&format!("{}/shop/web", fake.host), true, &names, &[]);
    let mut watching = Watching::start(vec![registry(&fake.host, &[])], interests, Limits::default());
    watching.look_completed().await;
    watching.look_completed().await;
    assert_eq!(fake.count("/token"), 1);
    let refused = fake.asked().iter().filter(|one| one.authorization.is_none()).count();
    assert_eq!(refused, 2, "the first question and the one for the token");
}

#[tokio::test]
async fn a_token_that_stopped_working_is_replaced_once() {
    static TOKENS: AtomicUsize = AtomicUsize::new(0);
    let fake = Fake::start(|at, asked| {
        if asked.target.starts_with("/token") {
            let token = TOKENS.fetch_add(1, Ordering::SeqCst);
            return ok(format!(r#"{{"access_token":"t{token}","expires_in":3600}}"#));
        }
        // The first token is good for one look; from the seventh request on nothing is good.
        let good = match at {
            0..4 => "Bearer t0",
            4..7 => "Bearer t1",
            _ => "never",
        };
        if asked.authorization.as_deref() == Some(good) {
            return ok(page(["a"]));
        }
        let host = &asked.host;
        with(401, &[("www-authenticate", &format!(r#"Bearer realm="http://{host}/token""#))], "")
    })
    .await;
    let mut watching =
        Watching::start(vec![registry(&fake.host, &["shop/web"])], Interests::default(), Limits::default());
    watching.look_completed().await;
    watching.look_completed().await;
    assert_eq!(watching.look_failed().await.0, LookFailure::Unauthorized);
}

#[tokio::test]
async fn a_token_service_on_a_stranger_host_gets_no_password() {
    let tokens = Fake::start(|_, _| ok(r#"{"token":"t"}"#)).await;
    let realm = format!("http://localhost:{}/token", tokens.host.rsplit(':').next().unwrap());
    let fake = Fake::start(move |_, asked| match asked.authorization.as_deref() {
        Some("Bearer t") => ok(page(["a"])),
        _ => with(401, &[("www-authenticate", &format!("Bearer realm={realm}"))], ""),
    })
    .await;
    ring();
    let file = docker_config(&fake.host, "robot", "hunter2");
    let repository = format!("{}/shop/web", fake.host).parse().unwrap();
    scan(&with_login(&fake.host, &file), &repository).await.unwrap();
    assert_eq!(tokens.asked().len(), 1);
    assert_eq!(tokens.asked()[0].authorization, None);
}

#[tokio::test]
async fn a_token_service_on_the_registrys_host_gets_it() {
    let tokens = Fake::start(|_, asked| match asked.authorization.as_deref() {
        Some(BASIC) => ok(r#"{"token":"t"}"#),
        _ => status(401),
    })
    .await;
    let realm = format!("http://{}/token", tokens.host);
    let fake = Fake::start(move |_, asked| match asked.authorization.as_deref() {
        Some("Bearer t") => ok(page(["a"])),
        _ => with(401, &[("www-authenticate", &format!("Bearer realm=\"{realm}\""))], ""),
    })
    .await;
    ring();
    let file = docker_config(&fake.host, "robot", "hunter2");
    let repository = format!("{}/shop/web", fake.host).parse().unwrap();
    let report = check(&with_login(&fake.host, &file), &[repository]).await.unwrap();
    assert_eq!((report.auth, report.login_from), ("bearer", Some("docker config")));
    assert_eq!(*report.repositories[0].1.as_ref().unwrap(), 1);
    // The password goes to the token service, never to the registry itself.
    assert!(fake.asked().iter().all(|one| one.authorization.as_deref() != Some(BASIC)));
}

#[tokio::test]
async fn a_redirect_elsewhere_takes_no_login_along() {
    let mut content = Content::default();
    let (digest, config) = content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    let store = Fake::start({
        let content = content.clone();
        move |_, asked| content.answer(asked)
    })
    .await;
    let store_host = store.host.clone();
    let fake = Fake::start(move |_, asked| {
        if asked.authorization.as_deref() != Some(BASIC) {
            return with(401, &[("www-authenticate", "Basic")], "");
        }
        if asked.target.contains("/blobs/") {
            let location = format!("http://{store_host}{}?signature=s", asked.target);
            return with(307, &[("location", &location)], "");
        }
        content.answer(asked)
    })
    .await;
    let file = docker_config(&fake.host, "robot", "hunter2");
    let interests = interest(&format!("{}/shop/web", fake.host), true, &[], std::slice::from_ref(&digest));
    let mut watching = Watching::start(vec![with_login(&fake.host, &file)], interests, Limits::default());
    let image = watching.described(&digest).await;
    assert_eq!(image.nodes[0].digest, config);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-01T00:00:00.000Z");
    assert_eq!(store.asked().len(), 1);
    assert_eq!(store.asked()[0].authorization, None);
}
