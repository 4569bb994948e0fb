//! Which repository of a host is looked at next. No I/O and no clock.
//!
//! With ten thousand repositories a look ends every few milliseconds, so what is due next stands in order, and
//! nothing is copied for a repository about which nothing changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::known::Known;
use super::schedule;
use crate::image::Repository;
use crate::observation::{LookFailure, RepositoryInterest};

/// Repositories of one host. Beyond it the rest is left out, and counted.
pub const REPOSITORIES_MAX: usize = 20_000;
/// What is known of a repository outlives its last use by this: workloads come back.
const KEPT_UNUSED: Duration = Duration::from_secs(3600);
/// The pause after a look that crashed.
const CRASHED_PAUSE: Duration = Duration::from_secs(60);

/// The repositories of one host, and when each is due.
#[derive(Debug)]
pub struct Plan {
    interval: Duration,
    /// When the first repository came.
    began: Option<Instant>,
    entries: HashMap<Repository, Entry>,
    /// Those that may be looked at, in order: wanted, and no look at them is under way.
    due: BTreeSet<(Instant, Repository)>,
}

#[derive(Debug)]
struct Entry {
    interest: Arc<RepositoryInterest>,
    /// Nobody wants it since then.
    unused_since: Option<Instant>,
    due: Instant,
    last_start: Option<Instant>,
    looks: u64,
    failures: u32,
    /// Away while a look is under way.
    known: Option<Known>,
}

impl Plan {
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, began: None, entries: HashMap::new(), due: BTreeSet::new() }
    }

    /// Whether a repository is in the plan, wanted or not.
    #[must_use]
    pub fn contains(&self, repository: &Repository) -> bool {
        self.entries.contains_key(repository)
    }

    /// There is no room for another repository.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= REPOSITORIES_MAX
    }

    /// When the next look is due. With a look under way its end decides.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A repository is wanted. `begin` gives what is known of one that was not in the plan.
    pub fn want(
        &mut self,
        repository: &Repository,
        interest: &RepositoryInterest,
        now: Instant,
        begin: impl FnOnce() -> Known,
    ) {
        let Some(entry) = self.entries.get_mut(repository) else {
            self.began.get_or_insert(now);
            let entry = Entry {
                interest: Arc::new(interest.clone()),
                unused_since: None,
                due: now,
                last_start: None,
                looks: 0,
                failures: 0,
                known: Some(begin()),
            };
            self.entries.insert(repository.clone(), entry);
            self.due.insert((now, repository.clone()));
            return;
        };
        let was_unused = entry.unused_since.take().is_some();
        if *entry.interest == *interest && !was_unused {
            return;
        }
        // Something new to resolve, or a journey just begun: the next look comes sooner.
        let sooner = interest.urgent && !entry.interest.urgent
            || !interest.tags.is_subset(&entry.interest.tags)
            || !interest.digests.is_subset(&entry.interest.digests);
        entry.interest = Arc::new(interest.clone());
        let before = entry.due;
        if sooner && entry.failures == 0 {
            let soon = schedule::wait_after_success(self.interval, true);
            entry.due = entry.due.min(entry.last_start.map_or(now, |last| last + soon));
        }
        if entry.known.is_some() {
            let due = entry.due;
            self.due.remove(&(before, repository.clone()));
            self.due.insert((due, repository.clone()));
        }
    }

    /// Sets aside what is not wanted any more, and forgets what has not been for long.
    pub fn keep(&mut self, is_wanted: impl Fn(&Repository) -> bool, now: Instant) {
        let Self { entries, due, .. } = self;
        entries.retain(|repository, entry| {
            if is_wanted(repository) {
                return true;
            }
            if entry.unused_since.is_none() {
                due.remove(&(entry.due, repository.clone()));
            }
            let unused = now.saturating_duration_since(*entry.unused_since.get_or_insert(now));
            entry.known.is_none() || unused < KEPT_UNUSED
        });
    }

    /// The longest overdue repository, with what is known of it: a look at it begins.
    pub fn take_due(&mut self, now: Instant) -> Option<(Known, Arc<RepositoryInterest>)> {
        if self.next_due()? > now {
            return None;
        }
        let (_, repository) = self.due.pop_first()?;
        let entry = self.entries.get_mut(&repository)?;
        entry.last_start = Some(now);
        entry.looks += 1;
        Some((entry.known.take()?, entry.interest.clone()))
    }

    /// A look ended; `failure` says why it was cut short.
    pub fn finish(&mut self, known: Known, failure: Option<LookFailure>, now: Instant) {
        let count = self.entries.len();
        let Some(entry) = self.entries.get_mut(&known.repository) else { return };
        let urgent = entry.interest.urgent;
        let first = entry.looks == 1;
        let wait = match failure {
            None => {
                entry.failures = 0;
                schedule::wait_after_success(self.interval, urgent)
            }
            Some(failure) => {
                entry.failures = entry.failures.saturating_add(1);
                schedule::wait_after_failure(self.interval, urgent, failure, entry.failures)
            }
        };
        let wait = if first && !urgent && failure.is_none() {
            schedule::wait_after_first(wait, &known.repository)
        } else {
            schedule::jittered(wait, &known.repository, entry.looks)
        };
        entry.due = entry.last_start.unwrap_or(now) + wait;
        if !urgent {
            entry.due = schedule::together(entry.due, self.began.unwrap_or(now), self.interval, count);
        }
        if entry.unused_since.is_none() {
            self.due.insert((entry.due, known.repository.clone()));
        }
        entry.known = Some(known);
    }

    /// Gives a repository whose look crashed a new, empty memory, and a pause.
    pub fn restart(&mut self, repository: Repository, now: Instant) {
        let Some(entry) = self.entries.get_mut(&repository) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.due = now + CRASHED_PAUSE;
        if entry.unused_since.is_none() {
            self.due.insert((entry.due, repository.clone()));
        }
        entry.known = Some(Known::new(repository));
    }
}
