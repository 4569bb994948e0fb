//! The pods of a workload's present template, counted as they come and go: a fact about one pod need not look at all
//! the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::by_name::ByName;
use super::pod_state::PodState;
use super::pods::Complaint;
use crate::image::Digest;
use crate::observation::TemplateHash;

/// See the file's front line.
#[derive(Debug, Clone)]
pub struct Tally {
    pub template: TemplateHash,
    /// Pods that are ready, not being deleted and not finished.
    pub ready: usize,
    /// Pods that say that they cannot go on.
    pub complaining: usize,
    /// How many of those pods, ready or not, run a digest in a container.
    digests: BTreeMap<Arc<str>, BTreeMap<Option<Digest>, usize>>,
}

impl Tally {
    /// No pods of a template.
    #[must_use]
    pub fn new(template: TemplateHash) -> Self {
        Self { template, ready: 0, complaining: 0, digests: BTreeMap::new() }
    }

    /// A pod came.
    pub fn add(&mut self, state: &PodState, template: Option<TemplateHash>) {
        if !self.counts(state, template) {
            return;
        }
        self.ready += usize::from(state.pod.ready.is_some());
        self.complaining += usize::from(!Complaint::of(&state.pod).is_none());
        for (name, (_, digest)) in state.digests.iter() {
            let of = match self.digests.get_mut(name) {
                Some(of) => of,
                None => self.digests.entry(name.clone()).or_default(),
            };
            *of.entry(digest.clone()).or_default() += 1;
        }
    }

    /// A pod went, as it was when it came.
    pub fn take(&mut self, state: &PodState, template: Option<TemplateHash>) {
        if !self.counts(state, template) {
            return;
        }
        self.ready = self.ready.saturating_sub(usize::from(state.pod.ready.is_some()));
        let complained = usize::from(!Complaint::of(&state.pod).is_none());
        self.complaining = self.complaining.saturating_sub(complained);
        for (name, (_, digest)) in state.digests.iter() {
            let Some(of) = self.digests.get_mut(name) else { continue };
            let left = of.get(digest).map_or(0, |count| count.saturating_sub(1));
            if left > 0 {
                of.insert(digest.clone(), left);
                continue;
            }
            of.remove(digest);
            if of.is_empty() {
                self.digests.remove(name);
            }
        }
    }

    /// Whether exactly these digests run.
    #[must_use]
    pub fn ran(&self, digests: &ByName<BTreeSet<Option<Digest>>>) -> bool {
        let mut pairs = self.digests.iter().zip(digests.iter());
        self.digests.len() == digests.len()
            && pairs.all(|((name, mine), (named, theirs))| name == named && mine.keys().eq(theirs))
    }

    /// The digests that run, per container.
    #[must_use]
    pub fn digests(&self) -> ByName<BTreeSet<Option<Digest>>> {
        self.digests.iter().map(|(name, of)| (name.clone(), of.keys().cloned().collect())).collect()
    }

    fn counts(&self, state: &PodState, template: Option<TemplateHash>) -> bool {
        template == Some(self.template) && !state.pod.deleting && !state.pod.finished
    }
}
