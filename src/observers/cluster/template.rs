//! A pod template: its hash, its containers and the ConfigMaps it names.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::object::or_default;
use crate::observation::{ConfigMapUse, ContainerSpec, TemplateHash};

/// Labels that controllers put on the template or on a copy of it: they tell copies apart, not contents.
const CONTROLLER_LABELS: [&str; 7] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
];

/// Hashes a template so that a workload and its revisions agree.
///
/// The copies are written by different encoders: keys come in another order, a ControllerRevision adds
/// `$patch`, and some versions write empty maps and `creationTimestamp: null` where others write nothing.
/// SHA-256, cut to 64 bits, because the hash is journalled and must never change with the compiler.
pub(super) fn hash(template: &RawValue) -> Result<TemplateHash, serde_json::Error> {
    let mut template: Value = serde_json::from_str(template.get())?;
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.retain(|label, _| !CONTROLLER_LABELS.contains(&label.as_str()));
    }
    let mut hasher = Sha256::new();
    feed(&mut hasher, &template);
    let bytes: [u8; 32] = hasher.finalize().into();
    let (first, _) = bytes.split_first_chunk::<8>().expect("a sha256 has 32 bytes");
    Ok(TemplateHash(u64::from_be_bytes(*first)))
}

/// Nothing but nulls and empty lists and maps inside: the same as absent.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Feeds the canonical form: sorted keys, empty fields left out, every text with its length before it.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(true) => hasher.update(b"t"),
        Value::Bool(false) => hasher.update(b"f"),
        Value::Number(number) => text(hasher, b"#", &number.to_string()),
        Value::String(string) => text(hasher, b"s", string),
        Value::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| feed(hasher, item));
            hasher.update(b"]");
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !is_empty(value)).collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            hasher.update(b"{");
            for (key, value) in fields {
                text(hasher, b"k", key);
                feed(hasher, value);
            }
            hasher.update(b"}");
        }
    }
}

fn text(hasher: &mut Sha256, tag: &[u8], text: &str) {
    hasher.update(tag);
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

/// The readable part of a template.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Template {
    #[serde(default, deserialize_with = "or_default")]
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    init_containers: Vec<Container>,
    #[serde(default, deserialize_with = "or_default")]
    volumes: Vec<Volume>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    image: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    image_pull_policy: String,
    #[serde(default, deserialize_with = "or_default")]
    env: Vec<Env>,
    #[serde(default, deserialize_with = "or_default")]
    env_from: Vec<EnvFrom>,
    #[serde(default, deserialize_with = "or_default")]
    volume_mounts: Vec<VolumeMount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeMount {
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    sub_path: String,
    #[serde(default, deserialize_with = "or_default")]
    sub_path_expr: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    #[serde(default, deserialize_with = "or_default")]
    value_from: ValueFrom,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    config_map_key_ref: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvFrom {
    config_map_ref: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
    config_map: Option<Named>,
    #[serde(default, deserialize_with = "or_default")]
    projected: Projected,
}

#[derive(Debug, Default, Deserialize)]
struct Projected {
    #[serde(default, deserialize_with = "or_default")]
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    config_map: Option<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
}

impl Template {
    pub(super) fn read(template: &RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(template.get())
    }

    /// The ordinary containers, in the template's order.
    pub(super) fn containers(&self) -> Vec<ContainerSpec> {
        let spec = |container: &Container| ContainerSpec {
            name: container.name.clone(),
            image: container.image.clone(),
            pull_always: container.image_pull_policy == "Always",
        };
        self.spec.containers.iter().map(spec).collect()
    }

    /// Every ConfigMap that a container or a volume names, once, sorted.
    pub(super) fn config_maps(&self) -> Vec<ConfigMapUse> {
        let containers = || self.spec.containers.iter().chain(&self.spec.init_containers);
        let in_environment = containers().flat_map(|container| {
            let keys = container.env.iter().filter_map(|env| env.value_from.config_map_key_ref.as_ref());
            keys.chain(container.env_from.iter().filter_map(|from| from.config_map_ref.as_ref()))
        });
        let mut uses: BTreeMap<Arc<str>, bool> =
            in_environment.map(|named| (named.name.clone(), true)).collect();
        for volume in &self.spec.volumes {
            // The kubelet renews a mounted volume, but not a single file that was mounted out of it.
            let by_file = |mount: &VolumeMount| {
                mount.name == volume.name && !(mount.sub_path.is_empty() && mount.sub_path_expr.is_empty())
            };
            let at_start = containers().any(|container| container.volume_mounts.iter().any(by_file));
            let projected = volume.projected.sources.iter().filter_map(|source| source.config_map.as_ref());
            for named in volume.config_map.iter().chain(projected) {
                *uses.entry(named.name.clone()).or_default() |= at_start;
            }
        }
        uses.remove("");
        uses.into_iter().map(|(name, at_start)| ConfigMapUse { name, at_start }).collect()
    }
}
