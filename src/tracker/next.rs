//! What comes next for a journey under way, and until when nothing of it is late.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::journey::{Reason, Who};
use crate::observation::Time;

/// See the file's front line. Nothing of it is known where somebody holds it, or a source is out of sight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub turn: Option<Turn>,
    /// When the budget of its stage runs out.
    pub late_after: Option<Time>,
    /// What somebody says already of why it would be late: no verdict before it is.
    pub trouble: Option<(Reason, Who)>,
}

/// The turn of an object of the engine that takes it further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub does: Does,
    /// As kubectl takes it: `imagerepository/web -n flux-system`.
    pub object: Arc<str>,
    /// By its own interval; at once where it is told of what it waits for.
    pub by: Option<Time>,
    /// What must be ready first.
    pub after: Option<Arc<str>>,
}

/// What an object does in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Lists the tags.
    Scan,
    /// Writes to git.
    Commit,
    Fetch,
    Apply,
}

impl Does {
    /// The word used in sentences and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Commit => "commit",
            Self::Fetch => "fetch",
            Self::Apply => "apply",
        }
    }
}
