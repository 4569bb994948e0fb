//! Made-up journeys for tests of what leaves the program: builders that speak the domain.

use std::sync::Arc;

use knotmeter::exporters::Snapshot;
use knotmeter::observation::{Basis, Interval, ObjectKey, Owner, Time, WorkloadKind};
use knotmeter::tracker::{
    CommitRef, Destination, DestinationStatus, Evidence, Hold, Journey, JourneyId, Next, Outcome, Reason,
    ScannerStatus, SourceStatus, Stage, StageState, Stages, Stuck, Subject, Trigger, Updater, Updaters,
};

/// The moment of every snapshot here: some minutes after noon.
pub fn now() -> Time {
    at("12:04:31")
}

/// A time of the day that the tests happen on.
pub fn at(clock: &str) -> Time {
    Time::from_rfc3339(&format!("2026-11-20T{clock}Z")).expect("a time of day")
}

pub fn destination(app: &str, environment: &str) -> Destination {
    let key = ObjectKey { kind: WorkloadKind::Deployment, namespace: environment.into(), name: app.into() };
    Destination {
        cluster_uid: "3f0c1c2e-6f5b-4f57-9d0c-0f3a5a1b2c3d".into(),
        cluster: "lab".into(),
        workload: key,
        container: app.into(),
        app: app.into(),
        environment: environment.into(),
        engine: "plain",
    }
}

/// An image journey of `app:tag` to an environment, opened at that time, nothing known yet.
pub fn journey(app: &str, tag: &str, environment: &str, opened: &str) -> Journey {
    let image = format!("registry.example.com/team/{app}:{tag}");
    let name = format!("{app} {tag} {environment}");
    let id = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Journey {
        id: JourneyId(id),
        aliases: vec![],
        subject: Subject::Image,
        destination: destination(app, environment),
        digest: Some(knotmeter::image::Digest::of(image.as_bytes())),
        image: image.parse().expect("an image reference"),
        replicas: None,
        trigger: Trigger::Push,
        synthetic: false,
        stages: Stages::default(),
        intent: None,
        clock_start: None,
        commit: None,
        commit_unseen: None,
        built_from: None,
        outcome: None,
        ended: None,
        settled: false,
        held: None,
        held_seconds: 0.0,
        held_before_seconds: 0.0,
        who: None,
        conflicts: 0,
        stuck: None,
        blind: None,
        next: Next::default(),
        opened: Interval::at(at(opened)),
    }
}

/// What a test says about a journey beyond its name.
pub trait Told: Sized {
    fn pushed(self, from: &str, to: &str) -> Self;
    fn committed(self, clock: &str) -> Self;
    fn reached(self, stage: Stage, from: &str, to: &str, basis: Basis) -> Self;
    fn skips(self, stages: &[Stage]) -> Self;
    fn live(self, from: &str, to: &str) -> Self;
    fn ends(self, outcome: Outcome, clock: &str) -> Self;
    fn stuck(self, stage: Stage, reason: Reason, since: &str) -> Self;
}

impl Told for Journey {
    fn pushed(mut self, from: &str, to: &str) -> Self {
        self = self.reached(Stage::Pushed, from, to, Basis::Poll);
        self.clock_start = Some(Interval::new(at(from), at(to)));
        self.skips(&[Stage::Detected, Stage::Fetched])
    }

    fn committed(mut self, clock: &str) -> Self {
        self.commit = Some(CommitRef {
            repository: "https://git.example.com/team/deploy".into(),
            branch: "main".into(),
            id: "4f2a9c1b7d3e5f60718293a4b5c6d7e8f9012345".into(),
            author: "Ada <ada@example.com>".into(),
            subject: format!("Deploy {}", self.image.repository.path()).into(),
        });
        self.intent = Some(Interval::at(at(clock)));
        self.reached(Stage::Committed, clock, clock, Basis::Poll)
    }

    fn reached(mut self, stage: Stage, from: &str, to: &str, basis: Basis) -> Self {
        let interval = Interval::new(at(from), at(to));
        self.stages.set(stage, StageState::Known(Evidence { interval, basis }));
        self
    }

    fn skips(mut self, stages: &[Stage]) -> Self {
        stages.iter().for_each(|stage| self.stages.set(*stage, StageState::Skipped));
        self
    }

    fn live(self, from: &str, to: &str) -> Self {
        let mut journey = self.reached(Stage::Live, from, to, Basis::Watch);
        journey.outcome = Some(Outcome::Live);
        journey.ended = Some(Interval::new(at(from), at(to)));
        journey.settled = true;
        journey
    }

    fn ends(mut self, outcome: Outcome, clock: &str) -> Self {
        self.outcome = Some(outcome);
        self.ended = Some(Interval::at(at(clock)));
        self.settled = true;
        self
    }

    fn stuck(mut self, stage: Stage, reason: Reason, since: &str) -> Self {
        self.stuck = Some(Stuck { since: at(since), stage, reason, kept: None });
        self
    }
}

/// A whole way from push to live: six seconds, well known.
pub fn arrived(app: &str, tag: &str, environment: &str) -> Journey {
    journey(app, tag, environment, "12:00:01")
        .pushed("12:00:00", "12:00:01")
        .committed("12:00:02")
        .reached(Stage::Applied, "12:00:03", "12:00:03.200", Basis::ManagedFields)
        .reached(Stage::Started, "12:00:04", "12:00:04.999", Basis::StatusField)
        .reached(Stage::Ready, "12:00:05", "12:00:05.999", Basis::Condition)
        .live("12:00:06", "12:00:07")
}

pub fn running(app: &str, tag: &str, environment: &str, since: &str) -> DestinationStatus {
    let image: knotmeter::image::ImageRef =
        format!("registry.example.com/team/{app}:{tag}").parse().expect("an image reference");
    DestinationStatus {
        destination: destination(app, environment),
        live: Some((image.clone(), None, at(since))),
        image: Some(image),
        behind_seconds: 0.0,
        owner: Owner::default(),
        hold: None,
        mixed_digests: false,
        config_not_rolled: None,
        overridden_since: None,
        failed: false,
    }
}

pub fn source(name: &str, up: bool) -> SourceStatus {
    SourceStatus {
        source: name.into(),
        up,
        last_look: Some(at("12:04:29")),
        interval_seconds: 5.0,
        fresh: usize::from(up) * 2,
        scopes: 2,
        failing: vec![],
    }
}

/// An updater that scanned `web` and pushes to the deploy repository.
pub fn updaters() -> Updaters {
    Updaters {
        scanners: vec![ScannerStatus {
            engine: "flux",
            cluster: "lab".into(),
            object: ("flux-system".into(), "web".into()),
            repository: "registry.example.com/team/web".parse().expect("a repository"),
            interval_seconds: Some(60.0),
            age_seconds: Some(21.0),
            tags: Some(40),
            lag: Some((31.0, 5.5)),
            pending_seconds: Some(0.0),
        }],
        pushers: vec![updater()],
    }
}

pub fn updater() -> Updater {
    Updater {
        engine: "flux",
        cluster: "lab".into(),
        repository: "https://git.example.com/team/deploy".into(),
    }
}

/// A shop with two environments on an ordinary day: one thing of every kind.
pub fn shop() -> Arc<Snapshot> {
    let mut held = journey("reports", "2.1.0", "prod", "12:02:00").pushed("12:01:40", "12:02:00");
    held.held = Some(knotmeter::tracker::Held { hold: Hold::Paused, since: at("12:02:30"), until: None });
    let mut blind = journey("search", "0.9.4", "prod", "12:03:00").pushed("12:02:30", "12:03:00");
    blind.blind = Some("git/https://git.example.com/team/deploy".into());
    let stuck = journey("checkout", "v3.8.1", "prod", "12:00:02")
        .pushed("11:59:58", "12:00:00")
        .committed("12:00:05")
        .reached(Stage::Applied, "12:00:07", "12:00:07.999", Basis::ManagedFields)
        .reached(Stage::Started, "12:00:19", "12:00:19.999", Basis::StatusField)
        .stuck(Stage::Ready, Reason::CrashLoop, "12:03:00");
    let moving = journey("web", "v1.0.4", "staging", "12:04:12")
        .pushed("12:04:10", "12:04:12")
        .committed("12:04:15")
        .reached(Stage::Applied, "12:04:17", "12:04:17.999", Basis::ManagedFields);
    let superseded = journey("web", "v1.0.2", "prod", "11:52:00")
        .pushed("11:51:50", "11:52:00")
        .committed("11:52:31")
        .ends(Outcome::Superseded, "11:58:02");
    let mut slow = arrived("web", "v1.0.3", "prod");
    slow.trigger = Trigger::Promotion;
    let mut failing = source("registry/registry.example.com", true);
    failing.fresh = 1;
    failing.failing =
        vec![("registry.example.com/team/old".into(), "forbidden", "the credentials may not list it".into())];
    let mut away = source("git/https://git.example.com/team/deploy", false);
    away.last_look = Some(at("12:02:11"));
    let mut behind = running("checkout", "v3.8.0", "prod", "09:12:44");
    behind.behind_seconds = 266.0;
    Arc::new(Snapshot {
        at: now(),
        journeys: [
            superseded,
            arrived("web", "v1.0.3", "staging"),
            slow,
            arrived("checkout", "v3.8.1", "staging"),
            stuck,
            held,
            blind,
            moving,
        ]
        .map(Arc::new)
        .into(),
        destinations: vec![
            running("web", "v1.0.3", "staging", "12:00:06.500"),
            running("checkout", "v3.8.1", "staging", "12:00:06.500"),
            running("reports", "2.1.0", "staging", "11:12:00"),
            running("search", "0.9.4", "staging", "10:40:00"),
            running("web", "v1.0.3", "prod", "12:00:06.500"),
            behind,
            running("reports", "2.0.9", "prod", "08:00:00"),
            running("search", "0.9.3", "prod", "07:30:00"),
        ],
        sources: vec![source("cluster/lab", true), away, failing],
        updaters: updaters(),
    })
}
