//! Follows the branches of one git repository: which images their trees name, and which commits changed that.
//!
//! `poller` is the look (decides what to report), `worker` does its blocking part: `mirror` asks and fetches, `line`
//! asks again, `tree` and `history` read, `extract` finds references in text. Nothing here judges a commit or joins it to
//! a destination, and nothing writes to the repository. A new way to write an image goes into `extract`; a new
//! way to reach a repository goes into `mirror`.

mod address;
mod error;
mod extract;
mod history;
mod line;
mod mirror;
mod names;
mod poller;
mod tree;
mod worker;

pub use address::{Address, public_url};
pub use error::Error;
pub use extract::{Dropped, Extracted, FILE_BYTES_MAX, REFERENCES_PER_FILE_MAX, extract};
pub use poller::Poller;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Reporter;
use crate::config;
use crate::observation::LastTree;
use mirror::Mirror;

/// The longest pause after failures: a repository that is back is seen within five minutes.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Looks at the repository for ever. Ends only when its task is aborted.
///
/// `cache` is a directory for copies; this repository takes one directory of its own in it. `last_trees` is what was
/// told before a restart, see [`Poller::resuming`]; nothing on a first start.
pub async fn run(config: config::Git, cache: PathBuf, last_trees: Vec<LastTree>, reporter: Reporter) {
    let interval = config.interval.duration();
    let mut poller = Poller::new(config, &cache, reporter).resuming(last_trees);
    let mut failures = 0;
    loop {
        let started = tokio::time::Instant::now();
        match poller.poll().await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::warn!(failures, "{error}");
            }
        }
        tokio::time::sleep_until(started + pause(interval, failures)).await;
    }
}

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// Without credentials.
    pub url: Arc<str>,
    /// Each followed branch and its tip; `None` where there is no such branch.
    pub branches: Vec<(Arc<str>, Option<Arc<str>>)>,
    pub seconds: f64,
}

/// Asks the repository for its branches, and fetches nothing.
///
/// # Errors
/// Why it cannot be read, and what to do.
pub async fn check(config: &config::Git) -> Result<CheckReport, Error> {
    let address = Address::parse(&config.url)?;
    let branches = poller::branches(&address, config)?;
    let url = address.url().clone();
    let panicked = Error::Stopped { url: url.clone(), why: "asking for its branches failed inside".into() };
    let work = tokio::task::spawn_blocking(move || {
        let directory = Scratch::new();
        let answer = Mirror::new(address, branches.clone(), directory.0.clone(), u32::MAX).list()?;
        let tip = |branch: &Arc<str>| answer.tips.get(branch).map(|tip| tip.to_string().into());
        let branches = branches.iter().map(|branch| (branch.clone(), tip(branch))).collect();
        Ok(CheckReport { url, branches, seconds: answer.poll_seconds })
    });
    work.await.unwrap_or(Err(panicked))
}

/// Doubles with each failure, never shorter than the interval.
fn pause(interval: Duration, failures: u32) -> Duration {
    let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
    interval.saturating_mul(factor).min(BACKOFF_MAX.max(interval))
}

/// An empty directory that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("knotmeter-check-{}-{number}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
