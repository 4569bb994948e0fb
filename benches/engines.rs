//! What one word of an engine costs the tracker where it has thousands of objects, beside the same where it has a few:
//! a search through all of them would show as the ratio of the two.

use std::sync::Arc;

use knotmeter::observation::{
    ApplierRole, Basis, Condition, EngineKey, EngineKind, EngineObject, Fact, Interval, Observation, Policy,
    PolicyRole, Role, SCHEMA, Scan, ScanRole, SourceId, SourceKind, SourceRole, Time, WorkloadKind,
};
use knotmeter::tracker::Tracker;

use super::Bench;

/// Kustomizations, each with a source, a policy and a scan of its own.
const MANY: usize = 5_000;
const FEW: usize = 50;
/// Workloads that each Kustomization lists.
const INVENTORY: usize = 20;
/// Objects that say something in one run: of every kind one after the other.
const WORDS: usize = 2_000;
const START: i64 = 1_795_219_200_000;

/// See the file's front line.
pub fn bench() -> Bench {
    let (mut many, mut few) = (World::new(MANY), World::new(FEW));
    Bench {
        unit: "ns per object that changed",
        items: WORDS,
        ours: Box::new(move || many.speak()),
        floor: Box::new(move || few.speak()),
    }
}

struct World {
    tracker: Tracker,
    size: usize,
    said: u64,
}

impl World {
    fn new(size: usize) -> Self {
        let mut world = Self { tracker: Tracker::default(), size, said: 0 };
        (0..size * 4).for_each(|number| world.say(number, 0));
        world
    }

    fn speak(&mut self) -> usize {
        // Far from each other, so that none is in a cache because of the one before.
        let step = (self.size * 4 / 7) | 1;
        let round = self.said;
        (0..WORDS).for_each(|at| self.say(at * step % (self.size * 4), round + at as u64));
        WORDS
    }

    fn say(&mut self, number: usize, round: u64) {
        self.said += 1;
        let at = Time(START + self.said as i64);
        let observation = Observation {
            schema: SCHEMA,
            source: SourceId::new(SourceKind::Cluster, "lab"),
            source_epoch: 1,
            seq: self.said,
            cluster: Some("lab-uid".into()),
            observed_at: at,
            happened: Interval::at(at),
            basis: Basis::Watch,
            fact: Fact::EngineIs(Box::new(object(number, at, round))),
        };
        self.tracker.observe(&observation);
    }
}

fn object(number: usize, at: Time, round: u64) -> EngineObject {
    let team = number / 4;
    let name = |what: &str| -> Arc<str> { format!("{what}-{team}").as_str().into() };
    let key = |kind, what: &str| EngineKey { kind, namespace: "flux-system".into(), name: name(what) };
    let revision: Arc<str> = format!("main@sha1:{round:040x}").as_str().into();
    let (kind, role) = match number % 4 {
        0 => {
            let image = format!("registry.example.com/team/app-{team}").parse().ok();
            let last = Scan { at, revision: revision.clone(), tags: 1, latest: Vec::new() };
            (EngineKind::ImageRepository, Role::Scan(ScanRole { image, last: Some(last) }))
        }
        1 => {
            let role = PolicyRole {
                repository: ("flux-system".into(), name("app")),
                filter: None,
                policy: Some(Policy::Semver { range: "1.x".into() }),
                reflects_digest: false,
                follows_digest: false,
                selected: None,
                selected_at: None,
            };
            (EngineKind::ImagePolicy, Role::Policy(role))
        }
        2 => (EngineKind::GitRepository, Role::Source(SourceRole::default())),
        _ => {
            let workload =
                |at: usize| (WorkloadKind::Deployment, name("space"), format!("web-{at}").as_str().into());
            let role = ApplierRole {
                source: Some(key(EngineKind::GitRepository, "app")),
                attempted: Some(revision.clone()),
                inventory: (0..INVENTORY).map(workload).collect(),
                ..ApplierRole::default()
            };
            (EngineKind::Kustomization, Role::Applier(Box::new(role)))
        }
    };
    let says = Condition { is_true: true, reason: "Succeeded".into(), message: revision, since: Some(at) };
    EngineObject {
        uid: format!("{}-{team}", kind.as_str()).as_str().into(),
        key: key(kind, "app"),
        created: None,
        generation: 1,
        observed_generation: 1,
        suspended: false,
        interval_seconds: Some(60.0),
        ready: Some(says),
        reconciling: None,
        stalled: None,
        role,
    }
}
