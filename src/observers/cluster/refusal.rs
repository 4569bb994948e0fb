//! What a `Status` of the API server means for the next step. Pure: the loop asks and does.

use serde::Deserialize;

use super::object::or_default;
use crate::observation::LookFailure;

/// A refusal by the API server: the `Status` in an answer's body, or in an ERROR event of a watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// An HTTP status, also where it came in an event after a 200.
    pub code: u16,
    pub message: String,
    /// The server names a time to wait.
    pub retry_after_seconds: Option<u64>,
    /// It came as an event inside a 200, not as the answer.
    pub in_stream: bool,
    /// The server has not reached the version that was asked for: it was restored from a backup.
    pub version_too_large: bool,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A watch that begins with all objects.
    StreamingList,
    /// A list in pages.
    PagedList,
    /// A watch from a version.
    Watch,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// This server has no streaming lists: list in pages, here and for every other resource.
    FallBack,
    /// The version, or the list under way, is gone: begin a new look.
    ///
    /// A 410 on a page offers a token for the rest at a later version. It is not taken: no single version would
    /// describe such a list, so a watch after it would miss changes to its first part.
    Relist,
    /// The same again, soon.
    Again(LookFailure),
    /// The same again, seldom: somebody has to change something first.
    Rest(LookFailure),
}

impl Refusal {
    /// Reads the body of an answer that was no success.
    #[must_use]
    pub fn of_answer(code: u16, body: &[u8]) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        Self { code, in_stream: false, ..Self::from(status) }
    }

    /// Reads the object of an ERROR event.
    #[must_use]
    pub fn of_event(object: &str) -> Self {
        let status: Status = serde_json::from_str(object).unwrap_or_default();
        Self { in_stream: true, ..Self::from(status) }
    }

    /// Decides what to do after this refusal of this step.
    #[must_use]
    pub fn verdict(&self, step: Step) -> Verdict {
        match (self.code, step) {
            (410, _) => Verdict::Relist,
            // Asked again it would say the same until it has made as many versions as before, and skip them all.
            (504, Step::Watch) if self.version_too_large => Verdict::Relist,
            (401, _) => Verdict::Rest(LookFailure::Unauthorized),
            (403, _) => Verdict::Rest(LookFailure::Forbidden),
            (404, _) => Verdict::Rest(LookFailure::Missing),
            (429, _) => Verdict::Again(LookFailure::Throttled),
            // Old servers refuse the option, and one over an old etcd says 500 inside the stream.
            (400..=499, Step::StreamingList) => Verdict::FallBack,
            (500, Step::StreamingList) if self.in_stream => Verdict::FallBack,
            // A version that the server cannot read, once its own, is of no use to it any more.
            (400..=500, Step::Watch) => Verdict::Relist,
            (500..=599, Step::StreamingList | Step::PagedList) | (501..=599, Step::Watch) => {
                Verdict::Again(LookFailure::Server)
            }
            _ => Verdict::Again(LookFailure::Malformed),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    code: u16,
    #[serde(deserialize_with = "or_default")]
    message: String,
    #[serde(deserialize_with = "or_default")]
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    causes: Vec<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(deserialize_with = "or_default")]
    reason: String,
}

/// `k8s.io/apiserver/pkg/storage`: `NewTooLargeResourceVersionError`.
const VERSION_TOO_LARGE: &str = "ResourceVersionTooLarge";
/// A message is shown and logged: a hostile one must not flood either.
const MESSAGE_LENGTH_MAX: usize = 300;

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self {
            code: status.code,
            message: status.message.chars().take(MESSAGE_LENGTH_MAX).collect(),
            retry_after_seconds: status.details.retry_after_seconds,
            in_stream: false,
            version_too_large: status.details.causes.iter().any(|cause| cause.reason == VERSION_TOO_LARGE),
        }
    }
}
