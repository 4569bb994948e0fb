//! Pods of which the kubelet said that a probe fails. It only ever says why something is stuck: the words come in
//! Events, which get lost, and good pods have one while they start.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Pods that are not ready are few; beyond it newcomers are stuck without these words.
const PODS_MAX: usize = 20_000;

/// What was said last, by the UID of the pod.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Probes(BTreeMap<Arc<str>, Arc<str>>);

impl Probes {
    /// A probe of a pod failed.
    pub fn failed(&mut self, pod: &Arc<str>, says: &Arc<str>) {
        if self.0.len() < PODS_MAX || self.0.contains_key(pod) {
            self.0.insert(pod.clone(), says.clone());
        }
    }

    /// It is ready, or gone.
    pub fn over(&mut self, pod: &str) {
        self.0.remove(pod);
    }

    /// What was said of a pod.
    #[must_use]
    pub fn of(&self, pod: &str) -> Option<&Arc<str>> {
        self.0.get(pod)
    }

    /// Forgets those of pods that nobody knows.
    pub fn retain(&mut self, known: impl Fn(&Arc<str>) -> bool) {
        self.0.retain(|pod, _| known(pod));
    }
}
