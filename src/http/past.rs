//! The way to the journal for `why` at a time gone by. Replaying it is somebody else's work, for one person at a time.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::{NaiveDateTime, NaiveTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::answer::ApiError;
use super::matching::Question;
use super::why::Answer;
use crate::observation::Time;

/// Replays at the same time: each holds a second state of everything in memory.
const REPLAYS_MAX: usize = 1;
/// What whoever asks for the past is told where nobody keeps it.
pub(super) const NO_JOURNAL: &str = "this instance keeps no journal, so it knows nothing of the past: name a file under `journal:` in its configuration, or with --journal";
const UNITS: [(&str, i64); 4] = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The answers, and how many observations before them are lost.
pub type PastAnswers = Result<(Vec<Answer>, u64), String>;

/// Asks for what was true at a time.
#[derive(Debug)]
pub struct PastRequest {
    pub question: Question,
    pub at: Time,
    reply: oneshot::Sender<PastAnswers>,
    /// Given back when the work is done, not when whoever asked is gone.
    _permit: OwnedSemaphorePermit,
}

impl PastRequest {
    /// Whoever asked is gone.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers.
    pub fn answer(self, answer: PastAnswers) {
        // Whoever asked may have gone.
        let _ = self.reply.send(answer);
    }
}

/// The way to whoever reads the journal. The default leads nowhere: there is no journal.
#[derive(Debug, Clone, Default)]
pub struct Pasts(Option<(mpsc::Sender<PastRequest>, Arc<Semaphore>)>);

impl Pasts {
    /// A way, and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PastRequest>) {
        let (to, asked) = mpsc::channel(REPLAYS_MAX);
        (Self(Some((to, Arc::new(Semaphore::new(REPLAYS_MAX))))), asked)
    }

    pub(super) async fn ask(&self, question: Question, at: Time) -> Result<(Vec<Answer>, u64), ApiError> {
        let Some((way, replays)) = &self.0 else {
            return Err(ApiError::missing(NO_JOURNAL));
        };
        let busy = || {
            let why = "somebody else asks for the past just now; try again in a few seconds";
            ApiError::of(StatusCode::TOO_MANY_REQUESTS, why)
        };
        let permit = replays.clone().try_acquire_owned().map_err(|_| busy())?;
        let (reply, answer) = oneshot::channel();
        way.try_send(PastRequest { question, at, reply, _permit: permit }).map_err(|_| busy())?;
        let answer = answer.await.map_err(|_| ApiError::busy("the program is ending"))?;
        answer.map_err(ApiError::bad)
    }
}

/// A time as people type it: RFC 3339, a time of day in UTC as our sentences have it (`12:00:48`: the last such moment), or
/// how long ago, such as `10m`, `-10m` or `1h30m ago`.
///
/// # Errors
/// A sentence: it is neither, or in the future.
pub fn parse_at(text: &str, now: Time) -> Result<Time, String> {
    let text = text.trim();
    let at = Time::from_rfc3339(text).or_else(|| shown(text, now)).or_else(|| Some(now - ago(text)?));
    let at = at.ok_or_else(|| {
        format!(
            "{text:?} is no time: write 2026-11-21T12:00:00Z, 12:00:00 (in UTC), or how long ago, such as 10m or 1h30m"
        )
    })?;
    if at > now { Err(format!("{at} has yet to come")) } else { Ok(at) }
}

/// As [`super::words::clock`] shows it: the date is absent where it is today's, or was when it was shown.
fn shown(text: &str, now: Time) -> Option<Time> {
    if let Ok(at) = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S") {
        return Some(Time::from(at.and_utc()));
    }
    let of_day = ["%H:%M:%S", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())?;
    let today = now.to_chrono()?.date_naive();
    let at = Time::from(today.and_time(of_day).and_utc());
    if at <= now { Some(at) } else { Some(Time::from(today.pred_opt()?.and_time(of_day).and_utc())) }
}

/// Milliseconds.
fn ago(text: &str) -> Option<i64> {
    let mut rest = text.strip_suffix("ago").unwrap_or(text).trim();
    rest = rest.strip_prefix('-').unwrap_or(rest);
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, millis) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total = total.checked_add(number.checked_mul(millis)?)?;
        rest = &rest[unit.len()..];
    }
    // Before the year 1970 nobody kept a journal.
    Some(total).filter(|total| *total < i64::from(u32::MAX) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_such_or_as_how_long_ago() {
        let now = Time::from_rfc3339("2026-11-21T12:00:00Z").expect("a time");
        let at = |text| parse_at(text, now);
        let ten = Time::from_rfc3339("2026-11-21T11:50:00Z");
        for text in ["10m", "-10m", "10m ago", "600s", " 2026-11-21T11:50:00Z ", "2026-11-21T12:50:00+01:00"]
        {
            assert_eq!(at(text).ok(), ten, "{text}");
        }
        for text in ["11:50", "11:50:00", "2026-11-21 11:50:00"] {
            assert_eq!(at(text).ok(), ten, "{text}");
        }
        // What is shown without a date was so at the last such time of day.
        assert_eq!(at("12:00:01").ok(), Time::from_rfc3339("2026-11-20T12:00:01Z"));
        assert_eq!(at("1h30m").ok(), Time::from_rfc3339("2026-11-21T10:30:00Z"));
        for text in
            ["", "-", "ago", "10", "m", "10x", "yesterday", "99999999999999999999d", "25:00", "12:00:61"]
        {
            assert!(at(text).is_err_and(|said| said.contains("is no time")), "{text}");
        }
        assert!(at("2026-11-21T12:00:01Z").is_err_and(|said| said.ends_with("has yet to come")));
    }
}
