//! Webhooks: who is believed, what is read, and that nothing else happens.

mod delivered;
mod oidc;
mod payloads;
mod proof;
mod stamps;

use std::fmt::Write as _;

use knotmeter::config::{Hook, HookKind};
use knotmeter::observation::Time;
use knotmeter::observers::hooks::{Head, Hooks, Refused, Trigger};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tempfile::TempDir;

pub const SECRET: &str = "only-for-this-test";
pub const OLD_SECRET: &str = "the-one-before-it";

/// A webhook of this kind, and where its secret lies.
pub fn hook(kind: HookKind) -> (Hooks, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, format!("{SECRET}\n{OLD_SECRET}\n")).unwrap();
    let hook = Hook {
        name: "here".into(),
        kind,
        secret_file: Some(secret_file),
        oidc: None,
        registry: None,
        expect_in: vec!["prod".into()],
    };
    (Hooks::new(&[hook]), folder)
}

pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// HMAC-SHA256 of a body, in hexadecimal digits.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = String::new();
    ring::hmac::sign(&key, body).as_ref().iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text
}

/// Delivers to a webhook of this kind, with whatever proof it wants and these headers.
pub fn deliver(kind: HookKind, also: &[(&str, &str)], body: &str) -> Result<Vec<Trigger>, Refused> {
    let (hooks, _folder) = hook(kind);
    let signature = format!("sha256={}", sign(SECRET, body.as_bytes()));
    let mut all = vec![
        ("x-hub-signature-256", &*signature),
        ("x-hub-signature", &*signature),
        ("x-signature", &*signature),
        ("x-gitlab-token", SECRET),
        ("authorization", SECRET),
    ];
    all.extend(also);
    let headers = headers(&all);
    let head = Head { hook: "here", path_secret: Some(SECRET), headers: &headers };
    hooks.admit(head)?;
    hooks.take(head, body.as_bytes(), Time(RECEIVED))
}

/// 2026-11-21T10:00:05Z.
pub const RECEIVED: i64 = 1_795_255_205_000;
