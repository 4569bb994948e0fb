//! The hands through which an image comes to a workload.

use super::{EngineState, Engines};
use crate::image::{ImageRef, Repository};
use crate::observation::{EngineKey, EngineKind, Role, Time};
use crate::tracker::journey::Journey;
use crate::tracker::stage::Stage;
use crate::tracker::taken::TakenBy;
use crate::tracker::workload::{HoldSpan, WorkloadState};

/// See the file's front line. Who is not known is nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chain<'a> {
    /// All there are, for those whom a hand waits for.
    pub(super) engines: Option<&'a Engines>,
    pub scan: Option<&'a EngineState>,
    pub policy: Option<&'a EngineState>,
    pub updater: Option<&'a EngineState>,
    /// Where the manifest that names the image is fetched from.
    pub source: Option<&'a EngineState>,
    /// Of a HelmRelease: the Kustomization that applies it.
    pub above: Option<&'a EngineState>,
    /// Of a HelmRelease: what its chart is made of, and the chart.
    pub chart: [Option<&'a EngineState>; 2],
    pub applier: Option<&'a EngineState>,
    /// Which commit came from which.
    pub(super) taken: Option<&'a TakenBy>,
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
        let release = applier.filter(|applier| applier.now.key.kind == EngineKind::HelmRelease);
        let above = release.and_then(|release| {
            let mut above = self.made_by.get(&release.now.key)?.iter();
            above.find_map(|key| self.get(key))
        });
        let source = above.or(applier).and_then(|applier| self.source_of(applier));
        let made_of = release.and_then(|release| self.source_of(release));
        let chart = release.and_then(|release| self.named_source(release));
        let chart = [made_of, chart.filter(|chart| made_of.is_some_and(|of| of.now.key != chart.now.key))];
        let policy = match marker.and_then(|marker| marker.split_once(':')) {
            Some((namespace, name)) => self.get(&EngineKey {
                kind: EngineKind::ImagePolicy,
                namespace: namespace.into(),
                name: name.into(),
            }),
            None => repository.and_then(|repository| self.only_policy(repository)),
        };
        let path = above.or(applier).and_then(|applier| applier.applier()?.path.as_deref());
        let sources = [source, made_of].into_iter().flatten();
        let updater = { sources }.find_map(|source| self.updater_of(source, policy, path));
        let scan = policy.and_then(|policy| self.scan_of(policy));
        Chain { engines: Some(self), scan, policy, updater, source, above, chart, applier, taken: None }
    }

    /// The HelmRelease that makes a workload.
    #[must_use]
    pub fn release_of(&self, workload: &WorkloadState) -> Option<&EngineState> {
        if self.is_empty() {
            return None;
        }
        self.applier_of(workload).filter(|applier| applier.now.key.kind == EngineKind::HelmRelease)
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

    /// Who pushes what a policy chose to a git repository, for what is applied from a path of it. It writes for the
    /// policies of its own namespace, under its own path.
    fn updater_of(
        &self,
        source: &EngineState,
        policy: Option<&EngineState>,
        applied: Option<&str>,
    ) -> Option<&EngineState> {
        let all = self.links.updaters(&source.now.key).filter_map(|key| self.get(key));
        let of_policy = |state: &&EngineState| {
            policy.is_none_or(|policy| policy.now.key.namespace == state.now.key.namespace)
        };
        let its: Vec<&EngineState> = all.filter(of_policy).collect();
        let meets = |state: &&&EngineState| match &state.now.role {
            Role::Updater(role) => meet(role.path.as_deref(), applied),
            _ => false,
        };
        // A base may lie beside what is applied: where no path tells, one is as good as the other.
        its.iter().find(meets).or(its.first()).copied()
    }

    /// Where no marker tells: the policy, if there is but one for this repository.
    fn only_policy(&self, repository: &Repository) -> Option<&EngineState> {
        self.get(self.links.only_policy(repository)?)
    }
}

impl<'a> Chain<'a> {
    /// The same, with what the branches took.
    #[must_use]
    pub fn with(self, taken: &'a TakenBy) -> Self {
        Self { taken: Some(taken), ..self }
    }

    /// Whether an engine brings anything here.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.applier.is_some()
    }

    /// Nobody commits on this way: the source is made elsewhere, and what is in it is not said by git. What an
    /// ExternalArtifact is made of its maker knows.
    #[must_use]
    pub fn is_without_git(&self) -> bool {
        let made_elsewhere = [EngineKind::OCIRepository, EngineKind::Bucket];
        self.source.is_some_and(|source| made_elsewhere.contains(&source.now.key.kind))
    }

    /// When a hand was suspended that it had yet to pass, or put another image in its place: where an entry of `images:`
    /// names it, that may be just what is on its way.
    #[must_use]
    pub fn holds(&self, journey: &Journey, by_images: bool, now: Time) -> Vec<(Time, Time)> {
        let known = |stage| journey.stages.evidence(stage).map(|at| at.interval);
        let committed = known(Stage::Committed);
        let commit = journey.commit.as_ref().zip(committed);
        let attempted = commit.and_then(|(commit, landed)| self.attempted(commit, landed));
        let hands = [
            (self.scan, known(Stage::Detected)),
            (self.policy, committed),
            (self.updater, committed),
            (self.source, known(Stage::Fetched)),
            (self.above, attempted.map(|at| at.interval)),
            (self.applier, known(Stage::Applied)),
        ];
        let mut holds = Vec::new();
        for (hand, passed) in hands.into_iter().filter_map(|(hand, passed)| Some((hand?, passed))) {
            let until = passed.map_or(now, |passed| passed.not_after);
            let spans = hand.suspended.iter().map(|span| (span.since, span.until.unwrap_or(now).min(until)));
            holds.extend(spans);
        }
        let overrides = self.overrides(&journey.image).filter(|_| !by_images);
        holds.extend(overrides.map(|(_, span)| (span.since, span.until.unwrap_or(now))));
        holds
    }

    /// What stands in the applier for another image than this one, and when.
    pub(super) fn overrides(&self, image: &ImageRef) -> impl Iterator<Item = (String, HoldSpan)> + use<'a> {
        let image = image.clone();
        // What a release makes a kustomization cannot change.
        let applier = self.applier.filter(|applier| applier.now.key.kind == EngineKind::Kustomization);
        let all = applier.into_iter().flat_map(|applier| &applier.overrides);
        all.filter_map(move |(put, span)| {
            let instead = put.instead_of(&image)?;
            Some((format!("spec.images sets {instead} in the place of {}", put.name), *span))
        })
    }
}

/// Whether one of two paths of a repository lies in the other, as they are written: `./clusters/prod`.
fn meet(left: Option<&str>, right: Option<&str>) -> bool {
    fn parts(path: Option<&str>) -> impl Iterator<Item = &str> {
        path.unwrap_or_default().split('/').filter(|part| !matches!(*part, "" | "."))
    }
    parts(left).zip(parts(right)).all(|(left, right)| left == right)
}

#[cfg(test)]
mod tests {
    use super::meet;

    #[test]
    fn paths_meet_where_one_lies_in_the_other() {
        assert!(meet(Some("./clusters/prod"), Some("clusters/prod/apps/")));
        assert!(meet(None, Some("prod")) && meet(Some("./"), Some("prod")));
        assert!(!meet(Some("./clusters/prod"), Some("./clusters/production")));
        assert!(!meet(Some("staging"), Some("prod")));
    }
}
