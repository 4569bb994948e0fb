//! What a start remembers: the checkpoint, then the observations after it through the same tracker, before
//! anybody is served. Without a journal, nothing.

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::exporters::metrics::Metrics;
use crate::journal::{Journal, Limits, Opened, Position, Tail, Writer};
use crate::observation::Time;
use crate::observers::now;
use crate::tracker::{Event, Tracker};

use super::Error;

/// The state to go on from.
#[derive(Default)]
pub struct Recalled {
    pub tracker: Tracker,
    /// The way into the journal, if there is one.
    pub writer: Option<Arc<Writer>>,
    /// Observations remembered so far.
    pub position: Position,
    /// The highest epoch that any source spoke in.
    pub epoch: u64,
    /// What the last observations led to and nobody was told before: traces, logs and readers of events.
    pub untold: Vec<Event>,
}

/// Opens the journal and goes on from it.
///
/// # Errors
/// The journal is in use, of a newer program, or no journal. A disk that refuses is no error: it is tried again.
pub async fn recall(config: &config::Journal, metrics: Arc<Metrics>) -> Result<Recalled, Error> {
    let Some(path) = config.path.clone() else {
        tracing::info!("no journal: a restart begins anew (--journal FILE remembers)");
        return Ok(Recalled::default());
    };
    let limits = limits(config);
    // It reads a disk and computes; no thread that serves others may stand still for that.
    tokio::task::spawn_blocking(move || open(&path, limits, &metrics))
        .await
        .unwrap_or_else(|error| Err(Error::Thread(std::io::Error::other(error))))
}

fn limits(config: &config::Journal) -> Limits {
    Limits {
        bytes_max: config.max_mebibytes << 20,
        observations_max: config.max_observations,
        age_max: config.keep.duration(),
        ..Limits::default()
    }
}

fn open(path: &Path, limits: Limits, metrics: &Metrics) -> Result<Recalled, Error> {
    let opened = match Journal::open(path, limits) {
        Ok(opened) => opened,
        Err(error @ crate::journal::Error::Disk { .. }) => {
            // Whatever the file holds was numbered by fewer than a thousand observations each second.
            let position = Position(now().0.unsigned_abs().saturating_mul(1000));
            let writer = Writer::start_without(path, limits, &error, position).map_err(Error::Thread)?;
            return Ok(Recalled { writer: Some(Arc::new(writer)), position, ..Recalled::default() });
        }
        Err(error) => return Err(error.into()),
    };
    opened.notes.iter().for_each(|note| tracing::error!("{note}"));
    let started = std::time::Instant::now();
    let (journal, mut recalled) = replay(opened, metrics)?;
    recalled.position = journal.position();
    tracing::info!(
        journal = %path.display(),
        observations = recalled.position.0,
        milliseconds = started.elapsed().as_millis() as u64,
        "the journal was read"
    );
    recalled.writer = Some(Arc::new(Writer::start(journal).map_err(Error::Thread)?));
    Ok(recalled)
}

/// Checkpoint and tail. Where the checkpoint is another version's, everything that is stored is replayed, and only
/// what is after the checkpoint is counted: its totals hold the rest.
///
/// # Errors
/// The journal cannot be read.
pub fn replay(opened: Opened, metrics: &Metrics) -> Result<(Journal, Recalled), Error> {
    let Opened { journal, checkpoint, told, advanced, mut tail, notes: _ } = opened;
    let mut recalled = Recalled::default();
    let mut counted_from = Position(0);
    if let Some(checkpoint) = checkpoint {
        counted_from = checkpoint.position;
        match Parts::read(&checkpoint.bytes) {
            Some(parts) => {
                recalled.epoch = parts.epoch;
                if let Err(error) = metrics.restore(parts.metrics) {
                    tracing::error!("the totals of the journal: {error}");
                }
                match Tracker::restore(parts.tracker) {
                    Ok(tracker) => recalled.tracker = tracker,
                    Err(error) => {
                        tracing::warn!("{error}; everything that is stored is replayed");
                        tail = journal.everything()?;
                    }
                }
            }
            None => {
                tracing::warn!("the checkpoint is of another version; everything that is stored is replayed");
                tail = journal.everything()?;
            }
        }
    }
    run(tail, counted_from, told, metrics, &mut recalled)?;
    // Time led to something after the last observation; whether that was told, nobody knows.
    let events = recalled.tracker.advance(Time(advanced));
    events.iter().for_each(|event| metrics.event(event));
    recalled.untold.extend(events);
    Ok((journal, recalled))
}

fn run(
    tail: Tail,
    counted_from: Position,
    told: Position,
    metrics: &Metrics,
    recalled: &mut Recalled,
) -> Result<(), Error> {
    let mut lost = 0;
    for batch in tail {
        let batch = batch?;
        lost += batch.lost;
        for (position, observation) in batch.observations {
            recalled.epoch = recalled.epoch.max(observation.source_epoch);
            let events = recalled.tracker.observe(&observation);
            if position >= counted_from {
                events.iter().for_each(|event| metrics.event(event));
            }
            if position >= told {
                recalled.untold.extend(events);
            }
        }
    }
    if lost > 0 {
        tracing::warn!(lost, "observations are missing in the journal: the disk had refused them");
    }
    Ok(())
}

/// The parts of a checkpoint: what the tracker knows, and the totals of the metrics.
pub struct Parts<'a> {
    pub epoch: u64,
    pub tracker: &'a [u8],
    pub metrics: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The version of this envelope; the parts have their own.
    const VERSION: u8 = 1;

    /// As bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(17 + self.tracker.len() + self.metrics.len());
        bytes.push(Self::VERSION);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&(self.metrics.len() as u64).to_le_bytes());
        bytes.extend_from_slice(self.metrics);
        bytes.extend_from_slice(self.tracker);
        bytes
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != Self::VERSION {
            return None;
        }
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (metrics, tracker) = rest.split_at_checked(length)?;
        Some(Self { epoch: u64::from_le_bytes(*epoch), tracker, metrics })
    }
}
