//! Whether a reason is kept for a moment after the last one who told it: what mends it takes its way, and until that is
//! through a journey would be stuck for whatever each of its steps looks like, under another label each time.

use super::journey::{Reason, Stuck};
use crate::observation::Time;

/// A container has so long to be ready before Kubernetes' own defaults call its probe failed (three tries, ten seconds
/// apart), and Flux tries again within it what waited for another (`--requeue-dependency`).
pub const KEPT_MILLIS: i64 = 30_000;

/// What is told of a journey that is stuck as `now` says. `before` is what was told until now: of itself, or, where
/// `inherited`, of what came before it.
#[must_use]
pub fn told(now: Stuck, before: Option<Stuck>, inherited: bool, at: Time) -> Stuck {
    let Some(before) = before.filter(|before| before.reason != now.reason) else { return now };
    let last = before.kept.unwrap_or(at);
    // Pods of its own are new in any case; those that are not new are worth a word of their own.
    let are_new = inherited || before.kept.is_some();
    let (was, is) = (strength(before.reason), strength(now.reason));
    if at >= last + KEPT_MILLIS || was < is || (was == is && !are_new) || is == Strength::Named {
        return now;
    }
    Stuck { since: now.since, kept: Some(last), ..before }
}

/// How much a reason says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    /// Nobody says anything: it looks so with everything that is on its way, too.
    Unnamed,
    /// Somebody waited in vain. A good pod fails a probe while it starts, and what an applier or a controller says of time
    /// stands until all is well.
    Waited,
    /// What keeps it says so.
    Named,
}

fn strength(reason: Reason) -> Strength {
    use Reason as R;
    match reason {
        R::NotCommitted | R::NotApplied | R::NoPods | R::NotStarted | R::NotReady | R::Incomplete => {
            Strength::Unnamed
        }
        R::ProbeFailing | R::ProgressDeadline | R::HealthCheckFailing => Strength::Waited,
        R::ScanLate
        | R::ScanFailing
        | R::ListTruncated
        | R::AutomationFailing
        | R::AutomationRace
        | R::GitAuth
        | R::SourceFailing
        | R::BuildFailed
        | R::InvalidManifest
        | R::ApplyConflict
        | R::AdmissionDenied
        | R::Quota
        | R::DependencyNotReady
        | R::PullNotFound
        | R::PullDenied
        | R::PullRegistryDown
        | R::ImagePull
        | R::CrashLoop
        | R::CreateError
        | R::Unschedulable => Strength::Named,
    }
}
