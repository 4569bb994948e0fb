//! The processes that are measured, one for each run, so that each has its own peak of memory.

use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use knotmeter::config;
use knotmeter::observation::{Basis, Fact, Scope, SourceId, SourceKind};
use knotmeter::observers::cluster::{Resource, run};
use knotmeter::observers::{REPORT_QUEUE_SIZE, Report, Reporter};
use knotmeter::tracker::Tracker;
use kube::client::Body;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::storm::now_micros;

/// Where a child finds its [`Orders`].
pub const ORDERS: &str = "KNOTMETER_BENCH_ORDERS";

const CORE: [&str; 3] = ["/api/v1/pods", "/apis/apps/v1/replicasets", "/apis/apps/v1/deployments"];
const FLUX: [&str; 2] = [
    "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations",
    "/apis/source.toolkit.fluxcd.io/v1/gitrepositories",
];

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub struct Orders {
    pub role: Role,
    pub server: String,
    pub streaming: bool,
    /// Events that the storm will have, or objects of an engine.
    pub events: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The observer of the program, its reports counted and dropped.
    Observer,
    /// The same requests, every object checked to be JSON, nothing kept.
    Floor,
    /// The observer and the tracker behind it, with the kinds of Flux.
    Engines,
    /// [`Role::Floor`] of these kinds.
    EnginesFloor,
    /// kube's reflector with full types, as a controller would have it.
    Peer,
    /// The observer during a storm.
    Storm,
}

/// What a child found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Objects that were told or seen.
    pub objects: usize,
    /// Memory above what the process had before it began.
    pub peak_bytes: f64,
    pub steady_bytes: f64,
    /// Of a storm: how late each report was, sorted.
    pub lags_micros: Vec<i64>,
}

/// Does what the environment orders. One thread, so that its time is its work.
pub fn main(orders: &str) {
    let orders: Orders = serde_json::from_str(orders).expect("orders");
    rustls::crypto::ring::default_provider().install_default().expect("the first provider");
    let mut runtime = match orders.role {
        // As the program runs.
        Role::Storm => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().expect("a runtime");
    let found = runtime.block_on(async {
        let mut config = kube::Config::new(format!("http://{}", orders.server).parse().expect("an address"));
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client");
        match orders.role {
            Role::Observer => observe(client).await,
            Role::Floor => floor(client, orders.streaming, &CORE).await,
            Role::Engines => engines(client, orders.events).await,
            Role::EnginesFloor => floor(client, orders.streaming, &FLUX).await,
            Role::Peer => peer(client, orders.streaming).await,
            Role::Storm => storm(client, orders.events).await,
        }
    });
    println!("{}", serde_json::to_string(&found).expect("numbers"));
}

/// Before the work, and what it came to.
struct Measured {
    started: Instant,
    cpu_seconds: f64,
    bytes: f64,
}

impl Measured {
    fn start() -> Self {
        Self { started: Instant::now(), cpu_seconds: cpu_seconds(), bytes: status_bytes("VmRSS") }
    }

    fn end(&self, objects: usize) -> Found {
        Found {
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.cpu_seconds,
            objects,
            peak_bytes: status_bytes("VmHWM") - self.bytes,
            steady_bytes: status_bytes("VmRSS") - self.bytes,
            lags_micros: Vec::new(),
        }
    }
}

fn observer(client: kube::Client) -> mpsc::Receiver<Report> {
    let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
    let reporter = Reporter::new(SourceId::new(SourceKind::Cluster, "lab"), 1, to);
    let config = config::Cluster { name: "lab".into(), kubeconfig: None, context: None, ownership: None };
    tokio::spawn(run(config, client, reporter));
    reports
}

async fn observe(client: kube::Client) -> Found {
    let measured = Measured::start();
    let mut reports = observer(client);
    let (mut objects, mut looks) = (0, 0);
    while looks < Resource::ALL.len() {
        let Some(Report::Observation(observation)) = reports.recv().await else { continue };
        match observation.fact {
            Fact::PodIs(_) | Fact::RevisionIs(_) | Fact::WorkloadIs(_) => objects += 1,
            Fact::LookCompleted { .. } => looks += 1,
            Fact::LookFailed { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    measured.end(objects)
}

async fn storm(client: kube::Client, events: usize) -> Found {
    let mut reports = observer(client);
    let mut lags = Vec::with_capacity(events);
    let mut measured = None;
    while lags.len() < events {
        let Some(Report::Observation(observation)) = reports.recv().await else { continue };
        if let (Fact::PodIs(pod), Basis::Watch) = (&observation.fact, observation.basis) {
            lags.push(now_micros() - pod.containers[0].restarts);
            measured.get_or_insert_with(Measured::start);
        }
    }
    let mut found = measured.expect("there were events").end(events);
    lags.sort_unstable();
    found.lags_micros = lags;
    found
}

/// Until so many objects were followed by the observer and the tracker, and both kinds were seen whole.
async fn engines(client: kube::Client, count: usize) -> Found {
    let measured = Measured::start();
    let mut reports = observer(client);
    let mut tracker = Tracker::default();
    let (mut objects, mut looks) = (0, 0);
    while looks < FLUX.len() || objects < count {
        let Some(Report::Observation(observation)) = reports.recv().await else { continue };
        match &observation.fact {
            Fact::EngineIs(_) => objects += 1,
            Fact::LookCompleted { scope: Scope::Resource { resource, .. }, .. } => {
                looks += usize::from(FLUX.iter().any(|path| path.ends_with(&**resource)));
            }
            Fact::LookFailed { message, .. } => panic!("{message}"),
            _ => {}
        }
        tracker.observe(&observation);
    }
    let found = measured.end(objects);
    drop(tracker);
    found
}

async fn floor(client: kube::Client, streaming: bool, paths: &[&str]) -> Found {
    let measured = Measured::start();
    let each =
        paths.iter().map(|path| {
            let client = client.clone();
            async move {
                if streaming { floor_stream(client, path).await } else { floor_pages(client, path).await }
            }
        });
    let objects = futures::future::join_all(each).await.into_iter().sum();
    measured.end(objects)
}

async fn floor_pages(client: kube::Client, path: &str) -> usize {
    let (mut body, mut page, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let token = if page == 0 { String::new() } else { format!("&continue=p{page}") };
        let answer = get(&client, format!("{path}?limit=500{token}")).await;
        body.clear();
        let mut chunks = answer.into_data_stream();
        while let Some(chunk) = chunks.try_next().await.expect("a body") {
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice::<IgnoredAny>(&body).expect("JSON");
        bytes += body.len();
        // The server's pages are numbered, and an empty token ends them: no decoding is needed to know.
        if body[..body.len().min(300)].windows(13).any(|text| text == br#""continue":"""#) {
            return bytes;
        }
        page += 1;
    }
}

async fn floor_stream(client: kube::Client, path: &str) -> usize {
    let answer = get(&client, format!("{path}?watch=1&sendInitialEvents=true")).await;
    let (mut started, mut chunks, mut objects) = (Vec::new(), answer.into_data_stream(), 0);
    while let Some(chunk) = chunks.try_next().await.expect("a body") {
        let mut rest = &chunk[..];
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..at], &rest[at + 1..]);
            let line = if started.is_empty() {
                line
            } else {
                started.extend_from_slice(line);
                &started[..]
            };
            serde_json::from_slice::<IgnoredAny>(line).expect("JSON");
            if line.starts_with(br#"{"type":"BOOKMARK""#) {
                return objects;
            }
            objects += 1;
            started.clear();
            rest = after;
        }
        started.extend_from_slice(rest);
    }
    panic!("the list did not end")
}

async fn get(client: &kube::Client, path: String) -> Body {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    client.send(request).await.expect("an answer").into_body()
}

async fn peer(client: kube::Client, streaming: bool) -> Found {
    let measured = Measured::start();
    let (pods, replica_sets, deployments) = tokio::join!(
        reflect::<Pod>(client.clone(), streaming),
        reflect::<ReplicaSet>(client.clone(), streaming),
        reflect::<Deployment>(client, streaming),
    );
    measured.end(pods.len() + replica_sets.len() + deployments.len())
}

async fn reflect<K>(client: kube::Client, streaming: bool) -> reflector::Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Send + Sync + std::fmt::Debug + 'static,
{
    let (store, writer) = reflector::store();
    let config = watcher::Config::default();
    let config = if streaming { config.streaming_lists() } else { config };
    let watch = watcher(kube::Api::<K>::all(client), config).default_backoff();
    tokio::spawn(watch.reflect(writer).for_each(|event| async { drop(event.expect("no failure")) }));
    store.wait_until_ready().await.expect("the reflector lives");
    store
}

/// A line of `/proc/self/status`, in bytes.
fn status_bytes(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a known line");
    let kibibytes: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kibibytes * 1024.0
}

/// Time on a processor, in and for this process, to the 10 ms of the kernel's clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit_once(") ").expect("a name").1;
    let fields = after_name.split(' ').skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
}
