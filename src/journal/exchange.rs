//! Out and in as JSON lines: one observation per line, as it stands in the journal.

use std::io::{BufRead, Read as _, Write};

use super::error::Fault;
use super::{Error, Journal, Line};
use crate::observation::Observation;

/// Longer lines are refused: the largest facts, a repository's first list of tags, stay below by far.
pub const LINE_BYTES_MAX: usize = 32 << 20;
/// Lines that go into one commit of an import.
const LINES_PER_COMMIT: usize = 20_000;
/// Bytes that go into one commit of an import.
const BYTES_PER_COMMIT: usize = 32 << 20;

/// What an import took in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    pub lines: u64,
    /// Lines whose fact this program does not know; they are kept.
    pub unknown: u64,
}

impl Journal {
    /// Writes every stored observation, oldest first, one per line and byte for byte as it was appended. Says how
    /// many.
    ///
    /// # Errors
    /// The journal cannot be read, or `to` refuses.
    pub fn export(&self, to: &mut impl Write) -> Result<u64, Error> {
        let mut tail = self.everything()?;
        let mut export = || {
            let mut count = 0;
            while let Some(row) = tail.next_lines()? {
                for line in &row.lines {
                    to.write_all(line).and_then(|()| to.write_all(b"\n")).map_err(Fault::Disk)?;
                    count += 1;
                }
            }
            to.flush().map_err(Fault::Disk)?;
            Ok(count)
        };
        export().map_err(|fault: Fault| fault.at(&self.path))
    }

    /// Appends observations from JSON lines. What was committed before a line that is wrong stays.
    ///
    /// # Errors
    /// A line is no observation: its number and why; or the journal cannot be written.
    pub fn import(&mut self, from: impl BufRead) -> Result<Imported, Error> {
        let mut imported = Imported::default();
        let mut lines = Vec::new();
        let mut bytes = 0;
        for line in import_lines(from) {
            let line = line?;
            imported.lines += 1;
            imported.unknown += u64::from(serde_json::from_slice::<Observation>(&line.json).is_err());
            bytes += line.json.len();
            lines.push(line);
            if lines.len() == LINES_PER_COMMIT || bytes >= BYTES_PER_COMMIT {
                self.append_lines(&lines, None)?;
                lines.clear();
                bytes = 0;
            }
        }
        self.append_lines(&lines, None)?;
        Ok(imported)
    }
}

/// Reads JSON lines, empty ones left out.
pub fn import_lines(mut from: impl BufRead) -> impl Iterator<Item = Result<Line, Error>> {
    let mut number = 0;
    let mut ended = false;
    std::iter::from_fn(move || {
        while !ended {
            number += 1;
            let next = next_line(&mut from);
            match next {
                Ok(None) => return None,
                Ok(Some(json)) if json.is_empty() => {}
                Ok(Some(json)) => match Line::from_json(json) {
                    Ok(line) => return Some(Ok(line)),
                    Err(error) => {
                        ended = true;
                        return Some(Err(Error::Line {
                            line: number,
                            what: format!("no observation: {error}"),
                        }));
                    }
                },
                Err(what) => {
                    ended = true;
                    return Some(Err(Error::Line { line: number, what }));
                }
            }
        }
        None
    })
}

fn next_line(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut json = Vec::new();
    let mut limited = from.take(LINE_BYTES_MAX as u64 + 1);
    let count = limited.read_until(b'\n', &mut json).map_err(|error| error.to_string())?;
    if count == 0 {
        return Ok(None);
    }
    if count > LINE_BYTES_MAX {
        return Err(format!("longer than {LINE_BYTES_MAX} bytes"));
    }
    while json.last().is_some_and(u8::is_ascii_whitespace) {
        json.pop();
    }
    Ok(Some(json))
}
