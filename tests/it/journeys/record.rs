//! What the observers of a case said, in order, as the tracker gets it.

use std::collections::HashMap;

use knotmeter::observation::{
    Basis, ClusterUid, Fact, Interval, LookFailure, Observation, SCHEMA, Scope, SourceId, SourceKind, Time,
};

use super::text::START;

/// Something that reaches our process.
#[derive(Debug, Clone)]
pub enum Delivery {
    Observation(Box<Observation>),
    /// Our process ends and starts anew.
    Restart(Time),
}

impl Delivery {
    pub fn at(&self) -> Time {
        match self {
            Self::Observation(observation) => observation.observed_at,
            Self::Restart(at) => *at,
        }
    }
}

/// Stamps and keeps what the observers say.
#[derive(Debug, Default)]
pub struct Recorder {
    pub deliveries: Vec<Delivery>,
    epoch: u64,
    numbers: HashMap<SourceId, u64>,
}

/// Who speaks, and of which cluster.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub source: SourceId,
    pub cluster: Option<ClusterUid>,
}

impl Speaker {
    pub fn new(kind: SourceKind, name: &str) -> Self {
        Self { source: SourceId::new(kind, name), cluster: None }
    }
}

impl Recorder {
    /// Our process starts again: a new epoch.
    pub fn restart(&mut self, now: i64) {
        self.epoch += 1;
        self.numbers.clear();
        self.deliveries.push(Delivery::Restart(START + now));
    }

    pub fn say(&mut self, who: &Speaker, now: i64, happened: Interval, basis: Basis, fact: Fact) {
        let seq = self.numbers.entry(who.source.clone()).or_default();
        *seq += 1;
        self.deliveries.push(Delivery::Observation(Box::new(Observation {
            schema: SCHEMA,
            source: who.source.clone(),
            source_epoch: START.0 as u64 + self.epoch,
            seq: *seq,
            cluster: who.cluster.clone(),
            observed_at: START + now,
            happened,
            basis,
            fact,
        })));
    }

    /// A look that saw everything and took no time.
    pub fn looked(&mut self, who: &Speaker, now: i64, scope: Scope, interval: i64) {
        let at = START + now;
        let interval_seconds = interval as f64 / 1000.0;
        let fact = Fact::LookCompleted { scope, started: at, finished: at, interval_seconds };
        self.say(who, now, Interval::at(at), Basis::Poll, fact);
    }

    pub fn failed(&mut self, who: &Speaker, now: i64, scope: Scope, failure: LookFailure) {
        let message = format!("{}: no answer, as the case says", who.source).into();
        let fact = Fact::LookFailed { scope, failure, message };
        self.say(who, now, Interval::at(START + now), Basis::Poll, fact);
    }
}

/// From the start of the last complete look to this one.
pub fn since(last: i64, now: i64) -> Interval {
    Interval::new(START + last, START + now)
}
