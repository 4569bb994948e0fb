//! The words of a reason or a hold as they fit one journey: by who says it, and which command looks closer.

use super::{Hold, Reason};
use crate::observation::EngineKind;
use crate::tracker::journey::Journey;

impl Journey {
    /// What keeps it stuck and where to look: of what a release lacks there is another sentence.
    #[must_use]
    pub fn stuck_sentence(&self, reason: Reason) -> &'static str {
        let row = reason.row();
        let object = self.who.as_ref().map_or("", |who| &*who.object);
        let is_of = |kind: &EngineKind| {
            object.split('/').next().is_some_and(|word| word.eq_ignore_ascii_case(kind.as_str()))
        };
        row.of_kinds
            .iter()
            .find(|(kinds, _)| kinds.iter().any(is_of))
            .map_or(row.sentence, |(_, other)| other)
    }

    /// Who chose to wait and how it goes on, where it is held so: of an object of the engine with the command that does it.
    #[must_use]
    pub fn hold_sentence(&self, hold: Hold) -> String {
        let row = hold.row();
        let (Some(sentence), Some(who)) = (row.of_engine, &self.who) else { return row.sentence.to_owned() };
        match resume(&who.object) {
            Some(command) => format!("{sentence}, or {command}"),
            None => sentence.to_owned(),
        }
    }

    /// The command that looks closer at what keeps it: of its reason, or of its hold. `None` where it is neither stuck
    /// nor held, or where no command of the cluster would show anything.
    #[must_use]
    pub fn next_command(&self) -> Option<String> {
        if !self.is_open() {
            return None;
        }
        let template = match (self.stuck, self.held) {
            (Some(stuck), _) => stuck.reason.row().command?,
            (None, Some(held)) => held.hold.row().command?,
            (None, None) => return None,
        };
        let workload = self.destination.workload.to_string();
        let object = self.who.as_ref().map_or(&*workload, |who| &*who.object);
        let filled = template.replace("{workload}", &workload).replace("{object}", object);
        let filled = filled.replace("{namespace}", &self.destination.workload.namespace);
        Some(filled.replace("{container}", &self.destination.container))
    }
}

/// `kustomization/web -n flux-system` as `flux resume` takes it.
fn resume(object: &str) -> Option<String> {
    let (kind, name) = object.split_once('/')?;
    let kind = EngineKind::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(kind))?;
    Some(format!("flux resume {} {name}", kind.resumed_as()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_resumed_by_what_flux_calls_it() {
        let resumed = |object: &str| resume(object).unwrap_or_default();
        assert_eq!(
            resumed("gitrepository/fleet -n flux-system"),
            "flux resume source git fleet -n flux-system"
        );
        assert_eq!(resumed("helmrelease/web -n apps"), "flux resume helmrelease web -n apps");
        assert_eq!(resumed("externalartifact/web -n apps") + &resumed("cronjob/web -n apps"), "");
    }
}
