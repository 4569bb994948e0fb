//! A shop with as many apps as wanted: what a cluster says of it at first, and what it says in a storm.

use std::sync::Arc;

use knotmeter::image::{Digest, ImageRef};
use knotmeter::observation::{
    self, Basis, ContainerSpec, Fact, Interval, ObjectKey, Observation, Owner, Pod, PodContainer, Revision,
    SCHEMA, Scope, SourceId, SourceKind, Strategy, TemplateHash, Time, Workload, WorkloadKind,
};
use knotmeter::tracker::{
    Destination, Event, Evidence, Journey, JourneyId, Outcome, Stage, StageState, Stages, Subject, Trigger,
};

const TEAMS: usize = 40;
const PODS_PER_APP: usize = 2;
/// One observation of a storm in so many begins a rollout; the others are pods that become ready or cease to be.
const ROLLOUT_EACH: u64 = 500;
const CLUSTER: &str = "production-eu-1";
const UID: &str = "3f0c1c2e-6f5b-4f57-9d0c-0f3a5a1b2c3d";

/// See the file's front line.
pub struct Shop {
    apps: usize,
    source: SourceId,
    seq: u64,
    /// The version that each app's template names.
    versions: Vec<usize>,
}

impl Shop {
    pub fn new(apps: usize) -> Self {
        Self { apps, source: SourceId::new(SourceKind::Cluster, CLUSTER), seq: 0, versions: vec![1; apps] }
    }

    /// Everything that the first looks bring, and a rollout that has begun for every third app since.
    pub fn first(&mut self, now: Time) -> Vec<Observation> {
        let mut facts = vec![Fact::ClusterNamed { name: CLUSTER.into() }];
        for app in 0..self.apps {
            facts.push(Fact::WorkloadIs(Box::new(self.workload(app))));
            facts.push(Fact::RevisionIs(Box::new(self.revision(app))));
            facts
                .extend((0..PODS_PER_APP).map(|pod| Fact::PodIs(Box::new(self.pod(app, 1, pod, Some(now))))));
        }
        facts.extend(looks(now));
        for app in (0..self.apps).step_by(3) {
            self.versions[app] += 1;
            facts.push(Fact::WorkloadIs(Box::new(self.workload(app))));
            facts.push(Fact::RevisionIs(Box::new(self.revision(app))));
        }
        facts.into_iter().map(|fact| self.observation(fact, now)).collect()
    }

    /// One more observation.
    pub fn next(&mut self, now: Time) -> Observation {
        let at = self.seq as usize;
        // Strides that meet every app.
        let app = at.wrapping_mul(7919) % self.apps;
        let fact = if self.seq.is_multiple_of(ROLLOUT_EACH) {
            self.versions[app] += 1;
            Fact::WorkloadIs(Box::new(self.workload(app)))
        } else {
            let ready = (at / self.apps).is_multiple_of(2).then_some(now);
            Fact::PodIs(Box::new(self.pod(app, 1, at % PODS_PER_APP, ready)))
        };
        self.observation(fact, now)
    }

    /// A whole rollout of an app: another template, its pods, the end of the old ones, and of the revision before.
    pub fn rollout(&mut self, app: usize, now: Time) -> Vec<Observation> {
        let before = self.versions[app];
        let old = self.revision(app).uid;
        self.versions[app] += 1;
        let (begun, revision) = (self.workload(app), self.revision(app));
        let mut facts = vec![Fact::WorkloadIs(Box::new(begun.clone())), Fact::RevisionIs(Box::new(revision))];
        for pod in 0..PODS_PER_APP {
            facts.push(Fact::PodIs(Box::new(self.pod(app, before + 1, pod, Some(now)))));
            let uid = self.pod(app, before, pod, None).uid;
            facts.push(Fact::Absent { subject: observation::Subject::Pod { uid } });
        }
        facts.push(Fact::WorkloadIs(Box::new(Workload { updated: begun.replicas, ..begun })));
        facts.push(Fact::Absent { subject: observation::Subject::Revision { uid: old } });
        facts.into_iter().map(|fact| self.observation(fact, now)).collect()
    }

    /// Word that nothing was missed.
    pub fn bookmarks(&mut self, now: Time) -> Vec<Observation> {
        looks(now).into_iter().map(|fact| self.observation(fact, now)).collect()
    }

    fn observation(&mut self, fact: Fact, now: Time) -> Observation {
        self.seq += 1;
        Observation {
            schema: SCHEMA,
            source: self.source.clone(),
            source_epoch: 1,
            seq: self.seq,
            cluster: Some(UID.into()),
            observed_at: now,
            happened: Interval::at(now),
            basis: Basis::Watch,
            fact,
        }
    }

    fn image(&self, app: usize) -> String {
        format!("registry.example.com/team-{}/service-{app}:v1.{}.0", app % TEAMS, self.versions[app])
    }

    fn template(&self, app: usize) -> TemplateHash {
        TemplateHash((app as u64) << 32 | self.versions[app] as u64)
    }

    fn workload(&self, app: usize) -> Workload {
        let generation = self.versions[app] as i64;
        let fresh = if generation == 1 { PODS_PER_APP as i64 } else { 0 };
        Workload {
            key: ObjectKey {
                kind: WorkloadKind::Deployment,
                namespace: format!("team-{}", app % TEAMS).into(),
                name: format!("service-{app}").into(),
            },
            uid: format!("d0000000-0000-4000-8000-{app:012}").into(),
            created: Some(Time(1_750_000_000_000)),
            generation,
            observed_generation: generation,
            template: self.template(app),
            containers: vec![ContainerSpec {
                name: "app".into(),
                image: self.image(app).into(),
                pull_always: false,
            }],
            template_written: None,
            replicas_written: None,
            autoscaled: false,
            replicas: PODS_PER_APP as i64,
            status_replicas: PODS_PER_APP as i64,
            updated: fresh,
            ready: PODS_PER_APP as i64,
            available: PODS_PER_APP as i64,
            progress: None,
            replica_failure: false,
            refused_by: None,
            refusal: None,
            paused: false,
            strategy: Strategy::Rolling { partition: 0 },
            current_revision: None,
            update_revision: None,
            schedule: None,
            app: Some(format!("service-{app}").into()),
            environment: Some(if app.is_multiple_of(2) { "staging" } else { "production" }.into()),
            ignore: false,
            budget_committed_seconds: None,
            budget_applied_seconds: None,
            budget_live_seconds: None,
            owner: Owner::default(),
            config_maps: Vec::new(),
            applier: None,
        }
    }

    fn revision(&self, app: usize) -> Revision {
        let workload = self.workload(app);
        Revision {
            uid: format!("e0000000-0000-4000-8000-{app:06}{:06}", workload.generation).into(),
            namespace: workload.key.namespace,
            name: format!("service-{app}-{:010x}", workload.template.0).into(),
            owner: workload.uid,
            template: workload.template,
            pod_hash: format!("{:010x}", workload.template.0).into(),
            created: Some(Time(1_750_000_000_000)),
            number: workload.generation,
        }
    }

    /// A pod of a version's template.
    fn pod(&self, app: usize, version: usize, pod: usize, ready: Option<Time>) -> Pod {
        let template = (app as u64) << 32 | version as u64;
        Pod {
            uid: format!("90000000-0000-4000-{version:04}-{app:06}{pod:06}").into(),
            namespace: format!("team-{}", app % TEAMS).into(),
            name: format!("service-{app}-{template:010x}-{pod:05}").into(),
            owner: Some(format!("e0000000-0000-4000-8000-{app:06}{version:06}").into()),
            pod_hash: Some(format!("{template:010x}").into()),
            created: Some(Time(1_750_000_000_000)),
            deleting: false,
            finished: false,
            unschedulable: false,
            ready,
            containers: vec![PodContainer {
                name: "app".into(),
                image: format!("registry.example.com/team-{}/service-{app}:v1.{version}.0", app % TEAMS)
                    .into(),
                running: Some(Digest::of(&[app.to_le_bytes(), version.to_le_bytes()].concat())),
                started: Some(Time(1_750_000_000_000)),
                ready: ready.is_some(),
                waiting: None,
                says: None,
                restarts: 0,
            }],
        }
    }
}

fn looks(now: Time) -> Vec<Fact> {
    let resource = |name: &str| Scope::Resource { cluster: CLUSTER.into(), resource: name.into() };
    let look = |scope| Fact::LookCompleted { scope, started: now, finished: now, interval_seconds: 60.0 };
    ["deployments", "replicasets", "pods"].map(|name| look(resource(name))).into()
}

/// A journey of this destination that went live: what feeds histograms.
pub fn settled(destination: &Destination, number: u64) -> Event {
    let at = |seconds: i64| Interval::new(Time(seconds * 1000), Time(seconds * 1000 + 200));
    let image: ImageRef = "registry.example.com/team/web:v1.0.0".parse().expect("an image");
    let mut stages = Stages::default();
    let live = 6 + (number % 900) as i64;
    for (stage, reached) in
        [(Stage::Pushed, 0), (Stage::Committed, 2), (Stage::Applied, 4), (Stage::Live, live)]
    {
        stages.set(stage, StageState::Known(Evidence { interval: at(reached), basis: Basis::Poll }));
    }
    Event::Settled(Box::new(Journey {
        id: JourneyId(number),
        aliases: vec![],
        subject: Subject::Image,
        destination: destination.clone(),
        digest: Some(Digest::of(&number.to_le_bytes())),
        image,
        replicas: None,
        trigger: Trigger::Push,
        synthetic: false,
        stages,
        intent: Some(at(2)),
        clock_start: Some(at(0)),
        commit: None,
        commit_unseen: None,
        built_from: None::<Arc<str>>,
        outcome: Some(Outcome::Live),
        ended: Some(at(live)),
        settled: true,
        held: None,
        held_seconds: 0.0,
        held_before_seconds: 0.0,
        who: None,
        conflicts: 0,
        stuck: None,
        blind: None,
        next: knotmeter::tracker::Next::default(),
        opened: at(0),
    }))
}
