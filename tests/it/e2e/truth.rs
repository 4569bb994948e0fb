//! What Knotmeter measured, held against what the world itself wrote down: an interval that does not contain the
//! true time is a lie, however narrow.

use std::time::Duration;

use knotmeter::demo::{Entry, Fault, Happened, Options};
use knotmeter::observation::Basis;
use knotmeter::tracker::{Journey, Outcome, Stage, Trigger};

use super::world::{Watched, quick};
use super::{Timed, until};

/// Enough for every app in both environments, and for those that follow at once.
const SETTLED: usize = 14;

/// Linux gives files the time of its last tick.
const FILE_CLOCK_TICK_MILLIS: i64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn every_known_stage_contains_its_true_time() {
    let _timed = Timed::part("truth");
    let watched = Watched::start(options(1), |_| ()).await;
    // One past git, to an image that ran before: somebody's hand at night.
    let first = watched.image("team/web", "v1.0.0");
    watched
        .journey("web is live in prod", |journey| {
            &*journey.destination.app == "web" && journey.outcome == Some(Outcome::Live)
        })
        .await;
    watched.world.set_image("prod", "web", &first).await.unwrap();
    holds(&watched, SETTLED / 2, 4 * SETTLED).await;
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn intervals_contain_the_truth_also_where_watches_are_cut() {
    let _timed = Timed::part("truth, with trouble");
    // Versions that expire make looks rarer, up to some seconds: nothing is final before the next one.
    let settle = serde_json::json!({"min": "6s", "max": "10s"});
    let watched = Watched::start(options(2), |config| config["settle"] = settle).await;
    watched.world.inject(Fault::WatchExpired);
    // Most go live while nobody looks, and what nobody saw has no time.
    holds(&watched, 1, 2 * SETTLED).await;
    watched.stop().await;
}

fn options(seed: u64) -> Options {
    Options { autopush: true, push_every: Duration::from_millis(1500), seed, ..quick() }
}

/// Waits for journeys and holds each against the truth.
async fn holds(watched: &Watched, live_min: usize, checked_min: usize) {
    let settled = until("enough journeys have settled", async || {
        let settled: Vec<Journey> =
            watched.journeys().into_iter().filter(|journey| journey.settled).collect();
        (settled.len() >= SETTLED).then_some(settled)
    })
    .await;
    let (checked, lies) = lies(&watched.world.truth(), &settled);
    assert!(lies.is_empty(), "{} of {checked} are wrong:\n{}", lies.len(), lies.join("\n"));
    let live = |trigger| {
        move |journey: &&Journey| journey.outcome == Some(Outcome::Live) && journey.trigger == trigger
    };
    assert!(settled.iter().filter(live(Trigger::Push)).count() >= live_min, "{settled:?}");
    assert!(checked >= checked_min, "only {checked} stages had a true time");
}

/// Holds every time of these journeys against the truth: how many had a true time, and what is wrong.
pub fn lies(truth: &[Entry], settled: &[Journey]) -> (usize, Vec<String>) {
    let mut lies = Vec::new();
    let mut checked = 0;
    for journey in settled {
        for stage in Stage::ALL {
            let Some(times) = true_times(truth, journey, stage) else { continue };
            let Some(evidence) = journey.stages.evidence(stage) else { continue };
            if evidence.basis == Basis::Backfill {
                continue;
            }
            let (from, to) = (evidence.interval.not_before.0, evidence.interval.not_after.0);
            // The world knows of commits by the file system, whose clock goes in ticks.
            let late = if stage == Stage::Committed { FILE_CLOCK_TICK_MILLIS } else { 0 };
            checked += 1;
            if !times.iter().any(|at| from <= *at + late && *at <= to) {
                let off: Vec<i64> =
                    times.iter().map(|at| if *at < from { at - from } else { at - to }).collect();
                lies.push(format!(
                    "{} of {} to {}: {from}..={to} ({}), but it was at {times:?}, that is {off:?} ms off",
                    stage.as_str(),
                    journey.image,
                    journey.destination,
                    evidence.basis.as_str(),
                ));
            }
        }
        lies.extend(wrong_duration(truth, journey));
        lies.extend(live_all_the_same(truth, journey));
    }
    (checked, lies)
}

/// When it truly happened, in milliseconds: more than once for an image that came back. Nothing for a stage of
/// which the world keeps no record.
fn true_times(truth: &[Entry], journey: &Journey, stage: Stage) -> Option<Vec<i64>> {
    let to = &journey.destination.workload;
    let text = journey.image.to_string();
    let fits = |what: &Happened| match (stage, what) {
        (Stage::Pushed, Happened::Pushed { repository, tag, digest }) => {
            *repository == journey.image.repository
                && Some(tag) == journey.image.tag.as_ref()
                && journey.digest.as_ref().is_none_or(|known| known == digest)
        }
        (Stage::Committed, Happened::Committed { commit }) => {
            journey.commit.as_ref().is_some_and(|known| *known.id == **commit)
        }
        (Stage::Applied, Happened::Applied { namespace, name, image }) => {
            **namespace == *to.namespace && **name == *to.name && *image == text
        }
        (Stage::Ready, Happened::PodReady { namespace, pod, image, .. }) => {
            **namespace == *to.namespace && pod.starts_with(&format!("{}-", to.name)) && *image == text
        }
        (Stage::Live, Happened::Live { namespace, name, image, .. }) => {
            **namespace == *to.namespace && **name == *to.name && *image == text
        }
        _ => false,
    };
    let recorded =
        matches!(stage, Stage::Pushed | Stage::Committed | Stage::Applied | Stage::Ready | Stage::Live);
    let times = truth.iter().filter(|entry| fits(&entry.what)).map(|entry| entry.at.timestamp_millis());
    recorded.then(|| times.collect())
}

/// The duration that is given, against the true one; it must lie within what it claims to know.
fn wrong_duration(truth: &[Entry], journey: &Journey) -> Option<String> {
    let sample = journey.image_to_live().filter(|_| journey.outcome == Some(Outcome::Live))?;
    let pushed = true_times(truth, journey, Stage::Pushed)?.first().copied()?;
    let live = true_times(truth, journey, Stage::Live)?.first().copied()?;
    #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
    let true_seconds = (live - pushed) as f64 / 1000.0;
    let off = (sample.seconds - true_seconds).abs();
    // The bounds are whole milliseconds.
    (off > sample.uncertainty_seconds + 0.001).then(|| {
        format!(
            "image to live of {} to {}: {:.3} ± {:.3} s, but it took {true_seconds:.3} s",
            journey.image, journey.destination, sample.seconds, sample.uncertainty_seconds
        )
    })
}

/// An ending that says it never was live, although it was before that ending.
fn live_all_the_same(truth: &[Entry], journey: &Journey) -> Option<String> {
    let outcome = journey.outcome.filter(|outcome| {
        [Outcome::Superseded, Outcome::RolledBack, Outcome::Withdrawn, Outcome::Failed].contains(outcome)
    })?;
    let ended = journey.ended?;
    let opened = journey.opened.not_before.0;
    let times = true_times(truth, journey, Stage::Live)?;
    let live = times.iter().find(|at| opened <= **at && **at < ended.not_before.0)?;
    let (image, to, outcome) = (&journey.image, &journey.destination, outcome.as_str());
    let at = ended.not_before.0;
    let known = Stage::ALL.into_iter().filter_map(|stage| Some((stage, journey.stages.evidence(stage)?)));
    let seen: Vec<String> = known
        .map(|(stage, at)| {
            let (from, to) = (at.interval.not_before.0 - live, at.interval.not_after.0 - live);
            format!("{} {from}..{to} ({})", stage.as_str(), at.basis.as_str())
        })
        .collect();
    let (seen, late) = (seen.join(", "), at - live);
    Some(format!(
        "{image} to {to}: {outcome}, but it was live {late} ms before; seen, counted from then: {seen}"
    ))
}
