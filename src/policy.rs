//! Which tag an update policy selects: semver, numerical, alphabetical, or one tag's digest.
//!
//! The semantics are Flux's (`ImagePolicy`: `filterTags`, then `policy`), so that Knotmeter knows on its own
//! which tag should have been chosen. Pure: tags in, one tag out. `tests/it/policy/flux.txt` holds them
//! against Go's libraries. Differences, on purpose:
//! - A tag that a numerical policy cannot read takes no part; Flux fails the whole policy. Go also reads hexadecimal
//!   floating point (`0x1p4`), `inf` and `nan`, which take no part here.
//! - Among equal keys the greater tag text wins, so that input order never matters; in Flux the order of the list
//!   decides, and of two tags from which the same text is extracted the last one stays.
//!
//! Patterns are read by the `regex` crate, which is of RE2's family as Go's `regexp` is: no look-around, no
//! back-references, leftmost-first, `(?P<name>)` and `(?<name>)`, flags `i m s U`. Where the two differ:
//! - `\d`, `\w`, `\s` and `\b` know Unicode here and ASCII in Go; a tag is ASCII.
//! - `\Q..\E` is Go's alone: such a pattern is refused here, and `why` says that the policy cannot be read.
//! - `(?x)`, `(?R)`, `a**` and `[a--b]` are this crate's alone: Flux refuses the policy. `[a&&b]` is what both classes hold
//!   here, and one of three characters in Go.
//! - A repetition above 1000 is refused by Go. Here a pattern has limits of length, nesting and compiled size.
//! - In templates both read `$name`, `${name}`, `$1`, `$$`; a name that does not exist is empty in both.

mod range;

pub use range::Range;

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use semver::Version;

use crate::image::Tag;
use crate::observation::{FilterTags, Order, Policy};

/// Compiled size of one filter pattern: outside text must not cost more than a megabyte.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Written length of one, because reading it takes far more memory than it compiles to. Real ones have a hundred.
const PATTERN_TEXT_BYTES_MAX: usize = 512;
/// Groups and repetitions inside each other, for the same reason.
const PATTERN_NESTING_MAX: u32 = 20;

/// A policy that cannot be used, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Why a policy selects a tag or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    Selected,
    /// The pattern of the filter does not match it.
    Pattern,
    /// What is compared of it is no version: three numbers, perhaps with a `v` before them.
    NotAVersion,
    /// It would be in the range, were it not a pre-release.
    PreRelease,
    OutOfRange,
    /// What is compared of it is no number.
    NotANumber,
    /// The policy is about the digest of another tag.
    OtherTag,
    /// It takes part, and another one comes before it.
    Lower,
    /// It would be selected, and is not there.
    NotListed,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 9] = [
        Self::Selected,
        Self::Pattern,
        Self::NotAVersion,
        Self::PreRelease,
        Self::OutOfRange,
        Self::NotANumber,
        Self::OtherTag,
        Self::Lower,
        Self::NotListed,
    ];

    /// The word used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Pattern => "pattern",
            Self::NotAVersion => "not_a_version",
            Self::PreRelease => "pre_release",
            Self::OutOfRange => "out_of_range",
            Self::NotANumber => "not_a_number",
            Self::OtherTag => "other_tag",
            Self::Lower => "lower",
            Self::NotListed => "not_listed",
        }
    }
}

/// A policy made ready: patterns and ranges are parsed once.
#[derive(Debug, Clone)]
pub struct Selector {
    filter: Option<(Regex, Option<String>)>,
    policy: Ready,
}

#[derive(Debug, Clone)]
enum Ready {
    Semver(Range),
    Numerical(Order),
    Alphabetical(Order),
    Digest(String),
}

impl Selector {
    /// Prepares a policy.
    ///
    /// # Errors
    /// A pattern or a range that does not parse, named in the message.
    pub fn new(filter: Option<&FilterTags>, policy: &Policy) -> Result<Self, Error> {
        let filter = match filter {
            None => None,
            Some(filter) if filter.pattern.len() > PATTERN_TEXT_BYTES_MAX => {
                return Err(Error(format!(
                    "filter_tags.pattern has more than the {PATTERN_TEXT_BYTES_MAX} bytes that are read"
                )));
            }
            Some(filter) => {
                let regex = RegexBuilder::new(&filter.pattern)
                    .size_limit(PATTERN_BYTES_MAX)
                    .nest_limit(PATTERN_NESTING_MAX)
                    .build()
                    .map_err(|error| Error(format!("filter_tags.pattern {:?}: {error}", filter.pattern)))?;
                let extract = filter.extract.as_deref().filter(|template| !template.is_empty());
                Some((regex, extract.map(str::to_owned)))
            }
        };
        let policy = match policy {
            Policy::Semver { range } => Ready::Semver(Range::parse(range).map_err(Error)?),
            Policy::Numerical { order } => Ready::Numerical(*order),
            Policy::Alphabetical { order } => Ready::Alphabetical(*order),
            Policy::Digest { tag } => Ready::Digest(tag.to_string()),
        };
        Ok(Self { filter, policy })
    }

    /// The selected tag, if any takes part.
    pub fn select<'a>(&self, tags: impl IntoIterator<Item = &'a Tag>) -> Option<&'a Tag> {
        tags.into_iter()
            .filter_map(|tag| Some((tag, self.key(tag.as_str()).ok()?)))
            .max_by(|(left_tag, left), (right_tag, right)| {
                // Equal keys (1.0 and v1.0) fall to the tag text, so that input order never matters.
                self.compare(left, right).then_with(|| left_tag.cmp(right_tag))
            })
            .map(|(tag, _)| tag)
    }

    /// Why it selects a tag or not, and what it selects of those that are there. [`Cause::Selected`] is given for the
    /// tag that [`Selector::select`] answers, and for no other.
    pub fn explain<'a>(
        &self,
        tag: &Tag,
        tags: impl IntoIterator<Item = &'a Tag>,
    ) -> (Cause, Option<&'a Tag>) {
        let selected = self.select(tags);
        let cause = match (self.key(tag.as_str()), selected) {
            _ if selected == Some(tag) => Cause::Selected,
            (Err(cause), _) => cause,
            (Ok(key), Some(other)) => match self.key(other.as_str()) {
                // It would be selected, if it were there.
                Ok(chosen) if self.compare(&key, &chosen).then_with(|| tag.cmp(other)).is_gt() => {
                    Cause::NotListed
                }
                _ => Cause::Lower,
            },
            (Ok(_), None) => Cause::NotListed,
        };
        (cause, selected)
    }

    /// Orders two tags by this policy, whatever its range: the greater one comes later. `None` where either cannot be
    /// compared.
    #[must_use]
    pub fn order(&self, left: &Tag, right: &Tag) -> Option<Ordering> {
        Some(self.compare(&self.compared(left.as_str()).ok()?, &self.compared(right.as_str()).ok()?))
    }

    /// The tags that take part and come after one and before another, the last one first, at most so many. None where the
    /// two cannot be compared.
    pub fn between<'a>(
        &self,
        after: &Tag,
        before: &Tag,
        tags: impl IntoIterator<Item = &'a Tag>,
        at_most: usize,
    ) -> Vec<&'a Tag> {
        let (Ok(after), Ok(before)) = (self.compared(after.as_str()), self.compared(before.as_str())) else {
            return Vec::new();
        };
        let keys = tags.into_iter().filter_map(|tag| Some((self.key(tag.as_str()).ok()?, tag)));
        let mut between: Vec<(Key, &Tag)> = keys
            .filter(|(key, _)| self.compare(key, &after).is_gt() && self.compare(key, &before).is_lt())
            .collect();
        between.sort_by(|(left, left_tag), (right, right_tag)| {
            self.compare(right, left).then_with(|| right_tag.cmp(left_tag))
        });
        between.into_iter().take(at_most).map(|(_, tag)| tag).collect()
    }

    /// What of a tag is compared, or why it takes no part.
    fn key(&self, tag: &str) -> Result<Key, Cause> {
        let key = self.compared(tag)?;
        match (&self.policy, &key) {
            (Ready::Semver(range), Key::Version(version)) if !range.matches(version) => {
                let pre_release = range.misses_as_pre_release(version);
                Err(if pre_release { Cause::PreRelease } else { Cause::OutOfRange })
            }
            _ => Ok(key),
        }
    }

    fn compared(&self, tag: &str) -> Result<Key, Cause> {
        let text = match &self.filter {
            None => tag.to_owned(),
            Some((regex, extract)) => {
                let found = regex.captures(tag).ok_or(Cause::Pattern)?;
                match extract {
                    None => tag.to_owned(),
                    Some(template) => {
                        let mut text = String::new();
                        found.expand(template, &mut text);
                        text
                    }
                }
            }
        };
        match &self.policy {
            Ready::Semver(_) => version(&text).map(Key::Version).ok_or(Cause::NotAVersion),
            Ready::Numerical(_) => {
                let number = text.parse().ok().filter(|n: &f64| n.is_finite());
                number.map(Key::Number).ok_or(Cause::NotANumber)
            }
            Ready::Alphabetical(_) => Ok(Key::Text(text)),
            Ready::Digest(wanted) => (tag == wanted).then_some(Key::Text(text)).ok_or(Cause::OtherTag),
        }
    }

    fn compare(&self, left: &Key, right: &Key) -> Ordering {
        let order = match (left, right) {
            (Key::Version(left), Key::Version(right)) => left.cmp_precedence(right),
            (Key::Number(left), Key::Number(right)) => left.total_cmp(right),
            (Key::Text(left), Key::Text(right)) => left.cmp(right),
            _ => Ordering::Equal,
        };
        match self.policy {
            Ready::Numerical(Order::Desc) | Ready::Alphabetical(Order::Desc) => order.reverse(),
            _ => order,
        }
    }
}

#[derive(Debug)]
enum Key {
    Version(Version),
    Number(f64),
    Text(String),
}

/// Reads a tag as a version: all three numbers must be there, a leading `v` may be, as Flux has it.
fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}
