//! A world in which every line is bad at the same time: connections to git, to the cluster and to the registry are
//! refused, reset, stalled, cut at any byte, or answered with 429 and 503; the registry throttles, fails, forgets
//! tokens, shows lists that differ, and sends what is broken, false or far too much; and a second cluster is dead all
//! the time. What Knotmeter says at the end is held against what the world wrote down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use knotmeter::app;
use knotmeter::config::{self, Config};
use knotmeter::demo::{Front, Happened, Options, World};
use knotmeter::tracker::{Journey, Outcome, Stage};
use serde_json::json;

use super::bad_registry::{BadRegistry, OLD_TAGS, WRONGS, Wrong};
use super::line::Line;
use super::truth::lies;
use super::world::{Watched, config_of, quick};
use super::{ASK_EVERY, PATIENCE, Timed, get, until};

/// Versions that are pushed while the lines are bad.
const ROUNDS: usize = 4;
/// Troubles that each line meets in one round, and wrong answers that the registry gives in it.
const TROUBLES: usize = 1;
const WRONGS_MET: usize = WRONGS.len().div_ceil(ROUNDS);

fn version(number: usize) -> String {
    format!("v1.0.{}", number + 1)
}

/// Both apps run this version in prod, in truth.
fn in_prod(watched: &Watched, number: usize) -> bool {
    let truth = watched.world.truth();
    ["web", "api"].into_iter().all(|app| {
        let wanted = watched.image(&format!("team/{app}"), &version(number));
        truth.iter().any(|entry| {
            matches!(&entry.what, Happened::Live { namespace, image, .. } if namespace == "prod" && *image == wanted)
        })
    })
}

/// The journeys, as soon as all these images are told to be live in both places, and for good where that is wanted.
async fn told_live(watched: &Watched, images: &BTreeSet<String>, for_good: bool) -> Vec<Journey> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let journeys = watched.journeys();
        let live = |image: &String, environment: &str| {
            journeys.iter().any(|journey| {
                journey.image.to_string() == *image
                    && &*journey.destination.environment == environment
                    && journey.outcome == Some(Outcome::Live)
                    && (journey.settled || !for_good)
            })
        };
        if images.iter().all(|image| live(image, "staging") && live(image, "prod")) {
            return journeys;
        }
        if Instant::now() > deadline {
            let told = journeys.iter().map(|one| {
                format!("{} to {}: {:?}, settled: {}", one.image, one.destination, one.outcome, one.settled)
            });
            panic!("not all of {images:?} are live:\n{}", told.collect::<Vec<_>>().join("\n"));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// How many tags an app's repository has, by the metric.
fn tags(metrics: &str, app: &str) -> usize {
    let of_it =
        |line: &&str| line.starts_with("knotmeter_registry_tags{") && line.contains(&format!("/{app}\""));
    let line = metrics.lines().find(of_it).unwrap_or_else(|| panic!("no tags of {app} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_invented_where_every_line_is_bad() {
    let _timed = Timed::part("bad lines");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = BadRegistry::start(3).await;
    let front = Front { name: registry.name.clone(), registry: registry.behind };
    let world = World::start(Options { seed: 11, registry_front: Some(front), ..quick() }).await.unwrap();
    registry.grow_old("team/web", "v1.0.0").await;
    let addresses = world.addresses().clone();
    let bare = |url: &str| url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let (git_host, api) = (bare(&addresses.git), bare(&addresses.kubernetes));
    let lines = [Line::to(git_host.clone(), 1).await, Line::to(api.clone(), 2).await];

    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&addresses.kubeconfig).unwrap();
    let (behind, dead) = (folder.path().join("kubeconfig"), folder.path().join("dead"));
    std::fs::write(&behind, text.replace(&api, &lines[1].address.to_string())).unwrap();
    // Nobody listens there.
    std::fs::write(&dead, text.replace(&api, "127.0.0.1:1")).unwrap();
    let mut config = config_of(&addresses);
    // No wait after a failure is longer than twenty of these.
    config["registries"] = json!([{"host": registry.name, "interval": "150ms", "repositories": ["team/*"],
        "tls": {"ca_file": registry.ca_file()}}]);
    config["git"][0]["url"] = addresses.git.replace(&git_host, &lines[0].address.to_string()).into();
    config["clusters"][0]["kubeconfig"] = json!(behind);
    config["clusters"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "dead", "kubeconfig": dead, "context": addresses.cluster}));
    // Longer than what a bad line holds up, even on a busy machine: an ending is told once, and what its registry says
    // later is too late.
    config["settle"] = json!({"min": "45s", "max": "45s"});
    let config: Config = config::parse(&config.to_string(), Path::new("test.yaml")).unwrap();
    let running = app::start(config, folder.path().join("cache")).await.unwrap();
    let watched = Watched { world, running, folder };
    let page = watched.page();
    until("all but the dead cluster was seen whole", async || {
        let answer = get(&format!("{page}/api/v1/sources")).await?;
        let up = answer["sources"]
            .as_array()?
            .iter()
            .filter(|one| one["up"] == true && one["fresh"] == one["scopes"]);
        (up.count() == 3).then_some(())
    })
    .await;

    let bad = |bad: bool| {
        lines.iter().map(|line| &line.bad).chain([&registry.bad]).for_each(|line| _ = line.send_replace(bad))
    };
    let mut pushed = BTreeSet::new();
    for number in 0..ROUNDS {
        bad(true);
        for app in ["web", "api"] {
            let (repository, tag) = (format!("team/{app}"), version(number));
            watched.world.push(&repository, &tag).await.unwrap();
            pushed.insert(watched.image(&repository, &tag));
        }
        // All of it happens while the lines are bad. What is overtaken before anybody could look is another story.
        until("it is live in the world", async || in_prod(&watched, number).then_some(())).await;
        until("every line had its troubles", async || {
            let lines = lines.iter().all(|line| line.troubles() >= TROUBLES * (number + 1));
            let wrongs = registry.wrongs() >= WRONGS_MET * (number + 1);
            (lines && wrongs && registry.met().contains_key(&Wrong::Stranger)).then_some(())
        })
        .await;
        bad(false);
        told_live(&watched, &pushed, false).await;
    }
    let met = registry.met();
    let missed: Vec<&Wrong> = WRONGS.iter().filter(|wrong| !met.contains_key(wrong)).collect();
    assert!(missed.is_empty(), "not met: {missed:?} of {met:?}");

    let settled = told_live(&watched, &pushed, true).await;
    let truth = watched.world.truth();
    let (checked, lies) = lies(&truth, &settled);
    assert!(lies.is_empty(), "{} of {checked} are wrong:\n{}", lies.len(), lies.join("\n"));
    // Each image once to each place, and no image that was not pushed.
    let mut told = BTreeSet::new();
    for journey in watched.journeys() {
        let image = journey.image.to_string();
        assert!(pushed.contains(&image), "invented: {journey:?}");
        assert!(told.insert((image, journey.destination.to_string())), "told twice: {journey:?}");
    }
    // Nobody was taken in by what lists left out, and everything pushed was found.
    let unseen = settled.iter().filter(|journey| journey.stages.evidence(Stage::Pushed).is_none());
    assert_eq!(unseen.collect::<Vec<_>>(), Vec::<&Journey>::new());
    let metrics = reqwest::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap();
    let tags: BTreeMap<&str, usize> =
        ["web", "api"].into_iter().map(|app| (app, tags(&metrics, app))).collect();
    assert_eq!(tags, BTreeMap::from([("web", OLD_TAGS + 1 + ROUNDS), ("api", 1 + ROUNDS)]));
    let troubles: Vec<usize> = lines.iter().map(Line::troubles).collect();
    println!(
        "{troubles:?} troubles, {met:?}, {} journeys, {checked} times held against the truth",
        settled.len()
    );
    watched.stop().await;
}
