//! What each kind of sender writes, read for the few fields that tell where to look.
//!
//! Nothing here trusts: a text that does not fit its form is an error with the field's name, and what is not about
//! a push of an image or a branch is read as nothing.

mod cloud;
mod flux;
mod githost;
mod hint;
mod registry;

use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::trigger::{Moved, Trigger};
use crate::config::{Hook, HookKind};
use crate::image::Repository;
use crate::observation::{Interval, Time};

/// What a delivery says.
#[derive(Debug, Default)]
pub struct Payload {
    /// The sender's own name for this delivery.
    pub id: Option<String>,
    pub triggers: Vec<Trigger>,
}

/// Reads a body.
///
/// # Errors
/// A sentence that names the field and what is wrong with it.
pub fn read(hook: &Hook, headers: &HeaderMap, body: &[u8]) -> Result<Payload, String> {
    let registry = hook.registry.as_deref();
    match hook.kind {
        HookKind::Distribution => registry::distribution(body, registry),
        HookKind::Harbor => registry::harbor(body, registry),
        HookKind::Dockerhub => registry::dockerhub(body, registry),
        HookKind::Quay => registry::quay(body, registry),
        HookKind::Ghcr => registry::ghcr(headers, body, registry),
        HookKind::Gar => cloud::gar(body),
        HookKind::Cdevents => cloud::cdevents(headers, body),
        HookKind::Github => githost::github(headers, body),
        HookKind::Gitlab => githost::gitlab(headers, body),
        HookKind::Gitea => githost::gitea(headers, body),
        HookKind::Bitbucket => githost::bitbucket(headers, body),
        HookKind::Generic | HookKind::GenericHmac => flux::event(body),
        HookKind::Hint => hint::hint(body, &hook.expect_in),
    }
}

/// JSON of this form, or a sentence that says where it is not.
fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("not what this kind of sender writes: {error}"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A trigger whose receipt is filled in by whoever took the delivery.
fn trigger(moved: Moved, stamped: Option<Interval>) -> Trigger {
    Trigger { moved, stamped, received: Time::MIN, expected_in: None }
}

/// `HOST/PATH`, where the configuration's host wins over the sender's.
fn repository(configured: Option<&str>, host: Option<&str>, path: &str) -> Result<Repository, String> {
    let host =
        configured.or(host).ok_or("its registry is not named: write `registry` in the configuration")?;
    format!("{host}/{path}").parse().map_err(|error| format!("repository: {error}"))
}

/// A stamp with fractions of a second is an instant, one without is its whole second.
fn stamp(text: &str) -> Option<Interval> {
    let at = Time::from_rfc3339(text)?;
    Some(if text.contains('.') { Interval::at(at) } else { Interval::second(at) })
}

/// Unix seconds. What does not fit is no time.
fn stamp_seconds(seconds: i64) -> Option<Interval> {
    (seconds > 0).then(|| seconds.checked_mul(1000).map(|millis| Interval::second(Time(millis)))).flatten()
}
