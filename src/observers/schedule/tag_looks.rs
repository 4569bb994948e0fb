//! Looks for tags that somebody told of: at once, again where they came too early, and few in any cool-down. Pure.

use std::time::Instant;

use super::wait;

/// Those at one subject.
#[derive(Debug, Default)]
pub struct TagLooks {
    /// When the next may begin; absent where none is wanted.
    pub due: Option<Instant>,
    /// Somebody told of something since the last.
    pub fresh: bool,
    /// Start of the first that belongs together, and of the last.
    first: Option<Instant>,
    last: Option<Instant>,
    /// Those after the first.
    repeats: u32,
}

impl TagLooks {
    /// When one that somebody asks for now may begin.
    #[must_use]
    pub fn soonest(&self, now: Instant) -> Instant {
        let (Some(first), Some(last)) = (self.first, self.last) else { return now };
        let cooled = first + wait::COOL_DOWN;
        now.max(wait::told_again(self.repeats).map_or(cooled, |wait| cooled.min(last + wait)))
    }

    /// One begins, alone or as a part of a whole look.
    pub fn begin(&mut self, now: Instant) {
        let cooled = self.first.is_none_or(|first| first + wait::COOL_DOWN <= now);
        // Only a new wish begins anew: a repeat of slow looks would otherwise never be the last.
        if std::mem::take(&mut self.fresh) && cooled {
            (self.first, self.repeats) = (Some(now), 0);
        } else {
            self.repeats = self.repeats.saturating_add(1);
        }
        self.last = Some(now);
    }

    /// It did not find what it was about: another follows, unless it was the last.
    pub fn again(&mut self, now: Instant) {
        let wait = wait::told_again(self.repeats);
        if let (None, Some(wait), Some(last)) = (self.due, wait, self.last) {
            self.due = Some(now.max(last + wait));
        }
    }
}
