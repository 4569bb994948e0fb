//! The loop of a controller: which object is looked at when. A change of an object, or of one that concerns it,
//! wakes it; each look says when the next one is due; one that failed is tried again, more and more rarely.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::api::{Api, Type};
use super::watch::{Change, Place, follow, place};

/// A failed look is repeated after the first pause, doubling up to this many times it. The real controllers begin
/// with 750 ms and end at 15 minutes; a demo's faults are repaired sooner.
const PAUSE_GROWS_MAX: u32 = 8;
/// How often a controller that a fault has stopped looks whether it may go on.
const STOPPED_LOOK: Duration = Duration::from_millis(100);
/// Changes that wait to be heard; a watch waits when there are more.
const CHANGES_MAX: usize = 256;
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// The annotation by which a person asks for a look at once.
pub(super) const REQUESTED: &str = "/metadata/annotations/reconcile.fluxcd.io~1requestedAt";

/// When an object is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    After(Duration),
    /// As after a failure.
    Retry,
    /// When something changes.
    Woken,
}

/// What a controller does with its objects.
pub(super) trait Controller: Send + Sync + 'static {
    /// The kinds whose changes it hears of, its own first.
    const WATCHES: &'static [Type];

    fn api(&self) -> &Api;

    /// Whether a fault keeps it from working.
    fn is_stopped(&self) -> bool {
        false
    }

    /// Whether the change of another kind's object concerns an object of its own.
    fn concerns(&self, own: &Value, change: &Change) -> bool;

    /// Looks at one object.
    fn reconcile(&self, place: Place) -> impl Future<Output = Next> + Send;
}

struct Queue {
    first_pause: Duration,
    own: BTreeMap<Place, Value>,
    due: BTreeMap<Place, Instant>,
    failures: BTreeMap<Place, u32>,
    running: HashSet<Place>,
    /// Woken while they were looked at.
    again: HashSet<Place>,
}

/// Runs a controller for ever. Objects are looked at side by side, each by one look at a time.
pub(super) async fn run<C: Controller>(controller: Arc<C>, first_pause: Duration) {
    let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
    let mut watches = JoinSet::new();
    for type_ in C::WATCHES {
        watches.spawn(follow(controller.api().clone(), *type_, sender.clone()));
    }
    let mut looks: JoinSet<(Place, Next)> = JoinSet::new();
    let mut queue = Queue {
        first_pause,
        own: BTreeMap::new(),
        due: BTreeMap::new(),
        failures: BTreeMap::new(),
        running: HashSet::new(),
        again: HashSet::new(),
    };
    loop {
        let next = queue.due.values().min().copied().unwrap_or_else(|| Instant::now() + NEVER);
        tokio::select! {
            Some(change) = changes.recv() => queue.hear(&*controller, change),
            Some(Ok((place, next))) = looks.join_next(), if !looks.is_empty() => queue.finish(place, next),
            () = sleep_until(next) => {
                for place in queue.begin(controller.is_stopped()) {
                    let controller = controller.clone();
                    looks.spawn(async move {
                        let next = controller.reconcile(place.clone()).await;
                        (place, next)
                    });
                }
            }
        }
    }
}

impl Queue {
    fn hear<C: Controller>(&mut self, controller: &C, change: Change) {
        if change.type_ != C::WATCHES[0] {
            let concerned = self.own.iter().filter(|(_, own)| controller.concerns(own, &change));
            let concerned: Vec<Place> = concerned.map(|(place, _)| place.clone()).collect();
            concerned.into_iter().for_each(|place| self.wake(place));
            return;
        }
        let at = place(change.object());
        match change.after.clone() {
            None => {
                self.own.remove(&at);
                self.due.remove(&at);
                self.failures.remove(&at);
            }
            Some(object) => {
                self.own.insert(at.clone(), object);
                if change.touches("/metadata/generation") || change.touches(REQUESTED) {
                    self.wake(at);
                }
            }
        }
    }

    fn wake(&mut self, place: Place) {
        if self.running.contains(&place) {
            self.again.insert(place);
        } else {
            self.due.insert(place, Instant::now());
        }
    }

    /// Takes out what is due.
    fn begin(&mut self, is_stopped: bool) -> Vec<Place> {
        let now = Instant::now();
        let due: Vec<Place> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(place, _)| place.clone()).collect();
        for place in &due {
            if is_stopped {
                self.due.insert(place.clone(), now + STOPPED_LOOK);
            } else {
                self.due.remove(place);
                self.running.insert(place.clone());
            }
        }
        if is_stopped { Vec::new() } else { due }
    }

    fn finish(&mut self, place: Place, next: Next) {
        self.running.remove(&place);
        if !self.own.contains_key(&place) {
            return;
        }
        let failures = self.failures.entry(place.clone()).or_insert(0);
        let pause = match next {
            Next::After(pause) => Some(pause),
            Next::Woken => None,
            Next::Retry => Some(self.first_pause * 2_u32.pow((*failures).min(8)).min(PAUSE_GROWS_MAX)),
        };
        *failures = if next == Next::Retry { *failures + 1 } else { 0 };
        if self.again.remove(&place) {
            self.due.insert(place, Instant::now());
        } else if let Some(pause) = pause {
            self.due.insert(place, Instant::now() + pause);
        }
    }
}
