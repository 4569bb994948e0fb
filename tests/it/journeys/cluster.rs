//! A cluster and its ideal observer: every change is said at once, with the times that the objects carry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use knotmeter::observation::{
    Basis, ConfigMap, EngineKey, EngineObject, Fact, Interval, LookFailure, Namespace, ObjectKey,
    ProbeFailed, Scope, SourceKind, Subject, Time,
};

use super::record::{Recorder, Speaker, since};
use super::text::{Read, START};
use super::workload::Running;

/// What is watched, by plural name.
const RESOURCES: [&str; 15] = [
    "namespaces",
    "deployments",
    "replicasets",
    "pods",
    "statefulsets",
    "daemonsets",
    "controllerrevisions",
    "cronjobs",
    "jobs",
    "configmaps",
    "imagerepositories",
    "imagepolicies",
    "imageupdateautomations",
    "gitrepositories",
    "kustomizations",
];
/// What was there at `0s` is an hour old.
const BEFORE: i64 = -3_600_000;
/// A watch may be silent for three of its looks.
const SILENT_LOOKS: i64 = 3;

/// A cluster, and what its observer has said.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub uid: Arc<str>,
    pub workloads: BTreeMap<ObjectKey, Running>,
    /// By namespace and name.
    pub config_maps: BTreeMap<(Arc<str>, Arc<str>), ConfigMap>,
    pub engines: BTreeMap<EngineKey, EngineObject>,
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Milliseconds that its own clock is ahead of ours.
    pub clock: i64,
    up: bool,
    /// While it is down every look says so.
    failing: bool,
    looked: bool,
    /// Resources that may not be read any more.
    forbidden: BTreeSet<String>,
    last_message: i64,
    said: BTreeMap<Object, Fact>,
    made: u64,
}

/// Order of the facts of one moment, as informers usually bring them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Workload(ObjectKey, Arc<str>),
    Revision(Arc<str>),
    Job(Arc<str>),
    Pod(Arc<str>),
    Probe(Arc<str>),
    ConfigMap(Arc<str>),
    Engine(Arc<str>),
    Namespace(Arc<str>),
}

impl Cluster {
    pub fn new(name: &str, uid: &str) -> Self {
        Self {
            name: name.into(),
            uid: uid.into(),
            workloads: BTreeMap::new(),
            config_maps: BTreeMap::new(),
            engines: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            clock: 0,
            up: true,
            failing: false,
            looked: false,
            forbidden: BTreeSet::new(),
            last_message: 0,
            said: BTreeMap::new(),
            made: 0,
        }
    }

    /// What the cluster's own clock shows, in whole seconds.
    pub fn clock(&self, now: i64) -> Time {
        let now = if now == 0 { BEFORE } else { now };
        START + (now + self.clock).div_euclid(1000) * 1000
    }

    /// A new UID.
    pub fn uid(&mut self, what: &str) -> Arc<str> {
        self.made += 1;
        format!("{}-{what}-{:04}", self.uid, self.made).into()
    }

    pub fn workload(&mut self, key: &ObjectKey) -> Read<&mut Running> {
        self.workloads.get_mut(key).ok_or(format!("there is no {key}; its template comes first"))
    }

    /// Counts statuses anew and says what changed.
    pub fn tell(&mut self, now: i64, to: &mut Recorder) {
        let clock = self.clock(now);
        self.workloads.values_mut().for_each(|running| running.count(clock));
        self.say_changes(now, to);
    }

    /// Says what changed, unless the watch is cut.
    pub fn say_changes(&mut self, now: i64, to: &mut Recorder) {
        if self.up && self.looked {
            self.say(now, (Interval::at(START + now), Basis::Watch), to);
        }
    }

    /// A bookmark, or the first look.
    pub fn look(&mut self, now: i64, interval: i64, to: &mut Recorder) {
        if !self.up {
            for resource in RESOURCES.iter().filter(|_| self.failing) {
                to.failed(&self.speaker(), now, self.scope(resource), LookFailure::Network);
            }
            return;
        }
        if !self.looked {
            self.looked = true;
            let named = Fact::ClusterNamed { name: self.name.as_str().into() };
            to.say(&self.speaker(), now, Interval::at(START + now), Basis::Watch, named);
            self.say(now, (Interval::until(START + now), Basis::Backfill), to);
        }
        self.looks_completed(now, interval, to);
    }

    pub fn down(&mut self, failing: bool) {
        (self.up, self.failing) = (false, failing);
    }

    /// The watch is back: a list says what is true now, and when only the objects know.
    pub fn up(&mut self, now: i64, interval: i64, to: &mut Recorder) {
        self.up = true;
        if !self.looked {
            return self.look(now, interval, to);
        }
        self.say(now, (since(self.last_message, now), Basis::Relist), to);
        self.looks_completed(now, interval, to);
    }

    /// A permission is taken away while it is watched: the watch ends, and what is so is not told from then on.
    pub fn forbid(&mut self, now: i64, resource: &str, to: &mut Recorder) {
        self.forbidden.insert(resource.to_owned());
        to.failed(&self.speaker(), now, self.scope(resource), LookFailure::Forbidden);
    }

    /// It is given back: a list says what is true now.
    pub fn allow(&mut self, now: i64, interval: i64, resource: &str, to: &mut Recorder) {
        self.forbidden.remove(resource);
        self.up(now, interval, to);
    }

    /// A list in the middle repeats everything.
    pub fn relist(&mut self, now: i64, interval: i64, to: &mut Recorder) {
        self.said.clear();
        self.up(now, interval, to);
    }

    /// Forgets what was said: our process starts anew.
    pub fn restart(&mut self) {
        self.looked = false;
        self.said.clear();
    }

    fn speaker(&self) -> Speaker {
        let mut speaker = Speaker::new(SourceKind::Cluster, &self.name);
        speaker.cluster = Some(self.uid.clone());
        speaker
    }

    fn looks_completed(&mut self, now: i64, interval: i64, to: &mut Recorder) {
        self.last_message = now;
        for resource in RESOURCES {
            if self.forbidden.contains(resource) {
                to.failed(&self.speaker(), now, self.scope(resource), LookFailure::Forbidden);
                continue;
            }
            to.looked(&self.speaker(), now, self.scope(resource), interval * SILENT_LOOKS);
        }
    }

    fn scope(&self, resource: &str) -> Scope {
        Scope::Resource { cluster: self.name.as_str().into(), resource: resource.into() }
    }

    fn say(&mut self, now: i64, how: (Interval, Basis), to: &mut Recorder) {
        let who = self.speaker();
        let is = self.levels();
        for (object, fact) in &is {
            if self.said.get(object) != Some(fact) {
                self.last_message = now;
                to.say(&who, now, how.0, how.1, fact.clone());
            }
        }
        for (object, _) in self.said.iter().filter(|(object, _)| !is.contains_key(*object)) {
            let subject = match object.clone() {
                Object::Workload(key, uid) => Subject::Workload { key, uid },
                Object::Revision(uid) => Subject::Revision { uid },
                Object::Job(uid) => Subject::Job { uid },
                Object::Pod(uid) => Subject::Pod { uid },
                // An event goes after an hour, and nobody says so.
                Object::Probe(_) => continue,
                Object::ConfigMap(uid) => Subject::ConfigMap { uid },
                Object::Engine(uid) => Subject::Engine { uid },
                Object::Namespace(uid) => Subject::Namespace { uid },
            };
            self.last_message = now;
            to.say(&who, now, how.0, how.1, Fact::Absent { subject });
        }
        self.said = is;
    }

    fn levels(&self) -> BTreeMap<Object, Fact> {
        let mut levels = BTreeMap::new();
        for known in self.config_maps.values() {
            levels.insert(Object::ConfigMap(known.uid.clone()), Fact::ConfigMapIs(Box::new(known.clone())));
        }
        for object in self.engines.values() {
            if self.forbidden.contains(object.key.kind.plural()) {
                let object = Object::Engine(object.uid.clone());
                levels.extend(self.said.get(&object).map(|said| (object, said.clone())));
                continue;
            }
            levels.insert(Object::Engine(object.uid.clone()), Fact::EngineIs(Box::new(object.clone())));
        }
        for namespace in self.namespaces.values() {
            let fact = Fact::NamespaceIs(Box::new(namespace.clone()));
            levels.insert(Object::Namespace(namespace.uid.clone()), fact);
        }
        for running in self.workloads.values() {
            let is = &running.is;
            let object = Object::Workload(is.key.clone(), is.uid.clone());
            levels.insert(object, Fact::WorkloadIs(Box::new(is.clone())));
            for revision in &running.revisions {
                let fact = Fact::RevisionIs(Box::new(revision.clone()));
                levels.insert(Object::Revision(revision.uid.clone()), fact);
            }
            for job in &running.jobs {
                levels.insert(Object::Job(job.uid.clone()), Fact::JobIs(Box::new(job.clone())));
            }
            for made in &running.pods {
                let fact = Fact::PodIs(Box::new(made.pod.clone()));
                levels.insert(Object::Pod(made.pod.uid.clone()), fact);
                if let Some(says) = &made.probe {
                    let failed = ProbeFailed { pod: made.pod.uid.clone(), says: says.clone() };
                    let fact = Fact::ProbeFailed(Box::new(failed));
                    levels.insert(Object::Probe(made.pod.uid.clone()), fact);
                }
            }
        }
        levels
    }
}
