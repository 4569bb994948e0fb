//! Reading rows in order, a row at a time, whatever is appended meanwhile. Every row is checked.

use std::path::{Path, PathBuf};

use redb::{ReadOnlyTable, ReadTransaction};

use super::error::Fault;
use super::file::guarded;
use super::row::{self, Head};
use super::store::ROWS;
use super::{Error, Position};
use crate::observation::Observation;

/// The rows from a position to the end that the journal had when this was made.
#[derive(Debug)]
pub struct Rows {
    table: ReadOnlyTable<u64, &'static [u8]>,
    /// Start of the next row; a position inside of a row before the first.
    next: Position,
    first: bool,
    head: Position,
    pub path: PathBuf,
}

/// A row as stored.
pub struct RawRow {
    pub start: Position,
    pub head: Head,
    pub bytes: Vec<u8>,
}

impl Rows {
    pub fn new(read: &ReadTransaction, from: Position, head: Position, path: &Path) -> Result<Self, Fault> {
        let table = read.open_table(ROWS)?;
        Ok(Self { table, next: from, first: true, head, path: path.to_owned() })
    }

    /// The next row, and that it is the one which must come. `None` at the end.
    pub fn next(&mut self) -> Result<Option<RawRow>, Fault> {
        if self.next >= self.head {
            return if self.next == self.head {
                Ok(None)
            } else {
                Err(Fault::damaged("its rows go on beyond its end"))
            };
        }
        let (start, bytes) = guarded(|| {
            let mut range = if self.first {
                self.table.range(..=self.next.0)?
            } else {
                self.table.range(self.next.0..)?
            };
            let found = if self.first { range.next_back() } else { range.next() };
            let (key, value) =
                found.ok_or_else(|| Fault::Damaged(format!("there is no row at {}", self.next)))??;
            Ok((Position(key.value()), value.value().to_vec()))
        })?;
        let head = row::head(start, &bytes).map_err(Fault::Damaged)?;
        let fits = if self.first { head.end > self.next } else { start == self.next };
        if !fits || head.end > self.head {
            return Err(Fault::Damaged(format!("there is no row at {}", self.next)));
        }
        (self.next, self.first) = (head.end, false);
        Ok(Some(RawRow { start, head, bytes }))
    }

    /// Reads to the end and unpacks nothing.
    pub fn verify(mut self) -> Result<(), Fault> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// The row before a position, going backwards.
    pub fn before(&self, position: Position) -> Result<Option<RawRow>, Fault> {
        let found = guarded(|| {
            let Some(found) = self.table.range(..position.0)?.next_back() else { return Ok(None) };
            let (key, value) = found?;
            Ok(Some((Position(key.value()), value.value().to_vec())))
        })?;
        let Some((start, bytes)) = found else { return Ok(None) };
        let head = row::head(start, &bytes).map_err(Fault::Damaged)?;
        if head.end != position {
            return Err(Fault::Damaged(format!("there is no row before {position}")));
        }
        Ok(Some(RawRow { start, head, bytes }))
    }

    /// A row's start before which everything was observed before `at`, by halving: clocks that were set back may
    /// make it too early or too late by as much.
    pub fn find(&self, at: i64, base: Position, head: Position) -> Result<Position, Fault> {
        let (mut low, mut high) = (base.0, head.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = guarded(|| {
                let found = self.table.range(base.0..=middle)?.next_back();
                let (key, value) = found.ok_or_else(|| Fault::damaged("its first row is missing"))??;
                Ok((Position(key.value()), value.value().to_vec()))
            })?;
            let row = row::head(found.0, &found.1).map_err(Fault::Damaged)?;
            if row.last_at >= at {
                high = found.0.0.min(middle);
            } else {
                low = row.end.0.max(middle + 1);
            }
        }
        Ok(Position(low.min(head.0)))
    }
}

/// Observations in order, read a row at a time.
#[derive(Debug)]
pub struct Tail {
    rows: Rows,
    from: Position,
    ended: bool,
    /// From when on a state can be told (milliseconds since the epoch): nothing that it needs was dropped by compaction.
    /// `None` where nobody noted it.
    pub whole_since: Option<i64>,
}

/// The observations of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Each with its place. After compaction the place is only about right, inside of the row's span.
    pub observations: Vec<(Position, Observation)>,
    /// The place after it.
    pub end: Position,
    /// Lines that this program cannot read: a newer one wrote them. They stay where they are.
    pub unread: u64,
    /// Observations that were lost before they could be written.
    pub lost: u64,
}

/// The lines of one row, from the place on where the reading begins.
pub struct RowLines {
    pub start: Position,
    pub head: Head,
    pub lines: Vec<Vec<u8>>,
}

impl Tail {
    pub(super) fn new(rows: Rows, from: Position) -> Self {
        Self { rows, from, ended: false, whole_since: None }
    }

    pub(super) fn whole_since(self, whole_since: Option<i64>) -> Self {
        Self { whole_since, ..self }
    }

    /// The stored lines of the next row.
    pub(super) fn next_lines(&mut self) -> Result<Option<RowLines>, Fault> {
        let Some(raw) = self.rows.next()? else { return Ok(None) };
        let (head, mut lines) = row::lines(raw.start, &raw.bytes).map_err(Fault::Damaged)?;
        let mut start = raw.start;
        if start < self.from {
            // The checkpoint is in the middle of the row.
            let before = usize::try_from(self.from.0 - start.0).unwrap_or(usize::MAX).min(lines.len());
            lines.drain(..before);
            start = self.from;
        }
        Ok(Some(RowLines { start, head, lines }))
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, Fault> {
        let Some(RowLines { start, head, lines }) = self.next_lines()? else { return Ok(None) };
        let lost = if head.gap { head.end.0 - start.0 } else { 0 };
        let mut batch =
            Batch { observations: Vec::with_capacity(lines.len()), end: head.end, unread: 0, lost };
        for (place, line) in (start.0..).zip(&lines) {
            match serde_json::from_slice(line) {
                Ok(observation) => batch.observations.push((Position(place), observation)),
                Err(_) => batch.unread += 1,
            }
        }
        Ok(Some(batch))
    }
}

impl Iterator for Tail {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_batch().map_err(|fault| fault.at(&self.rows.path));
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}
