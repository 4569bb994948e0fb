//! A docker-registry that notifies and a git hook that tells of a push, to one Knotmeter of two: the other one polls
//! and must come to the same, only with wider intervals.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::real_parts::{Parts, at, done, holds, settled, start};
use super::world::sources_up;
use super::{Timed, until};

const SECRET: &str = "a-secret-of-this-test";
/// Of the one that only polls.
const INTERVAL: &str = "5s";
/// Of the one that is told: so long that whatever it finds was found by a webhook.
const LONG_INTERVAL: &str = "10m";

/// A post-receive hook as a person would write it.
fn post_receive(hook: &str, secret: &str, url: &str) -> String {
    format!(
        r#"#!/bin/sh
time=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
while read -r before after ref; do
  curl --silent --show-error --max-time 5 --header "Authorization: Bearer $(cat {secret})" {hook} --data \
    "{{\"git\": \"{url}\", \"branch\": \"${{ref#refs/heads/}}\", \"before\": \"$before\", \"commit\": \"$after\", \"time\": \"$time\"}}"
done
"#
    )
}

/// Passes connections on to a program whose address is not known before the parts that call it were started.
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

async fn metric(page: &str, line: &str) -> Option<f64> {
    let metrics = reqwest::get(format!("{page}/metrics")).await.ok()?.text().await.ok()?;
    metrics.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_narrow_what_polling_finds_as_well() {
    let _timed = Timed::part("webhooks");
    let (gate, target, forwarding) = forwarder().await;
    let endpoint = json!({
        "name": "knotmeter", "url": format!("http://{gate}/hooks/registry"), "timeout": "5s", "threshold": 5,
        "backoff": "1s", "headers": {"Authorization": [format!("Bearer {SECRET}")]},
    });
    let parts = Parts::start_with(|_| json!({"notifications": {"endpoints": [endpoint]}})).await;
    parts.begin().await;
    let secret = parts.at().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();

    let config = |interval: &str| {
        let mut config = parts.config();
        for source in ["registries", "git"] {
            config[source].as_array_mut().unwrap().last_mut().unwrap()["interval"] = interval.into();
        }
        config["settle"] = json!({"min": "6s", "max": "10s"});
        config
    };
    let (polling, mut told) = (config(INTERVAL), config(LONG_INTERVAL));
    told["hooks"] = json!([
        {"name": "registry", "kind": "distribution", "secret_file": secret},
        {"name": "fleet", "kind": "hint", "secret_file": secret},
    ]);
    let (mut with, page) = start(&parts, "told", &told).await;
    let (mut without, polled_page) = start(&parts, "polling", &polling).await;
    target.set(page.clone()).unwrap();
    for page in [&page, &polled_page] {
        until("every source is up", async || sources_up(page, 5).await.then_some(())).await;
    }
    let hook = parts.at().join("shop.git/hooks/post-receive");
    let script = post_receive(&format!("http://{gate}/hooks/fleet"), secret.to_str().unwrap(), &parts.git);
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();

    let (digest, pushed) = done(parts.push("1.1.0")).await;
    let (commit, committed) = done(parts.commit("shop", "shop/web.yaml", &parts.manifest("1.1.0"))).await;
    let image = format!("web={}", parts.image("1.1.0"));
    parts.kubectl(&["set", "image", "deployment/web", &image, "-n", "shop"]).await;

    let told = settled(&page, &parts.image("1.1.0"), "shop").await;
    let polled = settled(&polled_page, &parts.image("1.1.0"), "shop").await;
    for journey in [&told, &polled] {
        assert_eq!(
            (&journey["outcome"], &journey["digest"]),
            (&"live".into(), &digest.clone().into()),
            "{journey}"
        );
        assert_eq!(
            (&journey["trigger"], &journey["commit"]["id"]),
            (&"commit".into(), &commit.clone().into()),
            "{journey}"
        );
        holds(journey, "pushed", &pushed);
        holds(journey, "committed", &committed);
    }
    for stage in ["pushed", "committed"] {
        let basis = |journey: &Value| {
            let stages = journey["stages"].as_array().unwrap();
            stages.iter().find(|one| one["stage"] == stage).unwrap()["basis"].clone()
        };
        assert_eq!(basis(&polled), "poll", "{polled}");
        // A registry tells before it links the tag: a look that was quicker finds it at the next one, a moment later.
        let late = stage == "pushed" && basis(&told) == "poll";
        assert!(late || basis(&told) == "webhook", "{told}");
        println!("{stage}: {:.3} s told, {:.3} s polled", width(&told, stage), width(&polled, stage));
        assert!(late || width(&told, stage) < width(&polled, stage), "{told}\n{polled}");
    }

    // Layers are pushed, too, and nobody asks for a look because of them.
    let taken = metric(&page, r#"knotmeter_hook_requests_total{hook="fleet",result="taken"}"#).await;
    assert_eq!(taken, Some(1.0));
    let client = reqwest::Client::new();
    for (path, status) in [("registry", 401), ("nobody", 404)] {
        let url = format!("{page}/hooks/{path}");
        assert_eq!(client.post(&url).body("{}").send().await.unwrap().status(), status);
        assert_eq!(client.get(&url).send().await.unwrap().status(), 405);
    }
    assert_eq!(client.post(format!("{polled_page}/hooks/registry")).send().await.unwrap().status(), 404);

    forwarding.abort();
    for program in [&mut with, &mut without] {
        program.signal("TERM");
        assert_eq!(program.ended().code(), Some(0), "{}", program.errors());
        assert!(!program.errors().contains(SECRET));
    }
    parts.world.stop().await;
}
