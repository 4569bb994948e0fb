//! Whom a journey waits for, where nobody says that it fails.

use super::state::Said;
use super::verdict::who;
use super::{Chain, EngineState, What};
use crate::image::ImageRef;
use crate::observation::{ObjectKey, Role, Time};
use crate::tracker::journey::Who;
use crate::tracker::judge::Phase;
use crate::tracker::stage::{Stage, Stages};

impl Chain<'_> {
    /// The hand that is next, in these two phases.
    #[must_use]
    pub fn awaited(&self, phase: Phase, stages: &Stages) -> Option<Who> {
        self.next_hand(phase, stages).map(|hand| who(hand, ""))
    }

    pub(super) fn next_hand(&self, phase: Phase, stages: &Stages) -> Option<&EngineState> {
        let unknown = |stage| stages.evidence(stage).is_none();
        match phase {
            Phase::Commit => self.scan.filter(|_| unknown(Stage::Detected)).or(self.updater),
            Phase::Apply => self.source.filter(|_| unknown(Stage::Fetched)).or(self.applier),
            Phase::Roll => None,
        }
    }

    /// Since when an image is proposed on a branch that is not deployed, and by whom: what the updater pushed there since
    /// its policy had chosen it, holds it. What else was chosen with it comes in the same commit.
    #[must_use]
    pub fn proposed(&self, image: &ImageRef) -> Option<(Time, Who)> {
        let updater = self.updater?;
        let Role::Updater(role) = &updater.now.role else { return None };
        let deployed = role.branch.as_ref().or_else(|| match &self.source?.now.role {
            Role::Source(source) => source.branch.as_ref(),
            _ => None,
        });
        let branch = role.push_branch.as_ref().filter(|branch| Some(*branch) != deployed)?;
        let deeds = &self.policy?.deeds;
        let chosen = deeds.iter().rev().find(|deed| deed.selects(image));
        let chosen = chosen?.at.interval;
        let mut pushes = updater.deeds.iter().filter(|deed| matches!(deed.what, What::Pushed(_)));
        let pushed = pushes.find(|deed| deed.at.interval.not_after > chosen.not_after)?;
        Some((pushed.at.interval.not_after, who(updater, &format!("it pushed to {branch}"))))
    }

    /// The applier, where its health check ended in vain and names this workload. What it said before the template was
    /// `taken` was said of another one.
    #[must_use]
    pub fn unhealthy(&self, workload: &ObjectKey, taken: Option<Time>) -> Option<Who> {
        let applier = self.applier?;
        let (says, _) = applier.failing.as_ref()?;
        let of_another = |said: &Said| taken.is_some_and(|taken| said.at < taken);
        if applier.said.as_ref().is_some_and(of_another) {
            return None;
        }
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
