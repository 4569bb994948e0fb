//! How much memory the names of tags may take, over all repositories that share a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit in bytes that many repositories share.
#[derive(Debug, Clone)]
pub struct Room {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// What one repository takes of a [`Room`]; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Room,
    bytes: usize,
}

impl Room {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// Bytes that everybody may take together.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A place that takes nothing yet.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { room: self.clone(), bytes: 0 }
    }
}

impl Place {
    /// Takes so many bytes instead of what was taken before. False where that does not fit: nothing changes.
    /// A place that shrinks always fits.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let used = self.room.used.fetch_add(more, Ordering::Relaxed) + more;
        if more > 0 && used > self.room.limit {
            self.room.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.room.used.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
