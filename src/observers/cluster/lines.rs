//! Cuts a body into lines, however it was cut on the way.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// The longest line, and the largest object of a list, that is read. etcd refuses objects above 1.5 MiB by
/// default; JSON and managed fields may make that several times larger.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// A line, or the news that one was too long and left out.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Bytes),
    TooLong,
}

/// Bytes that wait for the end of their line. What came whole is handed on as it came; only a line that was cut on
/// the way is put together in memory of its own.
#[derive(Debug, Default)]
pub struct Lines {
    /// The start of a line whose end has not come.
    started: BytesMut,
    /// What came last, and has not been searched.
    came: Bytes,
    /// The line under way is too long: everything up to its end is thrown away.
    skipping: bool,
}

impl Lines {
    /// Adds what came. Call [`Self::next_line`] until there is none before the next.
    pub fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.came.is_empty(), "lines are waiting");
        self.came = bytes;
    }

    /// The next whole line, without its end. Empty lines are left out.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(at) = memchr(b'\n', &self.came) else {
                let rest = std::mem::take(&mut self.came);
                self.skipping |= self.started.len() + rest.len() > LINE_BYTES_MAX;
                if self.skipping {
                    self.started = BytesMut::new();
                } else {
                    self.started.extend_from_slice(&rest);
                }
                return None;
            };
            let mut line = self.came.split_to(at + 1);
            line.truncate(at);
            if std::mem::take(&mut self.skipping) || self.started.len() + line.len() > LINE_BYTES_MAX {
                self.started = BytesMut::new();
                return Some(Line::TooLong);
            }
            if !self.started.is_empty() {
                self.started.extend_from_slice(&line);
                line = std::mem::take(&mut self.started).freeze();
            }
            if !line.is_empty() {
                return Some(Line::Whole(line));
            }
        }
    }
}
