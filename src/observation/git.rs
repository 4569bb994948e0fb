//! What a git branch says: the image references of its tree, and the commits that led to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Time;
use crate::image::{Digest, ImageRef, Repository, Tag};

/// All image references under one configured path at the tip of a branch: a level, said when it changed.
///
/// The tracker compares it with the level before; so a force-push, a gap or a restart needs no special case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeNames {
    pub url: Arc<str>,
    pub branch: Arc<str>,
    /// The configured path prefix, such as `prod/`; empty for the whole tree.
    pub path: Arc<str>,
    /// The tip, as hex.
    pub commit: Arc<str>,
    pub references: Vec<GitReference>,
    #[serde(default)]
    pub config_maps: Vec<GitConfigMap>,
    #[serde(default)]
    pub values: Vec<GitValue>,
    #[serde(default)]
    pub scales: Vec<GitScale>,
    /// Commits reachable from this tip and not from the one before, newest first, at most a few hundred.
    /// Empty at the first look and after history was rewritten beyond recognition.
    pub commits: Vec<Commit>,
    /// The branch no longer contains its former tip.
    pub forced: bool,
}

/// One place in a file that names an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GitReference {
    pub file: Arc<str>,
    /// One-based line of the tag or image text.
    pub line: u32,
    /// The Kubernetes object whose manifest it stands in, where the text tells: kind and name, namespace if written.
    pub kind: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    pub namespace: Option<Arc<str>>,
    /// The container of that object.
    pub container: Option<Arc<str>>,
    pub image: ImageRef,
    /// The `name` group of the configured marker on the same line, or the whole match without that group.
    pub marker: Option<Arc<str>>,
    /// In a workload's manifest: a hash of its pod template without the images. Another one with the same image
    /// is a revision.
    pub template: Option<u64>,
}

/// A ConfigMap that the tree writes: an object, or an entry of a kustomization's `configMapGenerator`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GitConfigMap {
    pub file: Arc<str>,
    pub name: Arc<str>,
    /// If it is written.
    pub namespace: Option<Arc<str>>,
    /// A hash of its data: another one is a revision of every workload that names it. No value is kept.
    pub data: u64,
    /// By a generator: other data gets another name, so that the templates that name it change too.
    pub generated: bool,
}

/// How many pods the tree asks for: `spec.replicas` of a manifest, or an entry of a kustomization's `replicas`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GitScale {
    pub file: Arc<str>,
    /// `Deployment` or `StatefulSet`; absent for an entry, which means whatever has the name.
    pub kind: Option<Arc<str>>,
    pub name: Arc<str>,
    /// If it is written.
    pub namespace: Option<Arc<str>>,
    pub replicas: i64,
}

/// A place among the values of a release that says less than where an image is from, or stands in a ConfigMap: what it
/// sets is known only beside the release.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GitValue {
    pub file: Arc<str>,
    /// One-based line of the tag or image text.
    pub line: u32,
    pub place: ValuePlace,
    pub says: ValueSays,
    /// See [`GitReference::marker`].
    pub marker: Option<Arc<str>>,
    /// Of a release: a hash of its spec without images and tags.
    pub template: Option<u64>,
}

/// Where a value stands, but for file and line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValuePlace {
    /// `HelmRelease`, or `ConfigMap` for what one holds as text.
    pub kind: Arc<str>,
    pub name: Arc<str>,
    /// If it is written.
    pub namespace: Option<Arc<str>>,
    /// The key of the ConfigMap's data.
    pub data: Option<Arc<str>>,
    /// Of a kustomize generator: other data gets another name.
    pub generated: bool,
    /// The path of a tag among the values, such as `web.tag`; empty for a whole image.
    pub key: Arc<str>,
}

impl ValuePlace {
    /// A tag alone stands there.
    #[must_use]
    pub fn is_tag(&self) -> bool {
        !self.key.is_empty()
    }
}

/// What stands at such a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueSays {
    /// Absent where its chart, or another place, says where the image is from.
    pub repository: Option<Repository>,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

/// A commit, as far as a journey needs it. Times and names in it are claims of its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: Arc<str>,
    pub author: Arc<str>,
    /// The committer's clock.
    pub committed_at: Time,
    /// First line of the message, cut to 200 characters.
    pub subject: Arc<str>,
    /// The first parent: of a merge, what it was merged into. Absent in journals of versions that did not read it.
    #[serde(default)]
    pub parent: Option<Arc<str>>,
    /// The commit that the message says it reverts (`This reverts commit <id>`).
    pub reverts: Option<Arc<str>>,
    /// References that this commit's own diff brought in under the path (against its first parent).
    pub added: Vec<GitReference>,
    /// ConfigMaps that it brought in or gave other data.
    #[serde(default)]
    pub config_maps: Vec<GitConfigMap>,
    /// Values of releases that it brought in.
    #[serde(default)]
    pub values: Vec<GitValue>,
    /// Numbers of pods that it brought in or changed.
    #[serde(default)]
    pub scales: Vec<GitScale>,
}
