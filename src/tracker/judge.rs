//! Judging a journey at a moment: held, blind, stuck, and since when.

use serde::{Deserialize, Serialize};

use super::journey::{Held, Hold, Journey};
use super::source::{ScopeId, ScopeStatus, Sources};
use super::stage::{Stage, StageState};
use super::workload::{HoldSpan, WorkloadState};
use crate::observation::{Budgets, Interval, Schedule, Time};

/// What one open journey waits for, and which budget counts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Waits {
    pub stage: Stage,
    /// When the stage before was reached; the budget runs from here.
    pub since: Time,
    pub budget_seconds: f64,
}

/// The stage that a journey waits for and its budget. Budgets end at committed, applied and live. `applied` is on our
/// clock.
#[must_use]
pub fn waits(journey: &Journey, applied: Option<Time>, budgets: &Budgets) -> Waits {
    let known = |stage: Stage| journey.stages.evidence(stage).map(|at| at.interval.not_after);
    if let Some(since) = applied {
        let stage =
            journey.stages.waiting_for().filter(|stage| *stage > Stage::Applied).unwrap_or(Stage::Live);
        return Waits { stage, since, budget_seconds: budgets.live };
    }
    if let Some(since) = known(Stage::Committed) {
        let fetched = journey.stages.state(Stage::Fetched) != StageState::Unknown;
        let stage = if fetched { Stage::Applied } else { Stage::Fetched };
        return Waits { stage, since, budget_seconds: budgets.applied };
    }
    let skipped = |stage: Stage| journey.stages.state(stage) == StageState::Skipped;
    if skipped(Stage::Committed) && !skipped(Stage::Fetched) {
        // Nobody commits it: who makes the artifact has the time of both.
        let stage = if known(Stage::Fetched).is_some() { Stage::Applied } else { Stage::Fetched };
        let budget_seconds = budgets.committed + budgets.applied;
        return Waits { stage, since: journey.opened.not_after, budget_seconds };
    }
    Waits { stage: Stage::Committed, since: journey.opened.not_after, budget_seconds: budgets.committed }
}

/// Seconds of `[from, to]` that the spans cover, each counted once.
#[must_use]
pub fn covered(spans: &[(Time, Time)], from: Time, to: Time) -> f64 {
    let mut inside: Vec<(Time, Time)> = spans
        .iter()
        .map(|(start, end)| ((*start).max(from), (*end).min(to)))
        .filter(|(start, end)| start < end)
        .collect();
    inside.sort();
    let mut total = 0.0;
    let mut reached = from;
    for (start, end) in inside {
        let start = start.max(reached);
        if end > start {
            total += end.seconds_since(start);
            reached = end;
        }
    }
    total
}

/// Hold spans up to `now` as plain spans.
#[must_use]
pub fn hold_spans<'a>(holds: impl IntoIterator<Item = &'a HoldSpan>, now: Time) -> Vec<(Time, Time)> {
    holds.into_iter().map(|span| (span.since, span.until.unwrap_or(now))).collect()
}

/// The hold in force, with its end where a schedule tells it.
#[must_use]
pub fn held(workload: &WorkloadState, applied: Option<Time>, now: Time) -> Option<Held> {
    let span = workload.versions.last()?.holds.last().filter(|span| span.until.is_none())?;
    let until = match span.hold {
        Hold::Schedule => workload.now.schedule.as_ref().and_then(|schedule| next_run(schedule, now)),
        _ => None,
    };
    Some(Held {
        hold: span.hold,
        since: applied.map_or(span.since, |applied| applied.max(span.since)),
        until,
    })
}

/// The next run of a CronJob after a moment, in its own time zone where that is UTC or absent.
#[must_use]
pub fn next_run(schedule: &Schedule, now: Time) -> Option<Time> {
    let utc = schedule.time_zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "Etc/UTC"));
    let cron: croner::Cron = schedule.cron.parse().ok().filter(|_| utc)?;
    let next = cron.find_next_occurrence(&now.to_chrono()?, false).ok()?;
    Some(Time::from(next))
}

/// A needed scope that is not fresh: the name of its source. One that could never be looked at is none: what
/// waits for it cannot be judged.
#[must_use]
pub fn blind(sources: &Sources, needs: &[ScopeId], now: Time) -> Option<std::sync::Arc<str>> {
    not_fresh(sources, needs, now, |status| status.first_look.is_some() || status.failing.is_some())
}

/// A needed scope that was fresh and is no longer: what it will show is worth waiting for.
#[must_use]
pub fn stale(sources: &Sources, needs: &[ScopeId], now: Time) -> Option<std::sync::Arc<str>> {
    not_fresh(sources, needs, now, |status| status.first_look.is_some())
}

fn not_fresh(
    sources: &Sources,
    needs: &[ScopeId],
    now: Time,
    counts: fn(&ScopeStatus) -> bool,
) -> Option<std::sync::Arc<str>> {
    needs
        .iter()
        .filter_map(|key| sources.get(*key))
        .find(|status| counts(status) && !status.is_fresh(now))
        .map(|status| status.source.to_string().into())
}

/// Every needed scope was heard after an end: what it had to say about the time before, it said. One that is cut a
/// moment before may hold a rollout that nobody knows of yet.
#[must_use]
pub fn heard_since(sources: &Sources, needs: &[ScopeId], end: Interval) -> bool {
    let looks = needs.iter().filter_map(|key| sources.get(*key)?.last_started);
    looks.min().is_none_or(|look| look >= end.not_after)
}

/// Gaps of the needed scopes, each with its interval of grace.
#[must_use]
pub fn gaps(sources: &Sources, needs: &[ScopeId]) -> Vec<(Time, Time)> {
    needs.iter().filter_map(|key| sources.get(*key)).flat_map(|status| status.gaps.clone()).collect()
}

/// The moment at which the budget runs out, and whether it has.
#[must_use]
pub fn over(waits: &Waits, since: Time, paused_seconds: f64) -> Time {
    since + ((waits.budget_seconds + paused_seconds) * 1000.0) as i64
}

/// Which hand a journey is in: budgets and inheritance count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Commit,
    Apply,
    Roll,
}

/// The hand that brings a stage.
#[must_use]
pub fn phase(stage: Stage) -> Phase {
    match stage {
        Stage::Built | Stage::Pushed | Stage::Detected | Stage::Committed => Phase::Commit,
        Stage::Fetched | Stage::Applied => Phase::Apply,
        Stage::Started | Stage::Ready | Stage::Live => Phase::Roll,
    }
}
