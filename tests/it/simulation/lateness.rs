//! What a network and a busy machine do to what observers say: each watch and each look is late by its own little
//! while, and our own clock may be set. Within one watch the order stays, and every interval still holds the truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use knotmeter::observation::{Basis, EngineKind, Fact, Interval, Observation, Scope, SourceId, Time};

use crate::journeys::random::Random;
use crate::journeys::record::Delivery;
use crate::journeys::text::START;

use super::truth::Truth;

/// A watch says of a change that it came at most this long before its message: as the real one does.
const WATCH_LATE_MAX: i64 = 1000;
/// Messages that follow each other within this time are one burst.
const BURST_GAP: i64 = 50;
/// A watch hangs at most this long: less than silence may last.
const HANG_MAX: i64 = 25_000;
/// A look may take this long.
const LOOK_TIME_MAX: i64 = 2000;

/// Everything said, as it reaches us; and by how many milliseconds our clock was set in between. While a watch hangs
/// nobody sees what it would tell.
pub fn late(deliveries: Vec<Delivery>, seed: u64, truth: &mut Truth) -> (Vec<Delivery>, i64) {
    let mut random = Random(seed ^ 0x5eed);
    let deliveries = if random.percent(60) { delay(deliveries, &mut random, truth) } else { deliveries };
    if !random.percent(15) {
        return (deliveries, 0);
    }
    let at = START + random.between(0, 240_000);
    let by = random.between(-2000, 2000);
    (deliveries.into_iter().map(|delivery| set_clock(delivery, at, by)).collect(), by.abs())
}

/// Whose order stays: one watch of a cluster, else the source.
type Line = (SourceId, Option<&'static str>);

/// How the messages of one line came.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// When it was so that the last one was said.
    said: Time,
    /// When the last one reached us.
    last: Time,
    /// The one before the burst that it belongs to: until then nothing is missing.
    before: Time,
}

fn delay(deliveries: Vec<Delivery>, random: &mut Random, truth: &mut Truth) -> Vec<Delivery> {
    let mut all: Vec<(Time, Delivery)> = Vec::new();
    // A restart waits for nobody: what is under way then arrives just before.
    let restarts: Vec<Time> =
        deliveries.iter().filter(|d| matches!(d, Delivery::Restart(_))).map(Delivery::at).collect();
    let hangs = hang(random);
    if let Some((_, from, to)) = hangs {
        let clusters: Vec<_> = truth.places.keys().map(|(uid, _)| uid.clone()).collect();
        truth.outages.extend(clusters.into_iter().map(|uid| (uid, from.0 - START.0, to.0 - START.0)));
    }
    let mut heard: BTreeMap<Line, Heard> = BTreeMap::new();
    for delivery in deliveries {
        let Delivery::Observation(mut said) = delivery else {
            heard.clear();
            all.push((delivery.at(), delivery));
            continue;
        };
        let line = (said.source.clone(), watch(&said.fact));
        let known = heard.get(&line).copied().unwrap_or(Heard {
            said: Time::MIN,
            last: Time::MIN,
            before: Time::MIN,
        });
        let late = if said.cluster.is_some() { WATCH_LATE_MAX } else { LOOK_TIME_MAX };
        // What one look says, it says at once.
        let together = known.said == said.observed_at;
        let mut arrives = if together { known.last } else { said.observed_at + random.between(0, late) };
        if let Some((resource, from, to)) = hangs
            && line.1 == Some(resource)
            && (from..=to).contains(&said.observed_at)
        {
            arrives = to;
        }
        let restart = restarts.iter().find(|at| **at > said.observed_at).copied().unwrap_or(Time::MAX);
        let arrives = arrives.max(known.last).min(restart).max(said.observed_at);
        let burst = arrives.0 - known.last.0 <= BURST_GAP;
        let before = if burst { known.before } else { known.last };
        heard.insert(line, Heard { said: said.observed_at, last: arrives, before });
        receive(&mut said, arrives, before);
        all.push((arrives, Delivery::Observation(said)));
    }
    all.sort_by_key(|(at, _)| *at);
    let mut all: Vec<Delivery> = all.into_iter().map(|(_, delivery)| delivery).collect();
    number_anew(&mut all);
    all
}

/// One watch is held up for a while, and then says all at once.
fn hang(random: &mut Random) -> Option<(&'static str, Time, Time)> {
    let from = START + random.between(1000, 240_000);
    let to = from + random.between(1000, HANG_MAX);
    let resource = *random.pick(&["workloads", "pods", "revisions"]);
    random.percent(30).then_some((resource, from, to))
}

/// It reaches us then, and its interval says so.
fn receive(said: &mut Observation, arrives: Time, before: Time) {
    let happened = said.happened;
    let watched = said.cluster.is_some();
    said.happened = match said.basis {
        Basis::Watch if watched => Interval::new(before.min(arrives - WATCH_LATE_MAX), arrives),
        // What a cut watch had under way is older than what it said last.
        Basis::Relist => Interval::new(happened.not_before.min(before) - WATCH_LATE_MAX, arrives),
        _ if happened.not_before == happened.not_after => Interval::at(arrives),
        _ => Interval::new(happened.not_before, arrives),
    };
    if let Fact::LookCompleted { started, finished, .. } = &mut said.fact {
        *finished = arrives;
        if watched && before.is_known() {
            *started = before.min(*started);
        }
    }
    said.observed_at = arrives;
}

/// The watch that a fact of a cluster came by.
fn watch(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::WorkloadIs(_) => Some("workloads"),
        Fact::RevisionIs(_) => Some("revisions"),
        Fact::PodIs(_) => Some("pods"),
        Fact::JobIs(_) => Some("jobs"),
        Fact::EngineIs(object) => Some(object.key.kind.plural()),
        Fact::NamespaceIs(_) => Some("namespaces"),
        Fact::ConfigMapIs(_) => Some("configmaps"),
        Fact::Absent { subject } => match subject {
            knotmeter::observation::Subject::Workload { .. } => Some("workloads"),
            knotmeter::observation::Subject::Revision { .. } => Some("revisions"),
            knotmeter::observation::Subject::Pod { .. } => Some("pods"),
            knotmeter::observation::Subject::Job { .. } => Some("jobs"),
            _ => None,
        },
        Fact::LookCompleted { scope, .. } | Fact::LookFailed { scope, .. } => match scope {
            Scope::Resource { resource, .. } => Some(watch_of(resource)),
            _ => None,
        },
        _ => None,
    }
}

fn watch_of(resource: &Arc<str>) -> &'static str {
    match &**resource {
        "pods" => "pods",
        "jobs" => "jobs",
        "namespaces" => "namespaces",
        "configmaps" => "configmaps",
        "events" => "events",
        "replicasets" | "controllerrevisions" => "revisions",
        other => {
            let engine = EngineKind::ALL.into_iter().map(EngineKind::plural).find(|plural| *plural == other);
            engine.unwrap_or("workloads")
        }
    }
}

/// A source numbers what it says in the order in which it says it.
fn number_anew(deliveries: &mut [Delivery]) {
    let mut numbers: BTreeMap<(SourceId, u64), u64> = BTreeMap::new();
    for delivery in deliveries {
        if let Delivery::Observation(said) = delivery {
            let number = numbers.entry((said.source.clone(), said.source_epoch)).or_default();
            *number += 1;
            said.seq = *number;
        }
    }
}

/// Our clock was set at that moment.
fn set_clock(delivery: Delivery, at: Time, by: i64) -> Delivery {
    let now = |time: Time| if time >= at && time.is_known() { time + by } else { time };
    match delivery {
        Delivery::Restart(time) => Delivery::Restart(now(time)),
        Delivery::Observation(mut said) => {
            said.observed_at = now(said.observed_at);
            said.happened = Interval::new(now(said.happened.not_before), now(said.happened.not_after));
            if let Fact::LookCompleted { started, finished, .. } = &mut said.fact {
                (*started, *finished) = (now(*started), now(*finished));
            }
            Delivery::Observation(said)
        }
    }
}
