//! A world of the demo with Knotmeter on it, as `knotmeter demo` starts them, in which one fault comes after the other.

use std::future::Future;

use knotmeter::app::{self, Running};
use knotmeter::cli::world::config;
use knotmeter::config::{Config, Listen};
use knotmeter::demo::{Engine, Entry, Fault, Happened, Options, World};
use knotmeter::tracker::Journey;
use serde_json::Value;
use tempfile::TempDir;

use crate::demo::flux::{at, condition};
use crate::e2e::until;
use crate::e2e::world::sources_up;

/// Where the faults of a person are.
pub const PROD: &str = "prod";

/// One world and its Knotmeter.
pub struct Lane {
    pub engine: Engine,
    pub world: World,
    pub running: Running,
    /// Versions pushed so far, of `team/web`.
    pub pushed: u32,
    _folder: TempDir,
}

impl Lane {
    /// Starts both with the demo's own configuration, and waits until every source was seen whole.
    pub async fn start(options: Options) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let engine = options.engine;
        let world = World::start(Options { autopush: false, ..options }).await.unwrap();
        let config =
            Config { listen: Listen("127.0.0.1:0".to_owned()), ..config(engine, world.addresses()).unwrap() };
        let folder = tempfile::tempdir().unwrap();
        let running = app::start(config, folder.path().join("cache")).await.unwrap();
        let lane = Self { engine, world, running, pushed: 0, _folder: folder };
        let page = lane.page();
        // Registry, git and cluster, and the engine's own metrics where it has some.
        let sources = 3 + lane.world.addresses().controllers.iter().count();
        until("every source is up", async || sources_up(&page, sources).await.then_some(())).await;
        lane
    }

    pub fn page(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The next version of web; its image.
    pub async fn push(&mut self) -> String {
        self.pushed += 1;
        let tag = format!("v1.0.{}", self.pushed);
        self.world.push("team/web", &tag).await.unwrap();
        format!("{}/team/web:{tag}", self.world.addresses().registry)
    }

    /// The journeys of web to prod, the newest last.
    pub fn journeys(&self) -> Vec<Journey> {
        let snapshot = self.running.snapshots.borrow().clone();
        let to_prod = |journey: &&Journey| {
            *journey.destination.app == *"web" && *journey.destination.environment == *PROD
        };
        snapshot.journeys().filter(to_prod).cloned().collect()
    }

    /// The first journey of web to prod that fits, as soon as a snapshot has one.
    pub async fn journey(&self, what: &str, fits: impl Fn(&Journey) -> bool) -> Journey {
        let mut snapshots = self.running.snapshots.clone();
        let found = async {
            loop {
                snapshots.borrow_and_update();
                if let Some(journey) = self.journeys().into_iter().rev().find(|journey| fits(journey)) {
                    return journey;
                }
                snapshots.changed().await.expect("it runs");
            }
        };
        self.patiently(what, found).await
    }

    /// Waits, but not for ever; what is known by then is told.
    pub async fn patiently<T>(&self, what: &str, found: impl Future<Output = T>) -> T {
        match tokio::time::timeout(crate::e2e::PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => {
                let journeys = self.journeys().into_iter().rev().take(4).map(|journey| {
                    let (stuck, held, who) = (journey.stuck, journey.held, &journey.who);
                    format!(
                        "{} {:?} {stuck:?} {held:?} {who:?} {:?}",
                        journey.image, journey.outcome, journey.blind
                    )
                });
                panic!("{}: {what}:\n{}", self.engine, journeys.collect::<Vec<_>>().join("\n"))
            }
        }
    }

    /// What the world's API shows at a path, as soon as it fits.
    pub async fn shows(&self, path: &str, fits: impl Fn(&Value) -> bool) {
        let shown = async {
            while !self.world.get(path).await.is_ok_and(|answer| fits(&answer)) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        self.patiently(path, shown).await;
    }

    /// Waits until a fault that somebody brings by hand is done: who releases before it may be faster.
    pub async fn takes_hold(&self, fault: Fault, committed: usize) {
        let web = "/apis/apps/v1/namespaces/prod/deployments/web";
        let suspended = |object: &Value| object["spec"]["suspend"] == true;
        match fault {
            Fault::SuspendedImageRepository => self.shows(&at("imagerepositories", "web"), suspended).await,
            Fault::SuspendedAutomation => self.shows(&at("imageupdateautomations", "fleet"), suspended).await,
            Fault::SuspendedSource => self.shows(&at("gitrepositories", "fleet"), suspended).await,
            Fault::SuspendedKustomization => self.shows(&at("kustomizations", PROD), suspended).await,
            Fault::ManualApproval => {
                let proposes = |object: &Value| object["spec"]["git"]["push"]["branch"] == "proposals";
                self.shows(&at("imageupdateautomations", "fleet"), proposes).await;
            }
            Fault::PolicyExcludes => {
                let pinned = |object: &Value| !object["spec"]["filterTags"].is_null();
                self.shows(&at("imagepolicies", "web"), pinned).await;
            }
            Fault::Paused => self.shows(web, |object| object["spec"]["paused"] == true).await,
            Fault::SlowRollout => self.shows(web, |object| object["spec"]["minReadySeconds"] == 15).await,
            Fault::ApplyConflict => {
                let owned =
                    |object: &Value| object["metadata"]["managedFields"].to_string().contains("hotfix");
                self.shows(web, owned).await;
            }
            Fault::DependencyNotReady => {
                let broken = |object: &Value| condition(object, "Ready")["reason"] == "BuildFailed";
                self.shows(&at("kustomizations", "infra"), broken).await;
            }
            Fault::BuildFailed | Fault::InvalidManifest => {
                let commits = async {
                    while self.commits() == committed {
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                };
                self.patiently("a bad commit", commits).await;
            }
            _ => {}
        }
    }

    /// Commits of the deploy branch so far.
    pub fn commits(&self) -> usize {
        let is_commit = |entry: &&Entry| matches!(entry.what, Happened::Committed { .. });
        self.world.truth().iter().filter(is_commit).count()
    }
}
