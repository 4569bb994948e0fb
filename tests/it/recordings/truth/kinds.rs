//! Workloads other than Deployments, and a watch that shows too little.

use knotmeter::tracker::{Hold, Outcome, Stage, StageState};

use super::super::drive::clock;
use super::super::expected::{check, set};
use super::super::replay::{Recording, play, play_until, short};

#[test]
fn stateful_sets_and_daemon_sets_are_live_with_their_last_pod() {
    let played = play("06-statefulset-daemonset");
    let db = |at, image| set(at, "StatefulSet/db", "db", image);
    let agent = |at, image| set(at, "DaemonSet/agent", "agent", image);
    let collector = |at, image| set(at, "DaemonSet/collector", "collector", image);
    check(
        &played,
        &[
            db("23:52:20.266", "data/db:1.0.0").live("data/db 1.0.0", 3),
            agent("23:52:20.551", "ops/agent:1.0.0").live("ops/agent 1.0.0", 1),
            collector("23:52:21.528", "ops/collector:1.0.0").live("ops/collector 1.0.0", 1),
            db("23:52:30.549", "data/db:1.1.0").live("data/db 1.1.0", 3),
            agent("23:52:51.423", "ops/agent:1.1.0").live("ops/agent 1.1.0", 1),
            collector("23:52:57.468", "ops/collector:1.1.0").live("ops/collector 1.1.0", 1),
        ],
    );
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_cron_job_is_live_when_the_first_job_with_its_image_runs() {
    let played = play("12-job-cronjob");
    let digest = |at, image| set(at, "CronJob/digest", "digest", image);
    // The Jobs that nobody's CronJob made are no destinations; 1.2.0 ran before it exited.
    check(
        &played,
        &[
            digest("23:52:20.375", "reports/digest:1.0.0")
                .live("reports/digest 1.0.0", 1)
                .seen_as("Job/digest-29920313"),
            digest("23:53:17.437", "reports/digest:1.1.0")
                .live("reports/digest 1.1.0", 1)
                .seen_as("Job/digest-29920314"),
            digest("23:54:16.030", "reports/digest:1.2.0")
                .live("reports/digest 1.2.0", 1)
                .seen_as("Job/digest-29920315"),
        ],
    );
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_cron_job_is_held_until_its_next_minute() {
    for (at, image, until) in [
        ("23:52:40", "reports/digest:1.0.0", "23:53:00"),
        ("23:53:20", "reports/digest:1.1.0", "23:54:00"),
        ("23:53:59", "reports/digest:1.1.0", "23:54:00"),
        ("23:54:30", "reports/digest:1.2.0", "23:55:00"),
    ] {
        let played = play_until("12-job-cronjob", at);
        let journey = played.journey(image);
        let held = journey.held.unwrap_or_else(|| panic!("{image} at {at}: not held"));
        assert_eq!(held.hold, Hold::Schedule, "{at}");
        assert_eq!(held.until, Some(clock(until)), "{at}");
        assert_eq!(journey.stages.reached(), Some(Stage::Applied), "{at}");
    }
}

#[test]
fn without_pods_nothing_is_said_to_run() {
    // The recording has the Deployment alone and ends where the API server stops.
    let played = play("15-watch-behaviours");
    let journeys = played.journeys();
    let applied: Vec<_> = journeys.iter().map(|journey| short(journey)).collect();
    assert_eq!(applied, ["watch/echo:1.0.0", "watch/echo:1.1.0"]);
    for (journey, set) in journeys.iter().zip(["00:02:44.298", "00:03:18.484"]) {
        let at = journey.stages.evidence(Stage::Applied).expect("applied").interval;
        let set = clock(set);
        assert!(at.not_before <= set + 1000 && at.not_after >= set && at.not_after <= set + 2000, "{at:?}");
        for stage in [Stage::Started, Stage::Ready, Stage::Live] {
            assert_eq!(journey.stages.state(stage), StageState::Unknown);
        }
        assert_ne!(journey.outcome, Some(Outcome::Live));
    }
    assert_eq!(played.restarts(), 0);
}

#[test]
fn what_was_live_without_being_seen_is_not_called_superseded() {
    // 1.0.0 answered from all five pods at 00:02:45.770, and 1.1.0 was set half a minute later.
    let played = play("15-watch-behaviours");
    assert_eq!(played.journey("watch/echo:1.0.0").outcome, Some(Outcome::Unknown));
}

#[test]
fn where_pods_may_not_be_watched_a_rollout_is_blind_and_never_stuck() {
    let play = |until| {
        let recording = Recording::read("15-watch-behaviours").live_budget(10.0);
        recording.refused("pods").play_until(until)
    };
    for at in ["00:02:50", "00:03:10", "00:03:25", "00:03:50", "00:04:00"] {
        let played = play(at);
        let journey = played.journeys().into_iter().next_back().expect("a journey");
        assert_eq!(journey.stuck, None, "{at}");
        assert_eq!(journey.blind.as_deref(), Some("cluster/lab"), "{at}");
    }
    // What was decided by the next template is told, blind or not.
    let settled = play("00:03:50");
    assert!(settled.journey("watch/echo:1.0.0").settled);
}
