//! What registries said: what a tag pointed to and when, and which image a digest belongs to. What is selected of it is in
//! `expect.rs`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::expect::{HintedBy, PolicyName, PolicyPlace, RuleState, policies_of};
use super::maps::{self, Map};
use super::stage::Evidence;
use crate::image::{Digest, ImageRef, Repository, Tag};
use crate::observation::{ImageDescribed, Interests, Interval, KnownTag, LastLook, Time};

/// Moves of one tag that are remembered. A tag moved more often between two deploys has no use for the oldest.
const MOVES_PER_TAG_MAX: usize = 16;
/// Tags of one repository that are gone and remembered: a template made by hand may still name one.
const GONE_TAGS_MAX: usize = 64;
/// Images whose nodes and claims are known: about 40 MB. Beyond it those go that nothing runs or desires.
const IMAGES_MAX: usize = 100_000;

/// From when on a tag pointed to a digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TagPoint {
    /// Absent while the tag is listed but not resolved.
    pub digest: Option<Digest>,
    pub since: Evidence,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RepositoryState {
    /// Something changed since rules last selected from it.
    pub(super) news: bool,
    /// A tag of it pointed to several digests.
    moved: bool,
    pub(super) tags: BTreeMap<Tag, Vec<TagPoint>>,
    /// Tags that were seen to go.
    pub(super) gone: BTreeSet<Tag>,
    /// Tags whose first moves fell out of memory.
    pruned: BTreeSet<Tag>,
    /// First evidence of each digest under any tag.
    presence: BTreeMap<Digest, Evidence>,
}

impl RepositoryState {
    /// Answers the digests that no tag points to any more.
    fn forget(&mut self, named: &dyn Fn(&Tag, Option<&Digest>) -> bool) -> Vec<Digest> {
        let surplus = self.gone.len().saturating_sub(GONE_TAGS_MAX);
        if surplus > 0 {
            let last = |tag: &Tag| self.tags.get(tag).and_then(|points| points.last());
            let mut oldest: Vec<&Tag> = self.gone.iter().collect();
            oldest.sort_by_key(|tag| last(tag).map(|point| point.since.interval.not_after));
            let unnamed = oldest
                .into_iter()
                .filter(|tag| !named(tag, last(tag).and_then(|point| point.digest.as_ref())));
            let forgotten: Vec<Tag> = unnamed.take(surplus).cloned().collect();
            for tag in &forgotten {
                self.gone.remove(tag);
                self.tags.remove(tag);
                self.pruned.remove(tag);
            }
        } else if self.pruned.is_empty() {
            return Vec::new();
        }
        let points = self.tags.values().flatten().filter_map(|point| point.digest.as_ref());
        let pointed: BTreeSet<&Digest> = points.collect();
        self.presence.keys().filter(|digest| !pointed.contains(digest)).cloned().collect()
    }
}

/// What an image claims of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub created: Option<Time>,
    pub revision: Option<Arc<str>>,
    pub synthetic: bool,
    /// Platform manifests and configs below the root.
    pub nodes: Vec<Digest>,
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
    #[serde(serialize_with = "maps::sorted")]
    pub(super) repositories: Map<Repository, RepositoryState>,
    #[serde(serialize_with = "maps::sorted")]
    claims: Map<Digest, Claims>,
    /// From a platform manifest or config to the roots it belongs to.
    #[serde(serialize_with = "maps::sorted")]
    roots: Map<Digest, BTreeSet<Digest>>,
    pub rules: Vec<RuleState>,
    /// The rules of each repository, by their place in the list.
    #[serde(skip)]
    pub(super) rules_of: Map<Repository, Vec<usize>>,
    pub(super) hinted: HintedBy,
    pub(super) policies: BTreeMap<PolicyPlace, RuleState>,
    /// The repository that each of them chooses from.
    #[serde(skip)]
    pub(super) policy_of: Map<PolicyName, Repository>,
}

impl Registries {
    /// Whether a tag of a repository ever pointed to several digests.
    #[must_use]
    pub fn has_moved(&self, repository: &Repository) -> bool {
        self.repositories.get(repository).is_some_and(|state| state.moved)
    }

    /// Whether a tag is there, or was.
    #[must_use]
    pub fn has_tag(&self, repository: &Repository, tag: &Tag) -> bool {
        self.repositories.get(repository).is_some_and(|state| state.tags.contains_key(tag))
    }

    /// A tag points to a digest. False if that was known.
    pub fn point(&mut self, repository: &Repository, tag: &Tag, digest: &Digest, since: Evidence) -> bool {
        let state = self.repositories.entry(repository.clone()).or_default();
        let returned = state.gone.remove(tag);
        let points = state.tags.entry(tag.clone()).or_default();
        let since = match points.last_mut() {
            Some(last) if last.digest.as_ref() == Some(digest) && !returned => return false,
            Some(last) if last.digest.is_none() && !returned => {
                last.digest = Some(digest.clone());
                // Nobody knew where it pointed until now: it may have moved since it was listed.
                let until = since.interval.not_after;
                let interval = Interval::new(last.since.interval.not_before, until);
                Evidence { interval, basis: last.since.basis }
            }
            _ => {
                points.push(TagPoint { digest: Some(digest.clone()), since });
                state.moved |= points.len() > 1;
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
        state.news = true;
        true
    }

    /// A repository's tags, unresolved.
    pub fn list(&mut self, repository: &Repository, tags: &[Tag], since: Evidence) {
        let state = self.repositories.entry(repository.clone()).or_default();
        state.news = true;
        for tag in tags {
            state.gone.remove(tag);
            state.tags.entry(tag.clone()).or_insert_with(|| vec![TagPoint { digest: None, since }]);
        }
    }

    /// A tag is gone. What it pointed to stays known: templates may still name it.
    pub fn remove(&mut self, repository: &Repository, tag: &Tag) {
        if let Some(state) = self.repositories.get_mut(repository) {
            state.news |= state.gone.insert(tag.clone());
        }
    }

    /// An image's nodes and claims. False if they were known.
    pub fn describe(&mut self, image: &ImageDescribed) -> bool {
        let mut claims = Claims {
            created: image.created,
            revision: image.revision.clone(),
            synthetic: image.synthetic,
            nodes: image.nodes.iter().map(|node| node.digest.clone()).collect(),
        };
        if let Some(known) = self.claims.get(&image.digest) {
            // An image never changes; who could not see all of it may see more of it later.
            let more = known.nodes.iter().filter(|node| !claims.nodes.contains(node)).cloned();
            let more: Vec<Digest> = more.collect();
            claims.nodes.extend(more);
            if *known == claims {
                return false;
            }
        }
        self.claims.insert(image.digest.clone(), claims);
        for node in &image.nodes {
            self.roots.entry(node.digest.clone()).or_default().insert(image.digest.clone());
        }
        true
    }

    /// The digests that a reference can have meant at a time, oldest first; several where the tag moved then.
    pub fn resolve<'a>(
        &'a self,
        image: &'a ImageRef,
        at: Interval,
    ) -> impl Iterator<Item = &'a Digest> + Clone + use<'a> {
        let named = image.digest.as_ref();
        let tag = image.tag.as_ref().filter(|_| named.is_none());
        let of_tag = tag.and_then(|tag| {
            let state = self.repositories.get(&image.repository)?;
            Some((state.tags.get(tag)?.as_slice(), state.pruned.contains(tag)))
        });
        let (points, pruned) = of_tag.unwrap_or_default();
        let meant = points.iter().enumerate().filter_map(move |(index, point)| {
            let until = points.get(index + 1).map_or(Time::MAX, |next| next.since.interval.not_after);
            // A tag named before it existed means what it came to be first: pods retry until they can pull.
            let begun = (index == 0 && !pruned) || point.since.interval.not_before <= at.not_after;
            point.digest.as_ref().filter(|_| begun && until > at.not_before)
        });
        named.into_iter().chain(meant)
    }

    /// When an image was first present in a repository.
    #[must_use]
    pub fn presence(&self, repository: &Repository, digest: &Digest) -> Option<Evidence> {
        self.repositories.get(repository)?.presence.get(digest).copied()
    }

    /// Whether a reference's tag meant another image before it came to mean this one.
    #[must_use]
    pub fn moved_to(&self, image: &ImageRef, digest: &Digest) -> bool {
        let tags = self.repositories.get(&image.repository).map(|state| &state.tags);
        let points = tags.zip(image.tag.as_ref()).and_then(|(tags, tag)| tags.get(tag));
        let mut before =
            points.into_iter().flatten().take_while(|point| point.digest.as_ref() != Some(digest));
        before.any(|point| point.digest.is_some())
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
        let below = self.claims.get(running).into_iter().flat_map(|claims| &claims.nodes);
        let mut siblings = below.filter_map(|node| self.roots.get(node));
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
        let mut repositories: Vec<_> = self.repositories.iter().collect();
        repositories.sort_unstable_by_key(|(repository, _)| *repository);
        repositories.into_iter().filter_map(move |(repository, state)| {
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

    /// Forgets repositories by their text; answers the digests that were in them.
    pub fn forget_repositories(&mut self, unseen: &HashSet<Arc<str>>) -> BTreeSet<Digest> {
        let mut loose = BTreeSet::new();
        if !unseen.is_empty() {
            self.repositories.retain(|repository, state| {
                let keep = !unseen.contains(repository.as_str());
                if !keep {
                    loose.extend(state.presence.keys().cloned());
                }
                keep
            });
        }
        loose
    }

    /// Forgets tags that are gone and not `named`, the oldest of too many, and images without any tag, the `loose` ones
    /// among them, that are not `needed`.
    pub fn forget(
        &mut self,
        named: &dyn Fn(&Repository, &Tag, Option<&Digest>) -> bool,
        needed: &dyn Fn(&Digest) -> bool,
        mut loose: BTreeSet<Digest>,
    ) {
        for (repository, state) in &mut self.repositories {
            let rules = self.rules_of.get(repository).into_iter().flatten().map(|at| &self.rules[*at]);
            let policies = policies_of(&self.policies, repository).map(|(_, policy)| policy);
            let rules = rules.chain(policies);
            let selected: BTreeSet<&Tag> = Self::named_tags(rules, &self.hinted, repository).collect();
            let kept =
                |tag: &Tag, digest: Option<&Digest>| selected.contains(tag) || named(repository, tag, digest);
            for digest in state.forget(&kept).into_iter().filter(|digest| !needed(digest)) {
                state.presence.remove(&digest);
                loose.insert(digest);
            }
        }
        loose.retain(|digest| {
            !needed(digest) && !self.repositories.values().any(|state| state.presence.contains_key(digest))
        });
        if self.claims.len() > IMAGES_MAX + loose.len() {
            let surplus = self.claims.len() - IMAGES_MAX - loose.len();
            let unneeded = self.claims.keys().filter(|digest| !loose.contains(*digest) && !needed(digest));
            let mut more: Vec<Digest> = unneeded.cloned().collect();
            more.sort_unstable();
            loose.extend(more.into_iter().take(surplus));
        }
        for root in &loose {
            let Some(claims) = self.claims.get(root) else { continue };
            if claims.nodes.iter().any(needed) {
                continue;
            }
            for node in &claims.nodes {
                if let Some(roots) = self.roots.get_mut(node) {
                    roots.remove(root);
                    if roots.is_empty() {
                        self.roots.remove(node);
                    }
                }
            }
            self.claims.remove(root);
        }
    }

    /// Repositories, tags, presences, images, nodes.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize, usize, usize) {
        let states = || self.repositories.values();
        (
            self.repositories.len(),
            states().map(|state| state.tags.len()).sum(),
            states().map(|state| state.presence.len()).sum(),
            self.claims.len(),
            self.roots.len(),
        )
    }

    fn is_node_of(&self, node: &Digest, root: &Digest) -> bool {
        self.roots.get(node).is_some_and(|roots| roots.contains(root))
    }
}
