//! Reads the configuration again: when its file changes, when somebody asks for it, and never half.
//!
//! A configuration that cannot be used changes nothing; the last good one stays in force, and a metric says so. Files
//! are compared by what is in them: a ConfigMap changes by a link that is moved, and keeps old times.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::hooks::Taker;
use super::rules;
use super::sources::Change;
use crate::config::Config;
use crate::exporters::metrics::Metrics;
use crate::http::{AskedToReload, Reloaded};
use crate::image::Digest;
use crate::observation::{Basis, Fact, Interval};
use crate::observers::{Reporter, now};

/// How often the files are read. They are a few pages, and the kubelet itself takes a minute to bring a new one.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// A file that is larger than this is none of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How the configuration is read, for the first time and again.
pub struct Reading {
    /// The file to watch.
    pub file: Option<PathBuf>,
    /// Reads and checks it, with environment and flags over it.
    pub read: Box<dyn Fn() -> Result<Config, String> + Send + Sync>,
}

/// See the file's front lines.
pub struct Reloader {
    reading: Reading,
    /// What the process was started with: some of it stays in force.
    started: Config,
    in_force: Config,
    /// What the files held when they were read last.
    seen: Digest,
    rules: Reporter,
    sources: mpsc::Sender<Change>,
    hooks: Arc<Taker>,
    metrics: Arc<Metrics>,
}

impl Reloader {
    pub fn new(
        reading: Reading,
        config: Config,
        rules: Reporter,
        sources: mpsc::Sender<Change>,
        hooks: Arc<Taker>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let seen = content(&reading, &config);
        metrics.config_read(Some(now()));
        Self { reading, started: config.clone(), in_force: config, seen, rules, sources, hooks, metrics }
    }

    /// Watches for ever, and answers who asks.
    pub async fn run(mut self, mut asked: mpsc::Receiver<AskedToReload>) {
        let mut ticks = interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(answer) = asked.recv() => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.reload().await);
                }
                _ = ticks.tick() => {
                    if content(&self.reading, &self.in_force) != self.seen {
                        // It is logged and counted; nobody asked.
                        let _ = self.reload().await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, String> {
        let read = (self.reading.read)();
        // What is wrong is told once, not at every tick.
        self.seen = content(&self.reading, read.as_ref().unwrap_or(&self.in_force));
        let outcome = match read {
            Ok(config) => self.apply(config).await,
            Err(why) => Err(why),
        };
        match &outcome {
            Ok(reloaded) => {
                self.metrics.config_read(Some(now()));
                let (changed, restart) = (reloaded.changed.join(", "), reloaded.needs_restart.join(", "));
                tracing::info!(changed, needs_restart = restart, "the configuration was read again");
            }
            Err(why) => {
                self.metrics.config_read(None);
                tracing::error!("the configuration was not taken, the last good one stays in force: {why}");
            }
        }
        outcome
    }

    async fn apply(&mut self, config: Config) -> Result<Reloaded, String> {
        let (answer, changed) = oneshot::channel();
        let ending = || "the program is ending".to_owned();
        let change = Change { config: config.clone(), changed: answer };
        self.sources.send(change).await.map_err(|_| ending())?;
        let mut changed = changed.await.map_err(|_| ending())?;
        changed.extend(self.hooks.change(&config.hooks).into_iter().map(|name| format!("hooks/{name}")));
        changed.sort();
        let new = rules(&config);
        if new != rules(&self.in_force) {
            changed.insert(0, "rules".into());
            let fact = Fact::ConfigInForce(Box::new(new));
            self.rules.fact(Interval::at(now()), Basis::Watch, fact).await;
        }
        let needs_restart = until_restart(&self.started, &config);
        self.in_force = config;
        Ok(Reloaded { changed, needs_restart })
    }
}

/// What a new configuration has otherwise, and only a restart can change.
fn until_restart(started: &Config, new: &Config) -> Vec<String> {
    let keys = [
        ("listen", text(&started.listen) != text(&new.listen)),
        ("journal", text(&started.journal) != text(&new.journal)),
        ("traces", text(&started.traces) != text(&new.traces)),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What the file holds, and the files that it names and that sources read at their start only.
fn content(reading: &Reading, config: &Config) -> Digest {
    let kubeconfigs = config.clusters.iter().filter_map(|cluster| cluster.kubeconfig.as_ref());
    let tls = config.registries.iter().map(|one| &one.tls).chain(config.git.iter().map(|one| &one.tls));
    let tls = tls.flat_map(|tls| [&tls.ca_file, &tls.certificate_file, &tls.key_file]).flatten();
    let mut text = String::new();
    for file in reading.file.iter().chain(kubeconfigs).chain(tls) {
        let held = std::fs::metadata(file).ok().filter(|about| about.len() <= FILE_BYTES_MAX);
        let held = held.and_then(|_| std::fs::read(file).ok()).map(|bytes| Digest::of(&bytes));
        text.push_str(&format!("{held:?} "));
    }
    Digest::of(text.as_bytes())
}
