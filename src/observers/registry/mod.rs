//! Looks at registries over the distribution API and reports which tags point where and what images consist of.
//!
//! It only reads, decides nothing, and trusts no answer: every size, count, address and wait is limited in
//! `limits.rs`, `client.rs` or `address.rs`. A question to the API goes through [`client::Client`], so that
//! logins, budgets and limits hold for it; what it means for a repository goes into `known.rs`, which is pure. When a
//! repository is looked at next is none of this folder's business: see `schedule`.
//! A vendor's own API (push times) would be the next file beside `resolve.rs`.

pub mod address;
pub mod challenge;
pub mod client;
pub mod created;
pub mod credentials;
pub mod known;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod names;
pub mod page;
pub mod room;
pub mod tags;

mod auth;
mod error;
mod probe;
mod resolve;
mod resume;
mod sweep;
mod told;
mod watch;

pub use client::NamedBy;
pub use error::{Error, Problem};
pub use limits::Limits;
pub use probe::{CheckReport, ScanReport, check, check_as, scan, scan_as};
pub use watch::wanted;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::{Receiver, channel as watch_channel};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use self::address::Names;
use self::client::Client;
use self::resume::LastLooks;
use self::room::Room;
use self::sweep::Host;
use super::schedule::LookNow;
use super::{Reporter, tls};
use crate::config;
use crate::image::{Digest, Repository};
use crate::observation::{Basis, Fact, Interests, Interval, LastLook, Measure, Scope};

/// Registries watched at once. A cluster uses a handful; hundreds mean that somebody feeds us image names.
const HOSTS_MAX: usize = 200;

/// A host is watched so long after the last workload that names it: workloads come back.
const KEPT_UNUSED: Duration = Duration::from_secs(3600);
/// How often it is checked which hosts are unused.
const UNUSED_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// What broke once may break at once again, and must not spin.
const BEGIN_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Watches the configured registries and those that the interests name. Ends only when it is aborted.
///
/// `last_looks` is what was known before a restart: `Tracker::last_looks` of the restored tracker, and nothing
/// on a first start. A tag that is not in it was pushed since then: it is resolved and told, between the start
/// of that look and ours. What is in it is neither told nor resolved again. The interests should be those of
/// the restored tracker from the beginning, for they tell which tags were checked at every look. Through
/// `look_now` others say that a repository is due now.
pub async fn run(
    configured: Vec<config::Registry>,
    last_looks: impl IntoIterator<Item = LastLook>,
    interests: Receiver<Arc<Interests>>,
    look_now: LookNow,
    reporters: impl Fn(&str) -> Reporter + Send + Sync + 'static,
) {
    run_within(configured, last_looks, interests, look_now, reporters, Limits::default()).await;
}

/// What a reload of the configuration may change.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    listed: BTreeMap<String, Versioned>,
    /// The logins of those that nobody listed.
    docker_config: Option<PathBuf>,
}

/// A registry, and what changes with its settings and the files that it is made with.
#[derive(Debug, Clone)]
struct Versioned {
    registry: config::Registry,
    version: Digest,
}

impl Settings {
    #[must_use]
    pub fn new(listed: Vec<config::Registry>, docker_config: Option<PathBuf>) -> Self {
        let listed = listed.iter().map(|registry| {
            let registry = Versioned::new(normal(registry));
            (registry.registry.host.clone(), registry)
        });
        Self { listed: listed.collect(), docker_config }
    }

    /// Hosts that are other than before. All that nobody listed are `*`.
    #[must_use]
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let version = |settings: &Self, host: &str| settings.listed.get(host).map(|one| one.version.clone());
        let hosts: BTreeSet<&String> = self.listed.keys().chain(before.listed.keys()).collect();
        let changed = hosts.into_iter().filter(|host| version(self, host) != version(before, host));
        let unlisted = (self.docker_config != before.docker_config).then(|| "*".to_owned());
        changed.cloned().chain(unlisted).collect()
    }

    /// How a host is to be watched.
    fn of(&self, host: &str) -> (Versioned, NamedBy) {
        match self.listed.get(host) {
            Some(listed) => (listed.clone(), NamedBy::Operator),
            None => (Versioned::new(unlisted(host, self.docker_config.clone())), NamedBy::Workload),
        }
    }
}

impl Versioned {
    fn new(registry: config::Registry) -> Self {
        let text = format!("{:?} {:?}", serde_json::to_string(&registry), tls::version(&registry.tls));
        Self { registry, version: Digest::of(text.as_bytes()) }
    }
}

/// As [`run`], with other limits.
pub async fn run_within(
    configured: Vec<config::Registry>,
    last_looks: impl IntoIterator<Item = LastLook>,
    interests: Receiver<Arc<Interests>>,
    look_now: LookNow,
    reporters: impl Fn(&str) -> Reporter + Send + Sync + 'static,
    limits: Limits,
) {
    let settings = Settings::new(configured, None);
    // Without a sender the settings would be said to have changed for the last time.
    let (_keep, settings) = watch_channel(Arc::new(settings));
    follow(settings, last_looks, async || Vec::new(), interests, look_now, reporters, limits).await;
}

/// As [`run_within`], with settings that may change. A host that they change ends and begins again as after a
/// restart, with what `recollect` then says of the last looks; the others go on.
pub async fn follow(
    mut settings: Receiver<Arc<Settings>>,
    last_looks: impl IntoIterator<Item = LastLook>,
    recollect: impl AsyncFn() -> Vec<LastLook>,
    interests: Receiver<Arc<Interests>>,
    look_now: LookNow,
    reporters: impl Fn(&str) -> Reporter + Send + Sync + 'static,
    limits: Limits,
) {
    let mut hosts = Hosts { tasks: HashMap::new(), running: JoinSet::new(), full: false };
    let last_looks = LastLooks::new(last_looks);
    let names = Names::default();
    let rooms = (Room::new(limits.names_bytes), Room::new(limits.for_unlisted().names_bytes));
    let start = |registry: &config::Registry, named_by| {
        let reporter = reporters(&registry.host);
        let registry = Watched {
            registry: registry.clone(),
            named_by,
            limits: if named_by == NamedBy::Operator { limits } else { limits.for_unlisted() },
            room: if named_by == NamedBy::Operator { rooms.0.clone() } else { rooms.1.clone() },
            names: names.clone(),
        };
        watch_registry(registry, interests.clone(), last_looks.clone(), look_now.clone(), reporter)
    };
    let started = Instant::now();
    let mut changes = interests.clone();
    let (mut open, mut may_change) = (true, true);
    let mut in_force = settings.borrow_and_update().clone();
    loop {
        names.name(in_force.listed.keys());
        let wanted: BTreeSet<String> =
            changes.borrow_and_update().repositories.keys().map(|r| r.host().to_owned()).collect();
        hosts.end_unused(&wanted);
        for host in in_force.listed.keys().chain(&wanted) {
            if !hosts.add(host, &in_force, start) {
                let reason = "too_many_hosts";
                reporters(host).measure(Measure::Dropped { source: "registry".into(), reason });
            }
        }
        tokio::select! {
            // Without a sender the interests stay as they are; the hosts go on.
            changed = changes.changed(), if open => open = changed.is_ok(),
            changed = settings.changed(), if may_change => {
                may_change = changed.is_ok();
                in_force = settings.borrow_and_update().clone();
                let ended = hosts.end_changed(&in_force).await;
                if !ended.is_empty() {
                    last_looks.put(recollect().await.into_iter().filter(|look| ended.contains(look.repository.host())));
                }
            }
            Some(ended) = hosts.running.join_next_with_id() => hosts.ended(ended, start),
            () = tokio::time::sleep(UNUSED_CHECK_INTERVAL) => {
                // What nobody wanted so long after the start is not in use any more.
                if started.elapsed() > KEPT_UNUSED {
                    last_looks.clear();
                }
            }
        }
    }
}

/// The hosts that are watched, one task each.
struct Hosts {
    tasks: HashMap<String, HostTask>,
    running: JoinSet<()>,
    /// It was said that there is no room.
    full: bool,
}

struct HostTask {
    registry: config::Registry,
    version: Digest,
    named_by: NamedBy,
    task: AbortHandle,
    /// No workload names it since then.
    unused_since: Option<Instant>,
}

impl Hosts {
    /// Begins to watch a host that is not watched yet; false where there is no room for it.
    fn add<F>(
        &mut self,
        host: &str,
        settings: &Settings,
        start: impl Fn(&config::Registry, NamedBy) -> F,
    ) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.tasks.contains_key(host) {
            return true;
        }
        if self.tasks.len() >= HOSTS_MAX {
            if !self.full {
                self.full = true;
                tracing::warn!(
                    registry = host,
                    "images name more than {HOSTS_MAX} registries; this one and others are not watched"
                );
            }
            return false;
        }
        let (Versioned { registry, version }, named_by) = settings.of(host);
        let task = self.running.spawn(start(&registry, named_by));
        self.tasks.insert(host.into(), HostTask { registry, version, named_by, task, unused_since: None });
        true
    }

    /// Ends what is to be watched in another way, and waits until it has reported its last.
    async fn end_changed(&mut self, settings: &Settings) -> BTreeSet<String> {
        let mut ending = BTreeMap::new();
        self.tasks.retain(|host, task| {
            let (wanted, named_by) = settings.of(host);
            let stays = task.version == wanted.version && task.named_by == named_by;
            if !stays {
                task.task.abort();
                ending.insert(task.task.id(), host.clone());
            }
            stays
        });
        let mut ended = BTreeSet::new();
        while ended.len() < ending.len() {
            let Some(one) = self.running.join_next_with_id().await else { break };
            let id = one.map_or_else(|error| error.id(), |(id, ())| id);
            ended.extend(ending.get(&id).cloned());
        }
        ended
    }

    /// Ends what no workload has named for long. What the operator listed stays.
    fn end_unused(&mut self, wanted: &BTreeSet<String>) {
        self.tasks.retain(|host, task| {
            if task.named_by == NamedBy::Operator || wanted.contains(host) {
                task.unused_since = None;
                return true;
            }
            let keep = task.unused_since.get_or_insert_with(Instant::now).elapsed() < KEPT_UNUSED;
            if !keep {
                task.task.abort();
            }
            keep
        });
    }

    /// A task ends by itself only where its registry cannot be watched at all; one that panicked is begun again.
    fn ended<F>(
        &mut self,
        ended: Result<(Id, ()), JoinError>,
        start: impl Fn(&config::Registry, NamedBy) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Err(error) = ended else { return };
        let Some(host) = self.tasks.values_mut().find(|host| host.task.id() == error.id()) else { return };
        tracing::error!(registry = host.registry.host, "watching it broke and is begun again: {error}");
        let again = start(&host.registry, host.named_by);
        host.task = self.running.spawn(async move {
            tokio::time::sleep(BEGIN_AGAIN_AFTER).await;
            again.await;
        });
    }
}

/// The settings of a registry that nobody listed: https, once a minute, whatever the workloads use.
#[must_use]
pub fn unlisted(host: &str, docker_config: Option<PathBuf>) -> config::Registry {
    config::Registry { host: host.into(), docker_config, ..config::Registry::default() }
}

/// The same registry under the host name that references are normalised to.
fn normal(registry: &config::Registry) -> config::Registry {
    let host = format!("{}/a/b", registry.host)
        .parse::<Repository>()
        .map_or_else(|_| registry.host.clone(), |repository| repository.host().to_owned());
    config::Registry { host, ..registry.clone() }
}

/// A registry, and how much of it is taken.
struct Watched {
    registry: config::Registry,
    named_by: NamedBy,
    limits: Limits,
    room: Room,
    names: Names,
}

async fn watch_registry(
    watched: Watched,
    interests: Receiver<Arc<Interests>>,
    last_looks: LastLooks,
    look_now: LookNow,
    reporter: Reporter,
) {
    let Watched { registry, named_by, limits, room, names } = watched;
    let meter = reporter.clone();
    let meter = Arc::new(move |measure| meter.measure(measure));
    match Client::with_names(&registry, named_by, limits, meter, names) {
        Ok(client) => {
            let host = Arc::new(Host::new(client, reporter, registry.interval.0, room));
            watch::watch_host(host, registry, interests, last_looks, &look_now).await;
        }
        // It stays so until a restart; each repository says so once.
        Err(problem) => {
            let error = Error::new(&registry.host, problem);
            tracing::error!(%error, "registry cannot be watched");
            let repositories = wanted(&registry, &interests.borrow());
            for repository in repositories.into_keys() {
                let fact = Fact::LookFailed {
                    scope: Scope::Repository(repository),
                    failure: error.class(),
                    message: error.to_string().into(),
                };
                reporter.fact(Interval::at(super::now()), Basis::Poll, fact).await;
            }
        }
    }
}
