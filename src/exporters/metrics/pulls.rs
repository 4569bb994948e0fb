//! Image pulls whose app is not known yet: the next scrape's snapshot knows the app of a pod that is new now.

use std::collections::HashMap;
use std::sync::Arc;

use super::place;
use crate::exporters::Snapshot;

/// Pulls that wait for a scrape. Where nobody scrapes, the rest is counted by what was known last.
const PULLS_MAX: usize = 2000;

/// Kept under one lock that is never held for long.
#[derive(Debug, Default)]
pub struct Pulls {
    waiting: Vec<Pull>,
    pub workloads: Arc<Workloads>,
}

/// A pull of one pod.
#[derive(Debug)]
pub struct Pull {
    /// Cluster, namespace and pod.
    pub place: [Box<str>; 3],
    pub seconds: f64,
    pub bytes: Option<u64>,
}

/// Workloads by cluster and namespace, for what is told about pods only.
#[derive(Debug, Default)]
pub struct Workloads(HashMap<[Box<str>; 2], Vec<NamedWorkload>>);

#[derive(Debug)]
struct NamedWorkload {
    name: Box<str>,
    app: Box<str>,
}

impl Pulls {
    /// Keeps a pull until the next scrape, or gives it back where too many wait.
    pub fn remember(&mut self, pull: Pull) -> Option<Pull> {
        if self.waiting.len() >= PULLS_MAX {
            return Some(pull);
        }
        self.waiting.push(pull);
        None
    }

    /// The pulls that waited.
    pub fn take(&mut self) -> Vec<Pull> {
        std::mem::take(&mut self.waiting)
    }
}

impl Workloads {
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut workloads: HashMap<_, Vec<NamedWorkload>> = HashMap::new();
        for status in &snapshot.destinations {
            let [cluster, _, namespace, app] = place(&status.destination);
            let named =
                NamedWorkload { name: Box::from(&*status.destination.workload.name), app: Box::from(app) };
            workloads.entry([Box::from(cluster), Box::from(namespace)]).or_default().push(named);
        }
        Self(workloads)
    }

    /// A pod's app by its name: controllers put the workload's name in front. The longest name wins.
    pub fn app_of(&self, pull: &Pull) -> &str {
        let [cluster, namespace, pod] = &pull.place;
        let here = self.0.get(&[cluster.clone(), namespace.clone()]).into_iter().flatten();
        let its = here
            .filter(|workload| pod.strip_prefix(&*workload.name).is_some_and(|rest| rest.starts_with('-')));
        its.max_by_key(|workload| workload.name.len()).map_or("unknown", |workload| &*workload.app)
    }
}
