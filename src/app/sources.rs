//! The sources that are watched, and what a new configuration changes of them.
//!
//! Each cluster is a part of its own, and so is each git host. A part that a new configuration does not touch goes on as
//! if nothing had happened. One that it does touch ends, and begins again as after a restart: in a new epoch, from what
//! the tracker knows. Registries do the same host by host, see `observers::registry::follow`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::{clusters, watch_cluster};
use crate::config::{self, Config};
use crate::image::Digest;
use crate::observation::{Interests, LastLook, LastTree, SourceId, SourceKind};
use crate::observers::git::Followed;
use crate::observers::hooks::Stamps;
use crate::observers::registry::{Limits, Settings};
use crate::observers::schedule::LookNow;
use crate::observers::{self, Report, Reporter, tls};
use crate::tracker::Tracker;

/// What sources need of the rest of the program.
pub struct Ways {
    /// A folder for copies of git repositories.
    pub cache: PathBuf,
    pub interests: watch::Receiver<Arc<Interests>>,
    pub look_now: LookNow,
    pub reporters: Reporters,
    pub recollect: Recollect,
}

/// Makes reporters, in one epoch after the other.
#[derive(Clone)]
pub struct Reporters {
    epoch: Arc<AtomicU64>,
    to: mpsc::Sender<Report>,
    stamps: Stamps,
}

/// What the tracker knows of where looks left off.
#[derive(Debug, Default)]
pub struct Recollection {
    pub last_looks: Vec<LastLook>,
    pub last_trees: Vec<LastTree>,
}

/// The way to ask the tracker for it.
#[derive(Debug, Clone)]
pub struct Recollect(pub mpsc::Sender<oneshot::Sender<Recollection>>);

/// A new configuration, and whom to tell what it changed.
pub struct Change {
    pub config: Config,
    pub changed: oneshot::Sender<Vec<String>>,
}

/// Everything that is watched.
pub struct Sources {
    ways: Ways,
    parts: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
    registries: watch::Sender<Arc<Settings>>,
}

/// What runs on its own.
enum Part {
    Cluster(config::Cluster),
    /// The repositories of one host.
    Git(Vec<config::Git>),
    /// An endpoint, and the cluster that it tells of.
    Scrape(config::Scrape, String),
}

struct Running {
    version: Digest,
    task: AbortHandle,
}

impl Reporters {
    pub fn new(epoch: u64, to: mpsc::Sender<Report>, stamps: Stamps) -> Self {
        Self { epoch: Arc::new(AtomicU64::new(epoch)), to, stamps }
    }

    /// A reporter of the present epoch.
    pub fn reporter(&self, kind: SourceKind, name: &str) -> Reporter {
        let epoch = self.epoch.load(Ordering::Relaxed);
        Reporter::new(SourceId::new(kind, name), epoch, self.to.clone()).with_stamps(self.stamps.clone())
    }

    /// What begins from now on begins in an epoch of its own: what it does not find is gone.
    fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recollection {
    pub fn of(tracker: &Tracker) -> Self {
        let interests = tracker.interests();
        let last_looks = tracker.last_looks(&interests).collect();
        Self { last_looks, last_trees: tracker.last_trees().collect() }
    }
}

impl Recollect {
    /// What the tracker knows after everything that was reported so far. Nothing, where the program is ending.
    pub async fn ask(&self) -> Recollection {
        let (tell, told) = oneshot::channel();
        match self.0.send(tell).await {
            Ok(()) => told.await.unwrap_or_default(),
            Err(_) => Recollection::default(),
        }
    }
}

impl Sources {
    /// Begins to watch. `known` is what the restored tracker knows.
    pub fn start(config: &Config, known: Recollection, ways: Ways) -> Self {
        let (registries, settings) = watch::channel(Arc::new(settings(config)));
        let mut tasks = JoinSet::new();
        let reporters = ways.reporters.clone();
        let recollect = ways.recollect.clone();
        tasks.spawn(observers::registry::follow(
            settings,
            known.last_looks,
            async move || recollect.ask().await.last_looks,
            ways.interests.clone(),
            ways.look_now.clone(),
            move |host: &str| reporters.reporter(SourceKind::Registry, host),
            Limits::default(),
        ));
        let mut sources = Self { ways, parts: BTreeMap::new(), tasks, registries };
        for (name, part) in parts(config) {
            sources.begin(name, part, &known.last_trees);
        }
        sources
    }

    /// Watches for ever, and takes new configurations. Ends, or panics, when a part does.
    pub async fn run(mut self, mut changes: mpsc::Receiver<Change>) {
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => match ended {
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // It was ended for a new configuration.
                    Err(_) => {}
                    Ok(()) => return,
                },
                Some(Change { config, changed }) = changes.recv() => {
                    // Whoever asked may have gone.
                    let _ = changed.send(self.change(&config).await);
                }
            }
        }
    }

    /// Ends and begins what the configuration changes, and names it.
    async fn change(&mut self, config: &Config) -> Vec<String> {
        let wanted = parts(config);
        let is_kept = |name: &String, running: &Running| {
            wanted.get(name).is_some_and(|part| part.version() == running.version)
        };
        let mut changed: Vec<String> = Vec::new();
        self.parts.retain(|name, running| {
            let kept = is_kept(name, running);
            if !kept {
                running.task.abort();
                changed.push(name.clone());
            }
            kept
        });
        let new: Vec<(String, Part)> =
            wanted.into_iter().filter(|(name, _)| !self.parts.contains_key(name)).collect();
        let settings = settings(config);
        let listed = settings.changes(&self.registries.borrow());
        self.ways.reporters.next_epoch();
        if !new.is_empty() {
            let known = self.ways.recollect.ask().await;
            for (name, part) in new {
                if !changed.contains(&name) {
                    changed.push(name.clone());
                }
                self.begin(name, part, &known.last_trees);
            }
        }
        if !listed.is_empty() {
            self.registries.send_replace(Arc::new(settings));
            changed.extend(listed.into_iter().map(|host| format!("registry/{host}")));
        }
        changed.sort();
        changed
    }

    fn begin(&mut self, name: String, part: Part, last_trees: &[LastTree]) {
        let version = part.version();
        let reporters = &self.ways.reporters;
        let task = match part {
            Part::Cluster(cluster) => {
                let reporter = reporters.reporter(SourceKind::Cluster, &cluster.name);
                self.tasks.spawn(watch_cluster(cluster, reporter))
            }
            Part::Scrape(scrape, cluster) => {
                let reporter = reporters.reporter(SourceKind::Scrape, &scrape.name);
                let scraping = observers::scrape::run(scrape, cluster, reporter);
                self.tasks.spawn(async { match scraping.await {} })
            }
            Part::Git(repositories) => {
                let followed = repositories.into_iter().map(|git| {
                    let url = config::public_url(&git.url);
                    let reporter = reporters.reporter(SourceKind::Git, &url);
                    let last_trees = last_trees.iter().filter(|tree| tree.url == url).cloned().collect();
                    Followed { config: git, last_trees, reporter }
                });
                let (cache, interests) = (self.ways.cache.clone(), self.ways.interests.clone());
                let look_now = self.ways.look_now.clone();
                self.tasks.spawn(observers::git::run(followed.collect(), cache, interests, look_now))
            }
        };
        self.parts.insert(name, Running { version, task });
    }
}

impl Part {
    /// Changes with the settings, and with the content of the files that they name and that are read at the start
    /// only.
    fn version(&self) -> Digest {
        let text = match self {
            Self::Cluster(cluster) => {
                let file = cluster.kubeconfig.as_ref().and_then(|file| std::fs::read(file).ok());
                format!("{:?} {:?}", serde_json::to_string(cluster), file.map(|file| Digest::of(&file)))
            }
            Self::Scrape(scrape, cluster) => format!("{:?} {cluster}", serde_json::to_string(scrape)),
            Self::Git(repositories) => {
                let versions: Vec<Digest> = repositories.iter().map(|git| tls::version(&git.tls)).collect();
                format!("{:?} {versions:?}", serde_json::to_string(repositories))
            }
        };
        Digest::of(text.as_bytes())
    }
}

fn parts(config: &Config) -> BTreeMap<String, Part> {
    let mut parts = BTreeMap::new();
    for cluster in clusters(config) {
        parts.insert(format!("cluster/{}", cluster.name), Part::Cluster(cluster));
    }
    for scrape in &config.scrape {
        // Where there are several, each endpoint names its own.
        let only = || clusters(config).first().map(|cluster| cluster.name.clone()).unwrap_or_default();
        let cluster = scrape.cluster.clone().unwrap_or_else(only);
        parts.insert(format!("scrape/{}", scrape.name), Part::Scrape(scrape.clone(), cluster));
    }
    for git in &config.git {
        let host = format!("git/{}", observers::git::host_of(&git.url));
        match parts.entry(host).or_insert(Part::Git(Vec::new())) {
            Part::Git(repositories) => repositories.push(git.clone()),
            Part::Cluster(_) | Part::Scrape(..) => unreachable!("their names begin in another way"),
        }
    }
    parts
}

fn settings(config: &Config) -> Settings {
    Settings::new(config.registries.clone(), config.docker_config.clone())
}
