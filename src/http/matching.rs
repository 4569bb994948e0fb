//! What a person typed, and which journeys and destinations it means.

use crate::image::{Digest, ImageRef};
use crate::observation::ObjectKey;
use crate::tracker::{DestinationStatus, Journey, Lookup};

/// Fewer hex digits than this name too many commits or digests.
const PREFIX_LENGTH_MIN: usize = 6;
/// Digits of the id of a commit: SHA-1, or SHA-256.
const COMMIT_LENGTH_MAX: usize = 64;
/// Longest question that is read: an image reference with a digest fits twice.
pub const QUESTION_LENGTH_MAX: usize = 1024;

/// An image, a digest or commit (also their beginning), an app, a journey id, or `kind/name` of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub text: String,
    /// Only there.
    pub namespace: Option<String>,
}

impl Question {
    /// Spaces around it are nobody's meaning.
    #[must_use]
    pub fn new(text: &str, namespace: Option<&str>) -> Self {
        let namespace = namespace.map(str::trim).filter(|namespace| !namespace.is_empty());
        Self { text: text.trim().to_owned(), namespace: namespace.map(str::to_owned) }
    }

    /// The journey is one that the question is about.
    #[must_use]
    pub fn matches(&self, journey: &Journey) -> bool {
        let to = &journey.destination;
        self.in_namespace(&to.workload)
            && (self.names_workload(&to.workload, &to.app)
                || self.names_image(&journey.image, journey.digest.as_ref())
                || self.names_commit(journey)
                || journey.id.to_string() == self.text
                || journey.aliases.iter().any(|alias| alias.to_string() == self.text))
    }

    /// The destination itself is asked for, by its name or by what it runs.
    #[must_use]
    pub fn asks_for_destination(&self, status: &DestinationStatus) -> bool {
        let to = &status.destination;
        let runs =
            status.live.as_ref().is_some_and(|(image, digest, _)| self.names_image(image, digest.as_ref()));
        let wants = status.image.as_ref().is_some_and(|image| self.names_image(image, None));
        self.in_namespace(&to.workload) && (self.names_workload(&to.workload, &to.app) || runs || wants)
    }

    /// As a whole, without the registry, without the tag, by its tag alone, or by its digest's beginning.
    #[must_use]
    pub fn names_image(&self, image: &ImageRef, digest: Option<&Digest>) -> bool {
        let digests = digest.into_iter().chain(image.digest.as_ref());
        if digests.into_iter().any(|digest| self.begins_digest(&digest.to_string())) {
            return true;
        }
        let (text, asked) = match self.text.split_once('@') {
            // A digest that is written out must be the one; it did not match above.
            Some(_) => return false,
            None => (self.text.as_str(), self.text.rsplit_once(':')),
        };
        match asked {
            // A colon before a slash is a port, not a tag.
            Some((repository, tag)) if !tag.contains('/') => {
                image.tag.as_ref().is_some_and(|known| known.as_str() == tag)
                    && names_repository(repository, image)
            }
            Some(_) => names_repository(text, image),
            None => {
                names_repository(text, image) || image.tag.as_ref().is_some_and(|tag| tag.as_str() == text)
            }
        }
    }

    /// The tag that the text names, if it does.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        // A colon before a slash is a port, not a tag.
        let (_, tag) = self.text.split('@').next()?.rsplit_once(':')?;
        Some(tag).filter(|tag| !tag.contains('/') && !self.text.starts_with("sha256:"))
    }

    /// Whether it names a tag or a digest, and no more than that.
    #[must_use]
    pub fn names_a_tag(&self) -> bool {
        self.tag().is_some() || self.digest().is_some()
    }

    /// Whether it names this image by its tag or its digest.
    #[must_use]
    pub fn names_the_tag_of(&self, image: &ImageRef) -> bool {
        self.names_a_tag() || image.tag.as_ref().is_some_and(|tag| tag.as_str() == self.text)
    }

    /// The digest that the text names as a whole.
    fn digest(&self) -> Option<Digest> {
        let text = self.text.rsplit_once('@').map_or(self.text.as_str(), |(_, digest)| digest);
        text.parse().ok().or_else(|| format!("sha256:{text}").parse().ok())
    }

    /// What may be the beginning of a commit's id.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let is_hex = self.text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let length = (PREFIX_LENGTH_MIN..=COMMIT_LENGTH_MAX).contains(&self.text.len());
        Some(self.text.as_str()).filter(|_| is_hex && length)
    }

    /// What the tracker is to look up for it.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        let digest = self.digest();
        let (tag, front) = (self.tag(), self.text.split('@').next().unwrap_or_default());
        let name = tag.and_then(|tag| front.strip_suffix(tag)?.strip_suffix(':')).unwrap_or(front);
        let bare = digest.is_some() && !self.text.contains('@');
        Lookup {
            repository: Some(name.to_owned()).filter(|name| !name.is_empty() && !bare),
            tag: tag.filter(|_| digest.is_none()).map(str::to_owned),
            digest,
            commit: self.commit().map(str::to_owned),
        }
    }

    fn in_namespace(&self, workload: &ObjectKey) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == &*workload.namespace)
    }

    fn names_workload(&self, workload: &ObjectKey, app: &str) -> bool {
        match self.text.split_once('/') {
            Some((kind, name)) => is_kind(kind, workload.kind.as_str()) && name == &*workload.name,
            None => self.text == app || self.text == *workload.name,
        }
    }

    fn names_commit(&self, journey: &Journey) -> bool {
        let id = journey.commit.as_ref().map(|commit| &commit.id);
        let mut ids = id.into_iter().chain(journey.built_from.as_ref());
        self.text.len() >= PREFIX_LENGTH_MIN && ids.any(|id| id.starts_with(&self.text))
    }

    fn begins_digest(&self, digest: &str) -> bool {
        let text = self.text.rsplit_once('@').map_or(self.text.as_str(), |(_, digest)| digest);
        let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
        match text.split_once(':') {
            Some((_, asked)) => asked.len() >= PREFIX_LENGTH_MIN && digest.starts_with(text),
            None => text.len() >= PREFIX_LENGTH_MIN && hex.starts_with(text),
        }
    }
}

/// The whole name, or its end after a slash: `web`, `team/web`, `registry/team/web`.
fn names_repository(asked: &str, image: &ImageRef) -> bool {
    let known = image.repository.as_str();
    !asked.is_empty()
        && known.strip_suffix(asked).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Also kubectl's plurals and short names.
fn is_kind(asked: &str, kind: &str) -> bool {
    let short = match kind {
        "deployment" => "deploy",
        "statefulset" => "sts",
        "daemonset" => "ds",
        _ => "cj",
    };
    asked == kind || asked == short || asked.strip_suffix('s') == Some(kind)
}
