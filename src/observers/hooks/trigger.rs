//! What a webhook says may have moved.

use std::sync::Arc;

use crate::image::{Digest, Repository, Tag};
use crate::observation::{Interval, Time};

/// How long after a change its sender may have stamped it: a registry stamps when the upload is stored, a git
/// hook when the branch has moved. Milliseconds.
pub const STAMPED_WITHIN_MILLIS: i64 = 50;

/// Longer than any branch or path that a git host allows, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Something may have moved: look there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub moved: Moved,
    /// When the sender says it was, by its own clock; absent where it does not say or did not prove to be the sender.
    pub stamped: Option<Interval>,
    /// When the delivery was here, by our clock.
    pub received: Time,
    /// The environment in which the tag is to go live, where the sender may say so.
    pub expected_in: Option<Arc<str>>,
}

/// What moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    Tag {
        repository: Repository,
        tag: Option<Tag>,
        digest: Option<Digest>,
    },
    Branch {
        repository: GitName,
        branch: Option<Arc<str>>,
        /// The tip before the push, where there was one and the sender says so.
        before: Option<Arc<str>>,
        commit: Option<Arc<str>>,
    },
    /// Any repository may have got a commit on this branch: who says so does not name it.
    AnyBranch {
        branch: Option<Arc<str>>,
    },
}

/// A git repository as its host names it: inside and outside of a cluster the host part often differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitName {
    path: String,
}

impl GitName {
    /// From a url or a path such as `group/project`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { path: path_of(text).to_ascii_lowercase() }
    }

    /// Whether the repository at this address can be the one that is meant: the path is the same, or ends so (a
    /// host may serve it below `scm/` or `git/`).
    #[must_use]
    pub fn fits(&self, url: &str) -> bool {
        let other = path_of(url).to_ascii_lowercase();
        let ends_so =
            other.strip_suffix(&self.path).is_some_and(|before| before.is_empty() || before.ends_with('/'));
        !self.path.is_empty() && ends_so
    }
}

/// The path of a url, without `.git`.
fn path_of(text: &str) -> &str {
    let text = text.split(['?', '#']).next().unwrap_or(text);
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        // git@host:group/project.git
        None => text.split_once(':').map_or(text, |(_, path)| path),
    };
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path)
}

impl Trigger {
    /// Names that can be names: nothing is kept of longer ones.
    pub(super) fn is_short(&self) -> bool {
        let short = |text: &Option<Arc<str>>| text.as_ref().is_none_or(|text| text.len() <= NAME_BYTES_MAX);
        match &self.moved {
            Moved::Tag { .. } => true,
            Moved::Branch { repository, branch, .. } => {
                repository.path.len() <= NAME_BYTES_MAX && short(branch)
            }
            Moved::AnyBranch { branch } => short(branch),
        }
    }

    /// When it happened as far as the sender can be believed: never outside of what our own looks allow (`seen`),
    /// never after we were told, and by a clock that is not ours. `None` where it adds nothing or contradicts.
    #[must_use]
    pub fn happened(&self, seen: Interval) -> Option<Interval> {
        let stamped = self.stamped?;
        if stamped.not_before > self.received || stamped.not_after < seen.not_before {
            return None;
        }
        let latest = match self.moved {
            // A registry may tell before it links the tag (distribution does): only the look that found it is sure.
            Moved::Tag { .. } => seen.not_after,
            // The end is ours: a clock that is behind must not put the change before it happened.
            Moved::Branch { .. } | Moved::AnyBranch { .. } => self.received,
        };
        let told = Interval::new(stamped.not_before - STAMPED_WITHIN_MILLIS, latest);
        seen.intersect(told).filter(|narrow| *narrow != seen)
    }
}
