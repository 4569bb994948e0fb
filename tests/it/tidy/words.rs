//! Words that must not appear, and words that must be known.

use super::Complaint;
use super::source::Source;

/// What code must not say, and what to do instead.
const CODE: [(&str, &str); 7] = [
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    ("dbg!", "remove it; use `tracing` for what an operator should see"),
    ("thread::sleep", "wait for the thing itself: a channel, a deadline, paused time"),
    (concat!("#[ig", "nore"), "make the test run everywhere, or delete it"),
    ("#[allow(", "use `#[expect(.., reason = \"..\")]`, which ends with its reason"),
    ("::*;", "name what is imported"),
];
/// What is made to be imported whole: a prelude, and a module by its own tests.
const WHOLE: [&str; 2] = ["prelude::*", "use super::*"];
/// Where one of them is right: taking a folder away is a race with a process that was killed a moment ago, and
/// `Drop` cannot wait for anything better.
const RIGHT: [(&str, &str); 3] = [
    ("src/demo/mod.rs", "thread::sleep"),
    // What they measure is what happens while nothing is asked.
    ("benches/idle/mod.rs", "thread::sleep"),
    ("benches/scrape/mod.rs", "thread::sleep"),
];
/// In two halves, so that this file does not say them.
const MARKS: [&str; 2] = [concat!("FIX", "ME"), concat!("X", "XX")];
/// Words of a metric's name that Prometheus or the text format adds.
const SUFFIXES: [&str; 5] = ["_bucket", "_sum", "_count", "_total", "_created"];
/// Words that begin like a metric and are none.
const NOT_METRICS: [&str; 1] = ["knotmeter_dev"];

pub fn code(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, line) in source.code.lines().enumerate() {
        for (word, instead) in CODE {
            let whole = WHOLE.iter().any(|whole| line.contains(whole));
            if line.contains(word) && !whole && !RIGHT.contains(&(&source.file, word)) {
                complaints.push(complaint(source, at, format!("`{word}` must not appear: {instead}")));
            }
        }
    }
    complaints
}

pub fn text(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for mark in MARKS.iter().filter(|mark| words(line).any(|word| word == **mark)) {
            complaints.push(complaint(
                source,
                at,
                format!("{mark}: do it, or write down what would end the wait"),
            ));
        }
    }
    complaints
}

/// Names of metrics that the table does not have.
pub fn metrics(table: &Source, source: &Source) -> Vec<Complaint> {
    let known: Vec<&str> = words(&table.text).map(stem).collect();
    let mut complaints = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let named = words(line).filter(|word| word.starts_with("knotmeter_") && !word.ends_with('_'));
        for name in named.filter(|name| !NOT_METRICS.contains(name) && !known.contains(&stem(name))) {
            complaints.push(complaint(
                source,
                at,
                format!("{name} is not in docs/metrics.md: correct the name"),
            ));
        }
    }
    complaints
}

fn stem(name: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

fn complaint(source: &Source, at: usize, what: String) -> Complaint {
    Complaint { file: source.file.clone(), line: at + 1, what }
}
