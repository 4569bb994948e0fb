//! A verdict for a person: one sentence, then each journey as a table of stages.

use std::fmt::Write as _;

use super::verdict::{Conclusion, JourneySeen, StageSeen, Verdict};
use crate::observation::Interval;

/// Before the push, or the push itself, which is the zero of the table.
const NOT_AFTER_PUSH: [&str; 2] = ["built", "pushed"];

/// The whole report. Times run from our own push, whose moment we know best.
#[must_use]
pub fn table(verdict: &Verdict) -> String {
    let mut text = sentence(verdict);
    let Some(pushed) = verdict.pushed else { return text };
    for journey in &verdict.journeys {
        write!(text, "\n{}  {}  journey {}\n", journey.environment, journey.destination, journey.id)
            .expect("a string grows");
        row(&mut text, ["STAGE", "SINCE PUSH", "±", "BASIS"]);
        row(&mut text, ["pushed", "0.0s", &seconds(pushed.half_width_seconds()), "smoketest"]);
        for stage in journey.stages.iter().filter(|stage| !NOT_AFTER_PUSH.contains(&stage.stage.as_str())) {
            stage_row(&mut text, stage, pushed);
        }
    }
    text
}

fn sentence(verdict: &Verdict) -> String {
    let image = verdict.image.as_ref().map_or_else(String::new, |image| format!("{image} "));
    match &verdict.conclusion {
        Conclusion::Live => {
            let slowest = verdict.journeys.iter().filter_map(|journey| to_live(journey, verdict.pushed?));
            let slowest = slowest.max_by(|a, b| a.0.total_cmp(&b.0));
            let took = slowest.map_or_else(String::new, |(took, around)| {
                format!(", {} ± {} after its push", seconds(took), seconds(around))
            });
            format!("{image}is live{took}\n")
        }
        Conclusion::Ended { environment, destination, outcome } => {
            format!("{image}is not live: {outcome} in {environment} at {destination}\n")
        }
        Conclusion::TimedOut { waiting } => {
            format!("{image}is not live in time\n  {}\n", waiting.join("\n  "))
        }
        Conclusion::CannotAsk { why } => format!("{image}has no verdict: {why}\n"),
    }
}

fn to_live(journey: &JourneySeen, pushed: Interval) -> Option<(f64, f64)> {
    let stage = journey.stages.iter().find(|stage| stage.stage == "live")?;
    since(stage, pushed)
}

/// Seconds from the push to a stage, and plus or minus how many.
fn since(stage: &StageSeen, pushed: Interval) -> Option<(f64, f64)> {
    let reached = Interval::new(stage.not_before?, stage.not_after?);
    let took = (reached.midpoint_millis() - pushed.midpoint_millis()) / 1000.0;
    Some((took, reached.half_width_seconds() + pushed.half_width_seconds()))
}

fn stage_row(text: &mut String, stage: &StageSeen, pushed: Interval) {
    let basis = stage.basis.as_deref().unwrap_or("");
    match since(stage, pushed) {
        Some((took, around)) => row(text, [&stage.stage, &seconds(took), &seconds(around), basis]),
        None => row(text, [&stage.stage, &stage.state, "", basis]),
    }
}

fn row(text: &mut String, [stage, took, around, basis]: [&str; 4]) {
    let line = format!("  {stage:<10} {took:>10} {around:>8}  {basis}");
    writeln!(text, "{}", line.trim_end()).expect("a string grows");
}

fn seconds(value: f64) -> String {
    format!("{value:.1}s")
}
