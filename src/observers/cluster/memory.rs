//! What is remembered of each object: enough to know a repeat, to tell what part changed, and to miss it when it is gone.
//!
//! Hashes, never the object: 100,000 pods must fit in a few tens of megabytes. The hashes live in this process
//! only and each process seeds its own, so a fast hasher will do.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::num::NonZeroU64;

use foldhash::{fast, quality};
use serde_json::value::RawValue;

use super::object::{Metadata, Object};
use super::uid::Uid;
use crate::observation::{Fact, ObjectKey, Subject, TemplateHash, UpdateClass, Workload};

/// Objects remembered per resource: ten times the pods of a large cluster. Beyond it an object is still reported,
/// but its disappearance is seen only by a watch.
pub const OBJECTS_REMEMBERED_MAX: usize = 1_000_000;

/// The objects of one resource, by UID.
#[derive(Debug, Default)]
pub(super) struct Memory {
    objects: HashMap<Uid, Remembered, fast::RandomState>,
    look: u32,
    hasher: quality::RandomState,
    /// Where a fact is written to be hashed.
    written: Vec<u8>,
}

/// One object.
#[derive(Debug)]
struct Remembered {
    version: u64,
    /// Hash of the last fact that was said of it.
    fact: Option<NonZeroU64>,
    parts: Parts,
    seen_in_look: u32,
    /// What few kinds need.
    more: Option<Box<More>>,
}

#[derive(Debug)]
enum More {
    Workload {
        key: ObjectKey,
        template: TemplateHash,
        replicas: i64,
    },
    /// How often an event had happened.
    Event {
        count: u64,
    },
}

/// What a version of an object is, compared with what was remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    /// This very version was read before.
    Repeated,
    New,
    /// `None`: only fields changed that nobody reads, such as `managedFields`.
    Changed(Option<UpdateClass>),
}

/// The hashes of an object's parts, by who writes them. They only classify a change, so a few bits will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    spec: u32,
    metadata: u32,
    status: u32,
}

impl Memory {
    /// A look begins: what it does not see is gone.
    pub(super) fn begin_look(&mut self) {
        self.look = self.look.wrapping_add(1);
    }

    /// This very version was read before.
    pub(super) fn knows(&self, metadata: &Metadata<'_>) -> bool {
        let known = self.objects.get(&Uid::new(&metadata.uid));
        known.is_some_and(|known| known.version == self.hasher.hash_one(&*metadata.resource_version))
    }

    /// Remembers this version of an object.
    pub(super) fn note(&mut self, uid: &Uid, object: &Object<'_>) -> Novelty {
        let version = self.hasher.hash_one(&*object.metadata.resource_version);
        let full = self.is_full();
        if let Some(known) = self.objects.get_mut(uid) {
            known.seen_in_look = self.look;
            if known.version == version {
                return Novelty::Repeated;
            }
            let parts = Parts::of(object, &self.hasher);
            let class = known.parts.class_of_change(parts);
            known.version = version;
            known.parts = parts;
            return Novelty::Changed(class);
        }
        if !full {
            let parts = Parts::of(object, &self.hasher);
            let fresh = Remembered { version, fact: None, parts, seen_in_look: self.look, more: None };
            self.objects.insert(uid.clone(), fresh);
        }
        Novelty::New
    }

    pub(super) fn is_full(&self) -> bool {
        self.objects.len() >= OBJECTS_REMEMBERED_MAX
    }

    pub(super) fn forget(&mut self, uid: &Uid) {
        self.objects.remove(uid);
    }

    /// Forgets and returns what the look that ends now did not see, in the order of UIDs so that a replay agrees.
    pub(super) fn unseen(&mut self) -> Vec<(Uid, Option<ObjectKey>)> {
        let look = self.look;
        let gone = self.objects.extract_if(|_, known| known.seen_in_look != look);
        let key = |known: Remembered| match known.more.map(|more| *more) {
            Some(More::Workload { key, .. }) => Some(key),
            Some(More::Event { .. }) | None => None,
        };
        let mut gone: Vec<_> = gone.map(|(uid, known)| (uid, key(known))).collect();
        gone.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        gone
    }

    /// True where this level of an object is not the last one said.
    pub(super) fn is_news(&mut self, uid: &Uid, level: &impl Hash) -> bool {
        let hash = self.hasher.hash_one(level);
        self.is_new_hash(uid, hash)
    }

    /// The same for a fact. When a workload's template and number of replicas were written takes no part: it is
    /// evidence about a change, not a level, and is dropped where they did not change.
    pub(super) fn is_new_fact(&mut self, uid: &Uid, fact: &mut Fact) -> bool {
        let (template, replicas) = match fact {
            Fact::WorkloadIs(workload) => {
                let (template, replicas) = self.are_new(uid, workload);
                let written = (workload.template_written.take(), workload.replicas_written.take());
                (written.0.filter(|_| template), written.1.filter(|_| replicas))
            }
            _ => (None, None),
        };
        self.written.clear();
        // A fact is made of plain data: writing it to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.written, fact);
        if let Fact::WorkloadIs(workload) = fact {
            (workload.template_written, workload.replicas_written) = (template, replicas);
        }
        let hash = self.hasher.hash_one(&self.written);
        self.is_new_hash(uid, hash)
    }

    /// How often an event had happened before, now that it has happened so often. `None` where it is not remembered.
    pub(super) fn count(&mut self, uid: &Uid, count: u64) -> Option<u64> {
        let known = self.objects.get_mut(uid)?;
        let before = match known.more.as_deref() {
            Some(More::Event { count }) => *count,
            Some(More::Workload { .. }) | None => 0,
        };
        known.more = Some(Box::new(More::Event { count: count.max(before) }));
        Some(before)
    }

    fn is_new_hash(&mut self, uid: &Uid, hash: u64) -> bool {
        let hash = NonZeroU64::new(hash).unwrap_or(NonZeroU64::MAX);
        self.objects.get_mut(uid).is_none_or(|known| known.fact.replace(hash) != Some(hash))
    }

    /// Whether its template is another one than before, and its number of replicas.
    fn are_new(&mut self, uid: &Uid, workload: &Workload) -> (bool, bool) {
        let Some(known) = self.objects.get_mut(uid) else { return (true, true) };
        let Workload { template, replicas, .. } = *workload;
        if let Some(More::Workload { template: before, replicas: wanted, .. }) = known.more.as_deref_mut() {
            return (
                std::mem::replace(before, template) != template,
                std::mem::replace(wanted, replicas) != replicas,
            );
        }
        known.more = Some(Box::new(More::Workload { key: workload.key.clone(), template, replicas }));
        (true, true)
    }
}

impl Parts {
    /// The server's encoder is deterministic, so equal text is equal content. `resourceVersion` and
    /// `managedFields` change with every write and say nothing of their own.
    fn of(object: &Object<'_>, hasher: &quality::RandomState) -> Self {
        let metadata = &object.metadata;
        let texts = [metadata.labels, metadata.annotations, metadata.owner_references, metadata.finalizers];
        let metadata = (texts.map(|raw| raw.map(RawValue::get)), &metadata.deletion_timestamp);
        Self {
            spec: hasher.hash_one((object.spec, object.data, object.revision)) as u32,
            metadata: hasher.hash_one(metadata) as u32,
            status: hasher.hash_one(object.status) as u32,
        }
    }

    /// What somebody wanted weighs more than a remark, a remark more than a report.
    fn class_of_change(self, now: Self) -> Option<UpdateClass> {
        if self.spec != now.spec {
            Some(UpdateClass::Spec)
        } else if self.metadata != now.metadata {
            Some(UpdateClass::Metadata)
        } else if self.status != now.status {
            Some(UpdateClass::Status)
        } else {
            None
        }
    }
}

/// What is absent when this object of a resource is gone; `None` for events, which no fact speaks of.
pub(super) fn subject(resource: super::Resource, uid: &Uid, key: Option<ObjectKey>) -> Option<Subject> {
    use super::Resource;
    let uid = uid.to_arc();
    match resource {
        Resource::Deployments | Resource::StatefulSets | Resource::DaemonSets | Resource::CronJobs => {
            Some(Subject::Workload { key: key?, uid })
        }
        Resource::ReplicaSets | Resource::ControllerRevisions => Some(Subject::Revision { uid }),
        Resource::Jobs => Some(Subject::Job { uid }),
        Resource::Pods => Some(Subject::Pod { uid }),
        Resource::ConfigMaps => Some(Subject::ConfigMap { uid }),
        Resource::Namespaces => Some(Subject::Namespace { uid }),
        Resource::Engine(_) => Some(Subject::Engine { uid }),
        Resource::Events => None,
    }
}
