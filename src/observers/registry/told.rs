//! Tags of one repository that somebody told of, until they are found. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::Tag;
use crate::observation::{Interval, Time};

/// Tags kept. Beyond it they are found where a list shows them.
const TOLD_MAX: usize = 64;

/// See the file's front line.
#[derive(Debug, Default)]
pub struct Told {
    tags: BTreeSet<Tag>,
    /// When one of them was asked for and was not there. What is found later is new since then.
    absent: Absent,
}

/// When tags were asked for in vain.
pub type Absent = BTreeMap<Tag, Time>;

impl Told {
    /// Somebody told that these changed: they are asked about until they are found, or forgotten.
    pub fn hear<'a>(&mut self, tags: impl Iterator<Item = &'a Tag>) {
        let room = TOLD_MAX.saturating_sub(self.tags.len());
        self.tags.extend(tags.take(room).cloned());
    }

    /// Those that were not found.
    #[must_use]
    pub fn tags(&self) -> &BTreeSet<Tag> {
        &self.tags
    }

    /// Forgets those of which this is not true.
    pub fn keep(&mut self, is_kept: impl Fn(&Tag) -> bool) {
        self.tags.retain(is_kept);
    }

    /// One was found, or never will be.
    pub fn forget(&mut self, tag: &Tag) {
        self.tags.remove(tag);
    }

    /// A tag was asked for then and was not there.
    pub fn was_absent(&mut self, tag: &Tag, asked: Time) {
        if self.tags.contains(tag) {
            self.absent.insert(tag.clone(), asked);
        }
    }

    /// A tag was found that came then: the same, narrowed by when it was not there yet.
    pub fn narrow(&mut self, tag: &Tag, happened: Interval) -> Interval {
        since(happened, self.absent.remove(tag))
    }

    /// What was asked in vain so far: a complete list is better evidence from now on.
    pub fn take_absent(&mut self) -> Absent {
        std::mem::take(&mut self.absent)
    }
}

/// What happened then, narrowed by when it had not happened yet.
#[must_use]
pub fn since(happened: Interval, absent: Option<Time>) -> Interval {
    let absent = absent.filter(|at| *at <= happened.not_after);
    absent.map_or(happened, |at| Interval::new(happened.not_before.max(at), happened.not_after))
}
