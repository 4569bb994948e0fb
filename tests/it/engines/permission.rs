//! A permission that is taken away while it is used.

use knotmeter::app;
use knotmeter::cli::world::config;
use knotmeter::config::{Config, Listen};
use knotmeter::demo::Engine;
use serde_json::{Value, json};

use super::front::{Front, Rules};
use super::{patch, world};
use crate::demo::flux::{at, flux};
use crate::e2e::{get, until};

struct Asks {
    page: String,
}

impl Asks {
    /// The cluster as the API shows it.
    async fn cluster(&self) -> Option<Value> {
        let answer = get(&format!("{}/api/v1/sources", self.page)).await?;
        answer["sources"].as_array()?.iter().find(|source| source["source"] == "cluster/lab").cloned()
    }

    /// The value of the only series that begins so.
    async fn metric(&self, series: &str) -> Option<f64> {
        let text = reqwest::get(format!("{}/metrics", self.page)).await.ok()?.text().await.ok()?;
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The answer of `why` about web in an environment.
    async fn why(&self, tag: &str, environment: &str) -> Option<Value> {
        let answer = get(&format!("{}/api/v1/why?q=web:{tag}", self.page)).await?;
        let of_it = |answer: &&Value| answer["environment"] == environment;
        answer["answers"].as_array()?.iter().find(of_it).cloned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_goes_blinds_its_kind_alone_and_says_so_until_it_is_back() {
    let world = world(flux().intervals).await;
    let front = Front::of(&world, Rules::default()).await;
    let mut config =
        Config { listen: Listen("127.0.0.1:0".into()), ..config(Engine::Flux, world.addresses()).unwrap() };
    config.clusters[0].kubeconfig = Some(front.kubeconfig());
    let folder = tempfile::tempdir().unwrap();
    let running = app::start(config, folder.path().join("cache")).await.unwrap();
    let asks = Asks { page: format!("http://{}", running.address) };
    until("everything is seen", async || {
        let lab = asks.cluster().await?;
        (lab["up"] == true && lab["fresh"] == lab["scopes"] && lab["fresh"].as_u64()? >= 23).then_some(())
    })
    .await;
    assert_eq!(asks.metric("knotmeter_source_coverage{source=\"cluster/lab\"}").await, Some(1.0));

    front.rules().forbidden.insert("kustomizations");
    front.cut();
    // Somebody holds prod just then, unseen.
    let hold = json!({"spec": {"suspend": true}});
    patch(&world, &at("kustomizations", "prod"), hold).await;
    let lab = until("it is not whole", async || asks.cluster().await.filter(|lab| lab["up"] == false)).await;
    let [failing] = &lab["failing"].as_array().unwrap()[..] else { panic!("{lab}") };
    assert!(failing[0].as_str().unwrap().ends_with("/kustomizations"), "{lab}");
    assert_eq!(failing[1], "forbidden");
    let says = failing[2].as_str().unwrap();
    let grant = r#"grant it with {apiGroups: ["kustomize.toolkit.fluxcd.io"], resources: [kustomizations], verbs: [get, list, watch]}"#;
    assert!(says.contains("kustomizations is forbidden: User") && says.contains(grant), "{says}");
    assert_eq!(lab["fresh"].as_u64().unwrap() + 1, lab["scopes"].as_u64().unwrap());
    until("the metrics say so", async || {
        let up = asks.metric("knotmeter_source_up{source=\"cluster/lab\"}").await?;
        let coverage = asks.metric("knotmeter_source_coverage{source=\"cluster/lab\"}").await?;
        (up == 0.0 && coverage > 0.9 && coverage < 1.0).then_some(())
    })
    .await;

    // The rest goes on: what comes to staging is followed to live, and what waits for the kind is blind, not stuck.
    world.push("team/web", "v1.0.1").await.unwrap();
    until("it is live in staging", async || {
        asks.why("v1.0.1", "staging").await.filter(|answer| answer["state"] == "live")
    })
    .await;
    let blind = until("prod is blind", async || {
        asks.why("v1.0.1", "prod").await.filter(|answer| answer["state"] == "blind")
    })
    .await;
    let sentence = blind["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("nothing can be said of team/web:v1.0.1 in prod"), "{sentence}");
    assert!(sentence.ends_with(": cluster/lab does not show kustomizations (forbidden)"), "{sentence}");
    assert!(asks.metric("knotmeter_journey_blind{").await == Some(1.0));

    front.rules().forbidden.clear();
    until("everything is seen again", async || {
        let lab = asks.cluster().await?;
        let whole =
            lab["up"] == true && lab["failing"].as_array()?.is_empty() && lab["fresh"] == lab["scopes"];
        whole.then_some(())
    })
    .await;
    let held = until("who holds it is seen", async || {
        asks.why("v1.0.1", "prod").await.filter(|answer| answer["state"] == "held")
    })
    .await;
    assert_eq!(
        (&held["reason"], &held["holder"]),
        (&json!("suspended"), &json!("kustomization/prod -n flux-system"))
    );
    let release = json!({"spec": {"suspend": false}});
    patch(&world, &at("kustomizations", "prod"), release).await;
    until("it is live in prod", async || {
        asks.why("v1.0.1", "prod").await.filter(|answer| answer["state"] == "live")
    })
    .await;
    until("the metrics are well", async || {
        let up = asks.metric("knotmeter_source_up{source=\"cluster/lab\"}").await?;
        let coverage = asks.metric("knotmeter_source_coverage{source=\"cluster/lab\"}").await?;
        (up == 1.0 && coverage == 1.0).then_some(())
    })
    .await;
    running.stop().await;
    world.stop().await;
}
