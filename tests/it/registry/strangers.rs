//! Requests and secrets stay where they belong, whoever asks for something else: realms, redirects, links, and names
//! that lead to another address the second time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use knotmeter::config::Registry;
use knotmeter::observers::registry::address::{Guard, GuardedResolver, Inside, Names, Reach};
use knotmeter::observers::registry::client::{Client, NamedBy};
use knotmeter::observers::registry::{Limits, Problem, tags};
use reqwest::dns::Resolve as _;

use super::fake::{Asked, Fake, ok, page, status, with};
use super::{docker_config, registry, ring};

/// base64 of `robot:hunter2`.
const BASIC: &str = "Basic cm9ib3Q6aHVudGVyMg==";

/// Names that lead where a test says: a name's answers in turn, the last one for ever. Each lookup is noted.
fn names(answers: &[(&str, &[&str])]) -> (Names, Arc<Mutex<Vec<String>>>) {
    let left: HashMap<String, Vec<Vec<SocketAddr>>> = answers
        .iter()
        .map(|(host, answers)| {
            let addresses = |answer: &&str| -> Vec<SocketAddr> {
                answer.split(' ').map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
            };
            ((*host).to_owned(), answers.iter().rev().map(addresses).collect())
        })
        .collect();
    let (left, asked) = (Mutex::new(left), Arc::new(Mutex::new(Vec::new())));
    let noted = asked.clone();
    let names = Names::of(Arc::new(move |host| {
        noted.lock().unwrap().push(host.clone());
        let mut left = left.lock().unwrap();
        let answers = left.get_mut(&host).unwrap_or_else(|| panic!("nobody knows {host}"));
        let now = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
        Box::pin(async move { Ok(now) })
    }));
    (names, asked)
}

fn client_of(registry: &Registry, named_by: NamedBy, names: &Names) -> Client {
    ring();
    Client::with_names(registry, named_by, Limits::default(), Arc::new(drop), names.clone()).unwrap()
}

fn client(host: &str, names: &Names) -> Client {
    client_of(&registry(host, &[]), NamedBy::Operator, names)
}

async fn list(client: &Client) -> Result<usize, Problem> {
    let repository = format!("{}/shop/web", client.host()).parse().unwrap();
    tags::list(client, &repository, &[]).await.map(|listing| listing.tag_count())
}

fn port(fake: &Fake) -> &str {
    fake.host.rsplit(':').next().unwrap()
}

/// Wants a token of this service.
async fn wanting_tokens(service: &str) -> Fake {
    let realm = format!("Bearer realm=\"{service}\"");
    Fake::start(move |_, asked| match asked.authorization.as_deref() {
        Some("Bearer t") => ok(page(["a"])),
        _ => with(401, &[("www-authenticate", &realm)], ""),
    })
    .await
}

/// Gives tokens that are too old at once, each over a connection of its own.
fn token_at_once_old(_: usize, _: &Asked) -> axum::response::Response {
    let headers = [("connection", "close"), ("date", "Mon, 01 Jan 2001 02:00:00 GMT")];
    with(200, &headers, r#"{"token":"t","expires_in":3600,"issued_at":"2001-01-01T00:00:00Z"}"#)
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_is_refused_there() {
    let tokens = Fake::start(token_at_once_old).await;
    let fake = wanting_tokens(&format!("http://tokens.example:{}/token", port(&tokens))).await;
    for second in ["169.254.169.254", "fe80::1", "168.63.129.16", "::ffff:169.254.169.254", "fd00:ec2::254"] {
        let (names, looked_up) = names(&[("tokens.example", &["127.0.0.1", second])]);
        let client = client(&fake.host, &names);
        assert_eq!(list(&client).await.unwrap(), 1);
        let problem = list(&client).await.unwrap_err();
        let Problem::Refused { host, address } = &problem else { panic!("{second}: {problem}") };
        assert_eq!((&**host, &**address), ("tokens.example", second));
        // One lookup for each connection: what was looked up is what would have been connected to.
        assert_eq!(looked_up.lock().unwrap().len(), 2);
    }
    assert_eq!(tokens.asked().len(), 5);
}

#[tokio::test]
async fn of_several_addresses_only_those_are_tried_that_may_be() {
    let (names, _) =
        names(&[("mixed.example", &["169.254.169.254 10.1.2.3 127.0.0.1 93.184.216.34 fd00:ec2::254"])]);
    for (reach, expected) in [
        (Reach::Public, vec!["93.184.216.34"]),
        (Reach::Private, vec!["10.1.2.3", "93.184.216.34"]),
        (Reach::Machine, vec!["10.1.2.3", "127.0.0.1", "93.184.216.34"]),
    ] {
        let resolver = GuardedResolver::new(Guard::Away(reach), names.clone());
        let found = resolver.resolve("mixed.example".parse().unwrap()).await.unwrap();
        let found: Vec<String> = found.map(|address| address.ip().to_string()).collect();
        assert_eq!(found, expected, "{reach:?}");
    }
}

#[tokio::test]
async fn what_turns_out_to_be_outside_sends_us_inside_no_more() {
    let (names, _) =
        names(&[("registry.example", &["10.1.2.3", "93.184.216.34"]), ("store.example", &["10.1.2.4"])]);
    let inside = Inside::default();
    let home = GuardedResolver::new(Guard::Home(Reach::Anywhere, inside.clone()), names.clone());
    let away = GuardedResolver::new(Guard::AwayFrom(inside), names);
    for allowed in [true, false] {
        assert!(home.resolve("registry.example".parse().unwrap()).await.is_ok());
        assert_eq!(away.resolve("store.example".parse().unwrap()).await.is_ok(), allowed);
    }
}

#[tokio::test]
async fn a_refused_host_is_told_with_the_line_that_allows_it_and_the_line_does() {
    let tokens = Fake::start(|_, _| ok(r#"{"token":"t"}"#)).await;
    let fake = wanting_tokens(&format!("http://tokens.example:{}/token", port(&tokens))).await;
    let (names, _) = names(&[("registry.example", &["127.0.0.1"]), ("tokens.example", &["127.0.0.1"])]);
    // It is a name, so what it sends us to may not be this machine.
    let client = client(&format!("registry.example:{}", port(&fake)), &names);
    let told = list(&client).await.unwrap_err().to_string();
    let line = r#"allow it with `registries: [{host: "tokens.example"}]`"#;
    assert!(told.contains("tokens.example has the address 127.0.0.1") && told.contains(line), "{told}");
    assert!(tokens.asked().is_empty());
    names.name(["tokens.example:443"]);
    assert_eq!(list(&client).await.unwrap(), 1);
    // And it is refused again when the line is taken away.
    names.name(["other.example"]);
    let fresh = client_of(&registry(client.host(), &[]), NamedBy::Operator, &names);
    assert!(matches!(list(&fresh).await, Err(Problem::Refused { .. })));
}

#[tokio::test]
async fn an_address_is_refused_however_it_is_written() {
    for host in [
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.16689662",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[::169.254.169.254]",
        "[fe80::1]",
        "168.63.129.16",
        "%31%36%39.254.169.254",
    ] {
        let location = format!("https://{host}/latest/meta-data");
        let fake = Fake::start(move |_, _| with(307, &[("location", &location)], "")).await;
        let problem = list(&client(&fake.host, &Names::default())).await.unwrap_err();
        assert!(matches!(problem, Problem::Refused { .. }), "{host}: {problem}");
    }
}

#[tokio::test]
async fn a_token_service_that_sends_us_on_is_not_followed() {
    let stranger = Fake::start(|_, _| ok(r#"{"token":"t"}"#)).await;
    let location = format!("http://{}/token", stranger.host);
    let tokens = Fake::start(move |_, _| with(307, &[("location", &location)], "")).await;
    let fake = wanting_tokens(&format!("http://{}/token", tokens.host)).await;
    let file = docker_config(&fake.host, "robot", "hunter2");
    let listed = Registry { docker_config: Some(file.path().to_owned()), ..registry(&fake.host, &[]) };
    let problem = list(&client_of(&listed, NamedBy::Operator, &Names::default())).await.unwrap_err();
    assert!(matches!(problem, Problem::Token(_)), "{problem}");
    assert_eq!(tokens.asked()[0].authorization.as_deref(), Some(BASIC), "it is of the registry's own host");
    assert!(stranger.asked().is_empty());
}

#[tokio::test]
async fn a_token_service_on_a_stranger_host_gets_no_identity_token() {
    let tokens = Fake::start(|_, _| ok(r#"{"token":"t"}"#)).await;
    let fake = wanting_tokens(&format!("http://localhost:{}/token", port(&tokens))).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = serde_json::json!({"auths": {&fake.host: {"identitytoken": "hunter2"}}});
    std::fs::write(file.path(), config.to_string()).unwrap();
    let listed = Registry { docker_config: Some(file.path().to_owned()), ..registry(&fake.host, &[]) };
    list(&client_of(&listed, NamedBy::Operator, &Names::default())).await.unwrap();
    let [asked] = &tokens.asked()[..] else { panic!("{:?}", tokens.asked()) };
    assert_eq!((&*asked.method, &asked.authorization), ("GET", &None));
    assert!(!asked.target.contains("hunter2"), "{asked:?}");
}

#[tokio::test]
async fn who_was_sent_away_and_back_comes_without_a_login() {
    let store = Fake::start(|_, asked| {
        let back = format!("http://{}/back", asked.target.rsplit("at=").next().unwrap());
        with(307, &[("location", &back)], "")
    })
    .await;
    let away = format!("http://{}/?at=", store.host);
    let fake = Fake::start(move |_, asked| match asked.authorization.as_deref() {
        _ if asked.target == "/back" => ok(page(["a"])),
        Some(BASIC) => with(307, &[("location", &format!("{away}{}", asked.host))], ""),
        _ => with(401, &[("www-authenticate", "Basic")], ""),
    })
    .await;
    let file = docker_config(&fake.host, "robot", "hunter2");
    let listed = Registry { docker_config: Some(file.path().to_owned()), ..registry(&fake.host, &[]) };
    assert_eq!(list(&client_of(&listed, NamedBy::Operator, &Names::default())).await.unwrap(), 1);
    let asked = fake.asked();
    let back = asked.iter().find(|one| one.target == "/back").expect("it came back");
    assert_eq!(back.authorization, None);
    assert_eq!(store.asked()[0].authorization, None);
}

#[tokio::test]
async fn a_link_of_a_page_from_elsewhere_is_asked_there_and_without_a_login() {
    let store = Fake::start(|at, _| match at {
        0 => with(200, &[("link", "</next?last=a>; rel=\"next\"")], page(["a"])),
        1 => ok(page(["b"])),
        _ => status(400),
    })
    .await;
    let away = format!("http://{}/first", store.host);
    let fake = Fake::start(move |_, asked| match asked.authorization.as_deref() {
        Some(BASIC) => with(307, &[("location", &away)], ""),
        _ => with(401, &[("www-authenticate", "Basic")], ""),
    })
    .await;
    let file = docker_config(&fake.host, "robot", "hunter2");
    let listed = Registry { docker_config: Some(file.path().to_owned()), ..registry(&fake.host, &[]) };
    assert_eq!(list(&client_of(&listed, NamedBy::Operator, &Names::default())).await.unwrap(), 2);
    let asked: Vec<_> = store.asked().into_iter().map(|one| (one.target, one.authorization)).collect();
    assert_eq!(asked, [("/first".to_owned(), None), ("/next?last=a".to_owned(), None)]);
}

#[tokio::test]
async fn a_token_answer_has_a_limit_of_its_own() {
    let tokens =
        Fake::start(|_, _| ok(format!(r#"{{"token":"t","more":"{}"}}"#, "x".repeat(64 << 10)))).await;
    let fake = wanting_tokens(&format!("http://{}/token", tokens.host)).await;
    let problem = list(&client(&fake.host, &Names::default())).await.unwrap_err();
    assert!(matches!(problem, Problem::TooLarge { what: "bytes of token", limit: 65_536 }), "{problem}");
}
