//! Patterns that people write: repository globs and keyword comments.

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Compiled size of one pattern. A typed mistake must not cost hundreds of megabytes.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Written length of one pattern. The limit above is looked at when a pattern was read already, and reading takes
/// hundreds of bytes of memory for each of these.
const TEXT_BYTES_MAX: usize = 512;
/// Groups and repetitions inside each other. A hundred stars in a row compile to nothing and take 64 MiB on the way.
const NESTING_MAX: u32 = 20;

/// A repository path with `*` (inside a component) and `**` (over components).
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    regex: Regex,
}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        short(text)?;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/*-".contains(c);
        if text.is_empty() || !text.chars().all(fits) {
            return Err(format!(
                "{text:?} can match no repository; write its path without host and tag, such as team/web or team/*"
            ));
        }
        let mut pattern = String::from("^");
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**") {
                pattern.push_str(".*");
                rest = after;
            } else {
                if c == '*' {
                    pattern.push_str("[^/]*");
                } else {
                    pattern.push_str(&regex::escape(&rest[..c.len_utf8()]));
                }
                rest = &rest[c.len_utf8()..];
            }
        }
        pattern.push('$');
        let regex = limited(&pattern).map_err(|_| format!("{text:?} is too long for a pattern"))?;
        Ok(Self { text: text.into(), regex })
    }

    /// Whether a repository's path (without host) is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// The text, if it names exactly one repository: such a one is scanned although nothing uses it yet.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains('*')).then_some(&self.text)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A keyword comment that an updater looks for.
#[derive(Debug, Clone)]
pub struct Marker(Regex);

impl Marker {
    /// Reads a marker's regular expression.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        short(text)?;
        limited(text).map(Self).map_err(|error| format!("{text:?} is not a regular expression: {error}"))
    }

    /// The rule that a line names: the group `name`, or all that matched.
    #[must_use]
    pub fn find<'a>(&self, line: &'a str) -> Option<&'a str> {
        let found = self.0.captures(line)?;
        Some(found.name("name").or_else(|| found.get(0))?.as_str())
    }
}

fn short(text: &str) -> Result<(), String> {
    let length = text.len();
    if length <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(format!("a pattern of {length} bytes is too long; {TEXT_BYTES_MAX} are the most that are read"))
}

fn limited(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).nest_limit(NESTING_MAX).build()
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Marker {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Marker {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Glob {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Glob".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["team/*", "team/**"]})
    }
}

impl JsonSchema for Marker {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Marker".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "regex"})
    }
}
