//! Observations to store.

use knotmeter::journal::{Journal, Limits, Opened, Position};
use knotmeter::observation::{
    Basis, Fact, Interval, Observation, SCHEMA, Scope, SourceId, SourceKind, Subject, Time,
};
use std::path::Path;

/// 21 November 2026.
pub const START: i64 = 1_795_219_200_000;

/// The observation of a number: a tag that moves, a look, a tag of its own.
pub fn observation(number: u64) -> Observation {
    let repository = format!("registry.example/team/app-{}", number % 7);
    let repository: knotmeter::image::Repository = repository.parse().expect("a repository");
    let at = Time(START + number as i64 * 1000);
    let fact = match number % 3 {
        0 => Fact::TagPointsTo {
            repository,
            tag: "latest".parse().expect("a tag"),
            digest: format!("sha256:{number:064x}").parse().expect("a digest"),
        },
        1 => Fact::LookCompleted {
            scope: Scope::Repository(repository),
            started: at - 100,
            finished: at,
            interval_seconds: 30.0,
        },
        _ => Fact::Absent {
            subject: Subject::Tag { repository, tag: format!("v{number}").parse().expect("a tag") },
        },
    };
    observed(number, at, fact)
}

pub fn observed(number: u64, at: Time, fact: Fact) -> Observation {
    Observation {
        schema: SCHEMA,
        source: SourceId::new(SourceKind::Registry, "registry.example"),
        source_epoch: 1,
        seq: number,
        cluster: None,
        observed_at: at,
        happened: Interval::at(at),
        basis: Basis::Poll,
        fact,
    }
}

pub fn observations(numbers: std::ops::Range<u64>) -> Vec<Observation> {
    numbers.map(observation).collect()
}

/// Opens and expects no trouble.
#[track_caller]
pub fn open(path: &Path) -> Opened {
    let opened = Journal::open(path, Limits::default()).expect("the journal opens");
    assert_eq!(opened.notes, Vec::<String>::new());
    opened
}

/// The places and observations of a tail.
#[track_caller]
pub fn read(tail: knotmeter::journal::Tail) -> Vec<(Position, Observation)> {
    tail.flat_map(|batch| batch.expect("a batch").observations).collect()
}
