//! What can still be read of a broken journal: its checkpoint, and what follows that without a break.
//!
//! What cannot be read is observed anew. So this may give little or nothing, but never something else than was
//! written.

use std::path::Path;

use super::error::Fault;
use super::file;
use super::row::Row;
use super::store::Journal;
use super::tail::Rows;
use super::{Checkpoint, Limits, Position};

/// More rows are not read into memory: the checkpoint is never that far behind.
const BYTES_MAX: usize = 64 << 20;

/// What was saved.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// Where the new journal begins.
    pub base: Position,
    pub told: Position,
    pub advanced: i64,
    pub checkpoint: Option<Checkpoint>,
    pub rows: Vec<Row>,
}

impl Salvaged {
    /// For the note.
    pub fn sentence(&self) -> String {
        let lines: u64 = self.rows.iter().map(|row| u64::from(row.lines)).sum();
        match &self.checkpoint {
            Some(_) => format!(
                "its checkpoint and {lines} observations after it could be read, the rest is rebuilt from the sources"
            ),
            None => "nothing of use could be read, everything is rebuilt from the sources".into(),
        }
    }
}

/// Reads what can be read. Without a checkpoint nothing is taken: old rows without what led to them would be
/// the past told as if it were now.
pub fn read(path: &Path) -> Salvaged {
    try_read(path).unwrap_or_default()
}

fn try_read(path: &Path) -> Result<Salvaged, Fault> {
    let journal = Journal::open_for_salvage(path)?;
    let Some((journal, checkpoint)) = journal else { return Ok(Salvaged::default()) };
    let position = checkpoint.position;
    let mut rows = Vec::new();
    if let Ok(from) = journal.rows(position) {
        collect(from, position, &mut rows);
    }
    let head = rows.last().map_or(position, |row| row.end);
    let told = journal.stored().told.min(head);
    let advanced = journal.stored().advanced;
    Ok(Salvaged { base: position, told, advanced, checkpoint: Some(checkpoint), rows })
}

fn collect(mut from: Rows, position: Position, rows: &mut Vec<Row>) {
    let mut bytes = 0;
    while let Ok(Some(raw)) = from.next() {
        // A row that the checkpoint cuts in two cannot be taken whole.
        bytes += raw.bytes.len();
        if raw.start < position || bytes > BYTES_MAX {
            break;
        }
        rows.push(Row { start: raw.start, end: raw.head.end, lines: raw.head.lines, bytes: raw.bytes });
    }
}

impl Journal {
    /// The journal and its checkpoint, whatever its rows are like.
    fn open_for_salvage(path: &Path) -> Result<Option<(Self, Checkpoint)>, Fault> {
        let (database, _) = file::open(path)?;
        let mut journal = Self::over(path, Limits::default(), database);
        let checkpoint = file::guarded(|| journal.load())?;
        Ok(checkpoint.map(|checkpoint| (journal, checkpoint)))
    }
}
