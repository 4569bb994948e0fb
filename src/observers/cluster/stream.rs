//! The state machine of one watched resource: bytes and times in, facts and measures out. No I/O, no clock.
//!
//! A look (a list in pages, or the first part of a streaming list) begins, sees objects and ends; then events
//! follow. The same code reads a live cluster and a recorded stream.

use std::fmt::Display;
use std::sync::Arc;

use serde_json::Error;

use super::cursor::{Cursor, Value};
use super::envelope::{Event, ListMetadata, bookmark, readable};
use super::events::{ImageEvent, Told};
use super::lines::LINE_BYTES_MAX;
use super::memory::{Memory, Novelty, subject};
use super::object::{self, Decoded, Object};
use super::pulse::Pulse;
use super::refusal::Refusal;
use super::resource::Resource;
use super::revisions::level;
use super::uid::Uid;
use super::words::Words;
use crate::config::Ownership;
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
    Line { resource: Resource, source: Error },
    /// What stood before the break counts as told, so it has to be reported all the same.
    #[error("{resource}: a page of the list is not a list: {source}")]
    Page { resource: Resource, source: Error, said: Vec<Said> },
}

/// One watched resource.
#[derive(Debug)]
pub struct Stream {
    resource: Resource,
    place: Place,
    memory: Memory,
    words: Words,
    pulse: Pulse,
    look: Option<Look>,
    /// A look was completed in this process: what a later one finds new was learned by relisting.
    looked: bool,
    /// Where a watch can resume.
    version: Option<String>,
    look_said: Option<Time>,
    ownership: Arc<Ownership>,
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
            words: Words::default(),
            pulse: Pulse::default(),
            look: None,
            looked: false,
            version: None,
            look_said: None,
            ownership: Arc::default(),
        }
    }

    /// The same where other labels say to whom something belongs.
    #[must_use]
    pub fn with_ownership(self, ownership: Arc<Ownership>) -> Self {
        Self { ownership, ..self }
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

    /// One page of a list. Objects are read one by one, and told as if each had come alone.
    pub fn page(&mut self, received_at: Time, body: &[u8]) -> Result<Page, DecodeError> {
        let mut said = Vec::new();
        match self.items(received_at, &readable(body), &mut said) {
            Ok(ListMetadata { resource_version, r#continue }) => {
                let next = Some(r#continue).filter(|token| !token.is_empty());
                Ok(Page { said, next, version: resource_version })
            }
            Err(source) => Err(DecodeError::Page { resource: self.resource, source, said }),
        }
    }

    fn items(&mut self, at: Time, body: &str, said: &mut Vec<Said>) -> Result<ListMetadata, Error> {
        let how = self.look.map_or((Time::MIN, Basis::Backfill), |look| look.how);
        let happened = Interval::new(how.0, at);
        let mut metadata = ListMetadata::default();
        let mut page = Cursor::new(body);
        page.enter(b'{')?;
        while let Some(key) = page.key()? {
            match &*key {
                "metadata" => metadata = page.value::<Option<_>>()?.read?.unwrap_or_default(),
                "items" if page.peek() == Some(b'[') => {
                    page.enter(b'[')?;
                    while page.item()? {
                        let item = object::read(&mut page, self.resource, |it| self.memory.knows(it))?;
                        if item.text.len() > LINE_BYTES_MAX {
                            said.push(self.unreadable());
                        } else {
                            self.object(happened, how.1, item, said);
                        }
                    }
                }
                "items" => page.value::<()>()?.read?,
                _ => drop(page.pass()?),
            }
        }
        page.end()?;
        Ok(metadata)
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
                gone.filter_map(|(uid, key)| subject(resource, &uid, key)).map(|subject| Said::Fact {
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
        let text = readable(line);
        let event = Event::read(&text, self.resource, &self.memory)
            .map_err(|source| DecodeError::Line { resource: self.resource, source })?;
        let mut heard = Heard::default();
        if let Event::Error(status) = event {
            heard.refusal = Some(Refusal::of_event(status));
            return Ok(heard);
        }
        let (happened, basis) = match self.look {
            Some(look) => (Interval::new(look.how.0, received_at), look.how.1),
            None => (self.pulse.message(received_at), Basis::Watch),
        };
        let version = match event {
            Event::Is(object) => self.object(happened, basis, object, &mut heard.said),
            Event::Gone(object) => self.gone(happened, basis, object, &mut heard.said),
            Event::Bookmark(object) => {
                let (version, ends_look) = bookmark(object);
                if ends_look && self.look.is_some() {
                    heard.said.extend(self.listed(received_at, version.as_deref().unwrap_or_default()));
                    heard.listed = true;
                }
                version
            }
            Event::Error(_) | Event::Unknown => {
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

    /// Reading was held up: what is read now may have waited so long.
    pub fn behind(&mut self, millis: i64) {
        self.pulse.behind(millis);
    }

    /// A line or an object was too large to read: absence from this look proves nothing.
    pub fn unreadable(&mut self) -> Said {
        if let Some(look) = &mut self.look {
            look.blind = true;
        }
        let (cluster, resource) = (&self.place.name, self.resource);
        tracing::warn!(%cluster, %resource, "an object above {LINE_BYTES_MAX} bytes was skipped");
        self.dropped("too_large")
    }

    /// There is no such kind, and so there is nothing of it. That is looked at again after so long.
    pub fn nothing_there(&mut self, started: Time, at: Time, again_seconds: f64) -> Vec<Said> {
        self.begin_look(started);
        let mut said = self.listed(at, "");
        for said in &mut said {
            if let Said::Fact { fact: Fact::LookCompleted { interval_seconds, .. }, .. } = said {
                *interval_seconds = again_seconds;
            }
        }
        said
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
        item: Value<'_, Object<'_>>,
        said: &mut Vec<Said>,
    ) -> Option<String> {
        let (object, uid) = self.head(item.text, item.read, said)?;
        let version = object.metadata.resource_version.to_string();
        let was_full = self.memory.is_full();
        let novelty = self.memory.note(&uid, &object);
        if novelty == Novelty::Repeated {
            return Some(version);
        }
        if let Novelty::Changed(Some(class)) = novelty
            && basis == Basis::Watch
            && !matches!(self.resource, Resource::Events | Resource::ConfigMaps | Resource::Namespaces)
        {
            let (cluster, kind) = (self.place.name.clone(), self.resource.kind());
            said.push(Said::Measure(Measure::ObjectUpdate { cluster, kind, class }));
        }
        if novelty == Novelty::New && was_full {
            said.push(self.dropped("memory_full"));
        }
        let decoded = match object::decode(self.resource, &object, item.text, &self.ownership) {
            Ok(decoded) => decoded,
            Err(why) => {
                self.warn(&object, "was skipped", &why);
                said.push(self.dropped("malformed"));
                return Some(version);
            }
        };
        let news = |mut fact, memory: &mut Memory| memory.is_new_fact(&uid, &mut fact).then_some(fact);
        let fact = match decoded {
            Decoded::Workload(workload) => news(Fact::WorkloadIs(workload), &mut self.memory),
            Decoded::Revision(revision) => {
                let is_news = self.memory.is_news(&uid, &level(&revision));
                is_news.then_some(Fact::RevisionIs(revision))
            }
            Decoded::Job(job) => news(Fact::JobIs(job), &mut self.memory),
            Decoded::Pod(seen) => {
                let is_news = self.memory.is_news(&uid, &seen);
                is_news.then(|| Fact::PodIs(Box::new(seen.pod(&mut self.words))))
            }
            Decoded::ConfigMap(map) => news(Fact::ConfigMapIs(map), &mut self.memory),
            Decoded::Namespace(namespace) => news(Fact::NamespaceIs(namespace), &mut self.memory),
            Decoded::Engine(read) => {
                if let Some(odd) = &read.odd {
                    self.warn(&object, "is read without a field", odd);
                    said.push(self.dropped("odd_field"));
                }
                news(Fact::EngineIs(Box::new(read.object)), &mut self.memory)
            }
            Decoded::Event(Told::Image(event)) => {
                self.image_event(&uid, event, basis, said);
                None
            }
            Decoded::Event(Told::Probe(failed)) => {
                news(Fact::ProbeFailed(Box::new(failed)), &mut self.memory)
            }
            Decoded::Nothing => {
                self.forget_event(&uid);
                None
            }
        };
        let Some(fact) = fact else { return Some(version) };
        // Nothing is so before its object exists. Another host's clock, whole seconds: only where it fits.
        let is_young = novelty == Novelty::New && basis != Basis::Backfill;
        let created = is_young.then(|| object.metadata.created()).flatten();
        let since_created = created
            .and_then(|created| happened.intersect(Interval { not_before: created, not_after: Time::MAX }));
        said.push(Said::Fact { happened: since_created.unwrap_or(happened), basis, fact });
        Some(version)
    }

    /// An object was deleted, or a selector no longer matches it. Returns its version.
    fn gone(
        &mut self,
        happened: Interval,
        basis: Basis,
        item: Value<'_, Object<'_>>,
        said: &mut Vec<Said>,
    ) -> Option<String> {
        let (object, uid) = self.head(item.text, item.read, said)?;
        self.memory.forget(&uid);
        let (namespace, name) = (object.metadata.namespace.to_arc(), object.metadata.name.to_arc());
        let key = self.resource.workload_kind().map(|kind| ObjectKey { kind, namespace, name });
        if let Some(subject) = subject(self.resource, &uid, key) {
            said.push(Said::Fact { happened, basis, fact: Fact::Absent { subject } });
        }
        Some(object.metadata.resource_version.to_string())
    }

    /// An object that can be told from others, or a word about what is wrong with it.
    fn head<'a>(
        &mut self,
        text: &str,
        read: Result<Object<'a>, Error>,
        said: &mut Vec<Said>,
    ) -> Option<(Object<'a>, Uid)> {
        let why = match read {
            Ok(object) if !object.metadata.uid.is_empty() => {
                let uid = Uid::new(&object.metadata.uid);
                return Some((object, uid));
            }
            Ok(_) => "it has no uid".to_owned(),
            Err(why) => why.to_string(),
        };
        let (cluster, resource) = (&self.place.name, self.resource);
        let object = object::seems_named(text);
        tracing::warn!(%cluster, %resource, object, "an object was skipped: {why}");
        if let Some(look) = &mut self.look {
            look.blind = true;
        }
        said.push(self.dropped("malformed"));
        None
    }

    fn image_event(&mut self, uid: &Uid, event: ImageEvent, basis: Basis, said: &mut Vec<Said>) {
        // Beyond the memory's bound an event counts once, when it is first said.
        let counted = self.memory.count(uid, event.count).unwrap_or(event.count.saturating_sub(1));
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
    fn forget_event(&mut self, uid: &Uid) {
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

    fn warn(&self, object: &Object<'_>, what: &str, why: &dyn Display) {
        let (namespace, name) = (&*object.metadata.namespace, &*object.metadata.name);
        let (cluster, resource) = (&self.place.name, self.resource);
        tracing::warn!(%cluster, %resource, %namespace, %name, "an object {what}: {why}");
    }
}
