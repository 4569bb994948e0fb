//! The pods of one workload. There are more of them than of anything else, and they say the same words, so words
//! and digests are stored once per workload, and the words are one in memory again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::Digest;
use crate::observation::{Interval, Pod, PodContainer, Time, Waiting};
use crate::tracker::maps::Map;
use crate::tracker::pod_state::PodState;
use crate::tracker::pods::in_order;

/// Pods that room is made for on the word of the bytes alone: more than most workloads have.
const TRUSTED_MAX: usize = 256;

type Pods = Map<Arc<str>, PodState>;

pub fn serialize<S: Serializer>(pods: &Pods, to: S) -> Result<S::Ok, S::Error> {
    let mut words = Numbers(HashMap::new(), Vec::new());
    let mut digests = Numbers(HashMap::new(), Vec::new());
    let mut forms = Vec::with_capacity(pods.len());
    for state in in_order(pods) {
        let PodState { pod, learned, since, told, epoch, digests: first } = state;
        let Pod { uid, namespace, name, owner, pod_hash, created, deleting, finished, .. } = pod;
        let Pod { unschedulable, ready, containers, .. } = pod;
        forms.push(PodForm {
            uid,
            name,
            namespace: words.of(&**namespace),
            owner: owner.as_deref().map(|word| words.of(word)),
            pod_hash: pod_hash.as_deref().map(|word| words.of(word)),
            created: *created,
            deleting: *deleting,
            finished: *finished,
            unschedulable: *unschedulable,
            ready: *ready,
            containers: containers
                .iter()
                .map(|container| {
                    let PodContainer { name, image, running, started, ready, waiting, says, restarts } =
                        container;
                    ContainerForm {
                        name: words.of(name),
                        image: words.of(image),
                        running: running.as_ref().map(|digest| digests.of(digest)),
                        started: *started,
                        ready: *ready,
                        waiting: *waiting,
                        says: says.as_deref().map(|says| words.of(says)),
                        restarts: *restarts,
                    }
                })
                .collect(),
            learned: *learned,
            since: *since,
            told: *told,
            epoch: *epoch,
            digests: first
                .iter()
                .map(|(name, (at, digest))| {
                    (words.of(name), *at, digest.as_ref().map(|digest| digests.of(digest)))
                })
                .collect(),
        });
    }
    let digests = digests.1.into_iter().cloned().collect();
    Form { words: words.1, digests, pods: forms }.serialize(to)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Pods, D::Error> {
    from.deserialize_struct("Form", &["words", "digests", "pods"], Whole)
}

/// Words and digests are numbers into the two lists.
#[derive(Serialize)]
struct Form<'a> {
    words: Vec<&'a str>,
    digests: Vec<Digest>,
    pods: Vec<PodForm<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PodForm<'a> {
    uid: &'a str,
    name: &'a str,
    namespace: u32,
    owner: Option<u32>,
    pod_hash: Option<u32>,
    created: Option<Time>,
    deleting: bool,
    finished: bool,
    unschedulable: bool,
    ready: Option<Time>,
    containers: Vec<ContainerForm>,
    learned: Interval,
    since: Time,
    told: (Time, Time),
    epoch: u64,
    digests: Vec<(u32, Option<Time>, Option<u32>)>,
}

#[derive(Serialize, Deserialize)]
struct ContainerForm {
    name: u32,
    image: u32,
    running: Option<u32>,
    started: Option<Time>,
    ready: bool,
    waiting: Option<Waiting>,
    says: Option<u32>,
    restarts: i64,
}

/// Numbers things in the order they come.
struct Numbers<T>(HashMap<T, u32>, Vec<T>);

impl<T: Copy + Eq + std::hash::Hash> Numbers<T> {
    fn of(&mut self, thing: T) -> u32 {
        *self.0.entry(thing).or_insert_with(|| {
            self.1.push(thing);
            u32::try_from(self.1.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Reads a [`Form`], and each pod into its state at once: a list of all forms would be moved about for nothing.
struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Pods;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pods of a workload")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Pods, A::Error> {
        let short = || A::Error::custom("the pods of a workload end early");
        let words: Vec<&str> = parts.next_element()?.ok_or_else(short)?;
        let digests = parts.next_element()?.ok_or_else(short)?;
        let read = Read { words: words.into_iter().map(Arc::from).collect(), digests };
        let pods = parts.next_element_seed(&read)?.ok_or_else(short)?;
        Ok(pods.into_iter().map(|state| (state.pod.uid.clone(), state)).collect())
    }
}

/// What the numbers mean.
struct Read {
    words: Vec<Arc<str>>,
    digests: Vec<Digest>,
}

impl<'de> DeserializeSeed<'de> for &Read {
    type Value = Vec<PodState>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<PodState>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &Read {
    type Value = Vec<PodState>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pods")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut forms: A) -> Result<Vec<PodState>, A::Error> {
        let mut pods = Vec::with_capacity(forms.size_hint().unwrap_or(0).min(TRUSTED_MAX));
        while let Some(form) = forms.next_element()? {
            pods.push(self.pod(form).ok_or_else(|| A::Error::custom("a number without its word"))?);
        }
        Ok(pods)
    }
}

impl Read {
    fn pod(&self, form: PodForm<'_>) -> Option<PodState> {
        let pod = Pod {
            uid: form.uid.into(),
            namespace: self.word(form.namespace)?,
            name: form.name.into(),
            owner: self.maybe(form.owner, Self::word)?,
            pod_hash: self.maybe(form.pod_hash, Self::word)?,
            created: form.created,
            deleting: form.deleting,
            finished: form.finished,
            unschedulable: form.unschedulable,
            ready: form.ready,
            containers: form
                .containers
                .into_iter()
                .map(|form| self.container(&form))
                .collect::<Option<_>>()?,
        };
        let digests = form
            .digests
            .into_iter()
            .map(|(name, at, digest)| Some((self.word(name)?, (at, self.maybe(digest, Self::digest)?))));
        let digests = digests.collect::<Option<_>>()?;
        let PodForm { learned, since, told, epoch, .. } = form;
        Some(PodState { pod, learned, since, told, epoch, digests })
    }

    fn container(&self, form: &ContainerForm) -> Option<PodContainer> {
        Some(PodContainer {
            name: self.word(form.name)?,
            image: self.word(form.image)?,
            running: self.maybe(form.running, Self::digest)?,
            started: form.started,
            ready: form.ready,
            waiting: form.waiting,
            says: self.maybe(form.says, Self::word)?,
            restarts: form.restarts,
        })
    }

    fn word(&self, number: u32) -> Option<Arc<str>> {
        self.words.get(number as usize).cloned()
    }

    fn digest(&self, number: u32) -> Option<Digest> {
        self.digests.get(number as usize).cloned()
    }

    /// `None` where a number is given and means nothing.
    fn maybe<T>(&self, number: Option<u32>, of: fn(&Self, u32) -> Option<T>) -> Option<Option<T>> {
        match number {
            None => Some(None),
            Some(number) => of(self, number).map(Some),
        }
    }
}
