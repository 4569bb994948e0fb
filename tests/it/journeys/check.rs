//! Compares what a tracker said with what a case expects.

use std::collections::HashSet;

use knotmeter::observation::Time;
use knotmeter::tracker::{Destination, DestinationStatus, Hold, Journey, JourneyId, StageState};

use super::case::{Case, Line};
use super::run::Run;
use super::show::{self, Names};
use super::text::{START, interval, millis, pair};
use super::updater;

/// Seconds by which two durations may differ and still be equal.
const TOLERANCE: f64 = 0.01;

/// What is wrong, each with the line of the case that says otherwise.
pub struct Check<'a> {
    pub case: &'a Case,
    pub names: &'a Names,
    pub wrong: Vec<String>,
}

impl Check<'_> {
    /// The expectations of one moment, or of the end.
    pub fn at(&mut self, at: Option<i64>, run: &Run) {
        let lines: Vec<&Line> = self.case.expect.iter().filter(|line| line.at == at).collect();
        let now = START + at.unwrap_or_else(|| self.case.end());
        let mut journeys: Vec<&Journey> = run.journeys.values().collect();
        journeys.sort_by_key(|journey| (journey.opened.not_after, journey.opened.not_before, journey.id));
        let mut taken = HashSet::new();
        let mut missed = false;
        for line in &lines {
            let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["none"] => {
                    for journey in &journeys {
                        self.fail(line, "no journey", &show::journey(journey, self.names));
                    }
                }
                ["journey", rest @ ..] => missed |= !self.journey(line, rest, &journeys, &mut taken),
                [word @ ("stuck" | "not-stuck"), rest @ ..] => {
                    self.stuck(line, *word == "stuck", rest, &journeys);
                }
                ["behind", environment, place, range] => {
                    let found = run
                        .destinations(now)
                        .into_iter()
                        .find(|status| is_at(&status.destination, environment, place));
                    let actual = found.map(|status| status.behind_seconds);
                    self.behind(line, range, actual);
                }
                ["owner", environment, place, team, tier] => {
                    let here = |status: &DestinationStatus| is_at(&status.destination, environment, place);
                    let found = run.destinations(now).into_iter().find(here).map(|status| status.owner);
                    let word = |word: Option<&std::sync::Arc<str>>| {
                        word.map_or("-".to_owned(), |word| word.to_string())
                    };
                    let said = found.map(|owner| [word(owner.team.as_ref()), word(owner.tier.as_ref())]);
                    if said.as_ref().is_none_or(|said| said[0] != **team || said[1] != **tier) {
                        self.fail(line, &line.words.join(" "), &format!("{said:?}"));
                    }
                }
                ["hold" | "no-hold", environment, place, rest @ ..] => {
                    let here = |status: &DestinationStatus| is_at(&status.destination, environment, place);
                    let found = run.destinations(now).into_iter().find(here).and_then(|status| status.hold);
                    if found.map(Hold::as_str) != rest.first().copied() {
                        self.fail(line, &line.words.join(" "), &format!("hold is {found:?}"));
                    }
                }
                ["failed" | "not-failed", environment, place] => {
                    let here = |status: &DestinationStatus| is_at(&status.destination, environment, place);
                    let found = run.destinations(now).iter().any(|status| here(status) && status.failed);
                    if found != (words[0] == "failed") {
                        self.fail(line, &line.words.join(" "), &format!("failed is {found}"));
                    }
                }
                ["mismatch" | "no-mismatch", environment, place, "config_not_rolled"] => {
                    let here = |status: &DestinationStatus| is_at(&status.destination, environment, place);
                    let found = run
                        .destinations(now)
                        .iter()
                        .any(|status| here(status) && status.config_not_rolled.is_some());
                    if found != (words[0] == "mismatch") {
                        self.fail(line, &line.words.join(" "), &format!("config_not_rolled is {found}"));
                    }
                }
                ["mismatch" | "no-mismatch", environment, place, "mixed_digests"] => {
                    let found = run
                        .destinations(now)
                        .into_iter()
                        .any(|status| is_at(&status.destination, environment, place) && status.mixed_digests);
                    if found != (words[0] == "mismatch") {
                        self.fail(line, &line.words.join(" "), &format!("mixed_digests is {found}"));
                    }
                }
                ["why", question, wanted @ ..] => {
                    let told = run.why(now, question);
                    if told != wanted {
                        let told: Vec<String> = told.iter().map(|told| format!("{told:?}")).collect();
                        self.fail(line, &line.words.join(" "), &told.join("\n              "));
                    }
                }
                ["restarts", environment, name, count] => {
                    let found = run.restarted.iter().filter(|destination| {
                        *destination.environment == **environment && *destination.workload.name == **name
                    });
                    let found = found.count().to_string();
                    if found != *count {
                        self.fail(line, &format!("{count} restarts"), &found);
                    }
                }
                ["updater", rest @ ..] => self.updater(line, rest, run, now),
                _ => self.fail(line, "a line that a case may expect", &line.words.join(" ")),
            }
        }
        let expects_journeys = lines.iter().any(|line| line.words[0] == "journey");
        if at.is_none() && (expects_journeys || missed) {
            for journey in journeys.iter().filter(|journey| !taken.contains(&journey.id)) {
                self.wrong.push(format!(
                    "{}: a journey that nobody expects\n      actual: {}",
                    self.case.file,
                    show::journey(journey, self.names)
                ));
            }
        }
    }

    /// `ENVIRONMENT WORKLOAD/CONTAINER IMAGE key=value..`. Whether there was such a journey.
    fn journey(
        &mut self,
        line: &Line,
        words: &[&str],
        all: &[&Journey],
        taken: &mut HashSet<JourneyId>,
    ) -> bool {
        let [environment, place, image, keys @ ..] = words else {
            self.fail(line, "journey ENVIRONMENT WORKLOAD/CONTAINER IMAGE", &line.words.join(" "));
            return false;
        };
        let keys: Vec<(&str, &str)> = keys.iter().filter_map(|word| pair(word)).collect();
        let places = ["cluster", "uid"].map(|name| keys.iter().find(|(key, _)| *key == name));
        let found = all.iter().find(|journey| {
            !taken.contains(&journey.id)
                && is_at(&journey.destination, environment, place)
                && (show::image(journey) == *image
                    || image.ends_with('@') && journey.image.to_string().starts_with(image))
                && places
                    .iter()
                    .flatten()
                    .all(|(key, wanted)| show::value(journey, key, self.names).as_deref() == Some(*wanted))
        });
        let Some(journey) = found else {
            let others: Vec<String> = all
                .iter()
                .filter(|journey| is_at(&journey.destination, environment, place))
                .map(|journey| show::journey(journey, self.names))
                .collect();
            let actual = if others.is_empty() {
                "no journey to there".to_owned()
            } else {
                others.join("\n              ")
            };
            self.fail(line, &line.words.join(" "), &actual);
            return false;
        };
        taken.insert(journey.id);
        let mut different = Vec::new();
        for (key, wanted) in keys {
            match show::value(journey, key, self.names) {
                None => different.push(format!("{key} is no key of a journey")),
                Some(actual) if equal(journey, key, wanted, &actual) => {}
                Some(actual) => different.push(format!("{key} is {actual}, not {wanted}")),
            }
        }
        if !different.is_empty() {
            let actual =
                format!("{}\n              {}", different.join("; "), show::journey(journey, self.names));
            self.fail(line, &line.words.join(" "), &actual);
        }
        true
    }

    /// `ENVIRONMENT WORKLOAD/CONTAINER [REASON]`: any open journey to there.
    fn stuck(&mut self, line: &Line, wanted: bool, words: &[&str], all: &[&Journey]) {
        let [environment, place, reason @ ..] = words else {
            return self.fail(line, "stuck ENVIRONMENT WORKLOAD/CONTAINER REASON", &line.words.join(" "));
        };
        let here: Vec<&&Journey> =
            all.iter().filter(|journey| is_at(&journey.destination, environment, place)).collect();
        let found = here.iter().any(|journey| {
            let reason_fits = |stuck: knotmeter::tracker::Stuck| {
                reason.first().is_none_or(|reason| stuck.reason.as_str() == *reason)
            };
            journey.is_open() && journey.stuck.is_some_and(reason_fits)
        });
        if found != wanted {
            let lines: Vec<String> = here.iter().map(|journey| show::journey(journey, self.names)).collect();
            let actual =
                if lines.is_empty() { "no journey to there".into() } else { lines.join("\n              ") };
            self.fail(line, &line.words.join(" "), &actual);
        }
    }

    /// `SECONDS` or `FROM..TO`.
    fn behind(&mut self, line: &Line, range: &str, actual: Option<f64>) {
        let number = |text: &str| text.parse::<f64>().ok();
        let (from, to) = range.split_once("..").unwrap_or((range, range));
        let fits = actual
            .zip(number(from))
            .zip(number(to))
            .is_some_and(|((actual, from), to)| (from - TOLERANCE..=to + TOLERANCE).contains(&actual));
        if !fits {
            let actual =
                actual.map_or("no such destination".into(), |seconds| format!("{seconds} seconds behind"));
            self.fail(line, &line.words.join(" "), &actual);
        }
    }

    /// What the shop's updater did until then, see `updater.rs`.
    fn updater(&mut self, line: &Line, words: &[&str], run: &Run, now: Time) {
        match updater::said(words, run, now) {
            Ok(()) => {}
            Err(actual) => self.fail(line, &line.words.join(" "), &actual),
        }
    }

    fn fail(&mut self, line: &Line, expected: &str, actual: &str) {
        let at = line.at.map(|at| format!(" at {}", super::text::show_time(START + at))).unwrap_or_default();
        self.wrong.push(format!(
            "{}:{}:{at}\n    expected: {expected}\n      actual: {actual}",
            self.case.file, line.number
        ));
    }
}

/// `WORKLOAD/CONTAINER` in an environment.
fn is_at(destination: &Destination, environment: &str, place: &str) -> bool {
    let (workload, container) = place.split_once('/').unwrap_or((place, ""));
    *destination.environment == *environment
        && *destination.workload.name == *workload
        && *destination.container == *container
}

fn equal(journey: &Journey, key: &str, wanted: &str, actual: &str) -> bool {
    if wanted == actual {
        return true;
    }
    let same_time =
        |text: &str, time: Option<Time>| millis(text).ok().map(|at| START + at) == time && time.is_some();
    match key {
        "image_to_live" => sample_fits(wanted, journey.image_to_live()),
        "change_to_live" => sample_fits(wanted, journey.change_to_live()),
        "held" => {
            let (from, to) = wanted.split_once("..").unwrap_or((wanted, wanted));
            let bounds = from.parse::<f64>().ok().zip(to.parse::<f64>().ok());
            bounds
                .is_some_and(|(from, to)| (from - TOLERANCE..=to + TOLERANCE).contains(&journey.held_seconds))
        }
        "stuck.kept" => same_time(wanted, journey.stuck.and_then(|stuck| stuck.kept)),
        "stuck.since" => same_time(wanted, journey.stuck.map(|stuck| stuck.since)),
        "hold.until" => same_time(wanted, journey.held.and_then(|held| held.until)),
        // Any known time.
        _ if wanted == "known" => {
            show::stage_named(key).is_some_and(|stage| journey.stages.evidence(stage).is_some())
        }
        _ => match show::stage_named(key).map(|stage| journey.stages.state(stage)) {
            Some(StageState::Known(evidence)) => {
                interval(wanted).is_ok_and(|wanted| wanted == evidence.interval)
            }
            _ => false,
        },
    }
}

/// `S`, `S+-U`, or `certain` and `uncertain`: good enough for a histogram, or not.
pub fn sample_fits(wanted: &str, actual: Option<knotmeter::tracker::Sample>) -> bool {
    let Some(actual) = actual else { return false };
    let near = |text: &str, number: f64| {
        text.parse::<f64>().is_ok_and(|wanted| (wanted - number).abs() <= TOLERANCE)
    };
    match wanted.split_once("+-") {
        Some((seconds, uncertainty)) => {
            near(seconds, actual.seconds) && near(uncertainty, actual.uncertainty_seconds)
        }
        None if wanted == "certain" => actual.is_certain(),
        None if wanted == "uncertain" => !actual.is_certain(),
        None => near(wanted, actual.seconds),
    }
}
