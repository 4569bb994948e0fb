//! A journey in the language of the cases, for failures.

use std::collections::HashMap;

use knotmeter::image::Digest;
use knotmeter::tracker::{Journey, Sample, Stage, StageState};

use super::text::{show_interval, show_time};

/// Words for the digests of a case.
pub type Names = HashMap<Digest, String>;

/// One line, as a case would expect it.
pub fn journey(journey: &Journey, names: &Names) -> String {
    let destination = &journey.destination;
    let mut words = vec![
        "journey".to_owned(),
        destination.environment.to_string(),
        format!("{}/{}", destination.workload.name, destination.container),
        image(journey),
    ];
    let keys = ["digest", "trigger", "outcome", "subject"];
    let after = ["image_to_live", "change_to_live", "held", "stuck", "hold", "blind", "commit", "settled"];
    let stages = Stage::ALL.map(Stage::as_str);
    for key in keys.iter().chain(&stages).chain(&after) {
        let value = value(journey, key, names).expect("a known key");
        let quiet = match value.as_str() {
            "unknown" | "no" | "none" => true,
            "image" | "0" => matches!(*key, "subject" | "held"),
            _ => false,
        };
        if !quiet {
            words.push(format!("{key}={value}"));
        }
    }
    words.push(format!("(cluster={} opened={})", destination.cluster, show_interval(journey.opened)));
    words.join(" ")
}

/// The image as a case names it: a digest only where the reference has no tag.
pub fn image(journey: &Journey) -> String {
    let image = &journey.image;
    match &image.tag {
        Some(tag) => format!("{}:{tag}", image.repository),
        None => format!("{}@", image.repository),
    }
}

/// What a key of an expectation is, as text; `None` for an unknown key.
pub fn value(journey: &Journey, key: &str, names: &Names) -> Option<String> {
    if let Some(stage) = key.strip_prefix("basis.") {
        let evidence = journey.stages.evidence(stage_named(stage)?);
        return Some(evidence.map_or("unknown".into(), |evidence| evidence.basis.to_string()));
    }
    if let Some(stage) = stage_named(key) {
        return Some(match journey.stages.state(stage) {
            StageState::Unknown => "unknown".into(),
            StageState::Skipped => "skipped".into(),
            StageState::Known(evidence) => show_interval(evidence.interval),
        });
    }
    Some(match key {
        "digest" => journey
            .digest
            .as_ref()
            .map_or("none".into(), |digest| names.get(digest).cloned().unwrap_or_else(|| digest.short())),
        "trigger" => journey.trigger.as_str().into(),
        "outcome" => journey.outcome.map_or("open", |outcome| outcome.as_str()).into(),
        "subject" => journey.subject.as_str().into(),
        "settled" => if journey.settled { "yes" } else { "no" }.into(),
        "cluster" => journey.destination.cluster.to_string(),
        "uid" => journey.destination.cluster_uid.to_string(),
        "app" => journey.destination.app.to_string(),
        "commit" => journey.commit.as_ref().map_or("none".into(), |commit| commit.id.to_string()),
        "stuck" => journey.stuck.map_or("no", |stuck| stuck.reason.as_str()).into(),
        "stuck.stage" => journey.stuck.map_or("no", |stuck| stuck.stage.as_str()).into(),
        "stuck.since" => journey.stuck.map_or("no".into(), |stuck| show_time(stuck.since)),
        "stuck.kept" => journey.stuck.and_then(|stuck| stuck.kept).map_or("no".into(), show_time),
        "who" => journey.who.as_ref().map_or("no".into(), |who| who.object.to_string()),
        "says" => journey.who.as_ref().map_or("no".into(), |who| who.says.to_string()),
        "hold" => journey.held.map_or("no", |held| held.hold.as_str()).into(),
        "hold.until" => journey.held.and_then(|held| held.until).map_or("unknown".into(), show_time),
        "blind" => journey.blind.as_ref().map_or("no".into(), ToString::to_string),
        "held" => format!("{}", journey.held_seconds),
        "image_to_live" => sample(journey.image_to_live()),
        "change_to_live" => sample(journey.change_to_live()),
        _ => return None,
    })
}

pub fn stage_named(name: &str) -> Option<Stage> {
    Stage::ALL.into_iter().find(|stage| stage.as_str() == name)
}

fn sample(sample: Option<Sample>) -> String {
    match sample {
        None => "none".into(),
        Some(sample) if sample.uncertainty_seconds == 0.0 => format!("{}", sample.seconds),
        Some(sample) => format!("{}+-{}", sample.seconds, sample.uncertainty_seconds),
    }
}
