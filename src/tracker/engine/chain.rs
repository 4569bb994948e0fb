//! The hands through which an image comes to a workload.

use super::{EngineState, Engines};
use crate::image::Repository;
use crate::observation::{EngineKey, EngineKind};
use crate::tracker::workload::{HoldSpan, WorkloadState};

/// See the file's front line. Who is not known is nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chain<'a> {
    pub scan: Option<&'a EngineState>,
    pub policy: Option<&'a EngineState>,
    pub updater: Option<&'a EngineState>,
    pub source: Option<&'a EngineState>,
    pub applier: Option<&'a EngineState>,
}

/// One hand of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hand {
    Scan,
    Policy,
    Updater,
    Source,
    Applier,
}

impl Engines {
    /// Who brings images of a repository to a workload. `marker` is what stands in git on the field that sets its image:
    /// `namespace:name` of a policy.
    #[must_use]
    pub fn chain(
        &self,
        workload: &WorkloadState,
        repository: Option<&Repository>,
        marker: Option<&str>,
    ) -> Chain<'_> {
        if self.is_empty() {
            return Chain::default();
        }
        let applier = self.applier_of(workload);
        let source = applier.and_then(|applier| self.source_of(applier));
        let updater = source.and_then(|source| self.get(self.links.updater(&source.now.key)?));
        let policy = match marker.and_then(|marker| marker.split_once(':')) {
            Some((namespace, name)) => self.get(&EngineKey {
                kind: EngineKind::ImagePolicy,
                namespace: namespace.into(),
                name: name.into(),
            }),
            None => repository.and_then(|repository| self.only_policy(repository)),
        };
        let scan = policy.and_then(|policy| self.scan_of(policy));
        Chain { scan, policy, updater, source, applier }
    }

    /// The inventory proves who applies; a label says who made it, and is as good where no inventory lists it.
    fn applier_of(&self, workload: &WorkloadState) -> Option<&EngineState> {
        let listed = self.applied_by.get(&workload.now.key).into_iter().flatten();
        // What a Kustomization made of a HelmRelease the release lists itself.
        let listed = listed.max_by_key(|key| key.kind == EngineKind::HelmRelease);
        if let Some(key) = listed {
            return self.get(key);
        }
        let (engine, namespace, name) = workload.now.applier.as_ref()?;
        let kinds = [EngineKind::HelmRelease, EngineKind::Kustomization];
        let mut named = kinds.into_iter().filter(|kind| kind.engine() == &**engine).map(|kind| EngineKey {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
        });
        named.find_map(|key| self.get(&key))
    }

    /// Where no marker tells: the policy, if there is but one for this repository.
    fn only_policy(&self, repository: &Repository) -> Option<&EngineState> {
        self.get(self.links.only_policy(repository)?)
    }
}

impl<'a> Chain<'a> {
    /// Whether an engine brings anything here.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.applier.is_some()
    }

    /// When any of its hands was suspended.
    pub fn suspended(&self) -> impl Iterator<Item = &'a HoldSpan> + use<'a> {
        self.hands().flat_map(|(_, state)| &state.suspended)
    }

    /// Its hands in the order in which an image passes them.
    fn hands(&self) -> impl Iterator<Item = (Hand, &'a EngineState)> + use<'a> {
        let hands = [
            (Hand::Scan, self.scan),
            (Hand::Policy, self.policy),
            (Hand::Updater, self.updater),
            (Hand::Source, self.source),
            (Hand::Applier, self.applier),
        ];
        hands.into_iter().filter_map(|(hand, state)| Some((hand, state?)))
    }
}
