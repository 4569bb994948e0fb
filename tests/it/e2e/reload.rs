//! A configuration that changes while the program runs.

use std::path::Path;

use knotmeter::app::{self, Reading};
use knotmeter::config;
use knotmeter::demo::World;
use knotmeter::exporters::metrics::Size;
use knotmeter::tracker::{Journey, Outcome};
use serde_json::{Value, json};

use super::process::{Program, knotmeter};
use super::world::{config_of, quick, sources_up};
use super::{Timed, get, until};

async fn metric(page: &str, name: &str) -> Option<f64> {
    metric_of(page, &format!("{name}{{}}")).await
}

/// The same with its labels.
async fn metric_of(page: &str, series: &str) -> Option<f64> {
    let text = reqwest::get(format!("{page}/metrics")).await.ok()?.text().await.ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?.to_owned();
    value.split(' ').next()?.parse().ok()
}

async fn reload(page: &str) -> (u16, Value) {
    let answer = reqwest::Client::new().post(format!("{page}/-/reload")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// As the kubelet brings a new version of a ConfigMap: the link is moved.
fn mount(folder: &Path, version: u32, text: &str) {
    let data = folder.join(format!("..{version}"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("knotmeter.yaml"), text).unwrap();
    std::os::unix::fs::symlink(data, folder.join("..next")).unwrap();
    std::fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    if version == 1 {
        std::os::unix::fs::symlink("..data/knotmeter.yaml", folder.join("knotmeter.yaml")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_is_taken_up_and_nothing_that_was_known_is_lost() {
    let _timed = Timed::part("reload");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let world = World::start(quick()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("knotmeter.yaml");
    let mut text = config_of(world.addresses());
    mount(folder.path(), 1, &text.to_string());
    let read = file.clone();
    let reading = Reading {
        file: Some(file.clone()),
        read: Box::new(move || config::load(&read).map_err(|error| error.to_string())),
    };
    let started = config::load(&file).unwrap();
    let running = app::start_with(started, folder.path().join("cache"), Some(reading)).await.unwrap();
    let page = format!("http://{}", running.address);
    until("every source is up", async || sources_up(&page, 3).await.then_some(())).await;
    let journeys = || -> Vec<Journey> { running.snapshots.borrow().journeys().cloned().collect() };
    let live = async |tag: &str| {
        world.push("team/web", tag).await.unwrap();
        let image = format!("{}/team/web:{tag}", world.addresses().registry);
        until("both destinations are live", async || {
            let live = |journey: &&Journey| {
                journey.image.to_string() == image && journey.outcome == Some(Outcome::Live)
            };
            (journeys().iter().filter(live).count() == 2).then_some(())
        })
        .await;
    };
    live("v1.0.1").await;
    assert_eq!(journeys().len(), 2);
    assert_eq!(metric(&page, "knotmeter_config_last_reload_successful").await, Some(1.0));

    // Nothing has changed.
    assert_eq!(reload(&page).await, (200, json!({"changed": [], "needs_restart": []})));

    // All at once: each source begins again, with what the tracker knows.
    text["registries"][0]["interval"] = "400ms".into();
    text["git"][0]["interval"] = "400ms".into();
    text["clusters"][0]["context"] = world.addresses().cluster.clone().into();
    text["budgets"] = json!({"live": "7m"});
    text["listen"] = "127.0.0.1:1".into();
    std::fs::write(folder.path().join("..1/knotmeter.yaml"), text.to_string()).unwrap();
    // The watch may have been first.
    let (status, first) = reload(&page).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["needs_restart"], json!(["listen"]));
    let looked = async || -> Option<Vec<Value>> {
        let sources = get(&format!("{page}/api/v1/sources")).await?;
        Some(sources["sources"].as_array()?.iter().map(|source| source["last_look"].clone()).collect())
    };
    let before = looked().await.unwrap();
    until("each source was looked at again", async || {
        let now = looked().await?;
        let whole = sources_up(&page, 3).await;
        (whole && now.iter().zip(&before).all(|(now, before)| now != before)).then_some(())
    })
    .await;
    assert_eq!(journeys().len(), 2, "what was there is not new: {:#?}", journeys());
    live("v1.0.2").await;
    assert_eq!(journeys().len(), 4);

    // A configuration that cannot be used changes nothing; the watch finds it and its successor by itself.
    mount(folder.path(), 2, "registries: [{host: r.io, docker_konfig: x}]");
    let successful = async || metric(&page, "knotmeter_config_last_reload_successful").await;
    until("it is refused", async || (successful().await == Some(0.0)).then_some(())).await;
    let (status, told) = reload(&page).await;
    let why = told["error"].as_str().unwrap().to_owned();
    assert!(status == 500 && why.contains("docker_konfig") && why.contains("last good"), "{told}");
    live("v1.0.3").await;
    text["listen"] = "127.0.0.1:0".into();
    mount(folder.path(), 3, &text.to_string());
    until("it is taken", async || (successful().await == Some(1.0)).then_some(())).await;
    assert_eq!(reload(&page).await, (200, json!({"changed": [], "needs_restart": []})));

    // A source that is no longer named is no longer looked at, and one that is new is.
    let git = text["git"].take();
    text["git"] = json!([]);
    mount(folder.path(), 4, &text.to_string());
    let (_, told) = reload(&page).await;
    let told = told["changed"].as_array().unwrap();
    let host = world.addresses().git.split('/').nth(2).unwrap().to_owned();
    assert!(told.contains(&format!("git/{host}").into()) && told.contains(&"rules".into()), "{told:?}");
    text["git"] = git;
    mount(folder.path(), 5, &text.to_string());
    assert_eq!(reload(&page).await.0, 200);
    live("v1.0.4").await;

    // A young shop has fewer series than were promised, and not many fewer.
    let text = reqwest::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    let apps = text.lines().filter(|line| line.starts_with("knotmeter_app_info")).count() / 2;
    let size = Size { apps, environments: 2, clusters: 1, registries: 1, repositories: apps, git: 1 };
    let promised = size.series();
    assert!((series..series * 5 / 2).contains(&promised), "{apps} apps: {promised} promised, {series} there");
    running.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("knotmeter.yaml");
    std::fs::write(&file, "listen: 127.0.0.1:0\nclusters: [{name: lab, kubeconfig: none}]\n").unwrap();
    let mut program = Program::start(
        knotmeter(&["run", "--config", file.to_str().unwrap()], folder.path()),
        "knotmeter",
        folder.path(),
    );
    let said = |program: &Program| program.errors() + &program.output();
    until("it serves", async || said(&program).contains("page, API and metrics are served").then_some(()))
        .await;
    program.signal("HUP");
    until("it has read it again", async || {
        said(&program).contains("the configuration was read again").then_some(())
    })
    .await;
    std::fs::write(&file, "listen: nowhere\n").unwrap();
    program.signal("HUP");
    until("it refuses it", async || {
        said(&program).contains("the last good one stays in force").then_some(())
    })
    .await;
    program.still_runs();
    program.signal("TERM");
    assert!(program.ended().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_come_change_and_go_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, secrets) in [("old", "the-first-secret\n"), ("new", "the-second-secret\nthe-third-secret\n")] {
        std::fs::write(at(name), secrets).unwrap();
    }
    let hook =
        |name: &str, kind: &str, secret: &str| json!({"name": name, "kind": kind, "secret_file": at(secret)});
    let write = |hooks: Value| {
        let cluster = json!({"name": "none", "kubeconfig": at("none")});
        let text = json!({"listen": "127.0.0.1:0", "clusters": [cluster], "hooks": hooks});
        std::fs::write(at("knotmeter.yaml"), text.to_string()).unwrap();
    };
    write(json!([]));
    let file = at("knotmeter.yaml");
    let read = Box::new(move || config::load(&file).map_err(|error| error.to_string()));
    let started = config::load(&at("knotmeter.yaml")).unwrap();
    // Nobody watches the file, so that each answer is about the change before it.
    let reading = Reading { file: None, read };
    let running = app::start_with(started, at("cache"), Some(reading)).await.unwrap();
    let page = format!("http://{}", running.address);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |hook: &str, secret: &str, tag: u32| {
        let body = json!({"image": format!("r.example/team/web:{tag}")}).to_string();
        let sent = client.post(format!("{page}/hooks/{hook}")).bearer_auth(secret).body(body).send().await;
        sent.unwrap().status().as_u16()
    };
    let changed = |names: &[&str]| (200, json!({"changed": names, "needs_restart": []}));
    let repeated =
        async || metric_of(&page, r#"knotmeter_hook_requests_total{hook="ci",result="repeated"}"#).await;

    assert_eq!(send("ci", "the-first-secret", 1).await, 404);
    write(json!([hook("ci", "hint", "old")]));
    assert_eq!(reload(&page).await, changed(&["hooks/ci"]));
    assert_eq!(send("ci", "the-first-secret", 1).await, 202);
    assert_eq!(send("ci", "the-second-secret", 2).await, 401);

    // Another secret, or two of them, and a second webhook; what was taken before is known.
    write(json!([hook("ci", "hint", "new"), hook("fleet", "hint", "old")]));
    assert_eq!(reload(&page).await, changed(&["hooks/ci", "hooks/fleet"]));
    assert_eq!(send("ci", "the-first-secret", 2).await, 401);
    assert_eq!(send("ci", "the-second-secret", 2).await, 202);
    assert_eq!(send("ci", "the-third-secret", 3).await, 202);
    assert_eq!(send("fleet", "the-first-secret", 3).await, 202);
    assert_eq!(repeated().await, None);
    assert_eq!(send("ci", "the-second-secret", 1).await, 202);
    assert_eq!(repeated().await, Some(1.0));

    // What cannot be used changes nothing.
    write(json!([hook("ci", "hint", "old"), hook("ci", "hint", "new")]));
    let (status, told) = reload(&page).await;
    assert!(status == 500 && told["error"].as_str().unwrap().contains("last good"), "{told}");
    assert_eq!(send("ci", "the-third-secret", 4).await, 202);
    assert_eq!(send("fleet", "the-first-secret", 4).await, 202);

    // Another kind, another name.
    write(json!([hook("fleet", "generic", "old"), hook("build", "hint", "new")]));
    assert_eq!(reload(&page).await, changed(&["hooks/build", "hooks/ci", "hooks/fleet"]));
    assert_eq!(send("ci", "the-third-secret", 5).await, 404);
    assert_eq!(send("build", "the-third-secret", 5).await, 202);
    assert_eq!(send("fleet", "the-first-secret", 5).await, 401, "the secret of this kind ends the address");
    assert_eq!(reload(&page).await, changed(&[]));
    running.stop().await;
}
