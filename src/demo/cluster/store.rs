//! The objects of the cluster, one version counter over all of them, and the log of changes that watches
//! follow. Every write, by a client or by a controller, passes through here, so that generation, versions
//! and managedFields are kept by one hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::defaults;
use super::fields::{self, Operation, Part, Writer};
use super::kinds::Kind;
use super::refusal::Refusal;
use crate::demo::random::Random;
use crate::demo::truth::{Happened, Truth};

/// Changes kept for watches to resume from, each with its object of about 20 KiB in memory. A busy demo makes
/// some 60 a second, so a watch may be away for about a minute.
const LOG_LENGTH_MAX: usize = 4_000;
/// Objects in the cluster; clients may create what they like, up to here.
const OBJECTS_MAX: usize = 50_000;

pub(super) struct Store {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
    truth: Truth,
}

struct Inner {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    /// Per kind, the version before which watches may not resume, when that is later than the log's start.
    floors: BTreeMap<Kind, u64>,
    random: Random,
}

type Key = (Kind, String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeType {
    Added,
    Modified,
    Deleted,
}

/// One line of the log. `before` tells a watch with a selector whether the object was in its sight.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: Kind,
    pub(super) type_: ChangeType,
    pub(super) object: Arc<Value>,
    pub(super) before: Option<Arc<Value>>,
}

impl Store {
    pub(super) fn new(truth: Truth) -> Self {
        let inner = Inner {
            version: 1,
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            floors: BTreeMap::new(),
            random: Random::fresh(),
        };
        Self { inner: Mutex::new(inner), version: watch::Sender::new(1), truth }
    }

    /// Tells every new version; what changed is in [`Store::changes_since`].
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.locked().objects.get(&key(kind, namespace, name)).cloned()
    }

    /// All objects of a kind, or those in one namespace, by namespace and name, and the version of the whole.
    pub(super) fn list(&self, kind: Kind, namespace: Option<&str>) -> (u64, Vec<Arc<Value>>) {
        let inner = self.locked();
        let from = key(kind, namespace.unwrap_or_default(), "");
        let objects = inner
            .objects
            .range(from..)
            .take_while(|((k, ns, _), _)| *k == kind && namespace.is_none_or(|namespace| ns == namespace))
            .map(|(_, object)| object.clone())
            .collect();
        (inner.version, objects)
    }

    /// All objects of a kind that `owner` controls.
    pub(super) fn owned(&self, kind: Kind, owner: &Value) -> Vec<Arc<Value>> {
        let (_, mut objects) = self.list(kind, owner["metadata"]["namespace"].as_str());
        objects.retain(|object| controller_of(object) == owner["metadata"]["uid"].as_str());
        objects
    }

    /// The changes of a kind after `version`, and the version up to which that is all.
    pub(super) fn changes_since(&self, kind: Kind, version: u64) -> Result<(u64, Vec<Change>), Refusal> {
        let inner = self.locked();
        let oldest = inner.log.front().map_or(1, |change| change.version);
        let floor = inner.floors.get(&kind).copied().unwrap_or_default().max(oldest.saturating_sub(1));
        if version < floor {
            return Err(Refusal::expired(version, floor));
        }
        let from = inner.log.partition_point(|change| change.version <= version);
        let changes = inner.log.range(from..).filter(|change| change.kind == kind).cloned().collect();
        Ok((inner.version, changes))
    }

    /// Refuses from now on to resume watches of a kind from any version given out so far.
    pub(super) fn forget_versions(&self, kind: Kind) {
        let mut inner = self.locked();
        inner.version += 1;
        let version = inner.version;
        inner.floors.insert(kind, version);
    }

    pub(super) fn create(
        &self,
        kind: Kind,
        mut object: Value,
        writer: Writer<'_>,
        applied: Option<&Value>,
    ) -> Result<Arc<Value>, Refusal> {
        let now = Utc::now();
        let mut inner = self.locked();
        let metadata = &mut object["metadata"];
        if metadata["name"].as_str().is_none_or(str::is_empty) {
            let prefix = metadata["generateName"].as_str().unwrap_or_default().to_owned();
            if prefix.is_empty() {
                return Err(Refusal::invalid("name or generateName is required"));
            }
            metadata["name"] = Value::from(format!("{prefix}{}", inner.random.name(5)));
        }
        let name = text(metadata, "name");
        let namespace = text(metadata, "namespace");
        if inner.objects.contains_key(&key(kind, &namespace, &name)) {
            return Err(Refusal::exists(kind, &name));
        }
        if kind.named().namespaced && !inner.objects.contains_key(&key(Kind::Namespace, "", &namespace)) {
            return Err(Refusal::not_found(Kind::Namespace, &namespace));
        }
        if inner.objects.len() >= OBJECTS_MAX {
            let code = http::StatusCode::INSUFFICIENT_STORAGE;
            return Err(Refusal::new(code, "InternalError", "the demo cluster is full; start a new demo"));
        }
        metadata["uid"] = Value::from(inner.random.uuid());
        metadata["creationTimestamp"] = Value::from(seconds(now));
        if kind.has_generation() {
            metadata["generation"] = json!(1);
        }
        remove(metadata, &["managedFields", "selfLink", "resourceVersion", "deletionTimestamp"]);
        let named = kind.named();
        object["kind"] = Value::from(named.name);
        object["apiVersion"] = Value::from(named.api_version());
        defaults::fill(kind, &mut object);
        if kind.has_status() && object["status"].is_null() {
            object["status"] = json!({});
        }
        let managed =
            fields::managed(&Value::Null, &object, writer, applied, &named.api_version(), &seconds(now));
        object["metadata"]["managedFields"] = managed;
        if writer.dry_run {
            return Ok(Arc::new(object));
        }
        self.note_template(kind, &Value::Null, &object, now);
        Ok(self.put(inner, kind, ChangeType::Added, object, None))
    }

    /// Changes an object. `change` sees it as it is; what the writer's part does not cover, and what only the
    /// server sets, is put back. A change of nothing is no write.
    pub(super) fn update(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        writer: Writer<'_>,
        change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
    ) -> Result<Arc<Value>, Refusal> {
        self.write(kind, namespace, name, writer, None, change)
    }

    /// As [`Store::update`], for a server-side apply of `applied`.
    pub(super) fn write(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        writer: Writer<'_>,
        applied: Option<&Value>,
        change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
    ) -> Result<Arc<Value>, Refusal> {
        let inner = self.locked();
        let old = inner
            .objects
            .get(&key(kind, namespace, name))
            .cloned()
            .ok_or_else(|| Refusal::not_found(kind, name))?;
        let mut new = (*old).clone();
        change(&mut new)?;
        let asked = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !asked.is_empty() && old["metadata"]["resourceVersion"] != asked {
            return Err(Refusal::changed_meanwhile(kind, name));
        }
        let new = self.settled(kind, &old, new, writer);
        let unmanaged_change = new != *old;
        if !unmanaged_change && writer.operation == Operation::Update {
            return Ok(old);
        }
        let mut new = new;
        let now = Utc::now();
        let version = kind.named().api_version();
        let managed = fields::managed(&old, &new, writer, applied, &version, &seconds(now));
        if !unmanaged_change && managed == old["metadata"]["managedFields"] {
            return Ok(old);
        }
        new["metadata"]["managedFields"] = managed;
        if writer.dry_run {
            return Ok(Arc::new(new));
        }
        self.note_template(kind, &old, &new, now);
        Ok(self.put(inner, kind, ChangeType::Modified, new, Some(old)))
    }

    /// Begins the deletion of a pod that a node runs; removes anything else at once.
    pub(super) fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        grace_seconds: Option<u64>,
    ) -> Result<Arc<Value>, Refusal> {
        let mut inner = self.locked();
        let key = key(kind, namespace, name);
        let old = inner.objects.get(&key).cloned().ok_or_else(|| Refusal::not_found(kind, name))?;
        let grace = grace_seconds.or(old["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30);
        let runs = kind == Kind::Pod && !old["spec"]["nodeName"].is_null();
        let mut new = (*old).clone();
        if runs && grace > 0 {
            if !old["metadata"]["deletionTimestamp"].is_null() {
                return Ok(old);
            }
            let end = Utc::now() + chrono::TimeDelta::seconds(i64::try_from(grace).unwrap_or(30));
            new["metadata"]["deletionTimestamp"] = Value::from(seconds(end));
            new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
            return Ok(self.put(inner, kind, ChangeType::Modified, new, Some(old)));
        }
        inner.objects.remove(&key);
        Ok(self.put(inner, kind, ChangeType::Deleted, new, Some(old)))
    }

    fn settled(&self, kind: Kind, old: &Value, mut new: Value, writer: Writer<'_>) -> Value {
        let kept = if writer.part == Part::Status {
            // Controllers keep their annotations (a Deployment's revision) with the status.
            let (status, annotations) = (new["status"].take(), new["metadata"].get("annotations").cloned());
            new = old.clone();
            new["status"] = status;
            if let Some(annotations) = annotations {
                new["metadata"]["annotations"] = annotations;
            }
            return new;
        } else {
            old["status"].clone()
        };
        if kind.has_status() {
            new["status"] = kept;
        }
        for identity in ["kind", "apiVersion"] {
            new[identity] = old[identity].clone();
        }
        for field in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generateName",
            "resourceVersion",
            "generation",
            "managedFields",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            put_back(&mut new["metadata"], &old["metadata"], field);
        }
        remove(&mut new["metadata"], &["selfLink"]);
        defaults::fill(kind, &mut new);
        let annotated = kind == Kind::Deployment
            && new["metadata"].get("annotations") != old["metadata"].get("annotations");
        if kind.has_generation() && kind != Kind::Pod && (new["spec"] != old["spec"] || annotated) {
            let generation = old["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = json!(generation);
        }
        new
    }

    fn put(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        kind: Kind,
        type_: ChangeType,
        mut object: Value,
        before: Option<Arc<Value>>,
    ) -> Arc<Value> {
        inner.version += 1;
        let version = inner.version;
        object["metadata"]["resourceVersion"] = Value::from(version.to_string());
        let object = Arc::new(object);
        if type_ != ChangeType::Deleted {
            let at = key(kind, &text(&object["metadata"], "namespace"), &text(&object["metadata"], "name"));
            inner.objects.insert(at, object.clone());
        }
        if inner.log.len() == LOG_LENGTH_MAX {
            inner.log.pop_front();
        }
        inner.log.push_back(Change { version, kind, type_, object: object.clone(), before });
        drop(inner);
        self.version.send_replace(version);
        object
    }

    /// Writes down that a workload's template names another image, at the time that the object tells, too.
    fn note_template(&self, kind: Kind, old: &Value, new: &Value, at: DateTime<Utc>) {
        if !matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet) {
            return;
        }
        let containers = |object: &Value| object["spec"]["template"]["spec"]["containers"].clone();
        let before = containers(old);
        for container in containers(new).as_array().into_iter().flatten() {
            let same = |other: &&Value| other["name"] == container["name"];
            let old_image = before.as_array().and_then(|all| all.iter().find(same)).map(|old| &old["image"]);
            if old_image != Some(&container["image"]) {
                let applied = Happened::Applied {
                    namespace: text(&new["metadata"], "namespace"),
                    name: text(&new["metadata"], "name"),
                    image: text(container, "image"),
                };
                self.truth.record(at, applied);
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as objects carry it: whole seconds, cut off.
pub(super) fn seconds(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A text field, empty where it is absent.
pub(super) fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}

/// The uid of the object's controlling owner.
pub(super) fn controller_of(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    (kind, namespace.to_owned(), name.to_owned())
}

fn remove(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for field in fields {
            object.remove(*field);
        }
    }
}

fn put_back(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => remove(new, &[field]),
    }
}
