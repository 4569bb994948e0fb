//! Making observations durable, one and many, and opening a journal after a kill.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use knotmeter::journal::{Checkpoint, Journal, Limits, Position};
use knotmeter::observation::{
    Basis, Fact, Interval, Observation, Pod, PodContainer, SCHEMA, SourceId, SourceKind, Time,
};
use tempfile::TempDir;

use super::Bench;

/// Observations of one group commit: what a storm of 5,000 each second brings in a tenth of one.
const BATCH: usize = 500;
/// Group commits of one run of the bulk.
const BATCHES: usize = 20;
/// Observations after the checkpoint of the journal that is opened: a full interval of checkpoints.
const TAIL: usize = 20_000;
/// Bytes of its checkpoint.
const CHECKPOINT_BYTES: usize = 16 << 20;

/// One observation, durable, against appending its bytes to a file and one fdatasync.
pub fn one() -> Bench {
    let folder = folder();
    let mut journal = open(&folder.path().join("journal"));
    let (mut file, observations) = (plain(&folder), pods(1, 0));
    let bytes = serde_json::to_vec(&observations[0]).expect("JSON");
    Bench {
        unit: "ns/commit of 1 observation",
        items: 1,
        ours: Box::new(move || position(journal.append(&observations))),
        floor: Box::new(move || {
            // The folder goes with the last of both.
            let _ = folder.path();
            file.write_all(&bytes).and_then(|()| file.sync_data()).expect("a disk");
            bytes.len()
        }),
    }
}

/// Many in group commits, against writing the same JSON to a file with one fdatasync for each batch.
pub fn many() -> Bench {
    let folder = folder();
    let mut journal = open(&folder.path().join("journal"));
    let mut file = plain(&folder);
    let observations = pods(BATCH, 0);
    let same = observations.clone();
    Bench {
        unit: "ns/observation, 500 per commit",
        items: BATCH * BATCHES,
        ours: Box::new(move || (0..BATCHES).map(|_| position(journal.append(&observations))).sum()),
        floor: Box::new(move || {
            let _ = folder.path();
            for _ in 0..BATCHES {
                let mut bytes = Vec::new();
                for observation in &same {
                    serde_json::to_writer(&mut bytes, observation).expect("JSON");
                }
                file.write_all(&bytes).and_then(|()| file.sync_data()).expect("a disk");
            }
            BATCHES
        }),
    }
}

/// Opening after a kill and reading the checkpoint and the tail after it, against reading the file and parsing the
/// tail's JSON.
pub fn reopen() -> Bench {
    let folder = folder();
    let path = folder.path().join("journal");
    let mut journal = open(&path);
    let checkpoint =
        Checkpoint { position: Position(0), settled: Position(0), bytes: vec![7; CHECKPOINT_BYTES] };
    journal.commit(&[], Some(&checkpoint)).expect("a disk");
    let mut text = Vec::new();
    for batch in pods(TAIL, 0).chunks(BATCH) {
        journal.append(batch).expect("a disk");
        batch.iter().for_each(|one| serde_json::to_writer(&mut text, one).expect("JSON"));
    }
    // As a kill leaves it: not closed. Each run opens a copy of that.
    let killed = folder.path().join("killed");
    std::fs::copy(&path, &killed).expect("a disk");
    let (ours, same) = (killed.clone(), killed);
    let copy = folder.path().join("copy");
    Bench {
        unit: "ns/observation, 20,000 after a checkpoint of 16 MiB",
        items: TAIL,
        ours: Box::new(move || {
            let _ = folder.path();
            std::fs::copy(&ours, &copy).expect("a disk");
            let opened = Journal::open(&copy, Limits::default()).expect("a journal");
            opened.tail.map(|batch| batch.expect("a batch").observations.len()).sum()
        }),
        floor: Box::new(move || {
            let bytes = std::fs::read(&same).expect("a file");
            let lines = serde_json::Deserializer::from_slice(&text).into_iter::<Observation>();
            lines.map(|line| usize::from(line.is_ok())).sum::<usize>() + bytes.len() % 2
        }),
    }
}

fn position(appended: Result<Position, knotmeter::journal::Error>) -> usize {
    usize::try_from(appended.expect("a disk").0).expect("small")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &std::path::Path) -> Journal {
    Journal::open(path, Limits::default()).expect("a journal").journal
}

fn plain(folder: &TempDir) -> File {
    let path: PathBuf = folder.path().join("plain");
    File::create(path).expect("a file")
}

/// Changes of pods, as a rollout brings them.
fn pods(count: usize, from: usize) -> Vec<Observation> {
    (from..from + count).map(|number| pod(number as u64)).collect()
}

fn pod(number: u64) -> Observation {
    let at = Time(1_760_000_000_000 + number as i64 * 20);
    let digest = format!("sha256:{:064x}", number % 40).parse().expect("a digest");
    let container = PodContainer {
        name: "main".into(),
        image: format!("registry.example.com/team/app-{}:v1.{}.0", number % 40, number % 7).into(),
        running: Some(digest),
        started: Some(at),
        ready: number.is_multiple_of(2),
        waiting: None,
        says: None,
        restarts: 0,
    };
    let pod = Pod {
        uid: format!("9f3c1d2e-0000-4000-8000-{number:012x}").into(),
        namespace: format!("team-{}", number % 40).into(),
        name: format!("app-{}-6d5f9c7b8-{:05x}", number % 40, number % 1_000_000).into(),
        owner: Some(format!("1b2c3d4e-0000-4000-8000-{:012x}", number % 40).into()),
        pod_hash: Some("6d5f9c7b8".into()),
        created: Some(at),
        deleting: false,
        finished: false,
        unschedulable: false,
        ready: Some(at),
        containers: vec![container],
    };
    Observation {
        schema: SCHEMA,
        source: SourceId::new(SourceKind::Cluster, "prod"),
        source_epoch: 1_760_000_000_000,
        seq: number,
        cluster: Some("5a6b7c8d-0000-4000-8000-000000000000".into()),
        observed_at: at,
        happened: Interval::at(at),
        basis: Basis::Watch,
        fact: Fact::PodIs(Box::new(pod)),
    }
}
