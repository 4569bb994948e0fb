//! What should go live: the tags that `expect` rules and the policies of engines select, and the images that hints named.
//!
//! A rule is evaluated after every complete look at its repository, from the tags that are there. A hint is one word
//! about one tag: what the tag meant then is expected, once, and nothing that is pushed to it later.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::correlate::FRESH_PUSH_SECONDS;
use super::registry::{Registries, RepositoryState};
use super::stage::Evidence;
use crate::image::{Digest, ImageRef, Repository, Tag};
use crate::observation::{Basis, ClusterUid, ExpectRule, Interval, Policy, Time};
use crate::policy::{Cause, Selector};

/// Selections of one rule that are remembered, and hints about one repository and environment.
const SELECTIONS_MAX: usize = 64;
/// Tags that one selection passed over. Between two looks of an updater few are pushed.
const PASSED_MAX: usize = 16;
/// Repositories and environments with hints. A CI job may invent names; beyond it the one goes that was named longest
/// ago.
const HINTED_MAX: usize = 256;

/// A tag that a rule began to select, or that a hint named.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Selection {
    pub image: ImageRef,
    pub digest: Option<Digest>,
    pub at: Evidence,
    /// It was selected at the first look: opens nothing.
    pub backfill: bool,
    /// What the same policy selected before comes later in its own order: it was set back, or that tag is gone.
    pub lowered: bool,
    /// It selected just this before, and something else since.
    pub again: bool,
    /// Tags between this one and what it selected before, the last in its order first: whoever looked in between may have
    /// chosen one of them.
    pub passed: Vec<Tag>,
    /// Said once, by a hint: no policy that goes on wanting it.
    pub hinted: bool,
    /// The policy of an engine, as markers name it: `namespace:name`.
    pub marker: Option<Arc<str>>,
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
    /// It was in force before anybody looked: what it selects first is no news.
    first: bool,
    /// Of an engine's policy: `namespace:name`.
    marker: Option<Arc<str>>,
    /// A tag that moves is selected anew.
    follows_digest: bool,
    pub selections: Vec<Selection>,
}

/// What hints said of one repository in one environment.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Hinted {
    /// Oldest first.
    hints: Vec<Hint>,
    selections: Vec<Selection>,
}

/// "This tag is to go live", and when that was said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Hint {
    said: Interval,
    tag: Tag,
}

impl Selection {
    /// Whether an image comes before this one in the policy's order, and after what it selected last.
    #[must_use]
    pub fn passes(&self, image: &ImageRef) -> bool {
        image.repository == self.image.repository
            && image.tag.as_ref().is_some_and(|tag| self.passed.contains(tag))
    }
}

/// A policy of an engine: its repository, cluster, namespace and name.
pub type PolicyPlace = (Repository, ClusterUid, Arc<str>, Arc<str>);

/// The same without the repository.
pub type PolicyName = (ClusterUid, Arc<str>, Arc<str>);

/// By repository and environment.
pub type HintedBy = BTreeMap<(Repository, Arc<str>), Hinted>;

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
                first: false,
                marker: None,
                follows_digest: matches!(rule.policy, Policy::Digest { .. }),
                selections: Vec::new(),
            }));
        }
        self.index();
        self.repositories.values_mut().for_each(|state| state.news = true);
    }

    /// Makes what is derived of the rules, after a restart.
    pub fn ready(&mut self) {
        self.index();
        let places = self.policies.keys().cloned();
        self.policy_of =
            places.map(|(repository, uid, space, name)| ((uid, space, name), repository)).collect();
        let rules = self.rules.iter_mut().chain(self.policies.values_mut());
        rules.for_each(|state| state.selector = selector(&state.rule));
    }

    /// Where each repository's rules are.
    fn index(&mut self) {
        self.rules_of.clear();
        for (at, state) in self.rules.iter().enumerate() {
            self.rules_of.entry(state.rule.image.clone()).or_default().push(at);
        }
    }

    /// Whether a rule selects from a repository, or a hint named a tag of it.
    #[must_use]
    pub fn has_rule(&self, repository: &Repository) -> bool {
        self.rules_of.contains_key(repository)
            || hinted_of(&self.hinted, repository).next().is_some()
            || policies_of(&self.policies, repository).next().is_some()
    }

    /// What the rules of an environment selected from some repositories, in the order of the rules, then what hints
    /// named.
    #[must_use]
    pub fn selections(&self, repositories: &[&Repository], environment: &str) -> Vec<&Selection> {
        let mut rules: Vec<usize> = (repositories.iter())
            .filter_map(|repository| self.rules_of.get(*repository))
            .flatten()
            .copied()
            .collect();
        rules.sort_unstable();
        rules.dedup();
        let mut selections: Vec<&Selection> = rules
            .into_iter()
            .map(|at| &self.rules[at])
            .filter(|state| *state.rule.environment == *environment)
            .flat_map(|state| &state.selections)
            .collect();
        if !self.hinted.is_empty() {
            let mut repositories = repositories.to_vec();
            repositories.sort_unstable();
            repositories.dedup();
            let hinted = repositories.iter().flat_map(|repository| hinted_of(&self.hinted, repository));
            let hinted = hinted.filter(|(of, _)| of.as_ref() == environment);
            selections.extend(hinted.flat_map(|(_, hinted)| &hinted.selections));
        }
        selections
    }

    /// A hint: this tag is to go live in an environment.
    pub fn expect(&mut self, repository: &Repository, tag: &Tag, environment: &Arc<str>, said: Interval) {
        let key = (repository.clone(), environment.clone());
        let hinted = self.hinted.entry(key.clone()).or_default();
        let hint = Hint { said, tag: tag.clone() };
        if let Err(at) = hinted.hints.binary_search(&hint) {
            hinted.hints.insert(at, hint);
        }
        if hinted.hints.len() > SELECTIONS_MAX {
            hinted.hints.remove(0);
        }
        if self.hinted.len() > HINTED_MAX {
            let last = |hinted: &Hinted| hinted.hints.last().map(|hint| hint.said.not_after);
            let others = self.hinted.iter().filter(|(other, _)| **other != key);
            let oldest = others.min_by_key(|(_, hinted)| last(hinted)).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.hinted.remove(&key));
        }
        self.select_hinted(repository);
    }

    /// Tags of a repository that should be resolved: what was selected last.
    pub fn selected_tags(&self) -> impl Iterator<Item = (&Repository, Option<&Tag>)> {
        self.rules.iter().chain(self.policies.values()).map(|rule| {
            let last = rule.selections.last().and_then(|selection| selection.image.tag.as_ref());
            (&rule.rule.image, last)
        })
    }

    /// Tags that hints named last, by repository. Nobody looks at a repository because of a hint alone.
    pub fn hinted_tags(&self) -> impl Iterator<Item = (&Repository, &Tag)> {
        self.hinted
            .iter()
            .filter_map(|((repository, _), hinted)| Some((repository, &hinted.hints.last()?.tag)))
    }

    /// Tags of a repository that rules or hints named and that are still remembered.
    pub(super) fn named_tags<'a>(
        rules: impl Iterator<Item = &'a RuleState>,
        hinted: &'a HintedBy,
        repository: &Repository,
    ) -> impl Iterator<Item = &'a Tag> {
        let selected = rules.flat_map(|rule| &rule.selections);
        let selected = selected.filter_map(|selection| selection.image.tag.as_ref());
        selected
            .chain(hinted_of(hinted, repository).flat_map(|(_, of)| of.hints.iter().map(|hint| &hint.tag)))
    }

    /// Hints about repositories that nobody uses are forgotten.
    pub fn forget_hints(&mut self, used: impl Fn(&Repository) -> bool) {
        self.hinted.retain(|(repository, _), _| used(repository));
    }

    /// After a complete look at a repository: which rules select another tag now. True if any does.
    pub fn select(&mut self, repository: &Repository, first_look: bool, look: Evidence) -> bool {
        let Some(state) = self.repositories.get_mut(repository) else { return false };
        // What was selected from the same tags is selected again.
        if !std::mem::take(&mut state.news) && !first_look {
            return false;
        }
        let mut changed = false;
        for at in self.rules_of.get(repository).into_iter().flatten() {
            changed |= self.rules[*at].select(state, first_look, look);
        }
        let places: Vec<PolicyPlace> =
            policies_of(&self.policies, repository).map(|(place, _)| place.clone()).collect();
        for place in places {
            if let Some(policy) = self.policies.get_mut(&place) {
                changed |= policy.select(state, first_look, look);
            }
        }
        self.select_hinted(repository) || changed
    }

    /// A policy of an engine is so, `first` if it was before anybody looked. True if it selects another tag now.
    pub fn follow_policy(
        &mut self,
        place: PolicyPlace,
        rule: ExpectRule,
        follows_digest: bool,
        first: bool,
        now: Time,
    ) -> bool {
        let known = self.policies.get_mut(&place);
        if known.as_ref().is_some_and(|known| known.rule == rule && known.follows_digest == follows_digest) {
            return false;
        }
        let marker = Some(format!("{}:{}", place.2, place.3).as_str().into());
        let selector = selector(&rule);
        let new = RuleState {
            selector,
            rule,
            in_force: now,
            first,
            marker,
            follows_digest,
            selections: Vec::new(),
        };
        match known {
            // What it selected before it was changed is remembered: it may be on its way.
            Some(known) => {
                let selections = std::mem::take(&mut known.selections);
                *known = RuleState { first: false, selections, ..new };
            }
            None => {
                let (repository, cluster, namespace, name) = place.clone();
                self.policy_of.insert((cluster, namespace, name), repository);
                self.policies.insert(place.clone(), new);
            }
        }
        let (Some(state), Some(policy)) = (self.repositories.get(&place.0), self.policies.get_mut(&place))
        else {
            return false;
        };
        policy.select(state, false, Evidence { interval: Interval::at(now), basis: Basis::Watch })
    }

    /// A policy is gone, or chooses from another repository. What it selected is forgotten with it.
    pub fn forget_policy(&mut self, cluster: &str, namespace: &str, name: &str, but: Option<&Repository>) {
        let place: PolicyName = (cluster.into(), namespace.into(), name.into());
        if let Some(repository) = self.policy_of.get(&place).filter(|known| Some(*known) != but).cloned() {
            self.policy_of.remove(&place);
            let (cluster, namespace, name) = place;
            self.policies.remove(&(repository, cluster, namespace, name));
        }
    }

    /// What a policy selected: the one of this cluster, else the only one that is called so.
    #[must_use]
    pub fn policy(&self, repository: &Repository, cluster: &str, marker: &str) -> Option<&RuleState> {
        let (namespace, name) = marker.split_once(':')?;
        let mut called = policies_of(&self.policies, repository)
            .filter(|((_, _, space, named), _)| (&**space, &**named) == (namespace, name));
        let own = called.clone().find(|((_, of, ..), _)| &**of == cluster);
        let (_, found) = own.or_else(|| called.next().filter(|_| called.next().is_none()))?;
        Some(found)
    }

    /// Whether any policy goes by the name that a marker says.
    #[must_use]
    pub fn is_policy(&self, marker: &str) -> bool {
        let Some((namespace, name)) = marker.split_once(':') else { return false };
        self.policy_of.keys().any(|(_, space, named)| (&**space, &**named) == (namespace, name))
    }

    /// Whether a policy of a cluster selects this tag now.
    #[must_use]
    pub fn is_wanted(&self, repository: &Repository, cluster: &str, tag: &Tag) -> bool {
        let mut policies =
            policies_of(&self.policies, repository).filter(|((_, of, ..), _)| **of == *cluster);
        policies.any(|(_, policy)| {
            policy.selections.last().is_some_and(|selection| selection.image.tag.as_ref() == Some(tag))
        })
    }

    /// Whether any policy chooses from a repository.
    #[must_use]
    pub fn has_policy(&self, repository: &Repository) -> bool {
        policies_of(&self.policies, repository).next().is_some()
    }

    /// What hints about a repository mean now: always the same for the same hints and moves of tags, in whatever
    /// order they were learned. True if that is something else than before.
    fn select_hinted(&mut self, repository: &Repository) -> bool {
        if self.hinted.is_empty() {
            return false;
        }
        let mine: Vec<(Repository, Arc<str>)> = hinted_of(&self.hinted, repository)
            .map(|(environment, _)| (repository.clone(), environment.clone()))
            .collect();
        let mut changed = false;
        for key in mine {
            let Some(hinted) = self.hinted.get(&key) else { continue };
            let selections = self.meant(repository, &hinted.hints);
            let same = |(a, b): (&Selection, &Selection)| a.image == b.image && a.digest == b.digest;
            let before = &hinted.selections;
            changed |= before.len() != selections.len() || !before.iter().zip(&selections).all(same);
            if let Some(hinted) = self.hinted.get_mut(&key) {
                hinted.selections = selections;
            }
        }
        changed
    }

    fn meant(&self, repository: &Repository, hints: &[Hint]) -> Vec<Selection> {
        let mut selections: Vec<Selection> = Vec::new();
        for hint in hints {
            let Some(state) =
                self.repositories.get(repository).filter(|state| state.tags.contains_key(&hint.tag))
            else {
                continue;
            };
            let image =
                ImageRef { repository: repository.clone(), tag: Some(hint.tag.clone()), digest: None };
            let digest = self.resolve(&image, hint.said).last().cloned();
            if selections.last().is_some_and(|last| last.image == image && last.digest == digest) {
                continue;
            }
            let point = state.tags.get(&hint.tag).into_iter().flatten().rfind(|point| point.digest == digest);
            let again = selections.iter().any(|known| known.image == image && known.digest == digest);
            let pushed = point.map(|point| point.since).filter(|since| {
                let waited = hint.said.not_before.seconds_since(since.interval.not_after);
                let last = selections.last().map(|last| last.at.interval.not_after);
                // Who pushes and says so at once means the push.
                !again
                    && since.basis != Basis::Backfill
                    && since.interval.is_bounded()
                    && waited < FRESH_PUSH_SECONDS
                    && last.is_none_or(|last| last <= since.interval.not_after)
            });
            let at = pushed.unwrap_or(Evidence { interval: hint.said, basis: Basis::Hint });
            selections.push(Selection {
                image,
                digest,
                at,
                backfill: false,
                lowered: false,
                again,
                passed: Vec::new(),
                hinted: true,
                marker: None,
            });
        }
        selections
    }
}

impl RuleState {
    /// Why it selects a tag of its repository or not, and what it selects. `None` where the rule cannot be used.
    pub(super) fn explain<'a>(
        &self,
        tag: &Tag,
        state: &'a RepositoryState,
    ) -> Option<(Cause, Option<&'a Tag>)> {
        let present = state.tags.keys().filter(|tag| !state.gone.contains(*tag));
        Some(self.selector.as_ref()?.explain(tag, present))
    }

    /// True if it selects another tag of its repository than before.
    fn select(&mut self, state: &RepositoryState, first_look: bool, look: Evidence) -> bool {
        let Some(selector) = &self.selector else { return false };
        let present = state.tags.keys().filter(|tag| !state.gone.contains(*tag));
        let Some(tag) = selector.select(present) else { return false };
        let Some(point) = state.tags.get(tag).and_then(|points| points.last()) else { return false };
        let repository = self.rule.image.clone();
        let image = ImageRef { repository, tag: Some(tag.clone()), digest: None };
        if let Some(last) = self.selections.last_mut()
            && last.image == image
            && (last.digest == point.digest
                || last.digest.is_none()
                || point.digest.is_none()
                || !self.follows_digest)
        {
            if last.digest.is_none() {
                last.digest.clone_from(&point.digest);
            }
            return false;
        }
        let seen_before = self.selections.iter().any(|s| s.image == image && s.digest == point.digest);
        // A tag that came newly is selected from its push on; one that was there, since this look's change.
        let before_rule = point.since.interval.not_after < self.in_force;
        let old = seen_before || before_rule || point.since.basis == Basis::Backfill;
        let at = if old { look } else { point.since };
        let digest = point.digest.clone();
        let before = self.selections.last().and_then(|last| last.image.tag.as_ref());
        let lowered = before.is_some_and(|before| selector.order(tag, before) == Some(Ordering::Less));
        let present = state.tags.keys().filter(|tag| !state.gone.contains(*tag));
        let passed = before.map(|before| selector.between(before, tag, present, PASSED_MAX));
        let first = std::mem::take(&mut self.first);
        let backfill = first_look || first;
        self.selections.push(Selection {
            image,
            digest,
            at,
            backfill,
            lowered,
            again: seen_before,
            passed: passed.unwrap_or_default().into_iter().cloned().collect(),
            hinted: false,
            marker: self.marker.clone(),
        });
        if self.selections.len() > SELECTIONS_MAX {
            self.selections.remove(0);
        }
        true
    }
}

/// What hints said of a repository, by environment.
fn hinted_of<'a>(
    hinted: &'a HintedBy,
    repository: &Repository,
) -> impl Iterator<Item = (&'a Arc<str>, &'a Hinted)> {
    let first = (repository.clone(), Arc::from(""));
    let of_it = hinted.range(first..).take_while({
        let repository = repository.clone();
        move |((of, _), _)| *of == repository
    });
    of_it.map(|((_, environment), hinted)| (environment, hinted))
}

/// The policies that choose from a repository.
pub(super) fn policies_of<'a>(
    policies: &'a BTreeMap<PolicyPlace, RuleState>,
    repository: &Repository,
) -> impl Iterator<Item = (&'a PolicyPlace, &'a RuleState)> + Clone {
    let first: PolicyPlace = (repository.clone(), "".into(), "".into(), "".into());
    let repository = repository.clone();
    policies.range(first..).take_while(move |((of, ..), _)| *of == repository)
}

/// A rule that cannot be used selects nothing; the configuration's own check says so.
fn selector(rule: &ExpectRule) -> Option<Selector> {
    Selector::new(rule.filter.as_ref(), &rule.policy).ok()
}
