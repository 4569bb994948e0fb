//! How the journal is, in numbers that whoever owns it hands over.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::series::{Registry, Series};
use super::table;

/// The journal at one moment. Counts are since the start of this process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JournalNumbers {
    /// Without one no family is given.
    pub configured: bool,
    /// What is observed becomes durable.
    pub ok: bool,
    pub queued: u64,
    pub stored: u64,
    pub bytes: u64,
    pub last_commit_seconds: Option<f64>,
    pub commits: u64,
    pub dropped: u64,
    pub compacted: u64,
    pub rebuilt: u64,
    /// Observations after the last checkpoint: a start replays them.
    pub behind: u64,
}

/// The families.
#[derive(Debug)]
pub struct Journal {
    up: Series<Gauge>,
    queued: Series<Gauge>,
    stored: Series<Gauge>,
    bytes: Series<Gauge>,
    behind: Series<Gauge>,
    last_commit: Series<Gauge<f64, AtomicU64>>,
    commits: Series<Counter>,
    dropped: Series<Counter>,
    compacted: Series<Counter>,
    rebuilt: Series<Counter>,
    last: Mutex<JournalNumbers>,
}

impl Journal {
    pub fn register(to: &mut Registry, refused: &Counter) -> Self {
        Self {
            up: Series::register(to, &table::JOURNAL_UP, Gauge::default, refused),
            queued: Series::register(to, &table::JOURNAL_QUEUED, Gauge::default, refused),
            stored: Series::register(to, &table::JOURNAL_OBSERVATIONS, Gauge::default, refused),
            bytes: Series::register(to, &table::JOURNAL_BYTES, Gauge::default, refused),
            behind: Series::register(to, &table::JOURNAL_BEHIND, Gauge::default, refused),
            last_commit: Series::register(to, &table::JOURNAL_COMMIT_SECONDS, Gauge::default, refused),
            commits: Series::register(to, &table::JOURNAL_COMMITS, Counter::default, refused),
            dropped: Series::register(to, &table::JOURNAL_DROPPED, Counter::default, refused),
            compacted: Series::register(to, &table::JOURNAL_COMPACTED, Counter::default, refused),
            rebuilt: Series::register(to, &table::JOURNAL_REBUILT, Counter::default, refused),
            last: Mutex::default(),
        }
    }

    /// Takes the present numbers.
    pub fn take(&self, now: &JournalNumbers) {
        if !now.configured {
            return;
        }
        let last = std::mem::replace(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner), *now);
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.up.with(&[]).set(i64::from(now.ok));
        self.queued.with(&[]).set(whole(now.queued));
        self.stored.with(&[]).set(whole(now.stored));
        self.bytes.with(&[]).set(whole(now.bytes));
        self.behind.with(&[]).set(whole(now.behind));
        if let Some(seconds) = now.last_commit_seconds {
            self.last_commit.with(&[]).set(seconds);
        }
        self.commits.with(&[]).inc_by(now.commits.saturating_sub(last.commits));
        self.dropped.with(&[]).inc_by(now.dropped.saturating_sub(last.dropped));
        self.compacted.with(&[]).inc_by(now.compacted.saturating_sub(last.compacted));
        self.rebuilt.with(&[]).inc_by(now.rebuilt.saturating_sub(last.rebuilt));
    }
}
