//! Parsing one page of tags. Only `tags` is read: neither the rest nor what is no tag costs memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::error::Problem;
use crate::image::Tag;

/// Reads the `tags` of a page and passes over everything else (GCR adds a map of manifests). Returns them
/// sorted, each once, and how many names were no tags.
///
/// # Errors
/// No JSON object, or more than `limit` tags.
pub fn parse(body: &[u8], limit: usize) -> Result<(Vec<Tag>, usize), Problem> {
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
    tags.valid.sort_unstable();
    tags.valid.dedup();
    Ok((tags.valid, tags.invalid))
}

struct Tags {
    valid: Vec<Tag>,
    invalid: usize,
    limit: usize,
}

/// The object around the tags.
struct BodySeed<'a>(&'a mut Tags);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of tags")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
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
struct TagsSeed<'a>(&'a mut Tags);

impl<'de> DeserializeSeed<'de> for TagsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for TagsSeed<'_> {
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
struct Element(Option<Tag>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag")
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(Element(text.parse().ok()))
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Element(None))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Element(None))
    }
}
