//! The stages of a journey, and the evidence for each.

use serde::{Deserialize, Serialize};

use crate::observation::{Basis, Interval};

/// Where an image can be on its way, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Built,
    /// Present where the destination pulls from.
    Pushed,
    /// The updater's scan first contains it.
    Detected,
    /// On the deploy branch.
    Committed,
    /// The applier's artifact or sync revision names it.
    Fetched,
    /// The workload template carries it.
    Applied,
    /// First container running with it.
    Started,
    /// First pod ready with it.
    Ready,
    Live,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::Built,
        Self::Pushed,
        Self::Detected,
        Self::Committed,
        Self::Fetched,
        Self::Applied,
        Self::Started,
        Self::Ready,
        Self::Live,
    ];

    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Pushed => "pushed",
            Self::Detected => "detected",
            Self::Committed => "committed",
            Self::Fetched => "fetched",
            Self::Applied => "applied",
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Live => "live",
        }
    }
}

/// When a stage was reached, and how we know. The lower bound of what was there at start-up is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub interval: Interval,
    pub basis: Basis,
}

/// What is known of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StageState {
    /// Not seen yet, or not visible to us.
    #[default]
    Unknown,
    /// Does not exist on this path.
    Skipped,
    Known(Evidence),
}

/// The nine stages of one journey.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stages([StageState; 9]);

impl Stages {
    /// What is known of a stage.
    #[must_use]
    pub fn state(&self, stage: Stage) -> StageState {
        self.0[stage as usize]
    }

    /// The evidence of a stage, if it is known.
    #[must_use]
    pub fn evidence(&self, stage: Stage) -> Option<Evidence> {
        match self.state(stage) {
            StageState::Known(evidence) => Some(evidence),
            StageState::Unknown | StageState::Skipped => None,
        }
    }

    /// Sets what is known of a stage.
    pub fn set(&mut self, stage: Stage, state: StageState) {
        self.0[stage as usize] = state;
    }

    /// The last stage that is known, counting none before `pushed` as progress.
    #[must_use]
    pub fn reached(&self) -> Option<Stage> {
        Stage::ALL.into_iter().rev().find(|stage| self.evidence(*stage).is_some())
    }

    /// The stage directly before that is not skipped; `None` for the first.
    #[must_use]
    pub fn before(&self, stage: Stage) -> Option<Stage> {
        Stage::ALL[..stage as usize].iter().rev().copied().find(|s| self.state(*s) != StageState::Skipped)
    }

    /// The first stage after the last reached one that exists on this path: what the journey waits for.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Stage> {
        let next = self.reached().map_or(0, |stage| stage as usize + 1);
        Stage::ALL[next..].iter().copied().find(|s| self.state(*s) != StageState::Skipped)
    }
}
