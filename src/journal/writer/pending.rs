//! Rows that are not on disk yet, oldest first, bounded in bytes.

use std::collections::VecDeque;

use super::super::row::{self, Line, Row};
use super::super::{Checkpoint, Position};

/// See the file's front line.
#[derive(Debug)]
pub struct Pending {
    rows: VecDeque<Row>,
    bytes: usize,
    bytes_max: usize,
    /// Where the next row begins.
    end: Position,
    pub checkpoint: Option<Checkpoint>,
    /// The end of what was lost and no checkpoint makes good yet.
    pub lost_until: Option<Position>,
    /// How much was dropped here.
    pub dropped: u64,
}

impl Pending {
    pub fn new(at: Position, bytes_max: usize) -> Self {
        Self {
            rows: VecDeque::new(),
            bytes: 0,
            bytes_max,
            end: at,
            checkpoint: None,
            lost_until: None,
            dropped: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.checkpoint.is_none()
    }

    /// Adds lines that follow.
    pub fn add(&mut self, start: Position, lines: &[Line]) {
        self.add_gap(start);
        for row in row::rows(start, lines) {
            self.push(row);
        }
        self.drop_surplus();
    }

    /// Everything up to there that is not here is lost.
    pub fn add_gap(&mut self, until: Position) {
        if until > self.end {
            let gap = row::gap(self.end, until);
            self.push(gap);
            self.lost(until);
        }
    }

    pub fn rows(&mut self) -> &[Row] {
        self.rows.make_contiguous()
    }

    /// These are on disk.
    pub fn written(&mut self, head: Position, checkpoint: Option<Position>) {
        while self.rows.front().is_some_and(|row| row.end <= head) {
            self.pop();
        }
        if let Some(at) = checkpoint {
            if self.checkpoint.as_ref().is_some_and(|pending| pending.position <= at) {
                self.checkpoint = None;
            }
            if self.lost_until.is_some_and(|lost| lost <= at) {
                self.lost_until = None;
            }
        }
    }

    /// Makes them follow a journal that ends at `head`: what it lacks before is lost.
    pub fn follow(&mut self, head: Position) {
        self.written(head, None);
        match self.rows.front() {
            Some(first) if first.start > head => {
                let gap = row::gap(head, first.start);
                let until = first.start;
                self.bytes += gap.bytes.len();
                self.rows.push_front(gap);
                self.lost(until);
            }
            Some(_) => {}
            None if self.end > head => {
                let until = self.end;
                self.end = head;
                self.add_gap(until);
            }
            None => self.end = head,
        }
    }

    /// Something before this is not in the journal.
    pub fn lost(&mut self, until: Position) {
        self.lost_until = Some(self.lost_until.map_or(until, |known| known.max(until)));
    }

    fn push(&mut self, row: Row) {
        self.end = row.end;
        self.bytes += row.bytes.len();
        self.rows.push_back(row);
    }

    fn pop(&mut self) -> Option<Row> {
        let row = self.rows.pop_front()?;
        self.bytes -= row.bytes.len();
        Some(row)
    }

    /// The oldest rows go first, and leave one gap.
    fn drop_surplus(&mut self) {
        let mut gap: Option<(Position, Position)> = None;
        while self.bytes > self.bytes_max && self.rows.len() > 1 {
            let Some(row) = self.pop() else { break };
            self.dropped += u64::from(row.lines);
            gap = Some((gap.map_or(row.start, |(start, _)| start), row.end));
        }
        if let Some((start, end)) = gap {
            let row = row::gap(start, end);
            self.bytes += row.bytes.len();
            self.rows.push_front(row);
            self.lost(end);
        }
    }
}
