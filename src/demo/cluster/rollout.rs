//! What a Deployment says about its rollout: counts, conditions and when it is complete, with the real
//! controller's reasons. Pure functions of a Deployment and its ReplicaSets.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::conditions::{self, count, set_count};
use super::deployments::Rollout;
use super::store::{seconds, text};

/// The status that follows from the ReplicaSets.
pub(super) fn status(
    object: &Value,
    rollout: &Rollout,
    observed: &Value,
    paused: bool,
    progress: Option<(&'static str, String)>,
    now: DateTime<Utc>,
) -> Value {
    let before = &object["status"];
    let mut status = json!({"observedGeneration": observed, "conditions": before["conditions"]});
    if status["conditions"].is_null() {
        status["conditions"] = json!([]);
    }
    let sets = || rollout.old.iter().chain(&rollout.new);
    let sum = |field: &str| sets().map(|set| count(&set["status"][field])).sum::<u64>();
    let updated = rollout.new.as_ref().map_or(0, |new| count(&new["status"]["replicas"]));
    let (total, available) = (sum("replicas"), sum("availableReplicas"));
    let wanted = replicas(object);
    set_count(&mut status, "replicas", total);
    set_count(&mut status, "updatedReplicas", updated);
    set_count(&mut status, "readyReplicas", sum("readyReplicas"));
    set_count(&mut status, "availableReplicas", available);
    let planned: u64 = sets().map(|set| replicas(set)).sum();
    set_count(&mut status, "unavailableReplicas", planned.max(total).saturating_sub(available));
    status["terminatingReplicas"] = json!(sum("terminatingReplicas"));
    let at = seconds(now);
    if available >= wanted.saturating_sub(max_unavailable(object)) {
        let message = "Deployment has minimum availability.";
        conditions::set(&mut status, "Available", "True", "MinimumReplicasAvailable", message, &at);
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions::set(&mut status, "Available", "False", "MinimumReplicasUnavailable", message, &at);
    }
    if paused {
        conditions::set(
            &mut status,
            "Progressing",
            "Unknown",
            "DeploymentPaused",
            "Deployment is paused",
            &at,
        );
        return status;
    }
    if conditions::get(&status, "Progressing")["reason"] == "DeploymentPaused" {
        conditions::set(
            &mut status,
            "Progressing",
            "Unknown",
            "DeploymentResumed",
            "Deployment is resumed",
            &at,
        );
    }
    if let Some((reason, message)) = progress {
        conditions::set(&mut status, "Progressing", "True", reason, &message, &at);
        // The real controller writes this condition first and everything else in its next pass.
        return status;
    }
    set_progress(object, rollout, &mut status, now);
    let failure = sets().find_map(|set| match conditions::get(&set["status"], "ReplicaFailure") {
        Value::Null => None,
        failure => Some(failure.clone()),
    });
    match failure {
        Some(failure) => conditions::set(
            &mut status,
            "ReplicaFailure",
            "True",
            &text(&failure, "reason"),
            &text(&failure, "message"),
            &at,
        ),
        None => conditions::remove(&mut status, "ReplicaFailure"),
    }
    status
}

fn set_progress(object: &Value, rollout: &Rollout, status: &mut Value, now: DateTime<Utc>) {
    let before = &object["status"];
    let current = conditions::get(status, "Progressing").clone();
    let (total, updated) = (count(&status["replicas"]), count(&status["updatedReplicas"]));
    if total == updated && current["reason"] == "NewReplicaSetAvailable" {
        return;
    }
    let name = rollout.new.as_ref().map(|new| text(&new["metadata"], "name")).unwrap_or_default();
    let at = seconds(now);
    let wanted = replicas(object);
    let complete = updated == wanted && total == wanted && count(&status["availableReplicas"]) == wanted;
    let grew = |field: &str| count(&status[field]) > count(&before[field]);
    let old_before = count(&before["replicas"]).saturating_sub(count(&before["updatedReplicas"]));
    let shrank = total.saturating_sub(updated) < old_before;
    if complete {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        conditions::set(status, "Progressing", "True", "NewReplicaSetAvailable", &message, &at);
    } else if grew("updatedReplicas") || grew("readyReplicas") || grew("availableReplicas") || shrank {
        let message = format!("ReplicaSet {name:?} is progressing.");
        conditions::refresh(status, "Progressing", "True", "ReplicaSetUpdated", &message, &at);
    } else if timed_out(object, &current, now) {
        let message = format!("ReplicaSet {name:?} has timed out progressing.");
        conditions::set(status, "Progressing", "False", "ProgressDeadlineExceeded", &message, &at);
    }
}

fn timed_out(object: &Value, progressing: &Value, now: DateTime<Utc>) -> bool {
    if progressing["reason"] == "NewReplicaSetAvailable" {
        return false;
    }
    let updated =
        progressing["lastUpdateTime"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let deadline = object["spec"]["progressDeadlineSeconds"].as_i64().unwrap_or(600);
    updated.is_some_and(|updated| (now - updated.to_utc()).num_seconds() > deadline)
}

/// Whether everything runs the newest template, by the rules of `kubectl rollout status`.
pub(super) fn is_complete(deployment: &Value) -> bool {
    let (status, wanted) = (&deployment["status"], replicas(deployment));
    deployment["spec"]["paused"] != true
        && status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["updatedReplicas", "replicas", "availableReplicas"]
            .iter()
            .all(|field| count(&status[*field]) == wanted)
}

pub(super) fn replicas(workload: &Value) -> u64 {
    workload["spec"]["replicas"].as_u64().unwrap_or(1)
}

pub(super) fn max_surge(deployment: &Value) -> u64 {
    let (surge, _) = budget(deployment);
    surge
}

pub(super) fn max_unavailable(deployment: &Value) -> u64 {
    let (_, unavailable) = budget(deployment);
    unavailable.min(replicas(deployment))
}

/// Surge rounds up and unavailability down; both zero would stand still, so then one may be missing.
fn budget(deployment: &Value) -> (u64, u64) {
    let strategy = &deployment["spec"]["strategy"];
    if strategy["type"] == "Recreate" {
        return (0, replicas(deployment));
    }
    let percent = |value: &Value| value.as_str()?.strip_suffix('%')?.parse::<u64>().ok();
    let of = |value: &Value, round_up: u64| match percent(value) {
        Some(percent) => (replicas(deployment) * percent + round_up) / 100,
        None => count(value),
    };
    let rolling = &strategy["rollingUpdate"];
    match (of(&rolling["maxSurge"], 99), of(&rolling["maxUnavailable"], 0)) {
        (0, 0) => (0, 1),
        both => both,
    }
}
