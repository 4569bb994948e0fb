//! From a seed to a story: which world, who lives there, and what fails between it and its observers.

use crate::journeys::random::Random;

use super::people::Act;
use super::story::{Manifest, Story, Telling, Weather};
use super::workload::{Kind, Load, Part};

/// Repositories; each has a version before anybody looks.
const REPOSITORIES: [&str; 3] = ["team/web", "team/db", "mesh/proxy"];

/// What a seed lets happen.
pub fn write(seed: u64) -> (Story, Weather) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // By a chance of its own, so that worlds without Flux stay what they are.
    let mut kinds = Random(seed ^ 0xf1f1);
    let flux = kinds.percent(30);
    let calm = random.percent(35);
    let weather = Weather {
        calm,
        flux,
        counted: Random(seed ^ 0x5ca1e).percent(40),
        healthy: flux && calm && kinds.percent(50),
        busy: random.between(60_000, 240_000),
        clusters: if random.percent(20) { &["lab", "east"] } else { &["lab"] },
    };
    let mut telling = Telling::new(random, weather);
    let config = settle_in(&mut telling);
    let releases = if weather.healthy { 6 } else { 1 + telling.random.below(4) };
    for _ in 0..releases {
        telling.later(5000, weather.busy, Act::Release);
    }
    let resizes = if weather.counted { 1 + telling.random.below(4) } else { 0 };
    for _ in 0..resizes {
        telling.later(5000, weather.busy, Act::Resize);
    }
    let meddles = if weather.healthy { 0 } else { telling.random.below(6) };
    for _ in 0..meddles {
        telling.later(5000, weather.busy, Act::Meddle);
    }
    if weather.flux && !weather.healthy {
        telling.trouble_flux();
    }
    if !weather.calm {
        trouble(&mut telling);
    }
    let end = telling.unfold();
    // Trouble was written first; of one moment the order of writing stays.
    let mut facts = telling.facts;
    facts.sort_by_key(|(at, _)| *at);
    (Story { config, facts, end }, weather)
}

/// What is there before anybody looks, and the configuration.
fn settle_in(telling: &mut Telling) -> Vec<String> {
    for repository in REPOSITORIES {
        telling.versions.insert(repository, vec!["1.0.0".to_owned()]);
        telling.push(repository, "1.0.0");
    }
    let Weather { clusters, counted, .. } = telling.weather;
    let kinds = [
        (Kind::Deployment, "web", "team/web"),
        (Kind::StatefulSet, "db", "team/db"),
        (Kind::DaemonSet, "agent", "mesh/proxy"),
        (Kind::CronJob, "tick", "team/db"),
    ];
    let first = telling.random.below(10);
    let wanted: &[usize] = match first {
        0..=4 => &[0],
        5 | 6 => &[0, 1],
        7 => &[0, 2],
        8 => &[0, 3],
        _ => &[1, 2],
    };
    // Flux has a policy for each container, and a line one marker.
    let proxied = telling.random.percent(25) && !telling.weather.flux;
    for (kind, name, repository) in wanted.iter().map(|at| kinds[*at]) {
        for environment in ["staging", "prod"] {
            // The second cluster is one more production.
            for cluster in clusters.iter().filter(|cluster| **cluster == "lab" || environment == "prod") {
                let mut load = Load::new(cluster, environment, kind, name);
                load.replicas = 1 + telling.random.below(3);
                // One file for each cluster says one number.
                let same = telling.loads.iter().find(|other| other.file() == load.file());
                load.replicas = same.filter(|_| counted).map_or(load.replicas, |other| other.replicas);
                load.parts.push(Part { name, repository, tag: "1.0.0".into() });
                if proxied && kind == Kind::Deployment {
                    load.parts.push(Part { name: "proxy", repository: "mesh/proxy", tag: "1.0.0".into() });
                }
                telling.loads.push(load);
            }
        }
    }
    let manifest = |load: &Load| Manifest {
        tags: load.parts.iter().map(|part| part.tag.clone()).collect(),
        text: 0,
        replicas: Some(load.replicas).filter(|_| counted),
    };
    let tree: Vec<Manifest> = telling.loads.iter().map(manifest).collect();
    telling.applied.clone_from(&tree);
    telling.commit(tree, "by=dev");
    for at in 0..telling.loads.len() {
        telling.set_up(at);
        if telling.loads[at].kind == Kind::CronJob {
            telling.later(60_000, 60_001, Act::Job { load: at });
        }
    }
    if telling.weather.flux {
        telling.set_up_flux();
    }
    configuration(telling)
}

fn configuration(telling: &mut Telling) -> Vec<String> {
    let prod = telling.weather.clusters.iter().map(|cluster| format!("{cluster}/prod"));
    let mut config = vec![
        format!("environments: staging=lab/staging prod={}", prod.collect::<Vec<_>>().join(",")),
        "path: main staging/ -> staging".to_owned(),
        "path: main prod/ -> prod".to_owned(),
    ];
    let random = &mut telling.random;
    for environment in ["staging", "prod"] {
        if random.percent(25) {
            config.push(format!("expect: r.io/team/web semver >=1.0.0 in {environment}"));
        }
    }
    let live = random.pick(&["20s", "1m", "10m"]);
    let applied = random.pick(&["15s", "5m"]);
    config.push(match telling.weather.flux {
        true => format!("budgets: by-interval live={live}"),
        false => format!("budgets: committed=1m applied={applied} live={live}"),
    });
    config.push(format!("settle: {}", random.pick(&["10s", "20s", "40s"])));
    let (registry, git) = (random.pick(&["10s", "20s"]), random.pick(&["10s", "20s"]));
    config.push(format!("poll: registry={registry} git={git} cluster={}", random.pick(&["10s", "30s"])));
    config
}

/// What fails between the world and its observers.
fn trouble(telling: &mut Telling) {
    let busy = telling.weather.busy + 30_000;
    let times = 1 + telling.random.below(3);
    for _ in 0..times {
        let at = telling.random.between(1000, busy);
        let cluster = *telling.random.pick(telling.weather.clusters);
        // Mostly short: a cut watch, a server that restarts. Some are longer than any window.
        let long = if telling.random.percent(70) { 15_000 } else { 120_000 };
        let until = at + telling.random.between(200, long);
        let failing = if telling.random.percent(50) { " failing" } else { "" };
        let (from, to) = match telling.random.below(10) {
            0..=3 => (format!("{cluster} down{failing}"), Some(format!("{cluster} up"))),
            4 => ("registry down".into(), Some("registry up".into())),
            5 => ("git down".into(), Some("git up".into())),
            6 => (format!("{cluster} relist"), None),
            // Whether a Job is older than a template is told by the clock that was set.
            7 if !telling.loads.iter().any(|load| load.kind == Kind::CronJob) => {
                let offset = telling.random.between(-300_000, 300_000);
                (format!("{cluster} clock {offset}ms"), None)
            }
            _ => ("restart".into(), None),
        };
        telling.facts.push((at, from));
        telling.facts.extend(to.map(|line| (until, line)));
    }
    if telling.random.percent(25) {
        let cluster = *telling.random.pick(telling.weather.clusters);
        let offset = telling.random.between(-300_000, 300_000);
        telling.facts.insert(0, (0, format!("{cluster} clock {offset}ms")));
    }
}
