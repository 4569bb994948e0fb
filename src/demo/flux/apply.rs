//! Server-side apply as Flux does it: everything on trial first, and only if all of it would be taken, in
//! earnest what would change.

use std::fmt;

use serde_json::Value;

use super::api::{Api, Refused};
use super::build;
use crate::demo::gitops::applier::object_path;

/// An object that was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    subject: String,
    action: &'static str,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.action)
    }
}

/// Applies objects and returns those that changed; the error is the controller's message.
pub(super) async fn apply(api: &Api, objects: &[Value], force: bool) -> Result<Vec<Applied>, String> {
    let mut wanted = Vec::new();
    for object in objects {
        let path = object_path("", object);
        let before = api.get(&path).await.map_err(|refused| on_trial(object, &refused))?;
        let after = api.apply(&path, object, force, true).await;
        let after = after.map_err(|refused| on_trial(object, &refused))?;
        match before {
            None => wanted.push((object, "created")),
            Some(before) if told(&before) != told(&after) => wanted.push((object, "configured")),
            Some(_) => {}
        }
    }
    let mut changed: Vec<Applied> = Vec::new();
    for (object, action) in wanted {
        let subject = build::subject(object);
        if let Err(refused) = api.apply(&object_path("", object), object, force, false).await {
            let lines: String = changed.iter().map(|one| format!("{one}\n")).collect();
            return Err(format!("{subject} apply failed: {}\n{lines}", refused.message));
        }
        changed.push(Applied { subject, action });
    }
    Ok(changed)
}

/// Deletes objects that git no longer has.
pub(super) async fn prune(api: &Api, stale: &[Value]) -> Vec<Applied> {
    let mut gone = Vec::new();
    for object in stale {
        if api.delete(&object_path("", object)).await.is_ok() {
            gone.push(Applied { subject: build::subject(object), action: "deleted" });
        }
    }
    gone
}

fn on_trial(object: &Value, refused: &Refused) -> String {
    let subject = build::subject(object);
    if refused.code == 404 {
        return format!("{subject} not found: {}\n", refused.message);
    }
    let reason = match refused.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    format!("{subject} dry-run failed{reason}: {}\n", refused.message)
}

/// What of an object a manifest can say.
fn told(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| field == "labels" || field == "annotations");
    }
    object
}
