//! Watches: the initial objects where the client wants them, then every change, with bookmarks between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Api, Asked, in_version};
use super::form::Form;
use super::kinds::Kind;
use super::list::lower_bound;
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::{Change, ChangeType, Store};
use crate::demo::fault::{Fault, Faults};

/// Bookmarks on a watch that asked for them. The real server sends them each minute; a demo is shorter.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);
/// How long a watch lives while a fault cuts watches.
const CUT_AFTER: Duration = Duration::from_secs(2);
/// A watch without `timeoutSeconds` ends after this; the real server picks 30 to 60 minutes.
const WATCH_TIME_MAX: Duration = Duration::from_secs(1800);
/// How often a watch looks whether a fault was switched on meanwhile.
const FAULT_LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn watch(api: &Api, asked: &Asked) -> Result<Response, Refusal> {
    let streams_list = asked.is_set("sendInitialEvents");
    if streams_list && asked.parameter("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(Refusal::invalid(
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents \
             requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let from = lower_bound(asked)?;
    let given =
        asked.parameter("timeoutSeconds").and_then(|text| text.parse().ok()).filter(|given| *given > 0);
    let now = Instant::now();
    let mut sight = asked.selector.clone();
    if let Some(name) = &asked.name {
        // The old way to watch one object: its name in the path.
        sight = Selector::parse("", &format!("metadata.name={name}")).unwrap_or(sight);
    }
    let mut watching = Watching {
        store: api.store.clone(),
        faults: api.faults.clone(),
        kind: asked.kind,
        version: asked.version,
        namespace: asked.namespace.clone(),
        selector: sight,
        form: asked.form,
        bookmarks: asked.is_set("allowWatchBookmarks"),
        cursor: from.unwrap_or(0),
        waiting: VecDeque::new(),
        begun: now,
        ends: now + given.map_or(WATCH_TIME_MAX, Duration::from_secs),
        next_bookmark: now + BOOKMARK_EVERY,
        over: false,
    };
    if streams_list || from.is_none() {
        watching.begin_with_objects();
    }
    let versions = api.store.versions();
    let lines = stream::unfold((watching, versions), |(mut watching, mut versions)| async move {
        let line = watching.next(&mut versions).await?;
        Some((Ok::<_, std::convert::Infallible>(line), (watching, versions)))
    });
    let described =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache, private")];
    Ok((StatusCode::OK, described, Body::from_stream(lines)).into_response())
}

/// One open watch.
struct Watching {
    store: Arc<Store>,
    faults: Faults,
    kind: Kind,
    version: &'static str,
    namespace: Option<String>,
    selector: Selector,
    form: Form,
    bookmarks: bool,
    /// Everything up to this version has been sent or queued.
    cursor: u64,
    waiting: VecDeque<Bytes>,
    begun: Instant,
    ends: Instant,
    next_bookmark: Instant,
    over: bool,
}

impl Watching {
    fn begin_with_objects(&mut self) {
        let (version, objects) = self.store.list(self.kind, self.namespace.as_deref());
        for object in objects.iter().filter(|object| self.selector.matches(object)) {
            self.waiting.push_back(line("ADDED", &self.shown(object)));
        }
        self.cursor = version;
        if self.bookmarks {
            self.queue_bookmark(json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    /// The next line, or nothing when the watch is over.
    async fn next(&mut self, versions: &mut tokio::sync::watch::Receiver<u64>) -> Option<Bytes> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            if self.over || self.is_cut() {
                return None;
            }
            versions.borrow_and_update();
            match self.store.changes_since(self.kind, self.cursor) {
                Ok((version, changes)) => {
                    // A watch from a version of the future waits for it in silence.
                    self.cursor = self.cursor.max(version);
                    let seen: Vec<Bytes> = changes.iter().filter_map(|change| self.seen(change)).collect();
                    self.waiting.extend(seen);
                }
                Err(refusal) => {
                    self.over = true;
                    return Some(line("ERROR", &refusal.status()));
                }
            }
            if !self.waiting.is_empty() {
                continue;
            }
            if self.bookmarks && Instant::now() >= self.next_bookmark {
                self.queue_bookmark(Value::Null);
                continue;
            }
            tokio::select! {
                changed = versions.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep(FAULT_LOOK_EVERY) => {}
            }
        }
    }

    fn is_cut(&self) -> bool {
        let now = Instant::now();
        let old = now >= self.begun + CUT_AFTER;
        if old && self.faults.on(Fault::WatchExpired) {
            self.store.forget_versions(self.kind);
            return true;
        }
        now >= self.ends || old && self.faults.on(Fault::WatchDrop)
    }

    /// A change as this watch sees it: through its namespace and selector.
    fn seen(&self, change: &Change) -> Option<Bytes> {
        let object = &*change.object;
        if self.namespace.as_deref().is_some_and(|namespace| object["metadata"]["namespace"] != namespace) {
            return None;
        }
        let before = change.before.as_ref().is_some_and(|before| self.selector.matches(before));
        let after = change.type_ != ChangeType::Deleted && self.selector.matches(object);
        let type_ = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(line(type_, &self.shown(object)))
    }

    fn shown(&self, object: &Value) -> Value {
        in_version(self.form.one(self.kind, object), self.kind, self.version)
    }

    fn queue_bookmark(&mut self, annotations: Value) {
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        let named = self.kind.named();
        let mut metadata = json!({"resourceVersion": self.cursor.to_string()});
        if !annotations.is_null() {
            metadata["annotations"] = annotations;
        }
        let mut object = json!({"kind": named.name, "apiVersion": named.api_version(), "metadata": metadata});
        match self.form {
            Form::Object if self.kind == Kind::Pod => {
                // The real server's bookmarks have this null, and strict clients break on it.
                object["spec"] = json!({"containers": null});
            }
            Form::Object => {}
            Form::Metadata => {
                object["kind"] = Value::from("PartialObjectMetadata");
                object["apiVersion"] = Value::from("meta.k8s.io/v1");
            }
            Form::Table { .. } => {
                let row = json!({"cells": [], "object": object});
                object = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": null, "rows": [row]});
            }
        }
        self.waiting.push_back(line("BOOKMARK", &in_version(object, self.kind, self.version)));
    }
}

fn line(type_: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": type_, "object": object}).to_string();
    text.push('\n');
    text.into()
}
