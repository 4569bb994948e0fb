//! Conditions of Flux's objects, with the rules of its own helpers: the transition time moves with status,
//! reason or message, and Stalled, Reconciling and Ready stand first.

use serde_json::{Value, json};

use super::clock;

/// The condition of a type, or null.
pub(super) fn get<'o>(object: &'o Value, type_: &str) -> &'o Value {
    let all = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|one| one["type"] == type_).unwrap_or(&Value::Null)
}

pub(super) fn is(object: &Value, type_: &str, status: &str) -> bool {
    get(object, type_)["status"] == status
}

/// Whether it is ready and nothing is going on.
pub(super) fn is_ready(object: &Value) -> bool {
    is(object, "Ready", "True") && !is(object, "Reconciling", "True") && !is(object, "Stalled", "True")
}

pub(super) fn message(object: &Value, type_: &str) -> String {
    get(object, type_)["message"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn mark(object: &mut Value, type_: &str, status: &str, reason: &str, message: &str) {
    let current = get(object, type_);
    let same = current["status"] == status && current["reason"] == reason && current["message"] == message;
    let since = if same { current["lastTransitionTime"].clone() } else { Value::from(clock::now()) };
    let made = json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": object["metadata"]["generation"]});
    delete(object, type_);
    let all = &mut object["status"]["conditions"];
    if !all.is_array() {
        *all = json!([]);
    }
    if let Some(all) = all.as_array_mut() {
        all.push(made);
        all.sort_by_key(|one| {
            let type_ = one["type"].as_str().unwrap_or_default().to_owned();
            let first = ["Stalled", "Reconciling", "Ready"].iter().position(|first| *first == type_);
            (first.unwrap_or(usize::MAX), type_)
        });
    }
}

pub(super) fn delete(object: &mut Value, type_: &str) {
    if let Some(all) = object["status"]["conditions"].as_array_mut() {
        all.retain(|one| one["type"] != type_);
    }
}

/// Something is going on.
pub(super) fn reconciling(object: &mut Value, message: &str) {
    delete(object, "Stalled");
    mark(object, "Reconciling", "True", "Progressing", message);
}

/// As [`reconciling`], and Ready is unknown where it was not known or what is there no longer fits.
pub(super) fn progressing(object: &mut Value, drifted: bool, message: &str) {
    reconciling(object, message);
    let ready = get(object, "Ready");
    if drifted || ready.is_null() || ready["status"] == "Unknown" {
        mark(object, "Ready", "Unknown", "Progressing", message);
    }
}

/// It went well.
pub(super) fn succeeded(object: &mut Value, message: &str) {
    delete(object, "Reconciling");
    delete(object, "Stalled");
    mark(object, "Ready", "True", "Succeeded", message);
    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
}

/// It failed and will be tried again.
pub(super) fn failed(object: &mut Value, reason: &str, message: &str) {
    mark(object, "Ready", "False", reason, message);
    retrying(object);
}

/// What was going on will be tried again.
pub(super) fn retrying(object: &mut Value) {
    let going_on = message(object, "Reconciling");
    if is(object, "Reconciling", "True") {
        mark(object, "Reconciling", "True", "ProgressingWithRetry", &going_on);
    }
}

/// It failed and only a change of the object helps.
pub(super) fn stalled(object: &mut Value, reason: &str, message: &str) {
    delete(object, "Reconciling");
    mark(object, "Stalled", "True", reason, message);
    mark(object, "Ready", "False", reason, message);
    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
}
