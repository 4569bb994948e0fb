//! Whom a journey waits for, where nobody says that it fails.

use super::Chain;
use super::verdict::who;
use crate::observation::ObjectKey;
use crate::tracker::journey::Who;
use crate::tracker::judge::Phase;
use crate::tracker::stage::{Stage, Stages};

impl Chain<'_> {
    /// The hand that is next, in these two phases.
    #[must_use]
    pub fn awaited(&self, phase: Phase, stages: &Stages) -> Option<Who> {
        let unknown = |stage| stages.evidence(stage).is_none();
        let hand = match phase {
            Phase::Commit => self.scan.filter(|_| unknown(Stage::Detected)).or(self.updater),
            Phase::Apply => self.source.filter(|_| unknown(Stage::Fetched)).or(self.applier),
            Phase::Roll => None,
        };
        hand.map(|hand| who(hand, ""))
    }

    /// The applier, where its health check ended in vain and names this workload.
    #[must_use]
    pub fn unhealthy(&self, workload: &ObjectKey) -> Option<Who> {
        let applier = self.applier?;
        let (says, _) = applier.failing.as_ref()?;
        let failed = matches!(&*says.reason, "HealthCheckFailed" | "InstallFailed" | "UpgradeFailed")
            && names(&says.message, workload);
        failed.then(|| who(applier, &says.message))
    }
}

/// Whether a message names a workload as `Deployment/prod/web`, whole.
fn names(message: &str, workload: &ObjectKey) -> bool {
    let name = format!("{}/{}/{}", workload.kind.as_str(), workload.namespace, workload.name);
    let message = message.to_lowercase();
    let part = |at: usize| {
        let after = message[at + name.len()..].chars().next();
        let before = message[..at].chars().next_back();
        let in_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | '_');
        !before.is_some_and(in_name) && !after.is_some_and(in_name)
    };
    message.match_indices(&name).any(|(at, _)| part(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::WorkloadKind;

    #[test]
    fn a_message_names_a_workload_whole_or_not_at_all() {
        let key = |name: &str| ObjectKey {
            kind: WorkloadKind::Deployment,
            namespace: "prod".into(),
            name: name.into(),
        };
        let message = "health check failed after 12s: timeout waiting for: [Deployment/prod/web-api status: 'InProgress']";
        assert!(names(message, &key("web-api")));
        assert!(!names(message, &key("web")) && !names(message, &key("api")));
    }
}
