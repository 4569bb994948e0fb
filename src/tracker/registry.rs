//! What registries said: what a tag pointed to and when, which image a digest belongs to, what a rule selects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::stage::Evidence;
use crate::image::{Digest, ImageRef, Repository, Tag};
use crate::observation::{Basis, ExpectRule, ImageDescribed, Interests, Interval, KnownTag, LastLook, Time};
use crate::policy::Selector;

/// Moves of one tag that are remembered. A tag moved more often between two deploys has no use for the oldest.
const MOVES_PER_TAG_MAX: usize = 16;
/// Selections of one rule that are remembered.
const SELECTIONS_MAX: usize = 64;

/// From when on a tag pointed to a digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TagPoint {
    /// Absent while the tag is listed but not resolved.
    pub digest: Option<Digest>,
    pub since: Evidence,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct RepositoryState {
    tags: BTreeMap<Tag, Vec<TagPoint>>,
    /// Tags that were seen to go.
    gone: BTreeSet<Tag>,
    /// Tags whose first moves fell out of memory.
    pruned: BTreeSet<Tag>,
    /// First evidence of each digest under any tag.
    presence: BTreeMap<Digest, Evidence>,
}

/// What an image claims of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub created: Option<Time>,
    pub revision: Option<Arc<str>>,
    pub synthetic: bool,
}

/// A tag that a rule began to select.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Selection {
    pub image: ImageRef,
    pub digest: Option<Digest>,
    pub at: Evidence,
    /// It was selected at the first look: opens nothing.
    pub backfill: bool,
}

/// One `expect` rule and what it selected so far.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuleState {
    pub rule: ExpectRule,
    /// Made of the rule.
    #[serde(skip)]
    selector: Option<Selector>,
    /// Since when it is in force: what was pushed before is selected only from then on.
    in_force: Time,
    pub selections: Vec<Selection>,
}

/// Whether a running digest is an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    Yes,
    No,
    /// The digest is in no known image: the template decides.
    ByTemplate,
}

/// See the file's front line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Registries {
    repositories: BTreeMap<Repository, RepositoryState>,
    claims: BTreeMap<Digest, Claims>,
    /// From a platform manifest or config to the roots it belongs to.
    roots: BTreeMap<Digest, BTreeSet<Digest>>,
    pub rules: Vec<RuleState>,
}

impl Registries {
    /// Takes new rules; what the unchanged ones selected is kept.
    pub fn configure(&mut self, rules: &[ExpectRule], now: Time) {
        let mut old = std::mem::take(&mut self.rules);
        for rule in rules {
            let kept = old.iter().position(|state| state.rule == *rule).map(|at| old.swap_remove(at));
            self.rules.push(kept.unwrap_or_else(|| RuleState {
                selector: selector(rule),
                rule: rule.clone(),
                in_force: now,
                selections: Vec::new(),
            }));
        }
    }

    /// Makes what is derived of the rules, after a restart.
    pub fn ready(&mut self) {
        self.rules.iter_mut().for_each(|state| state.selector = selector(&state.rule));
    }

    /// A tag points to a digest.
    pub fn point(&mut self, repository: &Repository, tag: &Tag, digest: &Digest, since: Evidence) {
        let state = self.repositories.entry(repository.clone()).or_default();
        let returned = state.gone.remove(tag);
        let points = state.tags.entry(tag.clone()).or_default();
        let since = match points.last_mut() {
            Some(last) if last.digest.as_ref() == Some(digest) && !returned => return,
            Some(last) if last.digest.is_none() && !returned => {
                last.digest = Some(digest.clone());
                last.since
            }
            _ => {
                points.push(TagPoint { digest: Some(digest.clone()), since });
                if points.len() > MOVES_PER_TAG_MAX {
                    state.pruned.insert(tag.clone());
                    points.remove(0);
                }
                since
            }
        };
        let first = state.presence.entry(digest.clone()).or_insert(since);
        if since.interval.not_after < first.interval.not_after {
            *first = since;
        }
    }

    /// A repository's tags, unresolved.
    pub fn list(&mut self, repository: &Repository, tags: &[Tag], since: Evidence) {
        let state = self.repositories.entry(repository.clone()).or_default();
        for tag in tags {
            state.gone.remove(tag);
            state.tags.entry(tag.clone()).or_insert_with(|| vec![TagPoint { digest: None, since }]);
        }
    }

    /// A tag is gone. What it pointed to stays known: templates may still name it.
    pub fn remove(&mut self, repository: &Repository, tag: &Tag) {
        if let Some(state) = self.repositories.get_mut(repository) {
            state.gone.insert(tag.clone());
        }
    }

    /// An image's nodes and claims.
    pub fn describe(&mut self, image: &ImageDescribed) {
        self.claims.insert(
            image.digest.clone(),
            Claims { created: image.created, revision: image.revision.clone(), synthetic: image.synthetic },
        );
        for node in &image.nodes {
            self.roots.entry(node.digest.clone()).or_default().insert(image.digest.clone());
        }
    }

    /// After a complete look at a repository: which rules select another tag now. True if any does.
    pub fn select(&mut self, repository: &Repository, first_look: bool, look: Evidence) -> bool {
        let Some(state) = self.repositories.get(repository) else { return false };
        let mut changed = false;
        for rule in self.rules.iter_mut().filter(|rule| rule.rule.image == *repository) {
            let Some(selector) = &rule.selector else { continue };
            let present = state.tags.keys().filter(|tag| !state.gone.contains(*tag));
            let Some(tag) = selector.select(present) else { continue };
            let Some(point) = state.tags.get(tag).and_then(|points| points.last()) else { continue };
            let image = ImageRef { repository: repository.clone(), tag: Some(tag.clone()), digest: None };
            if let Some(last) = rule.selections.last_mut()
                && last.image == image
                && (last.digest == point.digest || last.digest.is_none() || point.digest.is_none())
            {
                if last.digest.is_none() {
                    last.digest.clone_from(&point.digest);
                }
                continue;
            }
            let seen_before = rule.selections.iter().any(|s| s.image == image && s.digest == point.digest);
            // A tag that came newly is selected from its push on; one that was there, since this look's change.
            let before_rule = point.since.interval.not_after < rule.in_force;
            let old = seen_before || before_rule || point.since.basis == Basis::Backfill;
            let at = if old { look } else { point.since };
            rule.selections.push(Selection { image, digest: point.digest.clone(), at, backfill: first_look });
            if rule.selections.len() > SELECTIONS_MAX {
                rule.selections.remove(0);
            }
            changed = true;
        }
        changed
    }

    /// The digests that a reference can have meant at a time, oldest first; several where the tag moved then.
    #[must_use]
    pub fn resolve(&self, image: &ImageRef, at: Interval) -> Vec<Digest> {
        if let Some(digest) = &image.digest {
            return vec![digest.clone()];
        }
        let state = self.repositories.get(&image.repository);
        let (Some(tag), Some(state)) = (&image.tag, state) else { return Vec::new() };
        let points = state.tags.get(tag).map_or(&[][..], Vec::as_slice);
        let pruned = state.pruned.contains(tag);
        let mut meant = Vec::new();
        for (index, point) in points.iter().enumerate() {
            let until = points.get(index + 1).map_or(Time::MAX, |next| next.since.interval.not_after);
            // A tag named before it existed means what it came to be first: pods retry until they can pull.
            let begun = (index == 0 && !pruned) || point.since.interval.not_before <= at.not_after;
            if begun && until > at.not_before {
                meant.extend(point.digest.clone());
            }
        }
        meant
    }

    /// When an image was first present in a repository.
    #[must_use]
    pub fn presence(&self, repository: &Repository, digest: &Digest) -> Option<Evidence> {
        self.repositories.get(repository)?.presence.get(digest).copied()
    }

    /// What an image claims of itself.
    #[must_use]
    pub fn claims(&self, digest: &Digest) -> Option<&Claims> {
        self.claims.get(digest)
    }

    /// Whether a digest that a pod reports is that image: itself, one of its nodes, or another root that
    /// shares a node with it.
    #[must_use]
    pub fn confirm(&self, running: &Digest, image: &Digest) -> Confirm {
        if running == image {
            return Confirm::Yes;
        }
        let shares = |node: &Digest| self.roots.get(node).is_some_and(|roots| roots.contains(image));
        if shares(running) {
            return Confirm::Yes;
        }
        let known = self.claims.contains_key(running) || self.roots.contains_key(running);
        if !known {
            return Confirm::ByTemplate;
        }
        // Another repository's index around the same manifest, or the manifest below our index.
        let mut siblings = self.roots.values().filter(|roots| roots.contains(running));
        if siblings.any(|roots| roots.contains(image)) || self.is_node_of(image, running) {
            Confirm::Yes
        } else {
            Confirm::No
        }
    }

    /// Whether two pods that report these digests can run one image: the same, or names of one for one platform.
    #[must_use]
    pub fn can_be_one(&self, left: &Digest, right: &Digest) -> bool {
        let share = || match (self.roots.get(left), self.roots.get(right)) {
            (Some(left), Some(right)) => !left.is_disjoint(right),
            _ => false,
        };
        self.confirm(left, right) == Confirm::Yes || self.confirm(right, left) == Confirm::Yes || share()
    }

    /// What is known of each repository that was looked at, for an observer that begins again. `started` is when
    /// the last complete look at it began.
    pub fn last_looks<'a>(
        &'a self,
        interests: &'a Interests,
        started: impl Fn(&Repository) -> Option<Time> + 'a,
    ) -> impl Iterator<Item = LastLook> + 'a {
        self.repositories.iter().filter_map(move |(repository, state)| {
            let started = started(repository)?;
            let present = state.tags.iter().filter(|(tag, _)| !state.gone.contains(*tag));
            let tags = present.map(|(tag, points)| {
                let point = points.last();
                let digest = point.and_then(|point| {
                    let seen = point.since.interval.not_after;
                    point.digest.clone().map(|digest| (digest, seen))
                });
                KnownTag { tag: tag.clone(), digest }
            });
            let wanted = interests.repositories.get(repository);
            let named = wanted.into_iter().flat_map(|wanted| &wanted.tags).filter_map(|tag| {
                let points = state.tags.get(tag)?;
                points.last()?.digest.as_ref()
            });
            let wanted = wanted.into_iter().flat_map(|wanted| &wanted.digests).chain(named);
            let described = wanted.filter(|digest| self.claims.contains_key(*digest)).cloned().collect();
            Some(LastLook { repository: repository.clone(), started, tags: tags.collect(), described })
        })
    }

    fn is_node_of(&self, node: &Digest, root: &Digest) -> bool {
        self.roots.get(node).is_some_and(|roots| roots.contains(root))
    }
}

/// A rule that cannot be used selects nothing; the configuration's own check says so.
fn selector(rule: &ExpectRule) -> Option<Selector> {
    Selector::new(rule.filter.as_ref(), &rule.policy).ok()
}
