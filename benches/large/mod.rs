//! A large cluster: how long until it is known, what that takes of memory, and how late a storm of events is.
//!
//! Each run is a process of its own that talks to a server in this one. By environment: `KNOTMETER_BENCH_PODS`
//! (100,000, and as many ReplicaSets and Deployments as belong to them), `KNOTMETER_BENCH_KUSTOMIZATIONS` (5,000),
//! `KNOTMETER_BENCH_RUNS` (7),
//! `KNOTMETER_BENCH_STORM_SECONDS` (10; the aim is stated for 60).

pub mod child;
mod objects;
mod server;
mod storm;

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::child::{Found, Orders, Role};
use self::objects::Size;
use self::server::{Lists, World};
use self::storm::Storm;
use super::median;

const STORM_EVENTS_PER_SECOND: usize = 5000;
/// Runs of kube's reflector: it takes ten times as long, and gigabytes.
const PEER_RUNS_MAX: usize = 3;
/// The storm's cluster is smaller: its list is not what is measured.
const STORM_PODS: usize = 5000;

/// Through lists in pages.
pub fn paged(name: &str) -> Value {
    sync(name, Lists::Paged)
}

/// Through watches that begin with all objects.
pub fn streaming(name: &str) -> Value {
    sync(name, Lists::Streaming)
}

/// Against checking the same bytes, over the same kind of connection, to be JSON; beside kube's reflector.
fn sync(name: &str, lists: Lists) -> Value {
    let size = Size::of(setting("KNOTMETER_BENCH_PODS", 100_000));
    let runs = setting("KNOTMETER_BENCH_RUNS", 7);
    let world = World::new(size, lists, None);
    let bytes = world.bytes();
    let server = world.serve().to_string();
    let streaming = lists == Lists::Streaming;
    let run = |role| child(&Orders { role, server: server.clone(), streaming, events: 0 });
    let (mut ours, mut floor, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(run(Role::Observer));
        floor.push(run(Role::Floor));
        if peer.len() < PEER_RUNS_MAX {
            peer.push(run(Role::Peer));
        }
    }
    for found in ours.iter().chain(&peer) {
        assert_eq!(found.objects, size.objects(), "everything is found, once");
    }
    let of = |runs: &[Found], what: fn(&Found) -> f64| median(runs.iter().map(what).collect());
    let seconds = |runs: &[Found]| of(runs, |found| found.seconds);
    let mebibytes = |runs: &[Found]| rounded(of(runs, |found| found.peak_bytes) / f64::from(1 << 20));
    let steady = |runs: &[Found]| (of(runs, |found| found.steady_bytes) / size.pods as f64).round();
    json!({
        "bench": name,
        "ours": rounded(seconds(&ours)),
        "floor": rounded(seconds(&floor)),
        "ratio": rounded(seconds(&ours) / seconds(&floor)),
        "unit": "s/sync",
        "runs": runs,
        "objects": size.objects(),
        "megabytes": bytes / 1_000_000,
        "cpu_seconds": rounded(of(&ours, |found| found.cpu_seconds)),
        "floor_cpu_seconds": rounded(of(&floor, |found| found.cpu_seconds)),
        "peak_mebibytes": mebibytes(&ours),
        "steady_bytes_per_pod": steady(&ours),
        "kube_reflector": rounded(seconds(&peer)),
        "kube_reflector_runs": peer.len(),
        "kube_reflector_peak_mebibytes": mebibytes(&peer),
        "kube_reflector_steady_bytes_per_pod": steady(&peer),
    })
}

/// Kustomizations and as many GitRepositories, with the tracker behind the observer.
pub fn engines(name: &str) -> Value {
    let size = Size::of_flux(setting("KNOTMETER_BENCH_KUSTOMIZATIONS", 5000));
    let runs = setting("KNOTMETER_BENCH_RUNS", 7);
    let world = World::new(size, Lists::Streaming, None);
    let bytes = world.bytes();
    let server = world.serve().to_string();
    let run = |role| child(&Orders { role, server: server.clone(), streaming: true, events: size.objects() });
    let (ours, floor): (Vec<Found>, Vec<Found>) =
        (0..runs).map(|_| (run(Role::Engines), run(Role::EnginesFloor))).unzip();
    let of = |runs: &[Found], what: fn(&Found) -> f64| median(runs.iter().map(what).collect());
    let mebibytes = |bytes: f64| rounded(bytes / f64::from(1 << 20));
    let (seconds, least) = (of(&ours, |found| found.seconds), of(&floor, |found| found.seconds));
    json!({
        "bench": name,
        "ours": rounded(seconds),
        "floor": rounded(least),
        "ratio": rounded(seconds / least),
        "unit": "s/sync",
        "runs": runs,
        "objects": size.objects(),
        "megabytes": bytes / 1_000_000,
        "cpu_seconds": rounded(of(&ours, |found| found.cpu_seconds)),
        "peak_mebibytes": mebibytes(of(&ours, |found| found.peak_bytes)),
        "steady_bytes_per_object": (of(&ours, |found| found.steady_bytes) / size.objects() as f64).round(),
    })
}

/// The lag from the server's write to the report in the receiver's hands, and the processor time of it all.
pub fn storm(name: &str) -> Value {
    let seconds = setting("KNOTMETER_BENCH_STORM_SECONDS", 10);
    let events = STORM_EVENTS_PER_SECOND * seconds;
    let storm = Storm::new(STORM_EVENTS_PER_SECOND as u64, seconds as u64, STORM_PODS);
    let server = World::new(Size::of(STORM_PODS), Lists::Streaming, Some(storm)).serve().to_string();
    let found = child(&Orders { role: Role::Storm, server, streaming: true, events });
    let lag = |share: f64| {
        let at = ((events as f64 * share) as usize).min(events - 1);
        rounded(found.lags_micros[at] as f64 / 1000.0)
    };
    json!({
        "bench": name,
        "unit": "ms",
        "p50": lag(0.5),
        "p99": lag(0.99),
        "max": lag(1.0),
        "events": events,
        "events_per_second": (events as f64 / found.seconds).round(),
        "percent_of_core": rounded(found.cpu_seconds / found.seconds * 100.0),
    })
}

fn child(orders: &Orders) -> Found {
    let orders = serde_json::to_string(orders).expect("plain data");
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.env(child::ORDERS, orders).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = child.output().expect("it starts");
    assert!(output.status.success(), "a run failed: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("what it found")
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
