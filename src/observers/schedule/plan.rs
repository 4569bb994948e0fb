//! Which subject of a host is looked at next: a repository of a registry, or one of git. No I/O and no clock.
//!
//! With ten thousand subjects a look ends every few milliseconds, so what is due stands in order, and nothing is
//! copied for a subject about which nothing changed.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::look_now::Wanted;
use super::rate::RATE_MIN;
use super::tag_looks::TagLooks;
use super::wait::{self, Pace};
use crate::observation::LookFailure;

/// What is known of a subject outlives its last use by this: workloads come back.
const KEPT_UNUSED: Duration = Duration::from_secs(3600);
/// The pause after a look that crashed.
const CRASHED_PAUSE: Duration = Duration::from_secs(60);
/// Where both wait, one look in so many is for what is not hurried: hurry must not starve the rest for ever.
const QUIET_PART: u32 = 4;

/// What is wanted of a subject.
pub trait Interest: Clone + PartialEq {
    /// Something under way waits for it.
    fn urgent(&self) -> bool;
    /// More is wanted than before: the next look comes sooner.
    fn adds_to(&self, before: &Self) -> bool;
    /// The time between two looks, where it is not that of the whole plan.
    fn interval(&self) -> Option<Duration> {
        None
    }
}

/// The subjects of one host, and when each is due. `M` is what is remembered of one between looks.
#[derive(Debug)]
pub struct Plan<K, M, I> {
    interval: Duration,
    /// While hot, a subject is looked at this often; `None` where that would be a burden.
    hot: bool,
    seed: u64,
    subjects_max: usize,
    /// When the first subject came.
    began: Option<Instant>,
    entries: HashMap<K, Entry<M, I>>,
    /// Those that may be looked at, in order: wanted, and no look at them is under way.
    quiet: BTreeSet<(Instant, K)>,
    /// Those of them that somebody waits for.
    hurried: BTreeSet<(Instant, K)>,
    /// Hurried looks begun since the last that was not.
    hurried_looks: u32,
    cost: SweepCost,
}

/// What the last look at each subject cost together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepCost {
    /// Those that were looked at whole.
    pub subjects: u64,
    pub requests: u64,
    /// Time in which their looks were under way.
    pub busy: Duration,
}

#[derive(Debug)]
struct Entry<M, I> {
    interest: Arc<I>,
    /// Nobody wants it since then.
    unused_since: Option<Instant>,
    /// It has been urgent since then.
    urgent_since: Option<Instant>,
    /// By its own schedule.
    due: Instant,
    /// Somebody asked for a look, and none has begun since: when it may begin.
    asked: Option<Instant>,
    /// Start of the last look that was asked for.
    asked_start: Option<Instant>,
    told: TagLooks,
    /// Of the last look that was whole.
    last_start: Option<Instant>,
    /// Whole ones.
    looks: u64,
    /// The look that is under way, or was the last.
    under_way: Option<(Instant, Wanted)>,
    failures: u32,
    /// The end of a wait that no wish shortens: what just failed is not asked at once again.
    not_before: Option<Instant>,
    /// Of the last look that was whole.
    cost: SweepCost,
    /// Away while a look is under way.
    memory: Option<M>,
}

/// A look that begins.
#[derive(Debug)]
pub struct Due<M, I> {
    pub memory: M,
    pub interest: Arc<I>,
    /// How long it was due.
    pub late: Duration,
    /// Somebody waits for it.
    pub hurried: bool,
    /// All of the subject, or only the tags that somebody told of.
    pub wanted: Wanted,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why it was cut short, if it was.
    pub failure: Option<LookFailure>,
    /// Requests that it takes when nothing changed.
    pub requests: u32,
    /// What became of a wish that it served, where such a wish may come too early.
    pub wish: Option<Wish>,
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// What was told of was found, or nothing was named.
    Met,
    /// What was told of was not found.
    Unmet,
}

impl<K, M, I> Plan<K, M, I>
where
    K: Clone + Eq + Hash + Ord,
    I: Interest,
{
    /// An empty plan. `seed` makes the jitter of one process differ from that of another.
    #[must_use]
    pub fn new(interval: Duration, subjects_max: usize, seed: u64) -> Self {
        Self {
            interval,
            hot: false,
            seed,
            subjects_max,
            began: None,
            entries: HashMap::new(),
            quiet: BTreeSet::new(),
            hurried: BTreeSet::new(),
            hurried_looks: 0,
            cost: SweepCost::default(),
        }
    }

    /// The same for a host that does not mind being asked often for the few subjects that just became urgent.
    #[must_use]
    pub fn with_hot(self) -> Self {
        Self { hot: true, ..self }
    }

    /// The time between two looks at a subject that nothing hurries.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether a subject is in the plan, wanted or not.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// There is no room for another subject.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.subjects_max
    }

    /// When the next look is due. With a look under way its end decides.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let firsts = [&self.hurried, &self.quiet].map(|due| due.first().map(|(due, _)| *due));
        firsts.into_iter().flatten().min()
    }

    /// The same for what somebody waits for.
    #[must_use]
    pub fn next_hurried(&self) -> Option<Instant> {
        self.hurried.first().map(|(due, _)| *due)
    }

    /// A subject is wanted. `begin` gives what is known of one that was not in the plan. True if it was not
    /// wanted until now.
    pub fn want(&mut self, key: &K, interest: &I, now: Instant, begin: impl FnOnce() -> M) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            self.began.get_or_insert(now);
            let entry = Entry {
                interest: Arc::new(interest.clone()),
                unused_since: None,
                urgent_since: interest.urgent().then_some(now),
                due: now,
                asked: None,
                asked_start: None,
                told: TagLooks::default(),
                last_start: None,
                looks: 0,
                under_way: None,
                failures: 0,
                not_before: None,
                cost: SweepCost::default(),
                memory: Some(begin()),
            };
            self.entries.insert(key.clone(), entry);
            self.stand_in_line(key);
            return true;
        };
        let was_unused = entry.unused_since.take().is_some();
        if *entry.interest == *interest && !was_unused {
            return false;
        }
        let became_urgent = interest.urgent() && !entry.interest.urgent();
        let sooner = became_urgent || interest.adds_to(&entry.interest);
        self.leave_line(key);
        let entry = self.entries.get_mut(key).expect("it was there");
        entry.interest = Arc::new(interest.clone());
        if became_urgent {
            entry.urgent_since = Some(now);
        }
        if sooner && entry.failures == 0 {
            let interval = interest.interval().unwrap_or(self.interval);
            let soon = if self.hot && entry.is_hot(now) {
                wait::wait_while_hot(interval, entry.cost.requests.try_into().unwrap_or(u32::MAX))
            } else {
                wait::wait_after_success(interval, Pace::Urgent)
            };
            entry.due = entry.due.min(entry.last_start.map_or(now, |last| last + soon));
        }
        self.stand_in_line(key);
        was_unused
    }

    /// Sets aside what is not wanted any more, and forgets what has not been for long. Returns what was set aside
    /// just now.
    pub fn keep(&mut self, is_wanted: impl Fn(&K) -> bool, now: Instant) -> Vec<K> {
        let unwanted = self.entries.iter().filter(|(key, _)| !is_wanted(key));
        let let_go: Vec<K> =
            unwanted.filter(|(_, entry)| entry.unused_since.is_none()).map(|(key, _)| key.clone()).collect();
        for key in &let_go {
            self.leave_line(key);
            self.entries.get_mut(key).expect("it was there").unused_since = Some(now);
        }
        let Self { entries, cost, .. } = self;
        entries.retain(|_, entry| {
            let since = entry.unused_since.unwrap_or(now);
            let keep = entry.memory.is_none() || now.saturating_duration_since(since) < KEPT_UNUSED;
            if !keep {
                *cost = cost.replaced(entry.cost, SweepCost::default());
            }
            keep
        });
        let_go
    }

    /// Somebody heard that a subject changed: it is due now, or as soon as its cool-down is over. While a look is
    /// under way another follows it.
    pub fn look_now(&mut self, key: &K, now: Instant) {
        if self.entries.get(key).is_none_or(|entry| entry.unused_since.is_some()) {
            return;
        }
        self.leave_line(key);
        let entry = self.entries.get_mut(key).expect("it was there");
        entry.asked = Some(entry.soonest(now));
        self.stand_in_line(key);
    }

    /// Somebody told of tags of a subject: they are asked for now, or when the next look for tags may begin. Within one
    /// cool-down there are few of these, whoever tells of however much; see [`wait::told_again`].
    pub fn ask_now(&mut self, key: &K, now: Instant) {
        if self.entries.get(key).is_none_or(|entry| entry.unused_since.is_some()) {
            return;
        }
        self.leave_line(key);
        let entry = self.entries.get_mut(key).expect("it was there");
        entry.told.fresh = true;
        entry.told.due = Some(entry.soonest_told(now));
        self.stand_in_line(key);
    }

    /// The next subject whose look is due: the longest overdue of those that somebody waits for, else of all.
    /// `hurried_only` leaves the others where they are.
    pub fn take_due(&mut self, now: Instant, hurried_only: bool) -> Option<(K, Due<M, I>)> {
        let is_due = |due: &BTreeSet<(Instant, K)>| due.first().is_some_and(|(due, _)| *due <= now);
        let quiet_waits = !hurried_only && is_due(&self.quiet);
        let hurried = is_due(&self.hurried) && !(quiet_waits && self.hurried_looks + 1 >= QUIET_PART);
        if !hurried && !quiet_waits {
            return None;
        }
        self.hurried_looks = if hurried { (self.hurried_looks + 1).min(QUIET_PART) } else { 0 };
        let line = if hurried { &mut self.hurried } else { &mut self.quiet };
        let (due, key) = line.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        let is_whole = entry.due <= now || entry.asked.is_some_and(|asked| asked <= now);
        let wanted = if is_whole { Wanted::Whole } else { Wanted::Tags };
        // A whole look serves everybody.
        if entry.told.due.take().is_some() {
            entry.told.begin(now);
        }
        if is_whole {
            if entry.asked.take().is_some() {
                entry.asked_start = Some(now);
            }
            entry.last_start = Some(now);
            entry.looks += 1;
        }
        entry.under_way = Some((now, wanted));
        let (memory, interest) = (entry.memory.take()?, entry.interest.clone());
        let late = now.saturating_duration_since(due);
        Some((key, Due { memory, interest, late, hurried, wanted }))
    }

    /// A look ended.
    pub fn finish(&mut self, key: &K, memory: M, outcome: Outcome, now: Instant) {
        let (interval, hot, began, count) = (self.interval, self.hot, self.began, self.entries.len());
        let Some(entry) = self.entries.get_mut(key) else { return };
        let interval = entry.interest.interval().unwrap_or(interval);
        let (started, wanted) = entry.under_way.unwrap_or((now, Wanted::Whole));
        let pace = if entry.interest.urgent() { Pace::Urgent } else { Pace::Quiet };
        let first = entry.looks == 1;
        let is_hot = hot && outcome.failure.is_none() && entry.is_hot(now);
        let wait = match outcome.failure {
            // What can be told of a tag says nothing about the rest.
            None if wanted == Wanted::Tags => None,
            None => {
                let busy = now.saturating_duration_since(started);
                let cost = SweepCost { subjects: 1, requests: outcome.requests.into(), busy };
                self.cost = self.cost.replaced(std::mem::replace(&mut entry.cost, cost), cost);
                (entry.failures, entry.not_before) = (0, None);
                Some(if is_hot {
                    wait::wait_while_hot(interval, outcome.requests)
                } else {
                    wait::wait_after_success(interval, pace)
                })
            }
            Some(failure) => {
                entry.failures = entry.failures.saturating_add(1);
                entry.not_before = wait::not_even_asked(failure).map(|wait| now + wait);
                Some(wait::wait_after_failure(interval, pace, failure, entry.failures))
            }
        };
        if let Some(wait) = wait {
            let wait = if first && pace == Pace::Quiet && outcome.failure.is_none() {
                wait::wait_after_first(wait, &(self.seed, key))
            } else if is_hot {
                wait::jittered_within(wait, &(self.seed, key), entry.looks)
            } else {
                wait::jittered(wait, &(self.seed, key), entry.looks)
            };
            entry.due = started + wait;
            if pace == Pace::Quiet {
                entry.due = wait::together(entry.due, began.unwrap_or(now), interval, count);
            }
        }
        if let Some(wish) = outcome.wish {
            let whole = started + wait::WHOLE_AFTER;
            entry.due = entry.due.min(entry.not_before.map_or(whole, |not_before| whole.max(not_before)));
            if wish == Wish::Unmet && outcome.failure.is_none() {
                entry.told.again(now);
            }
        }
        // A failure moves what was asked for meanwhile.
        entry.wait_for_wishes(now);
        entry.memory = Some(memory);
        self.stand_in_line(key);
    }

    /// Gives a subject whose look crashed a new, empty memory, and a pause.
    pub fn restart(&mut self, key: &K, memory: M, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.due = now + CRASHED_PAUSE;
        entry.not_before = Some(entry.due);
        entry.wait_for_wishes(now);
        entry.memory = Some(memory);
        self.stand_in_line(key);
    }

    /// Looks that are due and have not begun, and those of them that have waited longer than `late_after`. Counts
    /// at most `most` of each.
    #[must_use]
    pub fn waiting(&self, now: Instant, late_after: Duration, most: usize) -> (usize, usize) {
        let count = |until: Instant| {
            let lines = [&self.hurried, &self.quiet];
            lines.map(|line| line.iter().take(most).take_while(|(due, _)| *due <= until).count()).iter().sum()
        };
        (count(now), now.checked_sub(late_after).map_or(0, count))
    }

    /// How long one look at every subject takes, so many at once and at most so many requests a second, if each
    /// costs what it cost last; those that were not looked at yet count as the others. `None` before the first.
    #[must_use]
    pub fn sweep_projected(&self, places: usize, per_second: Option<f64>) -> Option<Duration> {
        let SweepCost { subjects, requests, busy } = self.cost;
        let not_yet = self.entries.len() as f64 / (subjects > 0).then_some(subjects as f64)?;
        let by_time = busy.as_secs_f64() / places.max(1) as f64;
        let by_rate = per_second.map_or(0.0, |per_second| requests as f64 / per_second.max(RATE_MIN));
        Duration::try_from_secs_f64(by_time.max(by_rate) * not_yet).ok()
    }

    /// What one look at every subject costs.
    #[must_use]
    pub fn sweep_cost(&self) -> SweepCost {
        self.cost
    }

    fn stand_in_line(&mut self, key: &K) {
        let Some(entry) = self.entries.get(key) else { return };
        if entry.memory.is_some() && entry.unused_since.is_none() {
            let line = if entry.hurried() { &mut self.hurried } else { &mut self.quiet };
            line.insert((entry.next(), key.clone()));
        }
    }

    fn leave_line(&mut self, key: &K) {
        let Some(entry) = self.entries.get(key) else { return };
        let line = if entry.hurried() { &mut self.hurried } else { &mut self.quiet };
        line.remove(&(entry.next(), key.clone()));
    }
}

impl SweepCost {
    /// The sum with one part of it exchanged.
    fn replaced(self, before: Self, after: Self) -> Self {
        Self {
            subjects: self.subjects - before.subjects + after.subjects,
            requests: self.requests - before.requests + after.requests,
            busy: self.busy - before.busy + after.busy,
        }
    }
}

impl<M, I: Interest> Entry<M, I> {
    /// It became urgent not long ago.
    fn is_hot(&self, now: Instant) -> bool {
        self.interest.urgent() && self.urgent_since.is_some_and(|since| now < since + wait::HOT_FOR)
    }

    /// When the next look at it begins, of whatever kind.
    fn next(&self) -> Instant {
        [self.asked, self.told.due].into_iter().flatten().fold(self.due, Instant::min)
    }

    /// Somebody waits for it.
    fn hurried(&self) -> bool {
        self.asked.is_some() || self.told.due.is_some() || self.interest.urgent()
    }

    /// When a look that somebody asks for now may begin.
    fn soonest(&self, now: Instant) -> Instant {
        let cooled = self.asked_start.map_or(now, |start| start + wait::COOL_DOWN);
        now.max(cooled).max(self.not_before.unwrap_or(now))
    }

    /// The same for one that only asks for tags.
    fn soonest_told(&self, now: Instant) -> Instant {
        self.told.soonest(now).max(self.not_before.unwrap_or(now))
    }

    /// Gives every wish the time at which it may be served, as it is now.
    fn wait_for_wishes(&mut self, now: Instant) {
        self.asked = self.asked.map(|_| self.soonest(now));
        self.told.due = match self.told.due {
            Some(_) if self.told.fresh => Some(self.soonest_told(now)),
            again => again.map(|again| again.max(self.not_before.unwrap_or(again))),
        };
    }
}
