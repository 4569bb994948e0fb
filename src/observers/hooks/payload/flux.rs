//! Flux's notification providers `generic` and `generic-hmac`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Payload, json, trigger};
use crate::observers::hooks::trigger::Moved;

/// An event of Flux (fluxcd/pkg: apis/event/v1/event.go). A revision `BRANCH@sha1:COMMIT` says that a branch moved; which
/// repository it is of stands in the object, so any that follows that branch is looked at.
pub fn event(body: &[u8]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        involved_object: Object,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Object {
        kind: String,
    }
    let event: Event = json(body)?;
    let from_git = ["GitRepository", "Kustomization", "ImageUpdateAutomation"];
    if !from_git.contains(&&*event.involved_object.kind) {
        return Ok(Payload::default());
    }
    let revision = event.metadata.iter().find_map(|(key, value)| {
        let is_revision = key == "revision" || key.ends_with("/revision");
        is_revision.then_some(value)
    });
    let branch = revision
        .and_then(|revision| revision.split_once('@'))
        .map(|(branch, _)| branch.strip_prefix("refs/heads/").unwrap_or(branch).into());
    let triggers = vec![trigger(Moved::AnyBranch { branch }, None)];
    Ok(Payload { id: None, triggers })
}
