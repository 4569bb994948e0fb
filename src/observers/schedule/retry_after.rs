//! `Retry-After`: how long a host wants to be left alone.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::observation::Time;

/// The shortest wait: a host that says 0, or a time that has passed, is busy all the same.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest wait a host can impose. Beyond it we ask again anyhow: hosts have sent dates years ahead.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);
/// Doublings of the shortest wait where a host names none: 32 seconds.
const DOUBLINGS_MAX: u32 = 5;

/// What the headers of a refusal say, else a wait that doubles with each refusal in a row: `refusals`, this one
/// included.
#[must_use]
pub fn wait(headers: &HeaderMap, refusals: u32, now: Time) -> Duration {
    let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let unnamed = || RETRY_AFTER_MIN * 2u32.pow(refusals.saturating_sub(1).min(DOUBLINGS_MAX));
    text.and_then(|text| retry_after(text, now)).unwrap_or_else(unnamed)
}

/// `Retry-After`: seconds or an HTTP date, at least [`RETRY_AFTER_MIN`] and at most [`RETRY_AFTER_MAX`].
#[must_use]
pub fn retry_after(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        // Too many digits are still a number, only a silly one.
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => u64::MAX,
        Err(_) => http_date(text)?.seconds_since(now).clamp(0.0, 1e9).ceil() as u64,
    };
    Some(Duration::from_secs(seconds).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

/// A time as HTTP writes it.
#[must_use]
pub fn http_date(text: &str) -> Option<Time> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| Time::from(at.to_utc()))
}
