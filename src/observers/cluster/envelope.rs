//! What stands around objects: the events of a watch, the metadata of a list.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Error;

use super::cursor::{Cursor, Text, Value};
use super::memory::Memory;
use super::object::{self, Object, or_default};
use super::resource::Resource;

/// The API writes UTF-8; where somebody else did not, only the broken letters are lost.
pub(super) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    // Checked first: repairing goes letter by letter, which takes longer than all the rest.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// One line of a watch, read once.
pub(super) enum Event<'a> {
    Is(Value<'a, Object<'a>>),
    Gone(Value<'a, Object<'a>>),
    Bookmark(&'a str),
    Error(&'a str),
    Unknown,
}

impl<'a> Event<'a> {
    pub(super) fn read(line: &'a str, resource: Resource, memory: &Memory) -> Result<Self, Error> {
        let mut cursor = Cursor::new(line);
        let (mut kind, mut object, mut event) = (None::<Text<'a>>, None, None);
        cursor.enter(b'{')?;
        while let Some(key) = cursor.key()? {
            match (&*key, kind.as_deref()) {
                ("type", _) => kind = Some(cursor.value()?.read?),
                // The API server writes the type first, so the object is read where it stands.
                ("object", Some(kind)) => event = Some(Self::of(kind, &mut cursor, resource, memory)?),
                ("object", None) => object = Some(cursor.pass()?),
                _ => drop(cursor.pass()?),
            }
        }
        cursor.end()?;
        match (event, kind, object) {
            (Some(event), _, _) => Ok(event),
            (None, Some(kind), Some(object)) => Self::of(&kind, &mut Cursor::new(object), resource, memory),
            _ => Err(Error::custom("it has no type or no object")),
        }
    }

    fn of(kind: &str, cursor: &mut Cursor<'a>, resource: Resource, memory: &Memory) -> Result<Self, Error> {
        Ok(match kind {
            "ADDED" | "MODIFIED" => Self::Is(object::read(cursor, resource, |it| memory.knows(it))?),
            // The last state of an object says nothing new.
            "DELETED" => Self::Gone(object::read(cursor, resource, |_| true)?),
            "BOOKMARK" => Self::Bookmark(cursor.pass()?),
            "ERROR" => Self::Error(cursor.pass()?),
            _ => {
                cursor.pass()?;
                Self::Unknown
            }
        })
    }
}

/// The version of a bookmark, and whether it ends the initial objects.
pub(super) fn bookmark(object: &str) -> (Option<String>, bool) {
    let bookmark: Bookmark = serde_json::from_str(object).unwrap_or_default();
    let version = Some(bookmark.metadata.resource_version).filter(|version| !version.is_empty());
    (version, bookmark.metadata.annotations.initial_events_end.as_deref() == Some("true"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMetadata {
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
    /// The token of the next page.
    #[serde(deserialize_with = "or_default")]
    pub r#continue: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bookmark {
    #[serde(deserialize_with = "or_default")]
    metadata: BookmarkMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkMetadata {
    #[serde(deserialize_with = "or_default")]
    resource_version: String,
    #[serde(deserialize_with = "or_default")]
    annotations: BookmarkAnnotations,
}

#[derive(Default, Deserialize)]
struct BookmarkAnnotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}
