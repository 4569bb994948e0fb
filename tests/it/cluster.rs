//! The cluster observer: recorded streams of a real cluster, its decisions, and its loop against an API server.

mod config_maps;
mod decisions;
mod fake;
mod faults;
mod large;
mod odd;
mod owners;
mod real;
mod recorded;
mod states;
pub mod watching;

use std::io::Read as _;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use knotmeter::observation::{Fact, Measure, Time};
use knotmeter::observers::cluster::{Place, Replay, Said};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One line of a recording.
#[derive(Deserialize)]
struct Recorded {
    received_at: Time,
    resource: String,
    event: Box<RawValue>,
}

fn recorded_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// The names of all recordings.
fn scenarios() -> Vec<String> {
    let folders = std::fs::read_dir(recorded_path()).unwrap().map(Result::unwrap);
    // Bundles are replayed elsewhere: no stream of a cluster is in them.
    let folders = folders.filter(|entry| entry.path().join("stream.jsonl.gz").is_file());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 18, "recordings are missing");
    names
}

fn unzipped(scenario: &str, file: &str) -> String {
    let file = std::fs::File::open(recorded_path().join(scenario).join(file)).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

fn lines(scenario: &str) -> Vec<Recorded> {
    let text = unzipped(scenario, "stream.jsonl.gz");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn place() -> Place {
    Place { uid: "11111111-lab".into(), name: "lab".into() }
}

/// Everything that a recording says, with the time and resource of the line that said it.
pub fn said(scenario: &str) -> Vec<(Time, String, Said)> {
    let mut replay = Replay::new(place());
    let mut all = Vec::new();
    for line in lines(scenario) {
        let said = replay.event(line.received_at, &line.resource, line.event.get().as_bytes()).unwrap();
        all.extend(said.into_iter().map(|said| (line.received_at, line.resource.clone(), said)));
    }
    all
}

fn facts(said: &[(Time, String, Said)]) -> impl Iterator<Item = &Fact> {
    said.iter().filter_map(|(_, _, said)| match said {
        Said::Fact { fact, .. } => Some(fact),
        Said::Measure(_) => None,
    })
}

fn measures(said: &[(Time, String, Said)]) -> impl Iterator<Item = &Measure> {
    said.iter().filter_map(|(_, _, said)| match said {
        Said::Measure(measure) => Some(measure),
        Said::Fact { .. } => None,
    })
}

fn at(text: &str) -> Time {
    Time::from_rfc3339(text).unwrap()
}
