//! Where a journey stands, as one sentence: the same on the page, in the API and in the log.

use std::sync::Arc;

use super::words;
use crate::exporters::Snapshot;
use crate::observation::Time;
use crate::tracker::{Journey, Outcome, SourceStatus, Stage, Subject};

/// What a sentence reads besides its journey.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    pub at: Time,
    pub sources: &'a [SourceStatus],
    /// At least those to the same destination.
    pub journeys: &'a [Arc<Journey>],
}

impl<'a> From<&'a Snapshot> for Around<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self { at: snapshot.at, sources: &snapshot.sources, journeys: &snapshot.journeys }
    }
}

const NEVER: &str = "was never seen whole";
/// Parts of a source that a sentence names; the API has all of them.
const PARTS_SHOWN_MAX: usize = 3;

/// The sentence about one journey.
#[must_use]
pub fn sentence(around: &Around<'_>, journey: &Journey) -> String {
    told(around, journey) + &words::unseen(journey)
}

fn told(around: &Around<'_>, journey: &Journey) -> String {
    let (what, place) = (words::subject(journey), words::place(&journey.destination));
    if journey.outcome.is_some() {
        return ended(around, journey, &what, &place);
    }
    let now = around.at;
    let waits = words::duration(now.seconds_since(words::waits_since(journey)));
    let stage = words::waits_for(journey);
    if let Some(stuck) = journey.stuck {
        let stage = if stuck.kept.is_some() { stage } else { stuck.stage.as_str() };
        let why = words::stuck(journey, stuck, now);
        return format!("{what} is stuck in {place}: it has waited for {stage} for {waits}{why}");
    }
    if let Some(source) = &journey.blind {
        let known = around.sources.iter().find(|status| *status.source == **source);
        let unseen = known.map_or_else(|| NEVER.to_owned(), |status| unseen(status, now));
        return format!("nothing can be said of {what} in {place}: {source} {unseen}");
    }
    if let Some(held) = journey.held {
        let until = held.until.map_or_else(String::new, |at| format!(", until {}", words::clock(at, now)));
        let since = words::clock(held.since, now);
        let why = journey.hold_sentence(held.hold);
        let who = words::who(journey);
        return format!("{what} is held in {place} since {since}{until}: {why}{who}");
    }
    let next = words::next(journey, now).map_or_else(String::new, |next| format!("; {next}"));
    match words::reached(journey) {
        Some((reached, _)) => {
            let reached = reached.as_str();
            format!(
                "{what} is on its way to {place}: it reached {reached} {waits} ago and waits for {stage}{next}"
            )
        }
        None => format!("{what} is on its way to {place}: it waits for {stage} for {waits}{next}"),
    }
}

/// What a source does not show: a part of it, where the rest is fresh, or all.
fn unseen(source: &SourceStatus, now: Time) -> String {
    if source.fresh > 0 && !source.failing.is_empty() {
        let cluster = source.source.starts_with("cluster/");
        let parts = source.failing.iter().take(PARTS_SHOWN_MAX).map(|(scope, class, _)| {
            // A resource stands behind its cluster's UID.
            let scope = scope.rsplit_once('/').filter(|_| cluster).map_or(&**scope, |(_, resource)| resource);
            format!("{scope} ({class})")
        });
        return format!("does not show {}", parts.collect::<Vec<_>>().join(", "));
    }
    match source.last_look {
        Some(at) => format!("was last seen whole at {}", words::clock(at, now)),
        None => NEVER.to_owned(),
    }
}

fn ended(around: &Around<'_>, journey: &Journey, what: &str, place: &str) -> String {
    let now = around.at;
    let at = journey.ended.map_or(journey.opened, |ended| ended);
    let when = words::clock(words::middle(at), now);
    let reached = words::reached(journey)
        .map_or_else(String::new, |(stage, _)| format!(" (it had reached {})", stage.as_str()));
    let next = successor(around, journey);
    match journey.outcome {
        Some(Outcome::Live) => live(journey, what, place, &when, next.as_deref(), at.half_width_seconds()),
        Some(Outcome::Superseded) => {
            let by = next.unwrap_or_else(|| {
                let other = match journey.subject {
                    Subject::Image => "another image",
                    Subject::Revision if journey.replicas.is_some() => "another number of replicas",
                    Subject::Revision => "another change",
                };
                other.to_owned()
            });
            if let Some(live) = journey.stages.evidence(Stage::Live) {
                let live = words::clock(words::middle(live.interval), now);
                return format!(
                    "{what} was live in {place} at {live}, after {by} had superseded it at {when}"
                );
            }
            // Somebody else's number may give way to it again.
            let never = if journey.replicas.is_some() { "was not live yet" } else { "never became live" };
            format!("{what} {never} in {place}: {by} superseded it at {when}{reached}")
        }
        Some(Outcome::RolledBack) => {
            format!("{what} never became live in {place}: it was rolled back at {when}{reached}")
        }
        Some(Outcome::Withdrawn) => {
            format!("{what} never became live in {place}: it was withdrawn at {when}, before anything ran it")
        }
        Some(Outcome::Failed) => {
            let who = words::who(journey);
            format!(
                "{what} failed in {place} at {when}{reached}: the rollout was given up{who}; a retry starts anew"
            )
        }
        Some(Outcome::Removed) => {
            format!("{what} never became live in {place}: the destination was removed at {when}{reached}")
        }
        Some(Outcome::Unknown) | None => {
            format!("how {what} ended in {place} cannot be told: it was out of sight until {when}{reached}")
        }
    }
}

fn live(
    journey: &Journey,
    what: &str,
    place: &str,
    when: &str,
    next: Option<&str>,
    half_width: f64,
) -> String {
    let error = words::plus_minus(half_width);
    let took = match (journey.image_to_live(), journey.change_to_live()) {
        (Some(sample), _) => format!(", {} after the push", words::duration(sample.seconds)),
        (None, Some(sample)) => format!(", {} after the change", words::duration(sample.seconds)),
        (None, None) => String::new(),
    };
    match next {
        Some(next) => format!("{what} was live in {place} from {when} ({error}){took}; now {next} is"),
        None => format!("{what} is live in {place} since {when} ({error}){took}"),
    }
}

/// What came to the same destination afterwards: what is live now for one that was, any later one else.
fn successor(around: &Around<'_>, journey: &Journey) -> Option<String> {
    let was_live = journey.outcome == Some(Outcome::Live);
    let later = around.journeys.iter().filter(|other| {
        other.destination == journey.destination
            && other.subject == journey.subject
            && other.id != journey.id
            && other.opened.not_after >= journey.opened.not_after
            && (!was_live || other.outcome == Some(Outcome::Live))
    });
    let newest = |other: &&Arc<Journey>| other.ended.map(|ended| ended.not_after);
    let next = if was_live { later.max_by_key(newest) } else { later.min_by_key(|other| other.opened) };
    next.map(|journey| words::subject(journey))
}
