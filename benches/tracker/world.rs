//! A company with two thousand services, each in staging and prod, and the observers that watch it.
//!
//! A seeded agenda makes things happen in virtual time: pushes, commits, rollouts, pods that move, looks. What
//! each observer says goes into the queue of its source; every few virtual seconds the queues are merged in a
//! random order that keeps each source's own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use knotmeter::image::{Digest, ImageRef, Repository, Tag};
use knotmeter::observation::{
    Basis, ClusterUid, Commit, EnvironmentRule, ExpectRule, Fact, GitReference, ImageDescribed, Interval,
    Node, NodeRole, Observation, PathRule, Policy, Rules, SCHEMA, Scope, SourceId, SourceKind, Time,
    TreeNames,
};

use super::rollout::Running;

const SERVICES: usize = 2000;
const ENVIRONMENTS: [&str; 2] = ["staging", "prod"];
/// Two of each environment.
const CLUSTERS: usize = 4;
const REGISTRIES: usize = 4;
const GITS: usize = 64;
pub const WORKLOADS: usize = SERVICES * ENVIRONMENTS.len();
/// Tags of each repository at the first look.
const OLD_TAGS: usize = 50;
/// One service in so many has an `expect` rule.
const EXPECTED: usize = 20;
/// Sources overtake each other within this time.
const WINDOW_MILLIS: i64 = 5000;
const START: i64 = 1_760_000_000_000;
const REGISTRY_LOOK_MILLIS: i64 = 60_000;
const GIT_LOOK_MILLIS: i64 = 30_000;
const BOOKMARK_MILLIS: i64 = 60_000;
const RESOURCES: [&str; 5] = ["deployments", "replicasets", "pods", "statefulsets", "controllerrevisions"];

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Push(usize),
    /// A service's new image is committed to an environment.
    Commit(usize, usize),
    /// The applier changes a workload's template.
    Apply(usize),
    /// The next step of a workload's rollout.
    Step(usize),
    /// A pod moves to another node.
    Move(usize),
    LookAtRepository(usize),
    LookAtGit(usize),
    Bookmark(usize),
}

/// See the file's front line.
pub struct World {
    pub now: i64,
    pub random: Random,
    agenda: BinaryHeap<Reverse<(i64, u64, Action)>>,
    order: u64,
    services: Vec<Service>,
    pub workloads: Vec<Running>,
    pub sources: Vec<Source>,
    window_ends: i64,
    ready: VecDeque<Observation>,
}

struct Service {
    repository: Repository,
    name: Arc<str>,
    pushed: usize,
    /// Version at the tip of each environment's path.
    committed: [usize; 2],
}

/// One source, and what it said in this window.
pub struct Source {
    id: SourceId,
    cluster: Option<ClusterUid>,
    seq: u64,
    said: VecDeque<Observation>,
}

impl World {
    pub fn new() -> Self {
        let mut sources = vec![Source::new(SourceKind::Config, "rules", None)];
        for at in 0..CLUSTERS {
            sources.push(Source::new(SourceKind::Cluster, &cluster(at), Some(cluster_uid(at))));
        }
        for at in 0..REGISTRIES {
            sources.push(Source::new(SourceKind::Registry, &host(at), None));
        }
        for at in 0..GITS {
            sources.push(Source::new(SourceKind::Git, &git(at), None));
        }
        let service = |at: usize| Service {
            repository: format!("{}/team-{}/service-{at}", host(at % REGISTRIES), at % 37)
                .parse()
                .expect("fits"),
            name: format!("service-{at}").into(),
            pushed: 1,
            committed: [1, 1],
        };
        let mut world = Self {
            now: START,
            random: Random(1),
            agenda: BinaryHeap::new(),
            order: 0,
            services: (0..SERVICES).map(service).collect(),
            workloads: Vec::new(),
            sources,
            window_ends: START,
            ready: VecDeque::new(),
        };
        for at in 0..WORKLOADS {
            let service = &world.services[at / 2];
            let running = Running::new(at, &service.name, &image(service, 1), ENVIRONMENTS[at % 2]);
            world.workloads.push(running);
        }
        world.first_looks();
        world.deliver();
        world
    }

    /// The next observations.
    pub fn chunk(&mut self, count: usize) -> Vec<Observation> {
        while self.ready.len() < count {
            self.window_ends += WINDOW_MILLIS;
            while let Some(Reverse((at, _, action))) = self.agenda.peek().copied() {
                if at > self.window_ends {
                    break;
                }
                self.agenda.pop();
                self.now = at;
                self.act(action);
            }
            self.now = self.window_ends;
            self.deliver();
        }
        self.ready.drain(..count).collect()
    }

    pub fn at(&mut self, after: i64, action: Action) {
        self.order += 1;
        self.agenda.push(Reverse((self.now + after.max(1), self.order, action)));
    }

    pub fn say(&mut self, source: usize, happened: Interval, basis: Basis, fact: Fact) {
        let repeat = self.random.below(9) == 0;
        let now = self.now;
        let source = &mut self.sources[source];
        source.seq += 1;
        let observation = Observation {
            schema: SCHEMA,
            source: source.id.clone(),
            source_epoch: START as u64,
            seq: source.seq,
            cluster: source.cluster.clone(),
            observed_at: Time(now),
            happened,
            basis,
            fact,
        };
        source.said.push_back(observation);
        if repeat {
            let back = self.random.below(source.said.len().min(8));
            let again = source.said[source.said.len() - 1 - back].clone();
            source.said.push_back(again);
        }
    }

    /// What a watch brought a moment ago.
    pub fn watched(&mut self, workload: usize, fact: Fact) {
        let happened = Interval::new(Time(self.now - 300), Time(self.now));
        self.say(1 + cluster_of(workload), happened, Basis::Watch, fact);
    }

    fn looked(&mut self, source: usize, scope: Scope, interval: i64) {
        let at = Time(self.now);
        let fact = Fact::LookCompleted {
            scope,
            started: at - 50,
            finished: at,
            interval_seconds: interval as f64 / 1000.0,
        };
        self.say(source, Interval::at(at), Basis::Poll, fact);
    }

    /// Each source's queue in its own order, sources at random.
    fn deliver(&mut self) {
        let mut turns = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            turns.extend(std::iter::repeat_n(at, source.said.len()));
        }
        for at in (1..turns.len()).rev() {
            turns.swap(at, self.random.below(at + 1));
        }
        for turn in turns {
            self.ready.extend(self.sources[turn].said.pop_front());
        }
    }

    fn first_looks(&mut self) {
        let rules = rules(&self.services);
        self.say(0, Interval::at(Time(self.now)), Basis::Watch, Fact::ConfigInForce(Box::new(rules)));
        // The rules are there before anything else.
        self.deliver();
        let there = (Interval::until(Time(self.now)), Basis::Backfill);
        for at in 0..SERVICES {
            let service = &self.services[at];
            let mut tags: Vec<Tag> =
                (0..OLD_TAGS).map(|n| format!("v0.{n}.0").parse().expect("a tag")).collect();
            tags.push(tag(1));
            let (source, repository) = (1 + CLUSTERS + at % REGISTRIES, service.repository.clone());
            let points =
                Fact::TagPointsTo { repository: repository.clone(), tag: tag(1), digest: digest(at, 1) };
            let described = Fact::ImageDescribed(Box::new(described(at, service, 1)));
            self.say(source, there.0, there.1, Fact::TagsListed { repository: repository.clone(), tags });
            self.say(source, there.0, there.1, points);
            self.say(source, there.0, there.1, described);
            self.looked(source, Scope::Repository(repository), REGISTRY_LOOK_MILLIS);
            let (look, push) = (self.random.between(0, 60_000), self.random.between(0, 1_200_000));
            self.at(look, Action::LookAtRepository(at));
            self.at(push, Action::Push(at));
        }
        for at in 0..GITS {
            for environment in 0..ENVIRONMENTS.len() {
                let names = self.tree(at, environment, None);
                self.say(1 + CLUSTERS + REGISTRIES + at, there.0, there.1, names);
            }
            self.act(Action::LookAtGit(at));
        }
        for at in 0..CLUSTERS {
            let named = Fact::ClusterNamed { name: cluster(at).into() };
            self.say(1 + at, there.0, there.1, named);
        }
        for at in 0..WORKLOADS {
            for fact in self.workloads[at].levels() {
                self.say(1 + cluster_of(at), there.0, there.1, fact);
            }
            let moves = self.random.between(0, 1_800_000);
            self.at(moves, Action::Move(at));
        }
        (0..CLUSTERS).for_each(|at| self.act(Action::Bookmark(at)));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Push(at) => self.push(at),
            Action::Commit(at, environment) => self.commit(at, environment),
            Action::Apply(at) => {
                let service = &self.services[at / 2];
                let version = service.committed[at % 2];
                let (image, digest) = (image(service, version), digest(at / 2, version));
                super::rollout::apply(self, at, &image, &digest);
            }
            Action::Step(at) => super::rollout::step(self, at),
            Action::Move(at) => {
                super::rollout::move_pod(self, at);
                let again = self.random.between(900_000, 2_700_000);
                self.at(again, action);
            }
            Action::LookAtRepository(at) => {
                let repository = self.services[at].repository.clone();
                self.looked(
                    1 + CLUSTERS + at % REGISTRIES,
                    Scope::Repository(repository),
                    REGISTRY_LOOK_MILLIS,
                );
                self.at(REGISTRY_LOOK_MILLIS, action);
            }
            Action::LookAtGit(at) => {
                let scope = Scope::Branch { url: git(at).into(), branch: "main".into() };
                self.looked(1 + CLUSTERS + REGISTRIES + at, scope, GIT_LOOK_MILLIS);
                self.at(GIT_LOOK_MILLIS, action);
            }
            Action::Bookmark(at) => {
                for resource in RESOURCES {
                    let scope = Scope::Resource { cluster: cluster(at).into(), resource: resource.into() };
                    self.looked(1 + at, scope, BOOKMARK_MILLIS);
                }
                self.at(BOOKMARK_MILLIS, action);
            }
        }
    }

    fn push(&mut self, at: usize) {
        self.services[at].pushed += 1;
        let service = &self.services[at];
        let (version, repository) = (service.pushed, service.repository.clone());
        let described = Fact::ImageDescribed(Box::new(described(at, service, version)));
        let points = Fact::TagPointsTo { repository, tag: tag(version), digest: digest(at, version) };
        let source = 1 + CLUSTERS + at % REGISTRIES;
        let happened = Interval::new(Time(self.now - REGISTRY_LOOK_MILLIS), Time(self.now));
        self.say(source, happened, Basis::Poll, points);
        self.say(source, Interval::at(Time(self.now)), Basis::Poll, described);
        let (staging, prod) = (self.random.between(10_000, 40_000), self.random.between(300_000, 600_000));
        let next = self.random.between(900_000, 1_500_000);
        self.at(staging, Action::Commit(at, 0));
        self.at(prod, Action::Commit(at, 1));
        self.at(next, Action::Push(at));
    }

    fn commit(&mut self, at: usize, environment: usize) {
        self.services[at].committed[environment] = self.services[at].pushed;
        let names = self.tree(at % GITS, environment, Some(at));
        let happened = Interval::new(Time(self.now - GIT_LOOK_MILLIS), Time(self.now));
        self.say(1 + CLUSTERS + REGISTRIES + at % GITS, happened, Basis::Poll, names);
        let after = self.random.between(3_000, 60_000);
        self.at(after, Action::Apply(at * 2 + environment));
    }

    /// The level of one path, and the commit that brought one service's new image.
    fn tree(&self, git_at: usize, environment: usize, changed: Option<usize>) -> Fact {
        let services = (git_at..SERVICES).step_by(GITS);
        let references = services.map(|at| self.reference(at, environment)).collect();
        let commit: Arc<str> = format!("{:040x}", self.order).into();
        let commits = changed.map(|at| Commit {
            id: commit.clone(),
            author: "updater".into(),
            committed_at: Time(self.now / 1000 * 1000),
            subject: "Update an image".into(),
            parent: None,
            reverts: None,
            added: vec![self.reference(at, environment)],
            config_maps: Vec::new(),
            values: Vec::new(),
            scales: Vec::new(),
        });
        Fact::TreeNames(Box::new(TreeNames {
            url: git(git_at).into(),
            branch: "main".into(),
            path: ENVIRONMENTS[environment].into(),
            commit,
            references,
            config_maps: Vec::new(),
            values: Vec::new(),
            scales: Vec::new(),
            commits: commits.into_iter().collect(),
            forced: false,
        }))
    }

    fn reference(&self, at: usize, environment: usize) -> GitReference {
        let service = &self.services[at];
        let running = &self.workloads.get(at * 2 + environment);
        GitReference {
            file: service.name.clone(),
            line: 12,
            kind: running.map(|running| running.is.key.kind.as_str().into()),
            name: Some(service.name.clone()),
            namespace: Some(ENVIRONMENTS[environment].into()),
            container: Some("app".into()),
            image: image(service, service.committed[environment]),
            marker: (!at.is_multiple_of(3)).then(|| "release".into()),
            template: None,
        }
    }
}

impl Source {
    fn new(kind: SourceKind, name: &str, cluster: Option<ClusterUid>) -> Self {
        Self { id: SourceId::new(kind, name), cluster, seq: 0, said: VecDeque::new() }
    }
}

fn cluster_of(workload: usize) -> usize {
    workload % 2 * 2 + workload / 2 % 2
}

fn cluster(at: usize) -> String {
    format!("{}-{}", ENVIRONMENTS[at / 2], at % 2)
}

fn cluster_uid(at: usize) -> ClusterUid {
    format!("7c9e6679-7425-40de-944b-e07fc1f90a{at:02}").into()
}

fn host(at: usize) -> String {
    format!("registry-{at}.example.com")
}

fn git(at: usize) -> String {
    format!("https://git.example.com/team/fleet-{at}.git")
}

fn tag(version: usize) -> Tag {
    format!("v1.{version}.0").parse().expect("a tag")
}

fn image(service: &Service, version: usize) -> ImageRef {
    ImageRef { repository: service.repository.clone(), tag: Some(tag(version)), digest: None }
}

pub fn digest(service: usize, version: usize) -> Digest {
    Digest::of(&[service.to_le_bytes(), version.to_le_bytes()].concat())
}

/// An index with one manifest and its config, as most builds push.
fn described(at: usize, service: &Service, version: usize) -> ImageDescribed {
    let node = |what: usize, role| Node {
        digest: Digest::of(&[at.to_le_bytes(), version.to_le_bytes(), what.to_le_bytes()].concat()),
        role,
        platform: Some("linux/amd64".into()),
    };
    ImageDescribed {
        repository: service.repository.clone(),
        digest: digest(at, version),
        nodes: vec![node(1, NodeRole::Manifest), node(2, NodeRole::Config)],
        created: None,
        revision: Some("0123456789abcdef".into()),
        source: None,
        synthetic: false,
    }
}

fn rules(services: &[Service]) -> Rules {
    let environments = ENVIRONMENTS.map(|name| EnvironmentRule {
        name: name.into(),
        clusters: Vec::new(),
        namespaces: vec![name.into()],
    });
    let paths = (0..GITS).flat_map(|at| {
        ENVIRONMENTS.map(|name| PathRule {
            url: git(at).into(),
            branch: "main".into(),
            path: name.into(),
            environment: name.into(),
        })
    });
    let expect = services.iter().step_by(EXPECTED).map(|service| ExpectRule {
        image: service.repository.clone(),
        filter: None,
        policy: Policy::Semver { range: ">=1.0.0".into() },
        environment: ENVIRONMENTS[0].into(),
    });
    Rules {
        environments: environments.into(),
        expect: expect.collect(),
        paths: paths.collect(),
        ..Rules::default()
    }
}

/// Numbers that a seed repeats (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from) as usize) as i64
    }
}
