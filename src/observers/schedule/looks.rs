//! The looks under way at one host: starts what the plan says and waits for whatever happens first.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};

use super::gate::hurrying;
use super::look_now::{Desk, Wanted};
use super::plan::{Due, Interest, Outcome, Plan};
use crate::image::Tag;
use crate::observation::LookFailure;

/// Places that only hurried looks may take: what somebody waits for does not wait for a sweep.
const HURRIED_PLACES: usize = 2;
/// The longest sleep, so that a clock that jumped is noticed, and the time between two states that are told:
/// Prometheus mostly asks as often.
const SLEEP_MAX: Duration = Duration::from_secs(15);
/// A look is late after this part of its interval.
const LATE_PART: u32 = 10;

/// The plan of one host, and its looks that are under way.
pub struct Looks<K, M, I> {
    pub plan: Plan<K, M, I>,
    /// Where others ask for a look.
    pub desk: Arc<Desk<K>>,
    places: usize,
    tasks: JoinSet<Ended<M>>,
    keys: HashMap<Id, K>,
    /// Looks that a refusal cut short since the last state.
    throttled: u64,
    told: Option<Instant>,
    state: Option<State>,
}

/// How the looks keep up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Looks that are due and have not begun.
    pub due: usize,
    /// Those that have been due for more than a tenth of the interval.
    pub late: usize,
    /// Looks that the host's refusal cut short since the last state.
    pub throttled: u64,
}

/// A look that begins.
#[derive(Debug)]
pub struct Begun<K, M, I> {
    pub key: K,
    pub memory: M,
    pub interest: Arc<I>,
    /// How long it was due.
    pub late: Duration,
    /// All of it, or only the tags that were asked for.
    pub wanted: Wanted,
    /// Tags that somebody asked for since the last look; empty where all of it was meant. `None` where nobody asked.
    pub asked: Option<BTreeSet<Tag>>,
}

/// A look that ended, with the memory that it was given.
#[derive(Debug)]
pub struct Ended<M> {
    pub memory: M,
    pub outcome: Outcome,
}

/// A look broke off without an end, and its subject's memory is lost.
#[derive(Debug)]
pub struct Crashed<K> {
    pub key: K,
    pub why: String,
}

impl<K, M, I> Looks<K, M, I>
where
    K: Clone + Eq + Hash + Ord,
    M: Send + 'static,
    I: Interest,
{
    /// `places` looks at once, and two more for what is hurried.
    #[must_use]
    pub fn new(plan: Plan<K, M, I>, desk: Arc<Desk<K>>, places: usize) -> Self {
        Self {
            plan,
            desk,
            places,
            tasks: JoinSet::new(),
            keys: HashMap::new(),
            throttled: 0,
            told: None,
            state: None,
        }
    }

    /// Starts what is due and waits until a look ends, another is due, or somebody asks for one. May be dropped
    /// while it waits. Nothing starts while the host is `paused`. A subject whose look crashed is told; whoever
    /// calls gives it a new memory with [`Plan::restart`].
    pub async fn step<F>(
        &mut self,
        paused: Option<Instant>,
        look: impl Fn(Begun<K, M, I>) -> F,
    ) -> Option<Crashed<K>>
    where
        F: Future<Output = Ended<M>> + Send + 'static,
    {
        let wake = self.start_due(paused, look);
        tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => match ended {
                Ok((id, Ended { memory, outcome })) => {
                    self.throttled += u64::from(outcome.failure == Some(LookFailure::Throttled));
                    if let Some(key) = self.keys.remove(&id) {
                        self.plan.finish(&key, memory, outcome, Instant::now());
                    }
                    None
                }
                Err(error) => {
                    let key = self.keys.remove(&error.id())?;
                    Some(Crashed { key, why: error.to_string() })
                }
            },
            () = self.desk.rung() => None,
            () = tokio::time::sleep_until(wake.into()) => None,
        }
    }

    /// How the looks keep up, about every quarter of a minute.
    #[must_use]
    pub fn state(&mut self) -> Option<State> {
        self.state.take()
    }

    /// How many looks may be under way, hurried ones aside.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places
    }

    /// Starts what is due, the longest overdue first, and says when to come back.
    fn start_due<F>(&mut self, paused: Option<Instant>, look: impl Fn(Begun<K, M, I>) -> F) -> Instant
    where
        F: Future<Output = Ended<M>> + Send + 'static,
    {
        let now = Instant::now();
        for (key, wanted) in self.desk.fresh() {
            match wanted {
                Wanted::Whole => self.plan.look_now(&key, now),
                Wanted::Tags => self.plan.ask_now(&key, now),
            }
        }
        let latest = now + SLEEP_MAX;
        if let Some(until) = paused.filter(|until| *until > now) {
            self.note_state(now);
            return until.min(latest);
        }
        while self.tasks.len() < self.places + HURRIED_PLACES {
            let hurried_only = self.tasks.len() >= self.places;
            let Some((key, due)) = self.plan.take_due(now, hurried_only) else { break };
            let Due { memory, interest, late, hurried, wanted } = due;
            let asked = self.desk.begin(&key, wanted);
            let begun = Begun { key: key.clone(), memory, interest, late, wanted, asked };
            let task = self.tasks.spawn(hurrying(hurried, look(begun)));
            self.keys.insert(task.id(), key);
        }
        self.note_state(now);
        // What is overdue and found no place waits for the end of a look.
        let next = match self.tasks.len() < self.places {
            true => self.plan.next_due(),
            false => self.plan.next_hurried(),
        };
        next.filter(|due| *due > now).unwrap_or(latest).min(latest)
    }

    /// Only once what was due and found a place waits no more.
    fn note_state(&mut self, now: Instant) {
        if self.told.is_none_or(|told| now >= told + SLEEP_MAX) {
            self.told = Some(now);
            let (due, late) = self.plan.waiting(now, self.plan.interval() / LATE_PART, usize::MAX);
            self.state = Some(State { due, late, throttled: std::mem::take(&mut self.throttled) });
        }
    }
}
