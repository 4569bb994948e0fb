//! `knotmeter bundle`: what a running instance observed of one journey, as a file to replay and one to read.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::args::BundleArgs;
use super::ask::Instance;
use super::replay::{Replay, journey_id};
use super::{Exit, out};
use crate::tracker::{Journey, JourneyView};

/// Asks, replays what comes, and writes both files.
pub async fn run(args: BundleArgs) -> anyhow::Result<Exit> {
    let id = journey_id(&args.journey)?;
    let instance = Instance::new(&args.server).await?;
    let path = format!("/api/v1/journeys/{id}/bundle");
    let redact = args.redact.to_string();
    let lines = instance.get_bytes(&path, &[("redact", &redact)]).await?;
    let shown = instance.get(&format!("/api/v1/journeys/{id}"), &[]).await?;
    // What is told is what the file gives, and not what the instance said.
    let mut replay = Replay::default();
    replay.lines(&lines[..])?;
    let journeys = replay.end();
    let same = |journey: &&Journey| {
        let view = JourneyView::from(*journey);
        shown["workload"] == view.workload
            && shown["namespace"] == view.namespace
            && shown["container"] == view.container
            && shown["digest"].as_str() == view.digest.as_deref()
    };
    let found = journeys.iter().find(|journey| journey.id == id || journey.aliases.contains(&id));
    let found = found.or_else(|| journeys.iter().rev().find(same));
    let found = found.context("what was observed does not give this journey any more: it is too old")?;
    std::fs::create_dir_all(&args.into).with_context(|| format!("cannot make {}", args.into.display()))?;
    let count = lines.iter().filter(|byte| **byte == b'\n').count();
    let name = format!("journey-{}", found.id);
    let observations = args.into.join(format!("{name}.jsonl"));
    let timeline = args.into.join(format!("{name}.md"));
    write(&observations, &lines)?;
    write(&timeline, markdown(found, &format!("{name}.jsonl"), count).as_bytes())?;
    out::line(format_args!("{}\n{}", observations.display(), timeline.display()))?;
    out::remark(format_args!("see it: knotmeter replay {} --journey {}", observations.display(), found.id));
    Ok(Exit::Done)
}

/// For the owner only: it tells a good deal of what runs where.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The journey for people.
fn markdown(journey: &Journey, file: &str, observations: usize) -> String {
    let view = JourneyView::from(journey);
    let outcome = view.outcome.unwrap_or("under way");
    let mut text = format!(
        "# {} to {}: {outcome}\n\n- journey `{}`, trigger {}, subject {}\n- {} in environment {}, app {}\n",
        view.image,
        view.workload,
        view.id,
        view.trigger,
        view.subject,
        view.destination,
        view.environment,
        view.app,
    );
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "- {name}: {value}");
        }
    };
    line("digest", view.digest.clone().map(|digest| format!("`{digest}`")));
    line("commit", view.commit.as_ref().map(|commit| format!("`{}`", commit.id)));
    let seconds = |value: Option<f64>, plus_minus: Option<f64>| {
        value.map(|value| format!("{value:.1} s ± {:.1} s", plus_minus.unwrap_or_default()))
    };
    line("image to live", seconds(view.image_to_live_seconds, view.image_to_live_uncertainty_seconds));
    line("change to live", seconds(view.change_to_live_seconds, view.change_to_live_uncertainty_seconds));
    line(
        "stuck",
        view.stuck
            .as_ref()
            .map(|stuck| format!("{} since {}: {}", stuck.reason, stuck.since, stuck.sentence)),
    );
    line("held", view.held.as_ref().map(|held| format!("{} since {}", held.hold, held.since)));
    text.push_str("\n| stage | from | to | basis |\n|---|---|---|---|\n");
    for stage in &view.stages {
        let time = |at: Option<crate::observation::Time>| at.map_or_else(|| "?".into(), |at| at.to_string());
        let basis = stage.basis.unwrap_or(stage.state);
        let (from, to) = match stage.state {
            "known" => (time(stage.not_before), time(stage.not_after)),
            _ => (String::new(), String::new()),
        };
        let _ = writeln!(text, "| {} | {from} | {to} | {basis} |", stage.stage.as_str());
    }
    let _ = write!(
        text,
        "\nIt comes of {observations} observations:\n\n    knotmeter replay {file} --journey {}\n",
        view.id
    );
    text
}
