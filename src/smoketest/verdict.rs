//! The judgement on a canary's journeys: pure, from what the API said.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::image::{Digest, ImageRef};
use crate::observation::{Interval, Time};

/// How a smoketest ended, and what it saw.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Absent only where not even a tag could be made up.
    pub image: Option<ImageRef>,
    pub digest: Option<Digest>,
    /// When the manifest was put, on our clock. Absent where nothing was pushed.
    pub pushed: Option<Interval>,
    #[serde(flatten)]
    pub conclusion: Conclusion,
    pub journeys: Vec<JourneySeen>,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Conclusion {
    /// Live wherever it had to be.
    Live,
    /// A journey ended otherwise.
    Ended { environment: String, destination: String, outcome: String },
    /// The time is up. One sentence per place that is still waited for.
    TimedOut { waiting: Vec<String> },
    /// Nothing was pushed, or nobody could say what became of it.
    CannotAsk { why: String },
}

/// A journey as the API shows it: the fields that a verdict needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JourneySeen {
    pub id: String,
    pub digest: Option<Digest>,
    pub environment: String,
    pub destination: String,
    /// Absent while the journey is open.
    pub outcome: Option<String>,
    pub stages: Vec<StageSeen>,
    #[serde(default)]
    pub held: Option<HeldSeen>,
    #[serde(default)]
    pub stuck: Option<StuckSeen>,
    #[serde(default)]
    pub blind: Option<String>,
}

/// One stage; `state` is `known`, `unknown` or `skipped`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSeen {
    pub stage: String,
    pub state: String,
    pub not_before: Option<Time>,
    pub not_after: Option<Time>,
    pub basis: Option<String>,
}

/// Why it waits by choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSeen {
    pub hold: String,
}

/// Why it is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckSeen {
    pub stage: String,
    pub reason: String,
    pub sentence: String,
}

impl Verdict {
    /// A verdict without a journey.
    pub(super) fn cannot_ask(image: Option<ImageRef>, why: String) -> Self {
        let conclusion = Conclusion::CannotAsk { why };
        Self { image, digest: None, pushed: None, conclusion, journeys: Vec::new() }
    }

    /// For scripts: 0 live, 1 ended otherwise, 2 timed out, 3 cannot ask.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.conclusion {
            Conclusion::Live => 0,
            Conclusion::Ended { .. } => 1,
            Conclusion::TimedOut { .. } => 2,
            Conclusion::CannotAsk { .. } => 3,
        }
    }
}

/// The conclusion, once there is one: live in every wanted environment, or ended otherwise in one of them.
/// Without wanted environments every journey counts, and there must be one.
#[must_use]
pub fn judge(environments: &[String], journeys: &[JourneySeen]) -> Option<Conclusion> {
    let counted: Vec<&JourneySeen> =
        journeys.iter().filter(|journey| is_wanted(environments, journey)).collect();
    let ended = |journey: &&&JourneySeen| journey.outcome.as_deref().is_some_and(|outcome| outcome != "live");
    if let Some(journey) = counted.iter().find(ended) {
        return Some(Conclusion::Ended {
            environment: journey.environment.clone(),
            destination: journey.destination.clone(),
            outcome: journey.outcome.clone().unwrap_or_default(),
        });
    }
    let all_live = counted.iter().all(|journey| journey.outcome.is_some());
    let everywhere =
        environments.iter().all(|name| counted.iter().any(|journey| journey.environment == *name));
    (!counted.is_empty() && all_live && everywhere).then_some(Conclusion::Live)
}

/// What is still waited for, a sentence each.
pub(super) fn waiting(environments: &[String], journeys: &[JourneySeen]) -> Vec<String> {
    let open =
        journeys.iter().filter(|journey| journey.outcome.is_none() && is_wanted(environments, journey));
    let mut sentences: Vec<String> = open.map(why_open).collect();
    let seen: BTreeSet<&str> = journeys.iter().map(|journey| journey.environment.as_str()).collect();
    let unseen = environments.iter().filter(|name| !seen.contains(name.as_str()));
    sentences.extend(
        unseen.map(|name| format!("{name}: no journey opened; does its update policy select this tag?")),
    );
    if sentences.is_empty() {
        sentences.push("no journey opened; does an update policy select this tag?".into());
    }
    sentences
}

fn why_open(journey: &JourneySeen) -> String {
    let at = format!("{}: {}", journey.environment, journey.destination);
    if let Some(stuck) = &journey.stuck {
        return format!("{at} is stuck before {}: {} ({})", stuck.stage, stuck.sentence, stuck.reason);
    }
    if let Some(held) = &journey.held {
        return format!("{at} is held: {}", held.hold);
    }
    if let Some(source) = &journey.blind {
        return format!("{at}: nothing is known, {source} is not fresh");
    }
    match journey.stages.iter().rev().find(|stage| stage.state == "known") {
        Some(stage) => format!("{at} is {}, and not live yet", stage.stage),
        None => format!("{at} has not moved yet"),
    }
}

fn is_wanted(environments: &[String], journey: &JourneySeen) -> bool {
    environments.is_empty() || environments.contains(&journey.environment)
}
