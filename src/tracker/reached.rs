//! When the image of a leg reached each stage, and how that is known.

use super::evidence::merge;
use super::journey::Destination;
use super::leg::{Leg, committed};
use super::legs::Inputs;
use super::stage::{Evidence, Stage, StageState, Stages};
use crate::observation::{Basis, Interval, Rules, Time, WorkloadKind};

/// The stages of a leg, before causes narrow their effects.
#[must_use]
pub fn stages(leg: &Leg<'_>, destination: &Destination, inputs: &Inputs<'_>, rules: &Rules) -> Stages {
    let mut stages = Stages::default();
    let mut know = |stage: Stage, evidence: Option<Evidence>| {
        if let Some(evidence) = evidence {
            stages.set(stage, StageState::Known(evidence));
        }
    };
    let digest = leg.digest;
    let pushed = digest.and_then(|digest| inputs.registries.presence(&leg.image.repository, digest));
    let built = digest
        .and_then(|digest| inputs.registries.claims(digest)?.created)
        .map(|created| Evidence { interval: built_at(created), basis: Basis::ImageCreated });
    know(Stage::Pushed, pushed);
    know(
        Stage::Built,
        built.filter(|built| {
            pushed.is_some_and(|pushed| built.interval.not_before <= pushed.interval.not_after)
        }),
    );
    let chain = inputs.chain(&leg.image.repository, leg.marker().map(|marker| &**marker));
    let landed = leg.commit.map(|change| (&change.commit, change.at.interval));
    let taken = leg.version.map(|version| inputs.workload.versions[version].ours);
    let passed = chain.passed(leg.image, pushed.map(|pushed| pushed.interval), landed, taken);
    // A scan lists tags: of one that moved here it tells nothing.
    let moved = digest.is_some_and(|digest| inputs.registries.moved_to(leg.image, digest));
    know(Stage::Detected, passed.detected.filter(|_| !moved));
    know(
        Stage::Committed,
        committed(leg).map(|seen| passed.committed.map_or(seen, |told| merge(told, seen).0)),
    );
    know(Stage::Fetched, passed.fetched);
    know(Stage::Applied, leg.version.map(|version| inputs.workload.versions[version].changed));
    know(Stage::Started, leg.first_start(inputs));
    let live = leg.live(inputs);
    know(Stage::Live, live);
    if inputs.workload.now.key.kind == WorkloadKind::CronJob {
        stages.set(Stage::Ready, StageState::Skipped);
    } else {
        know(Stage::Ready, leg.first_ready(inputs));
    }
    if passed.committed.is_none() && !is_before_the_rest(&stages, Stage::Detected) {
        // Somebody else committed it, perhaps before any scan had it: that scan caused nothing here.
        stages.set(Stage::Detected, StageState::Unknown);
    }
    if chain.source.is_none() {
        stages.set(Stage::Fetched, StageState::Skipped);
    }
    let path_known = rules.paths.iter().any(|path| path.environment == destination.environment);
    let without_git = chain.is_without_git() || (!path_known && !chain.is_known());
    if leg.commit.is_none() && without_git {
        stages.set(Stage::Committed, StageState::Skipped);
        stages.set(Stage::Detected, StageState::Skipped);
    }
    if live.is_some() {
        // Pods of that template ran before it was desired again: nothing had to start.
        for stage in [Stage::Started, Stage::Ready] {
            if stages.evidence(stage).is_none() {
                stages.set(stage, StageState::Skipped);
            }
        }
    }
    stages
}

/// Whether a stage came before the next known one, as far as both are seen by themselves.
fn is_before_the_rest(stages: &Stages, stage: Stage) -> bool {
    let later = Stage::ALL.into_iter().filter(|later| *later > stage);
    let Some(seen) = stages.evidence(stage).map(|seen| seen.interval) else { return true };
    let Some(next) = later.filter_map(|later| stages.evidence(later)).next() else { return true };
    seen.not_before <= next.interval.not_before && seen.not_after <= next.interval.not_after
}

/// A claimed time without a fraction was cut to its second.
fn built_at(created: Time) -> Interval {
    if created.0 % 1000 == 0 { Interval::second(created) } else { Interval::at(created) }
}
