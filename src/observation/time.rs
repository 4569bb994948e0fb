//! Instants, intervals, and how we came to know them.

use std::fmt;
use std::ops::{Add, Sub};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in milliseconds since the Unix epoch, in UTC. Written as RFC 3339 with milliseconds,
/// in a binary format as the number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// "Nobody knows how long ago": the lower bound of what was there at start-up.
    pub const MIN: Self = Self(i64::MIN / 4);
    /// "Not yet": the upper bound of what has not been seen.
    pub const MAX: Self = Self(i64::MAX / 4);

    /// Whole and broken seconds from `earlier` to here; negative when it is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1000.0
    }

    /// False for [`Time::MIN`] and [`Time::MAX`].
    #[must_use]
    pub fn is_known(self) -> bool {
        self != Self::MIN && self != Self::MAX
    }

    /// The same instant as a chrono time; `None` where it is not known.
    #[must_use]
    pub fn to_chrono(self) -> Option<DateTime<Utc>> {
        self.is_known().then(|| DateTime::from_timestamp_millis(self.0)).flatten()
    }

    /// Reads RFC 3339 with or without a fraction, as Kubernetes and registries write it.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_millis()))
    }
}

impl From<DateTime<Utc>> for Time {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_millis())
    }
}

impl Add<i64> for Time {
    type Output = Self;
    /// Adds milliseconds.
    fn add(self, millis: i64) -> Self {
        if self.is_known() { Self(self.0.saturating_add(millis)) } else { self }
    }
}

impl Sub<i64> for Time {
    type Output = Self;
    /// Subtracts milliseconds.
    fn sub(self, millis: i64) -> Self {
        self + -millis
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_chrono() {
            Some(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            to.serialize_i64(self.0)
        } else if self.is_known() {
            to.collect_str(self)
        } else {
            to.serialize_none()
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    /// An absent instant reads as [`Time::MIN`]: only lower bounds are ever unknown in what is stored.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return Ok(Self(i64::deserialize(from)?).clamp(Self::MIN, Self::MAX));
        }
        let Some(text) = Option::<std::borrow::Cow<'_, str>>::deserialize(from)? else {
            return Ok(Self::MIN);
        };
        Self::from_rfc3339(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

/// When something happened, as well as we know it: between two instants, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    pub not_before: Time,
    pub not_after: Time,
}

impl Interval {
    #[must_use]
    pub fn new(not_before: Time, not_after: Time) -> Self {
        Self { not_before: not_before.min(not_after), not_after }
    }

    /// Exactly then.
    #[must_use]
    pub fn at(time: Time) -> Self {
        Self { not_before: time, not_after: time }
    }

    /// Some time up to then.
    #[must_use]
    pub fn until(not_after: Time) -> Self {
        Self { not_before: Time::MIN, not_after }
    }

    /// What a clock of whole seconds said: that second, start to end (`metav1.Time` is cut, not rounded).
    #[must_use]
    pub fn second(start: Time) -> Self {
        Self { not_before: start, not_after: start + 999 }
    }

    /// Both bounds are known.
    #[must_use]
    pub fn is_bounded(self) -> bool {
        self.not_before.is_known() && self.not_after.is_known()
    }

    /// The common part, or `None` where the two cannot both be right.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let not_before = self.not_before.max(other.not_before);
        let not_after = self.not_after.min(other.not_after);
        (not_before <= not_after).then_some(Self { not_before, not_after })
    }

    /// The middle, in milliseconds since the epoch. Meaningful only where both bounds are known.
    #[must_use]
    pub fn midpoint_millis(self) -> f64 {
        self.not_before.0 as f64 / 2.0 + self.not_after.0 as f64 / 2.0
    }

    /// Half the width, in seconds: the error bar. Infinite where a bound is unknown.
    #[must_use]
    pub fn half_width_seconds(self) -> f64 {
        if self.is_bounded() { self.not_after.seconds_since(self.not_before) / 2.0 } else { f64::INFINITY }
    }
}

/// How a time is known, best first: the order is the rank of design, "Time and evidence".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    VendorApi,
    Webhook,
    Condition,
    StatusField,
    ManagedFields,
    Event,
    Watch,
    Hint,
    Relist,
    Poll,
    ImageCreated,
    LabelOnly,
    TextMatch,
    Backfill,
}

impl Basis {
    /// Every basis, best first.
    pub const ALL: [Self; 14] = [
        Self::VendorApi,
        Self::Webhook,
        Self::Condition,
        Self::StatusField,
        Self::ManagedFields,
        Self::Event,
        Self::Watch,
        Self::Hint,
        Self::Relist,
        Self::Poll,
        Self::ImageCreated,
        Self::LabelOnly,
        Self::TextMatch,
        Self::Backfill,
    ];

    /// The word used in labels, the page and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VendorApi => "vendor_api",
            Self::Webhook => "webhook",
            Self::Condition => "condition",
            Self::StatusField => "status_field",
            Self::ManagedFields => "managed_fields",
            Self::Event => "event",
            Self::Watch => "watch",
            Self::Hint => "hint",
            Self::Relist => "relist",
            Self::Poll => "poll",
            Self::ImageCreated => "image_created",
            Self::LabelOnly => "label_only",
            Self::TextMatch => "text_match",
            Self::Backfill => "backfill",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
