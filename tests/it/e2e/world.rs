//! The demo's world inside the test, with Knotmeter on it: for tests that need the truth, a fault to clear, or
//! smaller budgets than the demo has.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use knotmeter::app::{self, Running};
use knotmeter::config::{self, Config};
use knotmeter::demo::{Addresses, Options, World};
use knotmeter::tracker::Journey;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{get, until};

/// A world and a Knotmeter that watches it.
pub struct Watched {
    pub world: World,
    pub running: Running,
    /// Where the test may write.
    pub folder: TempDir,
}

/// A world in which nobody pushes, and in which things go fast.
pub fn quick() -> Options {
    let soon = Duration::from_millis(200);
    Options { autopush: false, updater_every: soon, applier_every: soon, ..Options::default() }
}

/// The configuration that a person would write for the world, as a file's text.
pub fn config(registry: &str, git: &str, cluster: &str, kubeconfig: &Path) -> Value {
    json!({
        "listen": "127.0.0.1:0",
        "environments": [
            {"name": "staging", "clusters": [cluster], "namespaces": ["staging"]},
            {"name": "prod", "clusters": [cluster], "namespaces": ["prod"]},
        ],
        "registries": [
            {"host": registry, "plain_http": true, "interval": "500ms", "repositories": ["team/*"]},
        ],
        "git": [{
            "url": git, "interval": "500ms",
            "paths": [
                {"path": "staging/", "environment": "staging"},
                {"path": "prod/", "environment": "prod"},
            ],
            "markers": ["# release-(?<name>[a-z]+)"],
        }],
        "clusters": [{"name": cluster, "kubeconfig": kubeconfig}],
        "settle": {"min": "1s", "max": "3s"},
    })
}

/// [`config`] for a world inside the test.
pub fn config_of(addresses: &Addresses) -> Value {
    config(&addresses.registry, &addresses.git, &addresses.cluster, &addresses.kubeconfig)
}

impl Watched {
    /// Starts both and waits until every source was seen whole.
    pub async fn start(options: Options, change: impl FnOnce(&mut Value)) -> Self {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut text = config_of(world.addresses());
        change(&mut text);
        // JSON is YAML.
        let config: Config = config::parse(&text.to_string(), Path::new("test.yaml")).unwrap();
        let running = app::start(config, folder.path().join("cache")).await.unwrap();
        let watched = Self { world, running, folder };
        let page = watched.page();
        until("every source is up", async || sources_up(&page, 3).await.then_some(())).await;
        watched
    }

    pub fn page(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// An image of the world's registry.
    pub fn image(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.world.addresses().registry)
    }

    /// The journeys that are known at the moment.
    pub fn journeys(&self) -> Vec<Journey> {
        Arc::clone(&self.running.snapshots.borrow()).journeys().cloned().collect()
    }

    /// The first journey that fits, as soon as there is one.
    pub async fn journey(&self, what: &str, fits: impl Fn(&Journey) -> bool) -> Journey {
        until(what, async || self.journeys().into_iter().find(&fits)).await
    }

    pub async fn stop(self) {
        self.running.stop().await;
        self.world.stop().await;
    }
}

/// Every source was seen whole and is fresh, and there are as many as expected.
pub async fn sources_up(page: &str, count: usize) -> bool {
    let Some(answer) = get(&format!("{page}/api/v1/sources")).await else { return false };
    let sources = answer["sources"].as_array().cloned().unwrap_or_default();
    let whole = |source: &Value| source["up"] == true && source["fresh"] == source["scopes"];
    sources.len() == count && sources.iter().all(whole)
}
