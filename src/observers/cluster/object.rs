//! What every object has in common, and the choice of the decoder for its kind.
//!
//! [`decode`] is the seam: protobuf for the core kinds would come in here and leave the rest as it is.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::events::ImageEvent;
use super::resource::Resource;
use super::{config_maps, events, jobs, pods, revisions, workloads};
use crate::observation::{ConfigMap, Job, Pod, Revision, Time, Workload, WorkloadKind};

/// Reads `null` as the default: a bookmark has `containers: null`, and Go writes nil lists that way.
pub(super) fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// An object with its parts still as text, so that each is read only by who needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow, default)]
    pub spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub status: Option<&'a RawValue>,
    /// Of a ControllerRevision.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default")]
    pub revision: i64,
}

/// The fields of `ObjectMeta` that are read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(default, deserialize_with = "or_default")]
    pub name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub uid: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub resource_version: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub generation: i64,
    #[serde(default)]
    pub creation_timestamp: Option<String>,
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    #[serde(borrow, default)]
    pub labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub owner_references: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub finalizers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub managed_fields: Option<&'a RawValue>,
}

/// The owner that an object is controlled by.
#[derive(Debug, Deserialize)]
pub(super) struct Owner {
    #[serde(default, deserialize_with = "or_default")]
    pub kind: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    pub uid: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    controller: bool,
}

impl Metadata<'_> {
    pub(super) fn created(&self) -> Option<Time> {
        time(self.creation_timestamp.as_deref())
    }

    pub(super) fn controller(&self) -> Result<Option<Owner>, serde_json::Error> {
        let owners: Vec<Owner> = part(self.owner_references)?;
        Ok(owners.into_iter().find(|owner| owner.controller && !owner.uid.is_empty()))
    }
}

/// One condition of a status.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    #[serde(default, deserialize_with = "or_default")]
    pub reason: Arc<str>,
    #[serde(default)]
    pub last_update_time: Option<String>,
    #[serde(default)]
    pub last_transition_time: Option<String>,
}

impl Condition {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// A part that may be absent, read as the default where it is.
pub(super) fn part<'a, T: Default + Deserialize<'a>>(
    raw: Option<&'a RawValue>,
) -> Result<T, serde_json::Error> {
    raw.map_or_else(|| Ok(T::default()), |raw| serde_json::from_str(raw.get()))
}

/// A `metav1.Time`; an empty or broken one is none.
pub(super) fn time(text: Option<&str>) -> Option<Time> {
    text.and_then(Time::from_rfc3339)
}

/// An object as the program knows it.
#[derive(Debug)]
pub(super) enum Decoded {
    Workload(Box<Workload>),
    Revision(Box<Revision>),
    Job(Box<Job>),
    Pod(Box<Pod>),
    ConfigMap(Box<ConfigMap>),
    ImageEvent(ImageEvent),
    /// Of a watched resource, and of no interest: a bare ReplicaSet, an event about something else.
    Nothing,
}

/// Reads an object of a resource. `raw` is the whole text that `object` borrows from.
pub(super) fn decode(
    resource: Resource,
    object: &Object<'_>,
    raw: &RawValue,
) -> Result<Decoded, serde_json::Error> {
    let revision =
        |found: Option<Revision>| found.map_or(Decoded::Nothing, |found| Decoded::Revision(Box::new(found)));
    let workload = |kind| Ok(Decoded::Workload(Box::new(workloads::decode(kind, object)?)));
    match resource {
        Resource::Deployments => workload(WorkloadKind::Deployment),
        Resource::StatefulSets => workload(WorkloadKind::StatefulSet),
        Resource::DaemonSets => workload(WorkloadKind::DaemonSet),
        Resource::CronJobs => workload(WorkloadKind::CronJob),
        Resource::ReplicaSets => revisions::replica_set(object).map(revision),
        Resource::ControllerRevisions => revisions::controller_revision(object).map(revision),
        Resource::Jobs => Ok(Decoded::Job(Box::new(jobs::decode(object)?))),
        Resource::Pods => Ok(Decoded::Pod(Box::new(pods::decode(object)?))),
        Resource::ConfigMaps => Ok(Decoded::ConfigMap(Box::new(config_maps::decode(object)?))),
        Resource::Events => Ok(events::decode(raw)?.map_or(Decoded::Nothing, Decoded::ImageEvent)),
    }
}
