//! Tokens of Pub/Sub: real RSA keys, and a server that publishes them as Google does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use knotmeter::config::{Hook, HookKind, Oidc};
use knotmeter::observation::Time;
use knotmeter::observers::hooks::{Head, Hooks, Refused, Tokens};
use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{RECEIVED, SECRET, headers};
use crate::e2e::process::{program, run};
use crate::e2e::until;

const AUDIENCE: &str = "https://knotmeter.example.com/hooks/gar";
const ACCOUNT: &str = "push@shop.iam.gserviceaccount.com";
const NOW: Time = Time(RECEIVED);
const MINUTE: Duration = Duration::from_secs(60);

/// A private key and its name.
struct Signer {
    id: &'static str,
    pair: RsaKeyPair,
}

impl Signer {
    async fn new(id: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let arguments =
            ["-q", "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "", "-f", file.to_str().unwrap()];
        run(program("ssh-keygen", &arguments, folder.path()), "openssh-client").await.done();
        let key = PrivatePkcs8KeyDer::from_pem_file(&file).unwrap();
        Self { id, pair: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap() }
    }

    fn public(&self) -> RsaPublicKeyComponents<Vec<u8>> {
        RsaPublicKeyComponents::from(self.pair.public())
    }

    fn jwk(&self) -> Value {
        let RsaPublicKeyComponents { n, e } = self.public();
        let number = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id, "n": number(n), "e": number(e)})
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "RS256", "typ": "JWT", "kid": self.id}), claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = unsigned(header, claims);
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// What Pub/Sub's tokens say, with these claims in place of its own; one that is null is left out.
fn claims(other: Value) -> Value {
    let at = RECEIVED / 1000;
    let mut claims = json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "azp": "113774264463038321964",
        "email": ACCOUNT, "email_verified": true, "sub": "113774264463038321964", "iat": at - 60, "exp": at + 3540,
    });
    let all = claims.as_object_mut().unwrap();
    all.extend(other.as_object().unwrap().clone());
    all.retain(|_, value| !value.is_null());
    claims
}

/// Publishes keys, and counts who asks.
struct Publisher {
    url: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    async fn start(signers: &[&Signer]) -> Self {
        let answer = Arc::new(Mutex::new((200, String::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (said, counted) = (answer.clone(), asked.clone());
        let router = axum::Router::new().fallback(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let (status, body) = said.lock().unwrap().clone();
            // A redirect leads to keys that everybody could have published.
            (axum::http::StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")], body)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/certs", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let publisher = Self { url, answer, asked, task };
        publisher.publish(signers);
        publisher
    }

    fn publish(&self, signers: &[&Signer]) {
        let mut keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        // What is published beside them is for others.
        keys.push(json!({"kty": "EC", "crv": "P-256", "kid": "other", "x": "AA", "y": "AA"}));
        self.say(200, &json!({"keys": keys}).to_string());
    }

    fn say(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn oidc(&self) -> Oidc {
        Oidc { audience: AUDIENCE.into(), service_account: ACCOUNT.into(), keys_url: self.url.clone() }
    }
}

fn check_at(tokens: &Tokens, token: &str, at: Instant) -> Result<(), Refused> {
    tokens.check(&headers(&[("authorization", &format!("Bearer {token}"))]), NOW, at)
}

fn check(tokens: &Tokens, token: &str) -> Result<(), Refused> {
    check_at(tokens, token, Instant::now())
}

/// Tokens whose keys are here.
async fn ready(publisher: &Publisher, good: &str) -> Tokens {
    let tokens = Tokens::new(&publisher.oidc());
    until("the keys are here", async || (check(&tokens, good) != Err(Refused::NoKeys)).then_some(())).await;
    tokens
}

#[tokio::test]
async fn only_what_google_signed_for_us_is_good() {
    let (google, stranger) = (Signer::new("one").await, Signer::new("one").await);
    let publisher = Publisher::start(&[&google]).await;
    let good = google.token(&claims(json!({})));
    let tokens = ready(&publisher, &good).await;
    assert_eq!(check(&tokens, &good), Ok(()));

    let at = RECEIVED / 1000;
    for ours in [json!({"exp": at - 29}), json!({"iat": at + 30}), json!({"aud": AUDIENCE, "more": [1, {}]})]
    {
        assert_eq!(check(&tokens, &google.token(&claims(ours.clone()))), Ok(()), "{ours}");
    }
    for wrong in [
        json!({"aud": "https://elsewhere.example/push"}),
        json!({"aud": [AUDIENCE]}),
        json!({"aud": null}),
        json!({"email": "somebody@shop.iam.gserviceaccount.com"}),
        json!({"email_verified": false}),
        json!({"email_verified": "true"}),
        json!({"email_verified": null}),
        json!({"iss": "https://accounts.example.com"}),
        json!({"iss": null}),
        json!({"exp": at - 31}),
        json!({"exp": null}),
        json!({"exp": i64::MIN, "iat": i64::MIN}),
        json!({"iat": at + 31}),
        json!({"iat": i64::MAX, "exp": i64::MAX}),
    ] {
        let token = google.token(&claims(wrong.clone()));
        assert_eq!(check(&tokens, &token), Err(Refused::Unproven), "{wrong}");
    }

    // Signed by nobody, by somebody else, and with what everybody knows.
    let (header, ours) = (|alg: &str| json!({"alg": alg, "typ": "JWT", "kid": "one"}), claims(json!({})));
    let mut forged = vec![stranger.token(&ours)];
    for alg in ["none", "None", "NONE", "HS256", "RS512", "PS256", "rs256"] {
        forged.push(google.sign(&header(alg), &ours));
        forged.push(format!("{}.", unsigned(&header(alg), &ours)));
    }
    let RsaPublicKeyComponents { n, .. } = google.public();
    for secret in [n.as_slice(), google.pair.public().as_ref(), google.jwk().to_string().as_bytes()] {
        for alg in ["HS256", "RS256"] {
            let text = unsigned(&header(alg), &ours);
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
            let signature = ring::hmac::sign(&key, text.as_bytes());
            forged.push(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)));
        }
    }
    forged.push(google.sign(&json!({"alg": "RS256", "kid": "one", "crit": ["b64"], "b64": false}), &ours));
    forged.push(google.sign(&json!({"alg": "RS256"}), &ours));
    forged.extend([
        good.replace('.', ".."),
        good.clone() + ".",
        good[1..].into(),
        String::new(),
        "..".into(),
    ]);
    forged.push(format!("{good}{}", "A".repeat(9000)));
    for token in forged {
        assert_eq!(check(&tokens, &token), Err(Refused::Unproven), "{token}");
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(bytes).unwrap();
        assert_eq!(check(&tokens, &token), Err(Refused::Unproven), "another character at {at}");
    }
    for pairs in [&[][..], &[("authorization", &*good)], &[("authorization", "Basic YTpi")]] {
        assert_eq!(tokens.check(&headers(pairs), NOW, Instant::now()), Err(Refused::Unproven), "{pairs:?}");
    }
    assert_eq!(publisher.asked(), 1);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_one_fetch_a_minute() {
    let (old, new) = (Signer::new("old").await, Signer::new("new").await);
    let publisher = Publisher::start(&[&old]).await;
    let good = old.token(&claims(json!({})));
    let tokens = ready(&publisher, &good).await;
    publisher.publish(&[&new, &old]);
    let began = Instant::now();
    let unknown = unsigned(&json!({"alg": "RS256", "kid": "new"}), &claims(json!({}))) + ".AAAA";
    for n in 0..10_000u32 {
        let token = unsigned(&json!({"alg": "RS256", "kid": n.to_string()}), &claims(json!({}))) + ".AAAA";
        assert_eq!(check_at(&tokens, &token, began), Err(Refused::Unproven));
    }
    assert_eq!(check_at(&tokens, &good, began + MINUTE / 2), Ok(()));
    assert_eq!(publisher.asked(), 1);

    // A minute after the first fetch one of them begins another; the rest are no more.
    let later = began + MINUTE;
    for _ in 0..10_000 {
        assert_eq!(check_at(&tokens, &unknown, later), Err(Refused::Unproven));
    }
    let token = new.token(&claims(json!({})));
    until("the new key is here", async || check_at(&tokens, &token, later).ok()).await;
    assert_eq!((check_at(&tokens, &good, later), publisher.asked()), (Ok(()), 2));
}

#[tokio::test]
async fn old_keys_are_fetched_anew_and_not_trusted_for_ever() {
    let (old, new) = (Signer::new("old").await, Signer::new("new").await);
    let publisher = Publisher::start(&[&old]).await;
    let good = old.token(&claims(json!({})));
    let tokens = ready(&publisher, &good).await;
    let began = Instant::now();
    publisher.say(500, "");
    let hours = |hours: u32| began + MINUTE * 60 * hours;
    for hour in 1..24 {
        assert_eq!(check_at(&tokens, &good, hours(hour)), Ok(()), "after {hour} hours");
        // The fetch that this began is over before the next begins.
        let asked = 1 + hour as usize;
        until("another fetch", async || (publisher.asked() == asked).then_some(())).await;
    }
    assert_eq!(check_at(&tokens, &good, hours(25)), Err(Refused::NoKeys));
    // It was withdrawn while nobody could tell us.
    publisher.publish(&[&new]);
    let token = new.token(&claims(json!({})));
    until("the new key is here", async || check_at(&tokens, &token, hours(26)).ok()).await;
    assert_eq!(check_at(&tokens, &good, hours(26)), Err(Refused::Unproven));
}

#[tokio::test]
async fn what_is_no_set_of_keys_is_none() {
    let google = Signer::new("one").await;
    let good = google.token(&claims(json!({})));
    let keys = json!({"keys": [google.jwk()]}).to_string();
    let huge = format!("{}{keys}", " ".repeat(70_000));
    let other_use = keys.replace("RS256", "PS256");
    let broken = keys.replace("\"e\":\"", "\"e\":\"!");
    for (status, body) in [
        (200, ""),
        (200, "{}"),
        (200, r#"{"keys": []}"#),
        (200, r#"{"keys": [{"kty": "RSA"}]}"#),
        (200, "[[[[["),
        (200, &huge),
        (200, &other_use),
        (200, &broken),
        (500, &keys),
        (302, &keys),
    ] {
        let publisher = Publisher::start(&[]).await;
        publisher.say(status, body);
        let tokens = Tokens::new(&publisher.oidc());
        until("it was asked", async || (publisher.asked() == 1).then_some(())).await;
        // The answer is read while another question is asked and answered, after a minute.
        let later = Instant::now() + MINUTE;
        assert_eq!(check_at(&tokens, &good, later), Err(Refused::NoKeys), "{status} {body}");
        until("it was asked again", async || (publisher.asked() == 2).then_some(())).await;
        assert_eq!(check_at(&tokens, &good, later), Err(Refused::NoKeys), "{status} {body}");
    }
}

/// With and without a secret in the address; what is taken twice is taken once.
#[tokio::test]
async fn a_delivery_wants_all_that_is_configured() {
    let google = Signer::new("one").await;
    let publisher = Publisher::start(&[&google]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    // These go by the real clock.
    let at = knotmeter::observers::now().0 / 1000;
    let good = format!("Bearer {}", google.token(&claims(json!({"iat": at - 60, "exp": at + 3540}))));
    let expired = format!("Bearer {}", google.token(&claims(json!({"iat": at - 7200, "exp": at - 3600}))));
    let push = |id: &str| {
        let data = json!({"action": "INSERT", "tag": format!("europe-docker.pkg.dev/shop/team/web:{id}")});
        json!({"message": {"data": STANDARD.encode(data.to_string()), "messageId": id}}).to_string()
    };
    for secret_file in [None, Some(file)] {
        let wants_secret = secret_file.is_some();
        let hook = Hook {
            name: "gar".into(),
            kind: HookKind::Gar,
            secret_file,
            oidc: Some(publisher.oidc()),
            registry: None,
            expect_in: Vec::new(),
        };
        let hooks = Hooks::new(&[hook]);
        let deliver = |secret: Option<&str>, bearer: Option<&str>, body: &str| {
            let headers =
                headers(&bearer.map(|bearer| ("authorization", bearer)).into_iter().collect::<Vec<_>>());
            let head = Head { hook: "gar", path_secret: secret, headers: &headers };
            hooks.admit(head)?;
            hooks.take(head, body.as_bytes(), NOW).map(|triggers| triggers.len())
        };
        let secret = wants_secret.then_some(SECRET);
        let body = push("1");
        let first = until("the keys are here", async || match deliver(secret, Some(&good), &body) {
            Err(Refused::NoKeys) => None,
            taken => Some(taken),
        });
        assert_eq!(first.await, Ok(1));
        assert_eq!(deliver(secret, Some(&good), &body), Err(Refused::Repeated));
        // Pub/Sub sends one token with many messages.
        assert_eq!(deliver(secret, Some(&good), &push("2")), Ok(1));
        assert_eq!(deliver(secret, Some(&expired), &push("3")), Err(Refused::Unproven));
        assert_eq!(deliver(secret, None, &push("4")), Err(Refused::Unproven));
        let without = deliver(None, Some(&good), &push("5"));
        assert_eq!(without, if wants_secret { Err(Refused::Unproven) } else { Ok(1) });
    }
}

proptest! {
    #[test]
    fn no_text_is_a_token(header in ".{0,80}", payload in any::<Vec<u8>>(), signature in "[A-Za-z0-9_.-]{0,80}") {
        let tokens = Tokens::new(&Oidc {
            audience: AUDIENCE.into(),
            service_account: ACCOUNT.into(),
            keys_url: "http://127.0.0.1:1/".into(),
        });
        let token = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        prop_assert_eq!(check(&tokens, &token), Err(Refused::Unproven));
        prop_assert_eq!(check(&tokens, &signature), Err(Refused::Unproven));
    }
}
