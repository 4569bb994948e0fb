//! A cluster. Who owns what follows from its workloads, but for what these have forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::observation::ObjectKey;
use crate::tracker::cluster::{ClusterState, Waiting};
use crate::tracker::config_map::ConfigMaps;
use crate::tracker::engine::Engines;
use crate::tracker::maps::Map;
use crate::tracker::namespaces::Namespaces;
use crate::tracker::probes::Probes;
use crate::tracker::workload::WorkloadState;

/// As it is written. `owners` and `pods` hold what does not follow.
#[derive(Serialize)]
struct ClusterOut<'a> {
    name: &'a Option<Arc<str>>,
    workloads: BTreeMap<&'a ObjectKey, &'a WorkloadState>,
    orphans: &'a BTreeMap<Arc<str>, Waiting>,
    awaited: &'a BTreeMap<Arc<str>, Arc<str>>,
    config_maps: &'a ConfigMaps,
    engines: &'a Engines,
    probes: &'a Probes,
    namespaces: &'a Namespaces,
    owners: BTreeMap<&'a Arc<str>, &'a ObjectKey>,
    pods: BTreeMap<&'a Arc<str>, &'a ObjectKey>,
}

/// The same when it is read.
#[derive(Deserialize)]
struct ClusterIn {
    name: Option<Arc<str>>,
    workloads: Map<ObjectKey, WorkloadState>,
    orphans: BTreeMap<Arc<str>, Waiting>,
    awaited: BTreeMap<Arc<str>, Arc<str>>,
    config_maps: ConfigMaps,
    engines: Engines,
    probes: Probes,
    namespaces: Namespaces,
    owners: BTreeMap<Arc<str>, ObjectKey>,
    pods: BTreeMap<Arc<str>, ObjectKey>,
}

impl Serialize for ClusterState {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let out = ClusterOut {
            name: &self.name,
            workloads: self.workloads.iter().collect(),
            orphans: &self.orphans,
            awaited: &self.awaited,
            config_maps: &self.config_maps,
            engines: &self.engines,
            probes: &self.probes,
            namespaces: &self.namespaces,
            owners: surplus(&self.owners, owners(&self.workloads)),
            pods: surplus(&self.pods, pods(&self.workloads)),
        };
        out.serialize(to)
    }
}

impl<'de> Deserialize<'de> for ClusterState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let ClusterIn {
            name,
            workloads,
            orphans,
            awaited,
            config_maps,
            engines,
            probes,
            namespaces,
            owners: more_owners,
            pods: more_pods,
        } = ClusterIn::deserialize(from)?;
        let owners = index(owners(&workloads), more_owners);
        let pods = index(pods(&workloads), more_pods);
        Ok(Self { name, workloads, owners, orphans, awaited, pods, config_maps, engines, probes, namespaces })
    }
}

fn index<'a>(
    told: impl Iterator<Item = (&'a Arc<str>, &'a ObjectKey)> + Clone,
    more: BTreeMap<Arc<str>, ObjectKey>,
) -> Map<Arc<str>, ObjectKey> {
    let mut index = Map::default();
    index.reserve(told.clone().count() + more.len());
    index.extend(told.map(|(uid, key)| (uid.clone(), key.clone())));
    index.extend(more);
    index
}

/// What a map says beyond, or other than, what is told elsewhere.
fn surplus<'a>(
    map: &'a Map<Arc<str>, ObjectKey>,
    told: impl Iterator<Item = (&'a Arc<str>, &'a ObjectKey)>,
) -> BTreeMap<&'a Arc<str>, &'a ObjectKey> {
    let told: Map<&Arc<str>, &ObjectKey> = told.collect();
    map.iter().filter(|(uid, key)| told.get(uid) != Some(key)).collect()
}

fn owners(
    workloads: &Map<ObjectKey, WorkloadState>,
) -> impl Iterator<Item = (&Arc<str>, &ObjectKey)> + Clone {
    workloads.iter().flat_map(|(key, state)| {
        let uids = std::iter::once(&state.now.uid).chain(state.revisions.keys()).chain(state.jobs.keys());
        uids.map(move |uid| (uid, key))
    })
}

fn pods(workloads: &Map<ObjectKey, WorkloadState>) -> impl Iterator<Item = (&Arc<str>, &ObjectKey)> + Clone {
    workloads.iter().flat_map(|(key, state)| state.pods.keys().map(move |uid| (uid, key)))
}
