//! What holds for every case unasked: one settling, equal journeys for a replay, for repeats,
//! after checkpoints, and for any order
//! between sources.

use std::collections::BTreeMap;

use knotmeter::observation::{SourceId, Time};
use knotmeter::tracker::Journey;

use super::random::Random;
use super::record::Delivery;
use super::run::{Ask, Run};
use super::show::{self, Names};

/// How far sources may overtake each other, in milliseconds.
const OVERTAKE_MAX: u64 = 3000;
/// Orders tried for each case.
const ORDERS: u64 = 5;

/// What is wrong with a run and its relatives over the same deliveries.
pub fn broken(deliveries: &[Delivery], end: Time, plain: &Run, names: &Names) -> Vec<String> {
    let mut broken = plain.broken.clone();
    broken.extend(changed_after_settling(plain, names));
    let replay = Run::over(&in_order(deliveries), end, Ask::FactsOnly);
    broken.extend(difference("a replay of the same observations", plain, &replay, names));
    let restored = Run::over(&in_order(deliveries), end, Ask::Restored);
    broken.extend(difference("a restart from a checkpoint after every fact", plain, &restored, names));
    if let Some(at) = (0..plain.told.len().max(restored.told.len()))
        .find(|at| plain.told.get(*at) != restored.told.get(*at))
    {
        let (plain, then) = (plain.told.get(at), restored.told.get(at));
        broken.push(format!(
            "with checkpoints event {at} differs\n       plain: {plain:?}\n        then: {then:?}"
        ));
    }
    let twice = Run::over(&twice(deliveries), end, Ask::AtDeadlines);
    broken.extend(difference("every observation fed twice", plain, &twice, names));
    for seed in 1..=ORDERS {
        let run = Run::over(&overtaking(deliveries, seed), end, Ask::AtDeadlines);
        let what = format!("sources overtaking each other (seed {seed})");
        broken.extend(difference(&what, plain, &run, names));
    }
    broken
}

/// Each delivery at its own time.
pub fn in_order(deliveries: &[Delivery]) -> Vec<(Time, Delivery)> {
    deliveries.iter().map(|delivery| (delivery.at(), delivery.clone())).collect()
}

/// Every observation said twice.
pub fn twice(deliveries: &[Delivery]) -> Vec<(Time, Delivery)> {
    let repeated = |delivery: &Delivery| {
        let repeats = if matches!(delivery, Delivery::Restart(_)) { 1 } else { 2 };
        std::iter::repeat_n((delivery.at(), delivery.clone()), repeats)
    };
    deliveries.iter().flat_map(repeated).collect()
}

/// The same deliveries, each source late by up to [`OVERTAKE_MAX`] and in its own order. Nothing crosses a restart.
pub fn overtaking(deliveries: &[Delivery], seed: u64) -> Vec<(Time, Delivery)> {
    let mut random = Random(seed);
    let mut ordered = Vec::new();
    for part in deliveries.chunk_by(|_, next| !matches!(next, Delivery::Restart(_))) {
        let last = part.last().map_or(Time::MIN, Delivery::at);
        let mut clocks: BTreeMap<&SourceId, (Time, u64)> = BTreeMap::new();
        let mut late: Vec<(Time, u64, Delivery)> = Vec::new();
        for delivery in part {
            match delivery {
                Delivery::Restart(at) => late.push((*at, 0, delivery.clone())),
                Delivery::Observation(observation) => {
                    let arrives = observation.observed_at + (random.next() % (OVERTAKE_MAX + 1)) as i64;
                    let clock = clocks.entry(&observation.source).or_insert((Time::MIN, random.next()));
                    clock.0 = clock.0.max(arrives.min(last.max(observation.observed_at)));
                    late.push((clock.0, clock.1, delivery.clone()));
                }
            }
        }
        // A stable sort keeps each source's own order.
        late.sort_by_key(|(at, source, _)| (*at, *source));
        ordered.extend(late.into_iter().map(|(at, _, delivery)| (at, delivery)));
    }
    ordered
}

/// Numbers once given stay.
pub fn changed_after_settling(run: &Run, names: &Names) -> Vec<String> {
    let mut changed = Vec::new();
    for settled in run.settled.values() {
        let Some(last) = run.journeys.get(&settled.id) else {
            changed.push(format!(
                "settled, but was never among the journeys: {}",
                show::journey(settled, names)
            ));
            continue;
        };
        if numbers(settled) != numbers(last) {
            changed.push(format!(
                "changed after it settled\n     settled: {}\n        last: {}",
                show::journey(settled, names),
                show::journey(last, names)
            ));
        }
    }
    changed
}

/// What histograms, counters and traces take from a journey.
fn numbers(journey: &Journey) -> impl PartialEq {
    let durations: Vec<_> =
        knotmeter::tracker::Stage::ALL.iter().map(|stage| journey.stage_duration(*stage)).collect();
    let identity =
        (journey.id, journey.destination.clone(), journey.trigger, journey.outcome, journey.subject);
    (identity, journey.image_to_live(), journey.change_to_live(), journey.held_seconds.to_bits(), durations)
}

/// What differs between two runs.
pub fn difference(what: &str, plain: &Run, other: &Run, names: &Names) -> Vec<String> {
    let mut different: Vec<String> =
        other.broken.iter().map(|broken| format!("with {what}: {broken}")).collect();
    for (which, left, right) in
        [("journeys", &plain.journeys, &other.journeys), ("settled", &plain.settled, &other.settled)]
    {
        let ids = left.keys().chain(right.keys()).collect::<std::collections::BTreeSet<_>>();
        for id in ids {
            let (left, right) = (left.get(id).map(plainly), right.get(id).map(plainly));
            if left == right {
                continue;
            }
            let text = |journey: &Option<Journey>| {
                journey.as_ref().map_or("none".into(), |journey| show::journey(journey, names))
            };
            let (mut left_text, mut right_text) = (text(&left), text(&right));
            if left_text == right_text {
                (left_text, right_text) = (format!("{left:?}"), format!("{right:?}"));
            }
            different.push(format!(
                "with {what} the {which} differ\n       plain: {left_text}\n        then: {right_text}"
            ));
        }
    }
    different
}

/// Aliases tell how it was found, which may differ, and what comes next was said when it was judged last.
fn plainly(journey: &Journey) -> Journey {
    Journey { aliases: Vec::new(), next: Default::default(), ..journey.clone() }
}
