//! To whom a namespace or a workload belongs, by its labels.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::object::Object;
use crate::config::Ownership;
use crate::observation::{Namespace, Owner};

/// The API server's own bound of a label's value.
const VALUE_LENGTH_MAX: usize = 63;

/// What the labels of an object say. Labels of another shape say nothing.
pub(super) fn read(labels: Option<&RawValue>, ownership: &Ownership) -> Owner {
    let text = labels.map_or("", RawValue::get);
    let named = |keys: &[String]| keys.iter().any(|key| text.contains(key.as_str()));
    // Most objects have none of them, and this is asked of each change of each.
    if !named(&ownership.team) && !named(&ownership.tier) {
        return Owner::default();
    }
    let Ok(labels) = serde_json::from_str::<BTreeMap<Cow<'_, str>, serde_json::Value>>(text) else {
        return Owner::default();
    };
    let first = |keys: &[String]| -> Option<Arc<str>> {
        let values = keys.iter().filter_map(|key| labels.get(key.as_str())?.as_str());
        let mut said = values.map(str::trim).filter(|value| !value.is_empty());
        let value: String = said.next()?.chars().filter(|c| !c.is_control()).take(VALUE_LENGTH_MAX).collect();
        Some(value.into())
    };
    Owner { team: first(&ownership.team), tier: first(&ownership.tier) }
}

/// Reads a namespace.
pub(super) fn namespace(object: &Object<'_>, ownership: &Ownership) -> Namespace {
    let metadata = &object.metadata;
    Namespace {
        uid: metadata.uid.to_arc(),
        name: metadata.name.to_arc(),
        owner: read(metadata.labels, ownership),
    }
}
