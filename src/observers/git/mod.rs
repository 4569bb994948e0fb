//! Follows the branches of one git repository: which images their trees name, and which commits changed that.
//!
//! `watch` says when to look, by `schedule`; `poller` is the look (decides what to report), `worker` does its blocking part: `mirror` asks and fetches, `line`
//! asks again, both through the client in `http`, `tree` and `history` read, `extract` finds references in text. Nothing here judges a commit or joins it to
//! a destination, and nothing writes to the repository. A new way to write an image goes into `extract`; a new
//! way to reach a repository goes into `mirror`.

mod address;
mod error;
mod extract;
mod history;
mod http;
mod line;
mod mirror;
mod names;
mod poller;
mod tree;
mod watch;
mod worker;

pub use address::{Address, public_url};
pub use error::Error;
pub use extract::{Dropped, Extracted, FILE_BYTES_MAX, REFERENCES_PER_FILE_MAX, extract};
pub use poller::Poller;
pub use watch::{Followed, host_of, run};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config;
use mirror::Mirror;

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
    let address = Address::parse(config)?;
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
