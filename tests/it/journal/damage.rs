//! Files that were cut short, flipped, zeroed: never a panic, never another observation than was written, and
//! always a journal to go on with.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use knotmeter::journal::{Checkpoint, Journal, Limits, Position};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::facts::{observation, observations, open};

const LINES: u64 = 1200;

/// One thing that happens to a file. Places are shares of its length.
#[derive(Debug, Clone)]
enum Harm {
    Cut { at: f64 },
    Flip { at: f64, bit: u8 },
    Zero { at: f64, length: usize },
}

fn harm() -> impl Strategy<Value = Harm> {
    // The first pages hold what everything hangs from: half of the harm is done there.
    let place = || prop_oneof![0.0..1.0_f64, 0.0..0.01_f64];
    prop_oneof![
        place().prop_map(|at| Harm::Cut { at }),
        (place(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        (place(), prop_oneof![Just(512), Just(4096), 1..100_000_usize])
            .prop_map(|(at, length)| Harm::Zero { at, length }),
    ]
}

fn do_harm(path: &Path, harm: &Harm) {
    let mut bytes = fs::read(path).expect("the file");
    let last = bytes.len().saturating_sub(1);
    let place = |at: f64| ((bytes.len() as f64 * at) as usize).min(last);
    if bytes.is_empty() {
        return;
    }
    match harm {
        Harm::Cut { at } => bytes.truncate(place(*at)),
        Harm::Flip { at, bit } => {
            let at = place(*at);
            bytes[at] ^= 1 << bit;
        }
        Harm::Zero { at, length } => {
            let at = place(*at);
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(0);
        }
    }
    fs::write(path, bytes).expect("write");
}

/// In memory, where the system has that: syncs would make the many cases slow.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

/// A journal of several commits with a checkpoint in the middle, closed, or as a kill would leave it.
fn sound(folder: &Path, closed: bool) -> PathBuf {
    let path = folder.join("sound");
    let mut journal = open(&path).journal;
    for start in (0..LINES).step_by(100) {
        let position = Position(start + 100);
        let bytes = vec![(start % 251) as u8; 300_000];
        let checkpoint = Checkpoint { position, settled: position, bytes };
        let checkpoint = (start == 700).then_some(checkpoint);
        journal.commit(&observations(start..start + 100), checkpoint.as_ref()).expect("commit");
    }
    if closed {
        drop(journal);
        return path;
    }
    let killed = folder.join("killed");
    fs::copy(&path, &killed).expect("copy");
    killed
}

fn check(sound: &Path, folder: &Path, harms: &[Harm]) -> Result<bool, TestCaseError> {
    let path = folder.join("journal");
    for entry in fs::read_dir(folder).expect("the folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("journal") {
            fs::remove_file(entry.path()).expect("remove");
        }
    }
    fs::copy(sound, &path).expect("copy");
    harms.iter().for_each(|harm| do_harm(&path, harm));
    let opened = Journal::open(&path, Limits::default());
    let mut opened = opened.map_err(|error| TestCaseError::fail(format!("not opened: {error}")))?;
    if let Some(checkpoint) = &opened.checkpoint {
        prop_assert_eq!(checkpoint.position, Position(800));
        prop_assert_eq!(&checkpoint.bytes, &vec![(700 % 251) as u8; 300_000]);
    }
    let mut next = opened.checkpoint.as_ref().map_or(Position(0), |checkpoint| checkpoint.position);
    for batch in opened.tail {
        // Once open, the tail was read before: it does not break.
        let batch = batch.map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (position, found) in batch.observations {
            prop_assert_eq!(position, next);
            prop_assert_eq!(found, observation(position.0));
            next = Position(position.0 + 1);
        }
    }
    let broken = !opened.notes.is_empty();
    prop_assert!(broken || next == Position(LINES), "a sound journal ends at {LINES}, this at {next}");
    // What stands before the checkpoint was not read yet: it is right, or said to be damaged.
    for batch in opened.journal.everything().into_iter().flatten() {
        let Ok(batch) = batch else { break };
        for (position, found) in batch.observations {
            prop_assert_eq!(found, observation(position.0));
        }
    }
    // It goes on, unless the next write finds the damage: then so does the next start.
    let start = opened.journal.position().0;
    let appended = opened.journal.append(&observations(start..start + 10));
    drop(opened.journal);
    let again = Journal::open(&path, Limits::default());
    let again = again.map_err(|error| TestCaseError::fail(format!("not opened again: {error}")))?;
    let last = again.tail.filter_map(Result::ok).flat_map(|batch| batch.observations).last();
    if appended.is_ok() && again.notes.is_empty() {
        prop_assert_eq!(last, Some((Position(start + 9), observation(start + 9))));
    }
    Ok(broken)
}

fn many(closed: bool) {
    let folder = folder();
    let sound = sound(folder.path(), closed);
    let cases = std::env::var("KNOTMETER_DAMAGE_CASES").ok().and_then(|text| text.parse().ok());
    let config = Config { cases: cases.unwrap_or(150), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let noticed = std::cell::Cell::new(0);
    let harms = proptest::collection::vec(harm(), 1..4);
    let outcome = runner.run(&harms, |harms| {
        let broken = check(&sound, folder.path(), &harms)?;
        noticed.set(noticed.get() + u32::from(broken));
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.expect_err("a failure"));
    assert!(noticed.get() > 0, "no case was noticed as damage: the harm misses the file");
}

#[test]
fn a_closed_file_survives_any_harm() {
    many(true);
}

#[test]
fn a_killed_process_file_survives_any_harm() {
    many(false);
}

#[test]
fn a_broken_file_is_kept_aside_and_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    for _ in 0..5 {
        drop(open(&path));
        let mut file = File::options().write(true).open(&path).expect("the file");
        file.seek(SeekFrom::Start(0)).expect("seek");
        file.write_all(&[0; 8192]).expect("write");
        drop(file);
        let opened = Journal::open(&path, Limits::default()).expect("a new one");
        let [note] = &opened.notes[..] else { panic!("one note: {:?}", opened.notes) };
        assert!(note.contains("was damaged"), "{note}");
        assert!(note.contains("journal.broken-"), "{note}");
        assert!(note.contains("rebuilt from the sources"), "{note}");
        assert_eq!(opened.journal.position(), Position(0));
    }
    let names = fs::read_dir(folder.path()).expect("the folder").flatten();
    let broken = names.filter(|entry| entry.file_name().to_string_lossy().contains(".broken-")).count();
    assert_eq!(broken, 3, "the oldest went");
}

#[test]
fn a_damaged_end_costs_only_what_follows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = sound(folder.path(), true);
    // The last row whose text can be found in the file: change one letter of it.
    let mut journal = open(&path).journal;
    journal.append(&observations(LINES..LINES + 1)).expect("append");
    drop(journal);
    let mut bytes = fs::read(&path).expect("the file");
    let text = format!("\"seq\":{LINES}");
    let found: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text.as_bytes())).collect();
    assert!(!found.is_empty(), "a short row is stored plainly");
    found.iter().for_each(|at| bytes[at + 7] ^= 1);
    fs::write(&path, bytes).expect("write");
    let opened = Journal::open(&path, Limits::default()).expect("a journal");
    let [note] = &opened.notes[..] else { panic!("one note: {:?}", opened.notes) };
    assert!(note.contains("its checkpoint and 400 observations after it could be read"), "{note}");
    assert_eq!(opened.checkpoint.map(|checkpoint| checkpoint.position), Some(Position(800)));
    assert_eq!(super::facts::read(opened.tail).len(), 400);
}
