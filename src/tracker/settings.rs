//! What a level of a path sets besides images: the data of ConfigMaps, and how many pods workloads are to have.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::git::{Change, Slot, Tree, commit_ref};
use super::stage::Evidence;
use crate::observation::{Commit, GitConfigMap, GitScale, TreeNames};

/// What was set before a level.
#[derive(Debug)]
pub struct FormerSettings {
    config_maps: BTreeMap<Slot, BTreeSet<u64>>,
    scales: BTreeMap<Slot, BTreeSet<i64>>,
}

impl Tree {
    /// Takes the settings of a level; answers those of the one before.
    pub(super) fn read_settings(&mut self, names: &TreeNames) -> FormerSettings {
        let mut config_maps: BTreeMap<Slot, BTreeSet<u64>> = BTreeMap::new();
        for named in &names.config_maps {
            config_maps.entry(config_slot(named)).or_default().insert(named.data);
        }
        let mut scales: BTreeMap<Slot, BTreeSet<i64>> = BTreeMap::new();
        for named in &names.scales {
            scales.entry(scale_slot(named)).or_default().insert(named.replicas);
        }
        FormerSettings {
            config_maps: std::mem::replace(&mut self.config_maps, config_maps),
            scales: std::mem::replace(&mut self.scales, scales),
        }
    }

    /// Settings that are others than before.
    pub(super) fn compare_settings(
        &self,
        former: &FormerSettings,
        names: &TreeNames,
        at: Evidence,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (slot, data) in &self.config_maps {
            // One that comes or goes changes nothing that a container read.
            let changed = former.config_maps.get(slot).is_some_and(|former| is_another(former, data));
            if !changed {
                continue;
            }
            let brought = |commit: &&Commit| {
                let mut config_maps = commit.config_maps.iter();
                config_maps.any(|named| data.contains(&named.data) && config_slot(named) == *slot)
            };
            let commit = names.commits.iter().rev().find(brought);
            changes.push(self.setting(slot, commit, names, at));
        }
        for (slot, replicas) in &self.scales {
            let before = former.scales.get(slot);
            if replicas.len() != 1 || before.is_some_and(|before| !is_another(before, replicas)) {
                continue;
            }
            let brought = |commit: &&Commit| {
                let mut scales = commit.scales.iter();
                scales.any(|named| replicas.contains(&named.replicas) && scale_slot(named) == *slot)
            };
            let commit = names.commits.iter().rev().find(brought);
            // Where none was written before, only its commit tells that it is new and not merely read for the first time.
            if before.is_none() && commit.is_none() {
                continue;
            }
            let change = self.setting(slot, commit, names, at);
            let idle = !self.decides_scale(slot);
            changes.push(Change { replicas: replicas.first().copied(), idle, ..change });
        }
        changes.extend(self.left_to_manifests(former, names, at));
        changes
    }

    /// An entry of a kustomization is gone: what the manifest says counts again. Of several commits nobody can tell which
    /// took it away.
    fn left_to_manifests(&self, former: &FormerSettings, names: &TreeNames, at: Evidence) -> Vec<Change> {
        let [commit] = &names.commits[..] else { return Vec::new() };
        let mut changes = Vec::new();
        for gone in former.scales.keys().filter(|slot| !self.scales.contains_key(slot)) {
            let Slot::Scale { kind: None, name, .. } = gone else { continue };
            let left = self.scales.iter().filter(|(slot, replicas)| {
                let same = former.scales.get(slot) == Some(replicas);
                matches!(slot, Slot::Scale { kind: Some(_), name: of, .. } if of == name) && same
            });
            for (slot, replicas) in left.filter(|(_, replicas)| replicas.len() == 1) {
                let change = self.setting(slot, Some(commit), names, at);
                changes.push(Change { replicas: replicas.first().copied(), ..change });
            }
        }
        changes
    }

    fn setting(&self, slot: &Slot, commit: Option<&Commit>, names: &TreeNames, at: Evidence) -> Change {
        let change = self.change(slot, None, None, names, at);
        Change {
            commit: commit.map_or(change.commit, |commit| commit_ref(names, commit)),
            reverts: commit.is_some_and(|commit| commit.reverts.is_some()),
            revision: true,
            ..change
        }
    }

    /// Whether nothing else under the path decides how many pods there are: an entry of a kustomization wins over what
    /// the manifest says.
    pub(super) fn decides_scale(&self, slot: &Slot) -> bool {
        let Slot::Scale { kind: Some(_), name, .. } = slot else { return true };
        let entry = Slot::Scale { kind: None, name: name.clone(), namespace: None };
        !self.scales.contains_key(&entry)
    }
}

/// Puts the changes of one look in the order of their commits.
pub(super) fn in_order(changes: &mut [Change], names: &TreeNames) {
    if changes.len() < 2 || names.commits.len() < 2 {
        return;
    }
    let order: HashMap<&str, usize> =
        names.commits.iter().rev().enumerate().map(|(at, commit)| (&*commit.id, at)).collect();
    changes.sort_by_key(|change| order.get(&*change.commit.id).copied());
}

/// One became another one. Where the text cannot tell two of one name apart, nothing is certain.
fn is_another<T: Ord>(former: &BTreeSet<T>, now: &BTreeSet<T>) -> bool {
    former.len() == 1 && now.len() == 1 && former != now
}

fn config_slot(named: &GitConfigMap) -> Slot {
    let GitConfigMap { name, namespace, generated, .. } = named;
    Slot::ConfigMap { name: name.clone(), namespace: namespace.clone(), generated: *generated }
}

fn scale_slot(named: &GitScale) -> Slot {
    let GitScale { kind, name, namespace, .. } = named;
    Slot::Scale { kind: kind.clone(), name: name.clone(), namespace: namespace.clone() }
}
