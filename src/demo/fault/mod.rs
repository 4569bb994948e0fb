//! What can go wrong in the demo world. A fault can be on from the start (`--fault NAME`) or be set and
//! cleared while the world runs. To add one: a variant, its line in `table`, and either one look at
//! [`Faults::on`] in the part that misbehaves, or a deed of the meddler who does it through git and the API.

mod table;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::engine::Engine;
use table::TABLE;

/// One way in which the world misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    MissingTag,
    CrashLoop,
    NeverReady,
    SlowPull,
    UpdaterDown,
    ApplierDown,
    RegistryDown,
    RegistrySlow,
    RegistryThrottled,
    GitDown,
    WatchDrop,
    WatchExpired,
    Unschedulable,
    Quota,
    ScanLate,
    ScanFailing,
    ListTruncated,
    AutomationFailing,
    AutomationRace,
    GitAuth,
    SourceFailing,
    BuildFailed,
    InvalidManifest,
    ApplyConflict,
    AdmissionDenied,
    DependencyNotReady,
    ReadinessGate,
    ProgressDeadline,
    PullDenied,
    PullRegistryDown,
    ProbeFailing,
    ConfigNotRolled,
    SuspendedImageRepository,
    SuspendedAutomation,
    SuspendedSource,
    SuspendedKustomization,
    Paused,
    PolicyExcludes,
    ManualApproval,
    DiskFull,
    CreateError,
    ControllersDown,
    SlowRollout,
}

/// A name that is no fault; the message lists those that are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a fault of the demo; take one of: {}", Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault {
    name: String,
}

impl Fault {
    /// Every fault, in the order in which they are listed to a person.
    pub const ALL: [Fault; TABLE.len()] = {
        let mut all = [Fault::MissingTag; TABLE.len()];
        let mut at = 0;
        while at < TABLE.len() {
            all[at] = TABLE[at].fault;
            at += 1;
        }
        all
    };

    /// The name as the command line takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    /// What happens, in one line.
    #[must_use]
    pub fn describe(self) -> &'static str {
        TABLE[self as usize].sentence
    }

    /// Whether it can happen with this engine.
    #[must_use]
    pub fn applies_to(self, engine: Engine) -> bool {
        TABLE[self as usize].engines.contains(&engine)
    }

    fn bit(self) -> u64 {
        1 << (self as u64)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| UnknownFault { name: text.chars().take(40).collect() })
    }
}

/// The faults that are on at the moment, shared by every part of the world.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<AtomicU64>);

impl Faults {
    pub(super) fn set(&self, fault: Fault) {
        self.0.fetch_or(fault.bit(), Ordering::SeqCst);
    }

    pub(super) fn clear(&self, fault: Fault) {
        self.0.fetch_and(!fault.bit(), Ordering::SeqCst);
    }

    pub(super) fn on(&self, fault: Fault) -> bool {
        self.0.load(Ordering::SeqCst) & fault.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name() {
        for (at, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, at, "{fault} stands at its place in the table");
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        let wrong = "coffee-out".parse::<Fault>().unwrap_err().to_string();
        assert!(wrong.contains("registry-down"), "{wrong}");
    }

    #[test]
    fn faults_are_switched_one_by_one() {
        let faults = Faults::default();
        Fault::ALL.into_iter().for_each(|fault| faults.set(fault));
        faults.clear(Fault::Quota);
        let off: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !faults.on(*fault)).collect();
        assert_eq!(off, [Fault::Quota]);
    }
}
