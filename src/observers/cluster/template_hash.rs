//! The hash of a pod template, by which a workload and its revisions agree.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Error, Number};
use sha2::{Digest as _, Sha256};

use super::cursor::Text;
use crate::observation::TemplateHash;

/// Labels that controllers put on the template or on a copy of it: they tell copies apart, not contents.
const CONTROLLER_LABELS: [&str; 7] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
];

/// Hashes a template so that a workload and its revisions agree.
///
/// The copies are written by different encoders: keys come in another order, a ControllerRevision adds
/// `$patch`, and some versions write empty maps and `creationTimestamp: null` where others write nothing.
/// SHA-256, cut to 64 bits, because the hash is journalled and must never change with the compiler.
pub(super) fn hash(template: &RawValue) -> Result<TemplateHash, Error> {
    let mut written = Vec::with_capacity(template.get().len());
    let mut from = serde_json::Deserializer::from_str(template.get());
    Form { to: &mut written, place: Place::Template }.deserialize(&mut from)?;
    let bytes: [u8; 32] = Sha256::digest(&written).into();
    let (first, _) = bytes.split_first_chunk::<8>().expect("a sha256 has 32 bytes");
    Ok(TemplateHash(u64::from_be_bytes(*first)))
}

/// Writes the canonical form of a value as it is read, without a tree in between: sorted keys, empty fields left
/// out, every text with its length before it. Returns whether nothing but nulls and empty lists and maps is
/// inside, which is the same as absent.
struct Form<'a> {
    to: &'a mut Vec<u8>,
    place: Place,
}

/// Where in a template a value stands, as far as that decides what is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Template,
    Metadata,
    Labels,
    Elsewhere,
}

impl Place {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Template, "metadata") => Self::Metadata,
            (Self::Metadata, "labels") => Self::Labels,
            _ => Self::Elsewhere,
        }
    }

    fn leaves_out(self, key: &str) -> bool {
        match self {
            Self::Template => key == "$patch",
            Self::Labels => CONTROLLER_LABELS.contains(&key),
            Self::Metadata | Self::Elsewhere => false,
        }
    }
}

impl Form<'_> {
    fn text(&mut self, tag: u8, text: &str) {
        self.to.push(tag);
        self.to.extend((text.len() as u64).to_be_bytes());
        self.to.extend(text.as_bytes());
    }

    fn number(&mut self, number: &Number) {
        self.text(b'#', &number.to_string());
    }
}

impl<'de> DeserializeSeed<'de> for Form<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Form<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        self.to.push(b'n');
        Ok(true)
    }

    fn visit_bool<E>(self, is: bool) -> Result<bool, E> {
        self.to.push(if is { b't' } else { b'f' });
        Ok(false)
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<bool, E> {
        self.number(&number.into());
        Ok(false)
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<bool, E> {
        self.number(&number.into());
        Ok(false)
    }

    fn visit_f64<E: serde::de::Error>(mut self, number: f64) -> Result<bool, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("a number is not finite"))?;
        self.number(&number);
        Ok(false)
    }

    fn visit_str<E>(mut self, text: &str) -> Result<bool, E> {
        self.text(b's', text);
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        self.to.push(b'[');
        let mut is_empty = true;
        while items.next_element_seed(Form { to: self.to, place: Place::Elsewhere })?.is_some() {
            is_empty = false;
        }
        self.to.push(b']');
        Ok(is_empty)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        self.to.push(b'{');
        let first = self.to.len();
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if self.place.leaves_out(&key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let from = self.to.len();
            self.text(b'k', &key);
            let is_empty = map.next_value_seed(Form { to: &mut *self.to, place: self.place.below(&key) })?;
            if is_empty {
                self.to.truncate(from);
            } else {
                fields.push((key, from..self.to.len()));
            }
        }
        if !fields.is_sorted_by_key(|(key, _)| &**key) {
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            let last = self.to.len();
            for (_, written) in &fields {
                self.to.extend_from_within(written.clone());
            }
            self.to.drain(first..last);
        }
        self.to.push(b'}');
        Ok(fields.is_empty())
    }
}
