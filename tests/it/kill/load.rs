//! The load, and its truth: every image is pushed, committed, applied and live before its app gets the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use knotmeter::demo::{Happened, World};
use knotmeter::image::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::e2e::process::Program;
use crate::e2e::real_parts::docker_registry;
use crate::e2e::until;
use crate::e2e::world::{config_of, quick};

/// Apps that take turns. Each keeps an image for as many turns, so that a process that dies often sees it live.
const APPS: u64 = 4;
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that went live.
#[derive(Debug, Clone)]
pub struct Deployed {
    pub app: String,
    pub tag: String,
    pub digest: String,
}

/// The world, with a registry of its own beside.
pub struct Load {
    pub world: World,
    pub folder: TempDir,
    /// When the last life that saw all that there was began, of each of those that are killed.
    pub watchers: Vec<Arc<AtomicU64>>,
    /// Nobody is killed any more.
    pub over: AtomicBool,
    registry: String,
    client: reqwest::Client,
    turn: AtomicU64,
    _registry: Program,
}

impl Load {
    /// Starts both and lets the first version of each app go live.
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let world = World::start(quick()).await.unwrap();
        let at = folder.path();
        let (process, registry) = docker_registry(at, &json!({})).await;
        let load = Self {
            world,
            watchers: Vec::new(),
            over: AtomicBool::new(false),
            registry,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            turn: AtomicU64::new(0),
            folder,
            _registry: process,
        };
        for _ in 0..APPS {
            load.deploy().await;
        }
        load
    }

    /// Sends the next image of the next app on its way, and waits until it is live.
    pub async fn deploy(&self) -> Deployed {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (app, tag) = (format!("load-{}", turn % APPS), format!("v1.0.{}", turn / APPS));
        let digest = self.push(&app, &tag).await;
        let deployed = Deployed { app, tag, digest };
        self.run(&deployed).await;
        // What nobody lived to see could not be told.
        let now = super::life::millis();
        let all = || self.watchers.iter().all(|watcher| watcher.load(Ordering::Relaxed) >= now);
        let over = || self.over.load(Ordering::Relaxed);
        until("everybody saw it live", async || (over() || all()).then_some(())).await;
        deployed
    }

    /// What a person would write to watch it.
    pub fn config(&self) -> Value {
        let mut config = config_of(self.world.addresses());
        let registry = json!({"host": self.registry, "plain_http": true, "interval": "500ms"});
        config["registries"].as_array_mut().unwrap().push(registry);
        config
    }

    pub async fn stop(self) {
        self.world.stop().await;
    }

    /// Commits the image, and waits until all its pods run.
    async fn run(&self, deployed: &Deployed) {
        let image = format!("{}/load/{}:{}", self.registry, deployed.app, deployed.tag);
        let file = format!("prod/{}.yaml", deployed.app);
        let manifest = manifest(&deployed.app, &image);
        self.world.commit(&file, &manifest, &format!("run {image}")).await.unwrap();
        let what = format!("{image} is live");
        let live =
            |happened: &Happened| matches!(happened, Happened::Live { image: live, .. } if *live == image);
        until(&what, async || self.world.truth().iter().any(|entry| live(&entry.what)).then_some(())).await;
    }

    /// Pushes an image of nothing, which no other one equals.
    async fn push(&self, app: &str, tag: &str) -> String {
        let layer = vec![0; 1024];
        let config = json!({
            "created": chrono::Utc::now().to_rfc3339(), "architecture": "amd64", "os": "linux",
            "config": {"Labels": {"app": app, "tag": tag}},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let part = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": part(CONFIG_TYPE, &config), "layers": [part(LAYER_TYPE, &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest).to_string();
        let front = format!("http://{}/v2/load/{app}", self.registry);
        for blob in [layer, config] {
            let begun = self.client.post(format!("{front}/blobs/uploads/")).send().await.unwrap();
            let place = begun.headers()["location"].to_str().unwrap().to_owned();
            let separator = if place.contains('?') { '&' } else { '?' };
            let url = format!("{place}{separator}digest={}", Digest::of(&blob));
            let put = self.client.put(url).header("content-type", "application/octet-stream").body(blob);
            assert_eq!(put.send().await.unwrap().status(), 201);
        }
        let put = self.client.put(format!("{front}/manifests/{tag}")).header("content-type", MANIFEST_TYPE);
        assert_eq!(put.body(manifest).send().await.unwrap().status(), 201);
        digest
    }
}

fn manifest(app: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {app}, namespace: prod}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {app}}}}}
  template:
    metadata: {{labels: {{app: {app}}}}}
    spec:
      containers:
        - name: main
          image: {image}
"
    )
}
