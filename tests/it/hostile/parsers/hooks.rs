//! What senders of webhooks write, each kind with a secret that is known here: the payload is read as if it were
//! from the true sender. Without the secret nothing is read.

use std::fmt::Write as _;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use knotmeter::config::{Hook, HookKind, Oidc};
use knotmeter::observation::{Interval, Time};
use knotmeter::observers::hooks::{BODY_BYTES_MAX, Head, Hooks, Refused, Tokens};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::Parser;

const SECRET: &str = "only-for-this-test";
const RECEIVED: Time = Time(1_795_255_205_000);
/// Names, tags and branches that one delivery hurries.
const TRIGGERS_MAX: usize = 64;

/// A kind, the headers that name its event, and a body.
const KINDS: [(&str, HookKind, &str, &str); 15] = [
    (
        "distribution",
        HookKind::Distribution,
        "",
        r#"{"events":[{"id":"3206","timestamp":"2026-11-21T10:00:04.4029739Z",
        "action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"DIGEST","repository":
        "team/web","url":"http://127.0.0.1:5000/v2/team/web/manifests/x","tag":"1.4.0"},"request":{"host":"127.0.0.1:5000"}}]}"#,
    ),
    (
        "harbor",
        HookKind::Harbor,
        "",
        r#"{"type":"PUSH_ARTIFACT","occur_at":1795255204,"operator":"a","event_data":{"resources":
        [{"digest":"DIGEST","tag":"latest","resource_url":"harbor.example/public/alpine:latest"}],"repository":
        {"name":"alpine","namespace":"public","repo_full_name":"public/alpine"}},"data":{},"time":"2026-11-21T10:00:03Z"}"#,
    ),
    (
        "ghcr",
        HookKind::Ghcr,
        "x-github-event: package",
        r#"{"action":"published","package":{"name":"Web","namespace":"Shop-Team",
        "ecosystem":"CONTAINER","package_type":"CONTAINER","owner":{"login":"Shop-Team"},"package_version":{"version":
        "DIGEST","container_metadata":{"tag":{"name":"1.4.0","digest":"DIGEST"}}}}}"#,
    ),
    (
        "dockerhub",
        HookKind::Dockerhub,
        "",
        r#"{"push_data":{"pushed_at":1795255204,"pusher":"a","tag":"latest"},"repository":
        {"name":"testhook","namespace":"a","repo_name":"a/testhook"}}"#,
    ),
    (
        "quay",
        HookKind::Quay,
        "",
        r#"{"name":"repository","repository":"a/b","namespace":"a","docker_url":"quay.io/a/b",
        "homepage":"https://quay.io/repository/a/b","updated_tags":["1.0","latest"]}"#,
    ),
    (
        "gar",
        HookKind::Gar,
        "",
        r#"{"message":{"data":"eyJhY3Rpb24iOiJJTlNFUlQiLCJ0YWciOiJ1cy1kb2NrZXIucGtnLmRldi9wL3Ivd2ViOjEuMSJ9",
        "messageId":"2070","publishTime":"2026-11-21T10:00:04.19Z"},"subscription":"projects/p/subscriptions/s"}"#,
    ),
    (
        "github",
        HookKind::Github,
        "x-github-event: push",
        r#"{"ref":"refs/heads/release/1.x","before":"COMMIT","after":"COMMIT",
        "created":false,"deleted":false,"commits":[],"repository":{"full_name":"shop/fleet","pushed_at":1795255204}}"#,
    ),
    (
        "gitlab",
        HookKind::Gitlab,
        "x-gitlab-event: Push Hook",
        r#"{"object_kind":"push","before":"COMMIT","after":"COMMIT","ref":
        "refs/heads/main","checkout_sha":"COMMIT","project":{"path_with_namespace":"shop/team/fleet"},"commits":[]}"#,
    ),
    (
        "gitea",
        HookKind::Gitea,
        "x-gitea-event: push",
        r#"{"ref":"refs/heads/main","before":"COMMIT","after":"COMMIT","commits":[],
        "repository":{"full_name":"gitea/webhooks"}}"#,
    ),
    (
        "bitbucket",
        HookKind::Bitbucket,
        "x-event-key: repo:refs_changed",
        r#"{"eventKey":"repo:refs_changed","date":
        "2026-11-21T20:00:04+1000","repository":{"slug":"fleet","project":{"key":"SHOP"}},"changes":[{"ref":{"id":
        "refs/heads/main","displayId":"main","type":"BRANCH"},"fromHash":"COMMIT","toHash":"COMMIT","type":"UPDATE"}],
        "push":{"changes":[{"new":{"type":"branch","name":"main","target":{"hash":"COMMIT"}},"old":null}]}}"#,
    ),
    ("generic", HookKind::Generic, "", FLUX),
    ("generic_hmac", HookKind::GenericHmac, "", FLUX),
    (
        "cdevents",
        HookKind::Cdevents,
        "",
        r#"{"context":{"version":"0.4.1","id":"2710","source":"/s","type":
        "dev.cdevents.artifact.published.0.2.0","timestamp":"2026-11-21T10:00:04.123Z"},"subject":{"id":
        "pkg:oci/web@sha256%3Aab?repository_url=r.example%2Fteam%2Fweb&tag=1.4.0","type":"artifact","content":{}}}"#,
    ),
    ("hint", HookKind::Hint, "", r#"{"image":"r.example/team/web:1.4.0","time":"2026-11-21T10:00:04Z"}"#),
    (
        "hint_environment",
        HookKind::Hint,
        "",
        r#"{"image":"r.example/team/web:1.4.0@DIGEST","environment":"prod","id":"7","time":"2026-11-21T10:00:04.25+01:00"}"#,
    ),
];

const FLUX: &str = r#"{"involvedObject":{"apiVersion":"source.toolkit.fluxcd.io/v1","kind":"GitRepository","name":"fleet",
    "namespace":"flux-system"},"timestamp":"2026-11-21T10:00:04Z","reason":"NewArtifact","metadata":
    {"source.toolkit.fluxcd.io/revision":"main@sha1:COMMIT"}}"#;

pub fn all() -> Vec<Parser> {
    let parsers = KINDS.map(|(name, kind, event, body)| {
        let body = body
            .replace("DIGEST", "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf")
            .replace("COMMIT", "6113728f27ae82c7b1a177c8d03f9e96e0adf246");
        let folder = tempfile::tempdir().unwrap();
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, SECRET).unwrap();
        let hook = Hook {
            name: "here".into(),
            kind,
            secret_file: Some(secret_file),
            oidc: None,
            registry: Some("r.example".into()),
            expect_in: vec!["prod".into()],
        };
        let hooks = Hooks::new(&[hook]);
        Parser::new(name, BODY_BYTES_MAX, [body], move |body| {
            // It is read again when its secret is asked for, so it has to stay.
            let _ = &folder;
            deliver(&hooks, event, body);
        })
    });
    parsers.into_iter().chain([token(), keys()]).collect()
}

const AUDIENCE: &str = "https://knotmeter.example.com/hooks/gar";
const ACCOUNT: &str = "push@shop.iam.gserviceaccount.com";

fn oidc() -> Oidc {
    // Nobody is there, and without a runtime nobody is asked.
    Oidc {
        audience: AUDIENCE.into(),
        service_account: ACCOUNT.into(),
        keys_url: "http://127.0.0.1:1/certs".into(),
    }
}

/// One that is right in everything but its signature.
fn unsigned(id: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT,
        "email_verified": true, "iat": RECEIVED.0 / 1000 - 60, "exp": RECEIVED.0 / 1000 + 3540});
    let header = part(json!({"alg": "RS256", "typ": "JWT", "kid": id}));
    format!("{header}.{}.{}", part(claims), URL_SAFE_NO_PAD.encode([7; 256]))
}

/// Three keys, of which the first two can be used.
fn published() -> String {
    let number = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xc7; bytes]);
    json!({"keys": [
        {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "n": number(256), "e": "AQAB"},
        {"kty": "RSA", "kid": "two", "n": number(512), "e": "Aw"},
        {"kty": "EC", "crv": "P-256", "kid": "three", "x": "AA", "y": "AA"},
    ]})
    .to_string()
}

fn bearer(token: &str) -> Option<HeaderMap> {
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static("authorization"), value)]))
}

/// What anybody can send: no key has signed it.
fn token() -> Parser {
    let now = Instant::now();
    let tokens = Tokens::with_keys(&oidc(), published().as_bytes(), now).unwrap();
    let others = unsigned("one").replace('.', ".e30.");
    Parser::of_text("pubsub_token", 400 << 10, [unsigned("one"), unsigned("four"), others], move |text| {
        if let Some(headers) = bearer(text) {
            assert_eq!(tokens.check(&headers, RECEIVED, now), Err(Refused::Unproven), "{text}");
        }
    })
}

/// What stands where Google's keys should be.
fn keys() -> Parser {
    Parser::new("pubsub_keys", 64 << 10, [published()], move |text| {
        let now = Instant::now();
        if let Some(tokens) = Tokens::with_keys(&oidc(), text, now) {
            for id in ["one", "two"] {
                let refused = tokens.check(&bearer(&unsigned(id)).unwrap(), RECEIVED, now);
                assert_eq!(refused, Err(Refused::Unproven));
            }
        }
    })
}

fn deliver(hooks: &Hooks, event: &str, body: &[u8]) {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut signature = "sha256=".to_owned();
    ring::hmac::sign(&key, body).as_ref().iter().for_each(|byte| write!(signature, "{byte:02x}").unwrap());
    let mut headers = HeaderMap::new();
    for name in ["x-hub-signature-256", "x-hub-signature", "x-signature"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&signature).unwrap());
    }
    for name in ["x-gitlab-token", "authorization"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(SECRET));
    }
    if let Some((name, value)) = event.split_once(": ") {
        headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let head = Head { hook: "here", path_secret: Some(SECRET), headers: &headers };
    hooks.admit(head).unwrap();
    match hooks.take(head, body, RECEIVED) {
        Ok(triggers) => {
            assert!(triggers.len() <= TRIGGERS_MAX);
            for trigger in triggers {
                let _ = trigger.happened(Interval::new(RECEIVED - 30_000, RECEIVED));
            }
        }
        Err(refused) => super::told::<(), _>(Err(refused)),
    }
}
