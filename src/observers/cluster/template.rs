//! The readable part of a pod template: its containers and the ConfigMaps it names.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::object::or_default;
use crate::observation::{ConfigMapUse, ContainerSpec};

/// What is read of a template.
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
