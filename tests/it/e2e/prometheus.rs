//! A real Prometheus on the demo's metrics: it takes them without complaint, every panel of the dashboard has
//! something to show, and an exemplar leads to a trace that was sent.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::demo::Demo;
use super::process::{Program, listening, program};
use super::receivers::Collector;
use super::{Timed, get, until};

/// A Prometheus that ends with its test.
pub struct Prometheus {
    pub program: Program,
    pub url: String,
}

impl Prometheus {
    /// Starts one that scrapes an address once a second; `more` is added to its configuration.
    pub async fn start(folder: &Path, scrapes: &str, more: &str) -> Self {
        let file = folder.join("prometheus.yml");
        let target = scrapes.strip_prefix("http://").expect("an http address");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: knotmeter
    static_configs: [{{targets: ['{target}']}}]
{more}"
        );
        std::fs::write(&file, config).unwrap();
        let command = |port| {
            let arguments = [
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--enable-feature=exemplar-storage".to_owned(),
                "--log.level=warn".to_owned(),
            ];
            program("prometheus", &arguments, folder)
        };
        let (program, port) = listening("prometheus", folder, command, async |port| ready(port).await).await;
        Self { program, url: format!("http://127.0.0.1:{port}") }
    }

    /// What a query returns now.
    pub async fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.ask("query", &[("query", expression)]).await;
        answer["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until each of these has something to show.
    async fn fills(&self, mut empty: BTreeMap<String, String>) {
        let started = std::time::Instant::now();
        while !empty.is_empty() && started.elapsed() < super::PATIENCE {
            for (expression, _) in empty.clone() {
                if !self.query(&expression).await.is_empty() {
                    empty.remove(&expression);
                }
            }
            tokio::time::sleep(super::ASK_EVERY).await;
        }
        assert!(empty.is_empty(), "these panels show nothing in the demo: {empty:#?}");
    }

    async fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{what}", self.url);
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        let mut answer = get(url.as_str()).await.expect("Prometheus answers");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].take()
    }
}

/// Prometheus and Alertmanager are ready at the same path.
pub async fn ready(port: u16) -> bool {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/-/ready")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The row of panels that only an engine with objects of its own fills.
const UPDATER: &str = "The shop's updater";

/// Every query of the dashboard, with what Grafana would put in: of one row, or of all but this one.
fn panels(of_updater: bool) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("dashboards/knotmeter.json").unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let filled = |text: &str| {
        text.replace("$environment", ".*").replace("$__rate_interval", "30s").replace("$__range", "10m")
    };
    let mut panels = BTreeMap::new();
    let mut in_row = false;
    for panel in dashboard["panels"].as_array().unwrap() {
        if panel["type"] == "row" {
            in_row = panel["title"] == UPDATER;
        }
        if in_row != of_updater {
            continue;
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = filled(target["expr"].as_str().unwrap());
            panels.insert(expression, panel["title"].as_str().unwrap().to_owned());
        }
    }
    panels
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_fills_the_dashboard_and_leads_to_traces() {
    let _timed = Timed::part("prometheus");
    let (collector, endpoint) = Collector::start().await;
    let demo = Demo::start(&["--push-every", "1s", "--traces-endpoint", &endpoint]).await;
    let prometheus = Prometheus::start(demo.folder(), &demo.page, "").await;

    let empty = panels(false);
    assert!(empty.len() > 25, "the dashboard has many queries: {empty:?}");
    until("an exemplar of an image that went live", async || {
        let stored = exemplars(&prometheus).await;
        stored.iter().any(|trace| collector.has(trace)).then_some(())
    })
    .await;
    prometheus.fills(empty).await;

    let targets = prometheus.ask("targets", &[]).await;
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    assert_eq!(prometheus.query("min_over_time(up[10m]) == 1").await.len(), 1, "no scrape failed");
    let complaints = prometheus.program.errors();
    assert!(!complaints.contains("ingesting") && !complaints.contains("append"), "{complaints}");
    // Every exemplar that is stored is of a trace that was sent, or is being sent.
    for trace in exemplars(&prometheus).await {
        until(&format!("the trace {trace} of an exemplar"), async || collector.has(&trace).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flux_does_fills_the_panels_of_the_updater_and_its_apps_have_a_team() {
    let _timed = Timed::part("prometheus and flux");
    let demo = Demo::start(&["--engine", "flux", "--push-every", "2s"]).await;
    let prometheus = Prometheus::start(demo.folder(), &demo.page, "").await;
    let panels = panels(true);
    assert!(panels.len() >= 9, "{panels:?}");
    prometheus.fills(panels).await;
    // Numbers that no demo can have by luck: what is pushed every two seconds is found, committed and counted.
    for expression in [
        "sum(knotmeter_updater_commits_total) >= 2 and sum(knotmeter_updater_images_total) >= 2",
        "sum(knotmeter_update_batch_size_sum) >= sum(knotmeter_update_batch_size_count) > 0",
        "max(knotmeter_updater_detection_lag_seconds) > 0 and max(knotmeter_updater_detection_lag_seconds) < 30",
        "0 < max(knotmeter_updater_scan_duration_seconds) < 10",
        "max(knotmeter_updater_scan_age_seconds) < 30 and max(knotmeter_updater_tags) >= 2",
        "knotmeter_source_up{source=\"scrape/image-reflector\"} == 1",
        "count(knotmeter_app_info{team=\"shop\",tier=\"gold\",environment=\"prod\",engine=\"flux\"}) >= 3",
    ] {
        until(expression, async || (!prometheus.query(expression).await.is_empty()).then_some(())).await;
    }
    let wide = demo.ask(&["status", "-o", "wide"]).await.done();
    let head = wide.lines().next().unwrap_or_default();
    assert!(head.contains("NAMESPACE") && head.contains("TEAM") && wide.contains(" shop "), "{wide}");
    let why = demo.ask(&["why", "web", "-o", "wide"]).await;
    assert!(why.out.contains("  team         shop"), "{why:?}");
}

/// The traces that Prometheus knows for images that went live.
async fn exemplars(prometheus: &Prometheus) -> Vec<String> {
    let now = chrono::Utc::now().timestamp();
    let (from, to) = ((now - 600).to_string(), (now + 60).to_string());
    let query = [("query", "knotmeter_image_to_live_seconds_bucket"), ("start", &*from), ("end", &*to)];
    let series = prometheus.ask("query_exemplars", &query).await;
    let exemplars = series.as_array().into_iter().flatten().flat_map(|one| one["exemplars"].as_array());
    let traces = exemplars.flatten().filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str());
    traces.map(str::to_owned).collect()
}
