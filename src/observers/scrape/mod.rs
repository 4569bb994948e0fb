//! The scrape observer: what the controllers of an engine count of themselves, read from their Prometheus endpoints.
//!
//! `text.rs` reads an exposition as it streams in and keeps the few numbers that are used; `totals.rs` makes of two of
//! them what happened in between; `fetch.rs` asks. Numbers are measures, not facts: no journey depends on them. Only that
//! a look succeeded is a fact, so that a source that is down is told like any other. The next family that is used is a
//! variant in `text.rs`.

mod fetch;
mod text;
mod totals;

pub use fetch::{ANSWER_BYTES_MAX, Problem};
pub use text::{OBJECTS_MAX, ObjectName, Reader, Total};
pub use totals::{Reconciled, Totals};

use std::convert::Infallible;
use std::time::Instant;

use tokio::time::sleep;

use self::fetch::Client;
use super::schedule::{Pace, jittered, wait_after_failure, wait_after_success};
use crate::config::Scrape;
use crate::observation::{Basis, Fact, Interval, Measure, Scope};
use crate::observers::{Reporter, now};

/// Scrapes one endpoint until the task is aborted. `cluster` is the name of the cluster that the controllers are of.
pub async fn run(config: Scrape, cluster: String, reporter: Reporter) -> Infallible {
    let client = Client::new(&config);
    let scope = Scope::Endpoint(config.name.as_str().into());
    let interval = config.interval.duration();
    let mut totals = Totals::default();
    let (mut looks, mut failures) = (0, 0);
    loop {
        let (started, asked) = (now(), Instant::now());
        looks += 1;
        let wait = match client.read().await {
            Ok(read) => {
                failures = 0;
                for reconciled in totals.compare(read.totals) {
                    reporter.measure(Measure::UpdaterScan {
                        cluster: cluster.as_str().into(),
                        namespace: reconciled.object.namespace.into(),
                        name: reconciled.object.name.into(),
                        seconds: reconciled.seconds / reconciled.count,
                    });
                }
                for _ in 0..read.left_out {
                    let source = reporter.source().to_string().into();
                    reporter.measure(Measure::Dropped { source, reason: "too_many_objects" });
                }
                let finished = now();
                let interval_seconds = config.interval.0;
                let fact = Fact::LookCompleted { scope: scope.clone(), started, finished, interval_seconds };
                reporter.fact(Interval::new(started, finished), Basis::Poll, fact).await;
                wait_after_success(interval, Pace::Quiet)
            }
            Err(problem) => {
                failures += 1;
                let message = format!("{}: {problem}", reporter.source());
                tracing::warn!("{message}");
                let fact = Fact::LookFailed {
                    scope: scope.clone(),
                    failure: problem.class(),
                    message: message.into(),
                };
                reporter.fact(Interval::at(now()), Basis::Poll, fact).await;
                wait_after_failure(interval, Pace::Quiet, problem.class(), failures)
            }
        };
        // From the start of one to the start of the next.
        sleep(jittered(wait, &config.name, looks).saturating_sub(asked.elapsed())).await;
    }
}

/// Asks once: how many objects the endpoint tells of.
///
/// # Errors
/// As a sentence.
pub async fn check(config: &Scrape) -> Result<usize, Problem> {
    Client::new(config).read().await.map(|read| read.totals.len())
}
