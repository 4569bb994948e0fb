//! What every object has in common, and the choice of the decoder for its kind.
//!
//! [`read`] goes through an object once. A pod, of which there are most, is read into its own types on the way;
//! of the other kinds it keeps the text of each part, which [`decode`] reads. Protobuf for the core kinds would
//! come in here and leave the rest as it is.

use std::fmt;

use chrono::NaiveDate;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Error;
use serde_json::value::RawValue;

use super::cursor::{Cursor, Text, Value};
use super::resource::Resource;
use super::{config_maps, events, flux, jobs, owner, pods, revisions, workloads};
use crate::config::Ownership;
use crate::observation::{ConfigMap, Job, Namespace, Revision, Time, Workload, WorkloadKind};

/// Names are shorter in Kubernetes.
const NAME_LENGTH_MAX: usize = 253;

/// Reads `null` as the default: a bookmark has `containers: null`, and Go writes nil lists that way.
pub(super) fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Reads a list item by item into something smaller than a list. `null` is an empty one.
pub(super) fn fold<'de, D, T, A>(from: D, start: A, add: fn(&mut A, T)) -> Result<A, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Folder<T, A>(A, fn(&mut A, T));

    impl<'de, T: Deserialize<'de>, A> Visitor<'de> for Folder<T, A> {
        type Value = A;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or null")
        }

        fn visit_unit<E>(self) -> Result<A, E> {
            Ok(self.0)
        }

        fn visit_seq<S: SeqAccess<'de>>(mut self, mut items: S) -> Result<A, S::Error> {
            while let Some(item) = items.next_element()? {
                (self.1)(&mut self.0, item);
            }
            Ok(self.0)
        }
    }

    from.deserialize_any(Folder(start, add))
}

/// An object: what is common to all kinds, and its parts.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub metadata: Metadata<'a>,
    pub spec: Option<&'a str>,
    pub status: Option<&'a str>,
    /// Of a ControllerRevision.
    pub data: Option<&'a str>,
    pub revision: i64,
    /// Of a pod: the parts as they were read. The error is that of the first part that is of another shape.
    pub pod: Result<pods::Parts<'a>, Error>,
}

/// The fields of `ObjectMeta` that are read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    #[serde(borrow, default)]
    pub uid: Text<'a>,
    #[serde(borrow, default)]
    pub resource_version: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    pub generation: i64,
    #[serde(borrow, default)]
    pub creation_timestamp: Text<'a>,
    #[serde(borrow, default)]
    pub deletion_timestamp: Option<Text<'a>>,
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
pub(super) struct Owner<'a> {
    #[serde(borrow, default)]
    pub kind: Text<'a>,
    #[serde(borrow, default)]
    pub uid: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    controller: bool,
}

impl<'a> Metadata<'a> {
    pub(super) fn created(&self) -> Option<Time> {
        time(&self.creation_timestamp)
    }

    pub(super) fn controller(&self) -> Result<Option<Owner<'a>>, Error> {
        let Some(owners) = self.owner_references else { return Ok(None) };
        let mut from = serde_json::Deserializer::from_str(owners.get());
        fold(&mut from, None, |found: &mut Option<Owner<'a>>, owner: Owner<'a>| {
            if found.is_none() && owner.controller && !owner.uid.is_empty() {
                *found = Some(owner);
            }
        })
    }
}

/// One condition of a status.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition<'a> {
    #[serde(borrow, rename = "type", default)]
    pub kind: Text<'a>,
    #[serde(borrow, default)]
    pub status: Text<'a>,
    #[serde(borrow, default)]
    pub reason: Text<'a>,
    #[serde(borrow, default)]
    pub last_transition_time: Text<'a>,
}

impl Condition<'_> {
    pub(super) fn is_true(&self) -> bool {
        &*self.status == "True"
    }
}

/// A part that may be absent, read as the default where it is.
pub(super) fn part<'a, T: Default + Deserialize<'a>>(text: Option<&'a str>) -> Result<T, Error> {
    text.map_or_else(|| Ok(T::default()), serde_json::from_str)
}

/// A `metav1.Time`; an empty or broken one is none.
pub(super) fn time(text: &str) -> Option<Time> {
    whole_second(text.as_bytes()).or_else(|| Time::from_rfc3339(text))
}

/// `2026-11-20T23:56:13Z`, the only way in which the API server writes it. There are several in every pod, and
/// reading any RFC 3339 takes ten times as long.
fn whole_second(text: &[u8]) -> Option<Time> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1, b'Z'] = text
    else {
        return None;
    };
    let number = |digits: &[&u8]| {
        digits.iter().try_fold(0, |number, digit| match digit {
            b'0'..=b'9' => Some(number * 10 + u32::from(**digit - b'0')),
            _ => None,
        })
    };
    let year = number(&[y0, y1, y2, y3])? as i32;
    let date = NaiveDate::from_ymd_opt(year, number(&[m0, m1])?, number(&[d0, d1])?)?;
    let time = date.and_hms_opt(number(&[h0, h1])?, number(&[n0, n1])?, number(&[s0, s1])?)?;
    Some(Time::from(time.and_utc()))
}

/// Reads the object that begins here. Of a version that is `known` only the metadata is read.
///
/// The outer error means that the text is no JSON; the inner one that this object is not as it should be, and
/// what follows it can be read.
pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    resource: Resource,
    known: impl Fn(&Metadata<'a>) -> bool,
) -> Result<Value<'a, Object<'a>>, Error> {
    if cursor.peek() != Some(b'{') {
        let text = cursor.pass()?;
        return Ok(Value { text, read: Err(Error::custom("it is no object")) });
    }
    let from = cursor.rest();
    cursor.enter(b'{')?;
    let mut metadata: Option<Result<Metadata<'a>, Error>> = None;
    let (mut spec, mut status, mut data, mut revision) = (None, None, None, Ok(None));
    let (mut pod_spec, mut pod_status) = (Ok(None), Ok(None));
    let mut is_known = false;
    while let Some(key) = cursor.key()? {
        match &*key {
            "metadata" => {
                let read = cursor.value()?.read;
                is_known = read.as_ref().is_ok_and(&known);
                metadata = Some(read);
            }
            _ if is_known => drop(cursor.pass()?),
            "spec" if resource == Resource::Pods => {
                let value = cursor.value()?;
                (spec, pod_spec) = (Some(value.text), value.read);
            }
            "status" if resource == Resource::Pods => {
                let value = cursor.value()?;
                (status, pod_status) = (Some(value.text), value.read);
            }
            "spec" => spec = Some(cursor.pass()?),
            "status" => status = Some(cursor.pass()?),
            "data" => data = Some(cursor.pass()?),
            "revision" => revision = cursor.value::<Option<i64>>()?.read,
            _ => drop(cursor.pass()?),
        }
    }
    let text = &from[..from.len() - cursor.rest().len()];
    let written = |part: Option<&'a str>| part.filter(|text| *text != "null");
    let object = || {
        Ok(Object {
            metadata: metadata.unwrap_or_else(|| Err(Error::custom("it has no metadata")))?,
            spec: written(spec),
            status: written(status),
            data: written(data),
            revision: revision?.unwrap_or_default(),
            pod: pods::Parts::new(pod_spec, pod_status),
        })
    };
    Ok(Value { text, read: object() })
}

/// The name that an object seems to have, for whoever looks for it: its metadata could not be read as such.
pub(super) fn seems_named(text: &str) -> String {
    #[derive(Default, Deserialize)]
    struct Outside<'a> {
        #[serde(borrow, default)]
        metadata: Option<&'a RawValue>,
    }

    #[derive(Default, Deserialize)]
    struct Names<'a> {
        #[serde(borrow, default)]
        namespace: Option<&'a RawValue>,
        #[serde(borrow, default)]
        name: Option<&'a RawValue>,
    }

    let outside: Outside<'_> = serde_json::from_str(text).unwrap_or_default();
    let names: Names<'_> = part(outside.metadata.map(RawValue::get)).unwrap_or_default();
    let shown = |name: Option<&RawValue>| -> String {
        name.map_or("?", RawValue::get).chars().filter(|c| *c != '"').take(NAME_LENGTH_MAX).collect()
    };
    format!("{}/{}", shown(names.namespace), shown(names.name))
}

/// An object as the program knows it.
#[derive(Debug)]
pub(super) enum Decoded<'a> {
    Workload(Box<Workload>),
    Revision(Box<Revision>),
    Job(Box<Job>),
    Pod(pods::Seen<'a>),
    ConfigMap(Box<ConfigMap>),
    Event(events::Told),
    Namespace(Box<Namespace>),
    Engine(Box<flux::Read>),
    /// Of a watched resource, and of no interest: a bare ReplicaSet, an event about something else.
    Nothing,
}

/// Makes of an object what it is. `text` is the whole of it.
pub(super) fn decode<'a>(
    resource: Resource,
    object: &'a Object<'a>,
    text: &str,
    ownership: &Ownership,
) -> Result<Decoded<'a>, Error> {
    let revision =
        |found: Option<Revision>| found.map_or(Decoded::Nothing, |found| Decoded::Revision(Box::new(found)));
    let workload = |kind| Ok(Decoded::Workload(Box::new(workloads::decode(kind, object, ownership)?)));
    match resource {
        Resource::Deployments => workload(WorkloadKind::Deployment),
        Resource::StatefulSets => workload(WorkloadKind::StatefulSet),
        Resource::DaemonSets => workload(WorkloadKind::DaemonSet),
        Resource::CronJobs => workload(WorkloadKind::CronJob),
        Resource::ReplicaSets => revisions::replica_set(object).map(revision),
        Resource::ControllerRevisions => revisions::controller_revision(object).map(revision),
        Resource::Jobs => Ok(Decoded::Job(Box::new(jobs::decode(object)?))),
        Resource::Pods => Ok(Decoded::Pod(pods::Seen::new(object)?)),
        Resource::ConfigMaps => Ok(Decoded::ConfigMap(Box::new(config_maps::decode(object)?))),
        Resource::Namespaces => Ok(Decoded::Namespace(Box::new(owner::namespace(object, ownership)))),
        Resource::Engine(kind) => Ok(Decoded::Engine(Box::new(flux::decode(kind, object)?))),
        Resource::Events => Ok(events::decode(text)?.map_or(Decoded::Nothing, Decoded::Event)),
    }
}
