//! Plays one recording: the watch lines as they came, and a registry that tells each push at once.

use std::sync::Arc;

use knotmeter::image::{Digest, Repository, Tag};
use knotmeter::observation::{
    Basis, Budgets, Fact, ImageDescribed, Interval, LookFailure, Node, NodeRole, Observation, Rules, SCHEMA,
    Scope, SettleRule, SourceId, SourceKind, Time,
};
use knotmeter::observers::cluster::{Place, Replay, Said};
use knotmeter::tracker::{DestinationStatus, Event, Journey, Stage, StageState, Tracker};
use serde_json::Value;

use super::drive::{Drive, clock, text};

/// A rollout may take this long before it is stuck by its budget: longer than any recording.
const LIVE_BUDGET_SECONDS: f64 = 600.0;
/// The longest window before a journey is settled.
pub const SETTLE_SECONDS_MAX: f64 = 5.0;

/// A recording, ready to be played.
pub struct Recording {
    pub drive: Drive,
    said: Vec<Observation>,
}

/// A recording played up to a moment.
pub struct Played {
    pub drive: Drive,
    pub tracker: Tracker,
    pub events: Vec<Event>,
    pub until: Time,
}

/// Plays one scenario to its end, and on until nothing more can settle.
pub fn play(scenario: &str) -> Played {
    Recording::read(scenario).play()
}

/// Plays one scenario up to a time of day.
pub fn play_until(scenario: &str, until: &str) -> Played {
    Recording::read(scenario).play_until(until)
}

impl Recording {
    pub fn read(scenario: &str) -> Self {
        let drive = Drive::read(scenario);
        let start = drive.actions[0].at - 2000;
        let mut said = pushes(&drive, start);
        let mut cluster = Speaker::new(SourceKind::Cluster, "lab");
        said.push(cluster.say(start, Interval::at(start), Basis::Watch, named()));
        cluster.watch(scenario, &mut said);
        Self::new(drive, said).live_budget(LIVE_BUDGET_SECONDS)
    }

    /// What its sources said, in any order.
    pub fn new(drive: Drive, mut said: Vec<Observation>) -> Self {
        said.sort_by_key(|observation| observation.observed_at);
        Self { drive, said }
    }

    /// Another time that rollouts may take.
    pub fn live_budget(mut self, seconds: f64) -> Self {
        let is_rules = |observation: &Observation| matches!(observation.fact, Fact::ConfigInForce(_));
        self.said.retain(|observation| !is_rules(observation));
        let start = self.said[0].observed_at;
        let rules = Rules {
            budgets: Budgets { committed: 60.0, applied: 60.0, live: seconds, ..Budgets::default() },
            settle: SettleRule { min: 1.0, max: SETTLE_SECONDS_MAX, forget_after: 86400.0 },
            ..Rules::default()
        };
        let fact = Fact::ConfigInForce(Box::new(rules));
        let mut config = Speaker::new(SourceKind::Config, "rules");
        self.said.insert(0, config.say(start, Interval::at(start), Basis::Watch, fact));
        self
    }

    /// The cluster refuses to show a resource, from the beginning on.
    pub fn refused(mut self, resource: &str) -> Self {
        let start = self.said[0].observed_at;
        let scope = Scope::Resource { cluster: "lab-uid".into(), resource: resource.into() };
        let message = "not allowed to list it".into();
        let fact = Fact::LookFailed { scope, failure: LookFailure::Forbidden, message };
        let observation =
            Speaker::new(SourceKind::Cluster, "lab").say(start, Interval::at(start), Basis::Watch, fact);
        self.said.insert(1, Observation { seq: 0, ..observation });
        self
    }

    /// Every source says everything twice, as relists and repeated webhooks do.
    pub fn said_twice(mut self) -> Self {
        let twice = self.said.into_iter().flat_map(|observation| {
            let first = Observation { seq: observation.seq * 2, ..observation.clone() };
            [first, Observation { seq: observation.seq * 2 + 1, ..observation }]
        });
        self.said = twice.collect();
        self
    }

    pub fn play(self) -> Played {
        let end = self.said.last().expect("something was said").observed_at;
        let wait = (2.0 * SETTLE_SECONDS_MAX * 1000.0) as i64;
        self.watch(end + wait, |_, _| ())
    }

    /// Plays on from a checkpoint after every so many observations.
    pub fn play_restored(self, every: usize) -> Played {
        let until = self.end() + (2.0 * SETTLE_SECONDS_MAX * 1000.0) as i64;
        let mut tracker = Tracker::default();
        let mut events = Vec::new();
        for (number, observation) in self.said.iter().enumerate() {
            advance(&mut tracker, observation.observed_at, &mut events);
            events.extend(tracker.observe(observation));
            if number % every == 0 {
                tracker = Tracker::restore(&tracker.checkpoint()).expect("its own checkpoint");
            }
        }
        advance(&mut tracker, until, &mut events);
        events.extend(tracker.advance(until));
        Played { drive: self.drive, tracker, events, until }
    }

    pub fn play_until(self, until: &str) -> Played {
        self.watch(clock(until), |_, _| ())
    }

    /// Plays up to a moment and shows the tracker after every observation. Deadlines are kept on the way, as the
    /// program does.
    pub fn watch(self, until: Time, mut see: impl FnMut(&Tracker, Time)) -> Played {
        let mut tracker = Tracker::default();
        let mut events = Vec::new();
        for observation in self.said.iter().filter(|observation| observation.observed_at <= until) {
            let at = observation.observed_at;
            advance(&mut tracker, at, &mut events);
            events.extend(tracker.observe(observation));
            see(&tracker, at);
        }
        advance(&mut tracker, until, &mut events);
        events.extend(tracker.advance(until));
        see(&tracker, until);
        Played { drive: self.drive, tracker, events, until }
    }

    /// When the last line came.
    pub fn end(&self) -> Time {
        self.said.last().expect("something was said").observed_at
    }
}

fn advance(tracker: &mut Tracker, to: Time, events: &mut Vec<Event>) {
    while let Some(deadline) = tracker.next_deadline().filter(|deadline| deadline.at < to) {
        events.extend(tracker.advance(deadline.at));
    }
}

impl Played {
    /// Every journey, oldest first.
    pub fn journeys(&self) -> Vec<&Journey> {
        let mut journeys: Vec<&Journey> = self.tracker.journeys().collect();
        journeys.sort_by_key(|journey| (journey.opened.not_after, journey.destination.to_string()));
        journeys
    }

    /// The latest journey of an image; the registry's name is left out.
    pub fn journey(&self, image: &str) -> &Journey {
        let found = self.journeys().into_iter().rev().find(|journey| short(journey) == image);
        found.unwrap_or_else(|| panic!("no journey of {image}\n{}", self.lines().join("\n")))
    }

    /// What the only container of a workload runs and should run.
    pub fn status(&self, workload: &str) -> DestinationStatus {
        let all = self.tracker.destinations(self.until);
        all.into_iter().find(|s| &*s.destination.workload.name == workload).expect("a destination")
    }

    /// How many rollouts without another image were told.
    pub fn restarts(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Restarted { .. })).count()
    }

    /// One line per journey, with times of day, for a person and for a comparison.
    pub fn lines(&self) -> Vec<String> {
        self.journeys().into_iter().map(line).collect()
    }
}

/// The image of a journey without its registry.
pub fn short(journey: &Journey) -> String {
    let text = journey.image.to_string();
    text.split_once('/').map_or(text.clone(), |(_, rest)| rest.to_owned())
}

fn line(journey: &Journey) -> String {
    let clock = |at: Time| at.to_string().get(14..23).map_or_else(|| "?".into(), str::to_owned);
    let mut text = format!(
        "{}/{} {} {} {}",
        journey.destination.workload.name,
        journey.destination.container,
        short(journey),
        journey.trigger.as_str(),
        journey.outcome.map_or("open", knotmeter::tracker::Outcome::as_str)
    );
    for stage in [Stage::Pushed, Stage::Applied, Stage::Started, Stage::Ready, Stage::Live] {
        match journey.stages.state(stage) {
            StageState::Known(known) => {
                let (from, to) = (clock(known.interval.not_before), clock(known.interval.not_after));
                text += &format!(" {}={from}..{to}({})", stage.as_str(), known.basis);
            }
            StageState::Skipped => text += &format!(" {}=skipped", stage.as_str()),
            StageState::Unknown => {}
        }
    }
    if let Some(stuck) = journey.stuck {
        text += &format!(" stuck={}", stuck.reason.as_str());
    }
    if let Some(held) = journey.held {
        text += &format!(" held={}", held.hold.as_str());
    }
    text
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    received_at: &'a str,
    resource: &'a str,
    #[serde(borrow)]
    event: &'a serde_json::value::RawValue,
}

/// Gives what one source says its numbers.
pub struct Speaker {
    source: SourceId,
    seq: u64,
}

impl Speaker {
    pub fn new(kind: SourceKind, name: &str) -> Self {
        Self { source: SourceId::new(kind, name), seq: 0 }
    }

    /// The watch lines of a scenario, through the decoder of the cluster observer.
    pub fn watch(&mut self, scenario: &str, said: &mut Vec<Observation>) {
        let mut replay = Replay::new(Place { uid: "lab-uid".into(), name: "lab".into() });
        let text = text(scenario, "stream.jsonl.gz");
        let mut lines: Vec<(Time, Line<'_>)> = Vec::new();
        for line in text.lines() {
            let line: Line<'_> = serde_json::from_str(line).expect("a recorded line");
            lines.push((Time::from_rfc3339(line.received_at).expect("a time"), line));
        }
        // Watches that were written down side by side: one source numbers what it says as it comes.
        lines.sort_by_key(|(at, _)| *at);
        for (at, line) in lines {
            for item in replay.event(at, line.resource, line.event.get().as_bytes()).expect("decodes") {
                if let Said::Fact { happened, basis, fact } = item {
                    said.push(self.say(at, happened, basis, fact));
                }
            }
        }
    }

    pub fn say(&mut self, at: Time, happened: Interval, basis: Basis, fact: Fact) -> Observation {
        self.seq += 1;
        let watches = self.source.kind == SourceKind::Cluster;
        Observation {
            schema: SCHEMA,
            source: self.source.clone(),
            source_epoch: 1,
            seq: self.seq,
            cluster: watches.then(|| "lab-uid".into()),
            observed_at: at,
            happened,
            basis,
            fact,
        }
    }
}

pub fn named() -> Fact {
    Fact::ClusterNamed { name: "lab".into() }
}

/// Each push as the registry would tell it: between just before it and just after.
fn pushes(drive: &Drive, start: Time) -> Vec<Observation> {
    let mut registry = Speaker::new(SourceKind::Registry, "127.0.0.1:5000");
    let mut said = Vec::new();
    let list = drive.images["images"].as_array().expect("a list");
    for image in list {
        said.push(looked(&mut registry, &repository(image), start));
    }
    for image in list {
        let repository = repository(image);
        let tag: Tag = image["tag"].as_str().expect("text").parse().expect("a tag");
        let digest = digest(&image["digest"]);
        let (before, after) = drive.pushed(image);
        let happened = Interval::new(before, after);
        let points = Fact::TagPointsTo { repository: repository.clone(), tag, digest };
        said.push(registry.say(after, happened, Basis::Webhook, points));
        said.push(registry.say(after, happened, Basis::Poll, described(image)));
        said.push(looked(&mut registry, &repository, after));
    }
    said
}

/// What a registry knows of a pushed image.
pub fn described(image: &Value) -> Fact {
    let digest = digest(&image["digest"]);
    Fact::ImageDescribed(Box::new(ImageDescribed {
        repository: repository(image),
        nodes: nodes(image, &digest),
        digest,
        created: None,
        revision: None,
        source: None,
        synthetic: false,
    }))
}

/// The platform manifests and configs below a root. An attestation is no platform.
fn nodes(image: &Value, root: &Digest) -> Vec<Node> {
    let mut nodes = Vec::new();
    for manifest in image["manifests"].as_array().expect("a list") {
        let platform = &manifest["platform"];
        if platform["os"] == "unknown" {
            continue;
        }
        let word = |name: &str| platform[name].as_str().unwrap_or("");
        let platform: Arc<str> = format!("{}/{}", word("os"), word("architecture")).into();
        let of =
            [(&manifest["digest"], NodeRole::Manifest), (&manifest["config"]["digest"], NodeRole::Config)];
        for (text, role) in of {
            let node = digest(text);
            if node != *root {
                nodes.push(Node { digest: node, role, platform: Some(platform.clone()) });
            }
        }
    }
    nodes
}

pub fn digest(value: &Value) -> Digest {
    value.as_str().expect("text").parse().expect("a digest")
}

pub fn repository(image: &Value) -> Repository {
    image["repository"].as_str().expect("text").parse().expect("a repository")
}

fn looked(registry: &mut Speaker, repository: &Repository, at: Time) -> Observation {
    let scope = Scope::Repository(repository.clone());
    let fact = Fact::LookCompleted { scope, started: at, finished: at, interval_seconds: 1.0 };
    registry.say(at, Interval::at(at), Basis::Poll, fact)
}
