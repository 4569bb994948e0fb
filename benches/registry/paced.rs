//! How well the scheduler uses a registry that limits it, and how soon it sees what is new there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use knotmeter::config::{Registry, Seconds, Tls};
use knotmeter::image::Repository;
use knotmeter::observation::{Fact, Interests, RepositoryInterest, SourceId, SourceKind};
use knotmeter::observers::registry;
use knotmeter::observers::schedule::{Asked, LookNow};
use knotmeter::observers::{REPORT_QUEUE_SIZE, Report, Reporter};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::bucket::{Bucket, Rules, Tokens};
use super::{median, rounded, scanner};

/// How long each figure takes; the issue's own figures are of 120.
const SECONDS_VARIABLE: &str = "BENCH_SECONDS";
const SECONDS_DEFAULT: u64 = 15;
/// A registry without a limit.
const FREE: Rules = Rules { per_second: 1e6, tells: false, noise: 0 };
/// A wait in which nothing comes is a hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds in which a tag is pushed to a hot repository.
const HOT_ROUNDS: usize = 7;

fn seconds() -> Duration {
    let wanted = std::env::var(SECONDS_VARIABLE).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(wanted.unwrap_or(SECONDS_DEFAULT))
}

/// Sweeps that never get all they want, of a registry that grants so many requests a second.
pub fn token_bucket() -> Vec<Value> {
    let cases = [(20.0, false), (83.0, false), (1000.0, false), (83.0, true)];
    cases.into_iter().map(|(per_second, tells)| runtime().block_on(use_tokens(per_second, tells))).collect()
}

async fn use_tokens(per_second: f64, tells: bool) -> Value {
    let server = Bucket::start(Rules { per_second, tells, noise: 100 });
    // Three times what the registry grants.
    let mut watching = Watching::start(&server.host, 3 * per_second as usize, 1.0);
    // What lies in the bucket at the start is nobody's income.
    watching.listen(Duration::from_secs(1)).await;
    let (before, started) = (server.tokens(), Instant::now());
    watching.listen(seconds()).await;
    let (after, seconds) = (server.tokens(), started.elapsed().as_secs_f64());
    let Tokens { used, left_over, .. } = after;
    let (used, left_over) = (used - before.used, (left_over - before.left_over).max(0.0));
    json!({
        "bench": "registry_token_bucket",
        "ours": rounded(used / seconds, 2),
        "floor": rounded((used + left_over) / seconds, 2),
        "ratio": rounded(used / (used + left_over), 3),
        "unit": "tokens/s used, of those not blocked by Retry-After; the ratio should be >= 0.95",
        "per_second": per_second,
        "told": tells,
        "seconds": rounded(seconds, 1),
        "share_of_all_tokens": rounded(used / (seconds * per_second), 3),
        "refused": after.refused - before.refused,
        "refused_for_no_reason": after.refused_for_no_reason - before.refused_for_no_reason,
        "failed": after.failed - before.failed,
    })
}

/// A new tag in a repository that a journey waits for, while a sweep of 17 s never ends; the peer is the same with a
/// hook that tells.
pub fn hot_tag() -> Vec<Value> {
    vec![runtime().block_on(find_hot_tags())]
}

async fn find_hot_tags() -> Value {
    let repositories = 350;
    let server = Bucket::start(Rules { per_second: 20.0, tells: false, noise: 0 });
    // The sweep takes longer than the interval, so that it never ends.
    let mut watching = Watching::start(&server.host, repositories, 10.0);
    watching.looks(repositories + repositories / 2).await;
    let (mut urgent, mut told) = (Vec::new(), Vec::new());
    for round in 0..HOT_ROUNDS {
        let hot = 2 * round;
        watching.want(&server.host, repositories, Some(hot));
        watching.looks(40 + 7 * round).await;
        urgent.push(watching.push_and_find(&server, hot, round, false).await);
        watching.want(&server.host, repositories, None);
        told.push(watching.push_and_find(&server, hot + 1, round, true).await);
    }
    let most = urgent.iter().copied().fold(0.0, f64::max);
    let (ours, floor) = (median(urgent), median(told));
    json!({
        "bench": "registry_hot_tag",
        "ours": rounded(ours, 3),
        "floor": rounded(floor, 3),
        "ratio": rounded(ours / floor, 2),
        "unit": "s from push to digest; the floor is with a hook; the most should be <= 3",
        "most": rounded(most, 3),
        "runs": HOT_ROUNDS,
        "repositories": repositories,
        "per_second": 20,
    })
}

/// Tags pushed at random moments, found by polling alone.
pub fn poll_delay() -> Vec<Value> {
    vec![runtime().block_on(find_by_polling())]
}

async fn find_by_polling() -> Value {
    let (repositories, interval) = (200, 2.0);
    let server = Bucket::start(FREE);
    let mut watching = Watching::start(&server.host, repositories, interval);
    // The looks are spread by now.
    watching.looks(3 * repositories).await;
    let pushing = server.clone();
    let end = Instant::now() + seconds();
    let pushes = tokio::spawn(async move {
        let mut pushes = HashMap::new();
        let mut seed: u64 = 0x2545_F491_4F6C_DD1D;
        while Instant::now() < end {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            tokio::time::sleep(Duration::from_millis(5 + (seed >> 33) % 20)).await;
            let at = (seed >> 40) as usize % repositories;
            let tag = format!("push-{}", pushes.len());
            let pushed = Instant::now();
            pushing.push(&scanner::name(at), &tag);
            pushes.insert(tag, pushed);
        }
        pushes
    });
    let mut found = HashMap::new();
    while Instant::now() < end + Duration::from_secs_f64(2.0 * interval) {
        let next = tokio::time::timeout(Duration::from_millis(100), watching.next_tag()).await;
        let Ok((_, tag)) = next else { continue };
        found.insert(tag, Instant::now());
    }
    let pushes = pushes.await.expect("it pushes");
    let delays: Vec<f64> =
        pushes.iter().map(|(tag, pushed)| (found[tag] - *pushed).as_secs_f64() / interval).collect();
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    json!({
        "bench": "registry_poll_delay",
        "ours": rounded(mean, 3),
        "floor": 0.5,
        "ratio": rounded(mean / 0.5, 2),
        "unit": "intervals from push to digest, mean; should be <= 0.55",
        "most": rounded(delays.iter().copied().fold(0.0, f64::max), 3),
        "pushes": delays.len(),
        "interval_seconds": interval,
    })
}

fn runtime() -> tokio::runtime::Runtime {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime")
}

/// The observer at work.
struct Watching {
    reports: mpsc::Receiver<Report>,
    interests: watch::Sender<Arc<Interests>>,
    look_now: LookNow,
}

impl Watching {
    fn start(host: &str, repositories: usize, interval: f64) -> Self {
        let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
        let (interests, wanted) = watch::channel(Arc::default());
        let listed = Registry {
            host: host.into(),
            plain_http: true,
            interval: Seconds(interval),
            repositories: Vec::new(),
            docker_config: None,
            tls: Tls::default(),
        };
        let reporters =
            move |host: &str| Reporter::new(SourceId::new(SourceKind::Registry, host), 1, to.clone());
        let look_now = LookNow::default();
        tokio::spawn(registry::run(vec![listed], [], wanted, look_now.clone(), reporters));
        let watching = Self { reports, interests, look_now };
        watching.want(host, repositories, None);
        watching
    }

    fn want(&self, host: &str, repositories: usize, hot: Option<usize>) {
        let mut interests = Interests::default();
        for at in 0..repositories {
            let repository: Repository = format!("{host}/{}", scanner::name(at)).parse().expect("a name");
            let urgent = hot == Some(at);
            let interest = RepositoryInterest { urgent, ..RepositoryInterest::default() };
            interests.repositories.insert(repository, interest);
        }
        self.interests.send_replace(Arc::new(interests));
    }

    async fn next(&mut self) -> Fact {
        loop {
            let report =
                tokio::time::timeout(PATIENCE, self.reports.recv()).await.expect("it says something");
            if let Report::Observation(observation) = report.expect("the observer runs") {
                return observation.fact;
            }
        }
    }

    /// Takes whatever is said for so long.
    async fn listen(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::timeout_at(end, self.reports.recv()).await.is_ok_and(|report| report.is_some()) {}
    }

    async fn looks(&mut self, count: usize) {
        let mut looks = 0;
        while looks < count {
            looks += usize::from(matches!(self.next().await, Fact::LookCompleted { .. }));
        }
    }

    /// The next tag whose digest is told.
    async fn next_tag(&mut self) -> (Repository, String) {
        loop {
            if let Fact::TagPointsTo { repository, tag, .. } = self.next().await {
                return (repository, tag.to_string());
            }
        }
    }

    /// Seconds from a push until its digest is told; with a hook or without.
    async fn push_and_find(&mut self, server: &Bucket, at: usize, round: usize, hook: bool) -> f64 {
        let tag = format!("pushed-{round}");
        let pushed = Instant::now();
        server.push(&scanner::name(at), &tag);
        if hook {
            let repository = format!("{}/{}", server.host, scanner::name(at)).parse().expect("a name");
            assert_eq!(self.look_now.repository(&repository, None), Asked::Noted);
        }
        while self.next_tag().await.0.path() != scanner::name(at) {}
        pushed.elapsed().as_secs_f64()
    }
}
