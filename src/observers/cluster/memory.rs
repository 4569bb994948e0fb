//! What is remembered of each object: enough to know a repeat, to tell what part changed, and to miss it when it is gone.
//!
//! Hashes, never the object: 100,000 pods must fit in a few tens of megabytes. The hashes live in this process
//! only, so the standard library's hasher will do.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::object::Object;
use crate::observation::{Fact, ObjectKey, Subject, TemplateHash, UpdateClass};

/// Objects remembered per resource: ten times the pods of a large cluster. Beyond it an object is still reported,
/// but its disappearance is seen only by a watch.
pub const OBJECTS_REMEMBERED_MAX: usize = 1_000_000;

/// The objects of one resource, by UID.
#[derive(Debug, Default)]
pub(super) struct Memory {
    objects: HashMap<Arc<str>, Remembered>,
    look: u32,
}

/// One object.
#[derive(Debug)]
pub(super) struct Remembered {
    version: u64,
    parts: Parts,
    seen_in_look: u32,
    /// Hash of the last fact that was said of it.
    fact: Option<u64>,
    /// Of a workload: where it is, and its template.
    key: Option<Box<ObjectKey>>,
    pub template: Option<TemplateHash>,
    /// Of an event: how often it had happened.
    pub count: u64,
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

/// The hashes of an object's parts, by who writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    spec: u64,
    metadata: u64,
    status: u64,
}

impl Memory {
    /// A look begins: what it does not see is gone.
    pub(super) fn begin_look(&mut self) {
        self.look = self.look.wrapping_add(1);
    }

    /// Remembers this version of an object.
    pub(super) fn note(&mut self, object: &Object<'_>) -> Novelty {
        let version = hash(&object.metadata.resource_version);
        let parts = Parts::of(object);
        let full = self.objects.len() >= OBJECTS_REMEMBERED_MAX;
        if let Some(known) = self.objects.get_mut(&object.metadata.uid) {
            known.seen_in_look = self.look;
            if known.version == version {
                return Novelty::Repeated;
            }
            let class = known.parts.class_of_change(parts);
            known.version = version;
            known.parts = parts;
            return Novelty::Changed(class);
        }
        if !full {
            let fresh = Remembered {
                version,
                parts,
                seen_in_look: self.look,
                fact: None,
                key: None,
                template: None,
                count: 0,
            };
            self.objects.insert(object.metadata.uid.clone(), fresh);
        }
        Novelty::New
    }

    pub(super) fn is_full(&self) -> bool {
        self.objects.len() >= OBJECTS_REMEMBERED_MAX
    }

    pub(super) fn get_mut(&mut self, uid: &str) -> Option<&mut Remembered> {
        self.objects.get_mut(uid)
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.objects.remove(uid);
    }

    /// Forgets and returns what the look that ends now did not see, in the order of UIDs so that a replay agrees.
    pub(super) fn unseen(&mut self) -> Vec<(Arc<str>, Option<ObjectKey>)> {
        let look = self.look;
        let gone = self.objects.extract_if(|_, known| known.seen_in_look != look);
        let mut gone: Vec<_> = gone.map(|(uid, known)| (uid, known.key.map(|key| *key))).collect();
        gone.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        gone
    }
}

impl Remembered {
    /// True where this fact was not the last one said. A workload's `template_written` takes no part: it is
    /// evidence about the change, not a level.
    pub(super) fn is_news(&mut self, fact: &mut Fact) -> bool {
        let written = match fact {
            Fact::WorkloadIs(workload) => {
                self.key.get_or_insert_with(|| Box::new(workload.key.clone()));
                let changed = self.template.replace(workload.template) != Some(workload.template);
                workload.template_written.take().filter(|_| changed)
            }
            _ => None,
        };
        let mut hasher = HashWriter(DefaultHasher::new());
        // A fact is made of plain data: writing it to a hasher cannot fail.
        let _ = serde_json::to_writer(&mut hasher, fact);
        if let Fact::WorkloadIs(workload) = fact {
            workload.template_written = written;
        }
        let hash = hasher.0.finish();
        self.fact.replace(hash) != Some(hash)
    }
}

impl Parts {
    /// The server's encoder is deterministic, so equal text is equal content. `resourceVersion` and
    /// `managedFields` change with every write and say nothing of their own.
    fn of(object: &Object<'_>) -> Self {
        let metadata = &object.metadata;
        let texts = [metadata.labels, metadata.annotations, metadata.owner_references, metadata.finalizers];
        let metadata = (texts.map(|raw| raw.map(RawValue::get)), &metadata.deletion_timestamp);
        let spec = (object.spec.map(RawValue::get), object.data.map(RawValue::get), object.revision);
        Self { spec: hash(&spec), metadata: hash(&metadata), status: hash(&object.status.map(RawValue::get)) }
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
pub(super) fn subject(resource: super::Resource, uid: Arc<str>, key: Option<ObjectKey>) -> Option<Subject> {
    use super::Resource;
    match resource {
        Resource::Deployments | Resource::StatefulSets | Resource::DaemonSets | Resource::CronJobs => {
            Some(Subject::Workload { key: key?, uid })
        }
        Resource::ReplicaSets | Resource::ControllerRevisions => Some(Subject::Revision { uid }),
        Resource::Jobs => Some(Subject::Job { uid }),
        Resource::Pods => Some(Subject::Pod { uid }),
        Resource::ConfigMaps => Some(Subject::ConfigMap { uid }),
        Resource::Events => None,
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Writes into a hash instead of a buffer.
struct HashWriter(DefaultHasher);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
