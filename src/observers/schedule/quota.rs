//! What a host says about its limits, in whichever of the ways that are in use.
//!
//! The IETF's drafts wrote it `RateLimit-Limit: 100;w=60` with `RateLimit-Remaining` and `-Reset`, later
//! `RateLimit: limit=100, remaining=9, reset=5`, now `RateLimit-Policy: "p";q=100;w=60` with `RateLimit: "p";r=9;t=5`;
//! others write `X-RateLimit-*`, where `Reset` is seconds or a Unix time.

use std::time::Duration;

use reqwest::header::HeaderMap;

use crate::observation::Time;

/// Windows are clamped to this: no host counts finer, and a longer one is nothing that we could spread.
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_secs(7 * 86400);
/// A `Reset` above this is a Unix time in seconds, not a wait.
const UNIX_TIME_MIN: f64 = 1e9;
/// Policies of one header. Hosts name one or two.
const POLICIES_MAX: usize = 8;

/// A limit as a host tells it. Everything may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a window.
    pub limit: Option<u32>,
    pub window: Option<Duration>,
    /// Of the limit, what is left.
    pub remaining: Option<u32>,
    /// Until all of the limit is there again.
    pub reset: Option<Duration>,
}

impl Quota {
    /// Reads the headers of an answer; `None` where they say nothing of a limit.
    #[must_use]
    pub fn read(headers: &HeaderMap, now: Time) -> Option<Self> {
        let mut quota = Self::default();
        for (name, bare) in NAMES {
            let Some(text) = headers.get(*name).and_then(|value| value.to_str().ok()) else { continue };
            let policies = text.split(',').take(POLICIES_MAX).map(|policy| read(policy, *bare, now));
            let parts = policies.reduce(stricter).unwrap_or_default();
            quota = Self {
                limit: quota.limit.or(parts.limit),
                window: quota.window.or(parts.window),
                remaining: quota.remaining.or(parts.remaining),
                reset: quota.reset.or(parts.reset),
            };
        }
        (quota.limit.is_some() || quota.remaining.is_some()).then_some(quota)
    }
}

/// What a bare number in a header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bare {
    Nothing,
    Limit,
    Remaining,
    Reset,
}

/// The headers, the most telling first.
const NAMES: &[(&str, Bare)] = &[
    ("ratelimit-policy", Bare::Limit),
    ("ratelimit", Bare::Nothing),
    ("ratelimit-limit", Bare::Limit),
    ("ratelimit-remaining", Bare::Remaining),
    ("ratelimit-reset", Bare::Reset),
    ("x-ratelimit-limit", Bare::Limit),
    ("x-ratelimit-remaining", Bare::Remaining),
    ("x-ratelimit-reset", Bare::Reset),
];

fn read(policy: &str, bare: Bare, now: Time) -> Quota {
    let mut quota = Quota::default();
    for part in policy.split(';') {
        let (name, value) = part.split_once('=').unwrap_or(("", part));
        let Ok(number) = value.trim().parse::<f64>() else { continue };
        if !number.is_finite() || number < 0.0 {
            continue;
        }
        match (name.trim(), bare) {
            ("q" | "limit", _) | ("", Bare::Limit) => quota.limit = Some(number as u32),
            ("r" | "remaining", _) | ("", Bare::Remaining) => quota.remaining = Some(number as u32),
            ("t" | "reset", _) | ("", Bare::Reset) => {
                let ahead = number - now.0 as f64 / 1000.0;
                let seconds = if number >= UNIX_TIME_MIN { ahead.max(0.0) } else { number };
                quota.reset = Some(Duration::from_secs_f64(seconds.min(WINDOW_MAX.as_secs_f64())));
            }
            ("w", _) => {
                let seconds = number.min(WINDOW_MAX.as_secs_f64());
                quota.window = Some(Duration::from_secs_f64(seconds).max(WINDOW_MIN));
            }
            _ => {}
        }
    }
    quota
}

/// Of two policies that which allows fewer requests a second; what only one of them says is kept.
fn stricter(one: Quota, other: Quota) -> Quota {
    let rate = |quota: Quota| Some(f64::from(quota.limit?) / quota.window?.as_secs_f64());
    let (first, second) = match (rate(one), rate(other)) {
        (Some(left), Some(right)) if right < left => (other, one),
        (None, Some(_)) => (other, one),
        _ => (one, other),
    };
    Quota {
        limit: first.limit.or(second.limit),
        window: first.window.or(second.window),
        remaining: first.remaining.or(second.remaining),
        reset: first.reset.or(second.reset),
    }
}
