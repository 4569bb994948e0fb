//! What a commit asks of a workload beside another image, and what of that its cluster took.

use super::git::{Change, Slot};
use super::history::History;
use super::legs::Inputs;
use super::scale::Asked;
use super::stage::Evidence;
use crate::observation::Interval;

/// What one commit changed for a workload beside its images.
pub struct Revised<'a> {
    pub changes: Vec<&'a Change>,
    /// It also brings another image: then it is that image's, and only tells that an older number of pods is over.
    pub of_an_image: bool,
}

/// The commits that revise a workload, oldest first.
#[must_use]
pub fn commits<'a>(inputs: &Inputs<'a>) -> Vec<Revised<'a>> {
    if !inputs.changes.iter().any(|change| change.revision) {
        return Vec::new();
    }
    let history = History::of(inputs);
    let same = |left: &Change, right: &Change| left.commit == right.commit && left.at == right.at;
    let of_an_image = |change: &Change| {
        inputs.changes.iter().any(|other| !other.revision && other.at_tip && same(other, change))
    };
    let mut commits: Vec<Revised<'a>> = Vec::new();
    for change in inputs.changes.iter().copied().filter(|change| change.revision) {
        if !history.covers_commit(change) {
            continue;
        }
        let beside = change.slot.is_config_map() || change.slot.is_scale();
        let of_an_image = beside && of_an_image(change);
        if of_an_image && !change.slot.is_scale() {
            continue;
        }
        match commits.last_mut().filter(|last| same(last.changes[0], change)) {
            Some(last) => last.changes.push(change),
            None => commits.push(Revised { changes: vec![change], of_an_image }),
        }
    }
    commits
}

/// When the last of the ConfigMaps was written after their commit; `None` while one is not.
fn written(changes: &[&Change], next: Option<Interval>, inputs: &Inputs<'_>) -> Option<Evidence> {
    let namespace = &inputs.workload.now.key.namespace;
    let mut last: Option<Evidence> = None;
    for change in changes {
        let Slot::ConfigMap { name, .. } = &change.slot else { continue };
        let write = inputs.config_maps?.written(namespace, name, change.at.interval, next)?;
        if last.is_none_or(|last| last.interval.not_after < write.interval.not_after) {
            last = Some(write);
        }
    }
    last
}

/// What one commit asks of a workload.
pub struct Asks<'a> {
    /// The change that names it best.
    pub change: &'a Change,
    config_maps: Vec<&'a Change>,
    /// A template, or the name of a ConfigMap in it, is another one.
    pub rolls: bool,
    pub config_only: bool,
    /// Another number of pods. Where a template is another one, too, its rollout is to that number.
    pub scale: Option<Asked>,
}

impl<'a> Asks<'a> {
    /// `None` where it asks nothing: the workload has that number of pods already, or an autoscaler decides it.
    #[must_use]
    pub fn of(
        changes: &[&'a Change],
        next: Option<Interval>,
        scaled: Option<usize>,
        inputs: &Inputs<'a>,
    ) -> Option<Self> {
        let workload = inputs.workload;
        let rolling = changes.iter().find(|change| !change.slot.is_followed() && !change.slot.is_scale());
        let config_maps = changes.iter().copied().filter(|change| change.slot.is_followed());
        let config_maps: Vec<&Change> = config_maps.collect();
        let scale = changes.iter().find_map(|change| {
            let span = (change.at.interval, next);
            let asked = workload.scales.asked(change.replicas?, span, scaled, workload.now.autoscaled);
            Some((*change, asked?))
        });
        let change = rolling.or(config_maps.first()).copied().or(scale.map(|(change, _)| change))?;
        let (rolls, config_only) = (rolling.is_some(), rolling.is_none() && !config_maps.is_empty());
        Some(Self { change, config_maps, rolls, config_only, scale: scale.map(|(_, asked)| asked) })
    }

    /// Index of the number of pods that the workload took by it.
    #[must_use]
    pub fn taken(&self) -> Option<usize> {
        if let Some(Asked::Taken(at)) = self.scale { Some(at) } else { None }
    }

    /// When the last of what nothing has to roll for was written; `None` while something is not.
    #[must_use]
    pub fn written(&self, next: Option<Interval>, inputs: &Inputs<'_>) -> Option<Evidence> {
        if self.rolls {
            return None;
        }
        let configured = match &*self.config_maps {
            [] => None,
            changes => Some(written(changes, next, inputs)?),
        };
        let scaled = match self.scale {
            None => None,
            Some(Asked::Open) => return None,
            Some(Asked::Taken(at)) => Some(inputs.workload.scales.0[at].changed),
        };
        configured.into_iter().chain(scaled).max_by_key(|at| at.interval.not_after)
    }
}
