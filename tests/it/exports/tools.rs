//! Prometheus' own programs read what we write. Where they are not installed these tests say so and pass,
//! unless `KNOTMETER_TEST_TOOLS=required`, as in the project's test command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use knotmeter::exporters::metrics::{Format, Metrics};
use knotmeter::exporters::traces::trace_id;
use knotmeter::http::{HttpState, serve};
use knotmeter::tracker::Event;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use super::{all_measures, files, updater_events};
use crate::fleet::{self, arrived};

/// Prometheus starts within a second or two; a busy machine gets a minute.
const PATIENCE: Duration = Duration::from_secs(60);

fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("KNOTMETER_TEST_TOOLS").is_ok_and(|value| value == "required");
        assert!(!required, "{name} is not installed: it is in Debian's package prometheus");
        eprintln!("not checked: {name} is not installed (Debian: prometheus)");
    }
    found
}

/// Metrics with every family filled.
fn filled() -> Metrics {
    let metrics = Metrics::new().with_exemplars();
    all_measures().iter().for_each(|measure| metrics.measure(measure));
    updater_events().iter().for_each(|event| metrics.event(event));
    for environment in ["staging", "prod"] {
        metrics.event(&Event::Settled(Box::new(arrived("web", "v1.0.3", environment))));
    }
    metrics
}

#[test]
fn promtool_accepts_the_classic_text() {
    let Some(promtool) = tool("promtool") else { return };
    let text = filled().encode(&fleet::shop(), Format::Classic);
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "promtool said: {said}");
}

#[test]
fn promtool_passes_the_alerts() {
    let Some(promtool) = tool("promtool") else { return };
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    for arguments in [["check", "rules", "knotmeter.yaml"], ["test", "rules", "tests.yaml"]] {
        let output = Command::new(&promtool).args(arguments).current_dir(&alerts).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    }
}

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(program: &Path, target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: knotmeter\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        // Free now, and nobody else on this machine asks for ports that fast.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg("--enable-feature=exemplar-storage")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { child, url: format!("http://{address}"), client: reqwest::Client::new(), _folder: folder }
    }

    /// Asks until the answer satisfies, within [`PATIENCE`].
    async fn until(&self, path: &str, query: &[(&str, &str)], enough: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let mut last = Value::Null;
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        while started.elapsed() < PATIENCE {
            if let Ok(answer) = self.client.get(url.clone()).send().await {
                last = answer.json().await.unwrap_or(Value::Null);
                if enough(&last["data"]) {
                    return last["data"].clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("prometheus never gave what was asked at {path} {query:?}: {last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_stores_the_exemplar_and_answers_every_dashboard_query() {
    let Some(program) = tool("prometheus") else { return };
    let metrics = Arc::new(filled());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let (_keep, snapshots) = watch::channel(fleet::shop());
    let (events, _) = broadcast::channel(1);
    let state = HttpState::new(snapshots, metrics, events);
    let server = tokio::spawn(serve(listener, state, std::future::pending()));
    let prometheus = Prometheus::start(&program, &target);

    let scraped = [("query", "count_over_time(up{job=\"knotmeter\"}[1m]) >= 3 and up == 1")];
    prometheus.until("/api/v1/query", &scraped, |data| has_results(&data["result"])).await;
    let exemplars = [
        ("query", "knotmeter_image_to_live_seconds_bucket"),
        ("start", "2020-01-01T00:00:00Z"),
        ("end", "2100-01-01T00:00:00Z"),
    ];
    let found = prometheus.until("/api/v1/query_exemplars", &exemplars, has_results).await;
    let expected = trace_id(&arrived("web", "v1.0.3", "prod"));
    assert!(found.to_string().contains(&expected), "{found}");

    for query in files::dashboard_queries() {
        let plain =
            query.replace("$__rate_interval", "1m").replace("$__range", "1m").replace("$environment", ".*");
        prometheus.until("/api/v1/query", &[("query", &plain)], |data| has_results(&data["result"])).await;
    }
    server.abort();
}

fn has_results(result: &Value) -> bool {
    result.as_array().is_some_and(|results| !results.is_empty())
}
