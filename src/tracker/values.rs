//! Values of a release that do not say all of an image, and what they make of the containers of its workloads.
//!
//! The chart is not read. Whose tag a value is, is certain where the policy that is named on its line chooses from the
//! repository that the container uses, or once the container took two versions from there, one after the other. What a
//! ConfigMap holds counts for the releases that name it in `valuesFrom`. Anything else is not said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::destination::DestinationKey;
use super::engine::Chain;
use super::git::{Change, Slot, Tree, TreeKey, Trees, commit_or_tip, is_generated};
use super::journey::Who;
use super::release::Made;
use super::stage::Evidence;
use super::target::Touched;
use crate::image::{ImageRef, Repository};
use crate::observation::{Commit, GitValue, Interval, TreeNames, ValuePlace, ValueSays};

/// Changes of one path that are remembered.
const CHANGES_MAX: usize = 512;

/// The values under one path of a branch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Values {
    now: BTreeMap<ValuePlace, Stands>,
    /// Oldest first.
    pub changes: Vec<ValueChange>,
}

/// What stands at one place; several where the text cannot tell two apart.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stands {
    says: BTreeMap<ValueSays, Option<Arc<str>>>,
    template: Option<u64>,
}

/// A value that became another one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ValueChange {
    pub place: ValuePlace,
    pub before: Option<ValueSays>,
    pub after: Option<ValueSays>,
    /// Without the images: which they are, only a container tells.
    pub change: Change,
}

/// What the values of a release change for one container, and whose markers stand there.
#[derive(Debug, Default)]
pub struct Valued {
    /// Under paths that set its environment.
    pub changes: Vec<Change>,
    /// On paths that no rule maps.
    pub elsewhere: Vec<Change>,
    pub markers: Vec<Arc<str>>,
    /// Why nobody knows the commit of an image that comes without one.
    pub unseen: Option<Who>,
}

impl Values {
    /// Takes a level; answers what may be set otherwise by it. The first one sets nothing.
    pub fn take(&mut self, names: &TreeNames, at: Evidence, first: bool) -> BTreeSet<Touched> {
        let mut now: BTreeMap<ValuePlace, Stands> = BTreeMap::new();
        for value in &names.values {
            let stands = now.entry(value.place.clone()).or_default();
            stands.says.insert(value.says.clone(), value.marker.clone());
            stands.template = value.template.or(stands.template);
        }
        let before = std::mem::replace(&mut self.now, now);
        if first {
            return BTreeSet::new();
        }
        let mut changes = Vec::new();
        let none = Stands::default();
        let places: BTreeSet<&ValuePlace> = before.keys().chain(self.now.keys()).collect();
        for place in places {
            let (old, new) = (before.get(place).unwrap_or(&none), self.now.get(place).unwrap_or(&none));
            if old != new {
                compare(place, old, new, names, at, &mut changes);
            }
        }
        let tip: BTreeSet<(ValuePlace, ValueSays)> =
            changes.iter().filter_map(|it| Some((it.place.clone(), it.after.clone()?))).collect();
        // What only passed between two of our looks.
        for commit in names.commits.iter().rev() {
            for value in &commit.values {
                let stands = self.now.get(&value.place).is_some_and(|now| now.says.contains_key(&value.says));
                if !stands && !tip.contains(&(value.place.clone(), value.says.clone())) {
                    let marker = value.marker.clone();
                    let change = change(&value.place, Some(commit), names, at, marker);
                    let change = Change { at_tip: false, ..change };
                    let (place, after) = (value.place.clone(), Some(value.says.clone()));
                    changes.push(ValueChange { place, before: None, after, change });
                }
            }
        }
        let touched = changes.iter().map(|it| Touched::Slot(it.change.slot.clone())).collect();
        self.changes.extend(changes);
        let surplus = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..surplus);
        touched
    }

    /// Markers that stand at its places.
    pub fn markers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.now.values().flat_map(|stands| stands.says.values().flatten())
    }

    /// Whatever stands, or stood, at the places of one object.
    fn of<'a>(&'a self, kind: &str, name: &str) -> BTreeMap<&'a ValuePlace, BTreeSet<&'a ValueSays>> {
        let first = ValuePlace { kind: kind.into(), name: name.into(), ..ValuePlace::default() };
        let is_of = |place: &ValuePlace| *place.kind == *kind && *place.name == *name;
        let stands = self.now.range(first..).take_while(|(place, _)| is_of(place));
        let mut found: BTreeMap<&ValuePlace, BTreeSet<&ValueSays>> =
            stands.map(|(place, stands)| (place, stands.says.keys().collect())).collect();
        for change in self.changes.iter().filter(|change| is_of(&change.place)) {
            let stood = found.entry(&change.place).or_default();
            stood.extend(change.before.iter().chain(&change.after));
        }
        found
    }
}

fn compare(
    place: &ValuePlace,
    old: &Stands,
    new: &Stands,
    names: &TreeNames,
    at: Evidence,
    changes: &mut Vec<ValueChange>,
) {
    let change = |says: &ValueSays, marker: Option<&Option<Arc<str>>>| {
        let named = |value: &GitValue| value.place == *place && value.says == *says;
        // The oldest that brought it: a later one may have touched the same manifest otherwise.
        let by = names.commits.iter().rev().find(|commit| commit.values.iter().any(named));
        self::change(place, by.or(names.commits.first()), names, at, marker.cloned().flatten())
    };
    let mut push = |before: Option<&ValueSays>, after: Option<&ValueSays>, change: Change| {
        let (before, after) = (before.cloned(), after.cloned());
        changes.push(ValueChange { place: place.clone(), before, after, change });
    };
    if old.says.keys().eq(new.says.keys()) {
        let templates = old.template.zip(new.template);
        if let (true, Some((says, marker))) =
            (templates.is_some_and(|(old, new)| old != new), new.says.first_key_value())
        {
            let change = Change { revision: true, ..change(says, Some(marker)) };
            push(Some(says), Some(says), change);
        }
        return;
    }
    let mut removed = old.says.keys().filter(|says| !new.says.contains_key(*says));
    for (after, marker) in new.says.iter().filter(|(says, _)| !old.says.contains_key(*says)) {
        push(removed.next(), Some(after), change(after, Some(marker)));
    }
    for before in removed {
        push(Some(before), None, change(before, None));
    }
}

fn change(
    place: &ValuePlace,
    commit: Option<&Commit>,
    names: &TreeNames,
    at: Evidence,
    marker: Option<Arc<str>>,
) -> Change {
    let ValuePlace { kind, name, namespace, .. } = place;
    let (kind, name, namespace) = (kind.clone(), name.clone(), namespace.clone());
    Change {
        at,
        commit: commit_or_tip(names, commit),
        reverts: commit.is_some_and(|commit| commit.reverts.is_some()),
        slot: Slot::Container { kind, name, namespace, container: None },
        before: None,
        after: None,
        marker,
        revision: false,
        replicas: None,
        at_tip: true,
        idle: false,
    }
}

impl Trees {
    /// What the values of the release that makes a workload change for one of its containers.
    #[must_use]
    pub fn valued(&self, made: Made<'_>, key: &DestinationKey, own: &str) -> Valued {
        let mut trees: Vec<(&TreeKey, &Tree)> =
            self.trees.iter().filter(|(_, tree)| !tree.values.is_empty()).collect();
        trees.sort_unstable_by_key(|(key, _)| *key);
        let mut valued = Valued::default();
        let mut loose = false;
        for (_, tree) in trees {
            let list = match &tree.environment {
                Some(environment) if **environment == *own => &mut valued.changes,
                Some(_) => continue,
                None => &mut valued.elsewhere,
            };
            let read = Read::new(made, tree, &key.container);
            loose |= !read.places.is_empty();
            for place in read.certain() {
                let of = tree.values.changes.iter().filter(|change| change.place == *place);
                list.extend(of.filter_map(|change| read.resolved(change)));
                if tree.environment.is_some() {
                    let stands = tree.values.now.get(place);
                    valued.markers.extend(stands.iter().flat_map(|it| it.says.values().flatten()).cloned());
                }
            }
        }
        valued.markers.sort_unstable();
        valued.markers.dedup();
        valued.unseen = self.unseen(made, own, loose);
        valued
    }

    /// Why the commit of an image that such a release brings may stay unknown, if there is a reason.
    fn unseen(&self, made: Made<'_>, own: &str, loose: bool) -> Option<Who> {
        let in_git = |name: &str| {
            self.trees
                .values()
                .filter(|tree| tree.environment.as_deref().is_none_or(|it| it == own))
                .any(|tree| tree.has_config_map(name) || !tree.values.of("ConfigMap", name).is_empty())
        };
        let from = |at: &crate::observation::ValuesFrom| {
            let object = format!("{}/{}", at.kind.to_lowercase(), at.name);
            match &*at.kind {
                "ConfigMap" if at.target.is_some() => {
                    Some(format!("{object} sets one of its values by itself"))
                }
                "ConfigMap" if in_git(&at.name) => None,
                "ConfigMap" => {
                    Some(format!("values come from {object}, which stands under no followed path"))
                }
                _ => Some(format!("values come from {object}, which is never read")),
            }
        };
        let tags = || "its values name tags alone, and none is known to be of this container".to_owned();
        let says = made.values_from.iter().find_map(from).or_else(|| loose.then(tags))?;
        Some(Who { object: Chain::object(made.by), says: says.as_str().into(), commits: Vec::new() })
    }
}

/// The values of one release under one path, read for one container.
struct Read<'a> {
    made: Made<'a>,
    tree: &'a Tree,
    container: &'a str,
    /// What stands, or stood, at each place that the release reads.
    places: BTreeMap<&'a ValuePlace, BTreeSet<&'a ValueSays>>,
}

impl<'a> Read<'a> {
    fn new(made: Made<'a>, tree: &'a Tree, container: &'a str) -> Self {
        let own = tree.values.of("HelmRelease", &made.by.name).into_iter();
        let here = |place: &ValuePlace| place.namespace.as_ref().is_none_or(|it| *it == made.by.namespace);
        let mut places: BTreeMap<_, _> = own.filter(|(place, _)| here(place)).collect();
        for from in made.values_from.iter().filter(|from| &*from.kind == "ConfigMap" && from.target.is_none())
        {
            // A generator puts its hash behind the name.
            let base = from.name.rfind('-').map(|at| &from.name[..at]);
            for (name, generated) in [(Some(&*from.name), false), (base, true)] {
                let of = name.into_iter().flat_map(|name| tree.values.of("ConfigMap", name));
                places.extend(of.filter(|(place, _)| {
                    place.generated == generated
                        && (!generated || is_generated(&from.name, &place.name))
                        && place.data.as_ref() == Some(&from.key)
                        && here(place)
                }));
            }
        }
        Self { made, tree, container, places }
    }

    /// The places that set the container for certain.
    fn certain(&self) -> Vec<&'a ValuePlace> {
        let Some(repository) = self.repository() else { return Vec::new() };
        let named: Vec<&ValuePlace> =
            self.places.keys().copied().filter(|place| self.names(place, repository)).collect();
        if !named.is_empty() {
            let says = named.iter().filter_map(|place| self.tree.values.now.get(place));
            let says = says.flat_map(|stands| stands.says.keys()).map(|says| (&says.tag, &says.digest));
            let whole = self.tree.named_by_release(self.made.by, repository);
            let whole = whole.map(|image| (&image.tag, &image.digest));
            // Two that say different things: which of them counts, only the chart knows.
            let once = says.chain(whole).collect::<BTreeSet<_>>().len() <= 1;
            return named.into_iter().filter(|place| once && self.taken(place, repository) > 0).collect();
        }
        let taken: Vec<&ValuePlace> =
            self.places.keys().copied().filter(|place| self.taken(place, repository) > 1).collect();
        // Those that changed in step cannot be told apart.
        if taken.len() == 1 { taken } else { Vec::new() }
    }

    /// The repository that the container uses, if it is the only one of its template that does.
    fn repository(&self) -> Option<&'a Repository> {
        let version = self.made.workload.versions.last()?;
        let repository = &version.read(self.container)?.repository;
        let uses = version.references.iter().flatten().filter(|image| image.repository == *repository);
        (uses.count() == 1).then_some(repository)
    }

    /// A place says itself that it is of a repository: by its name, or by the policy on its line.
    fn names(&self, place: &ValuePlace, repository: &Repository) -> bool {
        let whole = |says: &&ValueSays| says.repository.as_ref() == Some(repository);
        let stands = self.tree.values.now.get(place);
        let mut markers = stands.iter().flat_map(|stands| stands.says.values().flatten());
        self.places.get(place).is_some_and(|stood| stood.iter().any(whole))
            || (place.is_tag() && markers.any(|marker| self.made.chooses(marker, repository)))
    }

    /// How many of the images that stood at a place the container took. What any image may be called counts only where
    /// its repository stands beside it.
    fn taken(&self, place: &ValuePlace, repository: &Repository) -> usize {
        let named = self.names(place, repository);
        let elsewhere = |marker: &Arc<str>| self.made.chooses_elsewhere(marker, repository);
        let stands = self.tree.values.now.get(place);
        if !named && stands.iter().flat_map(|it| it.says.values().flatten()).any(elsewhere) {
            return 0;
        }
        let versions = &self.made.workload.versions;
        let took = |says: &&&ValueSays| {
            let version = |tag: &crate::image::Tag| tag.as_str().bytes().any(|byte| byte.is_ascii_digit());
            let mut ran = versions.iter().filter_map(|version| version.read(self.container));
            ran.any(|ran| {
                let same_tag = says.tag.is_some() && ran.tag == says.tag;
                let same_digest = says.digest.is_some() && ran.digest == says.digest;
                let telling = named || says.tag.as_ref().is_some_and(version) || same_digest;
                ran.repository == *repository && (same_tag || same_digest) && telling
            })
        };
        let stood = self.places.get(place);
        stood.map_or(0, |stood| stood.iter().filter(took).count())
    }

    /// A change with the images that it means, by the repository that the container used then.
    fn resolved(&self, change: &ValueChange) -> Option<Change> {
        let versions = &self.made.workload.versions;
        let landed: Interval = change.change.at.interval;
        let then = versions.iter().rev().find(|version| version.ours.not_before <= landed.not_after);
        let used = &then.or(versions.first())?.read(self.container)?.repository;
        let image = |says: &ValueSays| ImageRef {
            repository: says.repository.as_ref().unwrap_or(used).clone(),
            tag: says.tag.clone(),
            digest: says.digest.clone(),
        };
        let (before, after) = (change.before.as_ref().map(image), change.after.as_ref().map(image));
        Some(Change { before, after, ..change.change.clone() })
    }
}

impl Values {
    /// Nothing was ever said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.now.is_empty() && self.changes.is_empty()
    }
}

impl Tree {
    /// Whether it has a ConfigMap of this name, or generates one.
    #[must_use]
    pub fn has_config_map(&self, used: &str) -> bool {
        self.config_maps.keys().any(|slot| match slot {
            Slot::ConfigMap { name, generated: true, .. } => is_generated(used, name),
            Slot::ConfigMap { name, .. } => **name == *used,
            _ => false,
        })
    }
}
