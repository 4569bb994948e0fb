//! The state machine of one watched resource: bytes and times in, facts and measures out. No I/O, no clock.
//!
//! A look (a list in pages, or the first part of a streaming list) begins, sees objects and ends; then events
//! follow. The same code reads a live cluster and a recorded stream.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::memory::{Memory, Novelty, subject};
use super::object::{Decoded, Object, decode, or_default};
use super::pulse::Pulse;
use super::refusal::Refusal;
use super::resource::Resource;
use crate::observation::{Basis, ClusterUid, Fact, Interval, Measure, ObjectKey, Scope, Time};

/// While a watch delivers, a completed look is said no more often than this: the tracker needs freshness in
/// seconds, not one record per message.
const LOOK_SAID_EVERY_MILLIS: i64 = 10_000;
/// The most repeats of one event that are counted at once: more is a broken counter.
const EVENT_REPEATS_MAX: u64 = 100;

/// Where a stream comes from.
#[derive(Debug, Clone)]
pub struct Place {
    pub uid: ClusterUid,
    /// The configured name, as metrics label it.
    pub name: Arc<str>,
}

/// One thing a stream says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Fact { happened: Interval, basis: Basis, fact: Fact },
    Measure(Measure),
}

/// What a line of a watch said, and what it means for the connection.
#[derive(Debug, Default)]
pub struct Heard {
    pub said: Vec<Said>,
    /// This line was the end of the initial objects.
    pub listed: bool,
    /// The server ended the watch, for this reason.
    pub refusal: Option<Refusal>,
}

/// What a page of a list said.
#[derive(Debug)]
pub struct Page {
    pub said: Vec<Said>,
    /// The token of the next page.
    pub next: Option<String>,
    /// The version of the whole list.
    pub version: String,
}

/// A line or a page that is no JSON of the Kubernetes API. A single odd object inside is no error.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("{resource}: a line of the watch is not an event: {source}")]
    Line { resource: Resource, source: serde_json::Error },
    #[error("{resource}: a page of the list is not a list: {source}")]
    Page { resource: Resource, source: serde_json::Error },
}

/// One watched resource.
#[derive(Debug)]
pub struct Stream {
    resource: Resource,
    place: Place,
    memory: Memory,
    pulse: Pulse,
    look: Option<Look>,
    /// A look was completed in this process: what a later one finds new was learned by relisting.
    looked: bool,
    /// Where a watch can resume.
    version: Option<String>,
    look_said: Option<Time>,
}

/// A look under way.
#[derive(Debug, Clone, Copy)]
struct Look {
    started: Time,
    how: (Time, Basis),
    /// It held something unreadable, so absence from it proves nothing.
    blind: bool,
}

impl Stream {
    #[must_use]
    pub fn new(resource: Resource, place: Place) -> Self {
        Self {
            resource,
            place,
            memory: Memory::default(),
            pulse: Pulse::default(),
            look: None,
            looked: false,
            version: None,
            look_said: None,
        }
    }

    /// Where to resume watching; `None` while a look is needed.
    #[must_use]
    pub fn resume_from(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// A look begins, when its request is sent. A look that was under way counts for nothing.
    pub fn begin_look(&mut self, at: Time) {
        self.version = None;
        self.memory.begin_look();
        let how = match self.looked {
            false => (Time::MIN, Basis::Backfill),
            true => (self.pulse.known_until(), Basis::Relist),
        };
        self.look = Some(Look { started: at, how, blind: false });
    }

    /// One page of a list.
    pub fn page(&mut self, received_at: Time, body: &[u8]) -> Result<Page, DecodeError> {
        let list: List<'_> = serde_json::from_slice(body)
            .map_err(|source| DecodeError::Page { resource: self.resource, source })?;
        let mut said = Vec::new();
        let how = self.look.map_or((Time::MIN, Basis::Backfill), |look| look.how);
        for item in list.items {
            self.object(Interval::new(how.0, received_at), how.1, item, &mut said);
        }
        let next = Some(list.metadata.r#continue).filter(|token| !token.is_empty());
        Ok(Page { said, next, version: list.metadata.resource_version })
    }

    /// The look is complete, and watching goes on from this version.
    pub fn listed(&mut self, at: Time, version: &str) -> Vec<Said> {
        self.version = Some(version.into()).filter(|version: &String| !version.is_empty());
        let Some(look) = self.look.take() else { return Vec::new() };
        let mut said = Vec::new();
        if !look.blind {
            let (resource, happened) = (self.resource, Interval::new(look.how.0, at));
            let gone = self.memory.unseen().into_iter();
            said.extend(
                gone.filter_map(|(uid, key)| subject(resource, uid, key)).map(|subject| Said::Fact {
                    happened,
                    basis: look.how.1,
                    fact: Fact::Absent { subject },
                }),
            );
        }
        self.looked = true;
        // The list is the state of some moment between its request and its end.
        self.pulse.caught_up(look.started);
        said.push(self.look_completed(look.started, at));
        said
    }

    /// One line of a watch.
    pub fn event(&mut self, received_at: Time, line: &[u8]) -> Result<Heard, DecodeError> {
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|source| DecodeError::Line { resource: self.resource, source })?;
        let mut heard = Heard::default();
        if event.kind == "ERROR" {
            heard.refusal = Some(Refusal::of_event(event.object.get()));
            return Ok(heard);
        }
        let (happened, basis) = match self.look {
            Some(look) => (Interval::new(look.how.0, received_at), look.how.1),
            None => (self.pulse.message(received_at), Basis::Watch),
        };
        let version = match event.kind {
            "ADDED" | "MODIFIED" => self.object(happened, basis, event.object, &mut heard.said),
            "DELETED" => self.gone(happened, basis, event.object, &mut heard.said),
            "BOOKMARK" => {
                let (version, ends_look) = bookmark(event.object);
                if ends_look && self.look.is_some() {
                    heard.said.extend(self.listed(received_at, version.as_deref().unwrap_or_default()));
                    heard.listed = true;
                }
                version
            }
            _ => {
                heard.said.push(self.dropped("unknown_event"));
                None
            }
        };
        // Inside a streaming list the objects come in any order: only its end gives a version to resume from.
        if self.look.is_none() {
            self.version = version.or(self.version.take());
            let due = self.look_said.is_none_or(|said| received_at.0 - said.0 >= LOOK_SAID_EVERY_MILLIS);
            if due && !heard.listed {
                heard.said.push(self.look_completed(happened.not_before, received_at));
            }
        }
        Ok(heard)
    }

    /// A watch was opened then and has had nothing to say until now: nothing is missing.
    pub fn quiet(&mut self, opened_at: Time, at: Time) -> Vec<Said> {
        if self.look.is_some() || opened_at < self.pulse.known_until() {
            return Vec::new();
        }
        self.pulse.caught_up(opened_at);
        vec![self.look_completed(opened_at, at)]
    }

    /// A line or an object was too large to read: absence from this look proves nothing.
    pub fn unreadable(&mut self) -> Said {
        if let Some(look) = &mut self.look {
            look.blind = true;
        }
        self.dropped("too_large")
    }

    /// The watch ended. The next message after it is told as a look at once.
    pub fn cut(&mut self, at: Time) {
        self.pulse.cut(at);
        self.look_said = None;
    }

    /// The version to resume from is of no use: a look is needed.
    pub fn forget_version(&mut self) {
        self.version = None;
    }

    /// An object as it is now. Returns its version.
    fn object(
        &mut self,
        happened: Interval,
        basis: Basis,
        raw: &RawValue,
        said: &mut Vec<Said>,
    ) -> Option<String> {
        let object = self.head(raw, said)?;
        let version = object.metadata.resource_version.to_string();
        let was_full = self.memory.is_full();
        let novelty = self.memory.note(&object);
        if novelty == Novelty::Repeated {
            return Some(version);
        }
        if let Novelty::Changed(Some(class)) = novelty
            && basis == Basis::Watch
            && !matches!(self.resource, Resource::Events | Resource::ConfigMaps)
        {
            let (cluster, kind) = (self.place.name.clone(), self.resource.kind());
            said.push(Said::Measure(Measure::ObjectUpdate { cluster, kind, class }));
        }
        if novelty == Novelty::New && was_full {
            said.push(self.dropped("memory_full"));
        }
        let decoded = match decode(self.resource, &object, raw) {
            Ok(decoded) => decoded,
            Err(why) => {
                self.warn(&object, &why);
                said.push(self.dropped("malformed"));
                return Some(version);
            }
        };
        let mut fact = match decoded {
            Decoded::Workload(workload) => Fact::WorkloadIs(workload),
            Decoded::Revision(revision) => Fact::RevisionIs(revision),
            Decoded::Job(job) => Fact::JobIs(job),
            Decoded::Pod(pod) => Fact::PodIs(pod),
            Decoded::ConfigMap(config_map) => Fact::ConfigMapIs(config_map),
            Decoded::ImageEvent(event) => {
                self.image_event(&object.metadata.uid, event, basis, said);
                return Some(version);
            }
            Decoded::Nothing => {
                self.forget_event(&object.metadata.uid);
                return Some(version);
            }
        };
        // Nothing is so before its object exists. Another host's clock, whole seconds: only where it fits.
        let created =
            object.metadata.created().filter(|_| novelty == Novelty::New && basis != Basis::Backfill);
        let since_created = created
            .and_then(|created| happened.intersect(Interval { not_before: created, not_after: Time::MAX }));
        if self.memory.get_mut(&object.metadata.uid).is_none_or(|known| known.is_news(&mut fact)) {
            said.push(Said::Fact { happened: since_created.unwrap_or(happened), basis, fact });
        }
        Some(version)
    }

    /// An object was deleted, or a selector no longer matches it. Returns its version.
    fn gone(
        &mut self,
        happened: Interval,
        basis: Basis,
        raw: &RawValue,
        said: &mut Vec<Said>,
    ) -> Option<String> {
        let object = self.head(raw, said)?;
        let uid = object.metadata.uid.clone();
        self.memory.forget(&uid);
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        let key = self.resource.workload_kind().map(|kind| ObjectKey { kind, namespace, name });
        if let Some(subject) = subject(self.resource, uid, key) {
            said.push(Said::Fact { happened, basis, fact: Fact::Absent { subject } });
        }
        Some(object.metadata.resource_version.to_string())
    }

    /// The envelope of an object, or a word about what is wrong with it.
    fn head<'a>(&mut self, raw: &'a RawValue, said: &mut Vec<Said>) -> Option<Object<'a>> {
        let why = match serde_json::from_str::<Object<'_>>(raw.get()) {
            Ok(object) if !object.metadata.uid.is_empty() => return Some(object),
            Ok(_) => "it has no uid".to_owned(),
            Err(why) => why.to_string(),
        };
        tracing::warn!(cluster = %self.place.name, resource = %self.resource, "an object was skipped: {why}");
        if let Some(look) = &mut self.look {
            look.blind = true;
        }
        said.push(self.dropped("malformed"));
        None
    }

    fn image_event(
        &mut self,
        uid: &str,
        event: super::events::ImageEvent,
        basis: Basis,
        said: &mut Vec<Said>,
    ) {
        // Beyond the memory's bound an event counts once, when it is first said.
        let counted = match self.memory.get_mut(uid) {
            Some(known) => {
                let most = event.count.max(known.count);
                std::mem::replace(&mut known.count, most)
            }
            None => event.count.saturating_sub(1),
        };
        let fresh = event.count.saturating_sub(counted).min(EVENT_REPEATS_MAX);
        // What happened before this process began was counted by the one before it.
        if fresh == 0 || basis == Basis::Backfill {
            return;
        }
        let (cluster, result) = (self.place.name.clone(), event.result);
        let lookup = Measure::CacheLookup { cluster, cache: "image_pull", result, caller: "kubelet" };
        said.extend(std::iter::repeat_n(Said::Measure(lookup), fresh as usize));
        if let Some((seconds, bytes)) = event.pull {
            let (cluster, namespace, pod) = (self.place.name.clone(), event.namespace, event.pod);
            said.push(Said::Measure(Measure::ImagePull { cluster, namespace, pod, seconds, bytes }));
        }
    }

    /// Events about other things are not worth their memory: there are many, and each is gone in an hour.
    fn forget_event(&mut self, uid: &str) {
        if self.resource == Resource::Events {
            self.memory.forget(uid);
        }
    }

    fn look_completed(&mut self, started: Time, finished: Time) -> Said {
        self.look_said = Some(finished);
        let scope = self.scope();
        let interval_seconds = self.resource.look_interval_seconds();
        Said::Fact {
            happened: Interval::new(started, finished),
            basis: Basis::Watch,
            fact: Fact::LookCompleted { scope, started, finished, interval_seconds },
        }
    }

    /// What a look at this stream covers.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::Resource { cluster: self.place.uid.clone(), resource: self.resource.plural().into() }
    }

    fn dropped(&self, reason: &'static str) -> Said {
        let source = format!("cluster/{}", self.place.name).into();
        Said::Measure(Measure::Dropped { source, reason })
    }

    fn warn(&self, object: &Object<'_>, why: &serde_json::Error) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        let (cluster, resource) = (&self.place.name, self.resource);
        tracing::warn!(%cluster, %resource, %namespace, %name, "an object was skipped: {why}");
    }
}

/// The version of a bookmark, and whether it ends the initial objects.
fn bookmark(raw: &RawValue) -> (Option<String>, bool) {
    let bookmark: Bookmark = serde_json::from_str(raw.get()).unwrap_or_default();
    let version = Some(bookmark.metadata.resource_version).filter(|version| !version.is_empty());
    (version, bookmark.metadata.annotations.initial_events_end.as_deref() == Some("true"))
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(default, deserialize_with = "or_default")]
    metadata: ListMetadata,
    #[serde(borrow, default, deserialize_with = "or_default")]
    items: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    #[serde(deserialize_with = "or_default")]
    resource_version: String,
    #[serde(deserialize_with = "or_default")]
    r#continue: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bookmark {
    #[serde(deserialize_with = "or_default")]
    metadata: BookmarkMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkMetadata {
    #[serde(deserialize_with = "or_default")]
    resource_version: String,
    #[serde(deserialize_with = "or_default")]
    annotations: BookmarkAnnotations,
}

#[derive(Default, Deserialize)]
struct BookmarkAnnotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}
