//! One journal, two lives: what was known stays known, what happened in between is found, nothing is told twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use knotmeter::app::{self, Running};
use knotmeter::config::{self, Config};
use knotmeter::demo::World;
use knotmeter::observation::Time;
use knotmeter::tracker::{Journey, Outcome, Stage, Trigger};
use serde_json::{Value, json};

use super::keep;
use super::process::{knotmeter, run};
use super::world::{config_of, quick, sources_up};
use super::{Timed, get, until};

/// A Knotmeter with a journal on a world that outlives it.
struct Life {
    running: Running,
    page: String,
}

pub fn configuration(world: &World, journal: &Path) -> Value {
    let mut text = config_of(world.addresses());
    text["journal"] = json!({"path": journal});
    text
}

impl Life {
    async fn begin(world: &World, journal: &Path, cache: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text = configuration(world, journal).to_string();
        let config: Config = config::parse(&text, Path::new("test.yaml")).unwrap();
        let running = app::start(config, cache.to_owned()).await.unwrap();
        let page = format!("http://{}", running.address);
        until("every source is up", async || sources_up(&page, 3).await.then_some(())).await;
        Self { running, page }
    }

    async fn journey(&self, what: &str, fits: impl Fn(&Journey) -> bool) -> Journey {
        until(what, async || {
            let snapshot = self.running.snapshots.borrow().clone();
            snapshot.journeys().find(|journey| fits(journey)).cloned()
        })
        .await
    }

    fn journeys(&self) -> Vec<Journey> {
        self.running.snapshots.borrow().journeys().cloned().collect()
    }

    /// `journeys_total` by its labels, where anything was counted.
    async fn totals(&self) -> BTreeMap<String, f64> {
        let text = reqwest::get(format!("{}/metrics", self.page)).await.unwrap().text().await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("knotmeter_journeys_total"));
        let numbers = lines.filter_map(|line| line.rsplit_once(' '));
        let numbers = numbers.map(|(labels, number)| (labels.to_owned(), number.parse().unwrap()));
        numbers.filter(|(_, number)| *number > 0.0).collect()
    }
}

fn settled_in<'a>(environment: &'a str, image: &'a str) -> impl Fn(&Journey) -> bool + 'a {
    move |journey| {
        journey.settled
            && *journey.destination.environment == *environment
            && journey.image.to_string() == image
    }
}

/// Where a workload is made by hand, which nobody makes again.
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/staging/deployments";

fn extra(image: &str) -> Value {
    let labels = json!({"app": "extra"});
    let pod = json!({"containers": [{"name": "extra", "image": image}]});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "extra", "namespace": "staging"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}

pub struct Ground {
    pub world: World,
    pub folder: tempfile::TempDir,
    pub journal: PathBuf,
    pub cache: PathBuf,
}

pub async fn ground() -> Ground {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let world = World::start(quick()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (journal, cache) = (folder.path().join("journal"), folder.path().join("cache"));
    Ground { world, folder, journal, cache }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_goes_on_where_the_first_ended() {
    let _timed = Timed::part("restart");
    let Ground { world, folder: _folder, journal, cache } = ground().await;
    let image = |tag: &str| format!("{}/team/web:{tag}", world.addresses().registry);
    world.create(DEPLOYMENTS, &extra(&image("v1.0.0"))).await.unwrap();
    let first = Life::begin(&world, &journal, &cache).await;
    let is_extra = |status: &knotmeter::tracker::DestinationStatus| &*status.destination.app == "extra";
    assert!(first.running.snapshots.borrow().destinations.iter().any(is_extra), "it is known");
    world.push("team/web", "v1.0.1").await.unwrap();
    let before = first.journey("v1.0.1 settles in prod", settled_in("prod", &image("v1.0.1"))).await;
    first.journey("and in staging", settled_in("staging", &image("v1.0.1"))).await;
    assert_eq!(before.outcome, Some(Outcome::Live));
    let totals = first.totals().await;
    assert_eq!(totals.values().sum::<f64>(), 2.0, "{totals:?}");
    first.running.stop().await;

    // While nobody watches: a push that goes live, and a workload that is deleted.
    let stopped = Time::from(chrono::Utc::now());
    let push = world.push("team/web", "v1.0.2").await.unwrap();
    world.delete(&format!("{DEPLOYMENTS}/extra")).await.unwrap();
    let second = Life::begin(&world, &journal, &cache).await;
    assert_eq!(second.totals().await, totals, "not one less, and none twice");

    let found = second.journey("v1.0.2 settles in prod", settled_in("prod", &image("v1.0.2"))).await;
    assert_eq!((found.outcome, found.trigger), (Some(Outcome::Live), Trigger::Push));
    let pushed = found.stages.evidence(Stage::Pushed).expect("the push is known").interval;
    let truth = Time::from(push.at);
    assert!(pushed.not_before <= truth && truth <= pushed.not_after, "{pushed:?} and {truth}");
    assert!(pushed.not_before.is_known(), "the last look before the end bounds it");
    assert!(pushed.not_before < stopped, "the last look was before the end");
    second.journey("v1.0.2 settles in staging", settled_in("staging", &image("v1.0.2"))).await;

    // What settled before is there as it was, and did not settle again.
    let known: Vec<Journey> =
        second.journeys().into_iter().filter(|journey| journey.id == before.id).collect();
    assert_eq!(known, std::slice::from_ref(&before), "as it was");
    let after = second.totals().await;
    assert_eq!(after.values().sum::<f64>(), 4.0, "{after:?}");
    assert!(totals.iter().all(|(labels, count)| after[labels] >= *count), "{totals:?} {after:?}");
    // Deleted meanwhile: gone at the first complete look.
    let snapshot = second.running.snapshots.borrow().clone();
    assert!(!snapshot.destinations.iter().any(is_extra), "the workload is gone");
    let ready = get(&format!("{}/readyz", second.page)).await.unwrap();
    assert_eq!(ready["journal"]["state"], "ok", "{ready}");
    second.running.stop().await;
    world.stop().await;
}

/// A kill leaves the file as it is at that moment: so a copy is what it would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_total_and_doubles_none() {
    let _timed = Timed::part("kill");
    let Ground { world, folder, journal, cache } = ground().await;
    let image = |tag: &str| format!("{}/team/web:{tag}", world.addresses().registry);
    let first = Life::begin(&world, &journal, &cache).await;
    world.push("team/web", "v1.0.1").await.unwrap();
    first.journey("v1.0.1 settles in prod", settled_in("prod", &image("v1.0.1"))).await;
    first.journey("and in staging", settled_in("staging", &image("v1.0.1"))).await;
    let totals = first.totals().await;
    let killed = folder.path().join("killed");
    std::fs::copy(&journal, &killed).unwrap();
    first.running.stop().await;
    let second = Life::begin(&world, &killed, &cache).await;
    assert_eq!(second.totals().await, totals);
    second.running.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_gives_the_very_journey_anywhere() {
    let _timed = Timed::part("bundle");
    let Ground { world, folder, journal, cache } = ground().await;
    let image = format!("{}/team/web:v1.0.1", world.addresses().registry);
    let life = Life::begin(&world, &journal, &cache).await;
    world.push("team/web", "v1.0.1").await.unwrap();
    let journey = life.journey("v1.0.1 settles in prod", settled_in("prod", &image)).await;
    let id = journey.id.to_string();
    let shown = get(&format!("{}/api/v1/journeys/{id}", life.page)).await.unwrap();
    for redact in [None, Some("--redact")] {
        let into = folder.path().join(redact.unwrap_or("plain"));
        let into = into.display().to_string();
        let mut arguments = vec!["bundle", &id, "--server", &life.page, "--into", &into];
        arguments.extend(redact);
        let files = run(knotmeter(&arguments, folder.path()), "knotmeter").await.done();
        let (lines, timeline) = files.trim().split_once('\n').unwrap();
        let replay = ["replay", lines, "-o", "json"];
        let replayed: Value =
            serde_json::from_str(&run(knotmeter(&replay, folder.path()), "knotmeter").await.done()).unwrap();
        let same = replayed.as_array().unwrap().iter().find(|journey| {
            journey["workload"] == shown["workload"]
                && journey["namespace"] == shown["namespace"]
                && journey["digest"] == shown["digest"]
        });
        let same = same.unwrap_or_else(|| panic!("{redact:?}: not in {replayed}"));
        for field in ["outcome", "trigger", "stages", "image_to_live_seconds", "digest"] {
            assert_eq!(same[field], shown[field], "{redact:?} {field}");
        }
        let text = std::fs::read_to_string(lines).unwrap();
        let told = std::fs::read_to_string(timeline).unwrap();
        assert!(told.contains("| live |") && told.contains("knotmeter replay"), "{told}");
        let host = &world.addresses().registry;
        match redact {
            None => {
                assert_eq!(same["id"], shown["id"]);
                assert!(text.contains(host) && told.contains(host));
            }
            Some(_) => {
                for secret in ["127.0.0.1", "demo-updater", "localhost"] {
                    assert!(!text.contains(secret) && !told.contains(secret), "{secret} in the bundle");
                }
            }
        }
        if redact.is_some() {
            keep::bundle(Path::new(lines), &world, "team/web", "v1.0.1");
        }
    }
    life.running.stop().await;
    // The export of the whole gives the same journeys too, and an import of it.
    let export =
        run(knotmeter(&["journal", "export", &journal.display().to_string()], folder.path()), "knotmeter");
    let lines = export.await.done();
    let file = folder.path().join("all.jsonl");
    std::fs::write(&file, &lines).unwrap();
    let replay = async |file: &Path| {
        let arguments = ["replay", &file.display().to_string(), "--journey", &id, "-o", "json"];
        run(knotmeter(&arguments, folder.path()), "knotmeter").await.done()
    };
    let of_export = replay(&file).await;
    assert_eq!(of_export, replay(&journal).await);
    assert!(of_export.contains("\"live\""), "{of_export}");
    world.stop().await;
}
