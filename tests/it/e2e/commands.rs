//! The commands that ask a running instance, and those that need none, as a script would use them.

use std::net::TcpListener;

use serde_json::Value;

use super::demo::Demo;
use super::process::{knotmeter, run};
use super::{Timed, world};

#[tokio::test]
async fn wait_tells_by_its_exit_code_what_became_of_an_image() {
    let _timed = Timed::part("wait");
    let demo = Demo::shared().await;
    let image = |tag: &str| format!("{}/team/web:{tag}", demo.registry);
    let since_start = demo.ask(&["wait", &image("v1.0.0"), "--timeout", "60s"]).await.done();
    let live = |place: &str| format!("team/web:v1.0.0 is live in {place} (deployment/web -n {place})");
    let lines: Vec<&str> = since_start.lines().collect();
    assert_eq!(lines.len(), 2, "{since_start}");
    assert!(["prod", "staging"].iter().all(|place| since_start.contains(&live(place))), "{since_start}");
    for only in [["--environment", "prod"], ["-n", "prod"]] {
        let said =
            demo.ask(&[&["wait", &image("v1.0.0"), "--timeout", "60s"][..], &only].concat()).await.done();
        assert!(said.starts_with(&live("prod")) && said.lines().count() == 1, "{only:?}: {said}");
    }

    let unknown = demo.ask(&["wait", &image("v9.9.9"), "--timeout", "1s"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.out.contains("no destination wants this image"), "{unknown:?}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wait = ["wait", "team/web", "--timeout", "1s", "--server", &format!("http://{closed}")];
    let alone = run(knotmeter(&wait, demo.folder()), "knotmeter").await;
    assert_eq!(alone.code, Some(3), "{alone:?}");
    assert!(alone.err.contains(&format!("cannot ask http://{closed}")), "{alone:?}");
}

#[tokio::test]
async fn a_smoketest_goes_live_through_the_demo() {
    let _timed = Timed::part("smoketest");
    let demo = Demo::shared().await;
    let repository = format!("{}/team/worker", demo.registry);
    let smoketest = ["smoketest", "run", "--repository", &repository, "--plain-http"];
    let more =
        ["--tag-prefix", "v1.0.", "--environment", "staging", "--environment", "prod", "--timeout", "60s"];
    let table = demo.ask(&[&smoketest[..], &more].concat()).await.done();
    let first = table.lines().next().unwrap();
    assert!(first.starts_with(&format!("{repository}:v1.0.")) && first.contains(" is live, "), "{table}");
    for place in ["staging  lab/staging/deployment/worker/worker", "prod  lab/prod/deployment/worker/worker"]
    {
        assert!(table.contains(place), "{table}");
    }
    let live = table.lines().filter(|line| line.trim_start().starts_with("live ")).count();
    assert_eq!(live, 2, "{table}");

    // A row that a terminal holds, and all of it for who asks.
    let [narrow, wide] = [&["status"][..], &["status", "-o", "wide"]];
    let (narrow, wide) = (demo.ask(narrow).await.done(), demo.ask(wide).await.done());
    assert!(narrow.contains(" team/worker:v1.0.") && !narrow.contains(&demo.registry), "{narrow}");
    assert!(wide.contains(&format!(" {repository}:v1.0.")), "{wide}");

    // The image is marked, so no figure of the shop's own has it.
    let tag = first.split(' ').next().unwrap().rsplit(':').next().unwrap();
    demo.journey("team/worker", tag, |journey| journey["settled"] == true).await;
    let metrics = reqwest::get(format!("{}/metrics", demo.page)).await.unwrap().text().await.unwrap();
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("knotmeter_journeys_total{") && line.contains(r#"app="worker""#))
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    assert!(
        !counted.is_empty() && counted.iter().all(|line| line.contains(r#"synthetic="true""#)),
        "{counted:?}"
    );
}

#[tokio::test]
async fn questions_are_answered_as_kubectl_would() {
    let demo = Demo::shared().await;
    demo.ask(&["wait", "team/web:v1.0.0", "--timeout", "60s"]).await.done();
    for question in ["web", "deployment/web", "team/web:v1.0.0"] {
        let said = demo.ask(&["why", question]).await.done();
        let live = said.lines().filter(|line| line.starts_with("team/web:v1.0.0 is live in ")).count();
        assert_eq!(live, 2, "{question}: {said}");
    }
    let said = demo.ask(&["why", "deploy/web", "-n", "staging", "-o", "json"]).await.done();
    let answers: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (answers.as_array().unwrap().len(), &answers[0]["environment"]),
        (1, &"staging".into()),
        "{said}"
    );
    let unknown = demo.ask(&["why", "coffee"]).await;
    assert!(unknown.code == Some(1) && unknown.out.contains("coffee was never seen"), "{unknown:?}");
    assert!(unknown.out.contains("followed are ") && unknown.out.contains("/team/web"), "{unknown:?}");
    // A tag of a followed repository that was never pushed.
    let missing = demo.ask(&["why", "team/web:v9.9.9"]).await;
    assert!(missing.code == Some(1) && missing.out.contains("has no tag v9.9.9"), "{missing:?}");
}

#[tokio::test]
async fn a_scan_lists_what_the_registry_has() {
    let demo = Demo::shared().await;
    let repository = format!("{}/team/web", demo.registry);
    let scan = async |more: &[&str]| {
        let arguments = [&["scan", repository.as_str(), "--plain-http"][..], more].concat();
        run(knotmeter(&arguments, demo.folder()), "knotmeter").await
    };
    let table = scan(&[]).await.done();
    assert!(table.starts_with("REPOSITORY") && table.contains(&format!("\n{repository} ")), "{table}");
    let reports: Value = serde_json::from_str(&scan(&["-o", "json"]).await.done()).unwrap();
    assert!(reports[0]["tags"].as_array().unwrap().contains(&"v1.0.0".into()), "{reports}");
    assert!(reports[0]["requests"]["200"].as_u64() >= Some(1), "{reports}");
    let nobody = format!("{}/team/nobody", demo.registry);
    let missing = run(knotmeter(&["scan", &nobody, "--plain-http"], demo.folder()), "knotmeter").await;
    assert_eq!(missing.code, Some(3), "{missing:?}");
}

#[tokio::test]
async fn check_tells_which_source_cannot_be_read() {
    let demo = Demo::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let check = async |git: &str| {
        let file = folder.path().join("knotmeter.yaml");
        let mut config = world::config(&demo.registry, git, "lab", &demo.kubeconfig);
        config["registries"][0]["repositories"] = serde_json::json!(["team/web"]);
        std::fs::write(&file, config.to_string()).unwrap();
        let arguments = ["check", "--config", file.to_str().unwrap()];
        run(knotmeter(&arguments, folder.path()), "knotmeter").await
    };
    let well = check(&demo.git).await.done();
    assert!(well.contains("cluster/lab: ok"), "{well}");
    assert!(well.contains(&format!("registry/{}: ok, anonymous access", demo.registry)), "{well}");
    assert!(well.contains(&format!("git/{}: ok", demo.git)) && well.contains("  main: "), "{well}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ill = check(&format!("http://{closed}/fleet.git")).await;
    assert_eq!(ill.code, Some(1), "{ill:?}");
    assert!(ill.out.contains(&format!("git/http://{closed}/fleet.git: cannot be read: ")), "{ill:?}");
    assert!(ill.out.contains("costs: committed is unknown"), "{ill:?}");
}

#[tokio::test]
async fn a_configuration_is_checked_described_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("knotmeter.yaml");
    let config = async |arguments: &[&str]| {
        run(knotmeter(&[&["config"][..], arguments].concat(), folder.path()), "knotmeter").await
    };
    let path = file.to_str().unwrap().to_owned();

    std::fs::write(&file, "environments:\n  - name: prod\n    namespace: [prod]\n").unwrap();
    let bad = config(&["check", "--config", &path]).await;
    assert_eq!((bad.code, bad.out.as_str()), (Some(1), ""), "{bad:?}");
    assert!(
        bad.err.contains(&path) && bad.err.contains("line 3") && bad.err.contains("namespace"),
        "{bad:?}"
    );

    std::fs::write(&file, "environments:\n  - name: prod\n    namespaces: [prod]\n").unwrap();
    let good = config(&["check", "--config", &path]).await.done();
    assert!(good.starts_with("ok: 1 environments"), "{good}");
    assert!(
        good.contains("\nseries: about ") && good.contains("with 20 apps in each of 1 environments"),
        "{good}"
    );
    let shown = config(&["show", "--config", &path, "--listen", "127.0.0.1:9000", "-o", "json"]).await.done();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["listen"], &shown["environments"][0]["name"]),
        (&"127.0.0.1:9000".into(), &"prod".into())
    );
    assert_eq!(shown["budgets"]["live"], "10m", "defaults are shown too: {shown}");
    let schema: Value = serde_json::from_str(&config(&["schema"]).await.done()).unwrap();
    assert!(schema["properties"]["registries"].is_object(), "{schema}");
    // What is shown can be read again.
    let yaml = config(&["show", "--config", &path]).await.done();
    std::fs::write(&file, yaml).unwrap();
    config(&["check", "--config", &path]).await.done();
}
