//! One seed: its story is played, a tracker follows, and everything that must hold is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use knotmeter::observation::{Fact, Time};
use knotmeter::tracker::{Event, Journey, JourneyId, Outcome, Stage, Subject};

use crate::journeys::case::Case;
use crate::journeys::promises;
use crate::journeys::record::Delivery;
use crate::journeys::run::{Ask, Run};
use crate::journeys::show;
use crate::journeys::text::{START, show_time};
use crate::journeys::world;

use super::claims::{self, Rollout};
use super::hands::Hands;
use super::journal;
use super::lateness;
use super::story::{Story, Weather};
use super::truth::{Scaled, Truth};

/// Deliveries between two restarts from a checkpoint: dear, so there are few, at other moments in every world.
const CHECKPOINT_EVERY: usize = 37;

/// One story in so many is told with a journal too: a commit takes as long as a hundred observations.
const JOURNAL_EVERY: u64 = 16;

/// How the same story is told again: its name, what is delivered when, and how the tracker is asked.
type Relative = (&'static str, Vec<(Time, Delivery)>, Ask);

/// What is tried beside the plain run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// One relative, another for each seed.
    One,
    All,
}

/// What is wrong with a story as a tracker tells it: a word for the promise, and a sentence. `Err` where the story
/// itself cannot be.
pub fn wrong(
    story: &Story,
    seed: u64,
    Weather { calm, healthy, .. }: Weather,
    beside: Beside,
) -> Result<Vec<(&'static str, String)>, String> {
    let case = Case::parse("simulation".into(), "simulation".into(), &story.text())?;
    let mut truth = Truth::of(&case);
    let deliveries = world::observe_beside(&case, &mut |now, clusters| truth.note(now, clusters))?;
    if let Some(why) = truth.impossible.take().or(truth.hands.impossible.take()) {
        return Err(why);
    }
    let (deliveries, slip) = lateness::late(deliveries, seed, &mut truth);
    let names = crate::journeys::text::digest_names(&case.text);
    let end = START + story.end;
    let mut wrong = Vec::new();
    let (plain, close) = plain(&deliveries, end, &truth, slip, &mut wrong);
    let tell = |journey: &Journey| show::journey(journey, &names);
    wrong.extend(plain.broken.iter().map(|broken| ("kept promises", broken.clone())));
    wrong.extend(promises::changed_after_settling(&plain, &names).into_iter().map(|w| ("settled stays", w)));
    let mut told = BTreeSet::new();
    for journey in plain.journeys.values() {
        match claims::check(journey, &truth, slip) {
            Err(why) => wrong.push(("true", format!("{why}\n    {}", tell(journey)))),
            Ok(Some(at)) if journey.subject == Subject::Image => {
                let digest = journey.digest.clone();
                if journey.settled && !told.insert((journey.destination.to_string(), at, digest)) {
                    wrong.push(("once", format!("two journeys are one rollout\n    {}", tell(journey))));
                }
            }
            Ok(_) => {}
        }
    }
    if healthy {
        wrong.extend(unhealthy(&plain).into_iter().map(|why| ("healthy", why)));
    }
    if calm {
        wrong.extend(untold(&plain, &truth, story.end).into_iter().map(|why| ("complete", why)));
        wrong.extend(unresized(&plain, &truth, story.end).into_iter().map(|why| ("complete", why)));
    }
    let relatives: [Relative; 4] = [
        ("a replay", promises::in_order(&deliveries), Ask::FactsOnly),
        ("restarts from a checkpoint", promises::in_order(&deliveries), Ask::RestoredEvery(CHECKPOINT_EVERY)),
        ("every observation twice", promises::twice(&deliveries), Ask::AtDeadlines),
        (ANOTHER_ORDER, promises::overtaking(&deliveries, seed), Ask::AtDeadlines),
    ];
    for (at, (name, deliveries, ask)) in relatives.into_iter().enumerate() {
        if beside == Beside::All || seed % 4 == at as u64 {
            if name == ANOTHER_ORDER && close {
                continue;
            }
            let other = Run::over(&deliveries, end, ask);
            wrong.extend(
                promises::difference(name, &plain, &other, &names).into_iter().map(|why| (name, why)),
            );
        }
    }
    if beside == Beside::All || seed.is_multiple_of(JOURNAL_EVERY) {
        let broken = journal::broken(&deliveries, end, seed, &plain, &names);
        wrong.extend(broken.into_iter().map(|why| ("a journal", why)));
    }
    Ok(wrong)
}

/// Where Flux brings each image within its turns: nobody is said to wait for a hand, and every hand is known.
fn unhealthy(run: &Run) -> Vec<String> {
    let stuck = run.told.iter().filter_map(|event| match event {
        Event::Stuck { id, stuck } if stuck.stage <= Stage::Applied => Some(format!(
            "{id} is said to be stuck before {} since {}: {}\n    {:?}",
            stuck.stage.as_str(),
            show_time(stuck.since),
            stuck.reason.as_str(),
            run.journeys.get(id)
        )),
        _ => None,
    });
    let live = run.settled.values().filter(|journey| journey.outcome == Some(Outcome::Live));
    let untold = live.filter_map(|journey| Some(format!("{}: {journey:?}", Hands::untold(journey)?)));
    stuck.chain(untold).collect()
}

/// The plain run, asked after every step.
fn plain(
    deliveries: &[Delivery],
    end: Time,
    truth: &Truth,
    slip: i64,
    wrong: &mut Vec<(&'static str, String)>,
) -> (Run, bool) {
    let mut run = Run::default();
    let mut lived = BTreeSet::new();
    let mut counted: BTreeMap<JourneyId, Option<Outcome>> = BTreeMap::new();
    for (step, delivery) in deliveries.iter().enumerate() {
        let now = delivery.at();
        run.advance(now);
        run.deliver(now, delivery);
        for journey in run.journeys.values().filter(|journey| journey.outcome == Some(Outcome::Live)) {
            if journey.subject == Subject::Image && lived.insert(journey.id) {
                let true_now = now - START.0 + slip;
                if !lives(journey, truth, true_now.0) {
                    wrong.push(("live", format!("told live at {}: {journey:?}", show_time(now))));
                }
            }
        }
        let waits = |journey: &&Journey| {
            journey.held.is_none() && journey.blind.is_none() && journey.stuck.is_none() && !journey.settled
        };
        // Asked for at every eighth step: it costs as much as an observation.
        if step % 8 == 0
            && let Some(journey) = run.journeys.values().find(waits)
            && run.deadline().is_none()
        {
            wrong.push(("waits", format!("at {} nothing is due for {journey:?}", show_time(now))));
        }
        for (id, journey) in &run.settled {
            if counted.insert(*id, journey.outcome).is_some_and(|before| before != journey.outcome) {
                wrong.push(("totals", format!("at {} another outcome: {journey:?}", show_time(now))));
            }
        }
    }
    run.finish(end);
    let close = is_close(&run.settled_at, deliveries);
    (run, close)
}

/// Something was said about as late as something settled: then another order is on the other side of the window's end.
fn is_close(settles: &[Time], deliveries: &[Delivery]) -> bool {
    let news = |delivery: &&Delivery| match delivery {
        Delivery::Observation(said) => {
            !matches!(said.fact, Fact::LookCompleted { .. } | Fact::LookFailed { .. })
        }
        Delivery::Restart(_) => true,
    };
    deliveries.iter().filter(news).any(|delivery| {
        let at = delivery.at().0;
        settles.iter().any(|settled| (settled.0 - at).abs() <= CLOSE)
    })
}

/// Some rollout of its image was complete at that destination by then.
fn lives(journey: &Journey, truth: &Truth, by: i64) -> bool {
    let destination = &journey.destination;
    let place = (destination.cluster_uid.clone(), destination.workload.clone());
    let Some(spells) = truth.places.get(&place) else { return false };
    // Until the registry is asked again, a moved tag is what it was.
    let digest = journey.digest.as_ref().filter(|_| !truth.moved(&journey.image.to_string()));
    Rollout::all(spells, &destination.container).iter().any(|rollout| {
        **rollout.image == *journey.image.to_string()
            && rollout.live(&destination.container, digest).is_some_and(|live| live <= by)
    })
}

/// Rollouts that were complete in truth, and that no settled journey tells to be live.
fn untold(run: &Run, truth: &Truth, end: i64) -> Vec<String> {
    let mut untold = Vec::new();
    for ((cluster, key), spells) in &truth.places {
        let containers: BTreeSet<&Arc<str>> =
            spells.iter().flat_map(|s| s.images.iter().map(|(n, _)| n)).collect();
        for container in containers {
            let rollouts = Rollout::all(spells, container);
            let mut before: Option<&Rollout<'_>> = None;
            for rollout in &rollouts {
                let known = before.replace(rollout);
                let Some(live) = rollout.live(container, None) else { continue };
                // What a moved tag meant is for its pods to say, and what was over at once nobody saw for certain.
                let moved = truth.moved(rollout.image) || rollout.over_by(live + LATE);
                if rollout.before() || known.is_none() || moved || end - live < SETTLES_WITHIN {
                    continue;
                }
                let told = run.settled.values().any(|journey| {
                    journey.destination.cluster_uid == *cluster
                        && journey.destination.workload == *key
                        && *journey.destination.container == **container
                        && **rollout.image == *journey.image.to_string()
                        && (journey.outcome == Some(Outcome::Live) && near(journey, rollout.at())
                            || ended_before(journey, live))
                });
                if !told {
                    let (at, live) = (show_time(START + rollout.at()), show_time(START + live));
                    untold.push(format!(
                        "nobody tells of {} at {key} ({cluster}), applied {at}, live {live}",
                        rollout.image
                    ));
                }
            }
        }
    }
    untold
}

/// Numbers of pods that were written and reached in truth, and that no settled journey tells of.
fn unresized(run: &Run, truth: &Truth, end: i64) -> Vec<String> {
    let mut untold = Vec::new();
    for ((cluster, key), scales) in &truth.scales {
        let spells = truth.places.get(&(cluster.clone(), key.clone())).map_or(&[][..], |spells| spells);
        // Another template for no pods at all is held, whatever becomes of it.
        let held = |scale: &Scaled| scale.replicas == 0 && spells.iter().any(|spell| spell.at == scale.at);
        let shown = |scale: &&Scaled| {
            scale.by_manifest && !held(scale) && truth.showed(key, scale.replicas, scale.at)
        };
        for scale in scales.iter().filter(shown) {
            let Some(reached) = scale.reached.filter(|reached| end - reached >= SETTLES_WITHIN) else {
                continue;
            };
            let told = run.settled.values().any(|journey| {
                journey.destination.cluster_uid == *cluster
                    && journey.destination.workload == *key
                    && (near(journey, scale.at)
                        || ended_before(journey, reached)
                        || spans(journey, scale.at, reached))
            });
            if !told {
                let (at, by) = (show_time(START + scale.at), show_time(START + reached));
                untold
                    .push(format!("nobody tells that {key} got {} pods, from {at} to {by}", scale.replicas));
            }
        }
    }
    untold
}

/// It was applied before, and live with that.
fn spans(journey: &Journey, at: i64, reached: i64) -> bool {
    let told = |stage| journey.stages.evidence(stage).map(|at| at.interval);
    told(Stage::Applied).is_some_and(|applied| applied.not_before <= START + at)
        && told(Stage::Live).is_some_and(|live| live.not_after >= START + reached)
}

/// Another desire came before it was live.
fn ended_before(journey: &Journey, live: i64) -> bool {
    let over = !matches!(journey.outcome, None | Some(Outcome::Live | Outcome::Unknown));
    over && journey.ended.is_some_and(|ended| ended.not_before <= START + live)
}

/// Sources overtake each other by up to three seconds, before and after.
const CLOSE: i64 = 6000;
const ANOTHER_ORDER: &str = "another order";

/// Two watches are apart by less, in milliseconds.
const LATE: i64 = 1000;
/// Twice the slowest look, a settle window, and lateness.
const SETTLES_WITHIN: i64 = 60_000;

fn near(journey: &Journey, applied: i64) -> bool {
    let told = journey.stages.evidence(knotmeter::tracker::Stage::Applied);
    told.is_some_and(|told| {
        let at = START + applied;
        told.interval.not_before <= at + 1000 && at <= told.interval.not_after + 1000
    })
}
