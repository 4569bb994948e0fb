//! What git said: which references changed under which path, when, and by which commit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use super::destination::DestinationKey;
use super::journey::CommitRef;
use super::level::{Former, Line};
use super::maps::{self, Map};
use super::release::Made;
use super::settings::in_order;
use super::stage::Evidence;
use super::taken::TakenBy;
use super::target::{Marked, Target, Targets, Touched, touched};
use super::values::Values;
use super::workload::WorkloadState;
use crate::image::{ImageRef, Repository};
use crate::observation::{Commit, ConfigMapUse, GitReference, ObjectKey, PathRule, TreeNames};

/// Changes of one path that are remembered.
const CHANGES_MAX: usize = 512;

/// The place that a reference sets, without the file it stands in: moving a file adds nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// A container in a manifest.
    Container { kind: Arc<str>, name: Arc<str>, namespace: Option<Arc<str>>, container: Option<Arc<str>> },
    /// A kustomize `images:` entry: every container whose image has this name.
    Kustomize { name: Arc<str> },
    /// Text without an object: joined by its repository.
    Text { repository: Repository, marker: Option<Arc<str>> },
    /// A ConfigMap, or a generator of ones.
    ConfigMap { name: Arc<str>, namespace: Option<Arc<str>>, generated: bool },
    /// The number of pods of a workload: in its manifest, or, without a kind, in an entry of a kustomization.
    Scale { kind: Option<Arc<str>>, name: Arc<str>, namespace: Option<Arc<str>> },
}

impl Slot {
    pub(super) fn of(reference: &GitReference) -> Self {
        match (&reference.kind, &reference.name) {
            (Some(kind), Some(name)) if &**kind == "Kustomize" => Self::Kustomize { name: name.clone() },
            (Some(kind), Some(name)) => Self::Container {
                kind: kind.clone(),
                name: name.clone(),
                namespace: reference.namespace.clone(),
                container: reference.container.clone(),
            },
            _ => Self::Text {
                repository: reference.image.repository.clone(),
                marker: reference.marker.clone(),
            },
        }
    }

    /// Whether it sets that container for certain. Text never does.
    #[must_use]
    pub fn sets(&self, workload: &ObjectKey, container: &str) -> bool {
        match self {
            Self::Container { kind, name, namespace, container: named } => {
                kind.eq_ignore_ascii_case(workload.kind.as_str())
                    && *name == workload.name
                    && namespace.as_ref().is_none_or(|n| *n == workload.namespace)
                    && named.as_deref().is_none_or(|named| named == container)
            }
            Self::Kustomize { .. } | Self::Text { .. } | Self::ConfigMap { .. } | Self::Scale { .. } => false,
        }
    }

    /// Whether it sets how many pods that workload has. An entry means whatever has the name.
    #[must_use]
    pub fn scales(&self, workload: &ObjectKey) -> bool {
        let Self::Scale { kind, name, namespace } = self else { return false };
        kind.as_ref().is_none_or(|kind| kind.eq_ignore_ascii_case(workload.kind.as_str()))
            && *name == workload.name
            && namespace.as_ref().is_none_or(|namespace| *namespace == workload.namespace)
    }

    /// A number of pods.
    #[must_use]
    pub fn is_scale(&self) -> bool {
        matches!(self, Self::Scale { .. })
    }

    /// A ConfigMap, by object or by generator.
    #[must_use]
    pub fn is_config_map(&self) -> bool {
        matches!(self, Self::ConfigMap { .. })
    }

    /// A ConfigMap that keeps its name: its own write tells when it was applied.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        matches!(self, Self::ConfigMap { generated: false, .. })
    }

    /// Whether a workload's template names this ConfigMap, now or before.
    #[must_use]
    pub fn is_named_by(&self, workload: &WorkloadState) -> bool {
        self.uses(workload).next().is_some()
    }

    /// Whether its containers see another content only when they start anew.
    #[must_use]
    pub fn read_at_start(&self, workload: &WorkloadState) -> bool {
        self.uses(workload).any(|named| named.at_start)
    }

    fn uses<'a>(&'a self, workload: &'a WorkloadState) -> impl Iterator<Item = &'a ConfigMapUse> {
        let named = workload.versions.iter().flat_map(|version| &version.config_maps);
        named.filter(|used| match self {
            Self::ConfigMap { name, namespace, generated } => {
                namespace.as_ref().is_none_or(|namespace| *namespace == workload.now.key.namespace)
                    && if *generated { is_generated(&used.name, name) } else { used.name == *name }
            }
            _ => false,
        })
    }
}

/// kustomize puts ten characters of a hash behind the name, of an alphabet without vowels.
pub(super) fn is_generated(used: &str, name: &str) -> bool {
    let suffix = used.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    suffix
        .is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|byte| b"2456789bcdfghkmt".contains(&byte)))
}

/// A reference that became another one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    pub at: Evidence,
    pub commit: CommitRef,
    /// The commit says that it reverts another.
    pub reverts: bool,
    pub slot: Slot,
    pub before: Option<ImageRef>,
    pub after: Option<ImageRef>,
    /// The rule that is named on the line.
    pub marker: Option<Arc<str>>,
    /// The manifest's pod template, a ConfigMap or the number of pods changed, and no image did.
    pub revision: bool,
    /// Of a number of pods: which.
    pub replicas: Option<i64>,
    /// False for a commit that was already overtaken when we looked: evidence, but no desire.
    pub at_tip: bool,
    /// Of a number of pods: an entry of a kustomization decided instead, when it came.
    pub idle: bool,
}

/// One path of one branch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tree {
    pub(super) references: BTreeMap<Slot, BTreeSet<ImageRef>>,
    pub(super) markers: BTreeMap<(Slot, ImageRef), Arc<str>>,
    pub(super) templates: BTreeMap<Slot, u64>,
    /// Data of each ConfigMap; several where the text cannot tell two of one name apart.
    pub(super) config_maps: BTreeMap<Slot, BTreeSet<u64>>,
    /// Numbers of pods; several where the text says more than one of a workload.
    pub(super) scales: BTreeMap<Slot, BTreeSet<i64>>,
    pub(super) known: bool,
    /// The commit that the last level was read from; empty before the first.
    pub commit: Arc<str>,
    pub changes: Vec<Change>,
    /// What only a release makes an image of.
    pub values: Values,
    /// How many changes fell out of memory: the number of the first one that is left.
    dropped: u64,
    /// The environment that it sets, by the rules. Follows from them.
    #[serde(skip)]
    pub(super) environment: Option<Arc<str>>,
    /// Places that lost their marker, and that got one, since the index was told.
    #[serde(skip)]
    pub(super) unmarked: Vec<(Slot, ImageRef)>,
    #[serde(skip)]
    pub(super) marked: Vec<(Slot, ImageRef)>,
    /// What the last level said, line for line: the next one says nearly the same.
    #[serde(skip)]
    pub(super) said: Vec<Line>,
}

/// Url, branch and path.
pub type TreeKey = (Arc<str>, Arc<str>, Arc<str>);

/// See the file's front line.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Trees {
    #[serde(serialize_with = "maps::sorted")]
    pub trees: Map<TreeKey, Tree>,
    pub taken: TakenBy,
    /// Where the changes are that may set something. Follows from the trees.
    #[serde(skip)]
    pub(super) targets: Targets,
    /// Where the markers stand. Follows from the trees.
    #[serde(skip)]
    pub(super) marked: Marked,
    #[serde(skip)]
    hasher: RandomState,
}

impl Trees {
    /// Takes the level of one path; answers what may be set otherwise by it.
    pub fn names(
        &mut self,
        names: &TreeNames,
        at: Evidence,
        backfill: bool,
        rules: &[PathRule],
    ) -> BTreeSet<Touched> {
        let key = (names.url.clone(), names.branch.clone(), names.path.clone());
        if !self.trees.contains_key(&key) {
            let environment = environment(&key, rules);
            self.trees.insert(key.clone(), Tree { environment, ..Tree::default() });
        }
        let Some(tree) = self.trees.get_mut(&key) else { return BTreeSet::new() };
        let former = tree.read(&names.references, &self.hasher);
        self.marked.take(&key, tree);
        let former_settings = tree.read_settings(names);
        tree.commit = names.commit.clone();
        let first = !std::mem::replace(&mut tree.known, true) || backfill;
        let valued = tree.values.take(names, at, first);
        if !first {
            let configured = tree.compare_settings(&former_settings, names, at);
            let before = tree.dropped + tree.changes.len() as u64;
            let dropped = tree.compare(&former, configured, names, at);
            self.targets.drop_from(&key, &dropped);
            for number in before.max(tree.dropped)..tree.dropped + tree.changes.len() as u64 {
                self.targets.add(&key, number, &tree.changes[(number - tree.dropped) as usize]);
            }
            let fresh = (before.max(tree.dropped) - tree.dropped) as usize;
            let changed = dropped.iter().map(|(_, change)| change).chain(&tree.changes[fresh..]);
            changed.flat_map(touched).chain(valued).collect()
        } else {
            // A level alone sets nothing.
            BTreeSet::new()
        }
    }

    /// Takes new rules.
    pub fn configure(&mut self, rules: &[PathRule]) {
        for (key, tree) in &mut self.trees {
            tree.environment = environment(key, rules);
        }
    }

    /// Makes anew what follows from the rest.
    pub fn index(&mut self, rules: &[PathRule]) {
        self.configure(rules);
        self.taken.index();
        self.targets = Targets::default();
        self.marked = Marked::of(&mut self.trees);
        for (key, tree) in &self.trees {
            for (at, change) in tree.changes.iter().enumerate() {
                self.targets.add(key, tree.dropped + at as u64, change);
            }
        }
    }

    /// Changes that may set a container: first those under paths of its environment, then those on paths that no rule
    /// maps. Oldest first in each path.
    pub fn of(
        &self,
        workload: &WorkloadState,
        key: &DestinationKey,
        image: Option<&ImageRef>,
        repositories: &[&Repository],
        own: &str,
        made: Option<Made<'_>>,
    ) -> (Vec<&Change>, Vec<&Change>) {
        let mut found: Vec<(&TreeKey, u64)> = Vec::new();
        let mut repositories = repositories.to_vec();
        let sets = |tree: &TreeKey, change: &Change| match &change.slot {
            slot if slot.is_release() => {
                let named = change.after.as_ref().or(change.before.as_ref());
                made.zip(named).zip(self.trees.get(tree)).is_some_and(|((made, named), tree)| {
                    (change.revision && made.is_revised(slot, named))
                        || (!change.revision && made.is_set(slot, named, tree, &key.container))
                })
            }
            Slot::Container { .. } => change.slot.sets(&key.workload, &key.container),
            Slot::Kustomize { name } => image.is_some_and(|image| {
                image.repository.as_str() == &**name
                    || change.after.as_ref().is_some_and(|after| after.repository == image.repository)
            }),
            Slot::Text { .. } => change.after.is_some(),
            Slot::ConfigMap { .. } => change.slot.is_named_by(workload),
            Slot::Scale { .. } => change.slot.scales(&key.workload) && !change.idle,
        };
        let mut targets = vec![Target::Workload(key.workload.name.clone())];
        targets.extend(made.map(|made| made.target()));
        targets.extend(image.map(|image| Target::Kustomize(image.repository.as_str().into())));
        targets.extend(image.map(|image| Target::Loose(image.repository.clone())));
        for used in workload.versions.iter().flat_map(|version| &version.config_maps) {
            targets.push(Target::ConfigMap(used.name.clone()));
            let base = used.name.rfind('-').map(|at| &used.name[..at]);
            targets.extend(base.map(|base| Target::ConfigMap(base.into())));
        }
        targets.sort();
        targets.dedup();
        for (tree, number, change) in targets.iter().flat_map(|target| self.aimed(target)) {
            if !matches!(change.slot, Slot::Text { .. }) && sets(tree, change) {
                found.push((tree, number));
                if let Some(after) =
                    change.after.as_ref().filter(|after| !repositories.contains(&&after.repository))
                {
                    repositories.push(&after.repository);
                }
            }
        }
        for repository in repositories {
            for (tree, number, change) in self.aimed(&Target::Loose(repository.clone())) {
                if matches!(change.slot, Slot::Text { .. }) && sets(tree, change) {
                    found.push((tree, number));
                }
            }
        }
        let (mut changes, mut elsewhere) = (Vec::new(), Vec::new());
        found.sort_unstable_by(|(left, one), (right, other)| {
            let order = if is_same(left, right) { Ordering::Equal } else { left.cmp(right) };
            order.then(one.cmp(other))
        });
        found.dedup_by(|(left, one), (right, other)| one == other && (is_same(left, right) || left == right));
        for of_tree in found.chunk_by(|(left, _), (right, _)| is_same(left, right) || left == right) {
            let Some(tree) = of_tree.first().and_then(|(key, _)| self.trees.get(*key)) else { continue };
            let list = match &tree.environment {
                Some(environment) if **environment == *own => &mut changes,
                Some(_) => continue,
                None => &mut elsewhere,
            };
            list.extend(of_tree.iter().filter_map(|(_, number)| tree.numbered(*number)));
        }
        (changes, elsewhere)
    }

    pub(super) fn aimed(&self, target: &Target) -> impl Iterator<Item = (&TreeKey, u64, &Change)> {
        let of = self.targets.0.get(target).into_iter().flatten();
        of.filter_map(move |(key, numbers)| Some((key, self.trees.get(key)?, numbers))).flat_map(
            |(key, tree, numbers)| {
                numbers.iter().filter_map(move |number| Some((key, *number, tree.numbered(*number)?)))
            },
        )
    }
}

impl Tree {
    fn numbered(&self, number: u64) -> Option<&Change> {
        self.changes.get(usize::try_from(number.checked_sub(self.dropped)?).ok()?)
    }

    /// Answers the changes that fell out of memory, with their numbers.
    fn compare(
        &mut self,
        former: &Former,
        configured: Vec<Change>,
        names: &TreeNames,
        at: Evidence,
    ) -> Vec<(u64, Change)> {
        let none = BTreeSet::new();
        let others = former.all.then(|| self.references.keys()).into_iter().flatten();
        let slots: BTreeSet<&Slot> = former.references.keys().chain(others).collect();
        let mut changes = Vec::new();
        for slot in slots {
            let old = former.references.get(slot).unwrap_or(&none);
            let new = self.references.get(slot).unwrap_or(&none);
            let template = |templates: &BTreeMap<Slot, u64>| templates.get(slot).copied();
            let templates = template(&former.templates).zip(template(&self.templates));
            if old == new && templates.is_some_and(|(old, new)| old != new) {
                let image = new.first().cloned();
                let change = self.change(slot, image.clone(), image, names, at);
                changes.push(Change { revision: true, ..change });
                continue;
            }
            let mut removed = old.difference(new);
            for after in new.difference(old) {
                let before = removed.next().cloned();
                changes.push(self.change(slot, before, Some(after.clone()), names, at));
            }
            for before in removed {
                changes.push(self.change(slot, Some(before.clone()), None, names, at));
            }
        }
        changes.extend(configured);
        in_order(&mut changes, names);
        let tip: BTreeSet<(Slot, ImageRef)> =
            changes.iter().filter_map(|change| Some((change.slot.clone(), change.after.clone()?))).collect();
        // What only passed between two of our looks: oldest first, so that it reads as history.
        for commit in names.commits.iter().rev() {
            for reference in &commit.added {
                let slot = Slot::of(reference);
                let unchanged = self.references.get(&slot).is_some_and(|now| now.contains(&reference.image));
                if !unchanged && !tip.contains(&(slot.clone(), reference.image.clone())) {
                    changes.push(Change {
                        at,
                        commit: commit_ref(names, commit),
                        reverts: commit.reverts.is_some(),
                        slot,
                        before: None,
                        after: Some(reference.image.clone()),
                        marker: reference.marker.clone(),
                        revision: false,
                        replicas: None,
                        at_tip: false,
                        idle: false,
                    });
                }
            }
        }
        self.changes.extend(changes);
        let surplus = self.changes.len().saturating_sub(CHANGES_MAX);
        let first = self.dropped;
        self.dropped += surplus as u64;
        (first..).zip(self.changes.drain(..surplus)).collect()
    }

    pub(super) fn change(
        &self,
        slot: &Slot,
        before: Option<ImageRef>,
        after: Option<ImageRef>,
        names: &TreeNames,
        at: Evidence,
    ) -> Change {
        let brought = |commit: &&Commit| {
            let named = |reference: &GitReference| {
                Some(&reference.image) == after.as_ref() && Slot::of(reference) == *slot
            };
            commit.added.iter().any(named)
        };
        // The oldest that brought it: a later one may have touched the same manifest otherwise.
        let commit = names.commits.iter().rev().find(brought);
        let marker =
            after.as_ref().and_then(|after| self.markers.get(&(slot.clone(), after.clone())).cloned());
        Change {
            at,
            commit: commit_or_tip(names, commit.or(names.commits.first())),
            reverts: commit.is_some_and(|commit| commit.reverts.is_some()),
            slot: slot.clone(),
            before,
            after,
            marker,
            revision: false,
            replicas: None,
            at_tip: true,
            idle: false,
        }
    }
}

/// The same key in the same memory: nearly always, where two are equal.
fn is_same(left: &TreeKey, right: &TreeKey) -> bool {
    Arc::ptr_eq(&left.0, &right.0) && Arc::ptr_eq(&left.1, &right.1) && Arc::ptr_eq(&left.2, &right.2)
}

/// The environment of the first rule for a path.
fn environment((url, branch, path): &TreeKey, rules: &[PathRule]) -> Option<Arc<str>> {
    let of = |rule: &&PathRule| *rule.url == **url && *rule.branch == **branch && *rule.path == **path;
    rules.iter().find(of).map(|rule| rule.environment.clone())
}

/// Where no commit is told, what is known is the tip.
pub(super) fn commit_or_tip(names: &TreeNames, commit: Option<&Commit>) -> CommitRef {
    commit.map_or_else(
        || CommitRef {
            repository: names.url.clone(),
            branch: names.branch.clone(),
            id: names.commit.clone(),
            author: "".into(),
            subject: "".into(),
        },
        |commit| commit_ref(names, commit),
    )
}

pub(super) fn commit_ref(names: &TreeNames, commit: &Commit) -> CommitRef {
    CommitRef {
        repository: names.url.clone(),
        branch: names.branch.clone(),
        id: commit.id.clone(),
        author: commit.author.clone(),
        subject: commit.subject.clone(),
    }
}
