//! A new tag in a hot repository while a sweep takes all that the registry grants, on a virtual clock: plan, rate and
//! pauses put together as `Looks` and `Gate` put them together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use knotmeter::observers::schedule::{Rate, retry_after::RETRY_AFTER_MIN};

use super::rate::{CONCURRENCY, Host, LATENCY};
use super::{GOOD, Plan, QUIET, URGENT, Want, plan, seconds};

/// At 20 requests a second a sweep of these takes 17 s, longer than the interval: it never ends.
const REPOSITORIES: u32 = 350;
const PER_SECOND: f64 = 20.0;
const INTERVAL: Duration = seconds(10);
/// Looks at once, and those that only a hurried one may take.
const PLACES: usize = CONCURRENCY;
const HURRIED_PLACES: usize = 2;
/// What is promised.
const FOUND_WITHIN: Duration = seconds(3);

/// A request of a look: a list, and where that shows a new tag a question for its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    key: u32,
    hurried: bool,
    for_digest: bool,
    waited: bool,
    answered: bool,
}

struct World {
    plan: Plan,
    rate: Rate,
    host: Host,
    start: Instant,
    now: Duration,
    paused: Duration,
    turns: BinaryHeap<Reverse<(Duration, Request)>>,
    looks: usize,
    hot: u32,
    /// When its tag was pushed, until it is found.
    pushed: Option<Duration>,
    found_after: Vec<Duration>,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let mut plan = plan(INTERVAL).with_hot();
        for key in 0..REPOSITORIES {
            plan.want(&key, &QUIET, start, || ());
        }
        Self {
            plan,
            rate: Rate::new(start),
            host: Host::new(PER_SECOND),
            start,
            now: Duration::ZERO,
            paused: Duration::ZERO,
            turns: BinaryHeap::new(),
            looks: 0,
            hot: 0,
            pushed: None,
            found_after: Vec::new(),
        }
    }

    fn want(&mut self, key: u32, want: Want) {
        self.plan.want(&key, &want, self.start + self.now, || panic!("it is known"));
    }

    /// Lets time pass, and does what is due in it.
    fn until(&mut self, end: Duration) {
        loop {
            self.begin_looks();
            let next_turn = self.turns.peek().map(|Reverse((at, _))| *at);
            let next_look = self.plan.next_due().map(|due| (due - self.start).max(self.paused));
            let next_look = next_look.filter(|at| *at > self.now);
            let Some(next) = next_turn.into_iter().chain(next_look).min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            while let Some(Reverse((at, _))) = self.turns.peek()
                && *at <= self.now
            {
                let Reverse((_, request)) = self.turns.pop().unwrap();
                self.step(request);
            }
        }
    }

    fn begin_looks(&mut self) {
        while self.now >= self.paused && self.looks < PLACES + HURRIED_PLACES {
            let hurried_only = self.looks >= PLACES;
            let Some((key, due)) = self.plan.take_due(self.start + self.now, hurried_only) else { return };
            self.looks += 1;
            self.ask(Request {
                key,
                hurried: due.hurried,
                for_digest: false,
                waited: false,
                answered: false,
            });
        }
    }

    /// Takes a turn.
    fn ask(&mut self, request: Request) {
        let now = self.start + self.now;
        let turn = if request.hurried { self.rate.take_first(now) } else { self.rate.take(now) };
        let at = turn - self.start;
        self.turns.push(Reverse((at, Request { waited: at > self.now, answered: false, ..request })));
    }

    fn step(&mut self, request: Request) {
        if request.answered {
            self.plan.finish(&request.key, (), GOOD, self.start + self.now);
            self.looks -= 1;
        } else if self.now < self.paused {
            self.turns.push(Reverse((self.paused, Request { waited: true, ..request })));
        } else if request.waited && !request.hurried && self.rate.gives_up() {
            self.ask(request);
        } else if !self.host.answer(self.now) {
            self.rate.refused(None, self.start + self.now);
            self.rate.paused(RETRY_AFTER_MIN);
            self.paused = self.now + RETRY_AFTER_MIN;
            self.ask(request);
        } else {
            self.rate.accepted(None, self.start + self.now);
            let shows_it = request.key == self.hot && self.pushed.is_some();
            if shows_it && !request.for_digest {
                self.ask(Request { for_digest: true, ..request });
                return;
            }
            if let Some(pushed) = self.pushed.filter(|_| shows_it) {
                self.found_after.push(self.now + LATENCY - pushed);
                self.pushed = None;
            }
            self.turns.push(Reverse((self.now + LATENCY, Request { answered: true, ..request })));
        }
    }
}

#[test]
fn a_hot_repositorys_new_tag_is_found_within_three_seconds_at_any_phase_of_a_sweep() {
    let mut world = World::new();
    world.until(seconds(60));
    let swept = world.host.asked();
    for round in 0..1500u32 {
        let began = world.now;
        if round % 20 == 0 {
            // Hot is what became urgent not long ago, and 20 rounds are 100 s at most. Its last look before may be just
            // over, or long ago.
            world.want(world.hot, QUIET);
            world.hot = round * 7 % REPOSITORIES;
            world.want(world.hot, URGENT);
        }
        // A step that fits no wait, so that pushes meet every phase.
        world.until(began + Duration::from_millis(u64::from(round * 37 % 1999)));
        world.pushed = Some(world.now);
        world.until(world.now + FOUND_WITHIN);
        assert_eq!(world.pushed, None, "round {round}: not found within {FOUND_WITHIN:?}");
    }
    let mut found = world.found_after.clone();
    found.sort_unstable();
    let (median, most) = (found[found.len() / 2], found[found.len() - 1]);
    println!(
        "{} tags found: median {median:?}, most {most:?}, {} refused",
        found.len(),
        world.host.refused()
    );
    assert!(world.host.refused() > 20, "nobody was ever told to wait");
    // The sweep did not stop for it.
    let others = (world.host.asked() - swept) as f64 / (world.now - seconds(60)).as_secs_f64();
    assert!(others > 0.8 * PER_SECOND, "{others} requests a second");
}
