//! Jobs: the runs of a CronJob, and those that somebody made by hand.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::cursor::Text;
use super::object::{Condition, Object, or_default, part, time};
use super::template::Template;
use crate::observation::Job;

/// Reads a Job.
pub(super) fn decode(object: &Object<'_>) -> Result<Job, serde_json::Error> {
    let metadata = &object.metadata;
    let spec: Spec<'_> = part(object.spec)?;
    let status: Status<'_> = part(object.status)?;
    let template = spec.template.map(Template::read).transpose()?.unwrap_or_default();
    let owner = metadata.controller()?.filter(|owner| &*owner.kind == "CronJob");
    let ended = |kind: &str| status.conditions.iter().any(|c| *c.kind == *kind && c.is_true());
    Ok(Job {
        uid: metadata.uid.to_arc(),
        namespace: metadata.namespace.to_arc(),
        name: metadata.name.to_arc(),
        owner: owner.map(|owner| owner.uid.to_arc()),
        created: metadata.created(),
        started: time(&status.start_time),
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
struct Status<'a> {
    #[serde(borrow, default)]
    start_time: Text<'a>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    conditions: Vec<Condition<'a>>,
}
