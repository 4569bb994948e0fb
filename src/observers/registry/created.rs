//! What an image claims about its own build. A claim is checked before anybody subtracts it from anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike};

use crate::observation::Time;

/// Annotations and labels; a `null` value is as good as none.
pub type Labels = BTreeMap<String, Option<String>>;

/// Clocks of build machines may be this far ahead of ours.
pub const SKEW_MILLIS: i64 = 5 * 60 * 1000;
/// Reproducible builds write the years 1, 1970 and 1980; containers began in 2013.
const YEAR_MIN: i32 = 2000;
/// Longest label value kept: a commit id or the address of a repository.
const VALUE_LENGTH_MAX: usize = 512;

const CREATED: [&str; 2] = ["org.opencontainers.image.created", "org.label-schema.build-date"];
const REVISION: [&str; 2] = ["org.opencontainers.image.revision", "org.label-schema.vcs-ref"];
const SOURCE: [&str; 2] = ["org.opencontainers.image.source", "org.label-schema.vcs-url"];

const SYNTHETIC: &str = "knotmeter.dev/synthetic";

/// All places of one image that say something about its build.
#[derive(Debug, Default, Clone)]
pub struct Claims {
    /// Annotations of the index, annotations of the manifest, labels of the config: in the order of trust.
    pub labels: Vec<Labels>,
    /// The config's own `created`.
    pub config_created: Option<String>,
}

impl Claims {
    /// When the image was built: the best claim that can be true. `first_seen` is when the image was first
    /// there for us, so nothing later can be its build.
    #[must_use]
    pub fn created(&self, first_seen: Time) -> Option<Time> {
        let labelled =
            self.labels.iter().flat_map(|labels| CREATED.iter().filter_map(|key| value(labels, key)));
        labelled.chain(self.config_created.as_deref()).find_map(|claim| plausible(claim, first_seen))
    }

    /// The commit it was built from.
    #[must_use]
    pub fn revision(&self) -> Option<Arc<str>> {
        self.first(REVISION)
    }

    /// The repository it was built from.
    #[must_use]
    pub fn source(&self) -> Option<Arc<str>> {
        self.first(SOURCE)
    }

    /// A smoketest made it.
    #[must_use]
    pub fn synthetic(&self) -> bool {
        self.labels.iter().any(|labels| value(labels, SYNTHETIC) == Some("true"))
    }

    fn first(&self, keys: [&str; 2]) -> Option<Arc<str>> {
        let found = self.labels.iter().flat_map(|labels| keys.iter().filter_map(|key| value(labels, key)));
        found
            .map(str::trim)
            .find(|text| {
                !text.is_empty() && text.len() <= VALUE_LENGTH_MAX && !text.chars().any(char::is_control)
            })
            .map(Arc::from)
    }
}

fn value<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.get(key)?.as_deref()
}

/// The claimed time, unless it cannot be true: a fixed time of a reproducible build, or after we saw it.
fn plausible(claim: &str, first_seen: Time) -> Option<Time> {
    let at = DateTime::parse_from_rfc3339(claim.trim()).ok()?.to_utc();
    let time = Time::from(at);
    (at.year() >= YEAR_MIN && time <= first_seen + SKEW_MILLIS).then_some(time)
}
