//! What `why` should say of each fault of the demo: the one place where the demo's world and the tracker's words meet.
//!
//! `demo --list-faults` prints it, `docs/reasons.md` is written from it, and tests start each fault and compare it with
//! what `why` really says. A new fault gets a line here.

use crate::demo::{Engine, Fault};
use crate::http::CONFIG_NOT_ROLLED;
use crate::tracker::{Hold, Reason};

/// What `why` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It is stuck for this reason.
    Stuck(Reason),
    /// It is held.
    Held(Hold),
    /// Our own look at this source fails, too: nothing can be said.
    Blind(&'static str),
    /// The policy does not take it: it is on its way nowhere.
    NotSelected,
    /// It is live, and its pods run with what a ConfigMap held before.
    NotRolled,
    /// It only takes longer.
    Arrives,
}

impl Says {
    /// The words to compare with.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::Stuck(reason) => reason.sentence().to_owned(),
            // Every fault of the demo that suspends something suspends an object of the engine.
            Self::Held(hold) => hold.row().of_engine.unwrap_or(hold.sentence()).to_owned(),
            Self::Blind(source) => {
                format!("nothing can be said of what waits for it: our own look at the {source} fails")
            }
            Self::NotSelected => "no policy selects it".to_owned(),
            Self::NotRolled => CONFIG_NOT_ROLLED.to_owned(),
            Self::Arrives => "it is on its way: nothing is stuck".to_owned(),
        }
    }
}

/// What `why` should say of what is on its way to prod, with this engine; `None` where the fault does not exist there.
#[must_use]
pub fn says(fault: Fault, engine: Engine) -> Option<Says> {
    let (_, plain, flux) = TABLE[fault as usize];
    match engine {
        Engine::Plain => plain,
        Engine::Flux => flux,
    }
}

/// For a person: the same with both engines in one line, else a line for each.
#[must_use]
pub fn lines(fault: Fault) -> Vec<String> {
    match (says(fault, Engine::Plain), says(fault, Engine::Flux)) {
        (plain, flux) if plain == flux || plain.is_none() => {
            flux.iter().map(|says| format!("why: {}", says.sentence())).collect()
        }
        (plain, flux) => {
            let of =
                |engine: Engine, says: Option<Says>| Some(format!("why ({engine}): {}", says?.sentence()));
            of(Engine::Plain, plain).into_iter().chain(of(Engine::Flux, flux)).collect()
        }
    }
}

type Row = (Fault, Option<Says>, Option<Says>);

const fn stuck(fault: Fault, reason: Reason) -> Row {
    (fault, Some(Says::Stuck(reason)), Some(Says::Stuck(reason)))
}

/// Without an engine no object says why; with Flux one does.
const fn told(fault: Fault, plain: Reason, flux: Reason) -> Row {
    (fault, Some(Says::Stuck(plain)), Some(Says::Stuck(flux)))
}

const fn both(fault: Fault, says: Says) -> Row {
    (fault, Some(says), Some(says))
}

const fn flux(fault: Fault, says: Says) -> Row {
    (fault, None, Some(says))
}

/// In the order of [`Fault`].
const TABLE: [Row; Fault::ALL.len()] = {
    use Reason as R;
    [
        stuck(Fault::MissingTag, R::PullNotFound),
        stuck(Fault::CrashLoop, R::CrashLoop),
        stuck(Fault::NeverReady, R::ProbeFailing),
        stuck(Fault::SlowPull, R::NotStarted),
        told(Fault::UpdaterDown, R::NotCommitted, R::AutomationFailing),
        stuck(Fault::ApplierDown, R::NotApplied),
        both(Fault::RegistryDown, Says::Blind("registry")),
        both(Fault::RegistrySlow, Says::Arrives),
        both(Fault::RegistryThrottled, Says::Arrives),
        both(Fault::GitDown, Says::Blind("git host")),
        both(Fault::WatchDrop, Says::Arrives),
        both(Fault::WatchExpired, Says::Arrives),
        stuck(Fault::Unschedulable, R::Unschedulable),
        stuck(Fault::Quota, R::Quota),
        flux(Fault::ScanLate, Says::Stuck(R::ScanLate)),
        told(Fault::ScanFailing, R::NotCommitted, R::ScanFailing),
        told(Fault::ListTruncated, R::NotCommitted, R::ListTruncated),
        told(Fault::AutomationFailing, R::NotCommitted, R::GitAuth),
        told(Fault::AutomationRace, R::NotCommitted, R::AutomationRace),
        told(Fault::GitAuth, R::NotApplied, R::GitAuth),
        told(Fault::SourceFailing, R::NotApplied, R::SourceFailing),
        flux(Fault::BuildFailed, Says::Stuck(R::BuildFailed)),
        told(Fault::InvalidManifest, R::NotApplied, R::InvalidManifest),
        told(Fault::ApplyConflict, R::NotApplied, R::ApplyConflict),
        told(Fault::AdmissionDenied, R::NotApplied, R::AdmissionDenied),
        flux(Fault::DependencyNotReady, Says::Stuck(R::DependencyNotReady)),
        told(Fault::ReadinessGate, R::NotReady, R::HealthCheckFailing),
        stuck(Fault::ProgressDeadline, R::ProgressDeadline),
        stuck(Fault::PullDenied, R::PullDenied),
        stuck(Fault::PullRegistryDown, R::PullRegistryDown),
        stuck(Fault::ProbeFailing, R::ProbeFailing),
        both(Fault::ConfigNotRolled, Says::NotRolled),
        flux(Fault::SuspendedImageRepository, Says::Held(Hold::Suspended)),
        flux(Fault::SuspendedAutomation, Says::Held(Hold::Suspended)),
        flux(Fault::SuspendedSource, Says::Held(Hold::Suspended)),
        flux(Fault::SuspendedKustomization, Says::Held(Hold::Suspended)),
        both(Fault::Paused, Says::Held(Hold::Paused)),
        flux(Fault::PolicyExcludes, Says::NotSelected),
        flux(Fault::ManualApproval, Says::Held(Hold::ManualApproval)),
        stuck(Fault::DiskFull, R::ImagePull),
        stuck(Fault::CreateError, R::CreateError),
        stuck(Fault::ControllersDown, R::NoPods),
        told(Fault::SlowRollout, R::Incomplete, R::HealthCheckFailing),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_at_its_place_with_the_engines_it_has() {
        for (at, (fault, plain, flux)) in TABLE.iter().enumerate() {
            assert_eq!(*fault as usize, at, "{fault}");
            assert_eq!(plain.is_some(), fault.applies_to(Engine::Plain), "{fault}");
            assert_eq!(flux.is_some(), fault.applies_to(Engine::Flux), "{fault}");
        }
    }
}
