//! Events as controllers and the node send them: the same one again raises its count, many similar ones
//! become a combined one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use super::fields::Writer;
use super::kinds::Kind;
use super::store::{Store, seconds, text};
use crate::demo::random::Random;

/// Events kept; the real server forgets them after an hour.
const EVENTS_MAX: usize = 2_000;
/// Different messages of one reason about one object before they are combined, as in client-go.
const SIMILAR_MAX: usize = 10;

pub(super) struct Recorder {
    store: Arc<Store>,
    known: Mutex<Known>,
}

struct Known {
    random: Random,
    /// Where an event already said stands: namespace and name.
    said: HashMap<Saying, (String, String)>,
    order: VecDeque<Saying>,
    similar: HashMap<(String, String), usize>,
}

type Saying = (String, String, String);

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    DeploymentController,
    ReplicaSetController,
    StatefulSetController,
    DaemonSetController,
    Scheduler,
    Kubelet,
}

/// What an event says about its object.
pub(super) struct Said<'a> {
    pub(super) warning: bool,
    pub(super) reason: &'a str,
    pub(super) message: String,
    /// The container it is about.
    pub(super) container: Option<&'a str>,
}

impl Source {
    fn component(self) -> &'static str {
        match self {
            Source::DeploymentController => "deployment-controller",
            Source::ReplicaSetController => "replicaset-controller",
            Source::StatefulSetController => "statefulset-controller",
            Source::DaemonSetController => "daemonset-controller",
            Source::Scheduler => "default-scheduler",
            Source::Kubelet => "kubelet",
        }
    }

    /// The field manager it writes as.
    pub(super) fn manager(self) -> &'static str {
        match self {
            Source::Scheduler => "kube-scheduler",
            Source::Kubelet => "kubelet",
            _ => "kube-controller-manager",
        }
    }
}

impl Recorder {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let known = Known {
            random: Random::fresh(),
            said: HashMap::new(),
            order: VecDeque::new(),
            similar: HashMap::new(),
        };
        Self { store, known: Mutex::new(known) }
    }

    pub(super) fn normal(&self, source: Source, object: &Value, reason: &str, message: String) {
        self.say(source, object, Said { warning: false, reason, message, container: None });
    }

    pub(super) fn say(&self, source: Source, object: &Value, mut said: Said<'_>) {
        let uid = text(&object["metadata"], "uid");
        let now = Utc::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut saying = (uid.clone(), said.reason.to_owned(), said.message.clone());
        if !known.said.contains_key(&saying) {
            let similar = known.similar.entry((uid, said.reason.to_owned())).or_insert(0);
            *similar += 1;
            if *similar > SIMILAR_MAX {
                said.message = format!("(combined from similar events): {}", said.message);
                saying.2 = "(combined from similar events)".to_owned();
            }
        }
        let writer = Writer::main(source.manager());
        if let Some((namespace, name)) = known.said.get(&saying) {
            let again = self.store.update(Kind::Event, namespace, name, writer, |event| {
                event["count"] = json!(event["count"].as_u64().unwrap_or(1) + 1);
                event["lastTimestamp"] = Value::from(seconds(now));
                event["message"] = Value::from(said.message.clone());
                Ok(())
            });
            if again.is_ok() {
                return;
            }
        }
        let event = event(source, object, &said, &mut known.random, now);
        let place = (text(&event["metadata"], "namespace"), text(&event["metadata"], "name"));
        if self.store.create(Kind::Event, event, writer, None).is_ok() {
            known.order.push_back(saying.clone());
            known.said.insert(saying, place);
        }
        if known.order.len() > EVENTS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.similar.remove(&(oldest.0.clone(), oldest.1.clone()));
            if let Some((namespace, name)) = known.said.remove(&oldest) {
                // It may be gone already: a client or its namespace's deletion took it.
                let _ = self.store.delete(Kind::Event, &namespace, &name, None);
            }
        }
    }
}

fn event(
    source: Source,
    object: &Value,
    said: &Said<'_>,
    random: &mut Random,
    now: chrono::DateTime<Utc>,
) -> Value {
    let metadata = &object["metadata"];
    let mut involved = json!({
        "kind": object["kind"], "namespace": metadata["namespace"], "name": metadata["name"],
        "uid": metadata["uid"], "apiVersion": object["apiVersion"],
        "resourceVersion": metadata["resourceVersion"],
    });
    if let Some(container) = said.container {
        involved["fieldPath"] = Value::from(format!("spec.containers{{{container}}}"));
    }
    let mut event = json!({
        "metadata": {
            "name": format!("{}.{:016x}", text(metadata, "name"), random.next()),
            "namespace": metadata["namespace"],
        },
        "involvedObject": involved,
        "reason": said.reason,
        "message": said.message,
        "type": if said.warning { "Warning" } else { "Normal" },
        "reportingComponent": source.component(),
        "reportingInstance": "",
        "eventTime": null,
    });
    if source == Source::Scheduler {
        // The scheduler speaks the newer API: no count, no source, microseconds.
        event["source"] = json!({});
        event["firstTimestamp"] = Value::Null;
        event["lastTimestamp"] = Value::Null;
        event["eventTime"] = Value::from(now.to_rfc3339_opts(SecondsFormat::Micros, true));
        event["action"] = Value::from(if said.warning { "Scheduling" } else { "Binding" });
        event["reportingInstance"] = Value::from("default-scheduler-demo");
        return event;
    }
    event["source"] = json!({"component": source.component()});
    event["firstTimestamp"] = Value::from(seconds(now));
    event["lastTimestamp"] = Value::from(seconds(now));
    event["count"] = json!(1);
    if source == Source::Kubelet {
        event["source"]["host"] = Value::from(super::NODE);
        event["reportingInstance"] = Value::from(super::NODE);
    }
    event
}
