//! The image reflector's first half: scans the registry for every ImageRepository.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use regex::Regex;
use serde_json::{Value, json};

use super::api::{Api, Refused, Type};
use super::queue::{Controller, Next};
use super::registry;
use super::subject::Subject;
use super::watch::{Change, Place};
use super::{Durations, IMAGE_REPOSITORY, clock, conditions};
use crate::demo::fault::{Fault, Faults};
use crate::demo::truth::{Happened, Truth};

/// The shortest time that a scan is given; without one of its own it has its interval.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// How many tags a scan's result shows.
const LATEST_TAGS_MAX: usize = 10;

/// The reflector's database: the tags of each repository, newest scan, highest text first.
pub(super) type Tags = Arc<Mutex<HashMap<String, Vec<String>>>>;

pub(super) struct Repositories {
    pub(super) api: Api,
    pub(super) tags: Tags,
    pub(super) durations: Durations,
    pub(super) faults: Faults,
    pub(super) truth: Truth,
}

impl Controller for Repositories {
    const WATCHES: &'static [Type] = &[IMAGE_REPOSITORY];

    fn api(&self) -> &Api {
        &self.api
    }

    fn is_stopped(&self) -> bool {
        self.faults.on(Fault::ScanLate)
    }

    fn concerns(&self, _: &Value, _: &Change) -> bool {
        false
    }

    async fn reconcile(&self, place: Place) -> Next {
        let began = Instant::now();
        let next = self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused));
        self.durations.note(&place, began.elapsed());
        next
    }
}

impl Repositories {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let manager = self.api.name.to_owned();
        let Some(mut subject) = Subject::read(&self.api, &IMAGE_REPOSITORY, place, manager).await? else {
            return Ok(Next::Woken);
        };
        let before = subject.object.clone();
        let interval = subject.duration("interval").unwrap_or(Duration::from_secs(60));
        let (why, next) = self.is_due(&subject, interval);
        subject.begin().await?;
        let told = match why {
            None => {
                let next = clock::print(next);
                format!("no change in repository configuration since last scan, next scan in {next}")
            }
            Some(why) => {
                let message = format!("scanning: {why}");
                conditions::progressing(&mut subject.object, why == EMPTY_DATABASE, &message);
                subject.patch().await?;
                if let Err(error) = self.scan(&mut subject).await {
                    let message = format!("scan failed: {error}");
                    conditions::failed(&mut subject.object, "ReadOperationFailed", &message);
                    subject.finish().await?;
                    self.api.warning(&subject.object, "ReadOperationFailed", &message, Value::Null).await;
                    return Ok(Next::Retry);
                }
                let revision = |object: &Value| object["status"]["lastScanResult"]["revision"].clone();
                let same = revision(&before) == revision(&subject.object);
                let what = if same { "tags did not change" } else { "successful scan" };
                format!("{what}, next scan in {}", clock::print(next))
            }
        };
        let result = &subject.object["status"]["lastScanResult"];
        let found = result["tagCount"].as_u64().unwrap_or(0);
        let checksum = result["revision"].as_str().unwrap_or_default();
        let message = format!("successful scan: found {found} tags with checksum {checksum}");
        subject.object["status"]["canonicalImageName"] = subject.object["spec"]["image"].clone();
        subject.object["status"]["observedExclusionList"] = subject.object["spec"]["exclusionList"].clone();
        conditions::succeeded(&mut subject.object, &message);
        subject.finish().await?;
        let news = !conditions::is_ready(&before) || conditions::message(&before, "Ready") != message;
        let told = if news { message } else { told };
        self.api.normal(&subject.object, "Succeeded", &told, Value::Null).await;
        Ok(Next::After(next))
    }

    /// Why a scan is due, if it is, and when the next one will be.
    fn is_due(&self, subject: &Subject<'_>, interval: Duration) -> (Option<&'static str>, Duration) {
        let (spec, status) = (&subject.object["spec"], &subject.object["status"]);
        let last = status["lastScanResult"]["scanTime"].as_str();
        let Some(last) = last.and_then(|text| DateTime::parse_from_rfc3339(text).ok()) else {
            return (Some("first scan"), interval);
        };
        if subject.is_requested() {
            return (Some("reconcile requested"), interval);
        }
        if status["canonicalImageName"] != spec["image"] {
            return (Some("new image name"), interval);
        }
        if status["observedExclusionList"] != spec["exclusionList"] {
            return (Some("updated exclusion list"), interval);
        }
        let image = spec["image"].as_str().unwrap_or_default();
        if self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(image).is_none_or(Vec::is_empty) {
            return (Some(EMPTY_DATABASE), interval);
        }
        let since = (Utc::now() - last.to_utc()).to_std().unwrap_or_default();
        match interval.checked_sub(since).filter(|left| *left >= Duration::from_secs(1)) {
            Some(left) => (None, left),
            None => (Some("triggered by interval"), interval),
        }
    }

    async fn scan(&self, subject: &mut Subject<'_>) -> Result<(), String> {
        let image = subject.text("/spec/image");
        let limit = subject.duration("timeout").or_else(|| subject.duration("interval"));
        let limit = limit.unwrap_or_default().max(TIMEOUT_MIN);
        let listed = tokio::time::timeout(limit, registry::tags(&self.api.client, &image)).await;
        let mut tags = listed.map_err(|_| format!("Get \"http://{image}\": context deadline exceeded"))??;
        let at = Utc::now();
        for pattern in subject.object["spec"]["exclusionList"].as_array().into_iter().flatten() {
            let pattern = pattern.as_str().unwrap_or_default();
            let pattern =
                Regex::new(pattern).map_err(|error| format!("failed to compile regex {pattern}: {error}"))?;
            tags.retain(|tag| !pattern.is_match(tag));
        }
        tags.sort_by(|a, b| b.cmp(a));
        let mut result = json!({"revision": checksum(&tags).to_string(), "tagCount": tags.len(),
            "scanTime": clock::now()});
        if !tags.is_empty() {
            result["latestTags"] = json!(tags[..tags.len().min(LATEST_TAGS_MAX)]);
        }
        subject.object["status"]["lastScanResult"] = result;
        self.truth.record(at, Happened::Scanned { image: image.clone(), tags: tags.len() });
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).insert(image, tags);
        Ok(())
    }
}

const EMPTY_DATABASE: &str = "no tags in database";

/// Adler-32 over the tags as a JSON list, which is how the reflector stores them.
fn checksum(tags: &[String]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in json!(tags).to_string().bytes() {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_adler_32_of_the_list() {
        assert_eq!(checksum(&[]), 0x0115_00b9);
        // A real reflector's, for the same tags.
        let tags = ["1.4.0", "1.3.0", "1.2.0", "1.1.0"].map(str::to_owned);
        assert_eq!(checksum(&tags), 1_725_629_963);
    }
}
