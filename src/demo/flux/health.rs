//! Whether applied objects have become what they say, as the kstatus library judges it, and how long the
//! controller waits for that.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::api::{Api, Refused};
use super::build;
use crate::demo::gitops::applier::object_path;

/// How often the objects are looked at; the real controller takes 5 seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What an object has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Current,
    InProgress,
    Failed,
    NotFound,
}

/// Waits until all are as they should be; the inner error is the controller's message.
pub(super) async fn wait(
    api: &Api,
    objects: &[Value],
    timeout: Duration,
) -> Result<Result<(), String>, Refused> {
    let ends = Instant::now() + timeout;
    loop {
        let mut bad = Vec::new();
        let mut failed = false;
        for object in objects {
            let live = api.get(&object_path("", object)).await?;
            let health = live.as_ref().map_or(Health::NotFound, judge);
            failed |= health == Health::Failed;
            if health != Health::Current {
                bad.push((build::subject(object), health));
            }
        }
        if bad.is_empty() {
            return Ok(Ok(()));
        }
        let late = Instant::now() >= ends;
        if failed || late {
            // Early, only those that have failed are told.
            bad.retain(|(_, health)| late || *health == Health::Failed);
            let told: Vec<String> =
                bad.iter().map(|(subject, health)| format!("{subject} status: '{health:?}'")).collect();
            let why = if late { "timeout waiting for" } else { "failed early due to stalled resources" };
            return Ok(Err(format!("{why}: [{}]", told.join(", "))));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn judge(object: &Value) -> Health {
    let (spec, status) = (&object["spec"], &object["status"]);
    let generation = object["metadata"]["generation"].as_u64();
    let observed = status["observedGeneration"].as_u64();
    let is_workload =
        matches!(object["kind"].as_str(), Some("Deployment" | "StatefulSet" | "DaemonSet" | "Job"));
    if is_workload && observed.is_some() && observed != generation {
        return Health::InProgress;
    }
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let condition = |type_: &str| {
        let all = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().find(|one| one["type"] == type_)
    };
    let holds = |type_: &str| condition(type_).is_some_and(|one| one["status"] == "True");
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    let current = match object["kind"].as_str() {
        Some("Deployment") => {
            if condition("Progressing").is_some_and(|one| one["reason"] == "ProgressDeadlineExceeded") {
                return Health::Failed;
            }
            ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"]
                .iter()
                .all(|field| count(field) == wanted)
                && holds("Available")
        }
        Some("StatefulSet") => {
            count("readyReplicas") == wanted && status["currentRevision"] == status["updateRevision"]
        }
        Some("DaemonSet") => {
            let wanted = count("desiredNumberScheduled");
            observed.is_some()
                && count("updatedNumberScheduled") == wanted
                && count("numberAvailable") == wanted
        }
        Some("HelmRelease") if spec["suspend"] == true => true,
        Some("HelmRelease") if holds("Stalled") => return Health::Failed,
        Some("HelmRelease") => {
            observed.is_some() && observed == generation && !holds("Reconciling") && holds("Ready")
        }
        Some("Job") if holds("Failed") => return Health::Failed,
        Some("Job") => holds("Complete"),
        _ => true,
    };
    if current { Health::Current } else { Health::InProgress }
}
