//! Pods: which digest each container runs, since when, and why not. The hot path: nothing else is read.

use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Error;
use serde_json::value::RawValue;

use super::cursor::Text;
use super::object::{Condition, Metadata, Object, fold, or_default, part, time};
use super::refusals::{pull_class, pull_words, words_of};
use super::words::Words;
use crate::image::Digest;
use crate::observation::{Pod, PodContainer, Waiting};

/// The parts of a pod that are read.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    spec: Spec<'a>,
    status: Status<'a>,
}

impl<'a> Parts<'a> {
    /// The first error of the two, where one is of another shape.
    pub(super) fn new(
        spec: Result<Option<Spec<'a>>, Error>,
        status: Result<Option<Status<'a>>, Error>,
    ) -> Result<Self, Error> {
        Ok(Self { spec: spec?.unwrap_or_default(), status: status?.unwrap_or_default() })
    }
}

/// What was seen of a pod, still as text. Equal hashes are equal pods, so one that did not change is never made.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    metadata: &'a Metadata<'a>,
    parts: &'a Parts<'a>,
    labels: Labels<'a>,
    owner: Option<Text<'a>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(object: &'a Object<'a>) -> Result<Self, Error> {
        let metadata = &object.metadata;
        Ok(Self {
            metadata,
            parts: object.pod.as_ref().map_err(Error::custom)?,
            labels: part(metadata.labels.map(RawValue::get))?,
            owner: metadata.controller()?.map(|owner| owner.uid),
        })
    }

    /// The pod. Its siblings share most of its words.
    pub(super) fn pod(&self, words: &mut Words) -> Pod {
        let metadata = self.metadata;
        Pod {
            uid: metadata.uid.to_arc(),
            namespace: words.share(&metadata.namespace),
            name: metadata.name.to_arc(),
            owner: self.owner.as_ref().map(|owner| words.share(owner)),
            pod_hash: self.pod_hash().map(|hash| words.share(hash)),
            created: metadata.created(),
            deleting: self.deleting(),
            finished: self.finished(),
            unschedulable: self.parts.status.conditions.unschedulable,
            ready: self.ready().and_then(|since| time(since).or_else(|| metadata.created())),
            containers: self.containers().map(|container| container.told(words)).collect(),
        }
    }

    fn pod_hash(&self) -> Option<&Text<'a>> {
        self.labels.pod_template_hash.as_ref().or(self.labels.controller_revision_hash.as_ref())
    }

    fn deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn finished(&self) -> bool {
        matches!(&*self.parts.status.phase, "Succeeded" | "Failed")
    }

    /// A condition without time can only have become true after the pod was made.
    fn ready(&self) -> Option<&str> {
        let since = self.parts.status.conditions.ready.as_ref()?;
        Some(since.filled().unwrap_or(&self.metadata.creation_timestamp))
    }

    fn containers(&self) -> impl Iterator<Item = SeenContainer<'_>> {
        let statuses = &self.parts.status.container_statuses;
        let absent = const { &ContainerStatus::ABSENT };
        self.parts.spec.containers.iter().map(move |container| SeenContainer {
            container,
            status: statuses.iter().find(|status| status.name == container.name).unwrap_or(absent),
        })
    }
}

impl Hash for Seen<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let metadata = self.metadata;
        (&metadata.namespace, &metadata.name, &metadata.creation_timestamp).hash(state);
        (&self.owner, self.pod_hash(), self.ready()).hash(state);
        (self.deleting(), self.finished(), self.parts.status.conditions.unschedulable).hash(state);
        self.containers().for_each(|container| container.hash(state));
    }
}

/// A container and what the kubelet says of it.
struct SeenContainer<'a> {
    container: &'a Container<'a>,
    status: &'a ContainerStatus<'a>,
}

impl SeenContainer<'_> {
    fn told(&self, words: &mut Words) -> PodContainer {
        let state = &self.status.state;
        PodContainer {
            name: words.share(&self.container.name),
            image: words.share(&self.container.image),
            running: running_digest(&self.status.image_id),
            started: state.running.as_ref().and_then(|running| time(&running.started_at)),
            ready: self.status.ready,
            waiting: state.waiting.as_ref().map(WaitingState::class),
            says: state
                .waiting
                .as_ref()
                .and_then(WaitingState::says)
                .map(|says| words.share(&words_of(says))),
            restarts: self.status.restart_count,
        }
    }
}

impl Hash for SeenContainer<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { container, status } = self;
        (&container.name, &container.image, &status.image_id).hash(state);
        (status.ready, status.restart_count).hash(state);
        status.state.running.as_ref().map(|running| &running.started_at).hash(state);
        status.state.waiting.as_ref().map(|waiting| (waiting.class(), waiting.says())).hash(state);
    }
}

/// The digest in an `imageID`. Which repository that names means nothing (field guide, section 13).
///
/// containerd writes `repository@digest`, cri-dockerd puts `docker-pullable://` or `docker://` before it, CRI-O
/// and side-loaded images have a bare config id, with or without `sha256:`.
#[must_use]
pub fn running_digest(image_id: &str) -> Option<Digest> {
    let id = image_id.rsplit_once('@').map_or(image_id, |(_, digest)| digest);
    let id = id.rsplit_once("://").map_or(id, |(_, digest)| digest);
    id.parse().or_else(|_| format!("sha256:{id}").parse()).ok()
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Spec<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    containers: Vec<Container<'a>>,
}

#[derive(Debug, Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    image: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status<'a> {
    #[serde(borrow)]
    phase: Text<'a>,
    #[serde(borrow, deserialize_with = "conditions")]
    conditions: Conditions<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus<'a>>,
}

/// What the two conditions say that count.
#[derive(Debug, Default)]
struct Conditions<'a> {
    /// `Ready` is true, since then.
    ready: Option<Text<'a>>,
    /// `PodScheduled` is false with reason `Unschedulable`.
    unschedulable: bool,
}

fn conditions<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Conditions<'a>, D::Error> {
    fold(from, Conditions::default(), |conditions: &mut Conditions<'a>, condition: Condition<'a>| {
        match &*condition.kind {
            "Ready" if condition.is_true() => conditions.ready = Some(condition.last_transition_time),
            "PodScheduled" => {
                let refused = &*condition.status == "False" && &*condition.reason == "Unschedulable";
                conditions.unschedulable = refused;
            }
            _ => {}
        }
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "imageID")]
    image_id: Text<'a>,
    #[serde(deserialize_with = "or_default")]
    ready: bool,
    #[serde(deserialize_with = "or_default")]
    restart_count: i64,
    #[serde(borrow, deserialize_with = "or_default")]
    state: State<'a>,
}

impl ContainerStatus<'_> {
    /// The kubelet has said nothing of it.
    const ABSENT: Self = Self {
        name: Text::EMPTY,
        image_id: Text::EMPTY,
        ready: false,
        restart_count: 0,
        state: State { running: None, waiting: None },
    };
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    running: Option<Running<'a>>,
    #[serde(borrow)]
    waiting: Option<WaitingState<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running<'a> {
    #[serde(borrow, default)]
    started_at: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct WaitingState<'a> {
    #[serde(borrow, default)]
    reason: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

impl WaitingState<'_> {
    /// Waiting reasons as a closed set.
    fn class(&self) -> Waiting {
        match &*self.reason {
            "ErrImagePull" | "ImagePullBackOff" => pull_class(&self.message),
            "RegistryUnavailable" => Waiting::PullRegistryDown,
            "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" | "SignatureValidationFailed" => {
                Waiting::ImagePull
            }
            "CrashLoopBackOff" => Waiting::CrashLoop,
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Waiting::CreateError
            }
            "ContainerCreating" | "PodInitializing" => Waiting::Creating,
            _ => Waiting::Other,
        }
    }

    /// What it says that a class does not: whoever ends again and again only says how long it is left alone.
    fn says(&self) -> Option<&str> {
        let class = self.class();
        let says = match class {
            Waiting::CreateError => &*self.message,
            _ if class.is_pull() => pull_words(&self.message),
            _ => "",
        };
        Some(says).filter(|says| !says.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
struct Labels<'a> {
    #[serde(borrow, rename = "pod-template-hash")]
    pod_template_hash: Option<Text<'a>>,
    #[serde(borrow, rename = "controller-revision-hash")]
    controller_revision_hash: Option<Text<'a>>,
}
