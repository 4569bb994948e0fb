//! Conditions of a workload's status, with the time rules of Kubernetes' own helpers.

use serde_json::{Value, json};

/// The condition of a type, or null.
pub(super) fn get<'v>(status: &'v Value, type_: &str) -> &'v Value {
    let all = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|one| one["type"] == type_).unwrap_or(&Value::Null)
}

/// Sets a condition: nothing moves while status and reason stay, and the transition keeps its time while the
/// status stays.
pub(super) fn set(status: &mut Value, type_: &str, value: &str, reason: &str, message: &str, now: &str) {
    let current = get(status, type_);
    if current["status"] == value && current["reason"] == reason {
        return;
    }
    refresh(status, type_, value, reason, message, now);
}

/// As [`set`], but says that something moved even where status and reason stay.
pub(super) fn refresh(status: &mut Value, type_: &str, value: &str, reason: &str, message: &str, now: &str) {
    let current = get(status, type_);
    let since =
        if current["status"] == value { current["lastTransitionTime"].clone() } else { Value::from(now) };
    let made = json!({"type": type_, "status": value, "lastUpdateTime": now, "lastTransitionTime": since,
        "reason": reason, "message": message});
    remove(status, type_);
    match status["conditions"].as_array_mut() {
        Some(all) => all.push(made),
        None => status["conditions"] = json!([made]),
    }
}

pub(super) fn remove(status: &mut Value, type_: &str) {
    if let Some(all) = status["conditions"].as_array_mut() {
        all.retain(|one| one["type"] != type_);
    }
}

/// Sets a count, or leaves it out where it is zero, as the API does.
pub(super) fn set_count(status: &mut Value, field: &str, count: u64) {
    if count > 0 {
        status[field] = json!(count);
    } else if let Some(fields) = status.as_object_mut() {
        fields.remove(field);
    }
}

/// A count that may be absent.
pub(super) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
