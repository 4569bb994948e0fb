//! The alert as it is shipped, through a real Prometheus and a real Alertmanager, to whoever is paged.

use knotmeter::demo::Fault;
use serde_json::Value;

use super::process::{listening, program};
use super::prometheus::{Prometheus, ready};
use super::receivers::Pager;
use super::world::{Watched, quick};
use super::{Timed, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_journey_pages_once_and_is_resolved_when_it_arrives() {
    let _timed = Timed::part("alerting");
    let options = knotmeter::demo::Options { progress_deadline_seconds: 5, ..quick() };
    let watched =
        Watched::start(options, |config| config["budgets"] = serde_json::json!({"live": "2s"})).await;
    let folder = watched.folder.path();
    let (pager, address) = Pager::start().await;
    let file = folder.join("alertmanager.yml");
    let config = format!(
        "route: {{receiver: pager, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: pager
    webhook_configs: [{{url: '{address}', send_resolved: true}}]
"
    );
    std::fs::write(&file, config).unwrap();
    let alertmanager = |port| {
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.path={}", folder.join("alerts").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // Alone: no gossip with others.
            "--cluster.listen-address=".to_owned(),
        ];
        program("prometheus-alertmanager", &arguments, folder)
    };
    let package = "prometheus-alertmanager";
    let (_alertmanager, port) =
        listening(package, folder, alertmanager, async |port| ready(port).await).await;
    let rules = std::fs::canonicalize("alerts/knotmeter.yaml").unwrap();
    let more = format!(
        "rule_files: ['{}']
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]}}
",
        rules.display()
    );
    let prometheus = Prometheus::start(folder, &watched.page(), &more).await;
    until("Prometheus has scraped", async || {
        (!prometheus.query("knotmeter_source_up == 1").await.is_empty()).then_some(())
    })
    .await;

    watched.world.push("team/web", "odd").await.unwrap();
    watched.world.inject(Fault::Unschedulable);
    watched.world.set_image("staging", "web", &watched.image("team/web", "odd")).await.unwrap();
    let first = until("the pager rings", async || pager.notifications().into_iter().next()).await;
    assert_eq!(first["status"], "firing", "{first}");
    let alerts = first["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{first}");
    let labels = &alerts[0]["labels"];
    let label = |name: &str| labels[name].as_str().unwrap_or_default();
    assert_eq!(label("alertname"), "KnotmeterJourneyStuck", "{labels}");
    assert_eq!(
        (label("app"), label("environment"), label("severity")),
        ("web", "staging", "page"),
        "{labels}"
    );
    assert_eq!(label("reason"), "unschedulable", "{labels}");
    let summary = alerts[0]["annotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("web is stuck in staging before started: "), "{summary}");

    // It gets worse, and stays one alert: the Deployment gives up waiting, too.
    until("the Deployment is over its deadline", async || {
        let path = "/apis/apps/v1/namespaces/staging/deployments/web";
        let deployment = watched.world.get(path).await.unwrap();
        let over = |condition: &Value| condition["reason"] == "ProgressDeadlineExceeded";
        deployment["status"]["conditions"].as_array()?.iter().any(over).then_some(())
    })
    .await;
    watched.world.clear(Fault::Unschedulable);
    let resolved = |notification: &Value| notification["status"] == "resolved";
    until("the pager is told that it is over", async || {
        pager.notifications().iter().any(resolved).then_some(())
    })
    .await;
    let states: Vec<Value> = pager.notifications().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(states, ["firing", "resolved"], "{:#?}", pager.notifications());
    watched.stop().await;
}
