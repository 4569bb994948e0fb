//! Manifests, indexes and configs, as far as they tell which content belongs to an image and when it was built.
//!
//! Every field may be missing or null: what cannot be read is left out, so an odd image is described with less
//! and never stops the rest.

use std::sync::Arc;

use serde::Deserialize;

use super::created::Labels;
use crate::image::Digest;

/// Platforms of one image that are followed. Official images have about ten; a thousand would be an attack on us.
pub const PLATFORMS_MAX: usize = 64;

/// All types that a manifest may have: leaving one out makes a registry answer with another manifest, or none.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// What stands at a digest.
#[derive(Debug, PartialEq, Eq)]
pub enum Manifest {
    /// Several platforms.
    Index { children: Vec<Child>, annotations: Labels },
    /// One platform.
    Image { config: Option<Digest>, annotations: Labels },
    /// Schema 1 or something newer than we are: an image without nodes.
    Unknown,
}

/// One platform of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub digest: Digest,
    pub platform: Option<Arc<str>>,
    /// It is an index again; we do not go deeper.
    pub is_index: bool,
}

/// What a config claims.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub created: Option<String>,
    pub labels: Labels,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AnyManifest {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<i64>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    annotations: Option<Labels>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    digest: Option<String>,
    platform: Option<Platform>,
    annotations: Option<Labels>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// Reads a manifest by its shape: media types are missing in some and wrong in others.
#[must_use]
pub fn parse(body: &[u8]) -> Manifest {
    let Ok(read) = serde_json::from_slice::<AnyManifest>(body) else { return Manifest::Unknown };
    let annotations = read.annotations.unwrap_or_default();
    match (read.schema_version, read.manifests, read.config) {
        (Some(1), _, _) => Manifest::Unknown,
        (_, Some(manifests), _) => {
            let children = manifests.iter().filter(|entry| !is_attestation(entry)).filter_map(child);
            Manifest::Index { children: children.take(PLATFORMS_MAX).collect(), annotations }
        }
        (_, None, Some(config)) => {
            Manifest::Image { config: config.digest.and_then(|text| text.parse().ok()), annotations }
        }
        (_, None, None) => Manifest::Unknown,
    }
}

/// Reads an image's config. Configs of charts and other artifacts are something else; they claim nothing.
#[must_use]
pub fn parse_config(body: &[u8]) -> Config {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Outer {
        created: Option<String>,
        config: Option<Inner>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Inner {
        #[serde(rename = "Labels")]
        labels: Option<Labels>,
    }
    let outer: Outer = serde_json::from_slice(body).unwrap_or_default();
    Config { created: outer.created, labels: outer.config.and_then(|inner| inner.labels).unwrap_or_default() }
}

fn child(entry: &Descriptor) -> Option<Child> {
    let platform = entry.platform.as_ref().and_then(platform_text);
    let is_index = entry
        .media_type
        .as_deref()
        .is_some_and(|text| text.contains("image.index") || text.contains("manifest.list"));
    Some(Child { digest: entry.digest.as_deref()?.parse().ok()?, platform, is_index })
}

/// BuildKit stores provenance and bills of materials beside the platforms; no node ever runs them.
fn is_attestation(entry: &Descriptor) -> bool {
    let marked = entry
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"));
    let nowhere = entry.platform.as_ref().is_some_and(|platform| {
        platform.os.as_deref() == Some("unknown") && platform.architecture.as_deref() == Some("unknown")
    });
    marked || nowhere
}

fn platform_text(platform: &Platform) -> Option<Arc<str>> {
    let (os, architecture) = (platform.os.as_deref()?, platform.architecture.as_deref()?);
    let text = match platform.variant.as_deref() {
        Some(variant) if !variant.is_empty() => format!("{os}/{architecture}/{variant}"),
        _ => format!("{os}/{architecture}"),
    };
    // The longest real one is "windows/amd64" with a variant; more is no platform.
    (text.len() <= 64 && !text.chars().any(char::is_control)).then(|| text.into())
}
