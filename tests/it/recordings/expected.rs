//! A journey as the driver's record tells it, and how a tracker is held against that.
//!
//! The driver's clock, the API server's and the node's are one, so every bound here is the recording's own: an
//! action is noted just before its request, `live` and `probe` up to 0.8 s late, and object times are cut to whole
//! seconds.

use knotmeter::image::ImageRef;
use knotmeter::observation::{Interval, Time};
use knotmeter::tracker::{Journey, Outcome, Stage, StageState, Trigger};

use super::drive::{Action, clock};
use super::replay::{Played, short};

/// kubectl starts, reads and then writes: under load that took up to 1.7 s.
const REQUEST_MILLIS_MAX: i64 = 2000;
/// What the driver saw of pods was true at most this long before it noted it.
const SEEN_LATE_MILLIS_MAX: i64 = 800;

/// One journey that must be there.
pub struct Expected {
    set: Time,
    workload: &'static str,
    container: &'static str,
    image: &'static str,
    trigger: Trigger,
    outcome: Outcome,
    /// What its pods answer. None: it was never pushed.
    answer: Option<&'static str>,
    /// As many pods answer so when it is live.
    pods: u64,
    /// Where the driver saw its pods, if it is not the workload.
    seen_as: &'static str,
    ran: Ran,
}

/// How far pods of its template came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// Pods of it never stopped: nothing had to start.
    AllTheTime,
    /// New pods came to be ready.
    Anew,
    /// A container ran, none was ready.
    NeverReady,
    Never,
}

/// A journey that the driver's action at that time of day caused; by default it goes live, and nobody told of it
/// but the template.
pub fn set(at: &str, workload: &'static str, container: &'static str, image: &'static str) -> Expected {
    Expected {
        set: clock(at),
        workload,
        container,
        image,
        trigger: Trigger::OutOfBand,
        outcome: Outcome::Live,
        answer: None,
        pods: 0,
        seen_as: workload,
        ran: Ran::Anew,
    }
}

impl Expected {
    /// It is live when that many pods, and no others, give this answer.
    pub fn live(self, answer: &'static str, pods: u64) -> Self {
        Self { answer: Some(answer), pods, ..self }
    }

    /// Another desire ended it while containers of it ran, none of them ready.
    pub fn never_ready(self, outcome: Outcome, answer: &'static str) -> Self {
        Self { outcome, answer: Some(answer), ran: Ran::NeverReady, ..self }
    }

    /// Another desire ended it before any container of it ran.
    pub fn never_ran(self, outcome: Outcome, answer: Option<&'static str>) -> Self {
        Self { outcome, answer, ran: Ran::Never, ..self }
    }

    /// The workload goes back to what it was before.
    pub fn rollback(self) -> Self {
        Self { trigger: Trigger::Rollback, ..self }
    }

    /// Pods of it ran all the time: nothing starts.
    pub fn kept_running(self, answer: &'static str) -> Self {
        Self { answer: Some(answer), ran: Ran::AllTheTime, ..self }
    }

    /// The driver saw its pods under another name: the Job that a CronJob made.
    pub fn seen_as(self, workload: &'static str) -> Self {
        Self { seen_as: workload, ..self }
    }

    fn line(&self) -> String {
        let Self { workload, container, image, .. } = self;
        format!("{workload} {container} {image} {} {}", self.trigger.as_str(), self.outcome.as_str())
    }
}

fn told(journey: &Journey) -> String {
    let key = &journey.destination.workload;
    let kind = match key.kind.as_str() {
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        "daemonset" => "DaemonSet",
        "cronjob" => "CronJob",
        other => panic!("no word for {other}"),
    };
    let container = &journey.destination.container;
    let outcome = journey.outcome.map_or("open", Outcome::as_str);
    format!("{kind}/{} {container} {} {} {outcome}", key.name, short(journey), journey.trigger.as_str())
}

/// Exactly these journeys, each stage within what the driver did and saw.
pub fn check(played: &Played, expected: &[Expected]) {
    let journeys = played.journeys();
    let got: Vec<String> = journeys.iter().map(|journey| told(journey)).collect();
    let want: Vec<String> = expected.iter().map(Expected::line).collect();
    assert_eq!(got, want, "\n{}", played.lines().join("\n"));
    for (at, (journey, truth)) in journeys.iter().zip(expected).enumerate() {
        let next = expected[at + 1..]
            .iter()
            .find(|next| (next.workload, next.container) == (truth.workload, truth.container));
        Held { played, journey, truth }.check(next.map(|next| next.set));
    }
}

/// One journey held against its truth.
struct Held<'a> {
    played: &'a Played,
    journey: &'a Journey,
    truth: &'a Expected,
}

impl Held<'_> {
    fn check(&self, next: Option<Time>) {
        self.pushed();
        let done =
            self.played.drive.actions.iter().any(|a| {
                a.at == self.truth.set && a.detail["workload"].as_str() == Some(self.truth.workload)
            });
        assert!(done, "{}: the driver did nothing then", self.truth.line());
        let applied = self.known(Stage::Applied);
        self.within(Stage::Applied, applied, self.truth.set, self.truth.set + REQUEST_MILLIS_MAX);
        match self.truth.ran {
            Ran::AllTheTime => self.are(StageState::Skipped, &[Stage::Started, Stage::Ready]),
            Ran::Never => self.are(StageState::Unknown, &[Stage::Started, Stage::Ready, Stage::Live]),
            Ran::NeverReady => {
                self.started();
                self.are(StageState::Unknown, &[Stage::Ready, Stage::Live]);
            }
            Ran::Anew => {
                self.started();
                self.ready();
            }
        }
        match (self.truth.outcome, next) {
            (Outcome::Live, _) => self.live(),
            (_, Some(next)) => {
                let ended = self.journey.ended.expect("what has an outcome has ended");
                self.within(Stage::Live, ended, next, next + REQUEST_MILLIS_MAX);
            }
            (outcome, None) => panic!("{} without an action that ended it", outcome.as_str()),
        }
    }

    /// The digest is that of the image whose pods answer so, pushed when the driver pushed it.
    fn pushed(&self) {
        let Some(answer) = self.truth.answer else {
            assert_eq!(self.journey.digest, None, "{}", self.truth.line());
            self.are(StageState::Unknown, &[Stage::Pushed]);
            return;
        };
        let image: ImageRef = self.journey.image.clone();
        let (before, after, digest) = self.played.drive.push(&image.repository, answer);
        assert_eq!(self.journey.digest, Some(digest), "{}", self.truth.line());
        self.within(Stage::Pushed, self.known(Stage::Pushed), before, after);
    }

    /// Between the action and the first answer of a pod.
    fn started(&self) {
        let answer = self.truth.answer.expect("what runs was pushed");
        let mut probes = self.played.drive.after(self.truth.set, "probe", self.truth.seen_as);
        let first =
            probes.find(|a| a.detail["container"] == *self.truth.container && a.detail["answer"] == *answer);
        // What exits before it is asked never answers.
        let by = first.map_or(self.played.until, |action| action.at);
        self.within(Stage::Started, self.known(Stage::Started), self.truth.set, by);
    }

    /// Between the action and the first ready pod that the driver saw with it.
    fn ready(&self) {
        if self.truth.workload.starts_with("CronJob/") {
            return self.are(StageState::Skipped, &[Stage::Ready]);
        }
        let first = self.seen().find(|action| self.pods_with_it(action) > 0).expect("a ready pod");
        self.within(Stage::Ready, self.known(Stage::Ready), self.truth.set, first.at);
    }

    /// After the last time that the driver saw other pods, or too few, and not later than it saw all of them and
    /// kubectl said so: kubectl also waits for pods to be ready long enough.
    fn live(&self) {
        let live = self.known(Stage::Live);
        let said = self.completed();
        if self.truth.ran == Ran::AllTheTime {
            return self.within(Stage::Live, live, self.truth.set, said.expect("kubectl said so"));
        }
        let all = self.seen().find(|action| self.is_all(action)).expect("the driver saw all pods with it");
        let last_other = self.seen().take_while(|action| action.at < all.at).last();
        let from = last_other.map_or(self.truth.set, |other| other.at - SEEN_LATE_MILLIS_MAX);
        let to = said.map_or(all.at, |said| said.max(all.at));
        self.within(Stage::Live, live, from.max(self.truth.set), to);
        assert_eq!(self.journey.ended, Some(live), "{}", self.truth.line());
    }

    fn completed(&self) -> Option<Time> {
        let drive = &self.played.drive;
        let status = drive.after(self.truth.set, "rollout-status", self.truth.workload);
        let said = status.filter(|action| action.detail["ok"] == true).map(|action| action.at).next();
        let complete = drive.after(self.truth.set, "complete", self.truth.workload).map(|a| a.at).next();
        // Where kubectl gave up, the driver went on asking.
        match (said, complete) {
            (Some(said), Some(complete)) => Some(said.min(complete)),
            (said, complete) => said.or(complete),
        }
    }

    fn seen(&self) -> impl Iterator<Item = &Action> {
        let live = self.played.drive.after(self.truth.set, "live", self.truth.seen_as);
        live.filter(|action| action.detail["container"] == *self.truth.container)
    }

    fn pods_with_it(&self, action: &Action) -> u64 {
        let answer = self.truth.answer.expect("what runs was pushed");
        action.detail["ready_pods_by_answer"][answer].as_u64().unwrap_or(0)
    }

    fn is_all(&self, action: &Action) -> bool {
        let answers = action.detail["ready_pods_by_answer"].as_object().expect("answers");
        answers.len() == 1 && self.pods_with_it(action) == self.truth.pods
    }

    fn known(&self, stage: Stage) -> Interval {
        let known = self.journey.stages.evidence(stage).map(|evidence| evidence.interval);
        known.unwrap_or_else(|| panic!("{}: {} is unknown", self.truth.line(), stage.as_str()))
    }

    fn are(&self, state: StageState, stages: &[Stage]) {
        for stage in stages {
            let got = self.journey.stages.state(*stage);
            assert_eq!(got, state, "{}: {}", self.truth.line(), stage.as_str());
        }
    }

    /// The evidence allows a moment between two that the driver noted, begins and ends in their whole seconds, and
    /// is no wider than a clock of whole seconds and the recording's own lateness make it.
    fn within(&self, stage: Stage, got: Interval, from: Time, to: Time) {
        let possible = got.not_before <= to && got.not_after >= from;
        let in_seconds = got.not_before >= second(from) && got.not_after <= second(to) + 999;
        let said = format!("{} {}", self.truth.line(), stage.as_str());
        assert!(possible && in_seconds, "{said}: {got:?} is not between {from} and {to}");
    }
}

fn second(at: Time) -> Time {
    Time(at.0.div_euclid(1000) * 1000)
}
