//! The composition root: observers in, the tracker in the middle, exporters and HTTP out.
//!
//! One task owns the tracker; everything else talks to it through bounded channels. Nobody waits for a
//! scrape, and a slow source slows nobody but itself.

pub mod bundle;
mod follower;
mod hooks;
pub mod memory;
pub mod past;
mod reload;
mod sources;

pub use reload::Reading;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::follower::{Asking, Follower};
use self::reload::Reloader;
use self::sources::{Recollect, Recollection, Reporters, Sources, Ways};
use crate::config::{self, Config};
use crate::exporters::Snapshot;
use crate::exporters::metrics::Metrics;
use crate::exporters::traces::Traces;
use crate::http::{self, Bundles, EVENTS_KEPT, EventRecord, Hooks, HttpState, Lookups, Pasts, Ready, Reload};
use crate::image::Repository;
use crate::journal;
use crate::observation::{
    Basis, Budgets, EnvironmentRule, ExpectRule, Fact, FilterTags, Interval, LiveWhen, LookFailure, Order,
    PathRule, Policy, Rules, Scope, SettleRule, SourceKind,
};
use crate::observers::hooks::Stamps;
use crate::observers::schedule::LookNow;
use crate::observers::{self, REPORT_QUEUE_SIZE, Reporter, now};

/// What is under way at the end gets this long, the last commit of the journal included.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Until a kubeconfig that could not be used is read again.
const CONNECT_AGAIN: Duration = Duration::from_secs(30);

/// Why the program could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of `listen` is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen { address: String, source: std::io::Error },
    /// The collector's address in `traces.endpoint` cannot be used.
    #[error("traces.endpoint: {0}")]
    Traces(String),
    /// The journal is in use, of a newer program, or no journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The system has no thread for the journal.
    #[error("cannot start the journal's thread: {0}")]
    Thread(std::io::Error),
    /// The folder for copies of git repositories cannot be made.
    #[error("cannot make the folder {}: {source}; name another with --cache", path.display())]
    Cache { path: PathBuf, source: std::io::Error },
}

/// A running Knotmeter. Dropping it ends its tasks.
#[derive(Debug)]
pub struct Running {
    /// Where page, API and metrics are.
    pub address: std::net::SocketAddr,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub events: broadcast::Sender<EventRecord>,
    /// How a hook says that a repository may have changed.
    pub look_now: LookNow,
    /// Asks for the configuration to be read again.
    pub reload: Reload,
    tasks: JoinSet<()>,
    /// Tells the follower to write what it knows and end; it answers when it has.
    end: oneshot::Sender<oneshot::Sender<()>>,
}

impl Running {
    /// Resolves with a sentence when a part has ended that never should: the process must not go on and look
    /// healthy.
    pub async fn broken(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Err(error)) => format!("a part of the program ended: {error}"),
            Some(Ok(())) | None => "a part of the program ended by itself".into(),
        }
    }

    /// Writes a last checkpoint, ends every task and waits until they have ended, but not for ever: one may be
    /// stuck in a blocking call.
    pub async fn stop(mut self) {
        let (done, written) = oneshot::channel();
        if self.end.send(done).is_ok() && tokio::time::timeout(STOP_TIMEOUT, written).await.is_err() {
            tracing::warn!("the journal was not written in time; the next start replays more");
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.shutdown()).await.is_err() {
            tracing::warn!("some work did not end in time; it ends with the process");
        }
    }
}

/// Starts everything. `cache` is a folder for copies of git repositories.
///
/// # Errors
/// What keeps the program from starting at all; a source that cannot be reached does not.
pub async fn start(config: Config, cache: PathBuf) -> Result<Running, Error> {
    start_with(config, cache, None).await
}

/// The same with a configuration that is read again when it changes.
///
/// # Errors
/// As [`start`].
pub async fn start_with(config: Config, cache: PathBuf, reading: Option<Reading>) -> Result<Running, Error> {
    let address = config.listen.0.clone();
    let listen = |source| Error::Listen { address: address.clone(), source };
    let listener = TcpListener::bind(&config.listen.0).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    std::fs::create_dir_all(&cache).map_err(|source| Error::Cache { path: cache.clone(), source })?;

    let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
    let (publish, snapshots) = watch::channel(Snapshot::empty(now()));
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let mut tasks = JoinSet::new();
    let (metrics, traces) = match &config.traces.endpoint {
        None => (Arc::new(Metrics::new()), None),
        Some(endpoint) => {
            let metrics = Arc::new(Metrics::new().with_exemplars());
            let (traces, _) =
                Traces::start(endpoint, metrics.clone()).map_err(|error| Error::Traces(error.to_string()))?;
            (metrics, Some(traces))
        }
    };
    let ready = Ready::default();
    let recalled = memory::recall(&config.journal, metrics.clone()).await?;
    // From the first look on: they tell a scanner which tags were checked at every look before.
    let known = Recollection::of(&recalled.tracker);
    let (interested, interests) = watch::channel(Arc::new(recalled.tracker.interests()));
    // Larger than any before, even if the clock was set back meanwhile.
    let epoch = now().0.unsigned_abs().max(recalled.epoch + 1);
    let stamps = Stamps::default();
    let reporters = Reporters::new(epoch, to, stamps.clone());

    let in_force = Fact::ConfigInForce(Box::new(rules(&config)));
    let rules_reporter = reporters.reporter(SourceKind::Config, "rules");
    rules_reporter.fact(Interval::at(now()), Basis::Watch, in_force).await;
    let hooks_reporter = reporters.reporter(SourceKind::Hook, "hints");
    let look_now = {
        let metrics = metrics.clone();
        LookNow::new(move |measure| metrics.measure(&measure))
    };
    let (recollect, recollecting) = mpsc::channel(1);
    let recollect = Recollect(recollect);
    let ways = Ways { cache, interests, look_now: look_now.clone(), reporters, recollect };
    let (change, changes) = mpsc::channel(1);
    tasks.spawn(Sources::start(&config, known, ways).run(changes));
    let hooks = Arc::new(hooks::Taker::new(&config.hooks, look_now.clone(), hooks_reporter, metrics.clone()));
    let reload = match reading {
        Some(reading) => {
            let (reload, asked) = Reload::new();
            let reloader =
                Reloader::new(reading, config, rules_reporter, change, hooks.clone(), metrics.clone());
            tasks.spawn(reloader.run(asked));
            reload
        }
        None => Reload::default(),
    };
    let (bundles, pasts) = match &recalled.writer {
        Some(writer) => {
            let (bundles, asked) = Bundles::new();
            tasks.spawn(bundle::serve(asked, Arc::downgrade(writer)));
            let (pasts, asked) = Pasts::new();
            tasks.spawn(past::serve(asked, Arc::downgrade(writer)));
            (bundles, pasts)
        }
        None => (Bundles::default(), Pasts::default()),
    };
    let (lookups, looked_up) = Lookups::new();
    let (end, ending) = oneshot::channel();
    let follower =
        Follower::new(recalled, epoch, metrics.clone(), traces, publish, interested, events.clone());
    tasks.spawn(follower.follow(
        reports,
        ending,
        Asking { recollect: recollecting, lookups: looked_up },
        ready.clone(),
    ));
    let state = HttpState {
        snapshots: snapshots.clone(),
        metrics,
        events: events.clone(),
        ready,
        bundles,
        lookups,
        pasts,
        hooks: Hooks::new(hooks),
        reload: reload.clone(),
    };
    tasks.spawn(http::serve(listener, state, std::future::pending()));
    Ok(Running { address, snapshots, events, look_now, reload, tasks, end })
}

/// Keeps trying to get a client: a kubeconfig may be mounted late, and other sources go on meanwhile.
async fn watch_cluster(cluster: config::Cluster, reporter: Reporter) {
    loop {
        match observers::cluster::connect(&cluster).await {
            Ok(client) => {
                observers::cluster::run(cluster, client, reporter).await;
                return;
            }
            Err(error) => {
                let message = error.to_string();
                tracing::error!(cluster = %cluster.name, "{message}");
                let scope =
                    Scope::Resource { cluster: cluster.name.as_str().into(), resource: "connection".into() };
                let failure = LookFailure::Unauthorized;
                let fact = Fact::LookFailed { scope, failure, message: message.into() };
                reporter.fact(Interval::at(now()), Basis::Poll, fact).await;
                sleep(CONNECT_AGAIN).await;
            }
        }
    }
}

/// The configured clusters, else the one that the environment names.
#[must_use]
pub fn clusters(config: &Config) -> Vec<config::Cluster> {
    if config.clusters.is_empty() {
        let ownership = Some(config.ownership.clone());
        vec![config::Cluster { name: "default".into(), ownership, ..config::Cluster::default() }]
    } else {
        config.clusters.clone()
    }
}

/// The part of the configuration that decides journeys.
#[must_use]
pub fn rules(config: &Config) -> Rules {
    let text = |text: &String| Arc::<str>::from(text.as_str());
    let environments = config.environments.iter().map(|environment| EnvironmentRule {
        name: text(&environment.name),
        clusters: environment.clusters.iter().map(text).collect(),
        namespaces: environment.namespaces.iter().map(text).collect(),
    });
    let paths = config.git.iter().flat_map(|git| {
        let url: Arc<str> = config::public_url(&git.url);
        git.branches.iter().flat_map(move |branch| {
            let url = url.clone();
            git.paths.iter().filter_map(move |path| {
                Some(PathRule {
                    url: url.clone(),
                    branch: branch.as_str().into(),
                    path: path.path.as_str().into(),
                    environment: path.environment.as_deref()?.into(),
                })
            })
        })
    });
    let default = Budgets::default();
    Rules {
        environments: environments.collect(),
        expect: config.expect.iter().filter_map(expect_rule).collect(),
        paths: paths.collect(),
        budgets: Budgets {
            committed: config.budgets.committed.map_or(default.committed, |written| written.0),
            applied: config.budgets.applied.map_or(default.applied, |written| written.0),
            committed_by_interval: config.budgets.committed.is_none(),
            applied_by_interval: config.budgets.applied.is_none(),
            live: config.budgets.live.0,
        },
        live_when: match config.live_when {
            config::LiveWhen::All => LiveWhen::All,
            config::LiveWhen::First => LiveWhen::First,
            config::LiveWhen::Share(share) => LiveWhen::Share(share),
        },
        settle: SettleRule {
            min: config.settle.min.0,
            max: config.settle.max.0,
            forget_after: config.settle.forget_after.0,
        },
    }
}

/// The configuration was checked when it was read; a rule that does not parse takes no part.
fn expect_rule(expect: &config::Expect) -> Option<ExpectRule> {
    let order = |order: config::Order| match order {
        config::Order::Asc => Order::Asc,
        config::Order::Desc => Order::Desc,
    };
    Some(ExpectRule {
        image: expect.image.parse::<Repository>().ok()?,
        filter: expect.filter_tags.as_ref().map(|filter| FilterTags {
            pattern: filter.pattern.as_str().into(),
            extract: filter.extract.as_deref().map(Into::into),
        }),
        policy: match &expect.policy {
            config::Policy::Semver { range } => Policy::Semver { range: range.as_str().into() },
            config::Policy::Numerical { order: by } => Policy::Numerical { order: order(*by) },
            config::Policy::Alphabetical { order: by } => Policy::Alphabetical { order: order(*by) },
            config::Policy::Digest { tag } => Policy::Digest { tag: tag.as_str().into() },
        },
        environment: expect.environment.as_str().into(),
    })
}
