//! The journal: observations in the order in which the tracker took them, and a checkpoint of what came of them.
//!
//! `store.rs` appends and reads, `writer.rs` stands between the tracker and a disk that may be slow, full or gone.
//! What is stored is said by `row.rs` (pure); `file.rs` opens the file and sets a broken one aside; `compact.rs`
//! decides what may be dropped. A checkpoint is opaque bytes here. Whatever the file holds, nothing here panics
//! on it, and nothing is read back that was not written. Another way out of the journal is a file beside
//! `exchange.rs`.

mod aside;
mod compact;
mod error;
mod exchange;
mod file;
pub mod row;
mod salvage;
mod status;
mod store;
mod subject;
mod tail;
mod whole;
mod writer;

pub use compact::{Compacted, InUse, Keep, Pass};
pub use error::Error;
pub use exchange::{Imported, LINE_BYTES_MAX, import_lines};
pub use row::Line;
pub use status::{State, Status};
pub use store::{Journal, Opened, Stored};
pub use tail::{Batch, Tail};
pub use writer::{SLOW_AFTER, Writer};

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A place between two observations: how many were appended before it since the journal began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What came of every observation before a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first observation that is not in it.
    pub position: Position,
    /// What observations before this led to was told already: traces, logs and readers of events have it.
    pub settled: Position,
    /// Whatever the caller wants back.
    pub bytes: Vec<u8>,
}

/// How much is kept. Beyond one of the first three the journal is compacted, oldest first; beyond one of the
/// others the oldest observations that the disk did not take are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of rows on disk. The file may be larger by what is free in it.
    pub bytes_max: u64,
    /// Observations stored.
    pub observations_max: u64,
    /// Age of the oldest observation.
    pub age_max: Duration,
    /// Observations that wait for the writer's thread.
    pub waiting_observations_max: usize,
    /// Bytes of rows that wait for the disk.
    pub waiting_bytes_max: usize,
}

impl Default for Limits {
    /// One gibibyte fits the smallest volume that clouds sell; 14 days are what `settle.forget_after` looks
    /// back; ten million observations are replayed within seconds. What waits for the disk is a minute of 2,000
    /// observations each second, about a kilobyte each, and several times that once compressed.
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            observations_max: 10_000_000,
            age_max: Duration::from_secs(14 * 24 * 3600),
            waiting_observations_max: 120_000,
            waiting_bytes_max: 64 << 20,
        }
    }
}
