//! How the journal is, for `/readyz` and the metrics.

use serde::Serialize;

use super::Position;

/// Whether what is observed becomes durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum State {
    Ok,
    /// Observations stay in memory for now, and why.
    Degraded(String),
    /// No journal is configured.
    Off,
}

impl State {
    /// The word used in labels and in the body of `/readyz`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded(_) => "degraded",
            Self::Off => "off",
        }
    }
}

/// The journal at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    #[serde(flatten)]
    pub state: State,
    /// After the last observation handed over.
    pub position: Position,
    /// Everything before it is on disk.
    pub durable: Position,
    /// Observations handed over that are not on disk yet.
    pub queued: u64,
    /// Observations that never will be.
    pub dropped: u64,
    /// Observations on disk.
    pub stored: u64,
    /// Bytes of the file.
    pub bytes_on_disk: u64,
    /// How long the last commit took.
    pub last_commit_seconds: Option<f64>,
    pub commits: u64,
    /// Observations that compaction dropped since the start.
    pub compacted: u64,
    /// Where the last durable checkpoint stands.
    pub checkpoint: Option<Position>,
    /// Something was lost: a checkpoint of the present state would make that good.
    pub wants_checkpoint: bool,
    /// How often the file was found damaged and begun anew, since the start.
    pub rebuilt: u64,
}

impl Status {
    /// Without a journal.
    #[must_use]
    pub fn off() -> Self {
        Self {
            state: State::Off,
            position: Position(0),
            durable: Position(0),
            queued: 0,
            dropped: 0,
            stored: 0,
            bytes_on_disk: 0,
            last_commit_seconds: None,
            commits: 0,
            compacted: 0,
            checkpoint: None,
            wants_checkpoint: false,
            rebuilt: 0,
        }
    }
}
