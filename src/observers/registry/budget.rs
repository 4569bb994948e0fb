//! How many manifests may be read from a host that counts pulls: a tenth of what it allows, and no guesswork.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

/// We take at most this part of an advertised limit: the cluster's own pulls come first.
const SHARE: u32 = 10;

/// The pull budget of one host. Only a GET of a manifest is a pull; HEAD and tag lists are free.
#[derive(Debug)]
pub struct PullBudget {
    /// The host is known to count pulls, so silence before its first answer is no permission.
    counts: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// A manifest was answered, with or without a limit.
    answered: bool,
    limit: Option<(u32, Duration)>,
    window_start: Instant,
    used: u32,
}

impl PullBudget {
    #[must_use]
    pub fn new(host: &str, now: Instant) -> Self {
        let state = State { answered: false, limit: None, window_start: now, used: 0 };
        Self { counts: host == "docker.io", state: Mutex::new(state) }
    }

    /// Reads `ratelimit-limit: 100;w=21600` of a manifest's answer. An answer without it means no limit.
    pub fn learn(&self, headers: &HeaderMap) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answered = true;
        state.limit = headers.get("ratelimit-limit").and_then(|value| {
            let (count, window) = value.to_str().ok()?.split_once(";w=")?;
            let seconds: u64 = window.split(';').next()?.trim().parse().ok()?;
            Some((count.trim().parse().ok()?, Duration::from_secs(seconds.clamp(1, 7 * 86400))))
        });
    }

    /// Takes one pull from the budget, if it has one left.
    pub fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((count, window)) = state.limit else { return state.answered || !self.counts };
        if now.duration_since(state.window_start) >= window {
            (state.window_start, state.used) = (now, 0);
        }
        let left = state.used < (count / SHARE).max(1);
        state.used += u32::from(left);
        left
    }
}
