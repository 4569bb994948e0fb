//! How observations stand in a row of the journal: JSON lines, compressed where that helps, with a checksum.
//!
//! A row covers a span of positions and says so, so that a missing row is noticed. After compaction it may hold
//! fewer observations than its span is long. Lines are kept byte for byte: what a newer program wrote survives.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Deserialize;

use super::Position;
use crate::observation::{Observation, Time};

/// Observations in one row: a page or four of the file when compressed, and little to decode for one of them.
pub const ROW_LINES_MAX: usize = 256;
/// Bytes of lines in one row, before compression. One line more may cross it.
const ROW_TEXT_MAX: usize = 128 << 10;
/// What compression may not make of a row: a crafted one must not fill memory. One line may be that long.
pub const ROW_TEXT_LIMIT: usize = ROW_TEXT_MAX + super::LINE_BYTES_MAX;
/// Smaller texts do not shrink enough to be worth it.
const COMPRESS_FROM: usize = 512;
/// Kind, lines, end, first and last time; the checksum stands at the end of the row.
const HEAD_LENGTH: usize = 1 + 4 + 8 + 8 + 8;
const CHECKSUM_LENGTH: usize = 4;

/// One observation as stored: its JSON, without the line's end, and when it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub json: Vec<u8>,
    /// Milliseconds since the epoch.
    pub at: i64,
}

impl Line {
    /// Writes an observation.
    #[must_use]
    pub fn of(observation: &Observation) -> Self {
        let json = serde_json::to_vec(observation).expect("keys are strings, and nothing else can fail");
        Self { json, at: observation.observed_at.0 }
    }

    /// Takes a line as it is, of this program or a newer one.
    ///
    /// # Errors
    /// It is no JSON object that says when it was observed.
    pub fn from_json(json: Vec<u8>) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Envelope {
            observed_at: String,
        }
        let envelope: Envelope = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let at = Time::from_rfc3339(&envelope.observed_at)
            .ok_or_else(|| format!("{:?} in observed_at is no RFC 3339 time", envelope.observed_at))?;
        Ok(Self { json, at: at.0 })
    }
}

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain = 0,
    Deflated = 1,
    /// Observations that were lost before they could be written.
    Gap = 2,
}

/// A row before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub start: Position,
    pub end: Position,
    pub lines: u32,
    pub bytes: Vec<u8>,
}

/// The front of a row whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub end: Position,
    pub lines: u32,
    /// Observed first and last, milliseconds since the epoch; zero in a gap.
    pub first_at: i64,
    pub last_at: i64,
    /// Nothing is known of its span.
    pub gap: bool,
}

/// Cuts lines into rows. The first stands at `start`, every line is one position long.
#[must_use]
pub fn rows(start: Position, lines: &[Line]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut at = start;
    let mut rest = lines;
    while !rest.is_empty() {
        let mut text = 0;
        let fits = rest.iter().take(ROW_LINES_MAX).take_while(|line| {
            let room = text < ROW_TEXT_MAX;
            text += line.json.len() + 1;
            room
        });
        let (these, others) = rest.split_at(fits.count());
        let end = Position(at.0 + these.len() as u64);
        rows.push(row(at, end, these));
        (at, rest) = (end, others);
    }
    rows
}

/// One row for a whole span, of the lines that are left of it.
#[must_use]
pub fn row(start: Position, end: Position, lines: &[Line]) -> Row {
    let mut text = Vec::with_capacity(lines.iter().map(|line| line.json.len() + 1).sum());
    for line in lines {
        text.extend_from_slice(&line.json);
        text.push(b'\n');
    }
    let deflated = (text.len() >= COMPRESS_FROM).then(|| deflate(&text)).filter(|d| d.len() < text.len());
    let kind = if deflated.is_some() { Kind::Deflated } else { Kind::Plain };
    let first_at = lines.iter().map(|line| line.at).min().unwrap_or_default();
    let last_at = lines.iter().map(|line| line.at).max().unwrap_or_default();
    let count = u32::try_from(lines.len()).expect("a row has a few hundred lines");
    let bytes = encode(start, kind, [first_at, last_at], count, end, &deflated.unwrap_or(text));
    Row { start, end, lines: count, bytes }
}

/// A row that says that observations were lost.
#[must_use]
pub fn gap(start: Position, end: Position) -> Row {
    Row { start, end, lines: 0, bytes: encode(start, Kind::Gap, [0, 0], 0, end, &[]) }
}

fn encode(
    start: Position,
    kind: Kind,
    [first, last]: [i64; 2],
    lines: u32,
    end: Position,
    text: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LENGTH + text.len() + CHECKSUM_LENGTH);
    bytes.push(kind as u8);
    bytes.extend_from_slice(&lines.to_le_bytes());
    bytes.extend_from_slice(&end.0.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&last.to_le_bytes());
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(&checksum(start, &bytes).to_le_bytes());
    bytes
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut to = DeflateEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    to.write_all(text).and_then(|()| to.finish()).expect("a Vec takes every byte")
}

/// With the position in it, so that a row is not taken for another.
fn checksum(start: Position, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&start.0.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads the front of a stored row; a sentence where it is not what was written.
pub fn head(start: Position, bytes: &[u8]) -> Result<Head, String> {
    parts(start, bytes).map(|(head, ..)| head)
}

fn parts(start: Position, bytes: &[u8]) -> Result<(Head, Kind, &[u8]), String> {
    let wrong = |what: &str| format!("the row at {start} {what}");
    let (front, sum) = bytes.split_last_chunk::<CHECKSUM_LENGTH>().ok_or_else(|| wrong("is too short"))?;
    if checksum(start, front) != u32::from_le_bytes(*sum) {
        return Err(wrong("does not match its checksum"));
    }
    let (front, text) = front.split_at_checked(HEAD_LENGTH).ok_or_else(|| wrong("is too short"))?;
    let kind = match front[0] {
        0 => Kind::Plain,
        1 => Kind::Deflated,
        2 => Kind::Gap,
        other => return Err(wrong(&format!("is of the unknown kind {other}"))),
    };
    let eight = |at: usize| <[u8; 8]>::try_from(&front[at..at + 8]).expect("eight bytes");
    let lines = u32::from_le_bytes(front[1..5].try_into().expect("four bytes"));
    let head = Head {
        end: Position(u64::from_le_bytes(eight(5))),
        lines,
        first_at: i64::from_le_bytes(eight(13)),
        last_at: i64::from_le_bytes(eight(21)),
        gap: kind == Kind::Gap,
    };
    if head.end <= start {
        return Err(wrong("ends before it begins"));
    }
    Ok((head, kind, text))
}

/// Reads a stored row.
pub fn lines(start: Position, bytes: &[u8]) -> Result<(Head, Vec<Vec<u8>>), String> {
    let (head, kind, text) = parts(start, bytes)?;
    let text = match kind {
        Kind::Gap => return Ok((head, Vec::new())),
        Kind::Plain => text.to_vec(),
        Kind::Deflated => {
            let mut out = Vec::new();
            let limit = ROW_TEXT_LIMIT as u64 + 1;
            DeflateDecoder::new(text)
                .take(limit)
                .read_to_end(&mut out)
                .map_err(|error| format!("the row at {start} does not unpack: {error}"))?;
            if out.len() > ROW_TEXT_LIMIT {
                return Err(format!("the row at {start} unpacks to more than {ROW_TEXT_LIMIT} bytes"));
            }
            out
        }
    };
    let lines: Vec<Vec<u8>> =
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    if lines.len() != head.lines as usize {
        return Err(format!("the row at {start} has {} lines and says {}", lines.len(), head.lines));
    }
    Ok((head, lines))
}
