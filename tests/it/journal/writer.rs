//! The writer's thread: nobody waits for it, and what the disk refused is written later or made good.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use knotmeter::journal::{Journal, Keep, Limits, Position, State, Status, Writer};
use knotmeter::observation::Observation;

use super::facts::{observation, observations, open, read};

/// Far longer than anything here takes: a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

fn some(numbers: std::ops::Range<u64>) -> Arc<Vec<Observation>> {
    Arc::new(observations(numbers))
}

/// Waits until the status is as wanted.
pub async fn status(writer: &Writer, wanted: impl Fn(&Status) -> bool) -> Status {
    let wait = async {
        loop {
            let status = writer.status();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("it never came: {:?}", writer.status()))
}

#[tokio::test]
async fn what_was_handed_over_is_durable_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let writer = Writer::start(open(&path).journal).expect("a thread");
    let mut at = Position(0);
    for start in (0..1000).step_by(10) {
        at = writer.append(some(start..start + 10), Position(start));
    }
    assert_eq!(at, Position(1000));
    assert!(writer.durable(at, PATIENCE).await);
    writer.checkpoint(b"state".to_vec(), Position(990));
    let known = status(&writer, |status| status.checkpoint == Some(Position(1000))).await;
    assert_eq!((known.state, known.queued, known.dropped, known.stored), (State::Ok, 0, 0, 1000));
    assert!(known.commits < 100, "commits are shared: {}", known.commits);
    writer.append(some(1000..1010), Position(1000));
    let tail = writer.since(observation(500).observed_at.0).await.expect("a tail");
    assert!(read(tail).iter().any(|(position, _)| *position == Position(500)));
    tokio::task::spawn_blocking(move || writer.finish()).await.expect("it ends");
    let opened = open(&path);
    assert_eq!(opened.checkpoint.expect("a checkpoint").bytes, b"state");
    assert_eq!(opened.told, Position(1000));
    assert_eq!(read(opened.tail).len(), 10);
}

#[tokio::test]
async fn without_a_disk_it_keeps_observing_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocked = folder.path().join("volume");
    fs::write(&blocked, "not mounted").expect("write");
    let path = blocked.join("journal");
    let why = Journal::open(&path, Limits::default()).expect_err("no folder");
    let start = Position(5000);
    let writer = Writer::start_without(&path, Limits::default(), &why, start).expect("a thread");
    let at = writer.append(some(0..100), start);
    assert!(!writer.durable(at, PATIENCE).await, "and nobody waits for what cannot come");
    let known = status(&writer, |status| status.queued == 100).await;
    assert!(matches!(known.state, State::Degraded(_)), "{known:?}");
    // The volume is mounted.
    fs::remove_file(&blocked).expect("remove");
    fs::create_dir(&blocked).expect("a folder");
    let known = status(&writer, |status| status.state == State::Ok).await;
    assert_eq!((known.durable, known.dropped), (Position(5100), 0));
    assert!(known.wants_checkpoint, "what is on disk does not lead to the present state");
    writer.checkpoint(b"present".to_vec(), at);
    status(&writer, |status| !status.wants_checkpoint).await;
    tokio::task::spawn_blocking(move || writer.finish()).await.expect("it ends");
    let opened = open(&path);
    let checkpoint = opened.checkpoint.expect("a checkpoint");
    assert_eq!((checkpoint.position, &checkpoint.bytes[..]), (Position(5100), &b"present"[..]));
}

#[tokio::test]
async fn beyond_the_bound_the_oldest_go_and_a_checkpoint_makes_it_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocked = folder.path().join("volume");
    fs::write(&blocked, "not mounted").expect("write");
    let path = blocked.join("journal");
    let limits = Limits { waiting_bytes_max: 20_000, ..Limits::default() };
    let why = Journal::open(&path, limits).expect_err("no folder");
    let writer = Writer::start_without(&path, limits, &why, Position(0)).expect("a thread");
    for start in (0..3000).step_by(100) {
        writer.append(some(start..start + 100), Position(0));
    }
    let known = status(&writer, |status| status.dropped > 500).await;
    assert!(known.dropped < 3000, "the newest are kept: {known:?}");
    fs::remove_file(&blocked).expect("remove");
    fs::create_dir(&blocked).expect("a folder");
    let known = status(&writer, |status| status.state == State::Ok && status.wants_checkpoint).await;
    assert_eq!(known.durable, Position(3000));
    // Killed before the checkpoint came, it knows that something is missing, and the rest is right.
    let killed = folder.path().join("killed");
    fs::copy(&path, &killed).expect("copy");
    let opened = open(&killed);
    let batches: Vec<_> = opened.tail.map(|batch| batch.expect("a batch")).collect();
    assert_eq!(batches.iter().map(|batch| batch.lost).sum::<u64>(), known.dropped);
    for (position, found) in batches.iter().flat_map(|batch| &batch.observations) {
        assert_eq!(*found, observation(position.0));
    }
    writer.checkpoint(b"present".to_vec(), Position(3000));
    status(&writer, |status| !status.wants_checkpoint).await;
}

#[tokio::test]
async fn a_file_that_breaks_while_it_is_open_is_begun_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let limits = Limits { observations_max: 3000, ..Limits::default() };
    let mut journal = Journal::open(&path, limits).expect("a journal").journal;
    for start in (0..4000).step_by(100) {
        journal.append(&observations(start..start + 100)).expect("append");
    }
    drop(journal);
    harm_rows(&path);
    // Whether opening notices or the first compaction does, depends on where the harm is.
    let opened = Journal::open(&path, limits).expect("a journal");
    let noticed = opened.notes.len();
    let writer = Writer::start(opened.journal).expect("a thread");
    writer.keep(Keep::default());
    writer.checkpoint(b"state".to_vec(), Position(4000));
    let next = writer.append(some(4000..4001), Position(4000));
    assert!(writer.durable(next, PATIENCE).await || noticed == 0);
    let known =
        status(&writer, |status| status.state == State::Ok && (status.rebuilt > 0 || noticed > 0)).await;
    let notes = writer.take_notes();
    assert_eq!(known.rebuilt as usize, notes.len());
    assert!(notes.iter().all(|note| note.contains("was damaged")), "{notes:?}");
    assert!(broken(folder.path()) > 0);
}

/// Breaks every page of rows in the second half of the file.
fn harm_rows(path: &Path) {
    let mut bytes = fs::read(path).expect("the file");
    let from = bytes.len() / 4;
    bytes[from..].iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x10);
    fs::write(path, bytes).expect("write");
}

fn broken(folder: &Path) -> usize {
    let names = fs::read_dir(folder).expect("the folder").flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().contains(".broken-")).count()
}

#[tokio::test]
async fn the_writer_compacts_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = Limits { observations_max: 2000, ..Limits::default() };
    let journal = Journal::open(&folder.path().join("journal"), limits).expect("a journal").journal;
    let writer = Writer::start(journal).expect("a thread");
    let at = writer.append(some(0..6000), Position(0));
    assert!(writer.durable(at, PATIENCE).await);
    writer.checkpoint(b"state".to_vec(), at);
    status(&writer, |status| status.checkpoint == Some(at)).await;
    writer.keep(Keep::default());
    let known = status(&writer, |status| status.compacted > 0).await;
    assert_eq!(known.stored + known.compacted, 6000);
}
