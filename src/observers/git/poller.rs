//! One look after another, as facts: levels that changed, what is absent, and that a look was complete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gix::ObjectId;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::mirror::FETCHES_MAX;
use super::worker::{self, Known, Look, Resumed, Worker};
use super::{Address, Error, public_url};
use crate::config;
use crate::image::Digest;
use crate::observation::{Basis, Fact, Interval, LastTree, Measure, Scope, Subject, Time, TreeNames};
use crate::observers::{Reporter, now};

/// Looks at once, over all hosts: each holds a thread, mostly waiting for its server. A host has four at once, so
/// that seven hosts that stall hold up nobody.
const LOOKS_AT_ONCE_MAX: usize = 32;
static LOOKS: Semaphore = Semaphore::const_new(LOOKS_AT_ONCE_MAX);
/// A first fetch of a large monorepo takes minutes; what takes longer is stopped.
const LOOK_TIME_MAX: Duration = Duration::from_secs(600);
/// After being told to stop, a look has this long; then its thread is given up.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// After a thread was given up, nothing is begun for so long, nor before it has ended: it holds memory, a place
/// among the threads, and the copy.
const GIVEN_UP_PAUSE: Duration = Duration::from_secs(30 * 60);
/// What a copy may take on disk. Shallow copies of the largest deploy repositories are well under one.
const COPY_BYTES_MAX: u64 = 4 << 30;
/// How often time and size are checked during a look.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Complete looks without a branch before it is absent.
const MISSES_UNTIL_ABSENT: u32 = 2;

/// Follows the branches of one repository, one [`Poller::poll`] at a time.
pub struct Poller {
    config: config::Git,
    url: Arc<str>,
    directory: PathBuf,
    reporter: Reporter,
    names: Vec<Arc<str>>,
    branches: BTreeMap<Arc<str>, Branch>,
    worker: Option<Arc<Mutex<Worker>>>,
    fetches_max: u32,
    /// What an earlier process told.
    last_trees: Vec<LastTree>,
    /// The one thread that did not end when told, and since when it is on its own.
    given_up: Option<(JoinHandle<Result<Look, Error>>, Instant)>,
}

/// What earlier looks saw of a branch.
#[derive(Default)]
struct Branch {
    known: Option<Known>,
    /// Start of the last complete look.
    looked: Option<Time>,
    /// Complete looks without it since it was seen.
    misses: u32,
    /// Start of the last look that saw it, and the answer of the first that did not.
    gone: Option<Interval>,
    /// It existed at some look of this process.
    existed: bool,
}

impl Poller {
    /// Nothing is asked and nothing written before the first poll.
    #[must_use]
    pub fn new(config: config::Git, cache: &Path, reporter: Reporter) -> Self {
        let url = public_url(&config.url);
        let name = Digest::of(url.as_bytes()).short().replace(':', "-");
        let names: Vec<Arc<str>> = config.branches.iter().map(|branch| branch.as_str().into()).collect();
        let branches = names.iter().map(|branch| (branch.clone(), Branch::default())).collect();
        let directory = cache.join(format!("git-{name}"));
        Self {
            config,
            url,
            directory,
            reporter,
            names,
            branches,
            worker: None,
            fetches_max: FETCHES_MAX,
            last_trees: Vec::new(),
            given_up: None,
        }
    }

    /// Goes on where an earlier process left off: `Tracker::last_trees` of the restored tracker, other repositories
    /// among them or not. Commits pushed since then are told with their history, and dated between the start of
    /// that look and the end of ours; a branch where nothing changed says nothing again. It works from the
    /// tracker's commits, not from the copy's: what was fetched and never told is told.
    #[must_use]
    pub fn resuming(mut self, last_trees: impl IntoIterator<Item = LastTree>) -> Self {
        self.last_trees = last_trees.into_iter().filter(|tree| tree.url == self.url).collect();
        for tree in &self.last_trees {
            if let Some(branch) = self.branches.get_mut(&tree.branch) {
                (branch.looked, branch.existed) = (Some(tree.started), true);
            }
        }
        self
    }

    /// Makes the copy anew after so many fetches, in place of a number that suits most repositories.
    #[must_use]
    pub fn renewing_after(self, fetches: u32) -> Self {
        Self { fetches_max: fetches.max(1), ..self }
    }

    /// One look at all followed branches: one question, and a fetch only where a tip moved.
    ///
    /// # Errors
    /// The first thing that went wrong; it is reported as facts, too.
    pub async fn poll(&mut self) -> Result<(), Error> {
        let _permit = LOOKS.acquire().await.expect("the semaphore is never closed");
        let started = now();
        let look = match self.look().await {
            Ok(look) => look,
            Err(error) => {
                for branch in self.names.clone() {
                    self.failed(&branch, &error).await;
                }
                return Err(error);
            }
        };
        self.measure(&look);
        let mut first_error = Ok(());
        for (name, seen) in look.branches {
            if let Err(error) = self.report(&name, seen, started, look.answered).await {
                first_error = first_error.and(Err(error));
            }
        }
        first_error
    }

    /// The blocking part on its own thread, with an eye on its time and size.
    async fn look(&mut self) -> Result<Look, Error> {
        if let Some((thread, since)) = &self.given_up {
            if !thread.is_finished() || since.elapsed() < GIVEN_UP_PAUSE {
                return Err(
                    self.stopped("an earlier look did not end when told; the next is in half an hour")
                );
            }
            self.given_up = None;
        }
        let worker = self.worker()?;
        let known: BTreeMap<Arc<str>, Known> = self
            .branches
            .iter()
            .filter_map(|(name, branch)| Some((name.clone(), branch.known.clone()?)))
            .collect();
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let flag = stop.0.clone();
        let mut work = tokio::task::spawn_blocking(move || {
            worker.lock().unwrap_or_else(PoisonError::into_inner).look(&known, &flag)
        });
        let started = Instant::now();
        let mut stopped: Option<&str> = None;
        loop {
            match tokio::time::timeout(WATCH_INTERVAL, &mut work).await {
                Ok(Ok(result)) => {
                    return match stopped {
                        Some(why) if result.is_err() => Err(self.stopped(why)),
                        _ => result,
                    };
                }
                Ok(Err(_)) => {
                    // gix panicked on what the server sent: its state is not to be trusted.
                    self.worker = None;
                    return Err(self.stopped("reading it failed inside; the copy is made anew"));
                }
                Err(_) => {}
            }
            if started.elapsed() > LOOK_TIME_MAX {
                stopped = Some("it took longer than 10 minutes");
            } else if size_of(&self.directory) > COPY_BYTES_MAX {
                stopped = Some("its copy grew above 4 GiB");
            }
            stop.0.store(stopped.is_some(), Ordering::Relaxed);
            if started.elapsed() > LOOK_TIME_MAX + STOP_TIME_MAX {
                // The thread may hang in a read that nobody can end.
                self.worker = None;
                self.given_up = Some((work, Instant::now()));
                return Err(self.stopped("it took longer than 10 minutes and did not end when told"));
            }
        }
    }

    fn worker(&mut self) -> Result<Arc<Mutex<Worker>>, Error> {
        if let Some(worker) = &self.worker {
            return Ok(worker.clone());
        }
        let address = Address::parse(&self.config)?;
        let branches = branches(&address, &self.config)?;
        let mut paths: Vec<Arc<str>> =
            self.config.paths.iter().map(|path| path.path.as_str().into()).collect();
        if paths.is_empty() {
            paths.push("".into());
        }
        let markers = self.config.markers.clone();
        let resumed = resumed(&self.last_trees, &paths);
        let worker = Worker::new(address, branches, paths, markers, self.directory.clone(), self.fetches_max)
            .resuming(resumed);
        Ok(self.worker.insert(Arc::new(Mutex::new(worker))).clone())
    }

    /// What a look saw of one branch, as facts; the levels come before the word that the look is complete.
    async fn report(
        &mut self,
        name: &Arc<str>,
        seen: worker::Branch,
        started: Time,
        answered: Time,
    ) -> Result<(), Error> {
        let branch = self.branches.entry(name.clone()).or_default();
        let since_last = match branch.looked {
            Some(looked) => (Interval::new(looked, answered), Basis::Poll),
            None => (Interval::until(answered), Basis::Backfill),
        };
        match seen {
            worker::Branch::Unread(error) => {
                self.failed(name, &error).await;
                return Err(error);
            }
            worker::Branch::Unchanged => branch.misses = 0,
            worker::Branch::Moved(moved) => {
                (branch.misses, branch.existed) = (0, true);
                let before = branch.known.replace(moved.known).map(|known| known.tip.to_string());
                if moved.new_commits > 0 {
                    let measure =
                        Measure::GitCommits { repository: self.url.clone(), count: moved.new_commits };
                    self.reporter.measure(measure);
                }
                for level in moved.levels {
                    let (happened, basis) = self.happened(&level, before.as_deref(), since_last);
                    self.reporter.fact(happened, basis, Fact::TreeNames(Box::new(level))).await;
                }
            }
            worker::Branch::Missing => {
                let existed = branch.existed;
                self.missed(name, since_last).await;
                if !existed {
                    // Most likely a wrong name, so it is told as a failure. It must not slow the other
                    // branches down, so it is none of the poll.
                    self.branch_looked(name, started);
                    let error = Error::BranchMissing { url: self.url.clone(), branch: name.clone() };
                    self.failed(name, &error).await;
                    return Ok(());
                }
            }
        }
        self.branch_looked(name, started);
        let fact = Fact::LookCompleted {
            scope: self.scope(name),
            started,
            finished: answered,
            interval_seconds: self.config.interval.0,
        };
        self.reporter.fact(Interval::at(answered), Basis::Poll, fact).await;
        Ok(())
    }

    /// When the branch came to this tip: between two looks, or better where the host told of the very push that
    /// brought it there. Of several pushes between two looks only the last is known, so it must be all there is.
    fn happened(
        &self,
        level: &TreeNames,
        before: Option<&str>,
        since_last: (Interval, Basis),
    ) -> (Interval, Basis) {
        let alone = level.commits.len() == 1 && !level.forced;
        let stamps = self.reporter.stamps();
        let stamped =
            || stamps.of_push(&level.url, &level.branch, before, &level.commit, alone, since_last.0);
        match since_last.1 {
            Basis::Poll => stamped().map_or(since_last, |stamped| (stamped, Basis::Webhook)),
            _ => since_last,
        }
    }

    /// A complete look did not find the branch. The second in a row says that it is absent; what comes after
    /// is a new branch, whatever its name.
    async fn missed(&mut self, name: &Arc<str>, since_last: (Interval, Basis)) {
        let branch = self.branches.entry(name.clone()).or_default();
        branch.misses = branch.misses.saturating_add(1);
        if branch.misses == 1 {
            branch.gone = Some(since_last.0);
        }
        if branch.misses != MISSES_UNTIL_ABSENT {
            return;
        }
        branch.known = None;
        let happened = branch.gone.take().unwrap_or(since_last.0);
        let basis = if happened.is_bounded() { Basis::Poll } else { Basis::Backfill };
        let subject = Subject::Branch { url: self.url.clone(), branch: name.clone() };
        self.reporter.fact(happened, basis, Fact::Absent { subject }).await;
    }

    fn branch_looked(&mut self, name: &Arc<str>, started: Time) {
        self.branches.entry(name.clone()).or_default().looked = Some(started);
    }

    async fn failed(&self, name: &Arc<str>, error: &Error) {
        let fact = Fact::LookFailed {
            scope: self.scope(name),
            failure: error.failure(),
            message: error.to_string().into(),
        };
        self.reporter.fact(Interval::at(now()), Basis::Poll, fact).await;
    }

    fn scope(&self, branch: &Arc<str>) -> Scope {
        Scope::Branch { url: self.url.clone(), branch: branch.clone() }
    }

    fn stopped(&self, why: &str) -> Error {
        Error::Stopped { url: self.url.clone(), why: why.into() }
    }

    fn measure(&self, look: &Look) {
        let times =
            [("poll", Some(look.poll_seconds)), ("fetch", look.fetch_seconds), ("read", look.read_seconds)];
        for (operation, seconds) in times {
            if let Some(seconds) = seconds {
                let repository = self.url.clone();
                self.reporter.measure(Measure::GitOperation { repository, operation, seconds });
            }
        }
        let source: Arc<str> = format!("git/{}", self.url).into();
        for reason in &look.dropped {
            self.reporter.measure(Measure::Dropped { source: source.clone(), reason });
        }
    }
}

/// The commits of each branch, in the order of the configured paths.
fn resumed(last_trees: &[LastTree], paths: &[Arc<str>]) -> Resumed {
    let mut resumed = Resumed::new();
    for tree in last_trees {
        let commits = resumed.entry(tree.branch.clone()).or_insert_with(|| vec![None; paths.len()]);
        if let (Some(at), Ok(commit)) =
            (paths.iter().position(|path| *path == tree.path), tree.commit.parse::<ObjectId>())
        {
            commits[at] = Some(commit);
        }
    }
    resumed
}

/// The configured branches, each a name that git allows and that means one branch.
pub fn branches(address: &Address, config: &config::Git) -> Result<Vec<Arc<str>>, Error> {
    let mut branches = Vec::new();
    for branch in &config.branches {
        let full = format!("refs/heads/{branch}");
        let fits = gix::refs::FullName::try_from(full).is_ok() && !branch.contains(':');
        let branch: Arc<str> = branch.as_str().into();
        if !fits {
            return Err(Error::BranchName { url: address.url().clone(), branch });
        }
        if !branches.contains(&branch) {
            branches.push(branch);
        }
    }
    Ok(branches)
}

/// A look that nobody waits for any more must not go on fetching.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Bytes of the packs in a copy's directory: what a fetch can make grow.
fn size_of(directory: &Path) -> u64 {
    let files = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    files(directory.to_owned())
        .flat_map(|copy| files(copy.path().join("objects").join("pack")))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}
