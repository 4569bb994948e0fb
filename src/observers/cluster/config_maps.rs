//! ConfigMaps, by their metadata alone: when the data was last written.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::object::{Object, or_default, part, time};
use crate::observation::{ConfigMap, Interval, Time};

pub(super) fn decode(object: &Object<'_>) -> Result<ConfigMap, serde_json::Error> {
    let metadata = &object.metadata;
    Ok(ConfigMap {
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        written: written(part(metadata.managed_fields)?),
    })
}

/// The second in which a manager last changed a value of `data` or `binaryData`, or another field of its own.
fn written(entries: Vec<ManagedFields>) -> Option<Interval> {
    let writers = entries.into_iter().filter(|entry| entry.subresource.is_none() && entry.wrote_data());
    let last: Option<Time> = writers.filter_map(|entry| time(entry.time.as_deref())).max();
    last.map(Interval::second)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields {
    #[serde(default)]
    time: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    fields_v1: FieldsV1,
    #[serde(default)]
    subresource: Option<IgnoredAny>,
}

impl ManagedFields {
    fn wrote_data(&self) -> bool {
        self.fields_v1.data.is_some() || self.fields_v1.binary_data.is_some()
    }
}

#[derive(Default, Deserialize)]
struct FieldsV1 {
    #[serde(rename = "f:data", default)]
    data: Option<IgnoredAny>,
    #[serde(rename = "f:binaryData", default)]
    binary_data: Option<IgnoredAny>,
}
