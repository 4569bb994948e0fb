//! What judging needs besides the book of a destination.

use std::sync::Arc;

use super::cluster::ClusterState;
use super::destination::DestinationKey;
use super::engine::Engines;
use super::probes::Probes;
use super::source::{ScopeId, Sources};
use super::taken::TakenBy;
use super::workload::WorkloadState;
use crate::observation::{EngineKind, Rules, Time};

/// What judging needs besides the book.
#[derive(Debug)]
pub struct Bench<'a> {
    pub now: Time,
    pub rules: &'a Rules,
    pub sources: &'a Sources,
    pub taken: &'a TakenBy,
    pub workload: Option<&'a WorkloadState>,
    /// Of its cluster.
    pub engines: Option<&'a Engines>,
    /// Of its cluster.
    pub probes: Option<&'a Probes>,
    pub needs: &'a Needs,
}

impl<'a> Bench<'a> {
    /// What judging a destination needs now; `cluster` is its own.
    #[must_use]
    pub fn new(
        now: Time,
        rules: &'a Rules,
        (sources, taken): (&'a Sources, &'a TakenBy),
        cluster: Option<&'a ClusterState>,
        key: &DestinationKey,
        needs: &'a Needs,
    ) -> Self {
        Self {
            now,
            rules,
            sources,
            taken,
            workload: cluster.and_then(|cluster| cluster.workloads.get(&key.workload)),
            engines: cluster.map(|cluster| &cluster.engines),
            probes: cluster.map(|cluster| &cluster.probes),
            needs,
        }
    }
}

/// The scopes that decide about a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Of the destination's cluster.
    pub cluster: [ScopeId; 3],
    /// Branches that set its environment.
    pub git: Arc<[ScopeId]>,
    /// The repository it pulls from.
    pub registry: Option<ScopeId>,
    /// ConfigMaps of its cluster.
    pub config_maps: ScopeId,
    /// The kinds of its cluster's engines. Which of them decide is said by the hands of a journey.
    pub engines: Arc<[(EngineKind, ScopeId)]>,
}

impl Needs {
    /// Whether a scope is among them.
    #[must_use]
    pub fn contain(&self, key: ScopeId) -> bool {
        let mut keys = self.cluster.iter().chain(&*self.git).chain(&self.registry);
        keys.any(|needed| *needed == key)
            || self.config_maps == key
            || self.engines.iter().any(|(_, scope)| *scope == key)
    }
}
