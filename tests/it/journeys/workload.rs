//! A workload as its controller keeps it: template, revisions, pods, and the status that follows from them.

use std::sync::Arc;

use knotmeter::observation::{
    ContainerSpec, Interval, Job, ObjectKey, Owner, Pod, PodContainer, Progress, Revision, Schedule,
    Strategy, TemplateHash, Time, Workload, WorkloadKind,
};

/// One workload, its revisions, and its pods.
#[derive(Debug, Clone)]
pub struct Running {
    pub is: Workload,
    pub revisions: Vec<Revision>,
    /// Index into `revisions` of the current template, absent while a paused Deployment has not made it.
    pub current: Option<usize>,
    pub previous: Option<usize>,
    pub pods: Vec<Made>,
    pub jobs: Vec<Job>,
    /// Containers of each revision, beside `revisions`.
    pub templates: Vec<Vec<ContainerSpec>>,
}

/// A pod and the revision it was made from; pods of Jobs have none.
#[derive(Debug, Clone)]
pub struct Made {
    pub pod: Pod,
    pub revision: Option<usize>,
    /// What the kubelet said of a failed probe.
    pub probe: Option<Arc<str>>,
}

impl Running {
    pub fn new(key: ObjectKey, uid: Arc<str>, replicas: i64, created: Time) -> Self {
        let is = Workload {
            key,
            uid,
            created: Some(created),
            generation: 0,
            observed_generation: 0,
            template: TemplateHash(0),
            containers: Vec::new(),
            template_written: None,
            replicas_written: None,
            autoscaled: false,
            replicas,
            status_replicas: 0,
            updated: 0,
            ready: 0,
            available: 0,
            progress: None,
            replica_failure: false,
            refused_by: None,
            refusal: None,
            paused: false,
            strategy: Strategy::Rolling { partition: 0 },
            current_revision: None,
            update_revision: None,
            schedule: None,
            app: None,
            environment: None,
            ignore: false,
            budget_committed_seconds: None,
            budget_applied_seconds: None,
            budget_live_seconds: None,
            owner: Owner::default(),
            config_maps: Vec::new(),
            applier: None,
        };
        Self {
            is,
            revisions: Vec::new(),
            current: None,
            previous: None,
            pods: Vec::new(),
            jobs: Vec::new(),
            templates: Vec::new(),
        }
    }

    pub fn kind(&self) -> WorkloadKind {
        self.is.key.kind
    }

    /// The spec's template is written. Whether it is another one than before.
    pub fn write_template(
        &mut self,
        containers: Vec<ContainerSpec>,
        salt: &str,
        by: &str,
        now: Time,
    ) -> bool {
        let hash = hash(&containers, salt);
        let changed = self.is.template != hash || self.is.generation == 0;
        if changed {
            self.is.template = hash;
            self.is.containers = containers;
            self.is.template_written = Some((Interval::second(now), by.into()));
            self.is.generation += 1;
        }
        changed
    }

    /// The controller has seen the spec: it makes a revision, or takes an old one again.
    pub fn reconcile(&mut self, now: Time) {
        self.is.observed_generation = self.is.generation;
        if self.kind() == WorkloadKind::CronJob || self.is.paused {
            return;
        }
        let current_is_right =
            self.current.is_some_and(|current| self.revisions[current].template == self.is.template);
        if !current_is_right {
            self.make_revision(now);
        }
        self.count(now);
    }

    fn make_revision(&mut self, now: Time) {
        let number = self.revisions.iter().map(|revision| revision.number).max().unwrap_or_default() + 1;
        let known = self.revisions.iter().position(|revision| revision.template == self.is.template);
        let at = known.unwrap_or(self.revisions.len());
        let short = format!("{:08x}", self.is.template.0 as u32);
        let name = format!("{}-{short}", self.is.key.name);
        if known.is_none() {
            let pod_hash = if self.kind() == WorkloadKind::StatefulSet { name.clone() } else { short };
            self.revisions.push(Revision {
                uid: format!("{}-rev-{name}", self.is.uid).into(),
                namespace: self.is.key.namespace.clone(),
                name: name.into(),
                owner: self.is.uid.clone(),
                template: self.is.template,
                pod_hash: pod_hash.into(),
                created: Some(now),
                number,
            });
            self.templates.push(self.is.containers.clone());
        } else {
            self.revisions[at].number = number;
        }
        (self.previous, self.current) = (self.current, Some(at));
        match self.kind() {
            WorkloadKind::Deployment => {
                let reason = if known.is_some() { "FoundNewReplicaSet" } else { "NewReplicaSetCreated" };
                self.set_progress(reason, now);
            }
            WorkloadKind::StatefulSet => {
                let name = self.revisions[at].name.clone();
                self.is.current_revision.get_or_insert(name.clone());
                self.is.update_revision = Some(name);
            }
            WorkloadKind::DaemonSet | WorkloadKind::CronJob => {}
        }
    }

    pub fn set_progress(&mut self, reason: &str, now: Time) {
        self.is.progress = Some(Progress { reason: reason.into(), last_update: Some(now) });
    }

    /// Counts pods into the status, as the controller of this kind does.
    pub fn count(&mut self, now: Time) {
        if self.kind() == WorkloadKind::CronJob {
            return;
        }
        let before = (self.is.updated, self.is.available);
        let alive = || self.pods.iter().filter(|made| !made.pod.deleting && !made.pod.finished);
        let ready = alive().filter(|made| made.pod.ready.is_some()).count() as i64;
        let updated = alive().filter(|made| made.revision.is_some() && made.revision == self.current).count();
        self.is.status_replicas = alive().count() as i64;
        self.is.updated = updated as i64;
        (self.is.ready, self.is.available) = (ready, ready);
        let replicas = self.is.replicas;
        let all = self.is.updated == replicas && self.is.status_replicas == replicas && ready == replicas;
        let complete = all && self.current.is_some() && !self.is.paused;
        match self.kind() {
            WorkloadKind::Deployment => {
                let done = "NewReplicaSetAvailable";
                let was_done = self.is.progress.as_ref().is_some_and(|progress| *progress.reason == *done);
                if complete && !was_done {
                    self.set_progress(done, now);
                } else if !was_done && !self.is.paused && before != (self.is.updated, self.is.available) {
                    self.set_progress("ReplicaSetUpdated", now);
                }
            }
            // With OnDelete the controller never finishes an update.
            WorkloadKind::StatefulSet if complete && self.is.strategy != Strategy::OnDelete => {
                self.is.current_revision.clone_from(&self.is.update_revision);
            }
            _ => {}
        }
    }

    /// The pod of that name, made from the current (or the previous) template when it is new.
    pub fn pod(&mut self, name: &str, of_old: bool, now: Time, uid: Arc<str>) -> &mut Made {
        if let Some(at) = self.pods.iter().position(|made| *made.pod.name == *name) {
            return &mut self.pods[at];
        }
        let revision = if of_old { self.previous } else { self.current };
        let containers = revision.map_or(&self.is.containers, |revision| &self.templates[revision]);
        let containers = containers.iter().map(|spec| waiting(&spec.name, &spec.image)).collect();
        let revision_is = revision.map(|at| &self.revisions[at]);
        let owner = match self.kind() {
            WorkloadKind::Deployment => revision_is.map(|revision| revision.uid.clone()),
            _ => Some(self.is.uid.clone()),
        };
        let pod = Pod {
            uid,
            namespace: self.is.key.namespace.clone(),
            name: name.into(),
            owner,
            pod_hash: revision_is.map(|revision| revision.pod_hash.clone()),
            created: Some(now),
            deleting: false,
            finished: false,
            unschedulable: false,
            ready: None,
            containers,
        };
        self.pods.push(Made { pod, revision, probe: None });
        self.pods.last_mut().expect("just pushed")
    }
}

/// A container that is being made.
pub fn waiting(name: &str, image: &str) -> PodContainer {
    PodContainer {
        name: name.into(),
        image: image.into(),
        running: None,
        started: None,
        ready: false,
        waiting: Some(knotmeter::observation::Waiting::Creating),
        says: None,
        restarts: 0,
    }
}

/// `*/5 * * * *` as a schedule in UTC.
pub fn schedule(cron: &str) -> Schedule {
    Schedule { cron: cron.into(), time_zone: None, suspended: false }
}

/// Equal templates have equal hashes (FNV-1a).
fn hash(containers: &[ContainerSpec], salt: &str) -> TemplateHash {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let words = containers.iter().flat_map(|spec| [&*spec.name, &*spec.image]).chain([salt]);
    for byte in words.flat_map(|word| word.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    TemplateHash(hash)
}
