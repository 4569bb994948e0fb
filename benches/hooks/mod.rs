//! Webhooks: how fast one moves a journey, and what a flood of bad ones costs everybody else.
//!
//! The program runs in this process as `run` does, over the demo's registry, with a journal. The floor of a delivery is
//! what cannot be left out: one fdatasync and the requests that find the new tag, made raw. The floor of the flood is
//! a server that answers 401 and looks at nothing. The next figure is a function here and a line in `main`.

mod wire;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use knotmeter::app::{self, Running};
use knotmeter::demo::{Options, World};
use knotmeter::observers::schedule::{COOL_DOWN, WHOLE_AFTER};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::wire::Wire;
use super::process;

const SECRET: &str = "a-secret-of-this-bench";
/// Deliveries that are timed, each of a new tag.
const DELIVERIES: usize = 31;
/// Between two deliveries: a whole look follows each.
const BETWEEN: Duration = WHOLE_AFTER.saturating_add(COOL_DOWN);
/// Bad deliveries of the flood, and good ones among them.
const BOGUS: usize = 100_000;
const GOOD: usize = 100;
/// Connections of the flood.
const FLOODERS: usize = 8;
/// Of a usual push event.
const BOGUS_BYTES: usize = 2048;
/// Far longer than the bench: what is found is found because of a webhook.
const INTERVAL: &str = "1h";
/// A tag that nobody found by then is never found.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, the world that it watches, and where their files are.
struct Shop {
    runtime: Runtime,
    running: Option<Running>,
    world: Option<World>,
    folder: TempDir,
    page: SocketAddr,
    registry: String,
}

impl Shop {
    fn start() -> Self {
        // A bench before this one may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).expect("our folder");
        let day = Duration::from_secs(86400);
        let options =
            Options { autopush: false, updater_every: day, applier_every: day, ..Options::default() };
        let world = runtime.block_on(World::start(options)).expect("the demo's world");
        let addresses = world.addresses();
        let registry = addresses.registry.clone();
        let config = json!({
            "listen": "127.0.0.1:0",
            "environments": [{"name": "prod", "namespaces": ["prod"]}],
            "registries": [
                {"host": registry, "plain_http": true, "interval": INTERVAL, "repositories": ["team/web"]},
            ],
            "clusters": [{"name": "demo", "kubeconfig": addresses.kubeconfig}],
            "expect": [{
                "image": format!("{registry}/team/web"), "policy": {"semver": {"range": ">=1.0.0"}},
                "environment": "prod",
            }],
            "hooks": [{"name": "ci", "kind": "hint", "secret_file": secret}],
            "journal": {"path": folder.path().join("journal")},
        });
        let config = knotmeter::config::parse(&config.to_string(), std::path::Path::new("bench.yaml"));
        let cache = folder.path().join("cache");
        let running = runtime.block_on(app::start(config.expect("a good configuration"), cache));
        let running = running.expect("the program starts");
        let page = running.address;
        let shop = Self { runtime, running: Some(running), world: Some(world), folder, page, registry };
        let mut wire = Wire::connect(page);
        let up = |sources: &Value| {
            let sources = sources["sources"].as_array().expect("a list");
            sources.len() == 2 && sources.iter().all(|one| one["up"] == true && one["fresh"] == one["scopes"])
        };
        until(|| up(&wire.json("/api/v1/sources")));
        shop
    }

    fn push(&self, tag: &str) {
        let world = self.world.as_ref().expect("it runs");
        self.runtime.block_on(world.push("team/web", tag)).expect("the registry takes it");
    }

    /// A signed delivery about a tag.
    fn delivery(&self, tag: &str) -> Vec<u8> {
        let body = format!(r#"{{"image": "{}/team/web:{tag}"}}"#, self.registry);
        let signature = sign(SECRET, body.as_bytes());
        wire::post("/hooks/ci", &format!("X-Signature: sha256={signature}\r\n"), &body)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let (Some(running), Some(world)) = (self.running.take(), self.world.take()) {
            self.runtime.block_on(running.stop());
            self.runtime.block_on(world.stop());
        }
    }
}

fn until(mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "it did not come");
        std::thread::yield_now();
    }
}

fn sign(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = String::new();
    let signed = ring::hmac::sign(&key, body);
    signed.as_ref().iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string grows"));
    text
}

/// From the first byte of a delivery to the journey in the API, and to the gauge that counts it.
pub fn journey() -> Vec<Value> {
    let shop = Shop::start();
    let mut api = Wire::connect(shop.page);
    let mut sender = Wire::connect(shop.page);
    let mut raw = Wire::connect(shop.registry.parse().expect("an address"));
    let mut file = File::create(shop.folder.path().join("floor")).expect("our folder");
    let (mut ours, mut gauge, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..DELIVERIES {
        let cooled = Instant::now() + BETWEEN;
        while let Some(left) = cooled.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        let tag = format!("v2.0.{number}");
        shop.push(&tag);
        let image = format!("team/web:{tag}");
        let delivery = shop.delivery(&tag);
        let started = Instant::now();
        assert_eq!(sender.send(&delivery).0, 202);
        until(|| api.get("/api/v1/journeys?limit=1").1.windows(image.len()).any(|at| at == image.as_bytes()));
        ours.push(started.elapsed());
        // The state that both read is published once.
        until(|| open(&mut api) == 1.0);
        gauge.push(started.elapsed());
        let started = Instant::now();
        assert_eq!(raw.head(&format!("/v2/team/web/manifests/{tag}")), 200);
        assert_eq!(raw.get("/v2/team/web/tags/list").0, 200);
        file.write_all(&[0; 256]).and_then(|()| file.sync_data()).expect("a disk");
        floor.push(started.elapsed());
    }
    let (ours, gauge, floor) = (Times::of(ours), Times::of(gauge), Times::of(floor));
    vec![json!({
        "bench": "hook_to_journey",
        "ours": ours.median,
        "floor": floor.median,
        "ratio": rounded(ours.median / floor.median),
        "unit": "ms",
        "p99": ours.p99,
        "gauge": gauge.median,
        "gauge_p99": gauge.p99,
        "runs": DELIVERIES,
    })]
}

/// Journeys of team/web that are under way: each push supersedes the one before.
fn open(api: &mut Wire) -> f64 {
    let text = String::from_utf8(api.get("/metrics").1).expect("text");
    let lines =
        text.lines().filter(|line| line.starts_with("knotmeter_journeys_open{") && line.contains("\"web\""));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Bad deliveries as fast as they are answered, with good ones among them; and the same to a server that only says 401.
pub fn flood() -> Vec<Value> {
    let shop = Shop::start();
    let bogus =
        wire::post("/hooks/ci", &format!("X-Signature: {}\r\n", "0".repeat(64)), &"x".repeat(BOGUS_BYTES));
    let mut api = Wire::connect(shop.page);
    let before = lists(&mut api);
    // The first round is not counted: memory and connections settle in it.
    flooded(shop.page, &bogus, BOGUS / 10, || None);
    let memory = process::memory_kib("VmRSS");
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    let bare = bare(&shop.runtime);
    const ROUNDS: usize = 7;
    for _ in 0..ROUNDS {
        ours.push(flooded(shop.page, &bogus, BOGUS / ROUNDS, || None).0);
        floor.push(flooded(bare, &bogus, BOGUS / ROUNDS, || None).0);
    }
    let asked = lists(&mut api) - before;
    let mut number = 0;
    let (_, good) = flooded(shop.page, &bogus, BOGUS, || {
        number += 1;
        (number <= GOOD).then(|| shop.delivery(&format!("v1.0.{number}")))
    });
    let grown = process::memory_kib("VmRSS").saturating_sub(memory);
    let (ours, floor) = (super::median(ours), super::median(floor));
    let good = Times::of(good);
    vec![json!({
        "bench": "hook_flood",
        "ours": ours.round(),
        "floor": floor.round(),
        "ratio": rounded(ours / floor),
        "unit": "answers/s",
        "bogus": BOGUS * 2,
        "body_bytes": BOGUS_BYTES,
        "good": GOOD,
        "good_p99_ms": good.p99,
        "looks_because_of_bad_ones": asked,
        "memory_growth_mib": rounded(grown as f64 / 1024.0),
        "runs": ROUNDS,
    })]
}

fn lists(api: &mut Wire) -> f64 {
    let text = String::from_utf8(api.get("/metrics").1).expect("text");
    let lines = text.lines().filter(|line| line.starts_with("knotmeter_registry_requests_total{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Sends so many bad deliveries over a few connections, and good ones beside them: answers in a second, and how long
/// each good one took.
fn flooded(
    to: SocketAddr,
    bogus: &[u8],
    count: usize,
    mut good: impl FnMut() -> Option<Vec<u8>>,
) -> (f64, Vec<Duration>) {
    let left = Arc::new(AtomicUsize::new(count));
    let started = Instant::now();
    let mut times = Vec::new();
    let seconds = std::thread::scope(|scope| {
        let flooders: Vec<_> = (0..FLOODERS)
            .map(|_| {
                let left = left.clone();
                scope.spawn(move || {
                    let mut wire = Wire::connect(to);
                    let take = |left: usize| left.checked_sub(1);
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                        assert_eq!(wire.send(bogus).0, 401);
                    }
                })
            })
            .collect();
        let mut wire = Wire::connect(to);
        while let Some(delivery) = good() {
            let started = Instant::now();
            assert_eq!(wire.send(&delivery).0, 202);
            times.push(started.elapsed());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        flooders.into_iter().for_each(|flooder| flooder.join().expect("it ends"));
        started.elapsed().as_secs_f64()
    });
    (count as f64 / seconds, times)
}

/// The least that anybody can do: reads what HTTP makes it read, and says no.
fn bare(runtime: &Runtime) -> SocketAddr {
    use axum::http::StatusCode;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(async || StatusCode::UNAUTHORIZED);
    runtime.spawn(async move { axum::serve(listener, router).await });
    address
}

/// Milliseconds.
struct Times {
    median: f64,
    p99: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: f64| {
            let index = (times.len().saturating_sub(1) as f64 * share) as usize;
            rounded(times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0))
        };
        Self { median: at(0.5), p99: at(0.99) }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
