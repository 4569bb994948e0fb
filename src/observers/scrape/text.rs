//! Reads an exposition of Prometheus' text format, or of OpenMetrics, as it comes in: only the lines that are used are
//! kept, and of those only two numbers an object.

use std::collections::BTreeMap;

/// A line of Flux's has 200 bytes. What is longer is passed over.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Lines of one exposition. Ten thousand objects have 130,000.
const LINES_MAX: usize = 2_000_000;
/// Objects of one exposition that are kept: twice what a large cluster has.
pub const OBJECTS_MAX: usize = 20_000;
/// Kubernetes' own bound of a name.
const NAME_BYTES_MAX: usize = 253;

/// The only family that is used. Every controller of Flux has it.
const FAMILY: &str = "gotk_reconcile_duration_seconds";
/// The kind that scans.
const KIND: &str = "ImageRepository";

/// An object that is reconciled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    pub namespace: String,
    pub name: String,
}

/// How often an object was reconciled since the controller started, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Total {
    pub seconds: f64,
    pub count: f64,
}

/// Reads pieces of an exposition in their order.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// This line is too long: its end is waited for.
    passing: bool,
    lines: usize,
    found: BTreeMap<ObjectName, (Option<f64>, Option<f64>)>,
    left_out: usize,
}

impl Reader {
    /// Takes the next piece. False where there are more lines than anybody has: the rest need not be read.
    #[must_use]
    pub fn push(&mut self, piece: &[u8]) -> bool {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.last() == Some(&b'\n');
            if !self.passing {
                self.line.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
                self.passing = self.line.len() > LINE_BYTES_MAX;
            }
            if self.passing {
                self.line.clear();
            }
            if ends {
                self.end_line();
                if self.lines > LINES_MAX {
                    return false;
                }
            }
        }
        true
    }

    /// What was found, and how many objects were left out because there are too many. An object without both its
    /// numbers is none.
    #[must_use]
    pub fn end(mut self) -> (BTreeMap<ObjectName, Total>, usize) {
        self.end_line();
        let whole = self.found.into_iter().filter_map(|(object, (seconds, count))| {
            Some((object, Total { seconds: seconds?, count: count? }))
        });
        (whole.collect(), self.left_out)
    }

    /// Whether anything was there that looks like an exposition.
    #[must_use]
    pub fn has_lines(&self) -> bool {
        self.lines > 0
    }

    fn end_line(&mut self) {
        self.lines += 1;
        self.passing = false;
        let line = std::mem::take(&mut self.line);
        if let Some((object, part, value)) = std::str::from_utf8(&line).ok().and_then(sample) {
            if self.found.len() >= OBJECTS_MAX && !self.found.contains_key(&object) {
                // Its other line is not counted again.
                self.left_out += usize::from(part == Part::Count);
            } else {
                let known = self.found.entry(object).or_default();
                match part {
                    Part::Seconds => known.0 = Some(value),
                    Part::Count => known.1 = Some(value),
                }
            }
        }
        // Its room is used again.
        self.line = line;
        self.line.clear();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Seconds,
    Count,
}

/// A line that is used.
fn sample(line: &str) -> Option<(ObjectName, Part, f64)> {
    let rest = line.trim_start().strip_prefix(FAMILY)?;
    let (part, rest) = match rest.strip_prefix("_sum{") {
        Some(rest) => (Part::Seconds, rest),
        None => (Part::Count, rest.strip_prefix("_count{")?),
    };
    let (labels, rest) = labels(rest)?;
    let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    if !value.is_finite() || value < 0.0 {
        return None;
    }
    let [kind, namespace, name] = labels;
    let fits = |text: &str| !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    (kind == KIND && fits(&namespace) && fits(&name)).then_some((ObjectName { namespace, name }, part, value))
}

/// Kind, namespace and name of the labels that begin here, and what follows them.
fn labels(text: &str) -> Option<([String; 3], &str)> {
    let mut found = [const { String::new() }; 3];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((found, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        let at = ["kind", "namespace", "name"].iter().position(|wanted| *wanted == name.trim());
        if let Some(at) = at {
            found[at] = value;
        }
        rest = after;
    }
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}
