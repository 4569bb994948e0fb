//! The registry as a poller sees it: what was there at the first look, then each push at the look after it.

use std::collections::BTreeMap;

use knotmeter::image::{Repository, Tag};
use knotmeter::observation::{Basis, Fact, Interval, LookFailure, Observation, Scope, SourceKind, Time};
use serde_json::Value;

use super::super::drive::time;
use super::super::replay::{Speaker, described, digest, repository};
use super::play::{LOOK_SECONDS, Looks};

/// Every look at every repository of `images.json`.
pub fn looks(images: &Value, pushed: impl Fn(&Value) -> Time, looks: &Looks) -> Vec<Observation> {
    let mut by: BTreeMap<Repository, Vec<&Value>> = BTreeMap::new();
    for image in images["images"].as_array().expect("a list") {
        by.entry(repository(image)).or_default().push(image);
    }
    let mut said: Vec<(Time, Interval, Basis, Fact)> = Vec::new();
    for (repository, images) in by {
        let scope = Scope::Repository(repository.clone());
        let first = looks.times()[0];
        let (old, new): (Vec<&Value>, Vec<&Value>) =
            images.into_iter().partition(|image| time(&image["pushed_at"]) <= first);
        let mut there: BTreeMap<Tag, &Value> = BTreeMap::new();
        there.extend(old.into_iter().map(|image| (tag(image), image)));
        let listed = Fact::TagsListed { repository, tags: there.keys().cloned().collect() };
        said.push((first, Interval::until(first), Basis::Backfill, listed));
        for image in there.values() {
            said.push((first, Interval::until(first), Basis::Backfill, points(image)));
            said.push((first, Interval::until(first), Basis::Backfill, described(image)));
        }
        let mut last = first;
        for at in looks.times() {
            if looks.is_down(*at) {
                let message = "connection refused".into();
                let failed =
                    Fact::LookFailed { scope: scope.clone(), failure: LookFailure::Network, message };
                said.push((*at, Interval::at(*at), Basis::Poll, failed));
                continue;
            }
            let happened = Interval::new(last, *at);
            for image in new.iter().filter(|image| (last..*at).contains(&pushed(image))) {
                said.push((*at, happened, Basis::Poll, points(image)));
                said.push((*at, happened, Basis::Poll, described(image)));
            }
            let interval_seconds = LOOK_SECONDS;
            let fact =
                Fact::LookCompleted { scope: scope.clone(), started: *at, finished: *at, interval_seconds };
            said.push((*at, Interval::at(*at), Basis::Poll, fact));
            last = *at;
        }
    }
    // One poller asks them all.
    said.sort_by_key(|(at, ..)| *at);
    let mut speaker = Speaker::new(SourceKind::Registry, "127.0.0.1:15000");
    said.into_iter().map(|(at, happened, basis, fact)| speaker.say(at, happened, basis, fact)).collect()
}

fn tag(image: &Value) -> Tag {
    image["tag"].as_str().expect("text").parse().expect("a tag")
}

fn points(image: &Value) -> Fact {
    Fact::TagPointsTo { repository: repository(image), tag: tag(image), digest: digest(&image["digest"]) }
}
