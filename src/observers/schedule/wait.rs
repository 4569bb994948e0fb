//! How long a subject waits for its next look. Pure: the time and what happened are arguments.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::observation::LookFailure;

/// Urgent subjects are looked at this many times as often.
const URGENT_FACTOR: u32 = 4;
/// However urgent, a host is not asked for one subject more often than this.
const URGENT_MIN: Duration = Duration::from_secs(1);
/// Looks that were asked for begin at most this often: whoever floods us with wishes gets one look a second.
pub const COOL_DOWN: Duration = Duration::from_secs(1);
/// What somebody told of may not be there yet: distribution tells of a tag some milliseconds before it links it. So a
/// look for told tags that did not find them is repeated after this, then after twice as long, and so on: close enough
/// that the push is known to well under a tenth of a second, and over before the cool-down is.
pub const TOLD_AGAIN: Duration = Duration::from_millis(25);
/// Repeats of one such look, the last 775 ms after the first. What is not there by then is left to whole looks.
pub const TOLD_AGAIN_MAX: u32 = 5;
/// A whole look follows what was asked for so soon: it finds what was not told, and describes what was found.
pub const WHOLE_AFTER: Duration = Duration::from_secs(2);
/// A subject that just became urgent is hot for so long: most of what belongs together comes within two minutes,
/// and a journey that is stuck for days must not be a burden for days.
pub const HOT_FOR: Duration = Duration::from_secs(120);
/// The longest wait between two looks at what is hot: with one pause of a second that the host asks for, and the turns
/// of the two requests that find a new tag, it is found within three seconds of its push.
const HOT_WAIT: Duration = Duration::from_millis(1500);
/// A hot subject takes at most five requests a second: a list of 40 pages is no light look.
const HOT_WAIT_PER_REQUEST: Duration = Duration::from_millis(200);
/// Looks are moved by up to this part of the interval, so that subjects do not stay in step.
const JITTER_PERCENT: u64 = 10;
/// About so many looks begin at one moment: few enough that the registry does not feel a burst.
const LOOKS_TOGETHER: u32 = 32;
/// No look waits longer for others than this part of an interval.
const TOGETHER_PART: u32 = 20;
/// No failure but throttling makes a wait longer than so many intervals.
const INTERVALS_MAX: u32 = 20;
/// Doublings of a wait; beyond it the class's own maximum holds anyhow.
const DOUBLINGS_MAX: u32 = 10;

/// How fast a subject is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nothing under way waits for it.
    Quiet,
    /// A journey is under way.
    Urgent,
}

/// The wait from the start of one look to the start of the next, after a complete look.
#[must_use]
pub fn wait_after_success(interval: Duration, pace: Pace) -> Duration {
    match pace {
        Pace::Quiet => interval,
        Pace::Urgent => (interval / URGENT_FACTOR).max(URGENT_MIN.min(interval)),
    }
}

/// The same for a subject that just became urgent, whose last look took so many requests.
#[must_use]
pub fn wait_while_hot(interval: Duration, requests: u32) -> Duration {
    let wait = HOT_WAIT.max(HOT_WAIT_PER_REQUEST.saturating_mul(requests));
    wait_after_success(interval, Pace::Urgent).min(wait)
}

/// The wait after `failures` failed looks in a row, by what failed: a broken network may be back in seconds,
/// missing rights come back when somebody acts.
#[must_use]
pub fn wait_after_failure(interval: Duration, pace: Pace, failure: LookFailure, failures: u32) -> Duration {
    let (base, max) = class(failure);
    let mut wait = (base * 2u32.pow(failures.saturating_sub(1).min(DOUBLINGS_MAX))).min(max);
    if failure != LookFailure::Throttled {
        // A host with a short interval is a near one, asked often on purpose: so it is when it comes back.
        wait = wait.min(interval * INTERVALS_MAX);
    }
    // A subject that a journey waits for is often missing only because its first push is still under way.
    if pace == Pace::Urgent && failure == LookFailure::Missing {
        return wait_after_success(interval, pace).max(wait.min(interval));
    }
    // Never sooner than when it works.
    wait.max(wait_after_success(interval, pace))
}

/// After this failure even a look that somebody asks for waits so long. Not where a subject is missing: the wish
/// may tell of its first push.
#[must_use]
pub fn not_even_asked(failure: LookFailure) -> Option<Duration> {
    (failure != LookFailure::Missing).then_some(class(failure).0)
}

/// The first wait after a failure of this class, and the longest.
fn class(failure: LookFailure) -> (Duration, Duration) {
    let (base, max) = match failure {
        LookFailure::Network | LookFailure::Server => (2, 5 * 60),
        LookFailure::Throttled => (15, 15 * 60),
        LookFailure::Unauthorized | LookFailure::Forbidden | LookFailure::Malformed => (30, 30 * 60),
        LookFailure::Missing => (30, 10 * 60),
    };
    (Duration::from_secs(base), Duration::from_secs(max))
}

/// From the start of a look for told tags to the start of the next within one cool-down, after so many of them.
/// `None` where that was the last.
#[must_use]
pub fn told_again(repeats: u32) -> Option<Duration> {
    (repeats < TOLD_AGAIN_MAX).then(|| TOLD_AGAIN * 2u32.pow(repeats))
}

/// The wait after the very first look. Everything is due at once when a process begins; each subject's own part
/// of an interval spreads the looks that follow over all of it.
#[must_use]
pub fn wait_after_first(wait: Duration, subject: &impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    let per_mille = 1 + hasher.finish() % 1000;
    wait * u32::try_from(per_mille).expect("at most 1000") / 1000
}

/// Moves a look to the next of the moments at which many begin: with hundreds of subjects a machine would
/// otherwise be woken for every single one, which costs more than the look. `since` is when the moments began.
#[must_use]
pub fn together(due: Instant, since: Instant, interval: Duration, subjects: usize) -> Instant {
    if subjects < 2 * LOOKS_TOGETHER as usize {
        return due;
    }
    let count = u32::try_from(subjects).unwrap_or(u32::MAX);
    let step =
        (interval * LOOKS_TOGETHER / count).min(interval / TOGETHER_PART).max(Duration::from_millis(1));
    let late = due.saturating_duration_since(since).as_nanos() % step.as_nanos();
    if late == 0 { due } else { due + step - Duration::from_nanos(u64::try_from(late).unwrap_or(0)) }
}

/// The same for a wait that nothing may make longer.
#[must_use]
pub fn jittered_within(wait: Duration, subject: &impl Hash, look: u64) -> Duration {
    jittered(wait * 100 / (100 + JITTER_PERCENT as u32), subject, look)
}

/// Moves a wait by a few percent, differently for each subject and look.
#[must_use]
pub fn jittered(wait: Duration, subject: &impl Hash, look: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    (subject, look).hash(&mut hasher);
    let per_mille = hasher.finish() % (2 * JITTER_PERCENT * 10 + 1);
    wait * u32::try_from(1000 - JITTER_PERCENT * 10 + per_mille).expect("at most 1100") / 1000
}
