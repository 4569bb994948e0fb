//! Jobs: the runs of a CronJob, and those that somebody made by hand.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::{Condition, Object, or_default, part, time};
use super::template::Template;
use crate::observation::Job;

/// Reads a Job.
pub(super) fn decode(object: &Object<'_>) -> Result<Job, serde_json::Error> {
    let metadata = &object.metadata;
    let spec: Spec<'_> = part(object.spec)?;
    let status: Status = part(object.status)?;
    let template = spec.template.map(Template::read).transpose()?.unwrap_or_default();
    let owner = metadata.controller()?.filter(|owner| &*owner.kind == "CronJob");
    let ended = |kind: &str| status.conditions.iter().any(|c| c.kind == kind && c.is_true());
    Ok(Job {
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        owner: owner.map(|owner| owner.uid),
        created: metadata.created(),
        started: time(status.start_time.as_deref()),
        containers: template.containers(),
        succeeded: ended("Complete"),
        failed: ended("Failed"),
    })
}

#[derive(Default, Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    template: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    start_time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}
