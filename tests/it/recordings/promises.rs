//! What holds for every recording, whatever is true in it.

use std::collections::{BTreeMap, BTreeSet};

use knotmeter::tracker::{Event, Journey, JourneyId, Stage};

use super::drive::SCENARIOS;
use super::replay::{Recording, play};

fn settled(events: &[Event]) -> Vec<&Journey> {
    let settled = events.iter().filter_map(|event| match event {
        Event::Settled(journey) => Some(&**journey),
        _ => None,
    });
    settled.collect()
}

#[test]
fn a_recording_played_twice_gives_the_same_journeys_and_events() {
    for scenario in SCENARIOS {
        let (first, second) = (play(scenario), play(scenario));
        assert_eq!(first.lines(), second.lines(), "{scenario}");
        assert_eq!(first.events, second.events, "{scenario}");
        assert!(!first.events.is_empty(), "{scenario}");
    }
}

#[test]
fn what_is_said_twice_changes_no_journey_and_no_number() {
    for scenario in SCENARIOS {
        let once = play(scenario);
        let twice = Recording::read(scenario).said_twice().play();
        let journeys = |played: &super::replay::Played| -> Vec<Journey> {
            played.journeys().into_iter().cloned().collect()
        };
        assert_eq!(once.lines(), twice.lines(), "{scenario}");
        assert_eq!(journeys(&once), journeys(&twice), "{scenario}");
        assert_eq!(settled(&once.events), settled(&twice.events), "{scenario}");
        assert_eq!(once.restarts(), twice.restarts(), "{scenario}");
    }
}

#[test]
fn every_ended_journey_settles_once_and_what_settled_stays_as_it_was() {
    for scenario in SCENARIOS {
        let played = play(scenario);
        let mut told: BTreeMap<JourneyId, &Journey> = BTreeMap::new();
        let mut ids: BTreeSet<JourneyId> = BTreeSet::new();
        for journey in settled(&played.events) {
            assert!(told.insert(journey.id, journey).is_none(), "{scenario}: {} twice", journey.image);
            for id in journey.aliases.iter().chain([&journey.id]) {
                assert!(ids.insert(*id), "{scenario}: {id} of {} is another's too", journey.image);
            }
        }
        for journey in played.journeys().into_iter().filter(|journey| !journey.is_open()) {
            assert_eq!(told.get(&journey.id), Some(&journey), "{scenario}");
        }
    }
}

#[test]
fn no_duration_is_negative_and_no_stage_comes_before_the_one_it_follows() {
    for scenario in SCENARIOS {
        let played = play(scenario);
        for journey in played.journeys() {
            // One clock for driver, API server and node: nothing can contradict anything.
            assert_eq!(journey.conflicts, 0, "{scenario}: {}", journey.image);
            assert!(journey.held_seconds >= 0.0, "{scenario}: {}", journey.image);
            let whole = [journey.image_to_live(), journey.change_to_live()];
            let stages = Stage::ALL.into_iter().map(|stage| journey.stage_duration(stage));
            for sample in stages.chain(whole).flatten() {
                assert!(
                    !sample.negative && sample.seconds >= 0.0,
                    "{scenario}: {} {sample:?}",
                    journey.image
                );
            }
            let known: Vec<_> =
                Stage::ALL.into_iter().filter_map(|stage| journey.stages.evidence(stage)).collect();
            for pair in known.windows(2) {
                let (earlier, later) = (pair[0].interval, pair[1].interval);
                let in_order = earlier.not_before <= later.not_before && earlier.not_after <= later.not_after;
                assert!(in_order, "{scenario}: {} {earlier:?} {later:?}", journey.image);
            }
        }
    }
}

#[test]
fn pods_of_one_template_run_different_digests_only_where_the_tag_moved_under_them() {
    for scenario in SCENARIOS {
        let recording = Recording::read(scenario);
        let end = recording.end();
        let mut mixed = BTreeSet::new();
        recording.watch(end, |tracker, now| {
            let destinations = tracker.destinations(now);
            mixed.extend(destinations.iter().filter(|s| s.mixed_digests).map(|s| s.destination.to_string()));
        });
        let expected: &[&str] = match scenario {
            "03-moving-tag" => &["lab/media/deployment/player/player"],
            _ => &[],
        };
        assert_eq!(mixed.into_iter().collect::<Vec<_>>(), expected, "{scenario}");
    }
}

#[test]
fn only_a_recording_in_trouble_has_something_stuck() {
    for scenario in SCENARIOS {
        let played = play(scenario);
        let stuck: BTreeSet<JourneyId> = played
            .events
            .iter()
            .filter_map(|event| if let Event::Stuck { id, .. } = event { Some(*id) } else { None })
            .collect();
        // Their progress deadlines passed; 05 and 11 have one of 600 s.
        let expected = match scenario {
            "02-missing-tag" | "04-crashloop" | "10a-quota-exceeded" | "10c-pull-denied" => 1,
            "10b-unschedulable" => 2,
            _ => 0,
        };
        assert_eq!(stuck.len(), expected, "{scenario}");
        let open = played.journeys().into_iter().filter(|journey| journey.stuck.is_some()).count();
        assert_eq!(open, 0, "{scenario}: stuck although its trouble is over");
    }
}
