//! Plays one scenario, and notes what was said to hold each journey, and when.

use std::collections::BTreeMap;
use std::sync::Arc;

use knotmeter::observation::{
    Basis, Budgets, EnvironmentRule, Fact, Interval, PathRule, Rules, SettleRule, SourceKind, Time,
};
use knotmeter::tracker::{Journey, JourneyId, Tracker};

use super::super::drive::{Action, Drive};
use super::super::replay::{Played, Recording, Speaker, named, short};
use super::truth::Truth;
use super::{git, registry};

/// How often registry and git are looked at.
pub const LOOK_SECONDS: f64 = 2.0;
/// Folders of the repository, each named as the namespace and the environment that it is for.
pub const PATHS: [&str; 3] = ["staging/", "prod/", "back/"];
/// Healthy rollouts of the fleet take about ten seconds.
const LIVE_BUDGET_SECONDS: f64 = 25.0;

/// A scenario played to its end.
pub struct Fleet {
    pub truth: Truth,
    pub played: Played,
    /// In the order in which they began.
    pub told: Vec<Told>,
}

/// What a journey was said to wait for, for a while.
pub struct Told {
    /// `web:1.9.0 in prod`.
    pub journey: String,
    pub from: Time,
    /// The first moment at which it was no longer said.
    pub to: Time,
    /// `held suspended` or `stuck git_auth`.
    pub what: String,
    /// As kubectl takes it; empty where no object says so.
    pub who: String,
}

/// When our own looks happen, and when there is nobody to ask.
pub struct Looks {
    times: Vec<Time>,
    down: Vec<(Time, Time)>,
}

impl Looks {
    fn new(truth: &Truth, end: Time, drive: &Drive, part: &str) -> Self {
        let step = (LOOK_SECONDS * 1000.0) as i64;
        let times = (0..).map(|number| truth.began + number * step).take_while(|at| *at <= end).collect();
        let of_part = |action: &&Action| action.action == "part" && action.detail["part"] == *part;
        let mut down = Vec::new();
        let mut stopped = None;
        for action in drive.actions.iter().filter(of_part) {
            if action.detail["does"] == "stops" {
                stopped = Some(action.at);
            } else if let Some(stopped) = stopped.take() {
                down.push((stopped, action.at));
            }
        }
        Self { times, down }
    }

    pub fn times(&self) -> &[Time] {
        &self.times
    }

    pub fn is_down(&self, at: Time) -> bool {
        self.down.iter().any(|(from, to)| (*from..*to).contains(&at))
    }
}

/// Plays it.
pub fn play(scenario: &str) -> Fleet {
    watch(scenario, |_, _| ())
}

/// Plays it, and shows the tracker after every observation.
pub fn watch(scenario: &str, mut see: impl FnMut(&Tracker, Time)) -> Fleet {
    let folder = format!("flux-2.9.0/{scenario}");
    let truth = Truth::read(&folder);
    let drive = Drive::read(&folder);
    let (start, end) = (truth.began, drive.actions.last().expect("actions").at);
    let mut said = Vec::new();
    let mut config = Speaker::new(SourceKind::Config, "rules");
    said.push(config.say(start, Interval::at(start), Basis::Watch, Fact::ConfigInForce(Box::new(rules()))));
    let mut cluster = Speaker::new(SourceKind::Cluster, "lab");
    said.push(cluster.say(start, Interval::at(start), Basis::Watch, named()));
    let looks = |part| Looks::new(&truth, end, &drive, part);
    let pushed = |image: &serde_json::Value| drive.pushed(image).1;
    said.extend(registry::looks(&drive.images, pushed, &looks("registry")));
    said.extend(git::looks(&folder, &looks("git")));
    cluster.watch(&folder, &mut said);
    let mut told: Vec<Told> = Vec::new();
    let mut open: BTreeMap<JourneyId, usize> = BTreeMap::new();
    let recording = Recording::new(drive, said);
    let until = recording.end() + 20_000;
    let played = recording.watch(until, |tracker, now| {
        see(tracker, now);
        for journey in tracker.journeys() {
            let said = what(journey);
            let known = open.get(&journey.id).copied().filter(|at| {
                let told = &told[*at];
                Some((&*told.what, &*told.who)) == said.as_ref().map(|(what, who)| (&**what, &**who))
            });
            if let Some(at) = known {
                told[at].to = now;
                continue;
            }
            if let Some(at) = open.remove(&journey.id) {
                told[at].to = now;
            }
            if let Some((what, who)) = said {
                open.insert(journey.id, told.len());
                let name = format!("{} in {}", short(journey), journey.destination.workload.namespace);
                told.push(Told { journey: name, from: now, to: now, what, who });
            }
        }
    });
    Fleet { truth, played, told }
}

fn what(journey: &Journey) -> Option<(String, String)> {
    let held = journey.held.map(|held| format!("held {}", held.hold.as_str()));
    let stuck = || journey.stuck.map(|stuck| format!("stuck {}", stuck.reason.as_str()));
    let who = journey.who.as_ref().map_or(String::new(), |who| who.object.to_string());
    Some((held.or_else(stuck)?, who))
}

fn rules() -> Rules {
    let names = PATHS.map(|path| Arc::<str>::from(path.trim_end_matches('/')));
    let environment =
        |name: Arc<str>| EnvironmentRule { name: name.clone(), clusters: Vec::new(), namespaces: vec![name] };
    let path = |path: &str| PathRule {
        url: git::URL.into(),
        branch: "main".into(),
        path: path.into(),
        environment: path.trim_end_matches('/').into(),
    };
    Rules {
        environments: names.map(environment).into(),
        paths: PATHS.map(path).into(),
        budgets: Budgets {
            live: LIVE_BUDGET_SECONDS,
            committed_by_interval: true,
            applied_by_interval: true,
            ..Budgets::default()
        },
        settle: SettleRule { min: 1.0, max: 5.0, forget_after: 86400.0 },
        ..Rules::default()
    }
}

impl Fleet {
    /// Everything that was said to wait, one a line, for a person.
    pub fn told_lines(&self) -> String {
        let clock = |at: Time| at.to_string().get(11..23).unwrap_or("?").to_owned();
        let line = |told: &Told| {
            let Told { journey, what, who, .. } = told;
            format!("{}..{} {journey}: {what} {who}", clock(told.from), clock(told.to))
        };
        self.told.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
