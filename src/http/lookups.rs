//! The way to the tracker for what no snapshot holds: it knows a million tags, and is asked for one of them.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::tracker::{Findings, Lookup};

/// Questions that wait for the tracker.
const WAITING_MAX: usize = 16;
/// The tracker answers between two batches. One that is busier than this has no answer, and what the snapshot tells is
/// told alone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the tracker.
#[derive(Debug)]
pub struct LookupRequest {
    pub lookup: Lookup,
    pub reply: oneshot::Sender<Findings>,
}

/// The way to whoever owns the tracker. The default leads nowhere.
#[derive(Debug, Clone, Default)]
pub struct Lookups(Option<mpsc::Sender<LookupRequest>>);

impl Lookups {
    /// A way, and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<LookupRequest>) {
        let (to, asked) = mpsc::channel(WAITING_MAX);
        (Self(Some(to)), asked)
    }

    /// Asks, and waits a little.
    pub(super) async fn ask(&self, lookup: Lookup) -> Option<Findings> {
        let (reply, answer) = oneshot::channel();
        self.0.as_ref()?.try_send(LookupRequest { lookup, reply }).ok()?;
        tokio::time::timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
    }
}
