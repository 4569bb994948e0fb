//! What Flux's own updater did, seen from outside, against the git server, its own logs and the driver.

use std::collections::{BTreeMap, BTreeSet};

use knotmeter::observation::Time;
use knotmeter::tracker::{Detected, Event, Pushed};
use serde_json::Value;

use super::super::drive::{text, time};
use super::play::{Fleet, play, watch};
use super::truth::{span, words};

/// What is pushed at the very end is not told before the end.
const SETTLED_MILLIS: i64 = 5_000;
/// A scan's time has whole seconds.
const CLOCK_SECONDS: f64 = 1.0;

fn lines(scenario: &str, file: &str) -> Vec<Value> {
    let text = text(&format!("flux-2.9.0/{scenario}"), file);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn pushed(fleet: &Fleet) -> Vec<&Pushed> {
    fleet
        .played
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Pushed(pushed) => Some(&**pushed),
            _ => None,
        })
        .collect()
}

fn detected(fleet: &Fleet) -> Vec<&Detected> {
    fleet
        .played
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Detected(detected) => Some(&**detected),
            _ => None,
        })
        .collect()
}

fn races(fleet: &Fleet) -> usize {
    fleet.played.events.iter().filter(|event| matches!(event, Event::Raced(_))).count()
}

/// Commits that the robot pushed to `main`, as the git server took them, with the changes that their messages list.
fn robots(scenario: &str, until: Time) -> BTreeMap<String, Vec<String>> {
    let all = lines(scenario, "commits.jsonl.gz");
    let robots = all.iter().skip(1).filter(|line| {
        line["by"] == "flux" && line["branch"] == "main" && span(&line["pushed"]).not_after <= until
    });
    let changes = |message: &str| -> Vec<String> {
        let lines = message.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(" -> "));
        lines.map(|(_, new)| new.to_owned()).collect()
    };
    robots.map(|line| (words(&line["sha"]), changes(line["message"].as_str().expect("text")))).collect()
}

/// Every commit of the robot is told once, with as many references as its message lists, and nobody else's is.
fn check_commits(fleet: &Fleet, scenario: &str) {
    let last = fleet.played.until + -20_000 - SETTLED_MILLIS;
    let truth = robots(scenario, last);
    let told = pushed(fleet);
    let mut seen = BTreeSet::new();
    for pushed in &told {
        assert!(seen.insert(pushed.commit.to_string()), "{} was told twice", pushed.commit);
        assert_eq!(&*pushed.updater.repository, super::git::URL);
        assert_eq!((pushed.updater.engine, &*pushed.updater.cluster), ("flux", "lab"));
        if let Some(changes) = truth.get(&*pushed.commit) {
            assert_eq!(pushed.references, changes.len(), "{}: {changes:?}", pushed.commit);
        }
    }
    let all: BTreeSet<String> = robots(scenario, fleet.played.until).into_keys().collect();
    assert!(seen.is_subset(&all), "a person's commit was told: {:?}", seen.difference(&all));
    let missed: Vec<&String> = truth.keys().filter(|sha| !seen.contains(*sha)).collect();
    assert!(missed.is_empty(), "not told: {missed:?}");
}

/// Every new tag is told to be detected as much later than its push as the reflector's own log says.
fn check_lags(fleet: &Fleet, scenario: &str) -> usize {
    let logs = lines(scenario, "logs.jsonl.gz");
    let scans: Vec<(String, Time)> = logs
        .iter()
        .map(|log| &log["line"])
        .filter(|line| line["msg"].as_str().is_some_and(|msg| msg.starts_with("successful scan: found")))
        .map(|line| (words(&line["name"]), time(&line["ts"])))
        .collect();
    let mut checked = 0;
    for detected in detected(fleet) {
        let name = detected.repository.path().rsplit('/').next().expect("a name");
        let pushes = fleet.truth.deliveries.iter().filter(|delivery| {
            delivery.image.repository == detected.repository
                && delivery.image.tag.as_ref() == Some(&detected.tag)
        });
        let Some(pushed) = pushes.map(|delivery| delivery.pushed).min_by_key(|pushed| pushed.not_after)
        else {
            continue;
        };
        let scan = scans.iter().filter(|(of, at)| of == name && *at >= pushed.not_before).map(|(_, at)| *at);
        let truth = scan.min().expect("the log has the scan").seconds_since(pushed.not_before);
        let (lag, bar) = (detected.lag.seconds, detected.lag.uncertainty_seconds + CLOCK_SECONDS);
        assert!((lag - truth).abs() <= bar, "{}: {lag} ± {bar} s is not {truth} s", detected.tag);
        checked += 1;
    }
    checked
}

#[test]
fn each_commit_of_the_robot_and_each_lag_of_its_scans_is_as_the_server_and_its_log_say() {
    let fleet = play("01-deliveries");
    check_commits(&fleet, "01-deliveries");
    assert_eq!(races(&fleet), 0);
    let told = detected(&fleet);
    let tags: BTreeSet<String> =
        told.iter().map(|told| format!("{}:{}", told.repository, told.tag)).collect();
    assert_eq!(tags.len(), told.len(), "each once");
    let checked = check_lags(&fleet, "01-deliveries");
    // Deliveries but the tag that moved: that is in no scan.
    let new: BTreeSet<_> = fleet.truth.deliveries.iter().map(|delivery| delivery.image.to_string()).collect();
    assert_eq!(checked, new.len(), "{tags:?}");
    let images: usize = pushed(&fleet).iter().map(|pushed| pushed.images).sum();
    let named: BTreeSet<String> =
        robots("01-deliveries", fleet.played.until).into_values().flatten().collect();
    assert_eq!(images, named.len(), "each image is new once: {named:?}");
    assert!(pushed(&fleet).len() > images, "an image for two folders took two commits");
}

#[test]
fn a_lost_race_is_counted_once_and_a_refused_push_is_none() {
    let mut ages: Vec<f64> = Vec::new();
    let mut pending: Vec<(Time, f64)> = Vec::new();
    let fleet = watch("03-outages", |tracker, now| {
        for scanner in tracker.updaters(now).scanners {
            ages.extend(scanner.age_seconds);
            pending.extend(
                scanner.pending_seconds.filter(|seconds| *seconds > 0.0).map(|seconds| (now, seconds)),
            );
        }
    });
    check_commits(&fleet, "03-outages");
    assert!(check_lags(&fleet, "03-outages") > 5);
    let lost = fleet.truth.faults.iter().filter(|fault| fault.name == "push-race").count();
    assert_eq!(races(&fleet), lost);
    // A stopped reflector: its scans grow old, and what was pushed meanwhile waits.
    let fault = fleet.truth.faults.iter().find(|fault| fault.name == "reflector-down").expect("a fault");
    let stopped = fault.repaired.seconds_since(fault.began);
    let oldest = ages.iter().copied().fold(0.0, f64::max);
    assert!(oldest >= stopped - 10.0, "{oldest} s, and it was stopped for {stopped} s");
    let waited = pending.iter().filter(|(at, _)| (fault.began..fault.repaired).contains(at));
    let waited = waited.map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    assert!(waited > 20.0 && waited <= stopped, "{waited} s of {stopped} s");
    let after: Vec<_> = pending.iter().filter(|(at, _)| *at > fault.ended).collect();
    assert!(after.iter().all(|(_, seconds)| *seconds < 20.0), "{after:?}");
}
