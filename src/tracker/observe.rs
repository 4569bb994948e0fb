//! What each fact does to the state: where it belongs, when it happened, and whom it concerns.

use std::sync::Arc;

use super::source::Look;
use super::stage::Evidence;
use super::{Event, Tracker};
use crate::observation::{
    Basis, EngineObject, Fact, ImageDescribed, Interval, ObjectKey, Observation, Scope, SourceKind, Subject,
    Time, TreeNames,
};

impl Tracker {
    pub(super) fn take(&mut self, observation: &Observation, events: &mut Vec<Event>) {
        match &observation.fact {
            Fact::ConfigInForce(rules) => {
                self.rules = (**rules).clone();
                self.registries.configure(&rules.expect, observation.observed_at);
                self.trees.configure(&rules.paths);
                self.index.branches.clear();
                self.touch_all();
            }
            Fact::ClusterNamed { name } => {
                if let Some(uid) = &observation.cluster {
                    // Numbers of scopes may be given to others below.
                    self.index.scopes.clear();
                    self.index.engine_scopes.clear();
                    // What failed before the cluster was known stood under its name, and never will be looked at.
                    let own = format!("{uid}/");
                    self.sources.retain(|key, status| {
                        status.source != observation.source
                            || status.first_look.is_some()
                            || key.0.starts_with(&*own)
                    });
                    let cluster = self.clusters.entry(uid.clone()).or_default();
                    if cluster.name.replace(name.clone()).as_ref() != Some(name) {
                        self.dirty.extend(cluster.workloads.keys().map(|key| (uid.clone(), key.clone())));
                    }
                    self.index.waiting.extend(self.active.iter().cloned());
                }
            }
            Fact::TagPointsTo { repository, tag, digest } => {
                let (at, _) = self.place(observation, || Scope::Repository(repository.clone()));
                let is_new = !self.registries.has_tag(repository, tag);
                if self.registries.point(repository, tag, digest, at) {
                    self.touch_tag(repository, tag, digest);
                }
                if is_new {
                    self.follow_tag(repository, tag, at, events);
                }
            }
            Fact::TagsListed { repository, tags } => {
                let (at, _) = self.place(observation, || Scope::Repository(repository.clone()));
                self.registries.list(repository, tags, at);
            }
            Fact::Expected { repository, tag, environment } => {
                self.registries.expect(repository, tag, environment, observation.happened);
                self.touch_users(repository);
            }
            Fact::ImageDescribed(image) => self.describe(image),
            Fact::TreeNames(names) => self.names(observation, names),
            Fact::WorkloadIs(_)
            | Fact::RevisionIs(_)
            | Fact::PodIs(_)
            | Fact::ProbeFailed(_)
            | Fact::JobIs(_)
            | Fact::ConfigMapIs(_) => {
                self.cluster_fact(observation);
            }
            Fact::NamespaceIs(namespace) => {
                if let Some(uid) = &observation.cluster {
                    let cluster = self.clusters.entry(uid.clone()).or_default();
                    cluster.namespaces.take(namespace, observation.source_epoch);
                }
            }
            Fact::EngineIs(object) => self.engine_fact(observation, object, events),
            Fact::Absent { subject } => self.absent(observation, subject),
            Fact::LookCompleted { scope, started, finished, interval_seconds } => {
                self.look(observation, scope, *started, *finished, *interval_seconds);
            }
            Fact::LookFailed { scope, failure, message } => {
                let scope = self.sources.number_of(scope, observation.cluster.as_ref());
                let status = self.sources.entry(scope, &observation.source);
                if status.failing.is_none() || status.failing.as_ref().is_some_and(|(_, f, _)| f != failure) {
                    status.failing = Some((observation.observed_at, *failure, message.clone()));
                    self.touch_waiting(scope);
                }
            }
            Fact::Unknown => {}
        }
    }

    /// When a fact happened, and whether it was so at the first look of its scope ever. A level that a new
    /// process or a relist repeats began after the last complete look without it.
    fn place(&mut self, observation: &Observation, scope: impl FnOnce() -> Scope) -> (Evidence, bool) {
        let happened = observation.happened;
        if happened.not_before.is_known() {
            return (Evidence { interval: happened, basis: observation.basis }, false);
        }
        let scope = self.sources.number_of(&scope(), observation.cluster.as_ref());
        match self.sources.get(scope).and_then(|status| status.last_started) {
            Some(last) => {
                let interval = Interval::new(last, happened.not_after);
                let watched = observation.source.kind == SourceKind::Cluster;
                let basis = if watched { Basis::Relist } else { Basis::Poll };
                (Evidence { interval, basis }, false)
            }
            None => (Evidence { interval: happened, basis: Basis::Backfill }, true),
        }
    }

    fn look(
        &mut self,
        observation: &Observation,
        scope: &Scope,
        started: Time,
        finished: Time,
        interval_seconds: f64,
    ) {
        let epoch = observation.source_epoch;
        let number = self.sources.number_of(scope, observation.cluster.as_ref());
        let status = self.sources.entry(number, &observation.source);
        let new_epoch = status.epoch != epoch;
        let last = status.last_started;
        let Look { first, news } = status.look(started, finished, interval_seconds, epoch);
        if news {
            // It is fresh again; who waited for it is judged at once.
            self.touch_waiting(number);
        }
        if matches!(scope, Scope::Resource { .. } | Scope::Branch { .. }) {
            self.touch_unheard(number);
        }
        let look =
            Evidence { interval: Interval::new(last.unwrap_or(Time::MIN), finished), basis: Basis::Poll };
        match scope {
            Scope::Repository(repository) => {
                if self.registries.select(repository, first, look) {
                    self.touch_users(repository);
                }
            }
            Scope::Resource { cluster, resource } if new_epoch && !first => {
                let uid: Arc<str> = observation.cluster.clone().unwrap_or_else(|| cluster.clone());
                let gone = Evidence { interval: look.interval, basis: Basis::Relist };
                if let Some(state) = self.clusters.get_mut(&uid) {
                    let engines = state.engines.sweep(resource, epoch);
                    let touched = state.sweep(resource, epoch, gone);
                    self.dirty.extend(touched.into_iter().map(|key| (uid.clone(), key)));
                    for touched in engines {
                        self.leave_policy(&uid, &touched, gone.interval);
                        self.touch_engine(&uid, touched);
                    }
                }
            }
            Scope::Resource { .. } | Scope::Branch { .. } | Scope::Endpoint(_) => {}
        }
    }

    fn describe(&mut self, image: &ImageDescribed) {
        if self.registries.describe(image) {
            self.touch_image(image);
        }
    }

    fn names(&mut self, observation: &Observation, names: &TreeNames) {
        let scope = || Scope::Branch { url: names.url.clone(), branch: names.branch.clone() };
        let (at, backfill) = self.place(observation, scope);
        if !backfill {
            self.follow_commits(names, observation.observed_at);
        }
        let taken = self.trees.taken.note(names, at);
        self.touch_made_of(&taken);
        for slot in self.trees.names(names, at, backfill, &self.rules.paths) {
            self.touch_slot(&slot);
        }
    }

    fn engine_fact(&mut self, observation: &Observation, object: &EngineObject, events: &mut Vec<Event>) {
        let Some(uid) = observation.cluster.clone() else { return };
        let resource = object.key.kind.plural();
        let scope = || Scope::Resource { cluster: uid.clone(), resource: resource.into() };
        let (at, backfill) = self.place(observation, scope);
        let cluster = self.clusters.entry(uid.clone()).or_default();
        let (epoch, learned) = (observation.source_epoch, observation.observed_at);
        let touched = cluster.engines.take(object, at, backfill, epoch, learned);
        let raced = touched.raced;
        self.follow_policies(&uid, object, backfill, learned);
        self.touch_engine(&uid, touched);
        self.follow_updater(&uid, object, raced, events);
    }

    /// What the policies of an object choose by is known as soon as both they and their repositories are.
    fn follow_policies(&mut self, uid: &Arc<str>, object: &EngineObject, first: bool, now: Time) {
        let Some(cluster) = self.clusters.get(uid) else { return };
        for (key, rule) in cluster.engines.policies_of(&object.key) {
            self.registries.forget_policy(
                uid,
                &key.namespace,
                &key.name,
                rule.as_ref().map(|(rule, _)| &rule.image),
            );
            let Some((rule, follows_digest)) = rule else { continue };
            let repository = rule.image.clone();
            let place = (repository.clone(), uid.clone(), key.namespace, key.name);
            if self.registries.follow_policy(place, rule, follows_digest, first, now)
                && let Some(users) = self.users.get(&repository)
            {
                self.dirty.extend(users.iter().cloned());
            }
        }
    }

    fn cluster_fact(&mut self, observation: &Observation) {
        let Some(uid) = observation.cluster.clone() else { return };
        let resource = match &observation.fact {
            Fact::WorkloadIs(workload) => super::cluster::plural(&workload.key),
            Fact::RevisionIs(_) => "replicasets",
            Fact::PodIs(_) => "pods",
            Fact::ConfigMapIs(_) => "configmaps",
            _ => "jobs",
        };
        let scope = || Scope::Resource { cluster: uid.clone(), resource: resource.into() };
        let (at, backfill) = self.place(observation, scope);
        let epoch = observation.source_epoch;
        let cluster = match self.clusters.get_mut(&uid) {
            Some(cluster) => cluster,
            None => self.clusters.entry(uid.clone()).or_default(),
        };
        let touched: Option<ObjectKey> = match &observation.fact {
            Fact::WorkloadIs(workload) => {
                let learned = observation.observed_at;
                let key = cluster.workload(workload, at, backfill, epoch, learned);
                let state = cluster.workloads.get(&key).filter(|state| state.news.derive);
                if let Some(version) = state.and_then(|state| state.versions.last()) {
                    let place = (uid.clone(), key.clone());
                    for image in version.references.iter().flatten() {
                        let users = self.users.entry(image.repository.clone()).or_default();
                        if users.insert(place.clone()) && self.trees.has_text(&image.repository) {
                            // Whether others use it alone decides whose a text is.
                            self.dirty.extend(users.iter().cloned());
                        }
                    }
                    self.index.names.entry(key.name.clone()).or_default().insert(place);
                }
                Some(key)
            }
            Fact::RevisionIs(revision) => cluster.revision((**revision).clone(), epoch),
            Fact::PodIs(pod) => cluster.pod(pod, at.interval, epoch),
            Fact::ProbeFailed(failed) => cluster.probe_failed(failed),
            Fact::JobIs(job) => cluster.job(job, at.interval, epoch),
            Fact::ConfigMapIs(config_map) => {
                let readers = cluster.config_map(config_map, at, backfill, epoch).into_iter();
                self.dirty.extend(readers.map(|key| (uid.clone(), key)));
                None
            }
            _ => None,
        };
        if let Some(key) = touched {
            self.touch_workload(uid, key);
        }
    }

    fn absent(&mut self, observation: &Observation, subject: &Subject) {
        if let Subject::Tag { repository, tag } = subject {
            self.registries.remove(repository, tag);
            self.lags.forget_tag(repository, tag);
            return;
        }
        let Some(uid) = observation.cluster.clone() else { return };
        if let Subject::Engine { uid: object } = subject {
            let touched = self.clusters.get_mut(&uid).map(|cluster| cluster.engines.gone(object));
            if let Some(touched) = touched {
                self.leave_policy(&uid, &touched, observation.happened);
                self.touch_engine(&uid, touched);
            }
            return;
        }
        let gone = Evidence { interval: observation.happened, basis: observation.basis };
        let cluster = self.clusters.entry(uid.clone()).or_default();
        let touched = match subject {
            Subject::Workload { key, uid } => cluster.workload_gone(key, uid, gone).then(|| key.clone()),
            Subject::Revision { uid } => cluster.revision_gone(uid),
            Subject::Pod { uid } => cluster.pod_gone(uid),
            Subject::Job { uid } => cluster.job_gone(uid),
            Subject::ConfigMap { uid } => {
                cluster.config_maps.gone(uid);
                None
            }
            Subject::Namespace { uid } => {
                cluster.namespaces.gone(uid);
                None
            }
            Subject::Tag { .. } | Subject::Branch { .. } | Subject::Engine { .. } => None,
        };
        if let Some(key) = touched {
            self.touch_workload(uid, key);
        }
    }
}
