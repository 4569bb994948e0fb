//! Every delivery of every scenario against its truth: when it passed each stage, and how that is known.

use std::collections::{BTreeMap, BTreeSet};

use knotmeter::observation::{Basis, Interval};
use knotmeter::tracker::{Journey, Outcome, Stage, StageState, Subject, Trigger};

use super::play::{Fleet, play, watch};
use super::truth::{Delivery, Live};

/// Controllers write whole seconds, and the driver asked the pods twice a second.
const CLOCK_MILLIS: i64 = 1_000;
/// The pods are ready before the controller that counts them says so, and old ones may have yet to go.
const COUNTED_MILLIS: i64 = 2_500;

/// How often each stage is known on which basis.
type Bases = BTreeMap<(Stage, String), usize>;

#[test]
fn every_delivery_goes_live_with_its_stages_and_nothing_is_said_to_be_stuck() {
    let fleet = play("01-deliveries");
    let bases = check(&fleet);
    assert!(fleet.told.is_empty(), "{}", fleet.told_lines());
    // A tag that moved is in the same list of tags: no scan tells of it.
    let unknown = [(Stage::Detected, 1), (Stage::Committed, 0), (Stage::Fetched, 0)];
    for (stage, unknown) in unknown {
        let (told, other) = told_by_objects(&bases, stage);
        assert_eq!((told + other, other), (36, unknown), "{}: {bases:?}", stage.as_str());
    }
}

/// A manifest says `api`, and the kustomization beside it which image that stands for: Docker Hub has nothing to do
/// with it.
#[test]
fn a_name_that_stands_for_an_image_is_not_asked_for() {
    let mut asked = BTreeSet::new();
    watch("07-config-forgotten", |tracker, _| {
        asked.extend(tracker.interests().repositories.into_keys().map(|repository| repository.to_string()));
    });
    assert!(asked.contains("127.0.0.1:15000/team/api"), "{asked:?}");
    assert!(asked.iter().all(|repository| repository.starts_with("127.0.0.1:15000/")), "{asked:?}");
}

/// The journey of a delivery to one destination.
pub fn journey_of<'a>(fleet: &'a Fleet, delivery: &Delivery, live: &Live) -> &'a Journey {
    let all = fleet.played.journeys().into_iter().filter(|journey| {
        live.is_at(journey)
            && journey.subject == Subject::Image
            && (&journey.image.repository, &journey.image.tag)
                == (&delivery.image.repository, &delivery.image.tag)
            && journey.digest.as_ref() == Some(&delivery.digest)
            && journey.opened.not_after >= delivery.pushed.not_before
    });
    // An image may come back later.
    let all: Vec<&Journey> = all.collect();
    let found = all.iter().find(|journey| journey.outcome == Some(Outcome::Live)).or(all.first());
    found.copied().unwrap_or_else(|| {
        let lines = fleet.played.lines().join("\n");
        panic!("no journey of {} in {}\n{lines}", delivery.image, live.namespace)
    })
}

/// Each image that the driver saw go live has a journey that did, with its stages where the driver saw them.
pub fn check(fleet: &Fleet) -> Bases {
    let mut bases = Bases::new();
    let mut wrong: Vec<String> = Vec::new();
    for delivery in &fleet.truth.deliveries {
        for live in &delivery.live {
            let journey = journey_of(fleet, delivery, live);
            let name = format!("{} in {}", delivery.image, live.namespace);
            for stage in Stage::ALL {
                let basis =
                    journey.stages.evidence(stage).map_or("unknown".into(), |at| at.basis.to_string());
                *bases.entry((stage, basis)).or_default() += 1;
            }
            let mut say = |what: String| wrong.push(format!("{name}: {what}"));
            // The next one was pushed before all its pods ran: it is wanted no more.
            let overtaken = fleet.truth.deliveries.iter().any(|next| {
                next.image.repository == delivery.image.repository
                    && next.pushed.not_before > delivery.pushed.not_after
                    && next.pushed.not_before < live.at
            });
            let outcome = if overtaken { Outcome::Superseded } else { Outcome::Live };
            // Where nobody commits, its artifact names it.
            let by_artifact = delivery.committed.is_empty();
            if by_artifact != (journey.stages.state(Stage::Committed) == StageState::Skipped) {
                say(format!("committed is {:?}", journey.stages.state(Stage::Committed)));
            }
            if journey.outcome != Some(outcome) || journey.trigger != Trigger::Push {
                say(format!("{:?} by {}", journey.outcome, journey.trigger.as_str()));
            }
            if journey.destination.engine != "flux" {
                say(format!("engine {}", journey.destination.engine));
            }
            let mut meets = |stage: Stage, truth: Interval, after: i64| match journey.stages.evidence(stage) {
                Some(at) => {
                    let from = truth.not_before + -CLOCK_MILLIS;
                    if at.interval.not_after < from || at.interval.not_before > truth.not_after + after {
                        say(format!("{} {:?} is not {truth:?}", stage.as_str(), at.interval));
                    }
                }
                None if overtaken => {}
                None => say(format!("{} is unknown", stage.as_str())),
            };
            meets(Stage::Pushed, delivery.pushed, CLOCK_MILLIS);
            let to_main = delivery
                .committed
                .iter()
                .find(|commit| commit.folder == live.namespace && commit.branch == "main");
            if let Some(commit) = to_main {
                meets(Stage::Committed, commit.pushed, CLOCK_MILLIS);
            }
            let from = delivery.committed.iter().map(|commit| commit.pushed.not_before).min();
            let on_the_way = Interval::new(from.unwrap_or(delivery.pushed.not_before), live.at);
            meets(Stage::Fetched, on_the_way, 0);
            meets(Stage::Applied, on_the_way, 0);
            meets(Stage::Live, Interval::at(live.at), COUNTED_MILLIS);
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), fleet.played.lines().join("\n"));
    bases
}

/// How many of a stage's times the engine's own objects told, and how many it did not.
pub fn told_by_objects(bases: &Bases, stage: Stage) -> (usize, usize) {
    let own = Basis::StatusField.to_string();
    let of = bases.iter().filter(|((of, _), _)| *of == stage);
    let (told, other): (Vec<_>, Vec<_>) = of.partition(|((_, basis), _)| *basis == own);
    let sum = |all: Vec<(_, &usize)>| all.into_iter().map(|(_, count)| count).sum();
    (sum(told), sum(other))
}
