//! What an engine that delivers says of itself: the objects of Flux, cut down to the fields that are read.
//!
//! One shape for all kinds: what is common stands in [`EngineObject`], what a kind is for in its [`Role`]. Where the
//! fields come from is written in `observers/cluster/flux.rs`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FilterTags, Interval, Policy, Time, WorkloadKind};
use crate::image::{ImageRef, Repository, Tag};

/// Which kind of object of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EngineKind {
    ImageRepository,
    ImagePolicy,
    ImageUpdateAutomation,
    GitRepository,
    OCIRepository,
    Bucket,
    HelmRepository,
    HelmChart,
    ExternalArtifact,
    Kustomization,
    HelmRelease,
    Receiver,
}

impl EngineKind {
    /// Every kind, in the order in which an image passes them.
    pub const ALL: [Self; 12] = [
        Self::ImageRepository,
        Self::ImagePolicy,
        Self::ImageUpdateAutomation,
        Self::GitRepository,
        Self::OCIRepository,
        Self::Bucket,
        Self::HelmRepository,
        Self::HelmChart,
        Self::ExternalArtifact,
        Self::Kustomization,
        Self::HelmRelease,
        Self::Receiver,
    ];

    /// As manifests write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ImageRepository => "ImageRepository",
            Self::ImagePolicy => "ImagePolicy",
            Self::ImageUpdateAutomation => "ImageUpdateAutomation",
            Self::GitRepository => "GitRepository",
            Self::OCIRepository => "OCIRepository",
            Self::Bucket => "Bucket",
            Self::HelmRepository => "HelmRepository",
            Self::HelmChart => "HelmChart",
            Self::ExternalArtifact => "ExternalArtifact",
            Self::Kustomization => "Kustomization",
            Self::HelmRelease => "HelmRelease",
            Self::Receiver => "Receiver",
        }
    }

    /// The kind that manifests write so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// As the API's paths and roles name it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::ImageRepository => "imagerepositories",
            Self::ImagePolicy => "imagepolicies",
            Self::ImageUpdateAutomation => "imageupdateautomations",
            Self::GitRepository => "gitrepositories",
            Self::OCIRepository => "ocirepositories",
            Self::Bucket => "buckets",
            Self::HelmRepository => "helmrepositories",
            Self::HelmChart => "helmcharts",
            Self::ExternalArtifact => "externalartifacts",
            Self::Kustomization => "kustomizations",
            Self::HelmRelease => "helmreleases",
            Self::Receiver => "receivers",
        }
    }

    /// What `flux resume` calls it. `None` where that does not know it.
    #[must_use]
    pub fn resumed_as(self) -> Option<&'static str> {
        Some(match self {
            Self::ImageRepository => "image repository",
            Self::ImagePolicy => "image policy",
            Self::ImageUpdateAutomation => "image update",
            Self::GitRepository => "source git",
            Self::OCIRepository => "source oci",
            Self::Bucket => "source bucket",
            Self::HelmRepository => "source helm",
            Self::HelmChart => "source chart",
            Self::ExternalArtifact => return None,
            Self::Kustomization => "kustomization",
            Self::HelmRelease => "helmrelease",
            Self::Receiver => "receiver",
        })
    }

    /// Which engine it belongs to, as the label `engine` says it.
    #[must_use]
    pub fn engine(self) -> &'static str {
        "flux"
    }
}

/// An object's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EngineKey {
    pub kind: EngineKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for EngineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -n {}", self.kind.as_str().to_ascii_lowercase(), self.name, self.namespace)
    }
}

/// An object of an engine at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineObject {
    pub key: EngineKey,
    /// Keeps a namesake made later apart.
    pub uid: Arc<str>,
    pub created: Option<Time>,
    pub generation: i64,
    /// `status.observedGeneration`: smaller than `generation` while its controller has not read the last change.
    pub observed_generation: i64,
    /// `spec.suspend`.
    pub suspended: bool,
    /// `spec.interval`: how often it looks or applies of itself.
    pub interval_seconds: Option<f64>,
    /// Condition `Ready`.
    pub ready: Option<Condition>,
    /// Condition `Reconciling`, which is there only while it is true.
    pub reconciling: Option<Condition>,
    /// Condition `Stalled`, which is there only while it is true: somebody must change something first.
    pub stalled: Option<Condition>,
    pub role: Role,
}

/// A condition of a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `True`; `False` and `Unknown` are false.
    pub is_true: bool,
    pub reason: Arc<str>,
    /// Cut to 500 characters.
    pub message: Arc<str>,
    /// `lastTransitionTime`, whole seconds: when it last became true or false, not when reason or message changed.
    pub since: Option<Time>,
}

/// What an object is for, and what it says about that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Lists the tags of a repository.
    Scan(ScanRole),
    /// Chooses a tag.
    Policy(PolicyRole),
    /// Writes the chosen tags to git.
    Updater(UpdaterRole),
    /// Fetches what is to be applied.
    Source(SourceRole),
    /// Applies it.
    Applier(Box<ApplierRole>),
    /// Something else: only its conditions are read.
    Other,
}

/// An ImageRepository.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScanRole {
    /// `spec.image`, where it can be read.
    pub image: Option<Repository>,
    pub last: Option<Scan>,
}

/// `status.lastScanResult`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// `scanTime`: the end of the listing, whole seconds.
    pub at: Time,
    /// A checksum of the tags: the same one means the same tags.
    pub revision: Arc<str>,
    pub tags: i64,
    /// The first ten in descending alphabetical order, not the newest.
    pub latest: Vec<Tag>,
}

impl Scan {
    /// Whether it found a tag, where that can be told.
    #[must_use]
    pub fn holds(&self, tag: &Tag) -> Option<bool> {
        if self.latest.contains(tag) {
            return Some(true);
        }
        let whole = usize::try_from(self.tags).is_ok_and(|tags| tags <= self.latest.len());
        // They are the last ones of the alphabet: what would stand among them and does not is not there.
        let among = self.latest.last().is_some_and(|last| tag.as_str() > last.as_str());
        (whole || among).then_some(false)
    }
}

/// An ImagePolicy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyRole {
    /// Namespace and name of its ImageRepository.
    pub repository: (Arc<str>, Arc<str>),
    pub filter: Option<FilterTags>,
    /// `None` where it is of a form that is not known.
    pub policy: Option<Policy>,
    /// Digests are selected as well (`digestReflectionPolicy` is not `Never`).
    pub reflects_digest: bool,
    /// A tag that moves is a new choice (`digestReflectionPolicy: Always`): else its digest is taken once, or never.
    #[serde(default)]
    pub follows_digest: bool,
    /// `status.latestRef`.
    pub selected: Option<ImageRef>,
    /// When `latestRef` was written at the latest, from `managedFields` (whole seconds).
    pub selected_at: Option<Interval>,
}

/// An ImageUpdateAutomation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UpdaterRole {
    /// The GitRepository that it clones and pushes to: namespace and name.
    pub source: (Arc<str>, Arc<str>),
    /// `spec.git.checkout.ref.branch`, where written.
    pub branch: Option<Arc<str>>,
    /// `spec.git.push.branch`, where written: another one means that somebody has to merge.
    pub push_branch: Option<Arc<str>>,
    /// `spec.update.path`, as written.
    pub path: Option<Arc<str>>,
    /// `status.lastAutomationRunTime`: the start of the last run, useful or not; whole seconds.
    pub last_run: Option<Time>,
    /// `status.lastPushCommit` and `lastPushTime` (whole seconds).
    pub pushed: Option<(Arc<str>, Time)>,
}

/// A source: GitRepository, OCIRepository, Bucket, HelmRepository, HelmChart, ExternalArtifact.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SourceRole {
    pub url: Option<Arc<str>>,
    /// `spec.ref.branch` of a GitRepository; absent where something else is followed, `master` by default.
    pub branch: Option<Arc<str>>,
    /// Of a HelmChart: what it is made of.
    pub made_of: Option<EngineKey>,
    pub artifact: Option<Artifact>,
}

/// `status.artifact`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// As written, such as `main@sha1:<40 digits>`; see [`EngineRevision`].
    pub revision: Arc<str>,
    /// `lastUpdateTime`: when it was stored, whole seconds. A look that finds nothing new leaves no trace.
    pub stored: Option<Time>,
    /// `metadata["org.opencontainers.image.revision"]` of an OCI artifact: what its maker says that it was made of.
    #[serde(default)]
    pub origin: Option<Arc<str>>,
}

/// A Kustomization or a HelmRelease.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ApplierRole {
    pub source: Option<EngineKey>,
    /// `spec.path`, as written.
    pub path: Option<Arc<str>>,
    pub retry_seconds: Option<f64>,
    pub timeout_seconds: Option<f64>,
    /// It waits for what it applied to be healthy (`wait` or `healthChecks`).
    pub waits: bool,
    /// Namespaces and names of those of its kind that must be ready first.
    pub depends_on: Vec<(Arc<str>, Arc<str>)>,
    /// `spec.images`: what it puts in the place of images, whatever its source says.
    #[serde(default)]
    pub overrides: Vec<ImageOverride>,
    /// `status.lastAttemptedRevision`: an attempt began.
    pub attempted: Option<Arc<str>>,
    /// `status.lastAppliedRevision`: applied, and healthy where it waits.
    pub applied: Option<Arc<str>>,
    /// Workloads of `status.inventory`: kind, namespace, name.
    pub inventory: Vec<(WorkloadKind, Arc<str>, Arc<str>)>,
    /// HelmReleases of `status.inventory`: namespace, name.
    #[serde(default)]
    pub releases: Vec<(Arc<str>, Arc<str>)>,
    /// Condition `Healthy`.
    pub healthy: Option<Condition>,
    /// `spec.valuesFrom` of a HelmRelease, in its order.
    #[serde(default)]
    pub values_from: Vec<ValuesFrom>,
}

/// An entry of `spec.valuesFrom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValuesFrom {
    /// `ConfigMap` or `Secret`.
    pub kind: Arc<str>,
    /// In the release's namespace.
    pub name: Arc<str>,
    /// The key of its data.
    pub key: Arc<str>,
    /// `targetPath`: its data is one value for this path, and not all of them.
    pub target: Option<Arc<str>>,
}

/// An entry of `spec.images`, in kustomize's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageOverride {
    /// The image as the manifests name it, without tag.
    pub name: Arc<str>,
    pub new_name: Option<Arc<str>>,
    pub new_tag: Option<Arc<str>>,
    pub digest: Option<Arc<str>>,
}

impl ImageOverride {
    /// What it makes of an image, if it is meant for it and makes another one of it.
    #[must_use]
    pub fn instead_of(&self, image: &ImageRef) -> Option<String> {
        // Both in full: `nginx` is `docker.io/library/nginx`.
        let read = |name: &str| name.parse::<Repository>().ok();
        if read(&self.name)? != image.repository {
            return None;
        }
        let name = self.new_name.as_deref().unwrap_or(&self.name);
        let same_name = read(name).is_some_and(|name| name == image.repository);
        let same_tag = match (&self.digest, &self.new_tag) {
            (Some(digest), _) => image.digest.as_ref().is_some_and(|named| named.to_string() == **digest),
            (None, Some(tag)) => image.tag.as_ref().is_some_and(|named| named.as_str() == &**tag),
            (None, None) => true,
        };
        let put = match (&self.digest, &self.new_tag) {
            (Some(digest), _) => format!("{name}@{digest}"),
            (None, Some(tag)) => format!("{name}:{tag}"),
            (None, None) => name.to_owned(),
        };
        (!(same_name && same_tag)).then_some(put)
    }
}

/// A revision in the words of Flux's RFC 0005, or older ones: `main@sha1:ab..`, `sha256:ab..`, `main/ab..`, `5.2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineRevision<'a> {
    /// The branch, tag or version.
    pub pointer: Option<&'a str>,
    /// The digits of the commit or digest.
    pub hash: Option<&'a str>,
}

impl<'a> EngineRevision<'a> {
    /// Reads any of the forms. A text of none of them is a pointer.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let is_hash = |hash: &str| hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        // A branch may hold an `@`, an OCI tag cannot: the last one separates.
        let (pointer, rest) = match text.rsplit_once('@') {
            Some((pointer, rest)) => (Some(pointer), rest),
            None => (None, text),
        };
        let is_named = |(algorithm, hash): &(&str, &str)| {
            matches!(*algorithm, "sha1" | "sha256" | "sha384" | "sha512")
                && !hash.is_empty()
                && hash.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if let Some((_, hash)) = rest.split_once(':').filter(is_named) {
            return Self { pointer, hash: Some(hash) };
        }
        if let Some((pointer, hash)) = text.rsplit_once('/').filter(|(_, hash)| is_hash(hash)) {
            return Self { pointer: Some(pointer), hash: Some(hash) };
        }
        if is_hash(text) {
            return Self { pointer: None, hash: Some(text) };
        }
        Self { pointer: Some(text).filter(|text| !text.is_empty()), hash: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_revision_is_read() {
        let (commit, digest) = ("ab".repeat(20), "cd".repeat(32));
        for (text, pointer, hash) in [
            (format!("main@sha1:{commit}"), Some("main"), Some(&commit)),
            (format!("sha1:{commit}"), None, Some(&commit)),
            (format!("refs/pull/7/head@sha1:{commit}"), Some("refs/pull/7/head"), Some(&commit)),
            (format!("odd@branch@sha1:{commit}"), Some("odd@branch"), Some(&commit)),
            (format!("1.2.3@sha256:{digest}"), Some("1.2.3"), Some(&digest)),
            (format!("sha256:{digest}"), None, Some(&digest)),
            (format!("main/{commit}"), Some("main"), Some(&commit)),
            (commit.clone(), None, Some(&commit)),
            ("5.2.1".into(), Some("5.2.1"), None),
            ("main@md9:short".into(), Some("main@md9:short"), None),
            (String::new(), None, None),
        ] {
            let revision = EngineRevision::parse(&text);
            assert_eq!((revision.pointer, revision.hash), (pointer, hash.map(String::as_str)), "{text}");
        }
    }

    #[test]
    fn an_override_is_for_its_own_image_and_only_where_it_makes_another_one() {
        let image = |text: &str| text.parse::<ImageRef>().expect("an image");
        let put = |name: &str, new_name: Option<&str>, new_tag: Option<&str>| ImageOverride {
            name: name.into(),
            new_name: new_name.map(Into::into),
            new_tag: new_tag.map(Into::into),
            digest: None,
        };
        let pinned = put("r.io/team/web", None, Some("1.0.0"));
        assert_eq!(pinned.instead_of(&image("r.io/team/web:1.1.0")).as_deref(), Some("r.io/team/web:1.0.0"));
        assert_eq!(pinned.instead_of(&image("r.io/team/web:1.0.0")), None);
        assert_eq!(pinned.instead_of(&image("r.io/team/api:1.1.0")), None);
        let moved = put("nginx", Some("r.io/mirror/nginx"), None);
        let official = image("docker.io/library/nginx:1.27");
        assert_eq!(moved.instead_of(&official).as_deref(), Some("r.io/mirror/nginx"));
        assert_eq!(put("nginx", None, None).instead_of(&official), None);
        assert_eq!(put("no such name!", None, Some("1")).instead_of(&official), None);
    }

    #[test]
    fn kinds_are_found_by_their_names() {
        for kind in EngineKind::ALL {
            assert_eq!(EngineKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EngineKind::parse("Alert"), None);
    }
}
