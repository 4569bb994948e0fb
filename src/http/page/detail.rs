//! One journey: its sentence, its bar, and the evidence for each stage.

use maud::{Markup, html};

use super::timeline;
use crate::exporters::Snapshot;
use crate::http::sentence::sentence;
use crate::http::{why, words};
use crate::observation::Time;
use crate::tracker::{Journey, Stage, StageState};

/// Everything below the head.
pub fn body(snapshot: &Snapshot, journey: &Journey) -> Markup {
    let state = why::state(journey);
    html! {
        header {
            h1 { a href="../" { "Knotmeter" } }
            p.tagline { "journey " code { (journey.id) } }
            p.now { (words::clock(snapshot.at, snapshot.at)) " UTC" }
        }
        main {
            section {
                article.(state) {
                    h3 { (words::subject(journey)) span.to { " → " b { (journey.destination.environment) } } span.chip.(state) { (state.replace('_', " ")) } }
                    p.why { (sentence(&snapshot.into(), journey)) "." }
                    (timeline::bar(journey, snapshot.at))
                    (timeline::legend(journey, snapshot.at))
                }
            }
            section { h2 { "Stages" } (stages(journey, snapshot.at)) }
            section { h2 { "What is known" } (facts(snapshot, journey)) }
        }
    }
}

fn stages(journey: &Journey, now: Time) -> Markup {
    html! {
        div.scroll { table.stages {
            thead { tr { th { "stage" } th { "not before" } th { "not after" } th { "how known" } th { "took" } } }
            tbody {
                @for stage in Stage::ALL {
                    tr {
                        th { i.dot.(stage.as_str()) {} (stage.as_str()) }
                        @match journey.stages.state(stage) {
                            StageState::Known(evidence) => {
                                td { (instant(evidence.interval.not_before, now)) }
                                td { (instant(evidence.interval.not_after, now)) }
                                td { (evidence.basis) }
                                td { @if let Some(sample) = journey.stage_duration(stage) { (words::sample(sample)) } }
                            }
                            StageState::Unknown => { td.none colspan="4" { "not seen" } }
                            StageState::Skipped => { td.none colspan="4" { "does not exist on this path" } }
                        }
                    }
                }
            }
        } }
    }
}

fn facts(snapshot: &Snapshot, journey: &Journey) -> Markup {
    let to = &journey.destination;
    html! {
        dl.facts {
            dt { "image" } dd { code { (journey.image) } }
            @if let Some(digest) = &journey.digest { dt { "digest" } dd { code { (digest) } } }
            dt { "destination" } dd { code { (to) } }
            dt { "app" } dd { (to.app) }
            dt { "engine" } dd { (to.engine) }
            dt { "cause" } dd { (journey.trigger.as_str().replace('_', " ")) }
            @if let Some(commit) = &journey.commit {
                dt { "commit" } dd { code { (words::short(&commit.id)) } " " (commit.subject) ", " (words::author(&commit.author)) }
                dt { "from" } dd { (commit.repository) " " code { (commit.branch) } }
            }
            @if let Some(unseen) = &journey.commit_unseen {
                dt { "commit" } dd { "none is known: " (words::says(unseen)) }
            }
            @if let Some(revision) = &journey.built_from { dt { "built from" } dd { code { (revision) } } }
            @if let Some(sample) = journey.image_to_live() { dt { "push to live" } dd { (words::sample(sample)) } }
            @if let Some(sample) = journey.change_to_live() { dt { "change to live" } dd { (words::sample(sample)) } }
            @if journey.held_seconds > 0.0 { dt { "held" } dd { (words::duration(journey.held_seconds)) } }
            @if !journey.aliases.is_empty() {
                dt { "earlier ids" } dd { @for alias in &journey.aliases { code { (alias) } " " } }
            }
            @for other in snapshot.elsewhere(journey) {
                dt { "also" } dd { a href=(other.id) { (other.destination.environment) } " " (why::state(other).replace('_', " ")) }
            }
        }
    }
}

/// With milliseconds; the finest that any source says.
fn instant(at: Time, now: Time) -> Markup {
    let text = match at.to_chrono() {
        None => "nobody knows".to_owned(),
        Some(time) if now.to_chrono().is_some_and(|now| now.date_naive() == time.date_naive()) => {
            time.format("%H:%M:%S%.3f").to_string()
        }
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    };
    html! { time title=(at) { (text) } }
}
