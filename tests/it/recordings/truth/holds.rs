//! Waiting that somebody chose, and rollouts that bring no other image.

use knotmeter::tracker::{Hold, Stage};

use super::super::expected::{check, set};
use super::super::replay::{Played, play, play_until};

/// The hold that a journey shows at a moment.
fn held(scenario: &str, image: &str, at: &str) -> Option<Hold> {
    let played = play_until(scenario, at);
    let journey = played.journey(image);
    assert!(journey.held.is_none() || (journey.is_open() && journey.stuck.is_none()), "{image} at {at}");
    journey.held.map(|held| held.hold)
}

/// The journey waited by choice that long, give or take the second in which each end was seen.
fn waited(played: &Played, image: &str, seconds: f64) {
    let journey = played.journey(image);
    let off = (journey.held_seconds - seconds).abs();
    assert!(off <= 1.0, "{image}: {} s, not {seconds} s", journey.held_seconds);
}

#[test]
fn what_is_set_while_paused_is_held_until_somebody_resumes() {
    let played = play("13-paused-annotation");
    let editor = |at, image| set(at, "Deployment/editor", "editor", image);
    check(
        &played,
        &[
            editor("00:11:13.998", "cms/studio:1.0.0").live("cms/studio 1.0.0", 2),
            editor("00:11:22.010", "cms/studio:1.1.0").live("cms/studio 1.1.0", 2),
            editor("00:11:55.622", "cms/studio:1.2.0").live("cms/studio 1.2.0", 2),
        ],
    );
    let scenario = "13-paused-annotation";
    for at in ["00:11:22.500", "00:11:27", "00:11:32"] {
        assert_eq!(held(scenario, "cms/studio:1.1.0", at), Some(Hold::Paused), "{at}");
        let played = play_until(scenario, at);
        assert_eq!(played.journey("cms/studio:1.1.0").stages.reached(), Some(Stage::Applied), "{at}");
    }
    assert_eq!(held(scenario, "cms/studio:1.1.0", "00:11:32.600"), None);
    // Set 00:11:22.010, resumed 00:11:32.084, all pods 1.5 s later.
    waited(&played, "cms/studio:1.1.0", 10.07);
    let change = played.journey("cms/studio:1.1.0").change_to_live().expect("live");
    assert!((change.seconds - 1.2).abs() <= 0.4 + change.uncertainty_seconds, "{change:?}");
}

#[test]
fn a_rollout_paused_in_the_middle_is_ready_and_held() {
    let scenario = "13-paused-annotation";
    for at in ["00:11:56.500", "00:12:05.900"] {
        assert_eq!(held(scenario, "cms/studio:1.2.0", at), Some(Hold::Paused), "{at}");
        let played = play_until(scenario, at);
        assert_eq!(played.journey("cms/studio:1.2.0").stages.reached(), Some(Stage::Ready), "{at}");
    }
    assert_eq!(held(scenario, "cms/studio:1.2.0", "00:12:06.400"), None);
    // Paused 00:11:55.900, resumed 00:12:05.994.
    waited(&play(scenario), "cms/studio:1.2.0", 10.09);
}

#[test]
fn a_pause_without_a_journey_holds_the_destination_alone() {
    let played = play_until("13-paused-annotation", "00:11:21.500");
    assert_eq!(played.status("editor").hold, Some(Hold::Paused));
    assert_eq!(played.journeys().len(), 1);
    assert_eq!(played.journey("cms/studio:1.0.0").held, None);
}

#[test]
fn rollouts_without_another_image_are_restarts_and_a_change_of_metadata_is_nothing() {
    // A template annotation 00:11:38.630, metadata only 00:11:44.992, a restart 00:11:49.062.
    for (at, restarts) in [("00:11:38", 0), ("00:11:44.900", 1), ("00:11:49", 1), ("00:11:55.500", 2)] {
        let played = play_until("13-paused-annotation", at);
        assert_eq!(played.restarts(), restarts, "{at}");
        assert_eq!(played.journeys().len(), 2, "{at}");
    }
    assert_eq!(play("13-paused-annotation").restarts(), 2);
}

#[test]
fn a_partition_holds_a_stateful_set_until_it_is_lifted() {
    let scenario = "06-statefulset-daemonset";
    // db-2 answers with 1.1.0 from 23:52:32.931, the partition falls at 23:52:42.711.
    for at in ["23:52:31", "23:52:36", "23:52:42.700"] {
        assert_eq!(held(scenario, "data/db:1.1.0", at), Some(Hold::Partition), "{at}");
    }
    let played = play_until(scenario, "23:52:42");
    assert_eq!(played.journey("data/db:1.1.0").stages.reached(), Some(Stage::Ready));
    assert_eq!(held(scenario, "data/db:1.1.0", "23:52:44"), None);
    waited(&play(scenario), "data/db:1.1.0", 12.16);
}

#[test]
fn on_delete_holds_a_daemon_set_until_its_pod_is_deleted() {
    let scenario = "06-statefulset-daemonset";
    for at in ["23:52:58", "23:53:05.600"] {
        assert_eq!(held(scenario, "ops/collector:1.1.0", at), Some(Hold::OnDelete), "{at}");
        let played = play_until(scenario, at);
        assert_eq!(played.journey("ops/collector:1.1.0").stages.reached(), Some(Stage::Applied), "{at}");
    }
    // Set 23:52:57.468, deleted 23:53:05.634, the new pod answers 1.1 s later.
    waited(&play(scenario), "ops/collector:1.1.0", 8.6);
}
