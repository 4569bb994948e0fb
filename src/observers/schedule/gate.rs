//! The way to one host: so many requests at once, so many a second, and none while it wants to be left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::pulls::Pulls;
use super::quota::Quota;
use super::rate::Rate;
use super::retry_after;
use crate::observation::Time;

/// A wait up to this long is sat out inside the request, so that a long listing need not start anew.
pub const PATIENCE: Duration = Duration::from_secs(10);

tokio::task_local! {
    static IN_A_HURRY: bool;
}

/// Does something whose requests go before those that nobody waits for.
pub async fn hurrying<T>(hurried: bool, work: impl Future<Output = T>) -> T {
    IN_A_HURRY.scope(hurried, work).await
}

/// What a limit in the headers of an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Any request.
    Requests,
    /// The reading of manifests.
    Pulls,
    /// It cannot be told.
    Nothing,
}

/// What all requests to one host share.
#[derive(Debug)]
pub struct Gate {
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    pulls: Pulls,
    paused_until: Option<Instant>,
    /// Since the last answer that was none.
    refusals: u32,
}

impl Gate {
    /// `concurrency` requests at once. `counts_pulls` where the host is known to limit the reading of manifests.
    #[must_use]
    pub fn new(concurrency: usize, counts_pulls: bool) -> Self {
        let rate = Rate::new(Instant::now());
        let state = State { rate, pulls: Pulls::new(counts_pulls), paused_until: None, refusals: 0 };
        Self { permits: Semaphore::new(concurrency), state: Mutex::new(state) }
    }

    /// Waits until a request may be sent, and for a place among those that are under way; keep it until the answer
    /// is read.
    ///
    /// # Errors
    /// The host wants to be left alone for longer than [`PATIENCE`]: so long.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>, Duration> {
        let hurried = IN_A_HURRY.try_with(|hurried| *hurried).unwrap_or(false);
        let mut turn = match hurried {
            true => self.state().rate.take_first(Instant::now()),
            false => self.state().rate.take(Instant::now()),
        };
        let mut waited = false;
        loop {
            let now = Instant::now();
            let paused = self.paused_until();
            if let Some(wait) = paused.map(|until| until - now).filter(|wait| *wait > PATIENCE) {
                return Err(wait);
            }
            // While one waits for its turn another may be refused.
            let until = paused.map_or(turn, |until| until.max(turn));
            if until > now {
                tokio::time::sleep_until(until.into()).await;
                waited = true;
                continue;
            }
            if waited && !hurried && self.state().rate.gives_up() {
                turn = self.state().rate.take(now);
                continue;
            }
            waited = false;
            let permit = self.permits.acquire().await.expect("the semaphore is never closed");
            if self.paused_until().is_none() {
                return Ok(permit);
            }
        }
    }

    /// When the host may be asked again, if it wants to be left alone now.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.state().paused_until.filter(|until| *until > Instant::now())
    }

    /// The host answered, with these headers.
    pub fn answered(&self, headers: &HeaderMap, told: Told, now: Time) {
        let at = Instant::now();
        let quota = Quota::read(headers, now);
        let mut state = self.state();
        state.refusals = 0;
        state.rate.accepted(quota.filter(|_| told == Told::Requests), at);
        if told == Told::Pulls {
            state.pulls.learn(quota, at);
        }
    }

    /// The host refused: nobody asks it anything for as long as it says. Tells how long that is.
    pub fn refused(&self, headers: &HeaderMap, told: Told, now: Time) -> Duration {
        let at = Instant::now();
        let quota = Quota::read(headers, now).filter(|_| told == Told::Requests);
        let mut state = self.state();
        // Those that were on their way when the pause began are one refusal with it.
        if state.paused_until.is_none_or(|until| until <= at) {
            state.refusals = state.refusals.saturating_add(1);
            state.rate.refused(quota, at);
        } else {
            state.rate.refused_again(quota, at);
        }
        let wait = retry_after::wait(headers, state.refusals, now);
        let before = state.paused_until.map_or(at, |before| before.max(at));
        let until = before.max(at + wait);
        state.rate.paused(until - before);
        state.paused_until = Some(until);
        wait
    }

    /// Takes one pull from what is left for us, if there is one.
    pub fn take_pull(&self) -> bool {
        self.state().pulls.take(Instant::now())
    }

    /// Pulls that are left for us; `None` where no limit is known.
    #[must_use]
    pub fn pulls_left(&self) -> Option<u32> {
        self.state().pulls.left(Instant::now())
    }

    /// Requests that may be sent at once, and how many a second; `None` where no limit is known.
    #[must_use]
    pub fn requests_left(&self) -> Option<(f64, f64)> {
        self.state().rate.left(Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
