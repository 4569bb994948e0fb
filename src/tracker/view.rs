//! A journey as the API, the demo and the command line show it.

use serde::Serialize;

use super::journey::{CommitRef, Journey, Who};
use super::sample::Sample;
use super::stage::{Stage, StageState};
use crate::observation::Time;

/// The JSON form of a journey. Field names are part of the API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JourneyView {
    pub id: String,
    pub subject: &'static str,
    /// As the desire names it.
    pub image: String,
    /// Root digest, where it is known.
    pub digest: Option<String>,
    /// Of a revision that changes nothing but the number of replicas: to how many.
    pub replicas: Option<i64>,
    /// `cluster/namespace/kind/workload/container`.
    pub destination: String,
    pub cluster: String,
    pub namespace: String,
    pub workload: String,
    pub container: String,
    pub app: String,
    pub environment: String,
    /// To whom the destination belongs, where labels say so.
    pub team: Option<String>,
    pub tier: Option<String>,
    pub trigger: &'static str,
    /// Absent while the journey is open.
    pub outcome: Option<&'static str>,
    pub settled: bool,
    pub stages: Vec<StageView>,
    /// From push to live, held time left out.
    pub image_to_live_seconds: Option<f64>,
    /// Plus or minus this much.
    pub image_to_live_uncertainty_seconds: Option<f64>,
    /// From the intent (commit or template change) to live, held time left out.
    pub change_to_live_seconds: Option<f64>,
    pub change_to_live_uncertainty_seconds: Option<f64>,
    pub held_seconds: f64,
    pub held: Option<HeldView>,
    pub stuck: Option<StuckView>,
    /// Who holds it, or keeps it stuck, where an object says so.
    pub who: Option<Who>,
    /// The source that must be fresh before anything can be said.
    pub blind: Option<String>,
    pub commit: Option<CommitRef>,
    /// Why no commit is known for it, where one may be out of sight.
    pub commit_unseen: Option<Who>,
    pub built_from: Option<String>,
    pub opened: Time,
    pub ended: Option<Time>,
}

/// One stage: `state` is `known`, `unknown` or `skipped`; the rest is set where it is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageView {
    pub stage: Stage,
    pub state: &'static str,
    /// `null` in a known stage: it was so at start-up, nobody knows since when.
    pub not_before: Option<Time>,
    pub not_after: Option<Time>,
    pub basis: Option<&'static str>,
}

/// Why it waits by choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldView {
    pub hold: &'static str,
    pub since: Time,
    pub until: Option<Time>,
}

/// Why it is stuck.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StuckView {
    pub stage: Stage,
    pub reason: &'static str,
    pub since: Time,
    pub sentence: &'static str,
    /// When that was last told, where nobody says it any more and what mends it may be under way.
    pub kept: Option<Time>,
}

impl From<&Journey> for JourneyView {
    fn from(journey: &Journey) -> Self {
        let to_live = journey.image_to_live().filter(|sample| sample.is_certain());
        let change = journey.change_to_live().filter(|sample| sample.is_certain());
        let destination = &journey.destination;
        Self {
            id: journey.id.to_string(),
            subject: journey.subject.as_str(),
            image: journey.image.to_string(),
            digest: journey.digest.as_ref().map(ToString::to_string),
            replicas: journey.replicas,
            destination: destination.to_string(),
            cluster: destination.cluster.to_string(),
            namespace: destination.workload.namespace.to_string(),
            workload: format!("{}/{}", destination.workload.kind.as_str(), destination.workload.name),
            container: destination.container.to_string(),
            app: destination.app.to_string(),
            environment: destination.environment.to_string(),
            team: None,
            tier: None,
            trigger: journey.trigger.as_str(),
            outcome: journey.outcome.map(super::journey::Outcome::as_str),
            settled: journey.settled,
            stages: Stage::ALL.into_iter().map(|stage| stage_view(journey, stage)).collect(),
            image_to_live_seconds: to_live.map(rounded),
            image_to_live_uncertainty_seconds: to_live.map(|sample| millis(sample.uncertainty_seconds)),
            change_to_live_seconds: change.map(rounded),
            change_to_live_uncertainty_seconds: change.map(|sample| millis(sample.uncertainty_seconds)),
            held_seconds: journey.held_seconds,
            held: journey.held.map(|held| HeldView {
                hold: held.hold.as_str(),
                since: held.since,
                until: held.until,
            }),
            stuck: journey.stuck.map(|stuck| StuckView {
                stage: stuck.stage,
                reason: stuck.reason.as_str(),
                since: stuck.since,
                sentence: journey.stuck_sentence(stuck.reason),
                kept: stuck.kept,
            }),
            who: journey.who.clone(),
            blind: journey.blind.as_ref().map(ToString::to_string),
            commit: journey.commit.clone(),
            commit_unseen: journey.commit_unseen.clone(),
            built_from: journey.built_from.as_ref().map(ToString::to_string),
            opened: journey.opened.not_after,
            ended: journey.ended.map(|ended| ended.not_after),
        }
    }
}

/// Milliseconds are the finest that any source says.
fn rounded(sample: Sample) -> f64 {
    millis(sample.seconds)
}

fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn stage_view(journey: &Journey, stage: Stage) -> StageView {
    match journey.stages.state(stage) {
        StageState::Unknown => StageView::without_time(stage, "unknown"),
        StageState::Skipped => StageView::without_time(stage, "skipped"),
        StageState::Known(evidence) => StageView {
            stage,
            state: "known",
            not_before: Some(evidence.interval.not_before).filter(|at| at.is_known()),
            not_after: Some(evidence.interval.not_after).filter(|at| at.is_known()),
            basis: Some(evidence.basis.as_str()),
        },
    }
}

impl StageView {
    fn without_time(stage: Stage, state: &'static str) -> Self {
        Self { stage, state, not_before: None, not_after: None, basis: None }
    }
}
