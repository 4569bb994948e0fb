//! What the kubelet says in core events: images pulled, found in the node's cache, failed; probes that fail.
//!
//! Events are lossy (spam filter, aggregation, one hour of life), so they feed metrics and never a journey. A failed
//! probe may say why one is stuck.

use std::sync::Arc;

use serde::Deserialize;

use super::object::or_default;
use crate::observation::{CacheResult, ProbeFailed};

/// A probe's answer may be a whole page.
const SAYS_CHARS_MAX: usize = 300;

/// What an event tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Image(ImageEvent),
    Probe(ProbeFailed),
}

/// One event about an image, as often as it happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageEvent {
    pub namespace: Arc<str>,
    pub pod: Arc<str>,
    /// Repeats only raise this number, on the same object.
    pub count: u64,
    pub result: CacheResult,
    /// Seconds and bytes, where a pull happened and its message says so.
    pub pull: Option<(f64, Option<u64>)>,
}

/// Reads an event; `None` where it is not the kubelet's, or about something else.
pub(super) fn decode(text: &str) -> Result<Option<Told>, serde_json::Error> {
    let event: Event = serde_json::from_str(text)?;
    let component =
        if event.source.component.is_empty() { &event.reporting_component } else { &event.source.component };
    if component != "kubelet" {
        return Ok(None);
    }
    let message = event.message.as_str();
    let result = match event.reason.as_str() {
        // The end of the sentence grew over the versions, the start did not.
        "Pulled" if message.starts_with("Container image ") => CacheResult::Hit,
        "Pulled" if message.starts_with("Successfully pulled image ") => CacheResult::Miss,
        "Failed" if message.starts_with("Failed to pull image ") => CacheResult::Error,
        "Unhealthy" if !event.involved_object.uid.is_empty() => {
            let says: String = message.chars().take(SAYS_CHARS_MAX).collect();
            return Ok(Some(Told::Probe(ProbeFailed { pod: event.involved_object.uid, says: says.into() })));
        }
        _ => return Ok(None),
    };
    let pull = if result == CacheResult::Miss { pull(message) } else { None };
    let count = event.count.max(event.series.count).max(1);
    let (namespace, pod) = (event.involved_object.namespace, event.involved_object.name);
    Ok(Some(Told::Image(ImageEvent { namespace, pod, count, result, pull })))
}

/// `... in 1.234s (2.5s including waiting). Image size: 12345678 bytes.`: the pull alone, without the wait.
fn pull(message: &str) -> Option<(f64, Option<u64>)> {
    let (_, told) = message.rsplit_once("\" in ")?;
    let duration = told.split(' ').next()?;
    let seconds = go_duration_seconds(duration.trim_end_matches('.'))?;
    let bytes = told.split_once("Image size: ").and_then(|(_, size)| size.split(' ').next()?.parse().ok());
    Some((seconds, bytes))
}

/// Reads a duration as Go prints it: `54ms`, `1.197s`, `1m2.5s`, `1h0m0.3s`, `850µs`.
#[must_use]
pub fn go_duration_seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" | "μs" | "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (!text.is_empty() && seconds.is_finite()).then_some(seconds)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default, deserialize_with = "or_default")]
    involved_object: Involved,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
    #[serde(default, deserialize_with = "or_default")]
    count: u64,
    #[serde(default, deserialize_with = "or_default")]
    source: Source,
    #[serde(default, deserialize_with = "or_default")]
    reporting_component: String,
    #[serde(default, deserialize_with = "or_default")]
    series: Series,
}

#[derive(Default, Deserialize)]
struct Involved {
    #[serde(default, deserialize_with = "or_default")]
    namespace: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    uid: Arc<str>,
}

#[derive(Default, Deserialize)]
struct Source {
    #[serde(default, deserialize_with = "or_default")]
    component: String,
}

#[derive(Default, Deserialize)]
struct Series {
    #[serde(default, deserialize_with = "or_default")]
    count: u64,
}
