//! The world's folder on disk.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;
use super::random::Random;

/// Removing a folder into which a process that was just killed still writes.
const REMOVE_TRIES_MAX: usize = 1000;

/// The world's folder, gone when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn create() -> Result<Self, Error> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let unique = Random::fresh().next();
        let name = format!("knotmeter-demo-{}-{number}-{unique:016x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Only for us, and never a folder that somebody else has put there.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| Error::Host { doing: "make its folder", source })?;
        Ok(Self { path })
    }

    pub(super) fn sub(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::create_dir(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A git process killed a moment ago may still be writing its last file.
        for _ in 0..REMOVE_TRIES_MAX {
            match std::fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(_) => std::thread::yield_now(),
            }
        }
        tracing::warn!(path = %self.path.display(), "the demo world's folder could not be removed");
    }
}
