//! Which tag an update policy selects: semver, numerical, alphabetical, or one tag's digest.
//!
//! The semantics are Flux's (`ImagePolicy`: `filterTags`, then `policy`), so that Knotmeter knows on its own
//! which tag should have been chosen. Pure: tags in, one tag out.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use semver::{Version, VersionReq};

use crate::image::Tag;
use crate::observation::{FilterTags, Order, Policy};

/// Compiled size of one filter pattern: outside text must not cost more than a megabyte.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A policy that cannot be used, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

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
            Some(filter) => {
                let regex = RegexBuilder::new(&filter.pattern)
                    .size_limit(PATTERN_BYTES_MAX)
                    .build()
                    .map_err(|error| Error(format!("filter_tags.pattern {:?}: {error}", filter.pattern)))?;
                Some((regex, filter.extract.as_deref().map(braced)))
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
            .filter_map(|tag| Some((tag, self.key(tag.as_str())?)))
            .max_by(|(left_tag, left), (right_tag, right)| {
                // Equal keys (1.0 and v1.0) fall to the tag text, so that input order never matters.
                self.compare(left, right).then_with(|| left_tag.cmp(right_tag))
            })
            .map(|(tag, _)| tag)
    }

    /// Orders two tags by this policy: the greater one would be selected. `None` where either takes no part.
    #[must_use]
    pub fn order(&self, left: &Tag, right: &Tag) -> Option<Ordering> {
        Some(self.compare(&self.key(left.as_str())?, &self.key(right.as_str())?))
    }

    fn key(&self, tag: &str) -> Option<Key> {
        let text = match &self.filter {
            None => tag.to_owned(),
            Some((regex, extract)) => {
                let found = regex.captures(tag)?;
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
            Ready::Semver(range) => {
                let version = version(&text)?;
                range.matches(&version).then_some(Key::Version(version))
            }
            Ready::Numerical(_) => text.parse().ok().filter(|n: &f64| n.is_finite()).map(Key::Number),
            Ready::Alphabetical(_) => Some(Key::Text(text)),
            Ready::Digest(wanted) => (text == *wanted).then_some(Key::Text(text)),
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

/// Go templates write `$ts`; in the regex crate `$ts` swallows what follows, so groups are put in braces.
fn braced(extract: &str) -> String {
    let group = Regex::new(r"\$([A-Za-z0-9_]+)").expect("a fixed pattern");
    group.replace_all(extract, "$${$1}").into_owned()
}

/// Reads a tag as a version: a leading `v` and missing minor or patch numbers are allowed, as Flux does.
fn version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let full = match core.split('.').count() {
        1 => format!("{core}.0.0{rest}"),
        2 => format!("{core}.0{rest}"),
        _ => text.to_owned(),
    };
    Version::parse(&full).ok()
}

/// A version range as Flux takes it: alternatives joined by `||`, comparators by spaces or commas, `1.x`, `1 - 2`.
#[derive(Debug, Clone)]
pub struct Range {
    alternatives: Vec<(VersionReq, bool)>,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// A sentence that names the range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let alternatives = text.split("||").map(alternative).collect::<Option<Vec<_>>>();
        match alternatives {
            Some(alternatives) => Ok(Self { alternatives }),
            None => {
                Err(format!("{text:?} is not a version range; write for example '>=1.0.0 <2.0.0' or '1.x'"))
            }
        }
    }

    fn matches(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|(range, prereleases)| {
            if version.pre.is_empty() || *prereleases {
                // A comparator with a pre-release admits pre-releases of every version, as in Go's semver;
                // the crate would admit only those of the same version.
                let plain = Version::new(version.major, version.minor, version.patch);
                range.matches(version) || (*prereleases && range.matches(&plain) && above(range, version))
            } else {
                false
            }
        })
    }
}

/// No lower comparator of the range lies above the version itself.
fn above(range: &VersionReq, version: &Version) -> bool {
    range.comparators.iter().all(|c| {
        let bound = Version {
            major: c.major,
            minor: c.minor.unwrap_or(0),
            patch: c.patch.unwrap_or(0),
            pre: c.pre.clone(),
            build: semver::BuildMetadata::EMPTY,
        };
        match c.op {
            semver::Op::GreaterEq | semver::Op::Caret | semver::Op::Tilde => *version >= bound,
            semver::Op::Greater => *version > bound,
            semver::Op::Less => *version < bound,
            semver::Op::LessEq => *version <= bound,
            _ => true,
        }
    })
}

fn alternative(text: &str) -> Option<(VersionReq, bool)> {
    let text = text.trim();
    let prereleases = text.contains('-') && !text.contains(" - ");
    if let Some((low, high)) = text.split_once(" - ") {
        return VersionReq::parse(&format!(">={}, <={}", low.trim(), high.trim())).ok().map(|r| (r, false));
    }
    let mut comparators = Vec::new();
    let mut operator = String::new();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        // `>= 1.0` may be written with a space; the crate wants it without.
        if word.chars().all(|c| matches!(c, '<' | '>' | '=' | '^' | '~')) {
            operator = word.to_owned();
            continue;
        }
        let number = word.trim_start_matches(['<', '>', '=', '^', '~']);
        let written = &word[..word.len() - number.len()];
        let number = number.strip_prefix('v').unwrap_or(number).replace(['x', 'X'], "*");
        let bare = written.is_empty() && operator.is_empty();
        // A bare full version is exact in Flux; the crate would read it as caret.
        let prefix =
            if bare && !number.contains('*') && number.split('.').count() >= 3 { "=" } else { written };
        let prefix =
            if bare && !number.contains('*') && number.split('.').count() < 3 { "~" } else { prefix };
        comparators.push(format!("{operator}{prefix}{number}"));
        operator.clear();
    }
    let joined = comparators.join(", ");
    let joined = if joined.is_empty() { "*".to_owned() } else { joined };
    VersionReq::parse(&joined).ok().map(|range| (range, prereleases))
}
