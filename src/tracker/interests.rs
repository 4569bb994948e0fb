//! What observers should look at: what git names, what workloads run, what is selected or hinted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::git::{Slot, Tree, Trees};
use super::{Interests, RepositoryInterest, Tracker};
use crate::image::{ImageRef, Repository};

impl Tracker {
    /// What observers should look at now.
    #[must_use]
    pub fn interests(&self) -> Interests {
        let mut interests = Interests::default();
        for image in self.trees.images() {
            want(&mut interests, image);
        }
        for ledger in self.ledgers.values() {
            for entry in ledger.entries.iter().filter(|entry| entry.journey.is_open()) {
                want(&mut interests, &entry.journey.image).urgent = true;
            }
        }
        let is_urgent =
            |image: &ImageRef| interests.repositories.get(&image.repository).is_some_and(|it| it.urgent);
        let urgent = self.trees.named_by_url().filter(|(_, image)| is_urgent(image));
        interests.git = urgent.map(|(url, _)| url.clone()).collect();
        for state in self.clusters.values().flat_map(|cluster| cluster.workloads.values()) {
            for container in state.now.containers.iter().filter(|_| state.removed.is_none()) {
                let Ok(image) = container.image.parse::<ImageRef>() else { continue };
                let interest = want(&mut interests, &image);
                let running =
                    state.pods.values().filter_map(|pod| pod.digests.get(&container.name)?.1.clone());
                interest.digests.extend(running);
            }
        }
        for (repository, tag) in self.registries.selected_tags() {
            let interest = interests.repositories.entry(repository.clone()).or_default();
            interest.tags.extend(tag.cloned());
        }
        for (repository, tag) in self.registries.hinted_tags() {
            // A hint is no reason to look where nobody has to do with the repository.
            if let Some(interest) = interests.repositories.get_mut(repository) {
                interest.tags.insert(tag.clone());
            }
        }
        interests
    }
}

impl Trees {
    /// Images named anywhere, for the registry's sake.
    fn images(&self) -> impl Iterator<Item = &ImageRef> {
        self.trees.values().flat_map(Tree::images)
    }

    /// The same, each with the address of the git repository that names it.
    fn named_by_url(&self) -> impl Iterator<Item = (&Arc<str>, &ImageRef)> {
        self.trees.iter().flat_map(|((url, ..), tree)| tree.images().map(move |image| (url, image)))
    }
}

impl Tree {
    /// Images that it names, but for the names that its kustomizations give to others: those stand for nothing that
    /// a registry has.
    fn images(&self) -> impl Iterator<Item = &ImageRef> {
        let replaced = self.references.iter().filter_map(|(slot, images)| match slot {
            Slot::Kustomize { name } => {
                let named = name.parse::<ImageRef>().ok()?.repository;
                images.iter().all(|image| image.repository != named).then_some(named)
            }
            _ => None,
        });
        let replaced: BTreeSet<Repository> = replaced.collect();
        self.references.values().flatten().filter(move |image| !replaced.contains(&image.repository))
    }
}

/// A digest is wanted by itself, a tag only where no digest pins it.
fn want<'a>(interests: &'a mut Interests, image: &ImageRef) -> &'a mut RepositoryInterest {
    let interest = interests.repositories.entry(image.repository.clone()).or_default();
    interest.tags.extend(image.tag.clone().filter(|_| image.digest.is_none()));
    interest.digests.extend(image.digest.clone());
    interest
}
