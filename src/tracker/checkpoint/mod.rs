//! The tracker's whole state as bytes, for a journal that need not know what is in them.
//!
//! Every type of the state derives its form; what is here are the forms that must differ, because deriving would
//! store a thing twice or lose that two things are one. What follows from the rest is left out and made again.

mod cluster;
pub mod pods;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Tracker;

/// What the bytes begin with.
const MAGIC: [u8; 4] = *b"KNTR";
/// The form of the state. A changed field of any type in it makes it another one.
const FORMAT: u32 = 6;

impl Tracker {
    /// Everything this tracker knows, to go on from later with [`Tracker::restore`].
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        seal(MAGIC, FORMAT, self)
    }

    /// A tracker that goes on as the one that wrote the checkpoint would have.
    ///
    /// # Errors
    /// The bytes are damaged or of another version. The observations must be replayed instead.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut tracker: Self = open(MAGIC, FORMAT, bytes)?;
        tracker.reindex();
        Ok(tracker)
    }
}

/// Why a checkpoint cannot be used. Nothing is lost by it but time: what was observed can be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It does not begin as one does.
    #[error("these {length} bytes are not a checkpoint of this kind: replay the observations instead")]
    Foreign { length: usize },
    /// Written by another version of the program.
    #[error(
        "the checkpoint has format {found} and this program reads {known}: replay the observations instead"
    )]
    Version { found: u32, known: u32 },
    /// The bytes are not those that were written.
    #[error("the checkpoint is damaged ({why}): replay the observations instead")]
    Damaged { why: String },
}

/// A value in a compact form behind a mark, a version and a checksum.
pub fn seal<T: Serialize + ?Sized>(magic: [u8; 4], format: u32, value: &T) -> Vec<u8> {
    let head = (magic, format.to_le_bytes(), [0u8; 4]);
    let mut bytes = postcard::to_stdvec(&(head, value)).expect("a Vec takes every value");
    let sum = crc32fast::hash(&bytes[HEAD..]);
    bytes[HEAD - 4..HEAD].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The value that was sealed.
///
/// # Errors
/// Another mark, another version, or bytes that differ from what was written.
pub fn open<T: DeserializeOwned>(magic: [u8; 4], format: u32, bytes: &[u8]) -> Result<T, RestoreError> {
    let foreign = RestoreError::Foreign { length: bytes.len() };
    let (head, body) = bytes.split_at_checked(HEAD).ok_or(foreign.clone())?;
    let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    if word(0) != magic {
        return Err(foreign);
    }
    let found = u32::from_le_bytes(word(4));
    if found != format {
        return Err(RestoreError::Version { found, known: format });
    }
    let damaged = |why: &str| RestoreError::Damaged { why: why.to_owned() };
    if u32::from_le_bytes(word(8)) != crc32fast::hash(body) {
        return Err(damaged("its checksum differs"));
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(|error| damaged(&error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(damaged("it goes on after its end")) }
}

/// Mark, version and checksum, four bytes each.
const HEAD: usize = 12;

/// The name of an engine, one of a closed set.
pub mod engine {
    use super::{Deserialize, Deserializer, Serializer};

    const ENGINES: [&str; 3] = ["plain", "flux", "argocd"];

    pub fn serialize<S: Serializer>(engine: &str, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(engine)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
        let name = <&str>::deserialize(from)?;
        let known = ENGINES.into_iter().find(|engine| *engine == name);
        known.ok_or_else(|| serde::de::Error::custom("no engine has this name"))
    }
}
