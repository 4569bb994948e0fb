//! The exposition as text, in both formats, plain or packed.
//!
//! A line is three pieces put behind each other: what stands before the labels (once per family), the labels (once
//! per series, escaped when it is born), and the value. Nothing is read again afterwards, so both formats come out
//! of the same code: the classic one has other metadata and no exemplars.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::format::Format;
use super::table::{Family, Kind, PREFIX};

/// Text is packed in pieces that stay in a core's own cache.
const PIECE_BYTES: usize = 128 * 1024;
/// A scrape has a deadline and its text shrinks to a twentieth even so.
const LEVEL: Compression = Compression::fast();
/// Room for a value and the end of its line.
const VALUE_BYTES: usize = 32;

/// A value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Count(u64),
    Whole(i64),
    Real(f64),
}

/// An exemplar: the trace behind one observation of a bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    pub trace_id: String,
    pub value: f64,
    /// Seconds since 1970.
    pub at: f64,
}

/// An exposition under way.
#[derive(Debug)]
pub struct Text {
    format: Format,
    text: String,
    packed: Option<GzEncoder<Vec<u8>>>,
}

/// What stands before the labels in the lines of a family.
#[derive(Debug)]
pub struct Names {
    pub sample: String,
    pub sum: String,
    pub count: String,
    /// One per bucket, the last for everything.
    pub buckets: Vec<String>,
}

impl Names {
    #[must_use]
    pub fn of(family: &Family) -> Self {
        let name = family.full_name();
        let buckets = match family.kind {
            Kind::Counter | Kind::Gauge | Kind::Info => Vec::new(),
            Kind::Histogram(buckets) => {
                let bounds = buckets.bounds().iter().map(|bound| format!("{name}_bucket{{le=\"{bound:?}\","));
                bounds.chain([format!("{name}_bucket{{le=\"+Inf\",")]).collect()
            }
        };
        let [sum, count] = ["sum", "count"].map(|end| format!("{name}_{end}{{"));
        Self { sample: format!("{name}{{"), sum, count, buckets }
    }
}

impl Text {
    /// Text that stays as it is; `room` is about how long it will be.
    #[must_use]
    pub fn plain(format: Format, room: usize) -> Self {
        Self { format, text: String::with_capacity(room), packed: None }
    }

    /// Text that is packed as it grows, so that the whole of it is never in memory.
    #[must_use]
    pub fn gzip(format: Format) -> Self {
        let packed = Some(GzEncoder::new(Vec::new(), LEVEL));
        Self { format, text: String::with_capacity(2 * PIECE_BYTES), packed }
    }

    /// Begins a family. Its samples follow before the next family begins.
    pub fn family(&mut self, family: &Family) {
        let full = family.full_name();
        // Only the classic format calls a family as its samples are called.
        let (name, kind) = match (self.format, family.kind) {
            (_, Kind::Gauge) => (full.as_str(), "gauge"),
            (_, Kind::Histogram(_)) => (full.as_str(), "histogram"),
            (Format::Classic, Kind::Counter) => (full.as_str(), "counter"),
            (Format::Classic, Kind::Info) => (full.as_str(), "gauge"),
            (Format::OpenMetrics, Kind::Counter) => (full.strip_suffix("_total").unwrap_or(&full), "counter"),
            (Format::OpenMetrics, Kind::Info) => (full.strip_suffix("_info").unwrap_or(&full), "info"),
        };
        debug_assert!(name.starts_with(PREFIX));
        self.push(&["# HELP ", name, " ", family.help, ".\n# TYPE ", name, " ", kind, "\n"]);
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            self.push(&["# UNIT ", name, " ", unit, "\n"]);
        }
    }

    /// One line: a name of [`Names`], the labels of a series, its value.
    pub fn sample(&mut self, name: &str, labels: &str, value: Number) {
        self.text.reserve(name.len() + labels.len() + VALUE_BYTES);
        self.text.push_str(name);
        self.text.push_str(labels);
        self.text.push_str("} ");
        self.value(value);
        self.text.push('\n');
    }

    /// The same with what the classic format leaves out.
    pub fn sample_with(&mut self, name: &str, labels: &str, value: Number, exemplar: Option<&Exemplar>) {
        self.sample(name, labels, value);
        if let (Format::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
            self.text.pop();
            // Our own hexadecimal digits: nothing to escape.
            self.push(&[" # {trace_id=\"", &exemplar.trace_id, "\"} "]);
            self.value(Number::Real(exemplar.value));
            self.text.push(' ');
            self.value(Number::Real(exemplar.at));
            self.text.push('\n');
        }
    }

    /// Packs what has come together, where packing was asked for and it is worth it.
    pub fn pack(&mut self) {
        if self.text.len() >= PIECE_BYTES {
            self.pack_all();
        }
    }

    /// The whole exposition.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.pack_all();
        match self.packed {
            None => self.text.into_bytes(),
            Some(packed) => packed.finish().expect("a Vec takes every byte"),
        }
    }

    fn pack_all(&mut self) {
        if let Some(packed) = &mut self.packed {
            packed.write_all(self.text.as_bytes()).expect("a Vec takes every byte");
            self.text.clear();
        }
    }

    fn push(&mut self, pieces: &[&str]) {
        pieces.iter().for_each(|piece| self.text.push_str(piece));
    }

    fn value(&mut self, value: Number) {
        /// Whole numbers below it are exact, and quicker to write as such.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let to = &mut self.text;
        match value {
            Number::Count(count) => write!(to, "{count}"),
            Number::Whole(whole) => write!(to, "{whole}"),
            Number::Real(real) if real.is_nan() => write!(to, "NaN"),
            Number::Real(real) if real.is_infinite() => {
                write!(to, "{}", if real > 0.0 { "+Inf" } else { "-Inf" })
            }
            Number::Real(real) if real.trunc() == real && real.abs() < EXACT => {
                write!(to, "{}.0", real as i64)
            }
            Number::Real(real) => write!(to, "{real:?}"),
        }
        .expect("a String takes every text");
    }
}

/// Appends a label set without its braces: `cluster="lab",app="web"`.
pub fn push_labels(to: &mut String, names: &[&str], values: &[&str]) {
    for (at, (name, value)) in names.iter().zip(values).enumerate() {
        if at > 0 {
            to.push(',');
        }
        to.push_str(name);
        to.push_str("=\"");
        push_escaped(to, value);
        to.push('"');
    }
}

/// The values of what [`push_labels`] wrote.
#[must_use]
pub fn values_of(labels: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut value = String::new();
    let mut inside = false;
    let mut characters = labels.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' if inside => values.push(std::mem::take(&mut value)),
            '\\' if inside => value.push(match characters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            }),
            _ if inside => value.push(character),
            _ => {}
        }
        if character == '"' {
            inside = !inside;
        }
    }
    values
}

fn push_escaped(to: &mut String, value: &str) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        return to.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '"' => to.push_str("\\\""),
            '\n' => to.push_str("\\n"),
            other => to.push(other),
        }
    }
}
