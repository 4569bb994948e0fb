//! What can go wrong in the demo world. A fault can be on from the start (`--fault NAME`) or be set and
//! cleared while the world runs. To add one: a variant, its line in [`Fault::ALL`], its name and sentence,
//! and one look at [`Faults::on`] in the part that misbehaves.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
}

/// A name that is no fault; the message lists those that are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a fault of the demo; take one of: {}", Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault {
    name: String,
}

impl Fault {
    /// Every fault, in the order in which they are listed to a person.
    pub const ALL: [Fault; 14] = [
        Fault::MissingTag,
        Fault::CrashLoop,
        Fault::NeverReady,
        Fault::SlowPull,
        Fault::UpdaterDown,
        Fault::ApplierDown,
        Fault::RegistryDown,
        Fault::RegistrySlow,
        Fault::RegistryThrottled,
        Fault::GitDown,
        Fault::WatchDrop,
        Fault::WatchExpired,
        Fault::Unschedulable,
        Fault::Quota,
    ];

    /// The name as the command line takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::MissingTag => "missing-tag",
            Fault::CrashLoop => "crash-loop",
            Fault::NeverReady => "never-ready",
            Fault::SlowPull => "slow-pull",
            Fault::UpdaterDown => "updater-down",
            Fault::ApplierDown => "applier-down",
            Fault::RegistryDown => "registry-down",
            Fault::RegistrySlow => "registry-slow",
            Fault::RegistryThrottled => "registry-throttled",
            Fault::GitDown => "git-down",
            Fault::WatchDrop => "watch-drop",
            Fault::WatchExpired => "watch-expired",
            Fault::Unschedulable => "unschedulable",
            Fault::Quota => "quota",
        }
    }

    /// What happens, in one line.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Fault::MissingTag => "the updater commits a tag that was never pushed: ErrImagePull",
            Fault::CrashLoop => "images pushed from now on exit with code 1: CrashLoopBackOff",
            Fault::NeverReady => "images pushed from now on run and never become ready",
            Fault::SlowPull => "the node takes 20 seconds longer to pull an image",
            Fault::UpdaterDown => "nobody looks for new tags, nothing is committed",
            Fault::ApplierDown => "nobody applies what git says",
            Fault::RegistryDown => "the registry answers 503 to everybody",
            Fault::RegistrySlow => "the registry takes 3 seconds for every answer",
            Fault::RegistryThrottled => {
                "the registry allows 6 requests a second and answers 429 with Retry-After to the rest"
            }
            Fault::GitDown => "the git server answers 503 to everybody",
            Fault::WatchDrop => "the Kubernetes API cuts every watch after 2 seconds",
            Fault::WatchExpired => "watches are cut after 2 seconds, and resuming one is refused with 410",
            Fault::Unschedulable => "the scheduler finds no node for new pods",
            Fault::Quota => "a quota forbids new pods: FailedCreate",
        }
    }

    fn bit(self) -> u32 {
        1 << (self as u32)
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
pub(super) struct Faults(Arc<AtomicU32>);

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
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        let wrong = "coffee-out".parse::<Fault>().unwrap_err().to_string();
        assert!(wrong.contains("registry-down"), "{wrong}");
    }

    #[test]
    fn faults_are_switched_one_by_one() {
        let faults = Faults::default();
        faults.set(Fault::Quota);
        faults.set(Fault::GitDown);
        faults.clear(Fault::Quota);
        assert!(faults.on(Fault::GitDown) && !faults.on(Fault::Quota));
    }
}
