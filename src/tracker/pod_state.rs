//! What is remembered of one pod.

use super::by_name::ByName;
use super::renew::take_pod_over;
use crate::image::Digest;
use crate::observation::{Interval, Pod, Time};

/// Beyond its last status.
#[derive(Debug, Clone)]
pub struct PodState {
    pub pod: Pod,
    pub learned: Interval,
    /// When we first learned of it.
    pub since: Time,
    /// When we learned of the last start of a container, and of its readiness as it is now.
    pub told: (Time, Time),
    pub epoch: u64,
    /// Digest per container as first reported for the running container; later texts rewrite no history.
    pub digests: ByName<(Option<Time>, Option<Digest>)>,
}

impl PodState {
    /// A pod that nobody knew.
    #[must_use]
    pub fn new(pod: &Pod, learned: Interval, epoch: u64) -> Self {
        let since = learned.not_after;
        let (told, digests) = ((since, since), ByName::default());
        let mut state = Self { pod: pod.clone(), learned, since, told, epoch, digests };
        state.note_digests();
        state
    }

    /// It is so now.
    pub fn update(&mut self, pod: &Pod, learned: Interval, epoch: u64) {
        if last_start(&self.pod) != last_start(pod) {
            self.told.0 = learned.not_after;
        }
        if self.pod.ready != pod.ready {
            self.told.1 = learned.not_after;
        }
        take_pod_over(&mut self.pod, pod);
        (self.learned, self.epoch) = (learned, epoch);
        self.since = self.since.min(learned.not_after);
        self.note_digests();
    }

    fn note_digests(&mut self) {
        for container in &self.pod.containers {
            let first = self.digests.entry(&container.name, || (container.started, None));
            // A container started anew may run another digest; one that runs on cannot.
            let restarted = container.started.is_some() && first.0 != container.started;
            if restarted || first.1.is_none() {
                *first = (container.started.or(first.0), container.running.clone().or(first.1.take()));
            }
        }
    }
}

fn last_start(pod: &Pod) -> Option<Time> {
    pod.containers.iter().filter_map(|container| container.started).max()
}
