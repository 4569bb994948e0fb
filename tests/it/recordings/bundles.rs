//! Bundles of journeys that somebody kept, replayed by the program and held against what truly happened.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use knotmeter::observation::Time;
use serde_json::Value;

use crate::e2e::process::{knotmeter, run};

/// Linux gives files the time of its last tick, and the demo knows of commits by a file.
const FILE_CLOCK_TICK_MILLIS: i64 = 10;

fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/bundles");
    let files = fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|end| end == "gz")).collect();
    files.sort();
    files
}

#[tokio::test]
async fn every_kept_bundle_gives_its_true_journeys() {
    let bundles = recorded();
    assert!(!bundles.is_empty());
    for bundle in bundles {
        let name = bundle.display().to_string();
        let truth = fs::read_to_string(name.replace(".jsonl.gz", ".truth.json")).expect("its truth");
        let truth: Value = serde_json::from_str(&truth).expect("JSON");
        let told = replayed(&bundle).await;
        let wrong = wrong(&truth, &told);
        assert!(wrong.is_empty(), "{name}\n{}", wrong.join("\n"));
    }
}

#[tokio::test]
async fn a_bundle_that_lost_a_line_or_tells_another_truth_is_noticed() {
    let bundle = recorded().remove(0);
    let truth = fs::read_to_string(bundle.display().to_string().replace(".jsonl.gz", ".truth.json"));
    let mut truth: Value = serde_json::from_str(&truth.expect("its truth")).expect("JSON");
    let told = replayed(&bundle).await;
    assert_eq!(wrong(&truth, &told), Vec::<String>::new());
    assert!(!wrong(&truth, &told[1..]).is_empty(), "one is missing");
    let live = &mut truth["journeys"][0]["stages"]["live"];
    *live = serde_json::to_value(time(live) + 3000).expect("JSON");
    assert_eq!(wrong(&truth, &told).len(), 2, "the stage and the duration");
}

/// The journeys of a bundle, as `knotmeter replay` prints them.
async fn replayed(bundle: &Path) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bundle.jsonl");
    let mut lines = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(bundle).expect("it is there"))
        .read_to_end(&mut lines)
        .expect("a gzip file");
    fs::write(&file, lines).expect("write");
    let arguments = ["replay", &file.display().to_string(), "-o", "json"];
    let said = run(knotmeter(&arguments, folder.path()), "knotmeter").await.done();
    serde_json::from_str(&said).expect("JSON")
}

/// What the journeys say that is not so, and what they do not say.
fn wrong(truth: &Value, told: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let journeys = truth["journeys"].as_array().expect("a list");
    if told.len() != journeys.len() {
        wrong.push(format!("{} journeys are told, and {} are true", told.len(), journeys.len()));
    }
    for right in journeys {
        let image = right["image"].as_str().expect("an image");
        let same = |told: &&Value| {
            told["environment"] == right["environment"]
                && told["image"].as_str().is_some_and(|told| told.ends_with(&format!("/{image}")))
        };
        let Some(told) = told.iter().find(same) else {
            wrong.push(format!("nobody tells of {right}"));
            continue;
        };
        for key in ["trigger", "outcome"] {
            if told[key] != right[key] {
                wrong.push(format!("{key} is {} and not {}: {told}", told[key], right[key]));
            }
        }
        let stages = right["stages"].as_object().expect("stages");
        for (stage, at) in stages {
            wrong.extend(misplaced(told, stage, time(at), 0));
        }
        match told["commit"]["id"].as_str().and_then(|id| truth["commits"].get(id)) {
            Some(at) => wrong.extend(misplaced(told, "committed", time(at), FILE_CLOCK_TICK_MILLIS)),
            None => wrong.push(format!("no true commit is named: {told}")),
        }
        let took = time(&stages["live"]).seconds_since(time(&stages["pushed"]));
        let number = |key: &str| told[key].as_f64().expect("a number");
        let off = (number("image_to_live_seconds") - took).abs();
        // The bounds are whole milliseconds.
        if off > number("image_to_live_uncertainty_seconds") + 0.001 {
            wrong.push(format!("image to live took {took} s: {told}"));
        }
    }
    wrong
}

/// A stage's interval that does not hold its true time.
fn misplaced(journey: &Value, stage: &str, at: Time, early: i64) -> Option<String> {
    let stages = journey["stages"].as_array().expect("a list");
    let told = stages.iter().find(|told| told["stage"] == stage && told["state"] == "known");
    let Some(told) = told else { return Some(format!("{stage} is not known: {journey}")) };
    let holds = time(&told["not_before"]) <= at + early && at <= time(&told["not_after"]);
    (!holds).then(|| format!("{stage} was at {at}, told {told}"))
}

fn time(value: &Value) -> Time {
    Time::from_rfc3339(value.as_str().expect("a time")).expect("an RFC 3339 time")
}
