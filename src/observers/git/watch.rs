//! The task of one git host: looks at its repositories by the plan that all polling has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use super::{Error, Poller, public_url};
use crate::config;
use crate::observation::{Interests, LastTree, LookFailure, Measure};
use crate::observers::schedule::{self, Begun, Desk, Ended, Gate, LookNow, Outcome, Plan, Told};
use crate::observers::{Reporter, now};

/// Looks at one host at once. Each holds a thread, and few hosts like more clones than that from one client.
const HOST_LOOKS_MAX: usize = 4;
/// A poll is one question to the host, unless something moved.
const REQUESTS_PER_LOOK: u32 = 1;

/// A repository to follow.
pub struct Followed {
    pub config: config::Git,
    /// What was told of it before a restart, see [`Poller::resuming`]; nothing on a first start.
    pub last_trees: Vec<LastTree>,
    pub reporter: Reporter,
}

type Looks = schedule::Looks<Arc<str>, Poller, GitInterest>;

/// What is wanted of one repository.
#[derive(Debug, Clone, PartialEq)]
struct GitInterest {
    interval: Duration,
    urgent: bool,
}

impl schedule::Interest for GitInterest {
    fn urgent(&self) -> bool {
        self.urgent
    }

    fn adds_to(&self, _: &Self) -> bool {
        false
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }
}

/// Looks at repositories for ever, each host's in a task of their own. Ends only when its task is aborted.
///
/// `cache` is a directory for copies; each repository takes one directory in it. The interests say which
/// repositories a journey waits for, and through `look_now` others say that one is due now.
pub async fn run(
    repositories: Vec<Followed>,
    cache: PathBuf,
    interests: Receiver<Arc<Interests>>,
    look_now: LookNow,
) {
    let mut hosts: BTreeMap<String, Vec<Followed>> = BTreeMap::new();
    for repository in repositories {
        hosts.entry(host_of(&repository.config.url)).or_default().push(repository);
    }
    let mut tasks = JoinSet::new();
    for (host, repositories) in hosts {
        tasks.spawn(watch_host(host, repositories, cache.clone(), interests.clone(), look_now.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    // Without repositories there is nothing to do, and that is no end.
    std::future::pending().await
}

async fn watch_host(
    host: String,
    repositories: Vec<Followed>,
    cache: PathBuf,
    mut interests: Receiver<Arc<Interests>>,
    look_now: LookNow,
) {
    // Any of the reporters takes numbers about all of them.
    let Some(meter) = repositories.first().map(|one| one.reporter.clone()) else { return };
    let source: Arc<str> = format!("git/{host}").into();
    let mut followed: HashMap<Arc<str>, Followed> = HashMap::new();
    let desk = Arc::new(Desk::default());
    for repository in repositories {
        let url = public_url(&repository.config.url);
        let branches = repository.config.branches.iter().map(|branch| branch.as_str().into()).collect();
        look_now.follow(&url, branches, &desk);
        followed.insert(url, repository);
    }
    // So that two of us do not ask in step.
    let seed = RandomState::new().hash_one(followed.len());
    let plan = Plan::new(config::Seconds::git_interval().duration(), followed.len(), seed);
    let mut looks = Looks::new(plan, desk, HOST_LOOKS_MAX);
    let gate = Arc::new(Gate::new(HOST_LOOKS_MAX, false));
    let look = |begun| look(gate.clone(), begun);
    let mut open = true;
    loop {
        let urgent = interests.borrow_and_update().git.clone();
        want(&mut looks, &followed, &urgent, &cache);
        loop {
            if let Some(schedule::State { due, late, throttled }) = looks.state() {
                meter.measure(Measure::Looks { source: source.clone(), due, late, throttled });
            }
            tokio::select! {
                crashed = looks.step(gate.paused_until(), look) => if let Some(crashed) = crashed {
                    tracing::error!(repository = &*crashed.key, error = crashed.why, "a look crashed");
                    if let Some(one) = followed.get(&crashed.key) {
                        looks.plan.restart(&crashed.key, poller(one, &cache), Instant::now());
                    }
                },
                changed = interests.changed(), if open => {
                    // Without a sender the interests stay as they are; the looks go on.
                    open = changed.is_ok();
                    break;
                }
            }
        }
    }
}

fn want(
    looks: &mut Looks,
    followed: &HashMap<Arc<str>, Followed>,
    urgent: &BTreeSet<Arc<str>>,
    cache: &Path,
) {
    let now = Instant::now();
    for (url, one) in followed {
        let interest = GitInterest { interval: one.config.interval.duration(), urgent: urgent.contains(url) };
        looks.plan.want(url, &interest, now, || poller(one, cache));
    }
}

fn poller(followed: &Followed, cache: &Path) -> Poller {
    Poller::new(followed.config.clone(), cache, followed.reporter.clone())
        .resuming(followed.last_trees.iter().cloned())
}

/// One look at one repository.
async fn look(gate: Arc<Gate>, begun: Begun<Arc<str>, Poller, GitInterest>) -> Ended<Poller> {
    let mut poller = begun.memory;
    let outcome = |failure| Outcome { failure, requests: REQUESTS_PER_LOOK, wish: None };
    let Ok(_permit) = gate.turn().await else {
        return Ended { memory: poller, outcome: outcome(Some(LookFailure::Throttled)) };
    };
    let ended = poller.poll().await;
    if let Err(error) = &ended {
        tracing::warn!("{error}");
    }
    let failure = ended.as_ref().err().map(Error::failure);
    let headers = ended.as_ref().err().and_then(Error::headers);
    // A refusal silences all of the host's repositories for as long as it says.
    match failure {
        Some(LookFailure::Throttled) => {
            let wait = gate.refused(headers.unwrap_or(&HeaderMap::new()), Told::Requests, now());
            tracing::debug!(seconds = wait.as_secs(), "the host of a repository is left alone for so long");
        }
        Some(LookFailure::Network) => {}
        Some(_) | None => gate.answered(&HeaderMap::new(), Told::Nothing, now()),
    }
    Ended { memory: poller, outcome: outcome(failure) }
}

/// Host and port of an address, for what is one host is one queue. Paths of this machine are one, too.
#[must_use]
pub fn host_of(url: &str) -> String {
    let url = public_url(url);
    // `git@host:path` is ssh, too.
    let short = || url.rsplit_once('@').map_or(&*url, |(_, rest)| rest).split(':').next().unwrap_or_default();
    let rest = url.split_once("://").map_or_else(short, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase()
}
