//! `metadata.managedFields`: who wrote which field, and when. A tree of fields has Kubernetes' own shape
//! (`f:name` for a key, `k:{"name":"web"}` for an item of a keyed list, `.` for the item itself).

use serde_json::{Map, Value, json};

/// Who writes, and through which door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) manager: &'a str,
    pub(super) part: Part,
    pub(super) operation: Operation,
    /// The answer is computed and nothing is kept.
    pub(super) dry_run: bool,
}

/// Which part of an object a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Main,
    Status,
    /// The number of replicas alone, through the subresource.
    Scale,
}

impl Part {
    /// As an entry names it.
    fn subresource(self) -> Option<&'static str> {
        match self {
            Self::Main => None,
            Self::Status => Some("status"),
            Self::Scale => Some("scale"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Update,
    Apply,
}

impl<'a> Writer<'a> {
    pub(super) fn main(manager: &'a str) -> Self {
        Self { manager, part: Part::Main, operation: Operation::Update, dry_run: false }
    }

    pub(super) fn status(manager: &'a str) -> Self {
        Self { manager, part: Part::Status, operation: Operation::Update, dry_run: false }
    }
}

/// The key of a list's items, where the list is a map in disguise.
pub(super) fn list_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

/// The entries after `writer` changed `old` (null for a new object) into `new` at `now`. `applied` is the text
/// of a server-side apply, all of whose fields its manager owns from now on.
pub(super) fn managed(
    old: &Value,
    new: &Value,
    writer: Writer<'_>,
    applied: Option<&Value>,
    api_version: &str,
    now: &str,
) -> Value {
    let mut entries = new["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let custom = api_version.contains(".fluxcd.io/");
    let (old, new) = (stripped(old), stripped(new));
    let shaped = |fields: Value, old: &Value, new: &Value| {
        if custom { untyped(fields, old, new, true) } else { fields }
    };
    let mut changed = shaped(changes(&old, &new), &old, &new);
    if writer.part == Part::Status {
        // What a status write carries of the rest of the object is not its own.
        keep(&mut changed, |field| field == "f:status" || field == "f:metadata");
    } else {
        keep(&mut changed, |field| field != "f:status");
    }
    for entry in &mut entries {
        if !is_of(entry, writer) {
            entry["fieldsV1"] = without(&entry["fieldsV1"], &changed);
        }
    }
    entries.retain(|entry| entry["fieldsV1"].as_object().is_some_and(|fields| !fields.is_empty()));
    let owned = applied.map_or_else(
        || changed.clone(),
        |text| {
            let text = stripped(text);
            shaped(all(&text), &Value::Null, &text)
        },
    );
    let before = entries.iter().position(|entry| is_of(entry, writer));
    let mut entry = match before {
        Some(at) => entries.remove(at),
        None => Value::Null,
    };
    let fields = match writer.operation {
        Operation::Update => union(&entry["fieldsV1"], &owned),
        Operation::Apply => owned,
    };
    if fields.as_object().is_some_and(|fields| !fields.is_empty()) {
        let same = before.is_some() && fields == entry["fieldsV1"] && empty(&changed);
        let time = if same { entry["time"].take() } else { Value::from(now) };
        entry = json!({
            "manager": writer.manager,
            "operation": match writer.operation { Operation::Update => "Update", Operation::Apply => "Apply" },
            "apiVersion": api_version, "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        if let Some(subresource) = writer.part.subresource() {
            entry["subresource"] = Value::from(subresource);
        }
        // As the API server writes it.
        if let (Part::Scale, Some(entry)) = (writer.part, entry.as_object_mut()) {
            entry.remove("time");
        }
        // In place, so that an apply of nothing new stays nothing new.
        entries.insert(before.unwrap_or(entries.len()), entry);
    }
    Value::Array(entries)
}

/// Managers other than `manager` that own one of the fields of `text` whose value `text` would change, with the
/// field: the conflicts of a server-side apply.
pub(super) fn conflicts(live: &Value, text: &Value, manager: &str) -> Vec<(String, String)> {
    let (live_fields, text) = (stripped(live), stripped(text));
    let mut wanted = live_fields.clone();
    super::patch::strategic(&mut wanted, &text);
    let differing = changes(&live_fields, &wanted);
    let mut found = Vec::new();
    for entry in live["metadata"]["managedFields"].as_array().into_iter().flatten() {
        if entry["manager"] == manager && entry["operation"] == "Apply" {
            continue;
        }
        let mut paths = Vec::new();
        shared_leaves(&entry["fieldsV1"], &differing, String::new(), &mut paths);
        let other = entry["manager"].as_str().unwrap_or_default();
        found.extend(paths.into_iter().map(|path| (other.to_owned(), path)));
    }
    found
}

/// Takes away what `manager` has applied before, does not apply any more, and nobody else owns.
pub(super) fn give_up(live: &mut Value, text: &Value, manager: &str) {
    let is_own = |entry: &&Value| entry["manager"] == manager && entry["operation"] == "Apply";
    let entries = live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let Some(own) = entries.iter().find(is_own) else { return };
    let mut dropped = without(&own["fieldsV1"], &all(&stripped(text)));
    for other in entries.iter().filter(|entry| !is_own(entry)) {
        dropped = without(&dropped, &other["fieldsV1"]);
    }
    take_away(live, &dropped);
}

fn take_away(from: &mut Value, fields: &Value) {
    for (key, inside) in fields.as_object().into_iter().flatten() {
        match (key.strip_prefix("f:"), key.strip_prefix("k:")) {
            (Some(name), _) => {
                let Some(parts) = from.as_object_mut() else { continue };
                if let Some(part) = parts.get_mut(name).filter(|_| !empty(inside)) {
                    take_away(part, inside);
                    if part.as_array().is_some_and(Vec::is_empty) {
                        parts.remove(name);
                    }
                } else {
                    parts.remove(name);
                }
            }
            (None, Some(of)) => {
                let wanted: Value = serde_json::from_str(of).unwrap_or_default();
                let Some((name, value)) = wanted.as_object().and_then(|wanted| wanted.iter().next()) else {
                    continue;
                };
                let Some(items) = from.as_array_mut() else { continue };
                let Some(at) = items.iter().position(|item| item[name.as_str()] == *value) else { continue };
                if inside.get(".").is_some() {
                    items.remove(at);
                } else {
                    take_away(&mut items[at], inside);
                }
            }
            (None, None) => {}
        }
    }
}

/// The object without what nobody manages: its identity and the bookkeeping of the server.
fn stripped(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for server_made in [
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
            ] {
                metadata.remove(server_made);
            }
        }
    }
    object
}

fn is_of(entry: &Value, writer: Writer<'_>) -> bool {
    let operation = match writer.operation {
        Operation::Update => "Update",
        Operation::Apply => "Apply",
    };
    entry["manager"] == writer.manager
        && entry["operation"] == operation
        && entry["subresource"].as_str() == writer.part.subresource()
}

fn keep(fields: &mut Value, wanted: impl Fn(&str) -> bool) {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|field, _| wanted(field));
    }
}

fn empty(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

/// The fields in which `new` differs from `old`; fields that went away are nobody's.
fn changes(old: &Value, new: &Value) -> Value {
    let mut fields = Map::new();
    match new {
        Value::Object(new) => {
            for (key, value) in new {
                let before = &old[key.as_str()];
                if before != value {
                    fields.insert(format!("f:{key}"), changed_value(key, before, value));
                }
            }
        }
        _ => return json!({}),
    }
    Value::Object(fields)
}

fn changed_value(key: &str, old: &Value, new: &Value) -> Value {
    match (new, list_key(key)) {
        (Value::Object(object), _) if !object.is_empty() => changes(old, new),
        (Value::Array(items), Some(name)) if items.iter().all(|item| !item[name].is_null()) => {
            let mut fields = Map::new();
            for item in items {
                let same = |other: &&Value| other[name] == item[name];
                let before = old.as_array().and_then(|items| items.iter().find(same));
                if before != Some(item) {
                    let mut inside = changes(before.unwrap_or(&Value::Null), item);
                    if before.is_none() {
                        inside["."] = json!({});
                    }
                    fields.insert(format!("k:{}", json!({name: item[name]})), inside);
                }
            }
            Value::Object(fields)
        }
        _ => json!({}),
    }
}

/// The fields as they are for custom kinds: lists are one value, but for the finalizers, which are a set, and who
/// makes a map owns the map, too.
fn untyped(fields: Value, old: &Value, new: &Value, top: bool) -> Value {
    let Value::Object(fields) = fields else { return fields };
    let mut shaped = Map::new();
    for (key, inside) in fields {
        let name = key.trim_start_matches("f:").to_owned();
        let (before, after) = (&old[&name], &new[&name]);
        let inside = match after {
            Value::Array(items) if name == "finalizers" => {
                let items = items.iter().map(|item| (format!("v:{item}"), json!({})));
                Value::Object(items.chain([(".".to_owned(), json!({}))]).collect())
            }
            Value::Object(map) if !map.is_empty() => {
                let mut inside = untyped(inside, before, after, false);
                if before.is_null() && !(top && name == "metadata") {
                    inside["."] = json!({});
                }
                inside
            }
            _ => json!({}),
        };
        shaped.insert(key, inside);
    }
    Value::Object(shaped)
}

fn all(object: &Value) -> Value {
    changes(&Value::Null, object)
}

fn union(a: &Value, b: &Value) -> Value {
    let mut fields = a.as_object().cloned().unwrap_or_default();
    for (key, inside) in b.as_object().into_iter().flatten() {
        let merged = union(fields.get(key).unwrap_or(&Value::Null), inside);
        fields.insert(key.clone(), merged);
    }
    Value::Object(fields)
}

fn without(fields: &Value, taken: &Value) -> Value {
    let mut left = Map::new();
    for (key, inside) in fields.as_object().into_iter().flatten() {
        match taken.get(key) {
            None => {
                left.insert(key.clone(), inside.clone());
            }
            Some(_) if empty(inside) => {}
            Some(taken) => {
                let inside = without(inside, taken);
                if !empty(&inside) {
                    left.insert(key.clone(), inside);
                }
            }
        }
    }
    Value::Object(left)
}

fn shared_leaves(fields: &Value, differing: &Value, path: String, found: &mut Vec<String>) {
    for (key, inside) in fields.as_object().into_iter().flatten() {
        let Some(differs) = differing.get(key) else { continue };
        let step = match key.strip_prefix("f:") {
            Some(name) => format!("{path}.{name}"),
            None => format!("{path}[{}]", item_key(key)),
        };
        if empty(inside) {
            found.push(step);
        } else {
            shared_leaves(inside, differs, step, found);
        }
    }
}

/// `k:{"name":"web"}` as messages have it: `name="web"`.
fn item_key(key: &str) -> String {
    let key = key.trim_start_matches("k:");
    let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
    fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager_of_image(entries: &Value) -> Vec<&str> {
        let has = |entry: &&Value| entry["fieldsV1"].to_string().contains("f:image");
        entries
            .as_array()
            .unwrap()
            .iter()
            .filter(has)
            .map(|entry| entry["manager"].as_str().unwrap())
            .collect()
    }

    fn workload(image: &str) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": image}], "replicas": 2}})
    }

    #[test]
    fn a_field_belongs_to_its_last_writer() {
        let (old, mut new) = (workload("a"), workload("b"));
        let first = managed(&Value::Null, &old, Writer::main("one"), None, "apps/v1", "t1");
        assert_eq!(manager_of_image(&first), ["one"]);
        new["metadata"]["managedFields"] = first;
        let second = managed(&old, &new, Writer::main("two"), None, "apps/v1", "t2");
        assert_eq!(manager_of_image(&second), ["two"]);
        assert_eq!(second[0]["time"], "t1");
        assert_eq!(second[1]["time"], "t2");
    }

    #[test]
    fn what_is_applied_no_more_is_taken_away_unless_another_owns_it() {
        let writer = Writer { operation: Operation::Apply, ..Writer::main("demo-applier") };
        let full = json!({"spec": {"minReadySeconds": 5, "replicas": 2, "containers": [
            {"name": "web", "image": "a:1", "env": [{"name": "A", "value": "1"}]}]}});
        let mut live = full.clone();
        live["metadata"]["managedFields"] =
            managed(&Value::Null, &live, writer, Some(&full), "apps/v1", "t1");
        let mut scaled = live.clone();
        scaled["spec"]["replicas"] = json!(3);
        scaled["metadata"]["managedFields"] =
            managed(&live, &scaled, Writer::main("kubectl"), None, "apps/v1", "t2");
        let less = json!({"spec": {"containers": [{"name": "web", "image": "a:1"}]}});
        give_up(&mut scaled, &less, "demo-applier");
        let spec = json!({"replicas": 3, "containers": [{"name": "web", "image": "a:1"}]});
        assert_eq!(scaled["spec"], spec);
    }

    #[test]
    fn an_apply_conflicts_only_where_it_would_change_anothers_value() {
        let mut live = workload("a");
        live["metadata"]["managedFields"] =
            managed(&Value::Null, &live, Writer::main("kubectl-set"), None, "apps/v1", "t1");
        assert_eq!(conflicts(&live, &workload("a"), "flux"), []);
        let found = conflicts(&live, &workload("b"), "flux");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.ends_with(".image"), "{found:?}");
    }
}
