//! The programs that people have, against the demo's registry, git and Kubernetes API.

use std::time::SystemTime;

use serde_json::Value;

use super::demo::Demo;
use super::process::{Program, knotmeter, program, run};
use super::{Timed, images, until};

#[tokio::test]
async fn git_clones_the_fleet() {
    let demo = Demo::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let git = async |arguments: &[&str]| run(program("git", arguments, folder.path()), "git").await.done();
    let clone = folder.path().join("fleet");
    git(&["clone", "--quiet", &demo.git, clone.to_str().unwrap()]).await;
    let manifest = std::fs::read_to_string(clone.join("prod/web.yaml")).unwrap();
    let line = format!("image: {}/team/web:v1.0.0 # release-web", demo.registry);
    assert!(manifest.contains(&line), "{manifest}");
    let log = git(&["-C", clone.to_str().unwrap(), "log", "--format=%s"]).await;
    assert!(log.ends_with("run the first version of everything\n"), "{log}");
}

#[tokio::test]
async fn kubectl_sees_deployments_and_pods() {
    let demo = Demo::shared().await;
    let kubeconfig = demo.kubeconfig.to_str().unwrap();
    let get = ["--kubeconfig", kubeconfig, "get", "deployments,pods", "-A"];
    let folder = tempfile::tempdir().unwrap();
    let table = run(program("kubectl", &get, folder.path()), "kubernetes-client").await.done();
    for app in ["web", "api", "worker"] {
        for namespace in ["staging", "prod"] {
            let deployment = |line: &&str| {
                line.starts_with(namespace) && line.contains(&format!("deployment.apps/{app} "))
            };
            let row =
                table.lines().find(deployment).unwrap_or_else(|| panic!("no {app} in {namespace}: {table}"));
            assert!(row.split_whitespace().count() == 6, "all columns are filled: {row}");
        }
    }
    let pods: Vec<&str> = table.lines().filter(|line| line.contains(" pod/web-")).collect();
    assert!(pods.len() >= 6, "three in each environment: {table}");
}

#[tokio::test]
async fn an_image_pushed_by_skopeo_is_followed_to_live() {
    let _timed = Timed::part("skopeo, git, kubectl and status -w");
    let demo = Demo::shared().await;
    let folder = tempfile::tempdir().unwrap();
    // Whoever watches sees it come.
    let server = ["--server", &demo.page];
    let status = knotmeter(&[&["status", "-w", "--app", "api"][..], &server].concat(), folder.path());
    let status = Program::start(status, "knotmeter", folder.path());
    let kubeconfig = demo.kubeconfig.to_str().unwrap();
    let watch =
        ["--kubeconfig", kubeconfig, "get", "pods", "-n", "prod", "-l", "app.kubernetes.io/name=api", "-w"];
    let pods = Program::start(program("kubectl", &watch, folder.path()), "kubernetes-client", folder.path());
    until("kubectl lists the pods that run", async || (pods.output().lines().count() >= 3).then_some(()))
        .await;
    let before = pods.output();

    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let tag = format!("v1.0.{since_epoch}");
    let image = format!("{}/team/api:{tag}", demo.registry);
    let layout = images::layout(folder.path(), &tag);
    images::push(&layout, &image, folder.path()).await;
    let repository = format!("docker://{}/team/api", demo.registry);
    let list = program("skopeo", &["list-tags", "--tls-verify=false", &repository], folder.path());
    let tags: Value = serde_json::from_str(&run(list, "skopeo").await.done()).unwrap();
    assert!(tags["Tags"].as_array().unwrap().contains(&tag.clone().into()), "{tags}");

    for environment in ["staging", "prod"] {
        let here = |journey: &Value| journey["environment"] == environment && journey["outcome"] == "live";
        let journey = demo.journey("team/api", &tag, here).await;
        assert_eq!(journey["digest"], layout.digest.to_string(), "{journey}");
        assert_eq!(journey["trigger"], "push", "{journey}");
    }
    let said = demo.ask(&["wait", &image, "--timeout", "30s"]).await.done();
    assert_eq!(said.matches(&format!("team/api:{tag} is live in ")).count(), 2, "{said}");

    // A line for each change, not only the last state.
    let rows = |journeys: &str| journeys.lines().filter(|line| line.contains(&tag)).count();
    until("status -w tells that it is live", async || {
        let live = |line: &&str| line.contains(&tag) && line.contains(" live ");
        (status.output().lines().filter(live).count() >= 2).then_some(())
    })
    .await;
    assert!(rows(&status.output()) >= 4, "{}", status.output());
    assert_eq!(status.output().matches("ENVIRONMENT").count(), 1, "one head: {}", status.output());
    let new = pods.output()[before.len()..].to_owned();
    assert!(new.contains("ContainerCreating") && new.contains("Running"), "{new}");

    let only_prod = demo.ask(&["status", "-n", "prod", "-o", "json"]).await.done();
    let journeys: Value = serde_json::from_str(&only_prod).unwrap();
    let journeys = journeys.as_array().unwrap();
    assert!(
        !journeys.is_empty() && journeys.iter().all(|journey| journey["namespace"] == "prod"),
        "{only_prod}"
    );
    let table = demo.ask(&["status", "-o", "wide"]).await.done();
    assert!(table.starts_with("APP ") && rows(&table) == 2, "{table}");
}
