//! How many requests a second a host gets from us: a token bucket that learns. Pure.
//!
//! Until a host says otherwise only its concurrency holds us back. Where it tells a limit, that limit holds. Where it
//! only refuses, what it accepted is the limit: a rate a little above that is kept, so that the limit is found
//! again when it grows, and refusals stay rare.

use std::time::{Duration, Instant};

use super::quota::Quota;

/// No host is asked seldomer, whatever it says: a limit of nothing would blind us for ever.
pub const RATE_MIN: f64 = 0.1;
/// A limit above this is none: no host is asked so much.
const RATE_MAX: f64 = 10_000.0;
/// Of a told limit we use this part: at exactly its pace every hiccup on the way would be a refusal.
const TOLD_PART: f64 = 0.98;
/// A told limit holds for so long after it was told last.
const TOLD_KEPT: Duration = Duration::from_secs(600);
/// A host that says how long nothing is left is left alone for at most so long.
const EMPTY_MAX: Duration = Duration::from_secs(15 * 60);
/// Where so many of the answers are refusals, we are too fast. Less is the host's own trouble, and no reason to
/// leave its limit unused.
const REFUSED_PART: f64 = 0.05;
/// Fewer refusals than this are no pattern.
const REFUSED_MIN: f64 = 5.0;
/// Answers after which older ones count half.
const ANSWERS_KEPT: f64 = 200.0;
/// What was accepted in less than this may have been saved up.
const LEARN_MIN: Duration = Duration::from_secs(1);
/// A learned rate is this much above what was accepted, and grows by so much a second.
const HEADROOM: f64 = 1.1;
const GROWTH_PER_SECOND: f64 = 0.02;
/// Growth is counted for at most so long at once: a host that was not asked tells nothing.
const GROWTH_MAX: Duration = Duration::from_secs(10);

/// The bucket of one host.
#[derive(Debug)]
pub struct Rate {
    limit: Option<Limit>,
    /// Answers since `counted_since`, older ones halved away.
    accepted: f64,
    refused: f64,
    counted_since: Instant,
    /// Of that time, what the host wanted to be left alone.
    paused: Duration,
    /// Turns that somebody in a hurry took from others, who have not noticed yet.
    given_up: u32,
}

#[derive(Debug)]
struct Limit {
    per_second: f64,
    burst: f64,
    /// Below zero where requests wait for their turn already.
    tokens: f64,
    filled: Instant,
    /// Nothing goes out before.
    empty_until: Option<Instant>,
    /// When the host told it; `None` where it is learned from refusals.
    told: Option<Instant>,
}

impl Rate {
    /// No limit is known.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let paused = Duration::ZERO;
        Self { limit: None, accepted: 0.0, refused: 0.0, counted_since: now, paused, given_up: 0 }
    }

    /// Takes one request: when it may be sent. Each call takes one, so that whoever comes next waits longer.
    pub fn take(&mut self, now: Instant) -> Instant {
        let stale = |limit: &Limit| limit.told.is_some_and(|told| now >= told + TOLD_KEPT);
        if self.limit.as_ref().is_some_and(|limit| stale(limit) || limit.per_second > RATE_MAX) {
            self.limit = None;
        }
        let Some(limit) = &mut self.limit else { return now };
        limit.fill(now);
        limit.tokens -= 1.0;
        let turn = now + Duration::from_secs_f64((-limit.tokens / limit.per_second).max(0.0));
        limit.empty_until.map_or(turn, |until| turn.max(until))
    }

    /// The same for a request that somebody waits for: it takes the first turn for which another waits. That one
    /// notices with [`Rate::gives_up`] and takes a new turn.
    pub fn take_first(&mut self, now: Instant) -> Instant {
        if let Some(limit) = &mut self.limit {
            limit.fill(now);
            // The last turn given away is so many tokens ahead, and there is one for each.
            let last = (-limit.tokens).max(0.0);
            if last.ceil() > f64::from(self.given_up) {
                let first = last - (last.ceil() - 1.0) + f64::from(self.given_up);
                self.given_up += 1;
                let turn = now + Duration::from_secs_f64(first / limit.per_second);
                return limit.empty_until.map_or(turn, |until| turn.max(until));
            }
        }
        self.take(now)
    }

    /// Whether a turn that has come belongs to somebody else by now.
    pub fn gives_up(&mut self) -> bool {
        let gives_up = self.given_up > 0;
        self.given_up -= u32::from(gives_up);
        gives_up
    }

    /// An answer that was no refusal, and what it told.
    pub fn accepted(&mut self, quota: Option<Quota>, now: Instant) {
        self.accepted += 1.0;
        if self.accepted + self.refused >= ANSWERS_KEPT {
            let half = now.saturating_duration_since(self.counted_since) / 2;
            (self.accepted, self.refused) = (self.accepted / 2.0, self.refused / 2.0);
            self.counted_since += half;
            self.paused /= 2;
        }
        if let Some(quota) = quota {
            self.told(quota, now);
        }
    }

    /// A refusal of a request that was already on its way when the host refused another: it says nothing more than that
    /// one, but may tell a limit.
    pub fn refused_again(&mut self, quota: Option<Quota>, now: Instant) {
        if let Some(quota) = quota {
            self.told(quota, now);
        }
    }

    /// A refusal, and what it told. Those of requests that were already on their way are [`Rate::refused_again`]: of a
    /// burst they would be taken for many.
    pub fn refused(&mut self, quota: Option<Quota>, now: Instant) {
        self.refused += 1.0;
        if let Some(quota) = quota {
            self.told(quota, now);
        }
        let told = self.limit.as_ref().is_some_and(|limit| limit.told.is_some());
        let too_many = self.refused >= REFUSED_PART * (self.refused + self.accepted);
        if told || self.refused < REFUSED_MIN || !too_many {
            return;
        }
        // Not the time in which nothing was asked: a few refusals for no reason in a row would look like a low limit.
        let asked = now.saturating_duration_since(self.counted_since).saturating_sub(self.paused);
        let elapsed = asked.max(LEARN_MIN).as_secs_f64();
        let per_second = (self.accepted / elapsed * HEADROOM).max(RATE_MIN);
        let (burst, tokens) = (per_second.max(1.0), 0.0);
        self.limit = Some(Limit { per_second, burst, tokens, filled: now, empty_until: None, told: None });
        (self.accepted, self.refused) = (0.0, 0.0);
        (self.counted_since, self.paused) = (now, Duration::ZERO);
    }

    /// From now on the host wants to be left alone for so long, or for so much longer than it said before.
    pub fn paused(&mut self, longer: Duration) {
        self.paused += longer;
    }

    /// Requests that may be sent at once, and how many a second follow; `None` where no limit is known.
    #[must_use]
    pub fn left(&mut self, now: Instant) -> Option<(f64, f64)> {
        let limit = self.limit.as_mut()?;
        limit.fill(now);
        let empty = limit.empty_until.is_some_and(|until| until > now);
        Some((if empty { 0.0 } else { limit.tokens.max(0.0) }, limit.per_second))
    }

    fn told(&mut self, quota: Quota, now: Instant) {
        let empty = quota.remaining == Some(0);
        let empty_until = quota.reset.filter(|_| empty).map(|reset| now + reset.min(EMPTY_MAX));
        let (Some(count), Some(window)) = (quota.limit, quota.window.or(quota.reset)) else {
            if let (Some(limit), true) = (&mut self.limit, empty) {
                limit.empty_until = empty_until;
            }
            return;
        };
        let count = f64::from(count);
        let known = self.limit.as_ref().filter(|limit| limit.told.is_some());
        // A window without a length is at least what is left of it: the first answer told most.
        let per_second = match (quota.window, known) {
            (None, Some(known)) if known.burst == count.max(1.0) => known.per_second,
            _ => (count / window.as_secs_f64().max(1.0) * TOLD_PART).max(RATE_MIN),
        };
        let mut limit = self.limit.take().filter(|limit| limit.told.is_some()).unwrap_or(Limit {
            per_second,
            burst: count,
            tokens: count,
            filled: now,
            empty_until: None,
            told: Some(now),
        });
        limit.fill(now);
        (limit.per_second, limit.burst) = (per_second, count.max(1.0));
        // Others may use the same limit: what the host counts is right where it is less.
        limit.tokens = limit.tokens.min(limit.burst).min(f64::from(quota.remaining.unwrap_or(u32::MAX)));
        (limit.empty_until, limit.told) = (empty_until, Some(now));
        self.limit = Some(limit);
    }
}

impl Limit {
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        if self.told.is_none() {
            let growth = passed.min(GROWTH_MAX).as_secs_f64() * GROWTH_PER_SECOND;
            self.per_second *= 1.0 + growth;
            self.burst = self.per_second.max(1.0);
        }
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.burst);
    }
}
