//! One workload as its controllers roll it out, pod after pod, and what a watch says of it.

use std::collections::VecDeque;
use std::sync::Arc;

use knotmeter::image::{Digest, ImageRef};
use knotmeter::observation::{
    ContainerSpec, Fact, Interval, ObjectKey, Owner, Pod, PodContainer, Progress, Revision, Strategy,
    Subject, TemplateHash, Time, Waiting, Workload, WorkloadKind,
};

use super::world::{Action, World, digest};

/// One workload in ten is a StatefulSet.
const STATEFUL: usize = 10;
/// One in five has a second container that never changes.
const SIDECAR: usize = 5;

/// What `revisionHistoryLimit` leaves.
const REVISIONS_LEFT: usize = 10;

/// See the file's front line.
pub struct Running {
    at: usize,
    pub is: Workload,
    revision: Revision,
    image: ImageRef,
    digest: Digest,
    pods: VecDeque<Pod>,
    made: usize,
    /// Revisions that are not cleaned up yet, oldest first.
    revisions: VecDeque<Arc<str>>,
    /// Steps of the rollout under way, in order.
    steps: VecDeque<Step>,
}

#[derive(Clone)]
enum Step {
    /// The controller made the revision.
    Revise,
    Create,
    Start(Arc<str>),
    Ready(Arc<str>),
    /// The oldest pod of another template is told to go, and goes.
    Delete,
    Gone,
    Done,
}

impl Running {
    pub fn new(at: usize, name: &Arc<str>, image: &ImageRef, namespace: &str) -> Self {
        let kind = if (at / 2).is_multiple_of(STATEFUL) {
            WorkloadKind::StatefulSet
        } else {
            WorkloadKind::Deployment
        };
        let key = ObjectKey { kind, namespace: namespace.into(), name: name.clone() };
        let uid: Arc<str> = format!("d0000000-0000-4000-8000-{at:012}").into();
        let replicas = (1 + at % 7 + at % 2 * 3) as i64;
        let mut running = Self {
            at,
            revision: revision(&key, &uid, 1, 0),
            is: Workload {
                key,
                uid,
                created: Some(Time(1_750_000_000_000)),
                generation: 1,
                observed_generation: 1,
                template: TemplateHash(0),
                containers: Vec::new(),
                template_written: None,
                replicas_written: None,
                autoscaled: false,
                replicas,
                status_replicas: replicas,
                updated: replicas,
                ready: replicas,
                available: replicas,
                progress: None,
                replica_failure: false,
                refused_by: None,
                refusal: None,
                paused: false,
                strategy: Strategy::Rolling { partition: 0 },
                current_revision: None,
                update_revision: None,
                schedule: None,
                app: Some(name.clone()),
                environment: None,
                ignore: false,
                budget_committed_seconds: None,
                budget_applied_seconds: None,
                budget_live_seconds: None,
                owner: Owner::default(),
                config_maps: Vec::new(),
                applier: None,
            },
            image: image.clone(),
            digest: digest(at / 2, 1),
            pods: VecDeque::new(),
            made: 0,
            revisions: VecDeque::new(),
            steps: VecDeque::new(),
        };
        running.take(image, &digest(at / 2, 1));
        running.is.observed_generation = running.is.generation;
        running.is.current_revision.clone_from(&running.is.update_revision);
        for _ in 0..replicas {
            let pod = running.pod();
            let pod = running.started(&pod, Time(1_750_000_001_000));
            running.pods.push_back(Pod { ready: Some(Time(1_750_000_005_000)), ..pod });
        }
        running
    }

    /// Everything that a first list brings.
    pub fn levels(&self) -> Vec<Fact> {
        let pods = self.pods.iter().map(|pod| Fact::PodIs(Box::new(pod.clone())));
        [self.said(), Fact::RevisionIs(Box::new(self.revision.clone()))].into_iter().chain(pods).collect()
    }

    fn said(&self) -> Fact {
        Fact::WorkloadIs(Box::new(self.is.clone()))
    }

    /// Another image: another template and generation.
    fn take(&mut self, image: &ImageRef, digest: &Digest) {
        (self.image, self.digest) = (image.clone(), digest.clone());
        let is = &mut self.is;
        is.generation += 1;
        is.template = TemplateHash((self.at as u64) << 32 | is.generation as u64);
        let container = |name: &str, image: &str| ContainerSpec {
            name: name.into(),
            image: image.into(),
            pull_always: false,
        };
        is.containers = vec![container("app", &image.to_string())];
        if self.at.is_multiple_of(SIDECAR) {
            is.containers.push(container("proxy", "mesh.example.com/proxy:v2.1.0"));
        }
        self.revision = revision(&is.key, &is.uid, is.generation, is.template.0);
        if is.key.kind == WorkloadKind::StatefulSet {
            is.update_revision = Some(self.revision.pod_hash.clone());
        }
    }

    fn pod(&mut self) -> Pod {
        self.made += 1;
        let owner = match self.is.key.kind {
            WorkloadKind::StatefulSet => &self.is.uid,
            _ => &self.revision.uid,
        };
        let uid: Arc<str> = format!("90000000-0000-4000-8000-{:06}{:06}", self.at, self.made).into();
        Pod {
            name: uid.clone(),
            uid,
            namespace: self.is.key.namespace.clone(),
            owner: Some(owner.clone()),
            pod_hash: Some(self.revision.pod_hash.clone()),
            created: None,
            deleting: false,
            finished: false,
            unschedulable: false,
            ready: None,
            containers: (self.is.containers.iter())
                .map(|spec| PodContainer {
                    name: spec.name.clone(),
                    image: spec.image.clone(),
                    running: None,
                    started: None,
                    ready: false,
                    waiting: Some(Waiting::Creating),
                    says: None,
                    restarts: 0,
                })
                .collect(),
        }
    }

    fn started(&self, pod: &Pod, at: Time) -> Pod {
        let mut pod = pod.clone();
        for container in &mut pod.containers {
            container.running =
                Some(if &*container.name == "app" { self.digest.clone() } else { digest(0, 0) });
            (container.started, container.waiting) = (Some(at), None);
        }
        pod
    }

    fn find(&mut self, uid: &str) -> Option<&mut Pod> {
        self.pods.iter_mut().find(|pod| *pod.uid == *uid)
    }

    /// How many pods of the present template are ready, and how many of any.
    fn ready(&self) -> (i64, i64) {
        let ready = |pod: &&Pod| pod.ready.is_some() && !pod.deleting;
        let mine = |pod: &&Pod| pod.pod_hash.as_ref() == Some(&self.revision.pod_hash);
        let all = self.pods.iter().filter(ready).count() as i64;
        (self.pods.iter().filter(ready).filter(mine).count() as i64, all)
    }

    fn count(&mut self) {
        let mine = |pod: &&Pod| pod.pod_hash.as_ref() == Some(&self.revision.pod_hash) && !pod.deleting;
        self.is.updated = self.pods.iter().filter(mine).count() as i64;
        (self.is.ready, self.is.status_replicas) = (self.ready().1, self.pods.len() as i64);
        self.is.available = self.is.ready;
    }
}

/// An applier writes the template.
pub fn apply(world: &mut World, at: usize, image: &ImageRef, digest: &Digest) {
    let now = Time(world.now / 1000 * 1000);
    let running = &mut world.workloads[at];
    if running.image == *image {
        return;
    }
    running.take(image, digest);
    running.is.template_written = Some((Interval::second(now), "applier".into()));
    running.is.progress = None;
    let fact = running.said();
    running.steps.clear();
    running.steps.push_back(Step::Revise);
    for _ in 0..running.is.replicas {
        running.steps.push_back(Step::Create);
    }
    running.steps.push_back(Step::Done);
    world.watched(at, fact);
    world.at(100, Action::Step(at));
}

/// A pod is evicted and another one made.
pub fn move_pod(world: &mut World, at: usize) {
    let running = &mut world.workloads[at];
    if running.steps.is_empty() && !running.pods.is_empty() {
        running.steps.extend([Step::Delete, Step::Gone, Step::Create]);
        world.at(1, Action::Step(at));
    }
}

/// What happens next in a rollout, and says so.
pub fn step(world: &mut World, at: usize) {
    let second = Time(world.now / 1000 * 1000);
    let running = &mut world.workloads[at];
    let Some(step) = running.steps.pop_front() else { return };
    let mut facts = Vec::new();
    let mut after = 200;
    match step {
        Step::Revise => {
            running.is.observed_generation = running.is.generation;
            running.is.updated = 0;
            facts = vec![Fact::RevisionIs(Box::new(running.revision.clone())), running.said()];
            running.revisions.push_back(running.revision.uid.clone());
            if running.revisions.len() > REVISIONS_LEFT {
                let oldest = running.revisions.pop_front();
                facts.extend(oldest.map(|uid| Fact::Absent { subject: Subject::Revision { uid } }));
            }
        }
        Step::Create => {
            let pod = running.pod();
            facts.push(Fact::PodIs(Box::new(pod.clone())));
            running.steps.push_front(Step::Start(pod.uid.clone()));
            running.pods.push_back(pod);
            running.count();
            facts.push(running.said());
            after = 1500;
        }
        Step::Start(uid) => {
            let Some(pod) = running.find(&uid).cloned() else { return };
            let pod = running.started(&pod, second);
            facts.push(Fact::PodIs(Box::new(pod.clone())));
            running.find(&uid).into_iter().for_each(|known| *known = pod.clone());
            running.steps.push_front(Step::Ready(uid));
            after = 3000;
        }
        Step::Ready(uid) => {
            let wanted = running.is.replicas as usize;
            if let Some(pod) = running.find(&uid) {
                pod.ready = Some(second);
                pod.containers.iter_mut().for_each(|container| container.ready = true);
                facts.push(Fact::PodIs(Box::new(pod.clone())));
            }
            if running.pods.len() > wanted {
                running.steps.push_front(Step::Gone);
                running.steps.push_front(Step::Delete);
            }
            running.count();
            facts.push(running.said());
        }
        Step::Delete => {
            let oldest = running.pods.front_mut().map(|pod| {
                pod.deleting = true;
                Fact::PodIs(Box::new(pod.clone()))
            });
            facts.extend(oldest);
            running.count();
            facts.push(running.said());
            after = 1000;
        }
        Step::Gone => {
            if let Some(mut pod) = running.pods.pop_front() {
                pod.ready = None;
                pod.containers.iter_mut().for_each(|container| container.ready = false);
                facts.push(Fact::PodIs(Box::new(pod.clone())));
                facts.push(Fact::Absent { subject: Subject::Pod { uid: pod.uid } });
            }
            running.count();
            facts.push(running.said());
        }
        Step::Done => {
            let progress = Progress { reason: "NewReplicaSetAvailable".into(), last_update: Some(second) };
            match running.is.key.kind {
                WorkloadKind::StatefulSet => {
                    running.is.current_revision.clone_from(&running.is.update_revision);
                }
                _ => running.is.progress = Some(progress),
            }
            facts.push(running.said());
        }
    }
    let more = !running.steps.is_empty();
    facts.into_iter().for_each(|fact| world.watched(at, fact));
    if more {
        world.at(after, Action::Step(at));
    }
}

fn revision(key: &ObjectKey, owner: &Arc<str>, number: i64, template: u64) -> Revision {
    let hash: Arc<str> = format!("{:010x}", template ^ 0x5_5555_5555).into();
    Revision {
        uid: format!("{owner}-{number}").into(),
        namespace: key.namespace.clone(),
        name: hash.clone(),
        owner: owner.clone(),
        template: TemplateHash(template),
        pod_hash: hash,
        created: None,
        number,
    }
}
