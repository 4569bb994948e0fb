//! The words of the OCI specifications: repository, tag, digest, reference; parse and print.
//!
//! Parsed once, at the edge. Inside the program a [`Digest`] is never a `String`. References follow
//! Docker's normalisation (`distribution/reference`, `ParseNormalizedNamed`): a missing registry is
//! `docker.io`, a missing namespace there is `library`. This file does no I/O and knows nobody.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Docker's limit on a repository name, registry included (`reference.NameTotalLengthMax`).
const REPOSITORY_LENGTH_MAX: usize = 255;
/// The distribution specification's limit on a tag: one word character and up to 127 more.
const TAG_LENGTH_MAX: usize = 128;
/// Longest digest text we take. sha512 needs 135; anything far above is hostile.
const DIGEST_LENGTH_MAX: usize = 256;
/// Where a reference without a registry lives.
const DEFAULT_REGISTRY: &str = "docker.io";

/// What is wrong with a text that should have been an image word. The text is in the message, cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The repository part breaks the grammar of the distribution specification.
    #[error("{text:?} is not a repository name: {why}")]
    Repository { text: String, why: &'static str },
    /// The tag is empty, too long, or has a character outside `[A-Za-z0-9_.-]`.
    #[error(
        "{text:?} is not a tag: up to 128 of letters, digits, '_', '.', '-', not starting with '.' or '-'"
    )]
    Tag { text: String },
    /// The digest is not `algorithm:encoded`, or a known algorithm has the wrong length or alphabet.
    #[error("{text:?} is not a digest such as sha256:<64 lower-case hex digits>")]
    Digest { text: String },
}

/// Outside text in a message is cut, so that a hostile name cannot flood a log.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The content address of a manifest, config or layer: `algorithm:encoded`
/// (OCI image specification, descriptor.md).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// The one everybody uses, kept as its 32 bytes.
    Sha256([u8; 32]),
    /// Any other algorithm of the grammar, sha512 among them, kept as text.
    Other(Arc<str>),
}

impl Digest {
    /// The sha256 digest of some bytes, as a registry computes it.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(bytes).into())
    }

    /// `sha256:` and the first twelve digits: enough for a person, too little for a join.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        let algorithm = text.find(':').map_or(0, |at| at + 1);
        text.chars().take(algorithm + 12).collect()
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::Digest { text: shown(text) };
        let (algorithm, encoded) = text.split_once(':').ok_or_else(wrong)?;
        if text.len() > DIGEST_LENGTH_MAX || encoded.is_empty() {
            return Err(wrong());
        }
        if algorithm == "sha256" {
            return hex32(encoded).map(Self::Sha256).ok_or_else(wrong);
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if algorithm == "sha512" && !(encoded.len() == 128 && encoded.bytes().all(lower_hex)) {
            return Err(wrong());
        }
        let component = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let encoded_fits =
            encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'));
        if algorithm.split(['+', '.', '_', '-']).all(component) && encoded_fits {
            Ok(Self::Other(text.into()))
        } else {
            Err(wrong())
        }
    }
}

/// Exactly 64 lower-case hexadecimal digits as 32 bytes.
fn hex32(text: &str) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => {
                f.write_str("sha256:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution specification).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is a tag, without keeping it.
    #[must_use]
    pub fn fits(text: &str) -> bool {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = text.bytes();
        text.len() <= TAG_LENGTH_MAX
            && bytes.next().is_some_and(word)
            && bytes.all(|b| word(b) || b == b'.' || b == b'-')
    }

    /// The tag that a reference without tag and digest means.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".into())
    }
}

impl FromStr for Tag {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if Self::fits(text) { Ok(Self(text.into())) } else { Err(ParseError::Tag { text: shown(text) }) }
    }
}

/// A tag is looked up by its text; both compare and hash alike.
impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registry host and the path of a repository in it, normalised: `docker.io/library/nginx`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    text: Arc<str>,
    host_length: usize,
}

impl Repository {
    /// The registry's host, with its port if it has one. `docker.io` stands for Docker Hub.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.text[..self.host_length]
    }

    /// The name inside the registry, as the distribution API wants it in a path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.text[self.host_length + 1..]
    }

    /// Host and path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Repository {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |why| ParseError::Repository { text: shown(text), why };
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong("64 hex digits are an image id, not a name"));
        }
        let (host, path) = match text.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, text),
        };
        if !host_fits(host) {
            return Err(wrong("the registry is not a host name or address with an optional port"));
        }
        // Three names of one place; clients rewrite them, so equal images must compare equal.
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        if !path.split('/').all(component_fits) {
            return Err(wrong("a path has lower-case letters and digits, joined by '.', '_', '__' or '-'"));
        }
        let text: Arc<str> = if host == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{host}/library/{path}").into()
        } else {
            format!("{host}/{path}").into()
        };
        if text.len() > REPOSITORY_LENGTH_MAX {
            return Err(wrong("longer than 255 characters"));
        }
        Ok(Self { host_length: host.len(), text })
    }
}

/// Docker's test for "the first component is a registry": a dot, a colon, `localhost`, or a capital.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.bytes().any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase())
}

fn host_fits(host: &str) -> bool {
    let (name, port) = if let Some(inside) = host.strip_prefix('[') {
        let Some((address, rest)) = inside.split_once(']') else { return false };
        let address_fits = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
        if !address_fits {
            return false;
        }
        (None, rest.strip_prefix(':').map_or((rest.is_empty()).then_some("0"), Some))
    } else {
        match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), Some("0")),
        }
    };
    let label = |part: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.is_none_or(|name| name.split('.').all(label))
        && port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component_fits(part: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An image reference as a manifest writes it, normalised: repository, and a tag, a digest, or both.
///
/// ```
/// use knotmeter::image::ImageRef;
/// let image: ImageRef = "nginx".parse().unwrap();
/// assert_eq!(image.to_string(), "docker.io/library/nginx:latest");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    pub repository: Repository,
    /// Set unless the reference has a digest only; `latest` where the text named neither.
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

impl FromStr for ImageRef {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to a port.
        let path_start = name.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match name[path_start..].find(':') {
            Some(at) => {
                let (repository, tag) = name.split_at(path_start + at);
                (repository, Some(tag[1..].parse()?))
            }
            None => (name, None),
        };
        let tag = if tag.is_none() && digest.is_none() { Some(Tag::latest()) } else { tag };
        Ok(Self { repository: repository.parse()?, tag, digest })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// In JSON every word is its text, so that a journal reads like a log.
macro_rules! as_text {
    ($($word:ty),*) => {$(
        impl Serialize for $word {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $word {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Word(PhantomData))
            }
        }
    )*};
}
as_text!(Tag, Repository);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            _ if to.is_human_readable() => to.collect_str(self),
            Self::Sha256(bytes) => to.serialize_bytes(bytes),
            Self::Other(text) => to.serialize_bytes(&[&OTHER_ALGORITHM[..], text.as_bytes()].concat()),
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from.deserialize_str(Word(PhantomData))
        } else {
            from.deserialize_bytes(DigestBytes)
        }
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.collect_str(self);
        }
        (&self.repository, &self.tag, &self.digest).serialize(to)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return from.deserialize_str(Word(PhantomData));
        }
        let (repository, tag, digest) = Deserialize::deserialize(from)?;
        match (&tag, &digest) {
            (None, None) => Err(serde::de::Error::custom("a reference without tag and digest")),
            _ => Ok(Self { repository, tag, digest }),
        }
    }
}

/// Stands before the text of a digest that is not sha256, in a binary format: with it the whole is longer than
/// the 32 bytes of one that is.
const OTHER_ALGORITHM: [u8; 32] = [0; 32];

/// Reads a word from its text, without a copy in between.
struct Word<T>(PhantomData<T>);

impl<T: FromStr<Err = ParseError>> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image word")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

struct DigestBytes;

impl Visitor<'_> for DigestBytes {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a digest")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
        if let Ok(sha256) = bytes.try_into() {
            return Ok(Digest::Sha256(sha256));
        }
        let text = bytes.strip_prefix(&OTHER_ALGORITHM).and_then(|text| std::str::from_utf8(text).ok());
        text.ok_or_else(|| E::custom("not a digest"))?.parse().map_err(E::custom)
    }
}
