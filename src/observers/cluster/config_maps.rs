//! ConfigMaps, by their metadata alone: when the data was last written.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::cursor::Text;
use super::object::{Object, or_default, part, time};
use crate::observation::{ConfigMap, Interval, Time};

pub(super) fn decode(object: &Object<'_>) -> Result<ConfigMap, serde_json::Error> {
    let metadata = &object.metadata;
    Ok(ConfigMap {
        uid: metadata.uid.to_arc(),
        namespace: metadata.namespace.to_arc(),
        name: metadata.name.to_arc(),
        written: written(part(metadata.managed_fields.map(RawValue::get))?),
    })
}

/// The second in which a manager last changed a value of `data` or `binaryData`, or another field of its own.
fn written(entries: Vec<ManagedFields<'_>>) -> Option<Interval> {
    let writers = entries.into_iter().filter(|entry| entry.subresource.is_none() && entry.wrote_data());
    let last: Option<Time> = writers.filter_map(|entry| time(&entry.time)).max();
    last.map(Interval::second)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields<'a> {
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    fields_v1: FieldsV1,
    #[serde(default)]
    subresource: Option<IgnoredAny>,
}

impl ManagedFields<'_> {
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
