//! Version ranges as Flux takes them, which is as the Go library `Masterminds/semver` 3.4 reads them.
//!
//! The `semver` crate's own ranges differ where it matters (a bare `1.2.3` means `^1.2.3` there, and
//! pre-releases are admitted by other rules), so the comparisons are here and only `Version` is borrowed.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// Written length of a range: room for some twenty alternatives.
const TEXT_BYTES_MAX: usize = 512;

/// A version range: alternatives joined by `||`, comparators by spaces or commas, `1.x`, `1.2 - 2.0`.
#[derive(Debug, Clone)]
pub struct Range {
    alternatives: Vec<Alternative>,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// A sentence that names the range.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a range of more than the {TEXT_BYTES_MAX} bytes that are read"));
        }
        text.split("||").map(alternative).collect::<Option<_>>().map(|alternatives| Self { alternatives }).ok_or_else(
            || format!("{text:?} is not a version range; write for example '>=1.0.0 <2.0.0', '1.x' or '1.2 - 2.0'"),
        )
    }

    /// Whether a version lies inside.
    #[must_use]
    pub fn matches(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|alternative| {
            // One comparator that names a pre-release admits them for its whole alternative: `>=1.0.0-0 <2.0.0`.
            (version.pre.is_empty() || alternative.prereleases)
                && alternative.comparators.iter().all(|comparator| comparator.matches(version))
        })
    }
}

impl Range {
    /// Whether a version that does not match would, if it were none of the pre-releases.
    #[must_use]
    pub fn misses_as_pre_release(&self, version: &Version) -> bool {
        let released = Version { pre: Prerelease::EMPTY, ..version.clone() };
        let inside = |alternative: &Alternative| {
            let all = |version: &Version| alternative.comparators.iter().all(|it| it.matches(version));
            !alternative.prereleases && (all(version) || all(&released))
        };
        !version.pre.is_empty() && !self.matches(version) && self.alternatives.iter().any(inside)
    }
}

/// Comparators that must all hold.
#[derive(Debug, Clone)]
struct Alternative {
    comparators: Vec<Comparator>,
    prereleases: bool,
}

#[derive(Debug, Clone)]
struct Comparator {
    operator: Operator,
    /// What was written; missing and `x` numbers are zero.
    bound: Version,
    /// How many numbers were written before the first missing one or `x`: 0 to 3.
    written: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Longer spellings first, so that `>=` is not read as `>` and a stray `=`.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

impl Comparator {
    fn matches(&self, version: &Version) -> bool {
        let order = version.cmp_precedence(&self.bound);
        match self.operator {
            // Where not even the first number was written, these compare with 0.0.0, as Go's library does.
            Operator::NotEqual if self.written == 0 => order != Ordering::Equal,
            Operator::Greater if self.written == 0 => order == Ordering::Greater,
            Operator::LessOrEqual if self.written == 0 => (version.major, version.minor) == (0, 0),
            Operator::Equal if self.written == 3 => order == Ordering::Equal,
            Operator::Equal | Operator::Tilde => order != Ordering::Less && self.same_minor(version),
            Operator::NotEqual if self.written == 3 => order != Ordering::Equal,
            // Inside of the series a pre-release is told apart from a written one.
            Operator::NotEqual if self.written == 2 && self.compare_written(version).is_eq() => {
                version.pre != self.bound.pre
            }
            Operator::NotEqual => self.compare_written(version) != Ordering::Equal,
            Operator::Greater if self.written == 3 => order == Ordering::Greater,
            // Above a whole series: `>11` starts at 12.0.0.
            Operator::Greater => self.compare_written(version) == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual if self.written == 3 => order != Ordering::Greater,
            Operator::LessOrEqual => self.compare_written(version) != Ordering::Greater,
            Operator::Caret => order != Ordering::Less && self.same_leading(version),
        }
    }

    /// Compares only the numbers that were written: every 1.4.z equals a written `1.4`.
    fn compare_written(&self, version: &Version) -> Ordering {
        let numbers = |v: &Version| [v.major, v.minor, v.patch];
        let written = usize::from(self.written);
        numbers(version)[..written].cmp(&numbers(&self.bound)[..written])
    }

    /// `~`: major and minor stay, where they were written. `~0.0.0` means anything.
    fn same_minor(&self, version: &Version) -> bool {
        let anything =
            self.written == 3 && (self.bound.major, self.bound.minor, self.bound.patch) == (0, 0, 0);
        let same =
            version.major == self.bound.major && (self.written < 2 || version.minor == self.bound.minor);
        anything || self.written == 0 || same
    }

    /// `^`: nothing left of, and including, the first number that is not zero may change.
    fn same_leading(&self, version: &Version) -> bool {
        let (major, minor) = (version.major == self.bound.major, version.minor == self.bound.minor);
        match self.written {
            1 => major,
            _ if self.bound.major > 0 => major,
            2 => major && minor,
            // `^*` is `^0.0.0`.
            _ if self.bound.minor > 0 => major && minor,
            _ => major && minor && version.patch == self.bound.patch,
        }
    }
}

/// Reads comparators up to the end of the text; at least one must be there.
fn alternative(text: &str) -> Option<Alternative> {
    let mut comparators = Vec::new();
    let mut rest = text.trim();
    loop {
        let (operator, after) = operator(rest);
        let (bound, after) = bound(after.trim_start())?;
        let remaining = after.trim_start();
        let high = remaining.strip_prefix('-').filter(|high| after != remaining && high.starts_with(' '));
        rest = if let (None, Some(high)) = (operator, high) {
            let (high, after) = self::bound(high.trim_start())?;
            comparators.push(Comparator { operator: Operator::GreaterOrEqual, ..bound });
            comparators.push(Comparator { operator: Operator::LessOrEqual, ..high });
            after
        } else {
            comparators.push(Comparator { operator: operator.unwrap_or(Operator::Equal), ..bound });
            after
        };
        let next = rest.trim_start();
        if next.is_empty() {
            break;
        }
        let separated = next.strip_prefix(',').or_else(|| (next != rest).then_some(next))?;
        rest = separated.trim_start();
    }
    let prereleases = comparators.iter().any(|comparator| !comparator.bound.pre.is_empty());
    Some(Alternative { comparators, prereleases })
}

fn operator(text: &str) -> (Option<Operator>, &str) {
    let found =
        OPERATORS.iter().find_map(|(spelling, operator)| Some((*operator, text.strip_prefix(spelling)?)));
    found.map_or((None, text), |(operator, rest)| (Some(operator), rest))
}

/// One version with `v`, missing numbers and `x` allowed, and what follows it.
fn bound(text: &str) -> Option<(Comparator, &str)> {
    let end = text.find([' ', ',', '\t']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = word.strip_prefix('v').unwrap_or(word);
    let (word, build) = word.split_once('+').map_or((word, None), |(word, build)| (word, Some(build)));
    let (core, pre) = word.split_once('-').map_or((word, None), |(core, pre)| (core, Some(pre)));
    let build_fits = build.is_none_or(|build| !build.is_empty() && BuildMetadata::new(build).is_ok());
    if !build_fits || pre == Some("") {
        return None;
    }
    let mut numbers = [0; 3];
    let mut written = 0;
    let mut open = false;
    for (at, part) in core.split('.').enumerate() {
        let slot = numbers.get_mut(at)?;
        if matches!(part, "x" | "X" | "*") {
            open = true;
        } else {
            let number = part.parse().ok()?;
            // What stands after an `x` has no meaning: `1.x.3` is `1.x`.
            if !open {
                *slot = number;
                written += 1;
            }
        }
    }
    let pre = pre.map_or(Some(Prerelease::EMPTY), |pre| Prerelease::new(pre).ok())?;
    let [major, minor, patch] = numbers;
    let bound = Version { major, minor, patch, pre, build: BuildMetadata::EMPTY };
    Some((Comparator { operator: Operator::Equal, bound, written }, rest))
}
