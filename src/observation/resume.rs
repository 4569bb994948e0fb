//! Where each look left off, for observers that begin again after a restart.
//!
//! It is made from the restored tracker and not from files of the observers: what the tracker never learned
//! must be told again, whatever an observer had seen.

use std::sync::Arc;

use super::Time;
use crate::image::{Digest, Repository, Tag};

/// What was known of a repository after its last complete look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLook {
    pub repository: Repository,
    /// Start of that look: what it did not see, and is there now, came after.
    pub started: Time,
    /// Every tag that was there, in any order.
    pub tags: Vec<KnownTag>,
    /// Digests of this repository whose content was told.
    pub described: Vec<Digest>,
}

/// A tag that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTag {
    pub tag: Tag,
    /// Where it pointed, and when it was seen to; absent where it was only listed.
    pub digest: Option<(Digest, Time)>,
}

/// Which commit the last level of one path was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastTree {
    /// Without credentials.
    pub url: Arc<str>,
    pub branch: Arc<str>,
    pub path: Arc<str>,
    pub commit: Arc<str>,
    /// Start of the last complete look at the branch.
    pub started: Time,
}
