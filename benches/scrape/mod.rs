//! `/metrics` over HTTP on loopback, through the server that the program runs: idle, in a storm, beside a slow reader.
//!
//! The floor is a server that has the same text in memory and copies it into each answer, or packs it in one go. The
//! storm is what `app.rs` does with 5,000 observations a second: batches into the tracker, and a snapshot of it as
//! often as ten percent of the time allow. Times are milliseconds from the request to the last byte of the answer.

pub mod shop;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use knotmeter::exporters::Snapshot;
use knotmeter::exporters::metrics::Metrics;
use knotmeter::http::{self, HttpState};
use knotmeter::observation::{Observation, Time};
use knotmeter::observers::now;
use knotmeter::tracker::Tracker;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, watch};

use self::shop::Shop;
use self::wire::Client;

/// Scrapes of each kind: enough that the slowest of a hundred is seen.
const SCRAPES: usize = 101;
/// Between two scrapes of a storm, so that they meet it at different moments.
const BETWEEN: Duration = Duration::from_millis(23);
const OBSERVATIONS_PER_SECOND: u32 = 5000;
/// Observations come in pieces, as a watch brings them.
const PIECE: u32 = 50;
/// As in `app.rs`.
const BATCH_MAX: usize = 512;
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// What the slow reader's socket takes in before it has been read.
const SLOW_BUFFER_BYTES: u32 = 4096;

/// One figure: a shop of this size, and how it is scraped.
pub struct Size {
    pub apps: usize,
    /// Apps with histograms.
    pub settled: usize,
    pub gzip: bool,
}

/// One line of JSON.
pub fn figure(name: &str, size: &Size) -> Value {
    let world = World::new(size);
    let mut client = Client::connect(world.address, size.gzip);
    let mut text = Vec::new();
    Client::connect(world.address, false).scrape_into(&mut text);
    let series =
        text.split(|byte| *byte == b'\n').filter(|line| line.first().is_some_and(|first| *first != b'#'));
    let (series, bytes) = (series.count(), text.len());
    let mut floor = Client::connect(wire::floor(text, size.gzip), size.gzip);
    let mut sent = 0;
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..SCRAPES {
        ours.push(client.scrape().0);
        let (spent, length) = floor.scrape();
        least.push(spent);
        sent = length;
    }
    let (ours, least) = (Times::of(ours), Times::of(least));
    let slow = world.slow_reader(size.gzip);
    let beside = Times::of((0..SCRAPES).map(|_| client.scrape().0).collect());
    drop(slow);
    let (storm, lag, told) = world.storm(|| {
        std::thread::park_timeout(BETWEEN);
        client.scrape().0
    });
    json!({
        "bench": name,
        "ours": ours.median,
        "floor": least.median,
        "ratio": rounded(ours.median / least.median),
        "unit": "ms/scrape",
        "p99": ours.p99,
        "storm": storm.median,
        "storm_p99": storm.p99,
        "storm_ratio": rounded(storm.p99 / ours.p99),
        "storm_observations_per_second": told,
        "storm_lag_p99": lag.p99,
        "beside_slow_reader": beside.median,
        "beside_slow_reader_p99": beside.p99,
        "series": series,
        "text_bytes": bytes,
        "sent_bytes": sent,
        "runs": SCRAPES,
    })
}

/// Milliseconds.
struct Times {
    median: f64,
    p99: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at =
            |share: f64| rounded(times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0);
        Self { median: at(0.5), p99: at(0.99) }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A tracker that knows the shop, and the server that shows it.
struct World {
    runtime: Runtime,
    address: SocketAddr,
    follower: Follower,
    shop: Shop,
}

struct Follower {
    tracker: Tracker,
    metrics: Arc<Metrics>,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl World {
    fn new(size: &Size) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let metrics = Arc::new(Metrics::new());
        let (publish, snapshots) = watch::channel(Snapshot::empty(now()));
        let mut follower = Follower { tracker: Tracker::default(), metrics: metrics.clone(), publish };
        let mut shop = Shop::new(size.apps);
        follower.take(&shop.first(now()));
        let destinations = follower.tracker.destinations(now());
        for (number, status) in destinations.iter().take(size.settled).enumerate() {
            metrics.event(&shop::settled(&status.destination, number as u64));
        }
        follower.publish();
        let (events, _) = broadcast::channel(http::EVENTS_KEPT);
        let state = HttpState::new(snapshots, metrics, events);
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(http::serve(listener, state, std::future::pending()));
        Self { runtime, address, follower, shop }
    }

    /// A scraper that takes a kilobyte a second, for as long as it is kept.
    fn slow_reader(&self, gzip: bool) -> tokio::task::JoinHandle<()> {
        let (address, asked) = (self.address, std::sync::mpsc::channel());
        let task = self.runtime.spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES).expect("a socket option");
            let mut socket = socket.connect(address).await.expect("the server listens");
            socket.write_all(wire::request(gzip).as_bytes()).await.expect("it takes requests");
            let mut kilobyte = [0; 1024];
            socket.read_exact(&mut kilobyte).await.expect("an answer that is longer");
            asked.0.send(()).expect("somebody waits");
            while socket.read_exact(&mut kilobyte).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        asked.1.recv().expect("it begins to read");
        task
    }

    /// Scrapes while observations come. Also how late they were taken in, and how many there were in a second.
    fn storm(self, mut scrape: impl FnMut() -> Duration) -> (Times, Times, f64) {
        let Self { runtime, mut follower, mut shop, .. } = self;
        let (tell, mut told) = mpsc::channel::<(Instant, Observation)>(1024);
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let teller = runtime.spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) * PIECE / OBSERVATIONS_PER_SECOND);
            while !ended.load(Ordering::Relaxed) {
                beat.tick().await;
                for _ in 0..PIECE {
                    tell.send((Instant::now(), shop.next(now()))).await.expect("the follower takes them");
                }
            }
        });
        let following = runtime.spawn(async move {
            let (mut batch, mut late) = (Vec::new(), Vec::new());
            let mut publish_at = Instant::now();
            while told.recv_many(&mut batch, BATCH_MAX).await > 0 {
                for (made, observation) in batch.drain(..) {
                    follower.take(&[observation]);
                    late.push(made.elapsed());
                }
                follower.tracker.advance(now());
                if Instant::now() >= publish_at {
                    let started = Instant::now();
                    follower.publish();
                    publish_at = Instant::now() + PUBLISH_EVERY.max(started.elapsed() * 10);
                }
            }
            late
        });
        let started = Instant::now();
        let times = (0..SCRAPES).map(|_| scrape()).collect();
        over.store(true, Ordering::Relaxed);
        let late = runtime.block_on(async {
            teller.await.expect("it ends");
            following.await.expect("it ends")
        });
        let rate = (late.len() as f64 / started.elapsed().as_secs_f64()).round();
        (Times::of(times), Times::of(late), rate)
    }
}

impl Follower {
    fn take(&mut self, observations: &[Observation]) {
        for observation in observations {
            self.metrics.observation(observation);
            self.tracker.observe(observation).iter().for_each(|event| self.metrics.event(event));
        }
    }

    fn publish(&self) {
        let at: Time = now();
        self.publish.send_replace(Arc::new(Snapshot {
            at,
            journeys: self.tracker.shared_journeys(),
            destinations: self.tracker.destinations(at),
            sources: self.tracker.sources(at),
            updaters: self.tracker.updaters(at),
        }));
    }
}
