//! A HelmRelease's manifest in git: which containers of the workloads that it makes it sets.
//!
//! The chart is not read, so what proves it is that the very manifest of the release that makes the workload names the
//! image in one place, that the template uses that repository in one container, and that this ran what stood there at
//! some time. Anything else is not said.

use super::git::{Slot, Tree};
use super::registry::Registries;
use super::target::Target;
use super::workload::WorkloadState;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::observation::{EngineKey, ValuesFrom};

/// As manifests write it.
const KIND: &str = "HelmRelease";

/// A workload that a release makes.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    pub by: &'a EngineKey,
    pub workload: &'a WorkloadState,
    /// Where the release takes values from besides its manifest.
    pub values_from: &'a [ValuesFrom],
    pub registries: &'a Registries,
    /// Where it runs.
    pub cluster: &'a str,
}

impl Made<'_> {
    /// Whether the policy that a marker names chooses from a repository.
    #[must_use]
    pub fn chooses(&self, marker: &str, repository: &Repository) -> bool {
        self.registries.policy(repository, self.cluster, marker).is_some()
    }

    /// Whether it is known to choose from another one.
    #[must_use]
    pub fn chooses_elsewhere(&self, marker: &str, repository: &Repository) -> bool {
        self.registries.is_policy(marker) && !self.chooses(marker, repository)
    }

    /// What its changes aim at.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::Workload(self.by.name.clone())
    }

    /// Whether a place in git that names an image sets a container.
    #[must_use]
    pub fn is_set(&self, slot: &Slot, named: &ImageRef, tree: &Tree, container: &str) -> bool {
        let same = |image: &&ImageRef| image.repository == named.repository;
        let once = || tree.references.get(slot).is_none_or(|named| named.iter().filter(same).count() <= 1);
        let uses = || {
            let Some(version) = self.workload.versions.last() else { return false };
            let uses = version.references.iter().flatten().filter(same).count();
            uses == 1 && version.read(container).as_ref().is_some_and(same)
        };
        slot.is_of_release(self.by) && once() && uses() && self.followed(slot, tree, container)
    }

    /// The template took an image that stood in this place: a container may also have what the chart alone says.
    fn followed(&self, slot: &Slot, tree: &Tree, container: &str) -> bool {
        let stands = tree.references.get(slot).into_iter().flatten();
        let changes = tree.changes.iter().filter(|change| change.slot == *slot);
        let stood = changes.flat_map(|change| change.before.iter().chain(&change.after));
        let stood: Vec<&ImageRef> = stands.chain(stood).collect();
        let mut ran = self.workload.versions.iter().filter_map(|version| version.read(container));
        ran.any(|ran| stood.iter().any(|stood| is_alike(ran, stood)))
    }

    /// Whether it is a place whose other values may change its template: one that names an image that is used there.
    #[must_use]
    pub fn is_revised(&self, slot: &Slot, named: &ImageRef) -> bool {
        let uses = |version: &super::workload::Version| {
            version.references.iter().flatten().any(|image| image.repository == named.repository)
        };
        slot.is_of_release(self.by) && self.workload.versions.last().is_some_and(uses)
    }
}

/// The same image, though a chart may put tag and digest together in its own way.
fn is_alike(left: &ImageRef, right: &ImageRef) -> bool {
    left.repository == right.repository
        && ((left.tag.is_some() && left.tag == right.tag)
            || (left.digest.is_some() && left.digest == right.digest))
}

impl Tree {
    /// Images of a repository that the manifest of a release names.
    pub fn named_by_release<'a>(
        &'a self,
        release: &'a EngineKey,
        repository: &'a Repository,
    ) -> impl Iterator<Item = &'a ImageRef> {
        let first = Slot::Container {
            kind: KIND.into(),
            name: release.name.clone(),
            namespace: None,
            container: None,
        };
        let named = |slot: &Slot| matches!(slot, Slot::Container { kind, name, .. } if &**kind == KIND && *name == release.name);
        let of = self.references.range(first..).take_while(move |(slot, _)| named(slot));
        let of = of.filter(|(slot, _)| slot.is_of_release(release)).flat_map(|(_, images)| images);
        of.filter(|image| image.repository == *repository)
    }
}

impl Slot {
    /// The manifest of a HelmRelease.
    #[must_use]
    pub fn is_release(&self) -> bool {
        matches!(self, Self::Container { kind, .. } if &**kind == KIND)
    }

    /// What a ConfigMap holds as text.
    #[must_use]
    pub fn is_values(&self) -> bool {
        matches!(self, Self::Container { kind, .. } if &**kind == "ConfigMap")
    }

    fn is_of_release(&self, release: &EngineKey) -> bool {
        match self {
            Self::Container { name, namespace, .. } if self.is_release() => {
                *name == release.name && namespace.as_ref().is_none_or(|n| *n == release.namespace)
            }
            _ => false,
        }
    }
}
