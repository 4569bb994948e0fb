//! Which observations make the bundle of one journey: all that decide it, and of a large installation no more.

use std::sync::Arc;

use knotmeter::app::bundle::Slice;
use knotmeter::observation::{Fact, Observation, Pod, Time};
use knotmeter::tracker::{Journey, Outcome, Tracker};

use crate::journeys::case::Case;
use crate::journeys::record::Delivery;
use crate::journeys::world;

/// More than a bundle may hold.
const STRANGERS: u64 = 120_000;
const DAYS_14_MILLIS: i64 = 14 * 86_400_000;

/// A story that goes to its end, as the observers told it.
fn told() -> Vec<Observation> {
    let text = std::fs::read_to_string("tests/journeys/01-push-to-live.txt").expect("the case");
    let case = Case::parse("01".into(), "01".into(), &text).expect("a good case");
    let deliveries = world::observe(&case).expect("a true story");
    let observations = deliveries.into_iter().filter_map(|delivery| match delivery {
        Delivery::Observation(observation) => Some(*observation),
        Delivery::Restart(_) => None,
    });
    observations.collect()
}

fn journeys(observations: &[Observation]) -> Vec<Journey> {
    let mut tracker = Tracker::default();
    observations.iter().for_each(|observation| drop(tracker.observe(observation)));
    tracker.journeys().cloned().collect()
}

fn slice(journey: &Journey, observations: &[Observation]) -> Result<Vec<Observation>, String> {
    let mut slice = Slice::new(journey);
    observations.iter().try_for_each(|observation| slice.learn(observation))?;
    slice.learned();
    observations.iter().try_for_each(|observation| slice.take(observation.clone()))?;
    Ok(slice.end())
}

#[test]
fn two_weeks_of_looks_and_the_pods_of_others_are_left_out() {
    let told = told();
    let journey = journeys(&told).into_iter().find(|journey| journey.outcome == Some(Outcome::Live));
    let journey = journey.expect("it goes live");
    let alone = slice(&journey, &told).expect("a bundle");
    let start = told[0].observed_at;
    let at = |number: u64| start - DAYS_14_MILLIS + number as i64 * 60;
    let moved = |observation: &Observation, number: u64, fact: Fact| Observation {
        seq: number,
        // Before the one that speaks in the story.
        source_epoch: 1,
        observed_at: at(number),
        fact,
        ..observation.clone()
    };
    let look = told.iter().find(|one| matches!(one.fact, Fact::LookCompleted { .. })).expect("a look");
    let pod = told.iter().find_map(|one| match &one.fact {
        Fact::PodIs(pod) => Some((one, pod.clone())),
        _ => None,
    });
    let (said, pod) = pod.expect("a pod");
    let mut all = Vec::new();
    for number in 0..STRANGERS {
        all.push(moved(look, number, look.fact.clone()));
        let uid: Arc<str> = format!("stranger-{number}").into();
        let stranger = Pod { uid: uid.clone(), owner: Some(uid), ..(*pod).clone() };
        all.push(moved(said, number, Fact::PodIs(Box::new(stranger))));
    }
    all.extend(told);
    let sliced = slice(&journey, &all).expect("they are not too many");
    assert!(sliced.len() <= alone.len() + 2, "{} of {} are taken", sliced.len(), all.len());
    assert!(sliced.is_sorted_by_key(|one| one.observed_at), "in their order");
    let same = journeys(&sliced).into_iter().find(|found| found.id == journey.id);
    assert_eq!(same.as_ref(), Some(&journey), "the very journey comes of it");
    assert_eq!(
        sliced.iter().filter(|one| one.observed_at < Time(start.0)).count(),
        2,
        "the first look, the last"
    );
}

#[test]
fn pods_told_before_their_owners_are_in_it() {
    let mut told = told();
    let journey = journeys(&told).into_iter().find(|journey| journey.outcome == Some(Outcome::Live));
    let journey = journey.expect("it goes live");
    let count = |observations: &[Observation]| {
        observations.iter().filter(|one| matches!(one.fact, Fact::PodIs(_) | Fact::RevisionIs(_))).count()
    };
    let before = count(&slice(&journey, &told).expect("a bundle"));
    assert!(before > 1);
    // Workloads last, as another order of lists has it.
    told.sort_by_key(|one| matches!(one.fact, Fact::WorkloadIs(_)));
    assert_eq!(count(&slice(&journey, &told).expect("a bundle")), before);
}
