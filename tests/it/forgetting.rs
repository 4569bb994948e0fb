//! What the tracker remembers stays flat over months, and nothing that is in use is forgotten.

use std::sync::Arc;

use knotmeter::image::{Digest, ImageRef, Repository, Tag};
use knotmeter::observation::{
    Basis, Commit, ContainerSpec, EnvironmentRule, Fact, GitReference, ImageDescribed, Interval, Node,
    NodeRole, ObjectKey, Observation, Owner, PathRule, Pod, PodContainer, Progress, Revision, Rules, SCHEMA,
    Scope, SourceId, SourceKind, Strategy, Subject, TemplateHash, Time, TreeNames, Workload, WorkloadKind,
};
use knotmeter::tracker::{Event, Outcome, Sizes, Tracker, Trigger};

const START: Time = Time(1_760_000_000_000);
const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;
/// Until every bound is reached: git's changes of one path are the last, and name the tags that are kept for them.
const FULL_AFTER_DAYS: i64 = 75;
const DAYS: i64 = 110;
/// Deploys of each service in a day.
const DEPLOYS: i64 = 4;
const SERVICES: usize = 2;
/// Tags that the registry's retention leaves.
const TAGS_LEFT: i64 = 40;
/// ReplicaSets that `revisionHistoryLimit` leaves.
const REVISIONS_LEFT: i64 = 10;
const GIT: &str = "https://git.example.com/fleet.git";

#[test]
fn months_of_deployments_leave_memory_flat() {
    let mut shop = Shop::new();
    (0..FULL_AFTER_DAYS).for_each(|day| shop.day(day));
    let early = shop.tracker.sizes();
    (FULL_AFTER_DAYS..DAYS).for_each(|day| shop.day(day));
    let late = shop.tracker.sizes();
    assert_eq!(
        shop.live,
        (DAYS * DEPLOYS) as usize * SERVICES,
        "every deploy went live and was counted once"
    );
    for ((name, early), (_, late)) in numbers(&early).into_iter().zip(numbers(&late)) {
        // A few more or less: the hour of forgetting falls elsewhere.
        assert!(
            late <= early + early / 20 + 8,
            "{name} grew from {early} to {late}\n{:#?}",
            shop.tracker.sizes()
        );
    }
}

#[test]
fn what_runs_is_known_however_long_ago_it_was_pushed() {
    let mut shop = Shop::new();
    shop.deploy(0, 0);
    // Its tag is taken away, as are hundreds of later ones; it runs on.
    for number in 1..200 {
        shop.now = START + DAY + number * 2 * MINUTE * 30;
        shop.push(0, number);
        shop.untag(0, number - 1);
    }
    shop.now = shop.now + 90 * DAY;
    shop.push(0, 200);
    shop.untag(0, 0);
    shop.look_at_all();
    // The same image by its digest: the tracker must still know that nothing new is desired.
    let before = shop.live;
    let image = format!("{}@{}", shop.repository(0), digest(0, 0));
    shop.template(0, 1, &image, 0);
    shop.pass(30 * MINUTE);
    assert_eq!(shop.live, before, "a digest in place of its tag is no new desire");
    let journey = shop.tracker.journeys().last().expect("the first deploy");
    assert_eq!(journey.digest, Some(digest(0, 0)));
}

#[test]
fn registries_that_nobody_looks_at_any_more_are_forgotten() {
    let mut shop = Shop::new();
    shop.deploy(0, 0);
    for number in 0..300 {
        let repository: Repository = format!("registry-{number}.example.com/team/app").parse().unwrap();
        let fact = Fact::LookCompleted {
            scope: Scope::Repository(repository),
            started: shop.now,
            finished: shop.now,
            interval_seconds: 600.0,
        };
        shop.tracker.observe(&Observation {
            schema: SCHEMA,
            source: SourceId::new(SourceKind::Registry, &format!("registry-{number}.example.com")),
            source_epoch: 1,
            seq: 1,
            cluster: None,
            observed_at: shop.now,
            happened: Interval::at(shop.now),
            basis: Basis::Poll,
            fact,
        });
    }
    let before = shop.tracker.sizes().sources;
    assert!(before > 300);
    shop.pass(31 * DAY);
    shop.pass(DAY);
    assert_eq!(shop.tracker.sizes().sources, before - 300, "those that speak are still known");
}

/// A company of three services, small enough to simulate for months.
struct Shop {
    tracker: Tracker,
    now: Time,
    numbers: [u64; 4],
    /// What each service's path names at the tip.
    tips: Vec<i64>,
    live: usize,
    pods: Vec<Vec<Pod>>,
}

impl Shop {
    fn new() -> Self {
        let mut shop = Self {
            tracker: Tracker::default(),
            now: START,
            numbers: [0; 4],
            tips: vec![-1; SERVICES],
            live: 0,
            pods: vec![Vec::new(); SERVICES + 1],
        };
        let environment = |name: &str| EnvironmentRule {
            name: name.into(),
            clusters: Vec::new(),
            namespaces: vec![name.into()],
        };
        let path =
            PathRule { url: GIT.into(), branch: "main".into(), path: "".into(), environment: "prod".into() };
        let environments = vec![environment("preview"), environment("prod")];
        let rules = Rules { environments, paths: vec![path], ..Rules::default() };
        shop.say(SourceKind::Config, Interval::at(START), Basis::Watch, Fact::ConfigInForce(Box::new(rules)));
        shop.say(
            SourceKind::Cluster,
            Interval::at(START),
            Basis::Watch,
            Fact::ClusterNamed { name: "lab".into() },
        );
        shop.commit(None);
        shop.look_at_all();
        shop.now = shop.now + MINUTE;
        shop
    }

    /// Deploys of every service, a preview environment that comes and goes, pods that move, looks.
    fn day(&mut self, day: i64) {
        for deploy in 0..DEPLOYS {
            self.now = START + day * DAY + (deploy + 1) * 2 * 60 * MINUTE;
            for service in 0..SERVICES {
                self.deploy(service, day * DEPLOYS + deploy);
                let number = day * DEPLOYS + deploy;
                if number >= TAGS_LEFT {
                    self.untag(service, number - TAGS_LEFT);
                }
            }
            self.pass(20 * MINUTE);
        }
        self.preview(day);
        self.pass(60 * MINUTE);
    }

    fn deploy(&mut self, service: usize, number: i64) {
        self.push(service, number);
        self.tips[service] = number;
        self.commit(Some(service));
        self.now = self.now + 20_000;
        let image = format!("{}:v{number}", self.repository(service));
        self.template(service, number, &image, number);
    }

    fn push(&mut self, service: usize, number: i64) {
        let repository = self.repository(service);
        let node = |what: i64| Node {
            digest: digest(service + 100, number * 2 + what),
            role: NodeRole::Manifest,
            platform: None,
        };
        let described = ImageDescribed {
            repository: repository.clone(),
            digest: digest(service, number),
            nodes: vec![node(0), node(1)],
            created: None,
            revision: None,
            source: None,
            synthetic: false,
        };
        let points = Fact::TagPointsTo { repository, tag: tag(number), digest: digest(service, number) };
        let happened = Interval::new(self.now - MINUTE, self.now);
        self.say(SourceKind::Registry, happened, Basis::Poll, points);
        self.say(SourceKind::Registry, happened, Basis::Poll, Fact::ImageDescribed(Box::new(described)));
    }

    fn untag(&mut self, service: usize, number: i64) {
        let subject = Subject::Tag { repository: self.repository(service), tag: tag(number) };
        let happened = Interval::new(self.now - MINUTE, self.now);
        self.say(SourceKind::Registry, happened, Basis::Poll, Fact::Absent { subject });
    }

    fn commit(&mut self, changed: Option<usize>) {
        let commit: Arc<str> = format!("{:040x}", self.now.0).into();
        let of = |service: usize| (self.tips[service] >= 0).then(|| self.reference(service));
        let references: Vec<GitReference> = (0..SERVICES).filter_map(of).collect();
        let commits = changed.map(|service| Commit {
            id: commit.clone(),
            author: "updater".into(),
            committed_at: self.now,
            subject: "Update".into(),
            parent: None,
            reverts: None,
            added: vec![self.reference(service)],
            config_maps: Vec::new(),
            values: Vec::new(),
            scales: Vec::new(),
        });
        let names = TreeNames {
            url: GIT.into(),
            branch: "main".into(),
            path: "".into(),
            commit,
            references,
            config_maps: Vec::new(),
            values: Vec::new(),
            scales: Vec::new(),
            commits: commits.into_iter().collect(),
            forced: false,
        };
        let happened = match changed {
            Some(_) => (Interval::new(self.now - 30_000, self.now), Basis::Poll),
            None => (Interval::until(self.now), Basis::Backfill),
        };
        self.say(SourceKind::Git, happened.0, happened.1, Fact::TreeNames(Box::new(names)));
    }

    fn reference(&self, service: usize) -> GitReference {
        let image: ImageRef =
            format!("{}:v{}", self.repository(service), self.tips[service]).parse().unwrap();
        GitReference {
            file: "deploy.yaml".into(),
            line: 1,
            kind: Some("Deployment".into()),
            name: Some(name(service)),
            namespace: Some("prod".into()),
            container: Some("app".into()),
            image,
            marker: Some("release".into()),
            template: None,
        }
    }

    /// A Deployment takes an image, and rolls out: one pod for another.
    fn template(&mut self, service: usize, number: i64, image: &str, runs: i64) {
        let key = ObjectKey {
            kind: WorkloadKind::Deployment,
            namespace: if service < SERVICES { "prod".into() } else { "preview".into() },
            name: name(service),
        };
        self.roll_out(service, key, number, image, digest(service, runs));
        if number >= REVISIONS_LEFT && service < SERVICES {
            let uid = format!("rs-{service}-{}", number - REVISIONS_LEFT).into();
            self.watched(Fact::Absent { subject: Subject::Revision { uid } });
        }
    }

    fn roll_out(&mut self, service: usize, key: ObjectKey, number: i64, image: &str, runs: Digest) {
        let second = Time(self.now.0 / 1000 * 1000);
        let uid: Arc<str> = format!("uid-{}", key.name).into();
        let template = TemplateHash(number as u64 * 7 + 1);
        let hash: Arc<str> = format!("h{number}").into();
        let mut workload = workload(key.clone(), uid.clone(), number, template, image);
        self.watched(Fact::WorkloadIs(Box::new(workload.clone())));
        let revision = Revision {
            uid: format!("rs-{service}-{number}").into(),
            namespace: key.namespace.clone(),
            name: hash.clone(),
            owner: uid,
            template,
            pod_hash: hash.clone(),
            created: Some(second),
            number,
        };
        self.watched(Fact::RevisionIs(Box::new(revision.clone())));
        let mut pod = Pod {
            uid: format!("pod-{}-{number}", key.name).into(),
            namespace: key.namespace.clone(),
            name: "pod".into(),
            owner: Some(revision.uid.clone()),
            pod_hash: Some(hash),
            created: Some(second),
            deleting: false,
            finished: false,
            unschedulable: false,
            ready: None,
            containers: vec![PodContainer {
                name: "app".into(),
                image: image.into(),
                running: None,
                started: None,
                ready: false,
                waiting: None,
                says: None,
                restarts: 0,
            }],
        };
        self.watched(Fact::PodIs(Box::new(pod.clone())));
        self.now = self.now + 3000;
        pod.containers[0].started = Some(Time(self.now.0 / 1000 * 1000));
        pod.containers[0].running = Some(runs);
        self.watched(Fact::PodIs(Box::new(pod.clone())));
        self.now = self.now + 3000;
        pod.ready = Some(Time(self.now.0 / 1000 * 1000));
        self.watched(Fact::PodIs(Box::new(pod.clone())));
        for gone in std::mem::replace(&mut self.pods[service.min(SERVICES)], vec![pod]) {
            self.watched(Fact::Absent { subject: Subject::Pod { uid: gone.uid } });
        }
        let last_update = Some(Time(self.now.0 / 1000 * 1000));
        (workload.updated, workload.ready, workload.available) = (1, 1, 1);
        workload.progress = Some(Progress { reason: "NewReplicaSetAvailable".into(), last_update });
        self.watched(Fact::WorkloadIs(Box::new(workload)));
    }

    /// A namespace for one change: its own workload, repository and tag, all gone in the evening.
    fn preview(&mut self, day: i64) {
        let service = SERVICES + 1 + day as usize;
        self.push(service, 0);
        let image = format!("{}:v0", self.repository(service));
        self.template(service, 0, &image, 0);
        self.looked(SourceKind::Registry, Scope::Repository(self.repository(service)), 600.0);
        self.pass(30 * MINUTE);
        let key =
            ObjectKey { kind: WorkloadKind::Deployment, namespace: "preview".into(), name: name(service) };
        let uid = format!("uid-{}", key.name).into();
        for gone in std::mem::take(&mut self.pods[SERVICES]) {
            self.watched(Fact::Absent { subject: Subject::Pod { uid: gone.uid } });
        }
        let revision = format!("rs-{service}-0").into();
        self.watched(Fact::Absent { subject: Subject::Revision { uid: revision } });
        self.watched(Fact::Absent { subject: Subject::Workload { key, uid } });
        self.untag(service, 0);
    }

    /// Time passes, and everything that is still looked at is looked at.
    fn pass(&mut self, millis: i64) {
        self.now = self.now + millis;
        self.look_at_all();
    }

    fn look_at_all(&mut self) {
        for service in 0..SERVICES {
            self.looked(SourceKind::Registry, Scope::Repository(self.repository(service)), 600.0);
        }
        self.looked(SourceKind::Git, Scope::Branch { url: GIT.into(), branch: "main".into() }, 600.0);
        for resource in ["deployments", "replicasets", "pods"] {
            let scope = Scope::Resource { cluster: "lab".into(), resource: resource.into() };
            self.looked(SourceKind::Cluster, scope, 7200.0);
        }
    }

    fn looked(&mut self, kind: SourceKind, scope: Scope, interval_seconds: f64) {
        let fact = Fact::LookCompleted { scope, started: self.now, finished: self.now, interval_seconds };
        self.say(kind, Interval::at(self.now), Basis::Poll, fact);
    }

    fn watched(&mut self, fact: Fact) {
        self.say(SourceKind::Cluster, Interval::at(self.now), Basis::Watch, fact);
    }

    fn say(&mut self, kind: SourceKind, happened: Interval, basis: Basis, fact: Fact) {
        self.numbers[kind as usize] += 1;
        let observation = Observation {
            schema: SCHEMA,
            source: SourceId::new(kind, "only"),
            source_epoch: 1,
            seq: self.numbers[kind as usize],
            cluster: (kind == SourceKind::Cluster).then(|| "lab-uid".into()),
            observed_at: self.now,
            happened,
            basis,
            fact,
        };
        for event in self.tracker.observe(&observation) {
            let Event::Settled(journey) = event else { continue };
            if &*journey.destination.environment == "prod" {
                assert_eq!(journey.outcome, Some(Outcome::Live), "{journey:?}");
                assert_eq!(journey.trigger, Trigger::Push, "{journey:?}");
                self.live += 1;
            }
        }
    }

    fn repository(&self, service: usize) -> Repository {
        format!("registry.example.com/team/{}", name(service)).parse().unwrap()
    }
}

fn workload(key: ObjectKey, uid: Arc<str>, number: i64, template: TemplateHash, image: &str) -> Workload {
    Workload {
        app: None,
        key,
        uid,
        created: None,
        generation: number + 1,
        observed_generation: number + 1,
        template,
        containers: vec![ContainerSpec { name: "app".into(), image: image.into(), pull_always: false }],
        template_written: None,
        replicas_written: None,
        autoscaled: false,
        replicas: 1,
        status_replicas: 1,
        updated: 0,
        ready: 1,
        available: 1,
        progress: None,
        replica_failure: false,
        refused_by: None,
        refusal: None,
        paused: false,
        strategy: Strategy::Rolling { partition: 0 },
        current_revision: None,
        update_revision: None,
        schedule: None,
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

fn name(service: usize) -> Arc<str> {
    format!("service-{service}").into()
}

fn tag(number: i64) -> Tag {
    format!("v{number}").parse().unwrap()
}

fn digest(service: usize, number: i64) -> Digest {
    Digest::of(format!("{service} {number}").as_bytes())
}

/// Every size by its name, so that a new one is not overlooked.
fn numbers(sizes: &Sizes) -> Vec<(String, usize)> {
    let text = format!("{sizes:?}");
    let fields = text.trim_start_matches("Sizes { ").trim_end_matches(" }").split(", ");
    let read = |field: &str| {
        let (name, number) = field.split_once(": ").unwrap();
        (name.to_owned(), number.parse().unwrap())
    };
    fields.map(read).collect()
}
