//! When a repository is looked at next. Pure: the time and what happened are arguments.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::image::Repository;
use crate::observation::LookFailure;

/// Urgent repositories are looked at this many times as often.
const URGENT_FACTOR: u32 = 4;
/// However urgent, a registry is not asked for one repository more often than this.
const URGENT_MIN: Duration = Duration::from_secs(1);
/// Looks are moved by up to this part of the interval, so that repositories do not stay in step.
const JITTER_PERCENT: u64 = 10;
/// About so many looks begin at one moment: few enough that the registry does not feel a burst.
const LOOKS_TOGETHER: u32 = 32;
/// No look waits longer for others than this part of an interval.
const TOGETHER_PART: u32 = 20;
/// No failure but throttling makes a wait longer than so many intervals.
const INTERVALS_MAX: u32 = 20;
/// Doublings of a wait; beyond it the class's own maximum holds anyhow.
const DOUBLINGS_MAX: u32 = 10;

/// The wait from the start of one look to the start of the next, after a complete look.
#[must_use]
pub fn wait_after_success(interval: Duration, urgent: bool) -> Duration {
    if urgent { (interval / URGENT_FACTOR).max(URGENT_MIN.min(interval)) } else { interval }
}

/// The wait after `failures` failed looks in a row, by what failed: a broken network may be back in seconds,
/// missing rights come back when somebody acts.
#[must_use]
pub fn wait_after_failure(interval: Duration, urgent: bool, failure: LookFailure, failures: u32) -> Duration {
    let (base, max) = match failure {
        LookFailure::Network | LookFailure::Server => (2, 5 * 60),
        LookFailure::Throttled => (15, 15 * 60),
        LookFailure::Unauthorized | LookFailure::Forbidden | LookFailure::Malformed => (30, 30 * 60),
        LookFailure::Missing => (30, 10 * 60),
    };
    let doubled = Duration::from_secs(base) * 2u32.pow(failures.saturating_sub(1).min(DOUBLINGS_MAX));
    let mut wait = doubled.min(Duration::from_secs(max));
    if failure != LookFailure::Throttled {
        // A registry with a short interval is a near one, asked often on purpose: so it is when it comes back.
        wait = wait.min(interval * INTERVALS_MAX);
    }
    // A repository that a journey waits for is often missing only because its first push is still under way.
    if urgent && failure == LookFailure::Missing {
        return wait_after_success(interval, true).max(wait.min(interval));
    }
    // Never sooner than when it works.
    wait.max(wait_after_success(interval, urgent))
}

/// The wait after the very first look. Everything is due at once when a process begins; each repository's own
/// part of an interval spreads the looks that follow over all of it.
#[must_use]
pub fn wait_after_first(wait: Duration, repository: &Repository) -> Duration {
    let mut hasher = DefaultHasher::new();
    repository.hash(&mut hasher);
    let per_mille = 1 + hasher.finish() % 1000;
    wait * u32::try_from(per_mille).expect("at most 1000") / 1000
}

/// Moves a look to the next of the moments at which many begin: with hundreds of repositories a machine would
/// otherwise be woken for every single one, which costs more than the look. `since` is when the moments began.
#[must_use]
pub fn together(due: Instant, since: Instant, interval: Duration, repositories: usize) -> Instant {
    if repositories < 2 * LOOKS_TOGETHER as usize {
        return due;
    }
    let count = u32::try_from(repositories).unwrap_or(u32::MAX);
    let step =
        (interval * LOOKS_TOGETHER / count).min(interval / TOGETHER_PART).max(Duration::from_millis(1));
    let late = due.saturating_duration_since(since).as_nanos() % step.as_nanos();
    if late == 0 { due } else { due + step - Duration::from_nanos(u64::try_from(late).unwrap_or(0)) }
}

/// Moves a wait by a few percent, differently for each repository and look.
#[must_use]
pub fn jittered(wait: Duration, repository: &Repository, look: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (repository, look).hash(&mut hasher);
    let per_mille = hasher.finish() % (2 * JITTER_PERCENT * 10 + 1);
    wait * u32::try_from(1000 - JITTER_PERCENT * 10 + per_mille).expect("at most 1100") / 1000
}
