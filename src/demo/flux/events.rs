//! Events as Flux's controllers send them, with client-go's counting: the same one again raises its count, and
//! many similar ones become a combined one. The limit on events about one object, which drops those beyond 25
//! and then one in five minutes, is left out: it would hide most of a demo whose intervals are seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::api::Api;
use super::clock;
use crate::demo::random::Random;

/// Different messages of one reason about one object before they are combined, as in client-go.
const SIMILAR_MAX: usize = 10;

/// What a controller has said so far.
#[derive(Clone, Default)]
pub(super) struct Events(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// By object, reason and message: the event's name and how often it was said.
    said: HashMap<(String, String, String), (String, u64)>,
    similar: HashMap<(String, String), usize>,
}

impl Api {
    pub(super) async fn normal(&self, object: &Value, reason: &str, message: &str, annotations: Value) {
        self.say(object, "Normal", reason, message, annotations).await;
    }

    pub(super) async fn warning(&self, object: &Value, reason: &str, message: &str, annotations: Value) {
        self.say(object, "Warning", reason, message, annotations).await;
    }

    /// Sends an event; one that is lost is lost, as with the real controllers.
    async fn say(&self, object: &Value, type_: &str, reason: &str, message: &str, annotations: Value) {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let all = format!("/api/v1/namespaces/{}/events", text("namespace"));
        let now = clock::now();
        let (name, count, message) = self.events.counted(&text("uid"), &text("name"), reason, message);
        if count > 1 {
            let patch = json!({"count": count, "lastTimestamp": now, "message": message});
            if self.merge(&format!("{all}/{name}"), self.name, &patch).await.is_ok() {
                return;
            }
        }
        let mut event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "kind": object["kind"], "namespace": metadata["namespace"], "name": metadata["name"],
                "uid": metadata["uid"], "apiVersion": object["apiVersion"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "reason": reason, "message": message, "type": type_,
            "source": {"component": self.name}, "reportingComponent": self.name, "reportingInstance": "",
            "firstTimestamp": now, "lastTimestamp": now, "count": count, "eventTime": null,
        });
        if !annotations.is_null() {
            event["metadata"]["annotations"] = annotations;
        }
        if let Err(refused) = self.create(&all, &event).await {
            tracing::debug!(refused.message, "an event is lost");
        }
    }
}

impl Events {
    /// The event's name, how often it has now been said, and the message as it is shown.
    fn counted(&self, uid: &str, object: &str, reason: &str, message: &str) -> (String, u64, String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (uid.to_owned(), reason.to_owned(), message.to_owned());
        let mut shown = message.to_owned();
        if !known.said.contains_key(&key) {
            let similar = known.similar.entry((uid.to_owned(), reason.to_owned())).or_insert(0);
            *similar += 1;
            if *similar > SIMILAR_MAX {
                shown = format!("(combined from similar events): {message}");
                key.2 = "(combined from similar events)".to_owned();
            }
        }
        let fresh = || (format!("{object}.{:016x}", Random::fresh().next()), 0);
        let said = known.said.entry(key).or_insert_with(fresh);
        said.1 += 1;
        (said.0.clone(), said.1, shown)
    }
}
