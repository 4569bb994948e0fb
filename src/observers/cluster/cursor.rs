//! Walks through JSON value by value: each is read once, into the type that is wanted, and its own text is known.
//!
//! serde_json reads the values; this only knows what stands between them. With `RawValue` the same bytes would be
//! gone through once per level, and with plain structs nobody would know the text of a part.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Error as _, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Error;

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
    /// Nothing has been read of the object or list that was entered last, so no comma comes.
    entered: bool,
}

/// One value: its text, and what it was read as. A value of another shape does not stop the walk.
#[derive(Debug)]
pub(super) struct Value<'a, T> {
    pub text: &'a str,
    pub read: Result<T, Error>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, entered: false }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    /// The byte that the next value begins with.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.bytes().next()
    }

    /// Steps into the object or list that begins here.
    pub(super) fn enter(&mut self, bracket: u8) -> Result<(), Error> {
        self.eat(bracket)?;
        self.entered = true;
        Ok(())
    }

    /// The next key of the object that was entered; `None` at its end. Its value must be read or passed.
    pub(super) fn key(&mut self) -> Result<Option<Text<'a>>, Error> {
        if !self.more(b'}')? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(Error::custom("expected a key"));
        }
        let key = self.value::<Text<'a>>()?.read?;
        self.eat(b':')?;
        Ok(Some(key))
    }

    /// Whether the list that was entered goes on; if so, its next value must be read or passed.
    pub(super) fn item(&mut self) -> Result<bool, Error> {
        self.more(b']')
    }

    /// Checks that nothing is left.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.peek().map_or(Ok(()), |_| Err(Error::custom("something follows the end")))
    }

    /// Reads the value that begins here. An error means that there is no JSON value.
    pub(super) fn value<T: Deserialize<'a>>(&mut self) -> Result<Value<'a, T>, Error> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<T>();
        match values.next() {
            Some(Ok(read)) => {
                let end = values.byte_offset();
                Ok(Value { text: self.take(end), read: Ok(read) })
            }
            Some(Err(why)) => Ok(Value { text: self.pass()?, read: Err(why) }),
            None => Err(Error::custom("the text ends where a value should begin")),
        }
    }

    /// Passes over the value that begins here, and returns its text.
    pub(super) fn pass(&mut self) -> Result<&'a str, Error> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let end = values.byte_offset();
                Ok(self.take(end))
            }
            Some(Err(why)) => Err(why),
            None => Err(Error::custom("the text ends where a value should begin")),
        }
    }

    fn more(&mut self, end: u8) -> Result<bool, Error> {
        if self.peek() == Some(end) {
            self.eat(end)?;
            self.entered = false;
            return Ok(false);
        }
        if !std::mem::take(&mut self.entered) {
            self.eat(b',')?;
        }
        Ok(true)
    }

    fn eat(&mut self, mark: u8) -> Result<(), Error> {
        match self.peek() {
            // Every mark is ASCII, so what follows it begins a character.
            Some(byte) if byte == mark => self.rest = &self.rest[1..],
            _ => return Err(Error::custom(format!("expected `{}`", char::from(mark)))),
        }
        Ok(())
    }

    fn take(&mut self, end: usize) -> &'a str {
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text.trim_ascii_start()
    }
}

/// A text that is borrowed from the JSON, unless it had escapes. `null` is read as empty.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) const EMPTY: Self = Self(Cow::Borrowed(""));

    pub(super) fn to_arc(&self) -> Arc<str> {
        Arc::from(&*self.0)
    }

    /// `None` where it is empty: the API leaves out what is not set.
    pub(super) fn filled(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or null")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
}
