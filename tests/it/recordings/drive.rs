//! The driver's side of a recording: what it did, what it saw, what it pushed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use knotmeter::image::{Digest, Repository};
use knotmeter::observation::Time;
use serde_json::Value;

/// Every recording.
pub const SCENARIOS: [&str; 18] = [
    "01-rollout-ok",
    "02-missing-tag",
    "03-moving-tag",
    "03b-moving-tag-cached",
    "04-crashloop",
    "05-failing-readiness",
    "06-statefulset-daemonset",
    "07-multiarch-shared-config",
    "08-rollback",
    "09-scale-delete-cordon",
    "10a-quota-exceeded",
    "10b-unschedulable",
    "10c-pull-denied",
    "11-multi-container",
    "12-job-cronjob",
    "13-paused-annotation",
    "14-server-side-apply",
    "15-watch-behaviours",
];

/// The driver's record of one scenario.
pub struct Drive {
    pub actions: Vec<Action>,
    pub images: Value,
}

/// One line of `actions.jsonl`.
pub struct Action {
    pub at: Time,
    pub action: String,
    pub detail: Value,
}

/// A moment in a recording by its time of day: they begin in the evening of one day and end in the next night.
pub fn clock(text: &str) -> Time {
    let day = if text < "12" { "2026-11-21" } else { "2026-11-20" };
    Time::from_rfc3339(&format!("{day}T{text}Z")).expect("a time of day")
}

/// A time in the recording's files.
pub fn time(value: &Value) -> Time {
    Time::from_rfc3339(value.as_str().expect("a time")).expect("an RFC 3339 time")
}

/// A file of a scenario as text.
pub fn text(scenario: &str, file: &str) -> String {
    let path = folder().join(scenario).join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_some_and(|end| end == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("a gzip file of text");
        text
    } else {
        String::from_utf8(bytes).expect("text")
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

impl Drive {
    pub fn read(scenario: &str) -> Self {
        let actions = text(scenario, "actions.jsonl");
        let actions = actions.lines().map(|line| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            Action {
                at: time(&value["at"]),
                action: value["action"].as_str().expect("a name").to_owned(),
                detail: value["detail"].clone(),
            }
        });
        let images = serde_json::from_str(&text(scenario, "images.json")).expect("JSON");
        Self { actions: actions.collect(), images }
    }

    /// What a workload's driver noted after a moment, oldest first.
    pub fn after<'a>(
        &'a self,
        from: Time,
        action: &'a str,
        workload: &'a str,
    ) -> impl Iterator<Item = &'a Action> {
        self.actions
            .iter()
            .filter(move |a| a.at >= from && a.action == action && a.detail["workload"] == *workload)
    }

    /// When an image that answers so was pushed to a repository, and its digest.
    pub fn push(&self, repository: &Repository, answer: &str) -> (Time, Time, Digest) {
        let list = self.images["images"].as_array().expect("a list");
        let said = |image: &&Value| {
            let answers = &image["answers"];
            format!("{} {}", answers["app"].as_str().unwrap_or(""), answers["version"].as_str().unwrap_or(""))
        };
        let image = list
            .iter()
            .find(|image| image["repository"] == *repository.as_str() && said(image) == answer)
            .unwrap_or_else(|| panic!("{repository}: nothing pushed answers {answer:?}"));
        let digest = image["digest"].as_str().expect("text").parse().expect("a digest");
        let (before, after) = self.pushed(image);
        (before, after, digest)
    }

    /// Just before a push and just after it.
    pub fn pushed(&self, image: &Value) -> (Time, Time) {
        let before = time(&image["pushed_at"]);
        let after = self
            .actions
            .iter()
            .find(|a| a.action == "push" && a.at >= before && a.detail["digest"] == image["digest"]);
        (before, after.map_or(before, |action| action.at))
    }
}
