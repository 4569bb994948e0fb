//! The scheduler of all polling: its pure parts on a clock of the test's own, and what others ask of it.

mod gate;
mod hot;
mod look_now;
mod plan;
mod pulls;
mod quota;
mod rate;

use std::time::{Duration, Instant};

use knotmeter::observation::LookFailure;
use knotmeter::observers::schedule::{self, Outcome};

/// What is wanted of a subject; the number stands for everything that is not urgency.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Want {
    urgent: bool,
    things: u32,
    interval: Option<Duration>,
}

impl schedule::Interest for Want {
    fn urgent(&self) -> bool {
        self.urgent
    }

    fn adds_to(&self, before: &Self) -> bool {
        self.things > before.things
    }

    fn interval(&self) -> Option<Duration> {
        self.interval
    }
}

const QUIET: Want = Want { urgent: false, things: 0, interval: None };
const URGENT: Want = Want { urgent: true, ..QUIET };
const GOOD: Outcome = Outcome { failure: None, requests: 1, wish: None };

/// A plan whose subjects are numbers and remember nothing.
type Plan = schedule::Plan<u32, (), Want>;

fn plan(interval: Duration) -> Plan {
    Plan::new(interval, 100_000, 7)
}

fn bad(failure: LookFailure) -> Outcome {
    Outcome { failure: Some(failure), requests: 0, wish: None }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Looks at the next subject that is due, in no time: which it was.
fn look(plan: &mut Plan, now: Instant, outcome: Outcome) -> Option<u32> {
    let (key, _) = plan.take_due(now, false)?;
    plan.finish(&key, (), outcome, now);
    Some(key)
}
