//! What whoever reaches our own port writes: addresses, headers, proofs of webhooks.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Uri};
use knotmeter::config::HookKind;
use knotmeter::exporters::Snapshot;
use knotmeter::exporters::metrics::{Format, Metrics};
use knotmeter::http::{EVENTS_KEPT, HttpState, Question, router};
use knotmeter::image::ImageRef;
use knotmeter::observation::Time;
use knotmeter::observers::hooks::{Head, Hooks};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tower::ServiceExt as _;

use super::{Parser, told};

/// hyper takes no longer head than this of a connection.
const HEAD: usize = 400 << 10;
const AT: Time = Time(1_795_255_205_000);
const SECRET: &str = "only-for-this-test";
const BODY: &[u8] = br#"{"image": "r.example/team/web:1.4.0"}"#;

const QUERIES: [&str; 5] = [
    "app=web&environment=prod&namespace=shop&image=r.example%2Fteam%2Fweb:1.4.0&open=true&limit=10",
    "q=sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf&namespace=shop",
    "q=deployment%2Fweb",
    "redact=true",
    "00c0ffee00c0ffee",
];

pub fn all() -> Vec<Parser> {
    // It has to stay, or nobody answers.
    let (_snapshots, seen) = watch::channel(Snapshot::empty(AT));
    let state = HttpState::new(seen, Arc::new(Metrics::new()), broadcast::channel(EVENTS_KEPT).0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let router = runtime.block_on(async { router(state) });
    let images = [
        "r.example/team/web:1.4.0",
        "nginx@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let images = images.map(|image| image.parse::<ImageRef>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let kinds = [
        (HookKind::Hint, "x-signature"),
        (HookKind::Cdevents, "authorization"),
        (HookKind::Github, "x-hub-signature-256"),
        (HookKind::Gitlab, "x-gitlab-token"),
    ];
    let hook = |(kind, header): (HookKind, &'static str)| {
        let secret_file = folder.path().join("secret");
        let hook = json!({"name": "here", "kind": kind, "secret_file": secret_file, "expect_in": ["prod"]});
        (Hooks::new(&[serde_json::from_value(hook).unwrap()]), header)
    };
    let hooks = kinds.map(hook);
    let right = signature();
    let proofs = [format!("sha256={right}"), right.clone(), SECRET.to_owned(), format!("Bearer {SECRET}")];
    vec![
        Parser::of_text("address", 64 << 10, QUERIES, move |text| {
            let _ = &_snapshots;
            for front in ["/api/v1/journeys?", "/api/v1/why?", "/api/v1/journeys/", "/journeys/", "/", "/?"] {
                let Ok(uri) = format!("{front}{text}").parse::<Uri>() else { continue };
                let Ok(request) = Request::get(uri).body(Body::empty()) else { continue };
                let answer = runtime.block_on(router.clone().oneshot(request)).unwrap();
                assert!(!answer.status().is_server_error(), "{answer:?}");
            }
        }),
        Parser::of_text("question", HEAD, QUERIES, move |text| {
            let question = Question::new(text, Some(text));
            for image in &images {
                let _ = question.names_image(image, image.digest.as_ref());
            }
        }),
        Parser::of_text(
            "accept",
            HEAD,
            ["application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"],
            |text| _ = Format::accepted(text),
        ),
        Parser::new("proof", HEAD, proofs, move |value| {
            let _ = &folder;
            let Ok(value) = HeaderValue::from_bytes(value) else { return };
            let is_right = {
                let text = String::from_utf8_lossy(value.as_bytes());
                let signed = text.strip_prefix("sha256=").unwrap_or(&text).eq_ignore_ascii_case(&right);
                signed || text.strip_prefix("Bearer ").unwrap_or(&text) == SECRET
            };
            for (hooks, header) in &hooks {
                let headers = HeaderMap::from_iter([(HeaderName::from_static(header), value.clone())]);
                let head = Head { hook: "here", path_secret: None, headers: &headers };
                let admitted = hooks.admit(head);
                let taken = admitted.and_then(|()| hooks.take(head, BODY, AT));
                assert!(taken.is_err() || is_right, "{value:?} proves to be {header}");
                told(taken);
            }
        }),
    ]
}

fn signature() -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut text = String::new();
    ring::hmac::sign(&key, BODY).as_ref().iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text
}
