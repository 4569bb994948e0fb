//! How many manifests may be read from a host that counts pulls: a tenth of what it allows, and no guesswork. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::quota::Quota;

/// We take at most this part of an advertised limit: the cluster's own pulls come first.
const SHARE: u32 = 10;
/// While less than this part of the limit is left, whoever used it, we take none.
const LEFT_MIN_PART: u32 = 2;
/// A limit without a window: that of the host which began to count pulls. A shorter guess could do harm.
const WINDOW_DEFAULT: Duration = Duration::from_secs(6 * 3600);
/// Pulls remembered, and so the most in one window, whatever the limit.
const TAKEN_MAX: usize = 4096;

/// The pulls of one host. Only a GET of a manifest is a pull; HEAD and tag lists are free.
#[derive(Debug)]
pub struct Pulls {
    /// The host is known to count pulls, so silence before its first answer is no permission.
    counts: bool,
    /// A manifest was answered, with or without a limit.
    answered: bool,
    limit: Option<Limit>,
    /// Pulls that an earlier process may have made, and when they count no more.
    before: Option<(u32, Instant)>,
    /// When we pulled, oldest first. Counted from the beginning, for the limit may be told after the first pulls.
    taken: VecDeque<Instant>,
}

#[derive(Debug)]
struct Limit {
    count: u32,
    window: Duration,
    remaining: Option<u32>,
    told: Instant,
}

impl Pulls {
    /// `counts` for a host that is known to count pulls.
    #[must_use]
    pub fn new(counts: bool) -> Self {
        Self { counts, answered: false, limit: None, before: None, taken: VecDeque::new() }
    }

    /// Takes what the answer about a manifest told. Silence means that there is no limit, but one that was told is
    /// good for its whole window: not every part of a host knows it.
    ///
    /// What is used when the host first speaks may have been used by us, before a restart: it counts as ours for a
    /// window. So no number of restarts takes more than our share, and nothing has to be remembered for that.
    pub fn learn(&mut self, quota: Option<Quota>, now: Instant) {
        self.answered = true;
        let told = quota.and_then(|quota| Some((quota.limit?, quota)));
        if let Some((count, quota)) = told {
            let window = quota.window.unwrap_or(WINDOW_DEFAULT);
            let taken = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
            let used = quota.remaining.map_or(count, |left| count.saturating_sub(left));
            self.before.get_or_insert((used.saturating_sub(taken), now + window));
            self.limit = Some(Limit { count, window, remaining: quota.remaining, told: now });
        } else if self.limit.as_ref().is_some_and(|limit| now >= limit.told + limit.window) {
            self.limit = None;
        }
    }

    /// Takes one pull, if there is one left for us.
    pub fn take(&mut self, now: Instant) -> bool {
        let allowed = match self.left(now) {
            None => self.answered || !self.counts,
            Some(left) => left > 0,
        };
        if allowed {
            if self.taken.len() == TAKEN_MAX {
                self.taken.pop_front();
            }
            self.taken.push_back(now);
        }
        allowed
    }

    /// Pulls that are left for us now; `None` where no limit is known.
    #[must_use]
    pub fn left(&mut self, now: Instant) -> Option<u32> {
        let limit = self.limit.as_ref()?;
        // Any window of that length, and not only those that begin with the host's: nobody tells when they do.
        while self.taken.front().is_some_and(|taken| now.saturating_duration_since(*taken) >= limit.window) {
            self.taken.pop_front();
        }
        let before = self.before.filter(|(_, until)| now < *until).map_or(0, |(before, _)| before);
        let taken = u32::try_from(self.taken.len()).unwrap_or(u32::MAX).saturating_add(before);
        let share = (limit.count / SHARE).min(TAKEN_MAX as u32);
        let others_need_it = limit.remaining.is_some_and(|left| left < limit.count / LEFT_MIN_PART);
        Some(if others_need_it { 0 } else { share.saturating_sub(taken) })
    }
}
