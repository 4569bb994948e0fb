//! Making room: old rows are thinned to what is still the last word about something, newest first, a few rows in
//! each commit, so that nobody waits for it and a kill in the middle costs nothing.
//!
//! Never dropped: what comes after the checkpoint, what open journeys need, and the last fact of each kind about
//! each subject in use. Dropped first: what a later fact has replaced. Where that is not enough, facts about
//! tags and images that nobody uses. What is later than the rows that are thinned replaces nothing in them, so that the
//! state at any time since can be told; the journal says since when.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use redb::ReadableTable as _;

use super::error::Fault;
use super::row::{self, Line, Row};
use super::store::{ROWS, Stored};
use super::subject::{self, SubjectKey};
use super::tail::RawRow;
use super::{Error, Journal, Position, whole};
use crate::observation::{Fact, Observation};

/// Rows read in one step: some ten milliseconds of work.
const STEP_ROWS: usize = 16;
/// A compaction goes down to this share of a limit, so that it does not begin again at once.
const LEAVE_SHARE: f64 = 0.75;
/// Subjects that are told apart in one pass: 32 bytes each. Beyond it the rest is kept.
const SUBJECTS_MAX: usize = 4_000_000;

/// Says whether somebody still uses what a fact is about: a tag, an image.
pub type InUse = Arc<dyn Fn(&Fact) -> bool + Send + Sync>;

/// What compaction must leave alone.
#[derive(Clone, Default)]
pub struct Keep {
    /// When the oldest open journey began, in milliseconds since the epoch: everything from then on stays.
    pub open_since: Option<i64>,
    /// Asked only where dropping what is superseded was not enough. Without it everything is in use.
    pub in_use: Option<InUse>,
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("open_since", &self.open_since).finish_non_exhaustive()
    }
}

/// One way through the rows, from the newest to the oldest.
#[derive(Debug)]
pub struct Pass {
    keep: Keep,
    /// Rows that end at or before it are thinned.
    cut: Position,
    /// Where it begins: what is later stays, and is not read.
    from: Position,
    /// Everything from here up to there was read.
    at: Position,
    seen: HashSet<SubjectKey>,
    only_in_use: bool,
    /// When the last observation of the rows was made that are read.
    whole_since: Option<i64>,
    done: Compacted,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Observations dropped.
    pub dropped: u64,
    /// Bytes of rows that are free now.
    pub bytes: u64,
}

impl Journal {
    /// Begins a compaction if a limit is passed. `now` in milliseconds since the epoch.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn compaction(&self, keep: Keep, now: i64) -> Result<Option<Pass>, Error> {
        self.begin_pass(keep, now).map_err(|fault| fault.at(&self.path))
    }

    /// Goes on with a compaction, one commit. `true` when it is through.
    ///
    /// # Errors
    /// The disk refuses, or a row is damaged.
    pub fn compact_step(&mut self, pass: &mut Pass) -> Result<bool, Error> {
        self.step(pass).map_err(|fault| fault.at(&self.path))
    }

    /// Compacts until it is through: for a journal that nobody writes to.
    ///
    /// # Errors
    /// As [`Journal::compact_step`].
    pub fn compact(&mut self, keep: Keep, now: i64) -> Result<Compacted, Error> {
        let Some(mut pass) = self.compaction(keep, now)? else { return Ok(Compacted::default()) };
        while !self.compact_step(&mut pass)? {}
        Ok(pass.done)
    }

    pub(super) fn begin_pass(&self, keep: Keep, now: i64) -> Result<Option<Pass>, Fault> {
        // Without a checkpoint the rows are all there is.
        let Some(checkpoint) = self.checkpoint else { return Ok(None) };
        let Some(cut) = self.cut(now)? else { return Ok(None) };
        let rows = self.rows(self.stored.base)?;
        let needed = match keep.open_since {
            Some(since) => rows.find(since, self.stored.base, self.stored.head)?,
            None => self.stored.head,
        };
        let cut = cut.min(checkpoint).min(needed);
        if cut <= self.stored.base {
            return Ok(None);
        }
        // A checkpoint may be inside of a row.
        let around = self.rows(cut)?.next()?.filter(|row| row.start < cut);
        let from = around.map_or(cut, |row| row.head.end);
        Ok(Some(Pass {
            keep,
            cut,
            from,
            at: from,
            seen: HashSet::new(),
            only_in_use: false,
            whole_since: None,
            done: Compacted::default(),
        }))
    }

    /// What is before this must be thinned, for one limit or another.
    fn cut(&self, now: i64) -> Result<Option<Position>, Fault> {
        let (limits, stored) = (self.limits, self.stored);
        let age = i64::try_from(limits.age_max.as_millis()).unwrap_or(i64::MAX);
        let rows = self.rows(stored.base)?;
        let oldest = now.saturating_sub(age);
        // A day of one fortnight late is soon enough, and saves a pass for each row that grows too old.
        let overdue = oldest.saturating_sub(age / 14);
        let by_age = rows.find(overdue, stored.base, stored.head)? > stored.base && self.has_superseded();
        let over = |value: u64, max: u64| value > max;
        if !by_age && !over(stored.lines, limits.observations_max) && !over(stored.bytes, limits.bytes_max) {
            return Ok(None);
        }
        let mut cut = rows.find(oldest, stored.base, stored.head)?;
        if over(stored.lines, limits.observations_max) || over(stored.bytes, limits.bytes_max) {
            cut = cut.max(self.newest(limits.observations_max, limits.bytes_max)?);
        }
        Ok(Some(cut))
    }

    /// The rows that may stay whole, from the newest on.
    fn newest(&self, lines_max: u64, bytes_max: u64) -> Result<Position, Fault> {
        let share = |max: u64| (max as f64 * LEAVE_SHARE) as u64;
        let (mut lines, mut bytes) = (0, 0);
        let rows = self.rows(self.stored.base)?;
        let mut at = self.stored.head;
        while let Some(row) = rows.before(at)? {
            lines += u64::from(row.head.lines);
            bytes += row.bytes.len() as u64;
            if lines > share(lines_max) || bytes > share(bytes_max) {
                break;
            }
            at = row.start;
        }
        Ok(at)
    }

    /// A pass over what was thinned already would find nothing: as long as less than this was added since.
    fn has_superseded(&self) -> bool {
        self.stored.lines > self.stored.thinned + self.stored.thinned / 10
    }

    pub(super) fn step(&mut self, pass: &mut Pass) -> Result<bool, Fault> {
        let rows = self.rows(self.stored.base)?;
        let mut read: Vec<RawRow> = Vec::new();
        while read.len() < STEP_ROWS
            && let Some(row) = rows.before(read.last().map_or(pass.at, |row| row.start))?
        {
            read.push(row);
        }
        let Some(last) = read.last() else { return self.end_pass(pass) };
        pass.whole_since = pass.whole_since.max(read.iter().map(|row| row.head.last_at).max());
        let at = last.start;
        drop(rows);
        let mut old = Vec::new();
        let mut kept = Vec::new();
        for row in read {
            let (head, lines) = row::lines(row.start, &row.bytes).map_err(Fault::Damaged)?;
            let thin = head.end <= pass.cut;
            // From the newest to the oldest inside of the row too.
            for line in lines.into_iter().rev() {
                if let Some(line) = pass.take(line, thin) {
                    kept.push(line);
                }
            }
            if thin {
                old.push((row.start, head.end, head.lines, row.bytes.len() as u64));
            }
        }
        kept.reverse();
        if !old.is_empty() {
            self.replace(&old, &kept, pass)?;
        }
        pass.at = at;
        if at <= self.stored.base { self.end_pass(pass) } else { Ok(false) }
    }

    fn end_pass(&mut self, pass: &mut Pass) -> Result<bool, Fault> {
        let (limits, stored) = (self.limits, self.stored);
        let over = stored.lines > limits.observations_max || stored.bytes > limits.bytes_max;
        if over && !pass.only_in_use && pass.keep.in_use.is_some() {
            pass.only_in_use = true;
            pass.at = pass.from;
            pass.seen.clear();
            return Ok(false);
        }
        let stored = Stored { thinned: self.stored.lines, ..self.stored };
        self.transact(stored, |_| Ok(()))?;
        Ok(true)
    }

    /// Puts what is kept of neighbouring rows, newest first in `old`, in their place.
    fn replace(
        &mut self,
        old: &[(Position, Position, u32, u64)],
        kept: &[Line],
        pass: &mut Pass,
    ) -> Result<(), Fault> {
        let (Some((_, end, ..)), Some((start, ..))) = (old.first(), old.last()) else { return Ok(()) };
        let lines: u64 = old.iter().map(|(_, _, lines, _)| u64::from(*lines)).sum();
        if kept.len() as u64 == lines {
            return Ok(());
        }
        let gone_in_front = kept.is_empty() && *start == self.stored.base;
        let new = if gone_in_front { Vec::new() } else { over_span(*start, *end, kept) };
        let mut stored = self.stored;
        let new_bytes: u64 = new.iter().map(|row| row.bytes.len() as u64).sum();
        let old_bytes: u64 = old.iter().map(|(.., bytes)| bytes).sum();
        stored.lines = stored.lines.saturating_sub(lines) + kept.len() as u64;
        stored.bytes = stored.bytes.saturating_sub(old_bytes) + new_bytes;
        if gone_in_front {
            stored.base = *end;
        }
        let whole_since = self.whole_since.max(pass.whole_since);
        self.transact(stored, |transaction| {
            whole::write(transaction, whole_since)?;
            let mut table = transaction.open_table(ROWS)?;
            for (start, ..) in old {
                table.remove(start.0)?;
            }
            for row in &new {
                table.insert(row.start.0, &row.bytes[..])?;
            }
            debug_assert!(table.first()?.is_none_or(|(first, _)| first.value() == stored.base.0));
            Ok(())
        })?;
        self.whole_since = whole_since;
        pass.done.dropped += lines - kept.len() as u64;
        pass.done.bytes += old_bytes.saturating_sub(new_bytes);
        Ok(())
    }
}

/// Rows that cover a span with fewer lines than it is long. Without any line one row still covers it.
fn over_span(start: Position, end: Position, lines: &[Line]) -> Vec<Row> {
    let mut rows = row::rows(start, lines);
    match rows.pop() {
        Some(last) => {
            let before: usize = rows.iter().map(|row| row.lines as usize).sum();
            rows.push(row::row(last.start, end, &lines[before..]));
            rows
        }
        None => vec![row::row(start, end, &[])],
    }
}

impl Pass {
    /// What it did so far.
    #[must_use]
    pub fn done(&self) -> Compacted {
        self.done
    }

    /// Looks at a line, newer ones first. `None` where it goes.
    fn take(&mut self, json: Vec<u8>, thin: bool) -> Option<Line> {
        let observation = serde_json::from_slice::<Observation>(&json).ok();
        let superseded = observation.as_ref().is_some_and(|observation| self.is_superseded(observation));
        if !thin {
            return None;
        }
        let unused = |observation: &Observation| {
            subject::is_over(observation)
                || self.only_in_use
                    && self.keep.in_use.as_ref().is_some_and(|in_use| !in_use(&observation.fact))
        };
        if superseded || observation.as_ref().is_some_and(unused) {
            return None;
        }
        Line::from_json(json).ok()
    }

    fn is_superseded(&mut self, observation: &Observation) -> bool {
        let Some(key) = subject::key(observation) else { return false };
        if self.seen.len() >= SUBJECTS_MAX {
            return self.seen.contains(&key);
        }
        !self.seen.insert(key)
    }
}
