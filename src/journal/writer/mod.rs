//! Between the tracker and the disk: a thread that commits whatever is there, and never lets anybody wait.
//!
//! Handing over is a push into a bounded queue. While the disk refuses, observations stay in memory and are tried
//! again; beyond the bound the oldest are dropped and counted, and a checkpoint of the present state is asked for
//! as soon as the disk takes it. `keeper.rs` is the thread.

mod keeper;
mod pending;
mod queue;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use self::keeper::Keeper;
use self::queue::{Command, Shared};
use super::{Error, Journal, Keep, Limits, Position, State, Status, Tail};
use crate::observation::Observation;

/// A commit that takes longer is told as a slow disk.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);

/// How far the thread is; what somebody may wait for.
#[derive(Debug, Clone, Copy)]
struct Progress {
    durable: Position,
    /// The tracker's time that was written, in milliseconds since the epoch.
    advanced: i64,
    /// Waiting would be in vain for now.
    degraded: bool,
}

/// The way into the journal. Dropping it lets the thread write what it has and end.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Somebody waited in vain; nobody does again before there is progress.
    late: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on an open journal.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(journal: Journal) -> std::io::Result<Self> {
        let at = journal.position();
        Self::spawn(at, journal.limits.waiting_observations_max, |shared, progress| {
            Keeper::over(journal, shared, progress)
        })
    }

    /// Starts the thread where the journal could not be opened for now: it tries again and again. Observations
    /// are numbered from `position` on, which must be after all that the file may hold.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start_without(
        path: &Path,
        limits: Limits,
        why: &Error,
        position: Position,
    ) -> std::io::Result<Self> {
        let (path, why) = (path.to_owned(), why.to_string());
        let max = limits.waiting_observations_max;
        Self::spawn(position, max, move |shared, progress| {
            Keeper::without(path, limits, why, shared, progress)
        })
    }

    fn spawn(
        at: Position,
        waiting_max: usize,
        keeper: impl FnOnce(Arc<Shared>, watch::Sender<Progress>) -> Keeper,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(at, waiting_max));
        let (send, progress) = watch::channel(Progress { durable: at, advanced: i64::MIN, degraded: false });
        let keeper = keeper(shared.clone(), send);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || keeper.run())?;
        Ok(Self { shared, progress, late: AtomicBool::new(false), thread: Mutex::new(Some(thread)) })
    }

    /// Hands observations over and says where the next will stand. Never waits. `told`: what observations before
    /// it led to was told.
    pub fn append(&self, observations: Arc<Vec<Observation>>, told: Position) -> Position {
        self.shared.append(observations, told)
    }

    /// Hands a checkpoint over, of the state after everything that was handed over so far.
    pub fn checkpoint(&self, bytes: Vec<u8>, told: Position) {
        self.shared.checkpoint(bytes, told);
    }

    /// Notes that time alone led to something: the tracker was at `at` (milliseconds since the epoch). A start
    /// lets time pass up to there after the last observation.
    pub fn advanced(&self, at: i64) {
        self.shared.advanced(at);
    }

    /// Says what compaction must leave alone from now on. Before this was said nothing is compacted.
    pub fn keep(&self, keep: Keep) {
        self.shared.push(Command::Keep(keep));
    }

    /// What was observed from about then on (milliseconds since the epoch), as far as it is on disk.
    ///
    /// # Errors
    /// The file cannot be read, or there is none now.
    pub async fn since(&self, at: i64) -> Result<Tail, String> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Command::Since { at, reply });
        answer.await.unwrap_or_else(|_| Err("the journal's thread has ended".into()))
    }

    /// Waits until everything before a position is durable, but no longer than `at_most`, and not at all while
    /// the disk is known to refuse or to be late. True if it is durable.
    pub async fn durable(&self, position: Position, at_most: Duration) -> bool {
        self.reached(at_most, |progress| progress.durable >= position).await
    }

    /// The same for [`Writer::advanced`].
    pub async fn durable_advance(&self, at: i64, at_most: Duration) -> bool {
        self.reached(at_most, |progress| progress.advanced >= at).await
    }

    async fn reached(&self, at_most: Duration, is: impl Fn(&Progress) -> bool) -> bool {
        let mut progress = self.progress.clone();
        let now = *progress.borrow_and_update();
        if is(&now) {
            self.late.store(false, Ordering::Relaxed);
            return true;
        }
        if now.degraded || self.late.load(Ordering::Relaxed) {
            return false;
        }
        let enough = |progress: &Progress| is(progress) || progress.degraded;
        let waited = tokio::time::timeout(at_most, progress.wait_for(enough)).await;
        let durable = matches!(&waited, Ok(Ok(progress)) if is(progress));
        self.late.store(!durable, Ordering::Relaxed);
        durable
    }

    /// How it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.shared.status(Instant::now());
        if self.thread().as_ref().is_none_or(JoinHandle::is_finished) {
            status.state = State::Degraded("the journal's thread has ended".into());
        }
        status
    }

    /// Takes the messages about the file that nobody has told yet.
    #[must_use]
    pub fn take_notes(&self) -> Vec<String> {
        self.shared.take_notes()
    }

    /// Writes what it has, tries once where the disk refuses, and closes the file. Blocks for as long.
    pub fn finish(&self) {
        self.shared.close();
        let thread = self.thread().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread broke; what it had not written is lost");
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
