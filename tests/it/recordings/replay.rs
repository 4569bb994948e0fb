//! Plays one recording: the watch lines as they came, and a registry that tells each push at once.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knotmeter::image::{Digest, Repository, Tag};
use knotmeter::observation::{
    Basis, Budgets, Fact, ImageDescribed, Interval, Node, NodeRole, Observation, Rules, SCHEMA, Scope,
    SettleRule, SourceId, SourceKind, Time,
};
use knotmeter::observers::cluster::{Place, Replay, Said};
use knotmeter::tracker::{Event, Journey, Tracker};
use serde_json::Value;

/// A finished replay.
pub struct Played {
    pub tracker: Tracker,
    pub events: Vec<Event>,
    pub actions: Vec<Action>,
    pub end: Time,
}

/// One line of `actions.jsonl`.
pub struct Action {
    pub at: Time,
    pub action: String,
    pub detail: Value,
}

struct Speaker {
    source: SourceId,
    seq: u64,
}

impl Speaker {
    fn say(&mut self, at: Time, happened: Interval, basis: Basis, fact: Fact) -> Observation {
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

fn folder(scenario: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(scenario)
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_some_and(|end| end == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("a gzip file of text");
        text
    } else {
        String::from_utf8(bytes).expect("text")
    }
}

fn time(value: &Value) -> Time {
    Time::from_rfc3339(value.as_str().expect("a time")).expect("an RFC 3339 time")
}

/// Replays one scenario to its end. Deadlines are kept on the way, as the program does.
pub fn play(scenario: &str) -> Played {
    let folder = folder(scenario);
    let actions: Vec<Action> = read(&folder.join("actions.jsonl"))
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            Action {
                at: time(&value["at"]),
                action: value["action"].as_str().expect("a name").to_owned(),
                detail: value["detail"].clone(),
            }
        })
        .collect();
    let images: Value = serde_json::from_str(&read(&folder.join("images.json"))).expect("JSON");
    let start = actions[0].at - 2000;
    let mut config = Speaker { source: SourceId::new(SourceKind::Config, "rules"), seq: 0 };
    let rules = Rules {
        budgets: Budgets { committed: 60.0, applied: 60.0, live: 600.0 },
        settle: SettleRule { min: 1.0, max: 5.0, forget_after: 86400.0 },
        ..Rules::default()
    };
    let at = Interval::at(start);
    let mut said = vec![(start, config.say(start, at, Basis::Watch, Fact::ConfigInForce(Box::new(rules))))];
    let mut cluster = Speaker { source: SourceId::new(SourceKind::Cluster, "lab"), seq: 0 };
    said.push((start, cluster.say(start, at, Basis::Watch, Fact::ClusterNamed { name: "lab".into() })));
    said.extend(pushes(&images, &actions, start));
    let mut replay = Replay::new(Place { uid: "lab-uid".into(), name: "lab".into() });
    for line in read(&folder.join("stream.jsonl.gz")).lines() {
        let line: Line<'_> = serde_json::from_str(line).expect("a recorded line");
        let at = Time::from_rfc3339(line.received_at).expect("a time");
        for item in replay.event(at, line.resource, line.event.get().as_bytes()).expect("decodes") {
            if let Said::Fact { happened, basis, fact } = item {
                said.push((at, cluster.say(at, happened, basis, fact)));
            }
        }
    }
    said.sort_by_key(|(at, _)| *at);
    let mut tracker = Tracker::default();
    let mut events = Vec::new();
    for (at, observation) in &said {
        while let Some(deadline) = tracker.next_deadline().filter(|deadline| deadline.at < *at) {
            events.extend(tracker.advance(deadline.at));
        }
        events.extend(tracker.observe(observation));
    }
    let end = said.last().expect("something was said").0;
    events.extend(tracker.advance(end));
    Played { tracker, events, actions, end }
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    received_at: &'a str,
    resource: &'a str,
    #[serde(borrow)]
    event: &'a serde_json::value::RawValue,
}

/// Each push as the registry would tell it: between just before it and just after.
fn pushes(images: &Value, actions: &[Action], start: Time) -> Vec<(Time, Observation)> {
    let mut registry = Speaker { source: SourceId::new(SourceKind::Registry, "127.0.0.1:5000"), seq: 0 };
    let mut said = Vec::new();
    let list = images["images"].as_array().expect("a list");
    for image in list {
        let repository: Repository =
            image["repository"].as_str().expect("text").parse().expect("a repository");
        said.push((start, looked(&mut registry, &repository, start)));
    }
    for image in list {
        let repository: Repository =
            image["repository"].as_str().expect("text").parse().expect("a repository");
        let tag: Tag = image["tag"].as_str().expect("text").parse().expect("a tag");
        let digest: Digest = image["digest"].as_str().expect("text").parse().expect("a digest");
        let pushed = time(&image["pushed_at"]);
        let after = actions
            .iter()
            .find(|a| a.action == "push" && a.at >= pushed && a.detail["digest"] == image["digest"])
            .map_or(pushed, |a| a.at);
        let mut nodes = Vec::new();
        for manifest in image["manifests"].as_array().expect("a list") {
            let platform = &manifest["platform"];
            if platform["os"] == "unknown" {
                continue;
            }
            let platform: Arc<str> = format!(
                "{}/{}",
                platform["os"].as_str().unwrap_or(""),
                platform["architecture"].as_str().unwrap_or("")
            )
            .into();
            let parse = |value: &Value| value.as_str().expect("text").parse::<Digest>().expect("a digest");
            for (digest_of, role) in
                [(&manifest["digest"], NodeRole::Manifest), (&manifest["config"]["digest"], NodeRole::Config)]
            {
                let node = parse(digest_of);
                if node != digest {
                    nodes.push(Node { digest: node, role, platform: Some(platform.clone()) });
                }
            }
        }
        let happened = Interval::new(pushed, after);
        let described = ImageDescribed {
            repository: repository.clone(),
            digest: digest.clone(),
            nodes,
            created: None,
            revision: None,
            source: None,
            synthetic: false,
        };
        let points = Fact::TagPointsTo { repository: repository.clone(), tag, digest };
        said.push((after, registry.say(after, happened, Basis::Webhook, points)));
        said.push((
            after,
            registry.say(after, happened, Basis::Poll, Fact::ImageDescribed(Box::new(described))),
        ));
        said.push((after, looked(&mut registry, &repository, after)));
    }
    said
}

fn looked(registry: &mut Speaker, repository: &Repository, at: Time) -> Observation {
    let scope = Scope::Repository(repository.clone());
    let fact = Fact::LookCompleted { scope, started: at, finished: at, interval_seconds: 1.0 };
    registry.say(at, Interval::at(at), Basis::Poll, fact)
}

impl Played {
    /// One line per journey, with times of day, for a person and for a comparison.
    pub fn lines(&self) -> Vec<String> {
        let mut journeys: Vec<&Journey> = self.tracker.journeys().collect();
        journeys.sort_by_key(|journey| (journey.opened.not_after, journey.destination.to_string()));
        journeys.into_iter().map(line).collect()
    }
}

fn line(journey: &Journey) -> String {
    use knotmeter::tracker::{Stage, StageState};
    let clock = |at: Time| at.to_string().get(14..23).map_or_else(|| "?".into(), str::to_owned);
    let mut text = format!(
        "{}/{} {} {} {}",
        journey.destination.workload.name,
        journey.destination.container,
        journey.image.to_string().replace("127.0.0.1:5000/", "").replace("127.0.0.1:5001/", ""),
        journey.trigger.as_str(),
        journey.outcome.map_or("open", knotmeter::tracker::Outcome::as_str)
    );
    for stage in [Stage::Pushed, Stage::Applied, Stage::Started, Stage::Ready, Stage::Live] {
        match journey.stages.state(stage) {
            StageState::Known(e) => {
                text += &format!(
                    " {}={}..{}({})",
                    stage.as_str(),
                    clock(e.interval.not_before),
                    clock(e.interval.not_after),
                    e.basis
                );
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

#[test]
fn show() {
    for entry in std::fs::read_dir(folder("")).expect("recordings").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            let played = play(&name);
            println!("== {name}");
            played.lines().iter().for_each(|line| println!("  {line}"));
        }
    }
}
