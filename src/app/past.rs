//! What was known at a time: the journal up to there through a tracker of its own.
//!
//! For one person at a time, on a thread of its own; the tracker that follows the present knows nothing of it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::exporters::Snapshot;
use crate::http::{Answer, PastRequest, Question, why};
use crate::journal::{Tail, Writer};
use crate::observation::Time;
use crate::tracker::{Sizes, Tracker};

/// Whoever asks over HTTP waits no longer, and neither does the processor.
const SECONDS_MAX: u64 = 12;
/// What a tracker remembers of each kind, summed: each takes some hundred bytes, so all of it a fifth of the gibibyte
/// that `deploy/` gives a pod. More is for `--journal`, outside of the instance.
const THINGS_MAX: usize = 400_000;
/// Observations between two looks at how much it is: the look goes through all of it.
const COUNT_EVERY: u64 = 50_000;
/// Sources race by seconds, and our own clock is set right by no more: what comes this much later ends the reading.
const LATE_MILLIS: i64 = 60_000;

/// How much may be spent.
#[derive(Debug, Clone, Copy)]
pub struct PastLimits {
    pub until: Option<Instant>,
    pub things_max: usize,
}

impl PastLimits {
    /// For a command that has the machine for itself.
    #[must_use]
    pub fn none() -> Self {
        Self { until: None, things_max: usize::MAX }
    }

    fn of_an_instance() -> Self {
        let until = Instant::now() + Duration::from_secs(SECONDS_MAX);
        Self { until: Some(until), things_max: THINGS_MAX }
    }
}

/// The state at a time.
#[derive(Debug)]
pub struct Past {
    pub tracker: Tracker,
    pub at: Time,
    /// Observations before it that the disk had refused.
    pub lost: u64,
}

/// Replays a journal up to a time; up to its end where no time is given.
///
/// # Errors
/// A sentence: the time is too early, the journal cannot be read, a limit is passed, or nobody waits any more.
pub fn recall(
    tail: Tail,
    at: Option<Time>,
    limits: PastLimits,
    goes_on: &dyn Fn() -> bool,
) -> Result<Past, String> {
    let oldest = tail.whole_since.map(Time);
    match (at, oldest) {
        (Some(at), Some(oldest)) if at < oldest => {
            return Err(format!(
                "{at} is before the oldest time that can be answered, which is {oldest}: the journal keeps no more"
            ));
        }
        (Some(_), None) => {
            return Err(
                "nothing can be told of the past: the journal is empty, or an older version has compacted it"
                    .into(),
            );
        }
        (Some(_), Some(_)) | (None, _) => {}
    }
    let (mut tracker, mut lost, mut count, mut last) = (Tracker::default(), 0, 0, Time::MIN);
    let end = at.unwrap_or(Time::MAX);
    for batch in tail {
        let batch = batch.map_err(|error| error.to_string())?;
        if !goes_on() {
            return Err("nobody waits for the answer any more".into());
        }
        if limits.until.is_some_and(|until| Instant::now() > until) {
            return Err(format!(
                "replaying the journal takes more than {SECONDS_MAX} s: copy it, and ask with --journal"
            ));
        }
        let first = batch.observations.first().map(|(_, first)| first.observed_at);
        if first.is_some_and(|first| first > end && first.seconds_since(end) * 1000.0 > LATE_MILLIS as f64) {
            break;
        }
        lost += batch.lost;
        for (_, observation) in batch.observations.iter().filter(|(_, it)| it.observed_at <= end) {
            tracker.observe(observation);
            last = last.max(observation.observed_at);
            count += 1;
            if count % COUNT_EVERY == 0 && things(&tracker.sizes()) > limits.things_max {
                return Err("so much was known then that replaying it would take too much memory here: copy the journal, and ask with --journal".into());
            }
        }
    }
    let at = at.unwrap_or(last);
    tracker.advance(at);
    Ok(Past { tracker, at, lost })
}

impl Past {
    /// The same as the instance would have answered then.
    #[must_use]
    pub fn why(&self, question: &Question) -> Vec<Answer> {
        let snapshot = Snapshot {
            at: self.at,
            journeys: self.tracker.shared_journeys(),
            destinations: self.tracker.destinations(self.at),
            sources: self.tracker.sources(self.at),
            updaters: self.tracker.updaters(self.at),
        };
        why(&snapshot, question, Some(&self.tracker.look_up(&question.lookup())))
    }
}

fn things(sizes: &Sizes) -> usize {
    let Sizes { workloads, versions, pods, revisions, jobs, uids, journeys, .. } = sizes;
    let Sizes { seen, tags, presences, images, nodes, changes, .. } = sizes;
    [
        workloads, versions, pods, revisions, jobs, uids, journeys, seen, tags, presences, images, nodes,
        changes,
    ]
    .into_iter()
    .sum()
}

/// Answers requests, one after the other, until nobody can ask any more.
pub async fn serve(mut asked: mpsc::Receiver<PastRequest>, writer: Weak<Writer>) {
    while let Some(request) = asked.recv().await {
        let Some(writer) = writer.upgrade() else { return };
        let tail = writer.since(i64::MIN).await;
        drop(writer);
        let request = Arc::new(request);
        let work = request.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let goes_on = || !work.is_given_up();
            let past = recall(tail?, Some(work.at), PastLimits::of_an_instance(), &goes_on)?;
            Ok((past.why(&work.question), past.lost))
        });
        let answer = answered.await.unwrap_or_else(|_| Err("the past could not be told".into()));
        if let Ok(request) = Arc::try_unwrap(request) {
            request.answer(answer);
        }
    }
}
