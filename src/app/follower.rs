//! The task that owns the tracker: reports in, journal, events and snapshots out.

mod keeping;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::keeping::Keeping;
use self::pace::{PUBLISH_EVERY, Pace};
use super::memory::Recalled;
use super::sources::Recollection;
use crate::exporters::Snapshot;
use crate::exporters::metrics::Metrics;
use crate::exporters::traces::Traces;
use crate::http::{Around, EventRecord, LookupRequest, Ready, sentence};
use crate::observation::{Fact, Interests, Observation};
use crate::observers::{Report, now};
use crate::tracker::{Event, Journey, Tracker};

/// Reports taken in one go before events are handed on.
const BATCH_MAX: usize = 512;
/// Looks that found nothing new change no more than how fresh a source is. A sweep has hundreds of them, and a copy
/// of the state after each would be most of what an idle program does.
const PUBLISH_LOOKS_EVERY: Duration = Duration::from_secs(1);
/// The journal's state is at most this old while anything happens.
const JOURNAL_EVERY: Duration = Duration::from_millis(250);
/// The tracker is asked at least this often, whatever it says of deadlines.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Time passes for the tracker so much later than for the clock: what happened before may still be on its way to us, and
/// nothing is said to be late that has only been heard late. On a machine with ten times more to do than processors,
/// messages took up to 440 ms.
const HEARD_WITHIN_MILLIS: i64 = 500;

/// Who asks the tracker for what no snapshot holds.
pub struct Asking {
    pub recollect: mpsc::Receiver<oneshot::Sender<Recollection>>,
    pub lookups: mpsc::Receiver<LookupRequest>,
}

/// Events of one batch that are told with a sentence: each looks for its journey among all. Of more, as when a cluster is
/// out of sight, nobody reads each.
const SENTENCES_MAX: usize = 100;

/// See the file's front line.
pub struct Follower {
    tracker: Tracker,
    metrics: Arc<Metrics>,
    traces: Option<Traces>,
    publish: watch::Sender<Arc<Snapshot>>,
    interested: watch::Sender<Arc<Interests>>,
    events: broadcast::Sender<EventRecord>,
    keeping: Option<Keeping>,
    untold: Vec<Event>,
}

impl Follower {
    /// Goes on from what was recalled.
    pub fn new(
        recalled: Recalled,
        epoch: u64,
        metrics: Arc<Metrics>,
        traces: Option<Traces>,
        publish: watch::Sender<Arc<Snapshot>>,
        interested: watch::Sender<Arc<Interests>>,
        events: broadcast::Sender<EventRecord>,
    ) -> Self {
        let keeping = recalled.writer.map(|writer| Keeping::new(writer, recalled.position, epoch));
        let (tracker, untold) = (recalled.tracker, recalled.untold);
        Self { tracker, metrics, traces, publish, interested, events, keeping, untold }
    }

    /// Follows until somebody asks for the end, and writes a last checkpoint then.
    pub async fn follow(
        mut self,
        mut reports: mpsc::Receiver<Report>,
        mut ending: oneshot::Receiver<oneshot::Sender<()>>,
        mut asking: Asking,
        ready: Ready,
    ) {
        // Who asks is answered when everything reported before is in.
        let mut recollecting: Vec<oneshot::Sender<Recollection>> = Vec::new();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.publish();
        self.show_journal(&ready);
        let untold = std::mem::take(&mut self.untold);
        self.tell(&untold);
        ready.set(true);
        let mut publish_at = Instant::now();
        let mut pace = Pace::new(publish_at.into_std());
        let (mut looks_at, mut journal_at) = (publish_at, publish_at);
        // When to publish; nothing is new where it is absent.
        let mut due = Some(publish_at);
        loop {
            let wake = due.unwrap_or_else(|| self.deadline());
            tokio::select! {
                count = reports.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    // Who speaks says several things in a row: one commit for all of them.
                    tokio::task::yield_now().await;
                    while batch.len() < BATCH_MAX
                        && let Ok(report) = reports.try_recv()
                    {
                        batch.push(report);
                    }
                }
                Some(asked) = asking.recollect.recv() => recollecting.push(asked),
                Some(LookupRequest { lookup, reply }) = asking.lookups.recv() => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.tracker.look_up(&lookup));
                    continue;
                }
                () = sleep_until(wake) => {}
                done = &mut ending => {
                    self.end().await;
                    // Whoever asked may have given up waiting.
                    let _ = done.map(|done| done.send(()));
                    return;
                }
            }
            let only_looks = batch.iter().all(|report| match report {
                Report::Observation(seen) => matches!(seen.fact, Fact::LookCompleted { .. }),
                Report::Measure(_) => true,
            });
            let events = self.take(&mut batch, reports.is_empty()).await;
            events.iter().for_each(|event| self.metrics.event(event));
            self.tell(&events);
            if let Some(keeping) = &mut self.keeping {
                keeping.told();
            }
            if !recollecting.is_empty() && reports.is_empty() {
                for asked in recollecting.drain(..) {
                    // Whoever asked may have gone.
                    let _ = asked.send(Recollection::of(&self.tracker));
                }
            }
            let news = !only_looks || !events.is_empty();
            // A look is told of a moment before what it found: published at once, it would hold that up.
            let next = if news { publish_at } else { looks_at.max(Instant::now() + PUBLISH_EVERY) };
            let at = due.map_or(next, |due| due.min(next));
            due = Some(at);
            if Instant::now() >= at {
                let started = Instant::now();
                self.publish();
                publish_at = pace.published(started.elapsed(), Instant::now().into_std()).into();
                looks_at = Instant::now() + PUBLISH_LOOKS_EVERY;
                due = None;
            }
            if Instant::now() >= journal_at {
                self.show_journal(&ready);
                journal_at = Instant::now() + JOURNAL_EVERY;
            }
            if let Some(keeping) = &mut self.keeping {
                keeping.keep(&self.tracker, &self.metrics, !events.is_empty());
            }
        }
    }

    /// Takes a batch in, into the journal and the tracker, and lets time pass where it was `all` that is there: what waits to
    /// be read is older than now. What this leads to is durable, or the disk is known to refuse or to be late, when this
    /// returns.
    async fn take(&mut self, batch: &mut Vec<Report>, all: bool) -> Vec<Event> {
        let mut observations: Vec<Observation> = Vec::with_capacity(batch.len());
        for report in batch.drain(..) {
            match report {
                Report::Measure(measure) => self.metrics.measure(&measure),
                Report::Observation(observation) => observations.push(*observation),
            }
        }
        let observations = Arc::new(observations);
        let written = self.keeping.as_mut().map(|keeping| keeping.append(observations.clone()));
        let mut events = Vec::new();
        for observation in observations.iter() {
            self.metrics.observation(observation);
            events.extend(self.tracker.observe(observation));
        }
        let at = now() - HEARD_WITHIN_MILLIS;
        let advanced = if all { self.tracker.advance(at) } else { Vec::new() };
        if let (Some(keeping), Some(position)) = (&self.keeping, written) {
            let counted = |event: &Event| matches!(event, Event::Settled(_) | Event::Restarted { .. });
            keeping.durable(position, advanced.iter().any(counted).then_some(at)).await;
        }
        events.extend(advanced);
        events
    }

    async fn end(mut self) {
        let Some(keeping) = self.keeping.take() else { return };
        keeping.end(&self.tracker, &self.metrics).await;
    }

    fn deadline(&self) -> Instant {
        let wait = self.tracker.next_deadline().map_or(IDLE_MAX, |deadline| {
            let millis = (deadline.at.0 + HEARD_WITHIN_MILLIS - now().0).max(0);
            Duration::from_millis(millis.unsigned_abs()).clamp(PUBLISH_EVERY, IDLE_MAX)
        });
        Instant::now() + wait
    }

    fn tell(&self, events: &[Event]) {
        for (at, event) in events.iter().enumerate() {
            let snapshot = self.publish.borrow().clone();
            let why = (at < SENTENCES_MAX).then(|| self.why(event, &snapshot)).flatten();
            let record = EventRecord::told(event, why.as_deref());
            log(event, &record, why.as_deref());
            // Nobody listening is no error.
            let _ = self.events.send(record);
            match (&self.traces, event) {
                (Some(traces), Event::Settled(journey)) => traces.settled(journey, &snapshot),
                (Some(traces), Event::Stuck { id, .. }) => {
                    if let Some(journey) = self.tracker.journey(*id) {
                        traces.stuck(journey, &snapshot);
                    }
                }
                _ => {}
            }
        }
    }

    /// The sentence of a journey that needs somebody, or has ended.
    fn why(&self, event: &Event, snapshot: &Snapshot) -> Option<String> {
        let about = |journey: &Journey| {
            let journeys = self.tracker.journeys_to(&journey.destination);
            sentence(&Around { at: now(), sources: &snapshot.sources, journeys: &journeys }, journey)
        };
        match event {
            Event::Settled(journey) => Some(about(journey)),
            Event::Held { id, .. } | Event::Stuck { id, .. } | Event::Blind { id, .. } => {
                self.tracker.journey(*id).map(about)
            }
            Event::Moved { .. }
            | Event::Cleared { .. }
            | Event::Restarted { .. }
            | Event::Raced(_)
            | Event::Detected(_)
            | Event::Pushed(_) => None,
        }
    }

    fn publish(&self) {
        let at = now();
        self.publish.send_replace(Arc::new(Snapshot {
            at,
            journeys: self.tracker.shared_journeys(),
            destinations: self.tracker.destinations(at),
            sources: self.tracker.sources(at),
            updaters: self.tracker.updaters(at),
        }));
        let interests = self.tracker.interests();
        self.interested.send_if_modified(|known| {
            let changed = **known != interests;
            if changed {
                *known = Arc::new(interests);
            }
            changed
        });
    }

    fn show_journal(&self, ready: &Ready) {
        let status = keeping::status(self.keeping.as_ref());
        self.metrics.journal(&keeping::gauges(&status));
        ready.set_journal(serde_json::to_value(&status).unwrap_or_default());
    }
}

/// One structured record per journey event.
fn log(event: &Event, record: &EventRecord, why: Option<&str>) {
    match event {
        Event::Settled(journey) => tracing::info!(
            journey = %journey.id,
            image = %journey.image,
            destination = %journey.destination,
            outcome = journey.outcome.map(crate::tracker::Outcome::as_str),
            why,
            "settled"
        ),
        Event::Stuck { id, stuck } => {
            tracing::warn!(journey = %id, stage = stuck.stage.as_str(), reason = stuck.reason.as_str(), why, "stuck");
        }
        Event::Held { id, held } => {
            tracing::info!(journey = %id, hold = held.hold.as_str(), why, "held");
        }
        _ => tracing::debug!(event = record.name, json = %record.json, "event"),
    }
}
