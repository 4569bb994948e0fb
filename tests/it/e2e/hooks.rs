//! A docker-registry that notifies and a git hook that tells of each push, to two Knotmeters. One gets every delivery and
//! looks for nothing else; of the other every delivery is dropped, and it polls. Both must come to the same journeys, and
//! those of the first must be known as closely as webhooks allow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::images::{layout, push};
use super::real_parts::{Done, Parts, at, done, holds, settled, start};
use super::world::sources_up;
use super::{Timed, get, until};

const SECRET: &str = "a-secret-of-this-test";
/// Of the one that only polls.
const INTERVAL: &str = "1s";
/// Of the one that is told: so long that whatever it finds was found by a webhook.
const LONG_INTERVAL: &str = "10m";
/// The first one is there from the beginning of the shop.
const APPS: [&str; 3] = ["web", "api", "mail"];
/// Versions of each in one measurement.
const ROUNDS: usize = 2;
/// A webhook brings the width of an interval from that of the poll below this, in seconds: the median of a measurement.
const TOLD_WIDTH_MAX: f64 = 0.1;
/// A machine that is busy with something else widens what it measures. One quiet moment is proof enough.
const MEASUREMENTS_MAX: usize = 3;

/// A post-receive hook as a person would write it, with several to tell.
fn post_receive(hooks: &[String], secret: &str, url: &str) -> String {
    let mut script = format!("#!/bin/sh\nsecret=$(cat {secret})\n");
    script += r#"time=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
while read -r before after ref; do
"#;
    for hook in hooks {
        script += &format!(
            r#"  curl --silent --show-error --max-time 5 --header "Authorization: Bearer $secret" {hook} --data \
    "{{\"git\": \"{url}\", \"branch\": \"${{ref#refs/heads/}}\", \"before\": \"$before\", \"commit\": \"$after\", \"time\": \"$time\"}}"
"#
        );
    }
    script + "done\n"
}

/// Passes connections on to a program whose address is not known before the parts that call it were started; drops them
/// while it is not.
async fn forwarder() -> (SocketAddr, Arc<OnceLock<String>>, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let to: Arc<OnceLock<String>> = Arc::default();
    let target = to.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let Some(page) = target.get() else { return };
                if let Ok(mut on) = TcpStream::connect(page.trim_start_matches("http://")).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut on).await;
                }
            });
        }
    });
    (address, to, task.abort_handle())
}

/// Seconds between the two ends of a stage's interval.
fn width(journey: &Value, stage: &str) -> f64 {
    (at(journey, stage, "not_after") - at(journey, stage, "not_before")).as_seconds_f64()
}

fn median(journeys: &[Value], stage: &str) -> f64 {
    let mut widths: Vec<f64> = journeys.iter().map(|journey| width(journey, stage)).collect();
    widths.sort_by(f64::total_cmp);
    widths[widths.len() / 2]
}

async fn metric(page: &str, line: &str) -> Option<f64> {
    let metrics = reqwest::get(format!("{page}/metrics")).await.ok()?.text().await.ok()?;
    metrics.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok())
}

/// One image of one app, and how it was brought.
struct Brought {
    image: String,
    digest: String,
    commit: String,
    pushed: Done,
    committed: Done,
}

fn image(parts: &Parts, app: &str, tag: &str) -> String {
    parts.image(tag).replace("web", app)
}

async fn push_app(parts: &Parts, app: &str, tag: &str) -> String {
    let layout = layout(parts.at(), tag);
    push(&layout, &image(parts, app, tag), parts.at()).await;
    layout.digest.to_string()
}

async fn commit_app(parts: &Parts, app: &str, tag: &str) -> String {
    let manifest = parts.manifest(tag).replace("web", app);
    parts.commit("shop", &format!("shop/{app}.yaml"), &manifest).await
}

/// Another app of the shop runs its first version.
async fn open(parts: &Parts, app: &str, tag: &str) {
    push_app(parts, app, tag).await;
    commit_app(parts, app, tag).await;
    let file = parts.at().join(format!("shop/shop/{app}.yaml"));
    parts.kubectl(&["apply", "--validate=false", "-f", file.to_str().unwrap()]).await;
    let deployment = format!("deployment/{app}");
    parts.kubectl(&["rollout", "status", &deployment, "-n", "shop", "--timeout=60s"]).await;
}

async fn bring(parts: &Parts, app: &str, tag: &str) -> Brought {
    let image = image(parts, app, tag);
    let (digest, pushed) = done(push_app(parts, app, tag)).await;
    let (commit, committed) = done(commit_app(parts, app, tag)).await;
    let set = format!("{app}={image}");
    parts.kubectl(&["set", "image", &format!("deployment/{app}"), &set, "-n", "shop"]).await;
    Brought { image, digest, commit, pushed, committed }
}

/// Waits until an image is live and both of its levels outside of the cluster were seen: what comes next ends them.
async fn is_known(page: &str, image: &str) {
    let url = format!("{page}/api/v1/journeys?image={image}&environment=shop");
    until(&format!("{image} is live and seen everywhere"), async || {
        let answer = get(&url).await?;
        let known = |journey: &&Value, stage: &str| {
            let stages = journey["stages"].as_array().into_iter().flatten();
            stages.into_iter().any(|one| one["stage"] == stage && one["not_after"].is_string())
        };
        let mut journeys = answer["journeys"].as_array()?.iter();
        journeys.find(|one| one["outcome"] == "live" && known(one, "pushed") && known(one, "committed"))?;
        Some(())
    })
    .await;
}

/// What both know of each stage has a moment in common.
fn agree(told: &Value, polled: &Value) {
    let intervals = |journey: &Value| -> BTreeMap<String, (String, String)> {
        let stages = journey["stages"].as_array().unwrap().iter();
        let known = stages.filter_map(|one| {
            let bound = |name: &str| one[name].as_str().map(str::to_owned);
            Some((one["stage"].as_str()?.to_owned(), (bound("not_before")?, bound("not_after")?)))
        });
        known.collect()
    };
    let (told_at, polled_at) = (intervals(told), intervals(polled));
    // When it was built is known to whoever described it before it settled.
    for stage in ["pushed", "committed", "applied", "started", "ready", "live"] {
        let (Some((from, to)), Some((other_from, other_to))) = (told_at.get(stage), polled_at.get(stage))
        else {
            panic!("{stage} is not known to both: {told}\n{polled}");
        };
        // All of them are UTC with milliseconds: their order is that of their texts.
        assert!(from <= other_to && other_from <= to, "{stage}: {told}\n{polled}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_narrow_what_polling_finds_as_well() {
    let _timed = Timed::part("webhooks");
    let (gate, target, forwarding) = forwarder().await;
    // This one is never told where to.
    let (drop_gate, _nowhere, dropping) = forwarder().await;
    let endpoint = |name: &str, gate: SocketAddr| {
        json!({
            "name": name, "url": format!("http://{gate}/hooks/registry"), "timeout": "5s", "threshold": 5,
            "backoff": "1s", "headers": {"Authorization": [format!("Bearer {SECRET}")]},
        })
    };
    let endpoints = [endpoint("told", gate), endpoint("dropped", drop_gate)];
    let parts = Parts::start_with(|_| json!({"notifications": {"endpoints": endpoints}})).await;
    parts.begin().await;
    for (at, app) in APPS.iter().enumerate().skip(1) {
        open(&parts, app, &format!("1.0.{at}")).await;
    }
    let secret = parts.at().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();

    let config = |interval: &str| {
        let mut config = parts.config();
        for source in ["registries", "git"] {
            config[source].as_array_mut().unwrap().last_mut().unwrap()["interval"] = interval.into();
        }
        config["settle"] = json!({"min": "3s", "max": "6s"});
        config["hooks"] = json!([
            {"name": "registry", "kind": "distribution", "secret_file": secret},
            {"name": "fleet", "kind": "hint", "secret_file": secret},
        ]);
        config
    };
    let (mut with, page) = start(&parts, "told", &config(LONG_INTERVAL)).await;
    let (mut without, polled_page) = start(&parts, "polling", &config(INTERVAL)).await;
    target.set(page.clone()).unwrap();
    for page in [&page, &polled_page] {
        until("every source is up", async || sources_up(page, 5).await.then_some(())).await;
    }
    let hook = parts.at().join("shop.git/hooks/post-receive");
    let hooks = [gate, drop_gate].map(|gate| format!("http://{gate}/hooks/fleet"));
    let script = post_receive(&hooks, secret.to_str().unwrap(), &parts.git);
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();

    let mut commits = 0;
    let mut narrow = [("pushed", false), ("committed", false)];
    for measurement in 1..=MEASUREMENTS_MAX {
        let mut all = Vec::new();
        for round in 0..ROUNDS {
            for (at, app) in APPS.iter().enumerate() {
                let brought = bring(&parts, app, &format!("1.{}.{at}", measurement * ROUNDS + round)).await;
                is_known(&page, &brought.image).await;
                // Longer than one interval of who polls.
                is_known(&polled_page, &brought.image).await;
                commits += 1;
                all.push(brought);
            }
        }
        let (mut told, mut polled) = (Vec::new(), Vec::new());
        for brought in &all {
            told.push(settled(&page, &brought.image, "shop").await);
            polled.push(settled(&polled_page, &brought.image, "shop").await);
        }
        for (brought, (told, polled)) in all.iter().zip(told.iter().zip(&polled)) {
            for journey in [told, polled] {
                assert_eq!(journey["outcome"], "live", "{journey}");
                assert_eq!(journey["trigger"], "commit", "{journey}");
                assert_eq!(journey["digest"], brought.digest, "{journey}");
                assert_eq!(journey["commit"]["id"], brought.commit, "{journey}");
                holds(journey, "pushed", &brought.pushed);
                holds(journey, "committed", &brought.committed);
            }
            assert_eq!(told["id"], polled["id"], "{told}\n{polled}");
            agree(told, polled);
        }
        let count = |page: &str| format!("{page}/api/v1/journeys?environment=shop&limit=500");
        for page in [&page, &polled_page] {
            let journeys = get(&count(page)).await.unwrap();
            assert_eq!(journeys["journeys"].as_array().unwrap().len(), commits, "nothing else came of it");
        }
        for (stage, narrow) in &mut narrow {
            let widths = (median(&told, stage), median(&polled, stage));
            println!("{stage}: {:.3} s told, {:.3} s polled, median of {}", widths.0, widths.1, all.len());
            *narrow |= widths.0 < TOLD_WIDTH_MAX && widths.0 < widths.1;
        }
        if narrow.iter().all(|(_, narrow)| *narrow) {
            break;
        }
        assert!(measurement < MEASUREMENTS_MAX, "they are not narrow: {narrow:?}");
    }

    // Layers are pushed, too, and nobody asks for a look because of them.
    let taken = |page: &str| {
        let page = page.to_owned();
        async move { metric(&page, r#"knotmeter_hook_requests_total{hook="fleet",result="taken"}"#).await }
    };
    assert_eq!((taken(&page).await, taken(&polled_page).await), (Some(commits as f64), None));
    let client = reqwest::Client::new();
    for (path, status) in [("registry", 401), ("nobody", 404)] {
        let url = format!("{page}/hooks/{path}");
        assert_eq!(client.post(&url).body("{}").send().await.unwrap().status(), status);
        assert_eq!(client.get(&url).send().await.unwrap().status(), 405);
    }

    forwarding.abort();
    dropping.abort();
    for program in [&mut with, &mut without] {
        program.signal("TERM");
        assert_eq!(program.ended().code(), Some(0), "{}", program.errors());
        assert!(!program.errors().contains(SECRET));
    }
    parts.world.stop().await;
}
