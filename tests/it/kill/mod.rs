//! `knotmeter run` killed at random instants under load: what was said once stays said, and is said once.
//!
//! `load` is the truth: images pushed to Debian's docker-registry, named in git, applied and run in the demo's
//! cluster. `life` is one process after the other on one journal, each killed with SIGKILL. 300 kills by default;
//! `KNOTMETER_KILLS=1000` for more, `KNOTMETER_SEED=7` for other instants.

mod life;
mod load;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::e2e::Timed;
use life::Lives;
use load::{Deployed, Load};

/// Processes side by side, each with a journal of its own: none knows of the others.
const LIVES: u64 = 4;
const KILLS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_doubles_and_invents_nothing() {
    let _timed = Timed::part("kills");
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("KNOTMETER_KILLS").unwrap_or(KILLS);
    let seed = number("KNOTMETER_SEED").unwrap_or(1);
    let load = Load::start().await;
    let mut lives = Vec::new();
    for at in 0..LIVES {
        lives.push(Lives::start(&load, at, seed).await);
    }
    let each = kills.div_ceil(LIVES);
    let mut deployed = Vec::new();
    {
        let killing = join_all(lives.iter_mut().map(|lives| lives.be_killed(each)));
        tokio::pin!(killing);
        // Deploys go on until the last kill.
        loop {
            tokio::select! {
                _ = &mut killing => break,
                next = load.deploy() => deployed.push(next),
            }
        }
    }
    // One that was cut off by the last kill is on its way all the same.
    deployed.extend(load.unfinished().await);
    for lives in &mut lives {
        let told = lives.last_word(deployed.len()).await;
        let wrong = compare(&deployed, &told.journeys, told.total);
        assert!(wrong.is_empty(), "seed {seed}, {}:\n{}\n{}", lives.name(), wrong.join("\n"), lives.errors());
    }
    assert!(deployed.len() >= 8, "only {} images were deployed meanwhile", deployed.len());
    for lives in lives {
        lives.stop().await;
    }
    load.stop().await;
}

/// What is wrong with the settled journeys, against what was deployed.
fn compare(deployed: &[Deployed], journeys: &[Value], total: f64) -> Vec<String> {
    let mut told: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for journey in journeys.iter().filter(|journey| journey["settled"] == true) {
        let text = |key: &str| journey[key].as_str().unwrap_or_default().to_owned();
        let tag = text("image").rsplit(':').next().unwrap_or_default().to_owned();
        told.entry((text("app"), tag)).or_default().push(journey);
    }
    let mut wrong = Vec::new();
    for one in deployed {
        // Nobody lived long enough to ask the registry: then the digest is unknown, and never another one.
        let same = |journey: &Value| journey["digest"].is_null() || journey["digest"] == one.digest.as_str();
        match told.remove(&(one.app.clone(), one.tag.clone())).as_deref() {
            None => wrong.push(format!("lost: {} of {} ({})", one.tag, one.app, one.digest)),
            Some([journey]) if journey["outcome"] == "live" && same(journey) => {}
            Some([journey]) => wrong.push(format!("not so: {} of {}: {journey}", one.tag, one.app)),
            Some(several) => {
                wrong.push(format!("doubled: {} of {}: {} journeys", one.tag, one.app, several.len()));
            }
        }
    }
    wrong.extend(told.values().flatten().map(|journey| format!("invented: {journey}")));
    if total != deployed.len() as f64 {
        wrong.push(format!("journeys_total is {total}, {} were deployed", deployed.len()));
    }
    wrong
}

/// Until something that others do is done.
const SOON: Duration = Duration::from_millis(50);
