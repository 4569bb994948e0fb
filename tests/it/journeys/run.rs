//! Runs a tracker over what the observers said, and keeps what it answered.

use std::collections::BTreeMap;

use knotmeter::exporters::Snapshot;
use knotmeter::http::{Question, why};
use knotmeter::observation::{Fact, Time};
use knotmeter::tracker::{Deadline, Destination, DestinationStatus, Event, Journey, JourneyId, Tracker};

use super::record::Delivery;

/// Deadlines between two facts. More means a deadline that never passes.
const DEADLINES_MAX: usize = 100_000;

/// Most of what is said is that a look completed. A restart after each of them would take minutes.
const LOOKS_PER_RESTART: usize = 31;

/// A tracker under way, and all it ever said.
#[derive(Debug, Default)]
pub struct Run {
    tracker: Tracker,
    log: Vec<Delivery>,
    pub now: Option<Time>,
    /// Every journey by id: as last seen, also after the tracker forgot it.
    pub journeys: BTreeMap<JourneyId, Journey>,
    pub settled: BTreeMap<JourneyId, Journey>,
    /// When something settled.
    pub settled_at: Vec<Time>,
    /// Settled again in the replay after a restart, which is no second settling.
    replayed: Vec<JourneyId>,
    pub restarted: Vec<Destination>,
    /// Every event, in order.
    pub told: Vec<Event>,
    /// Promises the tracker broke, whatever the case expects.
    pub broken: Vec<String>,
}

/// How the tracker is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `advance` at every deadline, as the program does.
    AtDeadlines,
    /// Facts only, as a replay may: time passes by their stamps.
    FactsOnly,
    /// As `AtDeadlines`, and after every fact and many looks the tracker goes on from its own checkpoint.
    Restored,
    /// As `AtDeadlines`, and the tracker goes on from its own checkpoint after every so many deliveries.
    RestoredEvery(usize),
}

impl Run {
    /// Feeds deliveries and lets time pass to `end`.
    pub fn over(deliveries: &[(Time, Delivery)], end: Time, ask: Ask) -> Self {
        let mut run = Self::default();
        for (number, (now, delivery)) in deliveries.iter().enumerate() {
            if ask != Ask::FactsOnly {
                run.advance(*now);
            }
            run.deliver(*now, delivery);
            let restores = match ask {
                Ask::AtDeadlines | Ask::FactsOnly => false,
                Ask::Restored => number % LOOKS_PER_RESTART == 0 || !is_look(delivery),
                Ask::RestoredEvery(many) => number % many == 0,
            };
            if restores {
                run.restore();
            }
        }
        run.finish(end);
        run
    }

    /// Lets time pass to the end, and has everything that counts time count it.
    pub fn finish(&mut self, end: Time) {
        self.advance(end);
        let events = self.tracker.advance(end);
        self.take(events, end);
    }

    /// Lets time pass, stopping at every deadline.
    pub fn advance(&mut self, to: Time) {
        for _ in 0..DEADLINES_MAX {
            let Some(deadline) = self.tracker.next_deadline().filter(|deadline| deadline.at <= to) else {
                return;
            };
            let at = self.now.map_or(deadline.at, |now| now.max(deadline.at));
            let events = self.tracker.advance(at);
            self.take(events, at);
            if self.tracker.next_deadline() == Some(deadline) {
                return self.broken.push(format!("deadline {deadline:?} is still there after advance({at})"));
            }
        }
        self.broken.push(format!("more than {DEADLINES_MAX} deadlines before {to}"));
    }

    pub fn deliver(&mut self, now: Time, delivery: &Delivery) {
        match delivery {
            Delivery::Observation(observation) => {
                let events = self.tracker.observe(observation);
                self.take(events, now);
            }
            Delivery::Restart(_) => self.restart(now),
        }
        self.log.push(delivery.clone());
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<Deadline> {
        self.tracker.next_deadline()
    }

    pub fn destinations(&self, now: Time) -> Vec<DestinationStatus> {
        self.tracker.destinations(now)
    }

    /// What `why` answers, each sentence.
    pub fn why(&self, now: Time, question: &str) -> Vec<String> {
        let snapshot = Snapshot {
            at: now,
            journeys: self.tracker.shared_journeys(),
            destinations: self.tracker.destinations(now),
            sources: self.tracker.sources(now),
            updaters: self.tracker.updaters(now),
        };
        let question = Question::new(question, None);
        let findings = self.tracker.look_up(&question.lookup());
        why(&snapshot, &question, Some(&findings)).into_iter().map(|answer| answer.sentence).collect()
    }

    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Our process is gone; another one goes on with what it remembers.
    pub fn replace(&mut self, tracker: Tracker) {
        self.tracker = tracker;
    }

    /// Our process is gone; another one goes on from a checkpoint of this moment.
    fn restore(&mut self) {
        let bytes = self.tracker.checkpoint();
        match Tracker::restore(&bytes) {
            Ok(tracker) => self.tracker = tracker,
            Err(error) => return self.broken.push(error.to_string()),
        }
        if self.tracker.checkpoint() != bytes {
            self.broken.push("the checkpoint of a restored tracker differs from its own".to_owned());
        }
    }

    /// Our process is gone; another one replays what was kept.
    fn restart(&mut self, now: Time) {
        self.tracker = Tracker::default();
        self.replayed = self.settled.keys().copied().collect();
        let restarted = std::mem::take(&mut self.restarted);
        for delivery in std::mem::take(&mut self.log) {
            if let Delivery::Observation(observation) = &delivery {
                let events = self.tracker.observe(observation);
                self.take(events, delivery.at());
            }
            self.log.push(delivery);
        }
        self.advance(now);
        self.replayed.clear();
        self.restarted = restarted;
    }

    fn take(&mut self, events: Vec<Event>, now: Time) {
        self.now = Some(self.now.map_or(now, |before| before.max(now)));
        self.told.extend(events.iter().cloned());
        for event in events {
            match event {
                Event::Settled(journey) => {
                    self.settled_at.push(now);
                    if let Some(at) = self.replayed.iter().position(|id| *id == journey.id) {
                        self.replayed.swap_remove(at);
                    } else if self.settled.contains_key(&journey.id) {
                        self.broken.push(format!("journey {} settled twice", journey.id));
                    }
                    self.settled.insert(journey.id, *journey);
                }
                Event::Restarted { destination } => self.restarted.push(*destination),
                Event::Raced(_)
                | Event::Detected(_)
                | Event::Pushed(_)
                | Event::Moved { .. }
                | Event::Held { .. }
                | Event::Stuck { .. }
                | Event::Blind { .. }
                | Event::Cleared { .. } => {}
            }
        }
        // What vanished before it settled was a first guess, put right by an earlier cause.
        self.journeys.retain(|_, journey| journey.settled);
        for journey in self.tracker.journeys() {
            self.journeys.insert(journey.id, journey.clone());
        }
    }
}

fn is_look(delivery: &Delivery) -> bool {
    let Delivery::Observation(observation) = delivery else { return false };
    matches!(observation.fact, Fact::LookCompleted { .. })
}
