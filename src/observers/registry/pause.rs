//! What a registry's "wait" means: nobody asks the host anything until then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::error::Problem;
use crate::observation::Time;

/// Longest wait a registry can impose. Beyond it we ask again anyhow: hosts have sent dates years ahead.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15 * 60);
/// The wait after a 429 that names none.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);
/// A wait up to this long is sat out inside the request, so that a long listing need not start anew.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The pause of one host, if it asked for one.
#[derive(Debug, Default)]
pub(super) struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// When the pause ends, if there is one now.
    pub(super) fn until(&self) -> Option<Instant> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }

    /// Stops all requests for as long as the answer says, and tells how long that is.
    pub(super) fn begin(&self, headers: &HeaderMap, now: Time) -> Duration {
        let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = text.and_then(|text| retry_after(text, now)).unwrap_or(RETRY_AFTER_DEFAULT);
        let until = Instant::now() + wait;
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.map_or(until, |before| before.max(until)));
        wait
    }

    /// Waits for the end of a short pause; a long one fails at once.
    pub(super) async fn sit_out(&self) -> Result<(), Problem> {
        let Some(until) = self.until() else { return Ok(()) };
        let wait = until.saturating_duration_since(Instant::now());
        if wait > PATIENCE {
            return Err(Problem::Throttled(wait));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// `Retry-After`: seconds or an HTTP date, at least a second and at most [`RETRY_AFTER_MAX`].
pub fn retry_after(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        // Too many digits are still a number, only a silly one.
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => u64::MAX,
        Err(_) => http_date(text)?.seconds_since(now).clamp(0.0, 1e9).ceil() as u64,
    };
    Some(Duration::from_secs(seconds.max(1)).min(RETRY_AFTER_MAX))
}

pub(super) fn http_date(text: &str) -> Option<Time> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| Time::from(at.to_utc()))
}
