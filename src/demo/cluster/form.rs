//! The forms in which a client may ask for objects: as they are, as metadata only, or as a table whose columns
//! a person reads.

use chrono::{DateTime, Utc};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::kinds::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Object,
    Metadata,
    Table { whole_objects: bool },
}

impl Form {
    /// What `Accept` asks for; the first alternative that this server knows.
    pub(super) fn asked(headers: &HeaderMap, include_object: Option<&str>) -> Self {
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for one in accepted.split(',') {
            if one.contains("as=Table") && !one.contains("v1beta1") {
                return Form::Table { whole_objects: include_object == Some("Object") };
            }
            if one.contains("as=PartialObjectMetadata") {
                return Form::Metadata;
            }
            if one.trim() == "application/json" {
                return Form::Object;
            }
        }
        Form::Object
    }

    /// One object, alone or in a watch.
    pub(super) fn one(self, kind: Kind, object: &Value) -> Value {
        match self {
            Form::Object => object.clone(),
            Form::Metadata => partial(object),
            Form::Table { .. } => {
                let version = &object["metadata"]["resourceVersion"];
                self.table(kind, std::iter::once(object), json!({"resourceVersion": version}))
            }
        }
    }

    /// A list with its metadata. Items of a list carry neither kind nor version.
    pub(super) fn list<'o>(
        self,
        kind: Kind,
        objects: impl Iterator<Item = &'o Value>,
        metadata: Value,
    ) -> Value {
        let named = kind.named();
        match self {
            Form::Object => {
                let items: Vec<Value> = objects.map(without_type).collect();
                json!({"kind": format!("{}List", named.name), "apiVersion": named.api_version(),
                    "metadata": metadata, "items": items})
            }
            Form::Metadata => {
                let items: Vec<Value> = objects.map(partial).collect();
                json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata, "items": items})
            }
            Form::Table { .. } => self.table(kind, objects, metadata),
        }
    }

    fn table<'o>(self, kind: Kind, objects: impl Iterator<Item = &'o Value>, metadata: Value) -> Value {
        let now = Utc::now();
        let rows: Vec<Value> = objects
            .map(|object| {
                let carried = match self {
                    Form::Table { whole_objects: true } => object.clone(),
                    _ => partial(object),
                };
                json!({"cells": cells(kind, object, now), "object": carried})
            })
            .collect();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": columns(kind), "rows": rows})
    }
}

fn without_type(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn columns(kind: Kind) -> Vec<Value> {
    // A column with a star is for `-o wide` only.
    let names: &[&str] = match kind {
        Kind::Deployment => {
            &["Name", "Ready", "Up-to-date", "Available", "Age", "Containers*", "Images*", "Selector*"]
        }
        Kind::ReplicaSet => {
            &["Name", "Desired", "Current", "Ready", "Age", "Containers*", "Images*", "Selector*"]
        }
        Kind::StatefulSet => &["Name", "Ready", "Age", "Containers*", "Images*"],
        Kind::DaemonSet => &[
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Age",
            "Containers*",
            "Images*",
        ],
        Kind::Pod => &["Name", "Ready", "Status", "Restarts", "Age", "IP*", "Node*"],
        Kind::Event => &["Last Seen", "Type", "Reason", "Object", "Message", "Count*", "Name*"],
        Kind::Node => &["Name", "Status", "Roles", "Age", "Version"],
        Kind::Namespace => &["Name", "Status", "Age"],
        Kind::Job => &["Name", "Status", "Completions", "Age", "Containers*", "Images*"],
        Kind::CronJob => &["Name", "Schedule", "Suspend", "Active", "Last Schedule", "Age", "Images*"],
        Kind::ConfigMap => &["Name", "Data", "Age"],
        Kind::ControllerRevision => &["Name", "Controller", "Revision", "Age"],
        Kind::Lease => &["Name", "Holder", "Age"],
        _ => {
            let custom = super::columns::of(kind).iter().map(|(name, _)| *name);
            return std::iter::once("Name").chain(custom).map(column).collect();
        }
    };
    names.iter().copied().map(column).collect()
}

fn column(name: &str) -> Value {
    let short = name.trim_end_matches('*');
    let format = if short == "Name" { "name" } else { "" };
    json!({"name": short, "type": "string", "format": format, "description": "",
        "priority": u8::from(short != name)})
}

fn cells(kind: Kind, object: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let name = metadata["name"].clone();
    let age = since(&metadata["creationTimestamp"], now);
    let count = |value: &Value| json!(value.as_u64().unwrap_or(0));
    let share = |part: &Value, whole: &Value| {
        json!(format!("{}/{}", part.as_u64().unwrap_or(0), whole.as_u64().unwrap_or(0)))
    };
    let containers = |field: &str| {
        let all = spec["template"]["spec"]["containers"].as_array().into_iter().flatten();
        json!(all.filter_map(|one| one[field].as_str()).collect::<Vec<_>>().join(","))
    };
    let selector = || {
        let labels = spec["selector"]["matchLabels"].as_object().into_iter().flatten();
        let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
        json!(labels.collect::<Vec<_>>().join(","))
    };
    match kind {
        Kind::Deployment => vec![
            name,
            share(&status["readyReplicas"], &spec["replicas"]),
            count(&status["updatedReplicas"]),
            count(&status["availableReplicas"]),
            age,
            containers("name"),
            containers("image"),
            selector(),
        ],
        Kind::ReplicaSet => vec![
            name,
            count(&spec["replicas"]),
            count(&status["replicas"]),
            count(&status["readyReplicas"]),
            age,
            containers("name"),
            containers("image"),
            selector(),
        ],
        Kind::StatefulSet => vec![
            name,
            share(&status["readyReplicas"], &spec["replicas"]),
            age,
            containers("name"),
            containers("image"),
        ],
        Kind::DaemonSet => vec![
            name,
            count(&status["desiredNumberScheduled"]),
            count(&status["currentNumberScheduled"]),
            count(&status["numberReady"]),
            count(&status["updatedNumberScheduled"]),
            count(&status["numberAvailable"]),
            age,
            containers("name"),
            containers("image"),
        ],
        Kind::Pod => {
            let all = status["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
            let ready = all.iter().filter(|one| one["ready"] == true).count();
            let restarts: u64 = all.iter().filter_map(|one| one["restartCount"].as_u64()).sum();
            let wanted = spec["containers"].as_array().map_or(0, Vec::len);
            vec![
                name,
                json!(format!("{ready}/{wanted}")),
                json!(pod_status(object, all)),
                json!(restarts),
                age,
                status["podIP"].clone(),
                spec["nodeName"].clone(),
            ]
        }
        Kind::Event => {
            let involved = &object["involvedObject"];
            let kind = involved["kind"].as_str().unwrap_or_default().to_lowercase();
            let seen = [&object["lastTimestamp"], &object["eventTime"], &metadata["creationTimestamp"]];
            let seen = seen.into_iter().find(|time| time.is_string()).unwrap_or(&Value::Null);
            vec![
                since(seen, now),
                object["type"].clone(),
                object["reason"].clone(),
                json!(format!("{kind}/{}", involved["name"].as_str().unwrap_or_default())),
                object["message"].clone(),
                json!(object["count"].as_u64().unwrap_or(1)),
                name,
            ]
        }
        Kind::Node => {
            vec![name, json!("Ready"), json!("<none>"), age, status["nodeInfo"]["kubeletVersion"].clone()]
        }
        Kind::Namespace => vec![name, status["phase"].clone(), age],
        Kind::Job => {
            let done = status["succeeded"].as_u64().unwrap_or(0) >= spec["completions"].as_u64().unwrap_or(1);
            let state = if done { "Complete" } else { "Running" };
            let completions = share(&status["succeeded"], &spec["completions"]);
            vec![name, json!(state), completions, age, containers("name"), containers("image")]
        }
        Kind::CronJob => {
            let template = &spec["jobTemplate"]["spec"]["template"]["spec"]["containers"];
            let images = template.as_array().into_iter().flatten().filter_map(|one| one["image"].as_str());
            vec![
                name,
                spec["schedule"].clone(),
                json!(if spec["suspend"] == true { "True" } else { "False" }),
                json!(status["active"].as_array().map_or(0, Vec::len)),
                since(&status["lastScheduleTime"], now),
                age,
                json!(images.collect::<Vec<_>>().join(",")),
            ]
        }
        Kind::ConfigMap => vec![name, json!(object["data"].as_object().map_or(0, serde_json::Map::len)), age],
        Kind::ControllerRevision => {
            let owner = &metadata["ownerReferences"][0];
            let owner = format!(
                "{}.apps/{}",
                owner["kind"].as_str().unwrap_or_default().to_lowercase(),
                owner["name"].as_str().unwrap_or_default()
            );
            vec![name, json!(owner), object["revision"].clone(), age]
        }
        Kind::Lease => vec![name, spec["holderIdentity"].clone(), age],
        _ => {
            let custom = super::columns::of(kind).iter();
            let cells = custom.map(|column| super::columns::cell(object, column).unwrap_or(age.clone()));
            std::iter::once(name).chain(cells).collect()
        }
    }
}

fn pod_status(pod: &Value, containers: &[Value]) -> String {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".to_owned();
    }
    let mut reasons = containers.iter().filter_map(|one| {
        let state = &one["state"];
        state["waiting"]["reason"].as_str().or(state["terminated"]["reason"].as_str())
    });
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    reasons.next_back().unwrap_or(phase).to_owned()
}

fn since(time: &Value, now: DateTime<Utc>) -> Value {
    let Some(then) = time.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()) else {
        return json!("<none>");
    };
    let seconds = (now - then.to_utc()).num_seconds().max(0);
    json!(match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    })
}
