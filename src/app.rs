//! The composition root: observers in, the tracker in the middle, exporters and HTTP out.
//!
//! One task owns the tracker; everything else talks to it through bounded channels. Nobody waits for a
//! scrape, and a slow source slows nobody but itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{self, Config};
use crate::exporters::Snapshot;
use crate::exporters::metrics::Metrics;
use crate::exporters::traces::Traces;
use crate::http::{self, EVENTS_KEPT, EventRecord, HttpState, Ready};
use crate::image::Repository;
use crate::observation::{
    Basis, Budgets, EnvironmentRule, ExpectRule, Fact, FilterTags, Interests, Interval, LiveWhen,
    LookFailure, Order, PathRule, Policy, Rules, Scope, SettleRule, SourceId, SourceKind,
};
use crate::observers::{self, REPORT_QUEUE_SIZE, Report, Reporter, now};
use crate::tracker::{Event, Tracker};

/// Reports taken in one go before events are handed on.
const BATCH_MAX: usize = 512;
/// The page and the gauges are at most this old. Publishing copies the state, so a large one is published less
/// often: never more than a tenth of the time goes into it.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// Looks that found nothing new change no more than how fresh a source is. A sweep has hundreds of them, and a copy
/// of the state after each would be most of what an idle program does.
const PUBLISH_LOOKS_EVERY: Duration = Duration::from_secs(1);
/// The tracker is asked at least this often, whatever it says of deadlines.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// What is under way at the end gets this long.
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
    tasks: JoinSet<()>,
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

    /// Ends every task and waits until they have ended, but not for ever: one may be stuck in a blocking call.
    pub async fn stop(mut self) {
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
    let address = config.listen.0.clone();
    let listen = |source| Error::Listen { address: address.clone(), source };
    let listener = TcpListener::bind(&config.listen.0).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    std::fs::create_dir_all(&cache).map_err(|source| Error::Cache { path: cache.clone(), source })?;

    let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
    let (publish, snapshots) = watch::channel(Snapshot::empty(now()));
    let (interested, interests) = watch::channel(Arc::new(Interests::default()));
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
    let epoch = now().0.unsigned_abs();
    let reporter = |kind, name: &str| Reporter::new(SourceId::new(kind, name), epoch, to.clone());

    let rules = Fact::ConfigInForce(Box::new(rules(&config)));
    reporter(SourceKind::Config, "rules").fact(Interval::at(now()), Basis::Watch, rules).await;
    for cluster in clusters(&config) {
        let reporter = reporter(SourceKind::Cluster, &cluster.name);
        tasks.spawn(watch_cluster(cluster, reporter));
    }
    for git in config.git.clone() {
        let reporter = reporter(SourceKind::Git, &config::public_url(&git.url));
        tasks.spawn(observers::git::run(git, cache.clone(), Vec::new(), reporter));
    }
    let registries = {
        let to = to.clone();
        move |host: &str| Reporter::new(SourceId::new(SourceKind::Registry, host), epoch, to.clone())
    };
    tasks.spawn(observers::registry::run(config.registries.clone(), [], interests, registries));
    let follower = Follower {
        tracker: Tracker::default(),
        metrics: metrics.clone(),
        traces,
        publish,
        interested,
        events: events.clone(),
        ready: ready.clone(),
    };
    tasks.spawn(follower.follow(reports));
    let state = HttpState { snapshots: snapshots.clone(), metrics, events: events.clone(), ready };
    tasks.spawn(http::serve(listener, state, std::future::pending()));
    Ok(Running { address, snapshots, events, tasks })
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

/// The task that owns the tracker.
struct Follower {
    tracker: Tracker,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    publish: watch::Sender<Arc<Snapshot>>,
    interested: watch::Sender<Arc<Interests>>,
    events: broadcast::Sender<EventRecord>,
    ready: Ready,
}

impl Follower {
    async fn follow(mut self, mut reports: mpsc::Receiver<Report>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut publish_at = Instant::now();
        let mut looks_at = publish_at;
        // When to publish; nothing is new where it is absent.
        let mut due = Some(publish_at);
        self.ready.set(true);
        loop {
            let wake = due.unwrap_or_else(|| self.deadline());
            let mut only_looks = true;
            tokio::select! {
                count = reports.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                () = sleep_until(wake) => {}
            }
            let mut events = Vec::new();
            for report in batch.drain(..) {
                match report {
                    Report::Measure(measure) => self.metrics.measure(&measure),
                    Report::Observation(observation) => {
                        only_looks &= matches!(observation.fact, Fact::LookCompleted { .. });
                        self.metrics.observation(&observation);
                        events.extend(self.tracker.observe(&observation));
                    }
                }
            }
            events.extend(self.tracker.advance(now()));
            self.tell(&events);
            let news = !only_looks || !events.is_empty();
            let next = if news { publish_at } else { publish_at.max(looks_at) };
            let at = due.map_or(next, |due| due.min(next));
            due = Some(at);
            if Instant::now() >= at {
                let started = Instant::now();
                self.publish();
                publish_at = Instant::now() + PUBLISH_EVERY.max(started.elapsed() * 10);
                looks_at = Instant::now() + PUBLISH_LOOKS_EVERY;
                due = None;
            }
        }
    }

    fn deadline(&self) -> Instant {
        let wait = self.tracker.next_deadline().map_or(IDLE_MAX, |deadline| {
            let millis = (deadline.at.0 - now().0).max(0);
            Duration::from_millis(millis.unsigned_abs()).clamp(PUBLISH_EVERY, IDLE_MAX)
        });
        Instant::now() + wait
    }

    fn tell(&self, events: &[Event]) {
        for event in events {
            self.metrics.event(event);
            // Nobody listening is no error.
            let _ = self.events.send(EventRecord::from(event));
            log(event);
            let snapshot = self.publish.borrow().clone();
            match (&self.traces, event) {
                (Some(traces), Event::Settled(journey)) => traces.settled(journey, &snapshot),
                (Some(traces), Event::Stuck { id, .. }) => {
                    if let Some(journey) = self.tracker.journey(*id) {
                        traces.stuck(journey, &snapshot);
                    }
                }
                _ => {}
            }
        }
    }

    fn publish(&self) {
        let at = now();
        self.publish.send_replace(Arc::new(Snapshot {
            at,
            journeys: self.tracker.journeys().cloned().collect(),
            destinations: self.tracker.destinations(at),
            sources: self.tracker.sources(at),
        }));
        let interests = self.tracker.interests();
        self.interested.send_if_modified(|known| {
            let changed = **known != interests;
            if changed {
                *known = Arc::new(interests);
            }
            changed
        });
    }
}

/// One structured record per journey event.
fn log(event: &Event) {
    let record = EventRecord::from(event);
    match event {
        Event::Settled(journey) => tracing::info!(
            journey = %journey.id,
            image = %journey.image,
            destination = %journey.destination,
            outcome = journey.outcome.map(crate::tracker::Outcome::as_str),
            "settled"
        ),
        Event::Stuck { id, stuck } => {
            tracing::warn!(journey = %id, stage = stuck.stage.as_str(), reason = stuck.reason.as_str(), "stuck");
        }
        _ => tracing::debug!(event = record.name, json = %record.json, "event"),
    }
}

/// The configured clusters, else the one that the environment names.
#[must_use]
pub fn clusters(config: &Config) -> Vec<config::Cluster> {
    if config.clusters.is_empty() {
        vec![config::Cluster { name: "default".into(), kubeconfig: None, context: None }]
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
    Rules {
        environments: environments.collect(),
        expect: config.expect.iter().filter_map(expect_rule).collect(),
        paths: paths.collect(),
        budgets: Budgets {
            committed: config.budgets.committed.0,
            applied: config.budgets.applied.0,
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
