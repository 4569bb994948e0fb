//! What each fact does to the state: where it belongs, when it happened, and whom it concerns.

use std::sync::Arc;

use super::Tracker;
use super::source::{ScopeKey, ScopeStatus};
use super::stage::Evidence;
use crate::image::Repository;
use crate::observation::{
    Basis, Fact, ImageDescribed, Interval, ObjectKey, Observation, Scope, SourceKind, Subject, Time,
    TreeNames,
};

/// Resources are told apart by their cluster's UID; its name may be shared.
fn scope_key(scope: &Scope, observation: &Observation) -> ScopeKey {
    match (scope, &observation.cluster) {
        (Scope::Resource { resource, .. }, Some(uid)) => {
            ScopeKey::new(&Scope::Resource { cluster: uid.clone(), resource: resource.clone() })
        }
        _ => ScopeKey::new(scope),
    }
}

impl Tracker {
    pub(super) fn take(&mut self, observation: &Observation) {
        match &observation.fact {
            Fact::ConfigInForce(rules) => {
                self.rules = (**rules).clone();
                self.registries.configure(&rules.expect, observation.observed_at);
                self.touch_all();
            }
            Fact::ClusterNamed { name } => {
                if let Some(uid) = &observation.cluster {
                    // What failed before the cluster was known stood under its name, and never will be looked at.
                    let own = format!("{uid}/");
                    self.sources.scopes.retain(|key, status| {
                        status.source != observation.source
                            || status.first_look.is_some()
                            || key.0.starts_with(&own)
                    });
                    self.clusters.entry(uid.clone()).or_default().name = Some(name.clone());
                }
            }
            Fact::TagPointsTo { repository, tag, digest } => {
                let (at, _) = self.place(observation, &Scope::Repository(repository.clone()));
                self.registries.point(repository, tag, digest, at);
                self.touch_users(repository);
            }
            Fact::TagsListed { repository, tags } => {
                let (at, _) = self.place(observation, &Scope::Repository(repository.clone()));
                self.registries.list(repository, tags, at);
            }
            Fact::ImageDescribed(image) => self.describe(image),
            Fact::TreeNames(names) => self.names(observation, names),
            Fact::WorkloadIs(_)
            | Fact::RevisionIs(_)
            | Fact::PodIs(_)
            | Fact::JobIs(_)
            | Fact::ConfigMapIs(_) => {
                self.cluster_fact(observation);
            }
            Fact::Absent { subject } => self.absent(observation, subject),
            Fact::LookCompleted { scope, started, finished, interval_seconds } => {
                self.look(observation, scope, *started, *finished, *interval_seconds);
            }
            Fact::LookFailed { scope, failure, message } => {
                let status = self.scope(scope, observation);
                if status.failing.is_none() || status.failing.as_ref().is_some_and(|(_, f, _)| f != failure) {
                    status.failing = Some((observation.observed_at, *failure, message.clone()));
                }
            }
            Fact::Unknown => {}
        }
    }

    /// When a fact happened, and whether it was so at the first look of its scope ever. A level that a new
    /// process or a relist repeats began after the last complete look without it.
    fn place(&self, observation: &Observation, scope: &Scope) -> (Evidence, bool) {
        let happened = observation.happened;
        if happened.not_before.is_known() {
            return (Evidence { interval: happened, basis: observation.basis }, false);
        }
        let key = scope_key(scope, observation);
        match self.sources.scopes.get(&key).and_then(|status| status.last_started) {
            Some(last) => {
                let interval = Interval::new(last, happened.not_after);
                let watched = observation.source.kind == SourceKind::Cluster;
                let basis = if watched { Basis::Relist } else { Basis::Poll };
                (Evidence { interval, basis }, false)
            }
            None => (Evidence { interval: happened, basis: Basis::Backfill }, true),
        }
    }

    fn scope(&mut self, scope: &Scope, observation: &Observation) -> &mut ScopeStatus {
        self.sources
            .scopes
            .entry(scope_key(scope, observation))
            .or_insert_with(|| ScopeStatus::new(observation.source.clone()))
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
        let status = self.scope(scope, observation);
        let new_epoch = status.epoch != epoch;
        let last = status.last_started;
        let first = status.look(started, finished, interval_seconds, epoch);
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
                    let touched = state.sweep(resource, epoch, gone);
                    self.dirty.extend(touched.into_iter().map(|key| (uid.clone(), key)));
                }
            }
            Scope::Resource { .. } | Scope::Branch { .. } => {}
        }
    }

    fn describe(&mut self, image: &ImageDescribed) {
        self.registries.describe(image);
        self.touch_users(&image.repository);
        // A node shared with another repository's image decides there too.
        self.touch_active();
    }

    fn names(&mut self, observation: &Observation, names: &TreeNames) {
        let scope = Scope::Branch { url: names.url.clone(), branch: names.branch.clone() };
        let (at, backfill) = self.place(observation, &scope);
        if self.trees.names(names, at, backfill) {
            self.touch_all();
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
        let scope = Scope::Resource { cluster: uid.clone(), resource: resource.into() };
        let (at, backfill) = self.place(observation, &scope);
        let epoch = observation.source_epoch;
        let cluster = self.clusters.entry(uid.clone()).or_default();
        let touched: Option<ObjectKey> = match &observation.fact {
            Fact::WorkloadIs(workload) => {
                let learned = observation.observed_at;
                let key = cluster.workload((**workload).clone(), at, backfill, epoch, learned);
                for container in &workload.containers {
                    if let Ok(image) = container.image.parse::<crate::image::ImageRef>() {
                        let place = (uid.clone(), key.clone());
                        self.users.entry(image.repository).or_default().insert(place);
                    }
                }
                Some(key)
            }
            Fact::RevisionIs(revision) => cluster.revision((**revision).clone(), epoch),
            Fact::PodIs(pod) => cluster.pod((**pod).clone(), at.interval, epoch),
            Fact::JobIs(job) => cluster.job(job, at.interval, epoch),
            Fact::ConfigMapIs(config_map) => {
                let readers = cluster.config_map(config_map, at, backfill, epoch).into_iter();
                self.dirty.extend(readers.map(|key| (uid.clone(), key)));
                None
            }
            _ => None,
        };
        self.dirty.extend(touched.map(|key| (uid, key)));
    }

    fn absent(&mut self, observation: &Observation, subject: &Subject) {
        if let Subject::Tag { repository, tag } = subject {
            self.registries.remove(repository, tag);
            return;
        }
        let Some(uid) = observation.cluster.clone() else { return };
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
            Subject::Tag { .. } | Subject::Branch { .. } => None,
        };
        self.dirty.extend(touched.map(|key| (uid, key)));
    }

    fn touch_users(&mut self, repository: &Repository) {
        if let Some(users) = self.users.get(repository) {
            self.dirty.extend(users.iter().cloned());
        }
    }

    fn touch_active(&mut self) {
        self.dirty.extend(self.active.iter().map(|key| (key.cluster.clone(), key.workload.clone())));
    }

    fn touch_all(&mut self) {
        for (uid, cluster) in &self.clusters {
            self.dirty.extend(cluster.workloads.keys().map(|key| (uid.clone(), key.clone())));
        }
    }
}
