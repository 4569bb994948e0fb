//! Going on after a restart: the state of a large installation to bytes and back.

use std::sync::Arc;

use knotmeter::image::{Digest, Tag};
use knotmeter::observation::{
    Basis, ContainerSpec, Fact, Interval, ObjectKey, Observation, Owner, Pod, PodContainer, Revision, SCHEMA,
    Scope, SourceId, SourceKind, Strategy, TemplateHash, Time, Workload, WorkloadKind,
};
use knotmeter::tracker::Tracker;

use super::Bench;

const WORKLOADS: usize = 1_000;
const PODS_PER_WORKLOAD: usize = 50;
/// All of them.
pub const PODS: usize = WORKLOADS * PODS_PER_WORKLOAD;
/// Each container is a destination, and each has one journey under way: 2,000.
const CONTAINERS: [&str; 2] = ["main", "proxy"];
const TAGS_PER_REPOSITORY: usize = 20;
const START: Time = Time(1_760_000_000_000);

/// Against copying as many bytes, with their checksum.
pub fn write() -> Bench {
    let tracker = tracker();
    let bytes = tracker.checkpoint();
    Bench {
        unit: "ns/pod",
        items: WORKLOADS * PODS_PER_WORKLOAD,
        ours: Box::new(move || tracker.checkpoint().len()),
        floor: Box::new(move || bytes.clone().len() + crc32fast::hash(&bytes) as usize % 2),
    }
}

/// Against the least that keeps the names: a checksum of the bytes, and one allocation for the UID and one for the
/// name of each pod, and one for each tag.
pub fn restore() -> Bench {
    let tracker = tracker();
    let bytes = tracker.checkpoint();
    let journeys = tracker.journeys().count();
    eprintln!("checkpoint of {journeys} journeys: {} bytes", bytes.len());
    drop(tracker);
    let same = bytes.clone();
    let names = 2 * WORKLOADS * (PODS_PER_WORKLOAD + TAGS_PER_REPOSITORY);
    Bench {
        unit: "ns/pod",
        items: WORKLOADS * PODS_PER_WORKLOAD,
        ours: Box::new(move || Tracker::restore(&bytes).expect("its own checkpoint").journeys().count()),
        floor: Box::new(move || {
            let sum = crc32fast::hash(&same) as usize;
            let names: Vec<Arc<str>> = (0..names).map(|n| text(&same[n..n + 30])).collect();
            names.len() + sum % 2
        }),
    }
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}

fn tracker() -> Tracker {
    tracker_of(&observations(START))
}

/// A tracker that has seen these.
pub fn tracker_of(observations: &[Observation]) -> Tracker {
    let mut tracker = Tracker::default();
    for observation in observations {
        tracker.observe(observation);
    }
    tracker
}

/// 1,000 Deployments of 50 pods and two containers, 40,000 tags, 2,000 journeys under way, told within
/// two minutes from `start`.
pub fn observations(start: Time) -> Vec<Observation> {
    let mut world = World { said: Vec::new(), now: start };
    world.say(SourceKind::Cluster, Fact::ClusterNamed { name: "lab".into() });
    for workload in 0..WORKLOADS {
        for container in CONTAINERS {
            world.tags(workload, container);
        }
        world.say(SourceKind::Cluster, Fact::WorkloadIs(Box::new(deployment(workload, 1))));
        world.say(SourceKind::Cluster, Fact::RevisionIs(Box::new(revision(workload, 1))));
        for pod in 0..PODS_PER_WORKLOAD {
            world.say(SourceKind::Cluster, Fact::PodIs(Box::new(running(workload, pod))));
        }
    }
    for resource in ["deployments", "replicasets", "pods"] {
        let scope = Scope::Resource { cluster: "cluster-uid".into(), resource: resource.into() };
        world.look(SourceKind::Cluster, scope);
    }
    for workload in 0..WORKLOADS {
        world.say(SourceKind::Cluster, Fact::WorkloadIs(Box::new(deployment(workload, 2))));
    }
    world.said
}

struct World {
    said: Vec<Observation>,
    now: Time,
}

impl World {
    fn say(&mut self, kind: SourceKind, fact: Fact) {
        self.now = self.now + 1;
        self.said.push(Observation {
            schema: SCHEMA,
            source: SourceId::new(kind, "source"),
            source_epoch: 1,
            seq: self.said.len() as u64 + 1,
            cluster: (kind == SourceKind::Cluster).then(|| "cluster-uid".into()),
            observed_at: self.now,
            happened: Interval::until(self.now),
            basis: Basis::Watch,
            fact,
        });
    }

    fn look(&mut self, kind: SourceKind, scope: Scope) {
        let (started, finished) = (self.now, self.now);
        self.say(kind, Fact::LookCompleted { scope, started, finished, interval_seconds: 3600.0 });
    }

    /// A repository's tags at the first look, and the two that matter resolved.
    fn tags(&mut self, workload: usize, container: &str) {
        let repository = format!("registry.example.com/team-{}/{container}-{workload}", workload % 50);
        let repository: knotmeter::image::Repository = repository.parse().expect("a repository");
        let tag = |number: usize| -> Tag {
            format!("main-{:07x}-{}", number * 7919, 1_760_000_000 + number).parse().expect("a tag")
        };
        let tags = (1..=TAGS_PER_REPOSITORY).map(tag).collect();
        self.say(SourceKind::Registry, Fact::TagsListed { repository: repository.clone(), tags });
        for version in [1, 2] {
            let digest = digest(workload, container, version);
            let (repository, tag) = (repository.clone(), tag(version));
            self.say(SourceKind::Registry, Fact::TagPointsTo { repository, tag, digest });
        }
        self.look(SourceKind::Registry, Scope::Repository(repository));
    }
}

fn digest(workload: usize, container: &str, version: usize) -> Digest {
    Digest::of(format!("{workload} {container} {version}").as_bytes())
}

fn image(workload: usize, container: &str, version: usize) -> Arc<str> {
    let team = workload % 50;
    let tag = format!("main-{:07x}-{}", version * 7919, 1_760_000_000 + version);
    format!("registry.example.com/team-{team}/{container}-{workload}:{tag}").into()
}

fn namespace(workload: usize) -> Arc<str> {
    format!("team-{}", workload % 50).into()
}

fn deployment(workload: usize, version: usize) -> Workload {
    let containers = CONTAINERS.map(|name| ContainerSpec {
        name: name.into(),
        image: image(workload, name, version),
        pull_always: false,
    });
    let all = PODS_PER_WORKLOAD as i64;
    Workload {
        key: ObjectKey {
            kind: WorkloadKind::Deployment,
            namespace: namespace(workload),
            name: format!("service-{workload}").into(),
        },
        uid: format!("00000000-0000-4000-8000-{workload:012x}").into(),
        created: Some(START),
        generation: version as i64,
        observed_generation: version as i64,
        template: TemplateHash((workload * 10 + version) as u64),
        containers: containers.into(),
        template_written: None,
        replicas_written: None,
        autoscaled: false,
        replicas: all,
        status_replicas: all,
        updated: if version == 1 { all } else { 0 },
        ready: all,
        available: all,
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
    }
}

fn revision(workload: usize, version: usize) -> Revision {
    Revision {
        uid: format!("11111111-0000-4000-8000-{workload:012x}").into(),
        namespace: namespace(workload),
        name: format!("service-{workload}-7d4b9c6f{version}").into(),
        owner: format!("00000000-0000-4000-8000-{workload:012x}").into(),
        template: TemplateHash((workload * 10 + version) as u64),
        pod_hash: format!("7d4b9c6f{version}").into(),
        created: Some(START),
        number: version as i64,
    }
}

fn running(workload: usize, pod: usize) -> Pod {
    let containers = CONTAINERS.map(|name| PodContainer {
        name: name.into(),
        image: image(workload, name, 1),
        running: Some(digest(workload, name, 1)),
        started: Some(START),
        ready: true,
        waiting: None,
        says: None,
        restarts: 0,
    });
    Pod {
        uid: format!("{:08x}-{pod:04x}-4000-8000-{workload:012x}", (workload * 7919 + pod * 104_729) as u32)
            .into(),
        namespace: namespace(workload),
        name: format!("service-{workload}-7d4b9c6f1-{pod:05x}").into(),
        owner: Some(format!("11111111-0000-4000-8000-{workload:012x}").into()),
        pod_hash: Some("7d4b9c6f1".into()),
        created: Some(START),
        deleting: false,
        finished: false,
        unschedulable: false,
        ready: Some(START + 4000),
        containers: containers.into(),
    }
}
