//! Deliveries without a fault, under the very budgets that name every fault: none is ever called stuck.
//!
//! `KNOTMETER_DELIVERIES=200` runs more of them.

use std::collections::BTreeSet;
use std::time::Duration;

use knotmeter::demo::{Engine, Entry, Happened, Intervals, Options};
use knotmeter::tracker::{Outcome, Stage};
use tokio::sync::broadcast::error::RecvError;

use super::lanes::Lane;
use crate::e2e::Timed;

/// Deliveries where nobody says how many.
const DELIVERIES: usize = 40;
const APPS: [&str; 4] = ["web", "api", "worker", "cart"];
const ENVIRONMENTS: [&str; 2] = ["staging", "prod"];
const PER_ROUND: usize = APPS.len() * ENVIRONMENTS.len();
/// Rounds of one world: it must come up, and the last journey must settle.
const ROUNDS_PER_WORLD: usize = 4;
/// Worlds at the same time.
const WORLDS_MAX: usize = 9;

/// Every interval is so long that a budget is twice the intervals that govern it, and not the least that there is.
fn options(seed: u64) -> Options {
    let every = Duration::from_secs(5);
    let intervals = Intervals {
        scan: every,
        automation: every,
        source: every,
        kustomization: every,
        ..Intervals::default()
    };
    let (pull_delay, ready_delay) = (Duration::from_millis(50), Duration::from_millis(50));
    Options {
        engine: Engine::Flux,
        intervals,
        pull_delay,
        ready_delay,
        // What Kubernetes takes where nobody writes it.
        progress_deadline_seconds: 600,
        seed,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_deliveries_are_never_called_stuck() {
    let _timed = Timed::part("healthy deliveries");
    let wanted = std::env::var("KNOTMETER_DELIVERIES").ok().and_then(|count| count.parse().ok());
    let rounds = wanted.unwrap_or(DELIVERIES).div_ceil(PER_ROUND);
    let worlds = rounds.div_ceil(ROUNDS_PER_WORLD).min(WORLDS_MAX);
    let share = |at: usize| rounds / worlds + usize::from(at < rounds % worlds);
    let worlds = (0..worlds).map(|at| deliver(at as u64, share(at)));
    let delivered: usize = futures::future::join_all(worlds).await.into_iter().sum();
    eprintln!("{delivered} deliveries, none stuck");
    assert_eq!(delivered, rounds * PER_ROUND);
}

/// Delivers every app to every environment so many times; answers how many of them Knotmeter counted live.
async fn deliver(seed: u64, rounds: usize) -> usize {
    let mut lane = Lane::start(options(seed)).await;
    let mut events = lane.running.events.subscribe();
    let told = tokio::spawn(async move {
        let mut wrong = BTreeSet::new();
        loop {
            match events.recv().await {
                Ok(record) if record.name == "stuck" => drop(wrong.insert(record.json.to_string())),
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => drop(wrong.insert(format!("{count} events were missed"))),
                Err(RecvError::Closed) => return wrong,
            }
        }
    });
    for round in 1..=rounds {
        let tag = format!("v1.0.{round}");
        for app in APPS {
            lane.world.push(&format!("team/{app}"), &tag).await.unwrap();
        }
        for (app, environment) in
            APPS.iter().flat_map(|app| ENVIRONMENTS.map(|environment| (app, environment)))
        {
            let is_live = |entry: &Entry| {
                matches!(&entry.what, Happened::Live { namespace, name, image, .. }
                    if namespace == environment && name == app && image.ends_with(&format!("team/{app}:{tag}")))
            };
            lane.patiently(&format!("{app} {tag} in {environment}"), lane.world.happened(is_live)).await;
        }
    }
    // The world's own record says that all of them arrived; Knotmeter must say so of each, and of none that it was stuck.
    let truly = lane.world.truth().iter().filter(|entry| is_delivery(entry)).count();
    let mut snapshots = lane.running.snapshots.clone();
    let settled = async {
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let live = |outcome| outcome == Some(Outcome::Live);
            let count = snapshot.journeys().filter(|one| one.settled && live(one.outcome)).count();
            if count >= truly {
                return;
            }
            snapshots.changed().await.expect("it runs");
        }
    };
    lane.patiently("all of them have settled", settled).await;
    for journey in lane.running.snapshots.borrow().journeys().filter(|one| one.settled) {
        // A tag alone among a release's values is as good as a whole image in a manifest.
        let stages = [Stage::Detected, Stage::Committed, Stage::Fetched, Stage::Applied];
        let known = stages.iter().all(|stage| journey.stages.evidence(*stage).is_some());
        assert!(journey.commit.is_some() && known, "{journey:?}");
    }
    let metrics = format!("{}/metrics", lane.page());
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let counted = counted(&metrics);
    assert!(!metrics.contains("knotmeter_journey_stuck{"), "{metrics}");
    lane.pushed = 0;
    lane.running.stop().await;
    lane.world.stop().await;
    let wrong = told.await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!((counted, truly), (rounds * PER_ROUND, rounds * PER_ROUND), "{metrics}");
    counted
}

/// An image after the first one went live, by the world's own record.
fn is_delivery(entry: &Entry) -> bool {
    matches!(&entry.what, Happened::Live { image, .. } if !image.ends_with(":v1.0.0"))
}

/// `knotmeter_journeys_total` of those that went live.
fn counted(metrics: &str) -> usize {
    let of_live =
        |line: &&str| line.starts_with("knotmeter_journeys_total{") && line.contains(r#"outcome="live""#);
    let value =
        |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    metrics.lines().filter(of_live).map(value).sum::<f64>() as usize
}
