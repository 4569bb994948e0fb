//! A disk whose syncs hang until they are let go: real ones, held by a library that is loaded before the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use knotmeter::journal::{Journal, Limits, Position, State, Status, Writer};

use super::facts::{observation, observations, open};
use super::writer::{PATIENCE, status};

/// A folder on the slow disk.
pub struct SlowDisk {
    pub folder: PathBuf,
    library: PathBuf,
}

impl SlowDisk {
    /// Makes the folder `disk` and the library beside it.
    pub fn new(beside: &Path) -> Self {
        let beside = beside.canonicalize().expect("a folder");
        let (folder, library) = (beside.join("disk"), beside.join("slow_disk.so"));
        fs::create_dir(&folder).expect("a new folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/journal/slow_disk.c");
        // Rust links with it, so it is there.
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(made.expect("cc runs").success(), "cc cannot make {}", library.display());
        Self { folder, library }
    }

    /// What a program needs in its environment to be on it.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("SLOW_DISK", &self.folder)]
    }

    pub fn hold(&self) {
        hold(&self.folder);
    }

    pub fn let_go(&self) {
        let_go(&self.folder);
    }
}

fn hold(folder: &Path) {
    fs::write(folder.join("held"), "").expect("write");
}

fn let_go(folder: &Path) {
    fs::remove_file(folder.join("held")).expect("remove");
}

/// The same test runs itself again: the library must be there before the process is.
#[tokio::test]
async fn beyond_the_bound_the_oldest_go_while_a_sync_hangs() {
    if let Some(folder) = std::env::var_os("SLOW_DISK") {
        return hangs(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = SlowDisk::new(folder.path());
    let mut again = tokio::process::Command::new(std::env::current_exe().expect("this program"));
    again.args(["journal::slow_disk::beyond_the_bound_the_oldest_go_while_a_sync_hangs", "--exact"]);
    again.envs(disk.environment()).kill_on_drop(true);
    let said = again.output().await.expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.contains("1 passed"), "{text}");
}

const WAITING_MAX: u64 = 500;

async fn hangs(folder: &Path) {
    let path = folder.join("journal");
    let limits = Limits { waiting_observations_max: WAITING_MAX as usize, ..Limits::default() };
    let writer = Writer::start(Journal::open(&path, limits).expect("a journal").journal).expect("a thread");
    let append = |numbers: std::ops::Range<u64>| {
        let told = Position(numbers.start);
        writer.append(Arc::new(observations(numbers)), told)
    };
    assert!(writer.durable(append(0..100), PATIENCE).await);
    hold(folder);
    append(100..200);
    let slow =
        |known: &Status| matches!(&known.state, State::Degraded(why) if why.contains("the disk is slow"));
    status(&writer, slow).await;
    // The thread hangs with the first hundred; everything after it waits here.
    let mut at = Position(0);
    for start in (200..3200).step_by(100) {
        at = append(start..start + 100);
    }
    let known = writer.status();
    assert_eq!((known.durable, known.queued), (Position(100), 3100));
    assert_eq!(known.dropped, 3000 - WAITING_MAX, "the bound is kept: {known:?}");
    assert!(!writer.durable(at, Duration::from_millis(1)).await);
    let asked = tokio::time::timeout(PATIENCE, writer.durable(at, Duration::MAX)).await;
    assert_eq!(asked, Ok(false), "nobody waits for what is known to be late");
    let_go(folder);
    let known = status(&writer, |known| known.durable == at && known.state == State::Ok).await;
    assert_eq!((known.queued, known.dropped), (0, 3000 - WAITING_MAX));
    assert!(known.wants_checkpoint, "what is on disk does not lead to the present state");
    writer.checkpoint(b"present".to_vec(), at);
    status(&writer, |known| !known.wants_checkpoint).await;
    tokio::task::spawn_blocking(move || writer.finish()).await.expect("it ends");
    let journal = open(&path).journal;
    let batches: Vec<_> =
        journal.everything().expect("it reads").map(|batch| batch.expect("a batch")).collect();
    assert_eq!(batches.iter().map(|batch| batch.lost).sum::<u64>(), 3000 - WAITING_MAX);
    let found: Vec<_> = batches.into_iter().flat_map(|batch| batch.observations).collect();
    let kept = (0..200).chain(3200 - WAITING_MAX..3200);
    assert!(found.into_iter().eq(kept.map(|number| (Position(number), observation(number)))));
}
