//! Observers look at registries, git and clusters and report facts. They never decide.
//!
//! Each folder is one kind of source with one `run` function that ends only when its task is aborted, and a
//! pure part (parse, decode, compare) that tests feed with text. An observer knows `image`, `observation`,
//! `policy` and `config`, never the tracker. The next kind of source is the next folder beside these; if it is polled,
//! `schedule` says when. What several kinds need to get in (`tls`, `secret`, `program`) is a file here.

pub mod cluster;
pub mod git;
pub mod hooks;
pub mod program;
pub mod registry;
pub mod schedule;
pub mod scrape;
pub mod secret;
pub mod tls;

use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use tokio::sync::mpsc;

use self::hooks::Stamps;
use crate::observation::{Basis, ClusterUid, Fact, Interval, Measure, Observation, SCHEMA, SourceId, Time};

/// Reports waiting for the tracker. Observers wait when it is full, so a burst slows the looks, not the memory.
pub const REPORT_QUEUE_SIZE: usize = 4096;

/// What an observer hands over.
#[derive(Debug)]
pub enum Report {
    Observation(Box<Observation>),
    Measure(Measure),
}

/// The way from one source to the tracker: numbers and stamps what the source says.
#[derive(Debug, Clone)]
pub struct Reporter {
    source: SourceId,
    cluster: Option<ClusterUid>,
    epoch: u64,
    seq: Arc<Mutex<u64>>,
    stamps: Stamps,
    to: mpsc::Sender<Report>,
}

impl Reporter {
    /// A reporter for one source. `epoch` is larger than that of any earlier process: its start time.
    #[must_use]
    pub fn new(source: SourceId, epoch: u64, to: mpsc::Sender<Report>) -> Self {
        Self { source, cluster: None, epoch, seq: Arc::default(), stamps: Stamps::default(), to }
    }

    /// The same source, whose looks may find what senders of webhooks gave a time for.
    #[must_use]
    pub fn with_stamps(self, stamps: Stamps) -> Self {
        Self { stamps, ..self }
    }

    /// What senders of webhooks said about when.
    #[must_use]
    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// The same source, now that its cluster's UID is known.
    #[must_use]
    pub fn with_cluster(&self, uid: ClusterUid) -> Self {
        Self { cluster: Some(uid), ..self.clone() }
    }

    /// Who is speaking.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Reports a fact learned now. Waits while the queue is full; a closed queue means the program is ending.
    pub async fn fact(&self, happened: Interval, basis: Basis, fact: Fact) {
        let Ok(permit) = self.to.reserve().await else { return };
        self.send(permit, happened, basis, fact);
    }

    fn send(&self, permit: mpsc::Permit<'_, Report>, happened: Interval, basis: Basis, fact: Fact) {
        // Numbered and sent under one lock: the order in the queue is the order of the numbers.
        let mut seq = self.seq.lock().unwrap_or_else(PoisonError::into_inner);
        *seq += 1;
        permit.send(Report::Observation(Box::new(Observation {
            schema: SCHEMA,
            source: self.source.clone(),
            source_epoch: self.epoch,
            seq: *seq,
            cluster: self.cluster.clone(),
            observed_at: now(),
            happened,
            basis,
            fact,
        })));
    }

    /// Room for one fact, for who must not wait. None while the queue is full: let it be said again.
    #[must_use]
    pub fn room(&self) -> Option<Room<'_>> {
        Some(Room { reporter: self, permit: self.to.try_reserve().ok()? })
    }

    /// Reports a number about work. Never waits: where the queue is full the number is lost, a journey is not.
    pub fn measure(&self, measure: Measure) {
        let _ = self.to.try_send(Report::Measure(measure));
    }
}

/// See [`Reporter::room`].
#[derive(Debug)]
pub struct Room<'a> {
    reporter: &'a Reporter,
    permit: mpsc::Permit<'a, Report>,
}

impl Room<'_> {
    /// Reports a fact learned now.
    pub fn fact(self, happened: Interval, basis: Basis, fact: Fact) {
        self.reporter.send(self.permit, happened, basis, fact);
    }
}

/// Our clock.
#[must_use]
pub fn now() -> Time {
    Time::from(Utc::now())
}
