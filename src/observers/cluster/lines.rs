//! Cuts a body into lines, however it was cut on the way.

use bytes::{Buf, BytesMut};

/// The longest line that is read. etcd refuses objects above 1.5 MiB by default; JSON and managed fields
/// may make that several times larger.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// A line, or the news that one was too long and left out.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(bytes::Bytes),
    TooLong,
}

/// Bytes that wait for the end of their line.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: BytesMut,
    /// Bytes at the start of `waiting` that are known to hold no line end.
    searched: usize,
    /// The line under way is too long: everything up to its end is thrown away.
    skipping: bool,
}

impl Lines {
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole line, without its end. Empty lines are left out.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(at) = self.waiting[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.waiting.len();
                if self.searched > LINE_BYTES_MAX {
                    self.waiting.clear();
                    self.searched = 0;
                    self.skipping = true;
                }
                return None;
            };
            let line = self.waiting.split_to(self.searched + at).freeze();
            self.waiting.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) || line.len() > LINE_BYTES_MAX {
                return Some(Line::TooLong);
            }
            if !line.is_empty() {
                return Some(Line::Whole(line));
            }
        }
    }
}
