//! What a registry says about an image.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Time;
use crate::image::{Digest, Repository};

/// An image resolved by its root digest: its nodes, and what it claims about its build. Never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDescribed {
    /// Where it was found. The same digest elsewhere is another presence.
    pub repository: Repository,
    /// The root: an index or a manifest.
    pub digest: Digest,
    /// Platform manifests and configs below the root (attestations left out); the root itself is not listed.
    pub nodes: Vec<Node>,
    /// When the image says it was built, where that passed the rules for claimed times.
    pub created: Option<Time>,
    /// `org.opencontainers.image.revision` or its older forms.
    pub revision: Option<Arc<str>>,
    /// `org.opencontainers.image.source` or its older forms.
    pub source: Option<Arc<str>>,
    /// Label or annotation `knotmeter.dev/synthetic` is `true`: a smoketest's image.
    #[serde(default)]
    pub synthetic: bool,
}

/// A manifest or config below a root. May belong to several images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub digest: Digest,
    pub role: NodeRole,
    /// `os/architecture[/variant]`, where the index says it.
    pub platform: Option<Arc<str>>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    Manifest,
    Config,
}
