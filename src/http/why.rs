//! The answer to "where is it, and why not live?": a pure function of a snapshot and of what the tracker knows besides.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::matching::Question;
use super::sentence::sentence;
use super::{nowhere, words};
use crate::exporters::Snapshot;
use crate::observation::Time;
use crate::tracker::{Destination, DestinationStatus, Findings, Hold, Journey, Outcome, Subject};

/// Sentences in one answer. A question that matches more is too wide to be read.
const ANSWERS_MAX: usize = 50;

/// One sentence about one destination, an image or a commit, and what it rests on.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Answer {
    pub question: String,
    pub sentence: String,
    /// `stuck`, `held`, `blind`, `under_way`, an outcome, `idle` (nothing on its way), `wanted` (never live); without
    /// a destination `selected`, `not_selected`, `unwanted`, `no_change`, `followed` or `never_seen`.
    pub state: &'static str,
    pub journey: Option<String>,
    pub image: Option<String>,
    pub commit: Option<String>,
    pub destination: Option<String>,
    pub app: Option<String>,
    pub environment: Option<String>,
    /// The last stage reached, when, and how that is known. An earliest time that is absent: it was so at start-up.
    pub stage: Option<&'static str>,
    pub not_before: Option<Time>,
    pub not_after: Option<Time>,
    pub basis: Option<&'static str>,
    /// What it waits for, and since when; where it does not wait, since when it is as it is.
    pub waits_for: Option<&'static str>,
    pub since: Option<Time>,
    /// What comes next, by which object, and by when that is due.
    pub next: Option<&'static str>,
    pub next_by: Option<String>,
    pub due: Option<Time>,
    /// When its budget runs out.
    pub late_after: Option<Time>,
    /// When it ends by itself that somebody holds it.
    pub until: Option<Time>,
    /// The closed word for why it is stuck, or held.
    pub reason: Option<&'static str>,
    /// The object that holds it or keeps it stuck, as kubectl takes it, and its own words.
    pub holder: Option<String>,
    pub says: Option<String>,
    /// What looks closer.
    pub command: Option<String>,
    /// To whom the destination belongs, by labels.
    pub team: Option<Arc<str>>,
    pub tier: Option<Arc<str>>,
    /// What each policy says that chooses from its repository, where no journey tells.
    pub policies: Vec<PolicyAnswer>,
}

/// What one policy says of an image.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PolicyAnswer {
    /// `imagepolicy/web -n flux-system`, or `expect rule`.
    pub policy: String,
    pub chooses_by: String,
    pub environments: Vec<String>,
    /// The closed word for why it selects it or not; absent where the policy cannot be read.
    pub cause: Option<&'static str>,
    pub selected: Option<String>,
    pub sentence: String,
}

/// Every destination that the question is about, what needs a person first.
#[must_use]
pub fn why(snapshot: &Snapshot, question: &Question, findings: Option<&Findings>) -> Vec<Answer> {
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
    match findings {
        Some(findings) => nowhere::add(&mut answers, snapshot, question, findings),
        None if answers.is_empty() => answers.push(nowhere::never_seen(question, None)),
        None => {}
    }
    answers.sort_by_key(|answer| urgency(answer.state));
    answers.truncate(ANSWERS_MAX);
    // One walk over all destinations: there may be far more of them than answers.
    let told: HashSet<String> = answers.iter().filter_map(|answer| answer.destination.clone()).collect();
    let owned = snapshot.destinations.iter().map(|status| (status.destination.to_string(), &status.owner));
    let owners: HashMap<String, _> = owned.filter(|(destination, _)| told.contains(destination)).collect();
    for answer in &mut answers {
        if let Some(owner) = answer.destination.as_ref().and_then(|destination| owners.get(destination)) {
            (answer.team, answer.tier) = (owner.team.clone(), owner.tier.clone());
        }
    }
    answers
}

/// The newest journey that matches, for each destination. Whoever names a tag asks for its own journey, and for what is
/// still under way with it: not for a revision that came after and is through.
fn newest_per_destination<'a>(snapshot: &'a Snapshot, question: &Question) -> Vec<&'a Journey> {
    let mut seen: HashSet<(&Destination, bool)> = HashSet::new();
    let mut under_way: HashSet<(&Destination, Subject)> = HashSet::new();
    let matching = || snapshot.journeys().rev().filter(|journey| question.matches(journey));
    let own: HashSet<&Destination> = matching()
        .filter(|journey| journey.subject == Subject::Image && question.names_the_tag_of(&journey.image))
        .map(|journey| &journey.destination)
        .collect();
    let is_own = |journey: &Journey| own.contains(&journey.destination) && journey.subject == Subject::Image;
    matching()
        .filter(|journey| is_own(journey) || journey.is_open() || !own.contains(&journey.destination))
        .filter(|journey| {
            // An image and a revision may be on their way at the same time, and one of them stuck.
            let other = journey.is_open() && under_way.insert((&journey.destination, journey.subject));
            seen.insert((&journey.destination, is_own(journey))) || other
        })
        .collect()
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
    let mut sentence = sentence(&snapshot.into(), journey);
    let mut reason = None;
    if journey.outcome == Some(Outcome::Live)
        && let Some(status) = snapshot.destinations.iter().find(|it| it.destination == journey.destination)
    {
        sentence.push_str(&remarks(snapshot, status));
        reason = status.overridden_since.map(|_| Hold::PolicyOverridden.as_str());
    }
    let reached = words::reached(journey);
    let (turn, open) = (journey.next.turn.as_ref(), journey.is_open());
    let known = |at: Time| Some(at).filter(|at| at.is_known());
    Answer {
        sentence,
        state: state(journey),
        journey: Some(journey.id.to_string()),
        image: Some(journey.image.to_string()),
        commit: journey.commit.as_ref().map(|commit| commit.id.to_string()),
        stage: reached.map(|(stage, _)| stage.as_str()),
        not_before: reached.and_then(|(_, at)| known(at.interval.not_before)),
        not_after: reached.and_then(|(_, at)| known(at.interval.not_after)),
        basis: reached.map(|(_, at)| at.basis.as_str()),
        waits_for: open.then(|| words::waits_for(journey)),
        since: Some(journey.ended.map_or_else(|| words::waits_since(journey), words::middle)),
        next: turn.map(|turn| turn.does.as_str()),
        next_by: turn.map(|turn| turn.object.to_string()),
        due: turn.and_then(|turn| turn.by),
        late_after: journey.next.late_after,
        until: journey.held.and_then(|held| held.until),
        holder: journey.who.as_ref().map(|who| who.object.to_string()),
        says: journey.who.as_ref().map(|who| who.says.to_string()).filter(|says| !says.is_empty()),
        command: words::command(journey),
        reason: journey
            .stuck
            .map(|stuck| stuck.reason.as_str())
            .or(journey.held.filter(|_| open).map(|held| held.hold.as_str()))
            .or(reason),
        ..of(question, &journey.destination)
    }
}

/// An answer about a destination, before anything is said of it.
fn of(question: &Question, destination: &Destination) -> Answer {
    Answer {
        question: question.text.clone(),
        destination: Some(destination.to_string()),
        app: Some(destination.app.to_string()),
        environment: Some(destination.environment.to_string()),
        ..Answer::default()
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
    // What was pushed this very moment is no news twice.
    if status.behind_seconds >= 1.0 {
        let behind = words::duration(status.behind_seconds);
        sentence.push_str(&format!("; it is {behind} behind what it should run"));
    }
    sentence.push_str(&remarks(snapshot, status));
    let state = match &status.live {
        Some((image, digest, _)) if question.names_image(image, digest.as_ref()) => "live",
        Some(_) => "idle",
        None => "wanted",
    };
    let image = status.live.as_ref().map(|(image, ..)| image).or(status.image.as_ref());
    Some(Answer {
        sentence,
        state,
        image: image.map(ToString::to_string),
        since: status.live.as_ref().map(|(.., since)| *since).filter(|since| since.is_known()),
        reason: status.overridden_since.map(|_| Hold::PolicyOverridden.as_str()),
        ..of(question, &status.destination)
    })
}

fn urgency(state: &str) -> u8 {
    match state {
        "stuck" => 0,
        "blind" => 1,
        "held" => 2,
        "under_way" => 3,
        "idle" | "followed" => 5,
        _ => 4,
    }
}
