//! Reading one level of a path into what its places hold. Nearly all of it is as in the level before, line for line,
//! and is not read again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;

use super::git::{Slot, Tree};
use crate::image::ImageRef;
use crate::observation::GitReference;

/// One reference of a level in two hashes: the place that it sets, and all that is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    slot: u64,
    whole: u64,
}

/// What places held before a level.
#[derive(Debug, Default)]
pub struct Former {
    pub references: BTreeMap<Slot, BTreeSet<ImageRef>>,
    pub templates: BTreeMap<Slot, u64>,
    /// Those are all places that there were; else those that may have changed.
    pub all: bool,
}

impl Tree {
    /// Takes the references of a level; answers what was there before.
    pub fn read(&mut self, references: &[GitReference], hasher: &RandomState) -> Former {
        let lines: Vec<Line> = references.iter().map(|reference| Line::of(reference, hasher)).collect();
        let before = std::mem::replace(&mut self.said, lines);
        let mut former = Former::default();
        let same_places = before.len() == self.said.len()
            && before.iter().zip(&self.said).all(|(before, now)| before.slot == now.slot);
        if !same_places || !self.known {
            former.all = true;
            former.references = std::mem::take(&mut self.references);
            former.templates = std::mem::take(&mut self.templates);
            self.unmarked.extend(std::mem::take(&mut self.markers).into_keys());
            references.iter().for_each(|reference| self.add(Slot::of(reference), reference));
            return former;
        }
        let changed = before.iter().zip(&self.said).filter(|(before, now)| before != now);
        let changed: BTreeSet<u64> = changed.map(|(_, now)| now.slot).collect();
        for place in changed {
            let here = references.iter().zip(&self.said).filter(|(_, line)| line.slot == place);
            let here: Vec<&GitReference> = here.map(|(reference, _)| reference).collect();
            let Some(slot) = here.first().map(|first| Slot::of(first)) else { continue };
            let images = self.references.remove(&slot).unwrap_or_default();
            for image in &images {
                let place = (slot.clone(), image.clone());
                if self.markers.remove(&place).is_some() {
                    self.unmarked.push(place);
                }
            }
            former.templates.extend(self.templates.remove(&slot).map(|template| (slot.clone(), template)));
            here.into_iter().for_each(|reference| self.add(slot.clone(), reference));
            former.references.insert(slot, images);
        }
        former
    }

    fn add(&mut self, slot: Slot, reference: &GitReference) {
        if let Some(marker) = &reference.marker {
            let place = (slot.clone(), reference.image.clone());
            self.marked.push(place.clone());
            self.markers.insert(place, marker.clone());
        }
        if let Some(template) = reference.template {
            self.templates.insert(slot.clone(), template);
        }
        self.references.entry(slot).or_default().insert(reference.image.clone());
    }
}

impl Line {
    fn of(reference: &GitReference, hasher: &RandomState) -> Self {
        let GitReference { kind, name, namespace, container, image, marker, template, .. } = reference;
        // As `Slot::of` tells them apart.
        let slot = match (kind, name) {
            (Some(kind), Some(name)) if &**kind == "Kustomize" => hasher.hash_one((0, name)),
            (Some(kind), Some(name)) => hasher.hash_one((1, kind, name, namespace, container)),
            _ => hasher.hash_one((2, &image.repository, marker)),
        };
        Self { slot, whole: hasher.hash_one((slot, image, marker, template)) }
    }
}
