//! What the follower writes into the journal and when: every batch, and a checkpoint once enough has changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::memory::Parts;
use crate::exporters::metrics::{JournalNumbers, Metrics};
use crate::journal::{InUse, Keep, Position, State, Status, Writer};
use crate::observation::{Fact, Interests, Observation, Time};
use crate::tracker::Tracker;

/// What a batch led to is shown after this, durable or not: a disk may be slow, the page not.
const DURABLE_WAIT_MAX: Duration = Duration::from_millis(100);
/// A checkpoint after so many observations: a start replays these at most, within a tenth of a second.
const CHECKPOINT_OBSERVATIONS: u64 = 20_000;
/// A checkpoint after this, if anything was observed since.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Making one stops the tracker; so it takes at most one part in so many of the time.
const CHECKPOINT_SHARE: u32 = 50;
/// Time before the oldest open journey that is kept too: what it moved away from.
const OPEN_MARGIN_MILLIS: i64 = 3_600_000;

/// See the file's front line.
pub struct Keeping {
    writer: Arc<Writer>,
    epoch: u64,
    /// Everything before it was handed over.
    position: Position,
    /// What everything before it led to was told.
    told: Position,
    checkpoint_position: Position,
    checkpoint_at: Instant,
    /// Making the last one took this long.
    took: Duration,
}

impl Keeping {
    pub fn new(writer: Arc<Writer>, position: Position, epoch: u64) -> Self {
        let checkpoint_at = Instant::now();
        Self {
            writer,
            epoch,
            position,
            told: position,
            checkpoint_position: position,
            checkpoint_at,
            took: Duration::ZERO,
        }
    }

    /// Hands a batch over; never waits.
    pub fn append(&mut self, observations: Arc<Vec<Observation>>) -> Position {
        if !observations.is_empty() {
            self.position = self.writer.append(observations, self.told);
        }
        self.position
    }

    /// Waits for the disk, but not for long. `advanced`: up to then time alone led to something that is counted.
    pub async fn durable(&self, position: Position, advanced: Option<Time>) {
        if let Some(at) = advanced {
            self.writer.advanced(at.0);
            self.writer.durable_advance(at.0, DURABLE_WAIT_MAX).await;
        }
        self.writer.durable(position, DURABLE_WAIT_MAX).await;
    }

    /// What was handed over so far is told now.
    pub fn told(&mut self) {
        self.told = self.position;
    }

    /// Writes a checkpoint if it is time for one. `moved`: a journey did, so that what must be kept may have
    /// changed.
    pub fn keep(&mut self, tracker: &Tracker, metrics: &Metrics, moved: bool) {
        let since = self.checkpoint_at.elapsed();
        let new = self.position.0 - self.checkpoint_position.0;
        let due = new >= CHECKPOINT_OBSERVATIONS || (new > 0 || moved) && since >= CHECKPOINT_EVERY;
        let wanted = || self.writer.status().wants_checkpoint;
        if since >= self.took * CHECKPOINT_SHARE && (due || since >= Duration::from_secs(1) && wanted()) {
            self.checkpoint(tracker, metrics);
        }
    }

    /// Writes a last checkpoint and waits until everything is on disk.
    pub async fn end(mut self, tracker: &Tracker, metrics: &Metrics) {
        self.checkpoint(tracker, metrics);
        let writer = self.writer;
        let closed = tokio::task::spawn_blocking(move || writer.finish());
        if closed.await.is_err() {
            tracing::error!("the journal was not closed");
        }
    }

    fn checkpoint(&mut self, tracker: &Tracker, metrics: &Metrics) {
        let started = Instant::now();
        let (state, totals) = (tracker.checkpoint(), metrics.checkpoint());
        let parts = Parts { epoch: self.epoch, tracker: &state, metrics: &totals };
        self.writer.checkpoint(parts.write(), self.told);
        self.writer.keep(needed(tracker));
        self.took = started.elapsed();
        self.checkpoint_position = self.position;
        self.checkpoint_at = Instant::now();
    }
}

/// What compaction must leave alone.
fn needed(tracker: &Tracker) -> Keep {
    let open = tracker.journeys().filter(|journey| !journey.settled);
    let began = open.map(|journey| {
        let at = journey.opened.not_before;
        if at.is_known() { at } else { journey.opened.not_after }
    });
    let interests = tracker.interests();
    let in_use: InUse = Arc::new(move |fact| is_used(&interests, fact));
    Keep { open_since: began.min().map(|at| at.0 - OPEN_MARGIN_MILLIS), in_use: Some(in_use) }
}

/// Whether a tag or an image is named by anything that runs, should run or is selected.
fn is_used(interests: &Interests, fact: &Fact) -> bool {
    match fact {
        Fact::TagPointsTo { repository, tag, digest } => interests
            .repositories
            .get(repository)
            .is_some_and(|wanted| wanted.tags.contains(tag) || wanted.digests.contains(digest)),
        Fact::ImageDescribed(image) => interests.repositories.get(&image.repository).is_some_and(|wanted| {
            wanted.digests.contains(&image.digest)
                || image.nodes.iter().any(|node| wanted.digests.contains(&node.digest))
        }),
        _ => true,
    }
}

/// How the journal is.
pub fn status(keeping: Option<&Keeping>) -> Status {
    keeping.map_or_else(Status::off, |keeping| keeping.writer.status())
}

/// The same for the metrics.
pub fn gauges(status: &Status) -> JournalNumbers {
    JournalNumbers {
        configured: status.state != State::Off,
        ok: status.state == State::Ok,
        queued: status.queued,
        stored: status.stored,
        bytes: status.bytes_on_disk,
        last_commit_seconds: status.last_commit_seconds,
        commits: status.commits,
        dropped: status.dropped,
        compacted: status.compacted,
        rebuilt: status.rebuilt,
        behind: status.checkpoint.map_or(status.position.0, |at| status.position.0.saturating_sub(at.0)),
    }
}
