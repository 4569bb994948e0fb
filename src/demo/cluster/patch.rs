//! The kinds of patch that clients send: merge, strategic merge, JSON patch, and the merging half of a
//! server-side apply. Pure functions over JSON.

use serde_json::{Map, Value};

use super::fields::list_key;

/// RFC 7386: null removes, objects merge, everything else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = made_object(target);
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Kubernetes' strategic merge: as [`merge`], but the keyed lists merge item by item.
pub(super) fn strategic(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        *target =
            Value::Object(patch.iter().filter(not_directive).map(|(k, v)| (k.clone(), v.clone())).collect());
        return;
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        made_object(target).retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    let target = made_object(target);
    for (key, value) in patch.iter().filter(not_directive) {
        match (value, list_key(key)) {
            (Value::Null, _) => {
                target.remove(key);
            }
            (Value::Array(items), Some(name)) => {
                let list = target.entry(key.clone()).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, items, name);
            }
            _ => strategic(target.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

/// RFC 6902, the operations that kubectl uses. The error names the operation that does not fit.
pub(super) fn json_patch(target: &mut Value, operations: &Value) -> Result<(), String> {
    let operations = operations.as_array().ok_or("a JSON patch is a list of operations")?;
    for operation in operations {
        let path = operation["path"].as_str().ok_or("an operation has no path")?;
        let verb = operation["op"].as_str().unwrap_or_default();
        match verb {
            "test" => {
                if target.pointer(path) != Some(&operation["value"]) {
                    return Err(format!("testing value {path} failed"));
                }
            }
            "add" | "replace" | "remove" => change_at(target, path, verb, &operation["value"])?,
            other => return Err(format!("operation {other:?} is not served here")),
        }
    }
    Ok(())
}

fn not_directive(field: &(&String, &Value)) -> bool {
    !field.0.starts_with('$')
}

fn made_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made one")
}

fn merge_list(list: &mut Value, items: &[Value], name: &str) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let list = list.as_array_mut().expect("it was just made one");
    if items.iter().any(|item| item["$patch"] == "replace") {
        list.clear();
    }
    for item in items.iter().filter(|item| item["$patch"] != "replace") {
        let at = list.iter().position(|other| other[name] == item[name]);
        match (at, item["$patch"] == "delete") {
            (Some(at), true) => {
                list.remove(at);
            }
            (Some(at), false) => strategic(&mut list[at], item),
            (None, true) => {}
            (None, false) => {
                let mut made = Value::Null;
                strategic(&mut made, item);
                list.push(made);
            }
        }
    }
}

fn change_at(target: &mut Value, path: &str, verb: &str, value: &Value) -> Result<(), String> {
    let (parent, last) = path.rsplit_once('/').ok_or("the whole object cannot be patched")?;
    let last = last.replace("~1", "/").replace("~0", "~");
    let missing = || format!("path {path} does not exist");
    match target.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(fields) => {
            if verb == "remove" {
                fields.remove(&last).map(drop).ok_or_else(missing)
            } else {
                fields.insert(last, value.clone());
                Ok(())
            }
        }
        Value::Array(items) => {
            let at = if last == "-" { items.len() } else { last.parse().map_err(|_| missing())? };
            match verb {
                "add" if at <= items.len() => items.insert(at, value.clone()),
                "replace" if at < items.len() => items[at] = value.clone(),
                "remove" if at < items.len() => {
                    items.remove(at);
                }
                _ => return Err(missing()),
            }
            Ok(())
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_merge_by_name() {
        let mut pod = json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]});
        let patch = json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "b", "image": "b:2"}]});
        strategic(&mut pod, &patch);
        assert_eq!(
            pod,
            json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}]})
        );
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        let mut object = json!({"a": [1, 2], "b": 1});
        merge(&mut object, &json!({"a": [3], "b": null}));
        assert_eq!(object, json!({"a": [3]}));
    }

    #[test]
    fn a_json_patch_replaces_where_the_path_is() {
        let mut object = json!({"metadata": {"annotations": {"a/b": "1"}}, "spec": {}});
        let patch = json!([{"op": "replace", "path": "/metadata/annotations/a~1b", "value": "2"}]);
        json_patch(&mut object, &patch).unwrap();
        assert_eq!(object["metadata"]["annotations"]["a/b"], "2");
        assert!(json_patch(&mut object, &json!([{"op": "remove", "path": "/none/x"}])).is_err());
    }
}
