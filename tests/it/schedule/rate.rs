//! How fast a host is asked, against hosts of the test's own on a virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use knotmeter::observers::schedule::{Quota, Rate, retry_after::RETRY_AFTER_MIN};

use super::seconds;

/// Requests under way at once, and how long each takes.
pub const CONCURRENCY: usize = 8;
pub const LATENCY: Duration = Duration::from_millis(6);

/// A host with a token bucket that holds a second's worth.
pub struct Host {
    per_second: f64,
    tokens: f64,
    filled: Duration,
    /// Whether it tells its limit.
    tells: bool,
    /// One in so many answers is a 429 for no reason; 0 is never.
    noise: u64,
    seed: u64,
    accepted: u64,
    refused: u64,
    /// Nobody may ask before.
    blocked_until: Duration,
    /// Tokens that came at other times and were not used.
    left_over: f64,
}

/// What came of so many seconds.
#[derive(Debug, Default)]
struct Outcome {
    accepted: f64,
    refused: f64,
    /// Tokens that came while we were not told to wait.
    offered: f64,
}

impl Host {
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            tokens: per_second,
            filled: Duration::ZERO,
            tells: false,
            noise: 0,
            seed: 1,
            accepted: 0,
            refused: 0,
            blocked_until: Duration::ZERO,
            left_over: 0.0,
        }
    }

    pub fn answer(&mut self, at: Duration) -> bool {
        let unblocked = self.blocked_until.clamp(self.filled, at);
        let mut come = |from: Duration, until: Duration| {
            self.tokens += (until - from).as_secs_f64() * self.per_second;
            let surplus = (self.tokens - self.per_second).max(0.0);
            self.tokens -= surplus;
            surplus
        };
        come(self.filled, unblocked);
        self.left_over += come(unblocked, at);
        self.filled = at;
        // xorshift64: the same every time.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let taken = self.tokens >= 1.0 && (self.noise == 0 || !self.seed.is_multiple_of(self.noise));
        self.tokens -= f64::from(u8::from(taken));
        self.accepted += u64::from(taken);
        self.refused += u64::from(!taken);
        if !taken {
            self.blocked_until = self.blocked_until.max(at + RETRY_AFTER_MIN);
        }
        taken
    }

    /// Requests that were served.
    pub fn asked(&self) -> u64 {
        self.accepted
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn quota(&self) -> Option<Quota> {
        let limit = Some(self.per_second as u32);
        self.tells.then_some(Quota {
            limit,
            window: Some(seconds(1)),
            remaining: Some(self.tokens as u32),
            reset: None,
        })
    }
}

/// Asks as fast as the rate lets us, as the gate does: a refusal silences everybody for a second.
fn ask(host: &mut Host, rate: &mut Rate, from: Instant, time: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    let mut paused = Duration::ZERO;
    let mut paused_in_all = Duration::ZERO;
    let mut turns: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
    for worker in 0..CONCURRENCY {
        turns.push(Reverse((rate.take(from) - from, worker)));
    }
    while let Some(Reverse((at, worker))) = turns.pop().filter(|Reverse((at, _))| *at < time) {
        if at < paused {
            turns.push(Reverse((paused, worker)));
            continue;
        }
        let answered = from + at + LATENCY;
        if host.answer(at + LATENCY / 2) {
            rate.accepted(host.quota(), answered);
            outcome.accepted += 1.0;
        } else {
            rate.refused(host.quota(), answered);
            outcome.refused += 1.0;
            let until = at + LATENCY + RETRY_AFTER_MIN;
            let longer = until - paused.max(at + LATENCY).min(until);
            rate.paused(longer);
            paused_in_all += longer;
            paused = paused.max(until);
        }
        turns.push(Reverse((rate.take(answered) - from, worker)));
    }
    outcome.offered = (time - paused_in_all.min(time)).as_secs_f64() * host.per_second;
    outcome
}

#[test]
fn without_a_limit_only_concurrency_holds_us_back() {
    let start = Instant::now();
    let mut rate = Rate::new(start);
    for _ in 0..100_000 {
        assert_eq!(rate.take(start), start);
    }
    assert_eq!(rate.left(start), None);
}

#[test]
fn a_told_limit_is_used_whole_and_never_exceeded() {
    for per_second in [20.0, 83.0, 1000.0] {
        let start = Instant::now();
        let (mut host, mut rate) = (Host::new(per_second), Rate::new(start));
        host.tells = true;
        let outcome = ask(&mut host, &mut rate, start, seconds(120));
        assert!(outcome.accepted >= 0.95 * 120.0 * per_second, "{per_second}: {outcome:?}");
        // Before the first answer nobody knows.
        assert!(outcome.refused <= 0.001 * outcome.accepted + 8.0, "{per_second}: {outcome:?}");
    }
}

#[test]
fn a_limit_that_is_not_told_is_learned_and_used_whole() {
    for per_second in [20.0, 83.0, 500.0] {
        let start = Instant::now();
        let (mut host, mut rate) = (Host::new(per_second), Rate::new(start));
        let outcome = ask(&mut host, &mut rate, start, seconds(120));
        assert!(outcome.accepted >= 0.95 * outcome.offered, "{per_second}: {outcome:?}");
        // Of all tokens, too: the pauses after refusals cost next to nothing, because refusals are rare.
        assert!(outcome.accepted >= 0.9 * 120.0 * per_second, "{per_second}: {outcome:?}");
        assert!(outcome.refused <= 0.05 * outcome.accepted, "{per_second}: {outcome:?}");
    }
}

#[test]
fn a_host_that_refuses_now_and_then_for_no_reason_is_not_slowed_down() {
    for per_second in [20.0, 83.0, 1000.0] {
        for tells in [false, true] {
            let start = Instant::now();
            let (mut host, mut rate) = (Host::new(per_second), Rate::new(start));
            (host.noise, host.tells) = (100, tells);
            let outcome = ask(&mut host, &mut rate, start, seconds(120));
            assert!(outcome.accepted >= 0.95 * outcome.offered, "{per_second} {tells}: {outcome:?}");
        }
    }
}

/// Now and then many refusals for no reason come close together, and look like a limit.
#[test]
fn refusals_for_no_reason_that_come_together_cost_nothing() {
    for per_second in [20.0, 83.0] {
        for seed in 1..=200 {
            let start = Instant::now();
            let (mut host, mut rate) = (Host::new(per_second), Rate::new(start));
            (host.noise, host.seed) = (100, 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
            let accepted = ask(&mut host, &mut rate, start, seconds(120)).accepted;
            let used = accepted / (accepted + host.left_over);
            assert!(used >= 0.95, "{used:.3} of {per_second} a second with seed {seed}");
        }
    }
}

#[test]
fn a_limit_that_grows_is_found() {
    let start = Instant::now();
    let (mut host, mut rate) = (Host::new(20.0), Rate::new(start));
    ask(&mut host, &mut rate, start, seconds(60));
    (host.per_second, host.filled) = (60.0, Duration::ZERO);
    ask(&mut host, &mut rate, start + seconds(60), seconds(90));
    host.filled = Duration::ZERO;
    let outcome = ask(&mut host, &mut rate, start + seconds(150), seconds(60));
    assert!(outcome.accepted >= 0.9 * 60.0 * 60.0, "{outcome:?}");
}

#[test]
fn a_host_that_says_nothing_is_left_is_left_alone_until_it_says() {
    let start = Instant::now();
    let mut rate = Rate::new(start);
    let quota = Quota { limit: Some(100), window: None, remaining: Some(0), reset: Some(seconds(30)) };
    rate.accepted(Some(quota), start);
    assert_eq!(rate.take(start), start + seconds(30));
    assert_eq!(rate.left(start).map(|(left, _)| left), Some(0.0));
    // What is told last is right.
    rate.accepted(Some(Quota { remaining: Some(50), ..quota }), start + seconds(1));
    assert_eq!(rate.take(start + seconds(2)), start + seconds(2));
}

#[test]
fn no_limit_stops_us_for_ever_and_none_lasts_for_ever() {
    let start = Instant::now();
    let never = Quota {
        limit: Some(0),
        window: Some(seconds(86_400)),
        remaining: Some(0),
        reset: Some(seconds(604_800)),
    };
    let mut rate = Rate::new(start);
    rate.accepted(Some(never), start);
    let turn = rate.take(start);
    assert_eq!(turn, start + seconds(900), "a quarter of an hour at most");
    let next = rate.take(turn);
    assert!(next <= turn + seconds(20), "then at least six a minute: {:?}", next - turn);
    let later = start + seconds(3600);
    assert_eq!(rate.take(later), later, "what was told an hour ago is not believed any more");
}

#[test]
fn a_hurried_request_takes_the_first_turn_and_the_rate_stays() {
    let start = Instant::now();
    let mut rate = Rate::new(start);
    let quota = Quota { limit: Some(10), window: Some(seconds(1)), remaining: Some(0), reset: None };
    rate.accepted(Some(quota), start);
    let after = |turn: Instant| ((turn - start).as_secs_f64() * 9.8).round();
    let quiet: Vec<f64> = (0..4).map(|_| after(rate.take(start))).collect();
    assert_eq!(quiet, [1.0, 2.0, 3.0, 4.0]);
    let hurried: Vec<f64> = (0..2).map(|_| after(rate.take_first(start))).collect();
    assert_eq!(hurried, [1.0, 2.0], "the first turns that are nobody's in a hurry");
    // The two whose turns they were notice and go to the end.
    assert!(rate.gives_up());
    assert_eq!(after(rate.take(start)), 5.0);
    assert!(rate.gives_up());
    assert_eq!(after(rate.take(start)), 6.0);
    assert!(!rate.gives_up(), "nobody else");
    let mut free = Rate::new(start);
    assert_eq!((free.take_first(start), free.gives_up()), (start, false));
}
