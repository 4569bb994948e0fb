//! The observer as the program runs it: by its plan, by wishes, and beside hosts that stall.

use std::sync::Arc;

use knotmeter::config::{Git, Seconds};
use knotmeter::observation::{Fact, Interests, Observation, SourceId, SourceKind};
use knotmeter::observers::git::{Followed, run};
use knotmeter::observers::schedule::{Asked, LookNow};
use knotmeter::observers::{Report, Reporter};

use super::follower::{config, deployment};
use super::shop;

/// The observer at work.
pub struct Running {
    reports: tokio::sync::mpsc::Receiver<Report>,
    pub look_now: LookNow,
    task: tokio::task::JoinHandle<()>,
    _interests: tokio::sync::watch::Sender<Arc<Interests>>,
    _cache: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    pub fn start(urls: &[&str], interval: f64) -> Self {
        let (to, reports) = tokio::sync::mpsc::channel(100);
        let cache = tempfile::tempdir().unwrap();
        let followed = urls.iter().map(|url| {
            let reporter = Reporter::new(SourceId::new(SourceKind::Git, url), 1, to.clone());
            let config = Git { interval: Seconds(interval), ..config(url) };
            Followed { config, last_trees: Vec::new(), reporter }
        });
        let (_interests, interests) = tokio::sync::watch::channel(Arc::default());
        let look_now = LookNow::default();
        let watching = run(followed.collect(), cache.path().into(), interests, look_now.clone());
        Self { reports, look_now, task: tokio::spawn(watching), _interests, _cache: cache }
    }

    pub async fn next(&mut self, wanted: impl Fn(&Fact) -> bool) -> Observation {
        loop {
            let report = self.reports.recv().await.expect("it never ends by itself");
            if let Report::Observation(observation) = report
                && wanted(&observation.fact)
            {
                return *observation;
            }
        }
    }

    pub async fn look_completed(&mut self) {
        self.next(|fact| matches!(fact, Fact::LookCompleted { .. })).await;
    }
}

#[tokio::test]
async fn run_looks_again_and_again() {
    let origin = shop();
    let mut running = Running::start(&[&origin.file_url()], 0.1);
    for _ in 0..3 {
        running.look_completed().await;
    }
}

#[tokio::test]
async fn a_push_that_somebody_tells_of_is_seen_at_once() {
    let origin = shop();
    let mut running = Running::start(&[&origin.file_url()], 3600.0);
    running.look_completed().await;
    origin.write("prod/web.yaml", deployment("web", "r.io/web:2"));
    origin.commit_and_push("Release web 2");
    // Webhooks name a repository in more than one way.
    let url = origin.file_url();
    let other = format!("{}/", url.strip_suffix(".git").unwrap_or(&url));
    assert_eq!(running.look_now.branch(&other, Some("refs/heads/other")), Asked::Unknown);
    assert_eq!(running.look_now.branch("https://elsewhere.example/shop", None), Asked::Unknown);
    assert_eq!(running.look_now.branch(&other, Some("refs/heads/main")), Asked::Noted);
    let level = running.next(|fact| matches!(fact, Fact::TreeNames(level) if level.commits.len() == 1)).await;
    assert!(level.happened.is_bounded());
    running.look_completed().await;
}

#[tokio::test]
async fn a_host_that_stalls_delays_no_other() {
    // Accept connections and never answer: more repositories than a host has places.
    let stalled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = stalled.local_addr().unwrap();
    let urls: Vec<String> = (0..12).map(|n| format!("http://{address}/{n}.git")).collect();
    let origin = shop();
    let file = origin.file_url();
    let all: Vec<&str> = urls.iter().map(String::as_str).chain([file.as_str()]).collect();
    let mut running = Running::start(&all, 0.1);
    for _ in 0..3 {
        running.look_completed().await;
    }
}
