//! Reads what types a type is made of, by answering whatever its `Deserialize` asks for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, Visitor};

/// A text that every word of ours takes: a tag, a repository, an engine.
const TEXT: &str = "plain";
/// More variants than any enum has; each round takes the next one.
const VARIANTS_MAX: usize = 32;

/// One line per named type: its fields or variants and their types.
pub fn types_of<T: DeserializeOwned>() -> Vec<String> {
    let log = Log::default();
    for round in 0..VARIANTS_MAX {
        T::deserialize(Trace { log: &log, round }).expect("takes what it asks for");
        log.said.borrow_mut().clear();
    }
    log.lines.into_inner().into_iter().collect()
}

#[derive(Default)]
struct Log {
    lines: RefCell<BTreeSet<String>>,
    /// What was read since the last whole: the parts of the next one.
    said: RefCell<Vec<String>>,
}

#[derive(Clone, Copy)]
struct Trace<'a> {
    log: &'a Log,
    round: usize,
}

impl Trace<'_> {
    fn say(&self, word: impl Into<String>) {
        self.log.said.borrow_mut().push(word.into());
    }

    /// What was said since there were so many.
    fn since(&self, count: usize) -> Vec<String> {
        self.log.said.borrow_mut().split_off(count)
    }

    fn count(&self) -> usize {
        self.log.said.borrow().len()
    }

    fn line(&self, line: String) {
        self.log.lines.borrow_mut().insert(line);
    }
}

#[derive(Debug)]
struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.say(stringify!($type));
            visitor.$visit(<$type>::default())
        }
    )*};
}

impl<'de> Deserializer<'de> for Trace<'_> {
    type Error = Error;

    numbers!(
        deserialize_bool visit_bool bool, deserialize_char visit_char char,
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    );

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error("the form describes itself, which a checkpoint's does not".into()))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("text");
        visitor.visit_borrowed_str(TEXT)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("bytes");
        visitor.visit_borrowed_bytes(&[0; 32])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_some(self)?;
        let inner = self.since(count).concat();
        self.say(format!("maybe {inner}"));
        Ok(value)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.say("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_newtype_struct(self)?;
        let inner = self.since(count).concat();
        self.line(format!("{name}({inner})"));
        self.say(name);
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_seq(Parts { trace: self, left: 1 })?;
        let inner = self.since(count).concat();
        self.say(format!("[{inner}]"));
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_seq(Parts { trace: self, left: length })?;
        let inner = self.since(count).join(", ");
        self.say(format!("({inner})"));
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_seq(Parts { trace: self, left: length })?;
        let inner = self.since(count).join(", ");
        self.line(format!("{name}({inner})"));
        self.say(name);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_map(Parts { trace: self, left: 1 })?;
        let inner = self.since(count).join(": ");
        self.say(format!("[{inner}]"));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_seq(Parts { trace: self, left: fields.len() })?;
        self.line(format!("{name} {{ {} }}", named(fields, &self.since(count))));
        self.say(name);
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        assert!(variants.len() <= VARIANTS_MAX, "{name} has more variants than there are rounds");
        let number = self.round.min(variants.len() - 1);
        let count = self.count();
        let value = visitor.visit_enum(Variant { trace: self, number })?;
        let inner = self.since(count).concat();
        self.line(format!("{name}::{number} {}{inner}", variants[number]));
        self.say(name);
        Ok(value)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error("a field is found by its name, which a checkpoint does not have".into()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error("a field is skipped that was written".into()))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

fn named(fields: &[&str], types: &[String]) -> String {
    let pairs: Vec<String> = fields.iter().zip(types).map(|(name, of)| format!("{name}: {of}")).collect();
    pairs.join(", ")
}

/// So many parts of a whole.
struct Parts<'a> {
    trace: Trace<'a>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Parts<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(self.trace).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.trace)
    }
}

struct Variant<'a> {
    trace: Trace<'a>,
    number: usize,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Trace<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Trace<'a>), Error> {
        let number = u32::try_from(self.number).expect("few variants");
        let number = de::value::U32Deserializer::<Error>::new(number);
        Ok((seed.deserialize(number)?, self.trace))
    }
}

impl<'de> de::VariantAccess<'de> for Trace<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let count = self.count();
        let value = seed.deserialize(self)?;
        let inner = self.since(count).concat();
        self.say(format!("({inner})"));
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let count = self.count();
        let value = visitor.visit_seq(Parts { trace: self, left: fields.len() })?;
        let inner = named(fields, &self.since(count));
        self.say(format!(" {{ {inner} }}"));
        Ok(value)
    }
}
