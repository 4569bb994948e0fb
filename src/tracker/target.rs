//! What changes in git aim at, so that a destination finds its own among those of all paths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::destination::DestinationKey;
use super::git::{Change, Slot, Tree, TreeKey, Trees};
use super::maps::Map;
use super::release::Made;
use crate::image::{Digest, ImageRef, Repository, Tag};

/// See the file's front line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A workload of this name, of whatever kind and namespace.
    Workload(Arc<str>),
    /// Whatever a kustomization calls so.
    Kustomize(Arc<str>),
    ConfigMap(Arc<str>),
    /// Whoever uses this repository.
    Repository(Repository),
    /// The same, by a place that names no workload.
    Loose(Repository),
}

impl Target {
    fn of(change: &Change) -> impl Iterator<Item = Self> {
        let own = match &change.slot {
            Slot::Container { name, .. } | Slot::Scale { name, .. } => Some(Self::Workload(name.clone())),
            Slot::Kustomize { name } => Some(Self::Kustomize(name.clone())),
            Slot::ConfigMap { name, .. } => Some(Self::ConfigMap(name.clone())),
            Slot::Text { .. } => None,
        };
        let after = change.after.as_ref().map(|after| &after.repository);
        let loose = after.filter(|_| !matches!(change.slot, Slot::Container { .. }));
        let loose = loose.map(|repository| Self::Loose(repository.clone()));
        own.into_iter().chain(after.map(|repository| Self::Repository(repository.clone()))).chain(loose)
    }
}

/// The numbers of the changes of each path that aim at something.
#[derive(Debug, Default)]
pub struct Targets(pub Map<Target, BTreeMap<TreeKey, BTreeSet<u64>>>);

impl Targets {
    /// A change came.
    pub fn add(&mut self, tree: &TreeKey, number: u64, change: &Change) {
        for target in Target::of(change) {
            self.0.entry(target).or_default().entry(tree.clone()).or_default().insert(number);
        }
    }

    /// Changes of a path fell out of memory.
    pub fn drop_from(&mut self, tree: &TreeKey, dropped: &[(u64, Change)]) {
        for (number, change) in dropped {
            for target in Target::of(change) {
                let Some(of) = self.0.get_mut(&target) else { continue };
                if let Some(numbers) = of.get_mut(tree) {
                    numbers.remove(number);
                    if numbers.is_empty() {
                        of.remove(tree);
                    }
                }
                if of.is_empty() {
                    self.0.remove(&target);
                }
            }
        }
    }
}

/// Where the markers of all paths stand: by the name of the workload, and by both names of a kustomization's entry.
#[derive(Debug, Default)]
pub struct Marked(Map<Arc<str>, BTreeSet<(TreeKey, Slot, ImageRef)>>);

impl Marked {
    /// Of all trees, from their markers alone.
    pub fn of(trees: &mut Map<TreeKey, Tree>) -> Self {
        let mut marked = Self::default();
        for (key, tree) in trees {
            tree.marked = tree.markers.keys().cloned().collect();
            marked.take(key, tree);
        }
        marked
    }

    /// Takes what changed in a path.
    pub fn take(&mut self, key: &TreeKey, tree: &mut Tree) {
        for (slot, image) in tree.unmarked.drain(..) {
            for name in names(&slot, &image) {
                if let Some(places) = self.0.get_mut(&name) {
                    places.remove(&(key.clone(), slot.clone(), image.clone()));
                    if places.is_empty() {
                        self.0.remove(&name);
                    }
                }
            }
        }
        for (slot, image) in tree.marked.drain(..) {
            for name in names(&slot, &image) {
                self.0.entry(name).or_default().insert((key.clone(), slot.clone(), image.clone()));
            }
        }
    }
}

/// What a place that may carry a marker is found by. Text sets nothing for certain.
fn names(slot: &Slot, image: &ImageRef) -> Vec<Arc<str>> {
    match slot {
        Slot::Container { name, .. } => vec![name.clone()],
        Slot::Kustomize { name } if **name == *image.repository.as_str() => vec![name.clone()],
        Slot::Kustomize { name } => vec![name.clone(), image.repository.as_str().into()],
        Slot::Text { .. } | Slot::ConfigMap { .. } | Slot::Scale { .. } => Vec::new(),
    }
}

impl Trees {
    /// Whether a remembered change names a tag of a repository, or one of its digests.
    #[must_use]
    pub fn name(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> bool {
        let means = |named: &Option<Digest>, said: &Option<Tag>| {
            named.as_ref().map_or(said.as_ref() == Some(tag), |named| named == digest)
        };
        let named = self.aimed(&Target::Repository(repository.clone())).any(|(_, _, change)| {
            change.after.as_ref().is_some_and(|after| means(&after.digest, &after.tag))
        });
        // Of which repository a value is, only a container tells.
        let values = || self.trees.values().flat_map(|tree| &tree.values.changes);
        named || values().any(|it| it.after.as_ref().is_some_and(|after| means(&after.digest, &after.tag)))
    }

    /// Whether text without an object named a repository.
    #[must_use]
    pub fn has_text(&self, repository: &Repository) -> bool {
        let target = Target::Loose(repository.clone());
        self.aimed(&target).any(|(_, _, change)| matches!(change.slot, Slot::Text { .. }))
    }

    /// Rules that stand on the very places that set a container of an environment.
    pub fn markers<'a>(
        &'a self,
        key: &'a DestinationKey,
        image: Option<&'a ImageRef>,
        own: &'a str,
        made: Option<Made<'a>>,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let sets = move |tree: &Tree, slot: &Slot, named: &ImageRef| match slot {
            slot if slot.is_release() => {
                made.is_some_and(|made| made.is_set(slot, named, tree, &key.container))
            }
            Slot::Kustomize { name } => image.is_some_and(|image| {
                image.repository.as_str() == &**name || named.repository == image.repository
            }),
            _ => slot.sets(&key.workload, &key.container),
        };
        let repository = image.map(|image| image.repository.as_str());
        let release = made.map(|made| &*made.by.name).filter(|name| *name != &*key.workload.name);
        let names = [Some(&*key.workload.name), release, repository].into_iter().flatten();
        let places = names.filter_map(|name| self.marked.0.get(name)).flatten();
        places.filter_map(move |(tree, slot, named)| {
            let tree = self.trees.get(tree).filter(|tree| tree.environment.as_deref() == Some(own))?;
            tree.markers.get(&(slot.clone(), named.clone())).filter(|_| sets(tree, slot, named))
        })
    }
}

/// Whom a change may concern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    Slot(Slot),
    /// Workloads that use it.
    Repository(Repository),
}

/// See [`Touched`]. A container's own manifest concerns nobody else, whatever image it names.
pub fn touched(change: &Change) -> impl Iterator<Item = Touched> {
    let by_repository = matches!(change.slot, Slot::Kustomize { .. } | Slot::Text { .. });
    let after = change.after.as_ref().filter(|_| by_repository);
    let after = after.map(|after| Touched::Repository(after.repository.clone()));
    [Touched::Slot(change.slot.clone())].into_iter().chain(after)
}
