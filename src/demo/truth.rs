//! What truly happened, written down by the parts of the world as they do it, on their own clock.
//! Tests compare it with what was measured from outside. Nothing in the world ever reads it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::image::{Digest, Repository, Tag};

/// The log forgets its oldest entries beyond this: a demo may run for days, and a day has about 300,000.
const ENTRIES_MAX: usize = 500_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub at: DateTime<Utc>,
    pub what: Happened,
}

/// The kinds of things that happen, in the order of a journey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// The registry took a manifest under a tag.
    Pushed { repository: Repository, tag: Tag, digest: Digest },
    /// The reflector had read the tags of an image's repository.
    Scanned { image: String, tags: usize },
    /// A policy chose another image.
    Selected { policy: String, image: String },
    /// The git server moved the branch to this commit.
    Committed { commit: String },
    /// The source controller stored the tree of a commit.
    Fetched { commit: String },
    /// The Kubernetes API took a workload whose template names another image.
    Applied { namespace: String, name: String, image: String },
    /// The node reported a pod Ready with all its containers.
    PodReady { namespace: String, pod: String, image: String, digest: Digest },
    /// Every pod of a workload that is not going away runs the image of its template and is ready.
    Live { namespace: String, name: String, image: String, digest: Digest },
}

/// The log, shared by every part of the world.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    entries: Arc<Mutex<VecDeque<Entry>>>,
    written: watch::Sender<u64>,
}

impl Truth {
    pub(super) fn new() -> Self {
        Self { entries: Arc::default(), written: watch::Sender::new(0) }
    }

    /// Others can see what happened before it is written down here, so `at` is from before they could.
    pub(super) fn record(&self, at: DateTime<Utc>, what: Happened) {
        tracing::debug!(?what, "happened in the demo world");
        let mut entries = self.locked();
        if entries.len() == ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry { at, what });
        drop(entries);
        self.written.send_modify(|count| *count += 1);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.locked().iter().cloned().collect()
    }

    /// The first entry that fits, now or as soon as it is written.
    pub(super) async fn first(&self, fits: impl Fn(&Entry) -> bool) -> Entry {
        let mut written = self.written.subscribe();
        loop {
            written.borrow_and_update();
            if let Some(entry) = self.locked().iter().find(|entry| fits(entry)) {
                return entry.clone();
            }
            written.changed().await.expect("self holds the sender");
        }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
