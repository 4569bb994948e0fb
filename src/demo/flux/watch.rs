//! Watches a kind for a controller: every object first, then what changes. A watch that ends, or that the
//! server refuses, begins anew with every object; those that are the same as before are not told again.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header;
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use super::api::{Api, Type};

/// Longer than any demo; the client's own limit is for short requests.
const WATCH_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Pause before a watch that ended begins anew.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// One object with its event; the demo's are a few kilobytes.
const LINE_BYTES_MAX: usize = 4 << 20;

/// An object by namespace and name.
pub(super) type Place = (String, String);

/// What happened to an object.
pub(super) struct Change {
    pub(super) type_: Type,
    pub(super) before: Option<Value>,
    /// None where it is gone.
    pub(super) after: Option<Value>,
}

impl Change {
    /// The object, as it is or was.
    pub(super) fn object(&self) -> &Value {
        self.after.as_ref().or(self.before.as_ref()).unwrap_or(&Value::Null)
    }

    /// Whether something at a path is not what it was.
    pub(super) fn touches(&self, path: &str) -> bool {
        let at = |object: &Option<Value>| object.as_ref().and_then(|object| object.pointer(path)).cloned();
        at(&self.before) != at(&self.after)
    }
}

pub(super) fn place(object: &Value) -> Place {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// Tells every change until nobody listens.
pub(super) async fn follow(api: Api, type_: Type, changes: Sender<Change>) {
    let mut known = BTreeMap::new();
    while !changes.is_closed() {
        // Why it ended does not matter: the next one begins with everything.
        let _ = once(&api, type_, &mut known, &changes).await;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// One watch, until it ends.
async fn once(
    api: &Api,
    type_: Type,
    known: &mut BTreeMap<Place, Value>,
    changes: &Sender<Change>,
) -> Option<()> {
    let query =
        "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let url = format!("{}{}?{query}", api.front, type_.all());
    let request = api.client.get(url).header(header::USER_AGENT, api.name).timeout(WATCH_TIME_MAX);
    let mut response = request.send().await.ok()?.error_for_status().ok()?;
    let mut rest = Vec::new();
    let mut missing: Option<Vec<Place>> = Some(known.keys().cloned().collect());
    while let Some(chunk) = response.chunk().await.ok()? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let mut event: Value = serde_json::from_slice(&line).ok()?;
            let object = event["object"].take();
            let at = place(&object);
            match event["type"].as_str()? {
                "ADDED" | "MODIFIED" => {
                    if let Some(missing) = &mut missing {
                        missing.retain(|one| *one != at);
                    }
                    let before = known.insert(at, object.clone());
                    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                    if before.as_ref().map(version) != Some(version(&object)) {
                        changes.send(Change { type_, before, after: Some(object) }).await.ok()?;
                    }
                }
                "DELETED" => {
                    let before = known.remove(&at);
                    changes.send(Change { type_, before, after: None }).await.ok()?;
                }
                "BOOKMARK" => {
                    for at in missing.take().into_iter().flatten() {
                        let before = known.remove(&at);
                        changes.send(Change { type_, before, after: None }).await.ok()?;
                    }
                }
                _ => return None,
            }
        }
        if rest.len() > LINE_BYTES_MAX {
            return None;
        }
    }
    None
}
