//! Lines that `journal import` and `replay` take from a file, and what a journal's file gives back: a disk may lie.

use knotmeter::exporters::metrics::Metrics;
use knotmeter::journal::{Line, Position, import_lines, row};
use knotmeter::observation::{Basis, Fact, Interval, Observation, SCHEMA, SourceId, SourceKind, Time};
use knotmeter::observers::cluster::{Place, Replay, Said};
use knotmeter::tracker::Tracker;

use super::{Parser, cluster, told};

const AT: Time = Time(1_795_255_205_000);
const EXAMPLES_MAX: usize = 60;

/// What the recorded cluster said, as an export writes it.
fn lines() -> Vec<String> {
    let mut replay = Replay::new(Place { uid: "11111111-lab".into(), name: "lab".into() });
    let mut facts = vec![Fact::ClusterNamed { name: "lab".into() }];
    for (resource, events) in cluster::recorded() {
        for event in events.iter().take(8) {
            let said = replay.event(AT, &resource, event.as_bytes()).unwrap();
            facts.extend(said.into_iter().filter_map(|said| match said {
                Said::Fact { fact, .. } => Some(fact),
                Said::Measure(_) => None,
            }));
        }
    }
    let observation = |(seq, fact): (usize, Fact)| Observation {
        schema: SCHEMA,
        source: SourceId::new(SourceKind::Cluster, "lab"),
        source_epoch: 1,
        seq: seq as u64,
        cluster: Some("11111111-lab".into()),
        observed_at: AT,
        happened: Interval::new(AT - 1000, AT),
        basis: Basis::Watch,
        fact,
    };
    let step = facts.len().div_ceil(EXAMPLES_MAX).max(1);
    let some = facts.into_iter().enumerate().step_by(step).map(observation);
    some.map(|observation| serde_json::to_string(&observation).unwrap() + "\n").collect()
}

/// Mark, version and checksum of a checkpoint, four bytes each.
const HEAD: usize = 12;
const START: Position = Position(7);

/// The same with a right checksum, as no accident but an attacker makes it.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEAD {
        let sum = crc32fast::hash(&bytes[HEAD..]);
        bytes[HEAD - 4..HEAD].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// The same of a row, whose checksum is at its end and holds its place.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let front = &bytes[..bytes.len().saturating_sub(4)];
    let sum = crc32fast::hash(&[&START.0.to_le_bytes(), front].concat());
    [front, &sum.to_le_bytes()].concat()
}

pub fn all() -> Vec<Parser> {
    let lines = lines();
    let observations: Vec<Observation> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut tracker, metrics) = (Tracker::default(), Metrics::new());
    for observation in &observations {
        tracker.observe(observation).iter().for_each(|event| metrics.event(event));
    }
    let of = |count: usize| {
        let lines: Vec<Line> = observations[..count].iter().map(Line::of).collect();
        row::row(START, Position(START.0 + count as u64), &lines).bytes
    };
    // The small one is too short to be compressed.
    let rows = [of(1), of(observations.len()), row::gap(START, Position(9)).bytes];
    vec![
        Parser::new("row", 1 << 20, rows, |bytes| {
            for bytes in [bytes, &*summed(bytes)] {
                if let Ok((head, lines)) = row::lines(START, bytes) {
                    assert!(head.end > START && (head.gap || lines.len() == head.lines as usize));
                    lines.into_iter().for_each(|line| told(Line::from_json(line)));
                }
            }
        }),
        Parser::new("checkpoint", 1 << 20, [tracker.checkpoint()], |bytes| {
            told(Tracker::restore(bytes));
            told(Tracker::restore(&sealed(bytes)));
        }),
        Parser::new("totals", 1 << 20, [metrics.checkpoint()], |bytes| {
            told(Metrics::new().restore(bytes));
            told(Metrics::new().restore(&sealed(bytes)));
        }),
        Parser::new("import", 1 << 20, lines.clone(), |text| {
            let mut count = 0;
            for line in import_lines(text) {
                count += 1;
                told(line);
            }
            assert!(count <= text.iter().filter(|byte| **byte == b'\n').count() + 1);
        }),
        Parser::new("observation", 256 << 10, lines, |text| {
            if let Ok(observation) = serde_json::from_slice::<Observation>(text) {
                let again = serde_json::to_string(&observation).unwrap();
                assert_eq!(serde_json::from_str::<Observation>(&again).ok(), Some(observation));
            }
        }),
    ]
}
