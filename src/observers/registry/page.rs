//! Parsing one page of tags. Only `tags` is read: neither the rest nor what is no tag costs memory.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::error::Problem;
use super::names::Names;
use crate::image::Tag;

/// Reads the `tags` of a page and passes over everything else (GCR adds a map of manifests). Returns them, and
/// how many names were no tags. Until they are packed, names stay where they are in the body.
///
/// # Errors
/// No JSON object, or more than `limit` tags.
pub fn parse(body: &[u8], limit: usize) -> Result<(Names, usize), Problem> {
    let mut tags = Tags { valid: Vec::new(), invalid: 0, limit };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = BodySeed(&mut tags).deserialize(&mut reader).and_then(|()| reader.end());
    if tags.valid.len() + tags.invalid > limit {
        return Err(Problem::TooLarge { what: "tags", limit: limit as u64 });
    }
    read.map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::Malformed(format!("its list of tags is not the JSON it should be ({place})"))
    })?;
    Ok((Names::pack(tags.valid), tags.invalid))
}

struct Tags<'de> {
    valid: Vec<Cow<'de, str>>,
    invalid: usize,
    limit: usize,
}

/// The object around the tags.
struct BodySeed<'a, 'de>(&'a mut Tags<'de>);

impl<'de> DeserializeSeed<'de> for BodySeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of tags")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "tags" {
                map.next_value_seed(TagsSeed(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The tags: an array, or `null` for an empty repository.
struct TagsSeed<'a, 'de>(&'a mut Tags<'de>);

impl<'de> DeserializeSeed<'de> for TagsSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for TagsSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tags or null")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(Element(tag)) = elements.next_element()? {
            match tag {
                Some(tag) => self.0.valid.push(tag),
                None => self.0.invalid += 1,
            }
            if self.0.valid.len() + self.0.invalid > self.0.limit {
                return Err(de::Error::custom("too many tags"));
            }
        }
        Ok(())
    }
}

/// A tag, or `None` for whatever else stands in its place.
struct Element<'de>(Option<Cow<'de, str>>);

impl<'de> Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Element<'de>, E> {
        Ok(Element(Tag::fits(text).then_some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Element<'de>, E> {
        Ok(Element(Tag::fits(text).then(|| Cow::Owned(text.to_owned()))))
    }

    fn visit_unit<E>(self) -> Result<Element<'de>, E> {
        Ok(Element(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Element<'de>, E> {
        Ok(Element(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Element<'de>, E> {
        Ok(Element(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Element<'de>, E> {
        Ok(Element(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Element<'de>, E> {
        Ok(Element(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element<'de>, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Element(None))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Element<'de>, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Element(None))
    }
}
