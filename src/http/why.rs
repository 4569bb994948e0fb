//! The answer to "where is it, and why not live?": a pure function of a snapshot.

use std::collections::HashSet;

use serde::Serialize;

use super::matching::Question;
use super::words;
use crate::exporters::Snapshot;
use crate::tracker::{Destination, DestinationStatus, Hold, Journey, Outcome};

/// Sentences in one answer. A question that matches more is too wide to be read.
const ANSWERS_MAX: usize = 50;

/// One sentence about one destination, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub question: String,
    pub sentence: String,
    /// `stuck`, `held`, `blind`, `under_way`, an outcome, `idle` (nothing on its way), `wanted` (never live)
    /// or `never_seen`.
    pub state: &'static str,
    pub journey: Option<String>,
    pub destination: Option<String>,
    pub app: Option<String>,
    pub environment: Option<String>,
    pub stage: Option<&'static str>,
    /// The closed word for why it is stuck, or held.
    pub reason: Option<&'static str>,
    /// The object that holds it or keeps it stuck, as kubectl takes it.
    pub holder: Option<String>,
    /// What looks closer.
    pub command: Option<String>,
}

/// Every destination that the question is about, what needs a person first.
#[must_use]
pub fn why(snapshot: &Snapshot, question: &Question) -> Vec<Answer> {
    let mut journeys = newest_per_destination(snapshot, question);
    journeys.sort_by_key(|journey| urgency(state(journey)));
    journeys.truncate(ANSWERS_MAX);
    let mut answers: Vec<Answer> =
        journeys.into_iter().map(|journey| of_journey(snapshot, question, journey)).collect();
    let told: HashSet<String> = answers
        .iter()
        .filter(|answer| answer.state == Outcome::Live.as_str())
        .filter_map(|answer| answer.destination.clone())
        .collect();
    let silent = |status: &&DestinationStatus| !told.contains(&status.destination.to_string());
    let idle = snapshot.destinations.iter().filter(|status| question.asks_for_destination(status));
    answers.extend(
        idle.filter(silent).take(ANSWERS_MAX).filter_map(|status| of_destination(snapshot, question, status)),
    );
    if answers.is_empty() {
        answers.push(never_seen(question));
    }
    answers.sort_by_key(|answer| urgency(answer.state));
    answers.truncate(ANSWERS_MAX);
    answers
}

/// The sentence about one journey.
#[must_use]
pub fn sentence(snapshot: &Snapshot, journey: &Journey) -> String {
    let (what, place) = (words::subject(journey), words::place(&journey.destination));
    if journey.outcome.is_some() {
        return ended(snapshot, journey, &what, &place);
    }
    let now = snapshot.at;
    let waits = words::duration(now.seconds_since(words::waits_since(journey)));
    let stage = words::waits_for(journey);
    if let Some(stuck) = journey.stuck {
        let (stage, why) = (stuck.stage.as_str(), stuck.reason.sentence());
        let who = words::who(journey);
        return format!("{what} is stuck in {place}: it has waited for {stage} for {waits}: {why}{who}");
    }
    if let Some(source) = &journey.blind {
        let looked = snapshot.sources.iter().find(|status| *status.source == **source);
        let last = looked.and_then(|status| status.last_look).map_or_else(
            || "was never seen whole".to_owned(),
            |at| format!("was last seen whole at {}", words::clock(at, now)),
        );
        return format!("nothing can be said of {what} in {place}: {source} {last}");
    }
    if let Some(held) = journey.held {
        let until = held.until.map_or_else(String::new, |at| format!(", until {}", words::clock(at, now)));
        let since = words::clock(held.since, now);
        let why = words::hold(held.hold);
        let who = words::who(journey);
        return format!("{what} is held in {place} since {since}{until}: {why}{who}");
    }
    match words::reached(journey) {
        Some((reached, _)) => {
            let reached = reached.as_str();
            format!("{what} is on its way to {place}: it reached {reached} {waits} ago and waits for {stage}")
        }
        None => format!("{what} is on its way to {place}: it waits for {stage} for {waits}"),
    }
}

fn ended(snapshot: &Snapshot, journey: &Journey, what: &str, place: &str) -> String {
    let now = snapshot.at;
    let at = journey.ended.map_or(journey.opened, |ended| ended);
    let when = words::clock(words::middle(at), now);
    let reached = words::reached(journey)
        .map_or_else(String::new, |(stage, _)| format!(" (it had reached {})", stage.as_str()));
    let next = successor(snapshot, journey);
    match journey.outcome {
        Some(Outcome::Live) => live(journey, what, place, &when, next.as_deref(), at.half_width_seconds()),
        Some(Outcome::Superseded) => {
            let by = next.unwrap_or_else(|| "another image".to_owned());
            format!("{what} never became live in {place}: {by} superseded it at {when}{reached}")
        }
        Some(Outcome::RolledBack) => {
            format!("{what} never became live in {place}: it was rolled back at {when}{reached}")
        }
        Some(Outcome::Withdrawn) => {
            format!("{what} never became live in {place}: it was withdrawn at {when}, before anything ran it")
        }
        Some(Outcome::Failed) => {
            format!(
                "{what} failed in {place} at {when}{reached}: the rollout was given up; a retry starts anew"
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
fn successor(snapshot: &Snapshot, journey: &Journey) -> Option<String> {
    let was_live = journey.outcome == Some(Outcome::Live);
    let later = snapshot.journeys().filter(|other| {
        other.destination == journey.destination
            && other.id != journey.id
            && other.opened.not_after >= journey.opened.not_after
            && (!was_live || other.outcome == Some(Outcome::Live))
    });
    let newest = |other: &&Journey| other.ended.map(|ended| ended.not_after);
    let next = if was_live { later.max_by_key(newest) } else { later.min_by_key(|other| other.opened) };
    next.map(words::subject)
}

/// The newest journey that matches, for each destination.
fn newest_per_destination<'a>(snapshot: &'a Snapshot, question: &Question) -> Vec<&'a Journey> {
    let mut seen: HashSet<&Destination> = HashSet::new();
    let newest_first = snapshot.journeys().rev();
    newest_first.filter(|journey| question.matches(journey) && seen.insert(&journey.destination)).collect()
}

/// What else is to be said of a destination: it waits, or its pods run with an older ConfigMap.
fn remarks(snapshot: &Snapshot, status: &DestinationStatus) -> String {
    let mut remarks = String::new();
    if let Some(since) = status.overridden_since {
        let (since, why) = (words::clock(since, snapshot.at), words::hold(Hold::PolicyOverridden));
        remarks.push_str(&format!("; since {since} it is held: {why}"));
    }
    if let Some(written) = status.config_not_rolled {
        let (written, why) = (words::clock(written, snapshot.at), words::CONFIG_NOT_ROLLED);
        remarks.push_str(&format!("; a ConfigMap was written at {written} and is not rolled: {why}"));
    }
    remarks
}

fn of_journey(snapshot: &Snapshot, question: &Question, journey: &Journey) -> Answer {
    let mut sentence = sentence(snapshot, journey);
    let mut reason = None;
    if journey.outcome == Some(Outcome::Live)
        && let Some(status) = snapshot.destinations.iter().find(|it| it.destination == journey.destination)
    {
        sentence.push_str(&remarks(snapshot, status));
        reason = status.overridden_since.map(|_| Hold::PolicyOverridden.as_str());
    }
    Answer {
        question: question.text.clone(),
        sentence,
        state: state(journey),
        journey: Some(journey.id.to_string()),
        destination: Some(journey.destination.to_string()),
        app: Some(journey.destination.app.to_string()),
        environment: Some(journey.destination.environment.to_string()),
        stage: journey.stages.reached().map(|stage| stage.as_str()),
        holder: journey.who.as_ref().map(|who| who.object.to_string()),
        command: words::command(journey),
        reason: journey
            .stuck
            .map(|stuck| stuck.reason.as_str())
            .or(journey.held.filter(|_| journey.is_open()).map(|held| held.hold.as_str()))
            .or(reason),
    }
}

/// One word for where a journey stands.
#[must_use]
pub fn state(journey: &Journey) -> &'static str {
    match journey.outcome {
        Some(outcome) => outcome.as_str(),
        None if journey.stuck.is_some() => "stuck",
        None if journey.blind.is_some() => "blind",
        None if journey.held.is_some() => "held",
        None => "under_way",
    }
}

fn of_destination(snapshot: &Snapshot, question: &Question, status: &DestinationStatus) -> Option<Answer> {
    let place = words::place(&status.destination);
    let mut sentence = match &status.live {
        Some((image, _, since)) if since.is_known() => {
            format!("{} is live in {place} since {}", words::image(image), words::clock(*since, snapshot.at))
        }
        Some((image, _, _)) => {
            format!("{} is live in {place} since before anybody looked", words::image(image))
        }
        None => {
            format!("{} is wanted in {place}, and was never seen live", words::image(status.image.as_ref()?))
        }
    };
    if status.behind_seconds > 0.0 {
        let behind = words::duration(status.behind_seconds);
        sentence.push_str(&format!("; it is {behind} behind what it should run"));
    }
    sentence.push_str(&remarks(snapshot, status));
    let state = match &status.live {
        Some((image, digest, _)) if question.names_image(image, digest.as_ref()) => "live",
        Some(_) => "idle",
        None => "wanted",
    };
    Some(Answer {
        question: question.text.clone(),
        sentence,
        state,
        journey: None,
        destination: Some(status.destination.to_string()),
        app: Some(status.destination.app.to_string()),
        environment: Some(status.destination.environment.to_string()),
        stage: None,
        holder: None,
        command: None,
        reason: status.overridden_since.map(|_| Hold::PolicyOverridden.as_str()),
    })
}

fn never_seen(question: &Question) -> Answer {
    let text = &question.text;
    Answer {
        question: text.clone(),
        sentence: format!(
            "{text} was never seen: no followed registry, commit or workload names it lately; /api/v1/sources says what is followed"
        ),
        state: "never_seen",
        journey: None,
        destination: None,
        app: None,
        environment: None,
        stage: None,
        reason: None,
        holder: None,
        command: None,
    }
}

fn urgency(state: &str) -> u8 {
    match state {
        "stuck" => 0,
        "blind" => 1,
        "held" => 2,
        "under_way" => 3,
        "idle" => 5,
        _ => 4,
    }
}
