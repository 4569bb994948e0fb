//! What a journey came of, in words that outlive a restart.
//!
//! The words make its id and find it again in the book of its destination. They are written once: from then on a number
//! in their place tells that they are known. Numbers mean nothing outside of the process.

use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::destination::DestinationKey;
use super::expect::Selection;
use super::git::{Change, Slot};
use super::journey::{CommitRef, JourneyId};
use super::ledger::Ledger;
use super::leg::Leg;
use super::legs::Inputs;
use super::maps::Map;
use crate::image::ImageRef;
use crate::observation::TemplateHash;

/// Makes numbers of words; another one in each process, so that nobody outside can make two words meet.
pub type CauseHasher = foldhash::quality::RandomState;

/// One cause, not yet written.
#[derive(Debug, Clone, Copy)]
pub enum Word<'a> {
    /// What a namesake made later starts with is a journey of its own: the UID of the workload is `made`.
    Selection {
        selection: &'a Selection,
        made: Option<&'a Arc<str>>,
    },
    Commit {
        change: &'a Change,
        image: &'a ImageRef,
        made: Option<&'a Arc<str>>,
    },
    Template {
        generation: i64,
        template: TemplateHash,
        uid: &'a Arc<str>,
    },
    Revision(&'a CommitRef),
}

/// The number of a cause, and how often it was there so far: each time is another journey (a commit forced away and
/// back, a tag deleted and selected again).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    pub of: u64,
    pub times: u32,
}

/// The causes of one draft.
#[derive(Debug)]
pub struct Causes {
    /// The number of each cause, and the id that it makes, where it was written before.
    pub numbers: Vec<(u64, JourneyId)>,
    /// Empty where the book has them.
    pub texts: Vec<String>,
    /// The book has all of them, in a settled journey.
    pub settled: bool,
    times: Vec<u32>,
}

/// How often each cause was there.
#[derive(Debug, Default)]
pub struct Used(Map<u64, u32>);

impl Used {
    /// The numbers of one leg's words.
    pub fn numbers(&mut self, words: &[Word<'_>], hasher: &CauseHasher) -> Vec<Numbered> {
        let number = |word: &Word<'_>| {
            let of = hasher.hash_one(word);
            let times = self.0.entry(of).or_default();
            *times += 1;
            let of = if *times > 1 { hasher.hash_one((of, *times)) } else { of };
            Numbered { of, times: *times }
        };
        words.iter().map(number).collect()
    }
}

impl Causes {
    /// What the book knows of these numbers.
    #[must_use]
    pub fn known(numbers: &[Numbered], ledger: Option<&Ledger>) -> Self {
        let is_settled = |number: &Numbered| ledger.is_some_and(|ledger| ledger.is_settled(number.of));
        let settled = !numbers.is_empty() && numbers.iter().all(is_settled);
        let open = ledger.filter(|_| !numbers.iter().any(is_settled));
        let open = open.and_then(|ledger| ledger.open_numbers(numbers));
        Self {
            numbers: match open {
                Some(known) => known.to_vec(),
                None => numbers.iter().map(|number| (number.of, JourneyId(0))).collect(),
            },
            texts: Vec::new(),
            settled,
            times: if settled || open.is_some() {
                Vec::new()
            } else {
                numbers.iter().map(|number| number.times).collect()
            },
        }
    }

    /// Writes what the book does not know, and makes ids of it.
    pub fn write(&mut self, words: &[Word<'_>], key: &DestinationKey) {
        for ((word, times), (_, made)) in words.iter().zip(&self.times).zip(&mut self.numbers) {
            let mut text = word.to_string();
            if *times > 1 {
                text.push_str(&format!(" again {times}"));
            }
            *made = id(key, &text);
            self.texts.push(text);
        }
    }

    /// The id that its first cause makes, and those of the others.
    #[must_use]
    pub fn ids(&self) -> (JourneyId, Vec<JourneyId>) {
        let mut ids = self.numbers.iter().map(|(_, id)| *id);
        (ids.next().unwrap_or(JourneyId(0)), ids.collect())
    }
}

/// The durable causes of a leg, the first one first: selection, commit, template.
#[must_use]
pub fn words<'a>(leg: &Leg<'a>, inputs: &Inputs<'a>) -> Vec<Word<'a>> {
    let workload = inputs.workload;
    // A namesake made later starts with the same words: what it was made with is a journey of its own.
    let made = leg.version.filter(|version| *version == 0).map(|first| &workload.versions[first]);
    let made = made.filter(|version| !version.backfill && !version.horizon).map(|_| &workload.now.uid);
    let selection = leg.selection.map(|selection| Word::Selection { selection, made });
    let commit = leg.commit.map(|change| Word::Commit { change, image: leg.image, made });
    let template = leg.version.map(|version| {
        let version = &workload.versions[version];
        let (generation, template) = (version.generation, version.template);
        Word::Template { generation, template, uid: &workload.now.uid }
    });
    selection.into_iter().chain(commit).chain(template).collect()
}

fn slot(change: &Change) -> &'static str {
    match &change.slot {
        Slot::Container { .. } => "manifest",
        Slot::Kustomize { .. } => "kustomize",
        Slot::Text { .. } => "text",
        Slot::ConfigMap { .. } => "configmap",
        Slot::Scale { .. } => "scale",
    }
}

/// Two that are written alike have one hash.
impl Hash for Word<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Selection { selection, made } => (0, &selection.image, &selection.digest, made).hash(state),
            Self::Commit { change, image, made } => {
                (1, &change.commit.id, slot(change), image, made).hash(state)
            }
            Self::Template { generation, template, uid } => (2, generation, template, uid).hash(state),
            Self::Revision(commit) => (3, &commit.id, &commit.branch).hash(state),
        }
    }
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = match self {
            Self::Selection { selection, made } => {
                write!(f, "selection {} ", selection.image)?;
                selection.digest.iter().try_for_each(|digest| digest.fmt(f))?;
                made
            }
            Self::Commit { change, image, made } => {
                write!(f, "commit {} {} {image}", change.commit.id, slot(change))?;
                made
            }
            Self::Template { generation, template, uid } => {
                return write!(f, "template {generation} {:016x} {uid}", template.0);
            }
            Self::Revision(commit) => return write!(f, "revision {} {}", commit.id, commit.branch),
        };
        made.iter().try_for_each(|uid| write!(f, " {uid}"))
    }
}

fn id(key: &DestinationKey, cause: &str) -> JourneyId {
    let mut hash = Sha256::new();
    for part in [&*key.cluster, key.workload.kind.as_str(), &key.workload.namespace, &key.workload.name] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(key.container.as_bytes());
    hash.update([0]);
    hash.update(cause.as_bytes());
    let bytes: [u8; 32] = hash.finalize().into();
    JourneyId(u64::from_be_bytes(bytes[..8].try_into().expect("eight of 32 bytes")))
}
