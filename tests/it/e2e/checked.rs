//! `knotmeter check` where sources are well, forbidden, refused or dead.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::demo::Demo;
use super::process::{Said, knotmeter, run};
use super::world;

async fn check(folder: &Path, config: &Value, more: &[&str]) -> Said {
    let file = folder.join("knotmeter.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let arguments = [&["check", "--config", file.to_str().unwrap()][..], more].concat();
    run(knotmeter(&arguments, folder), "knotmeter").await
}

fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// The demo's API server, which does not let us see pods.
async fn without_pods(kubeconfig: &Path, folder: &Path) -> std::path::PathBuf {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let server = text.lines().find_map(|line| line.split("server:").nth(1)).unwrap();
    let server = server.trim().trim_matches(['"', ',', '}', ' ']).to_owned();
    let behind = server.clone();
    let forward = async move |uri: Uri| -> Response {
        if uri.path() == "/api/v1/pods" {
            let refusal = json!({
                "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
                "message": "pods is forbidden: User \"system:serviceaccount:knotmeter:knotmeter\" cannot list",
            });
            return (StatusCode::FORBIDDEN, axum::Json(refusal)).into_response();
        }
        let answer = reqwest::get(format!("{behind}{uri}")).await.unwrap();
        (answer.status(), Body::from_stream(answer.bytes_stream())).into_response()
    };
    let front = serve(Router::new().fallback(forward)).await;
    let file = folder.join("kubeconfig");
    std::fs::write(&file, text.replace(&server, &format!("http://{front}"))).unwrap();
    file
}

#[tokio::test]
async fn what_is_forbidden_refused_and_dead_is_told_with_its_cost_and_what_to_paste() {
    let demo = Demo::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = without_pods(&demo.kubeconfig, folder.path()).await;
    let refuses = serve(Router::new().fallback(async || {
        (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=r")]).into_response()
    }))
    .await;
    let mut config = world::config(&demo.registry, &demo.git, "lab", &kubeconfig);
    let with_repository =
        |host: String| json!({"host": host, "plain_http": true, "repositories": ["team/web"]});
    config["registries"] = json!([
        with_repository(demo.registry.clone()),
        with_repository(refuses.to_string()),
        with_repository(dead().to_string()),
    ]);
    let reflector = serve(Router::new().fallback(async || {
        ["sum", "count"].map(|part| format!("gotk_reconcile_duration_seconds_{part}{{kind=\"ImageRepository\",name=\"web\",namespace=\"flux-system\"}} 1\n")).concat()
    }))
    .await;
    let endpoint = |name: &str, at: SocketAddr| json!({"name": name, "url": format!("http://{at}/metrics")});
    config["scrape"] = json!([endpoint("reflector", reflector), endpoint("gone", dead())]);
    let said = check(folder.path(), &config, &["-o", "json"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["verdict"], "partly");
    let source = |name: &str| -> Value {
        let sources = report["sources"].as_array().unwrap();
        sources
            .iter()
            .find(|source| source["source"] == name)
            .cloned()
            .unwrap_or_else(|| panic!("{name}: {report:#}"))
    };
    let lab = source("cluster/lab");
    assert_eq!(lab["state"], "partly");
    assert_eq!((&lab["parts"][0]["name"], &lab["parts"][0]["state"]), (&"pods".into(), &"forbidden".into()));
    assert!(lab["costs"][0].as_str().unwrap().starts_with("without pods started, ready and live"), "{lab}");
    assert!(lab["paste"][0]["text"].as_str().unwrap().contains("kind: ClusterRole"), "{lab}");
    let well = source(&format!("registry/{}", demo.registry));
    assert_eq!((&well["state"], well["costs"].is_null()), (&"ok".into(), true));
    let refused = source(&format!("registry/{refuses}"));
    let pasted = refused["paste"][0]["text"].as_str().unwrap();
    assert!(pasted.contains(&format!("--docker-server={refuses}")), "{refused}");
    let cost = refused["costs"].to_string();
    assert!(cost.contains("pushed is unknown, image-to-live is not observed"), "{refused}");
    assert_eq!(source("scrape/reflector")["about"], "tells of 1 ImageRepository objects");
    let gone = source("scrape/gone");
    assert_eq!(
        (&gone["state"], &gone["costs"][0]),
        (&"blind".into(), &"how long the updater's scans take is unknown".into())
    );
    assert_eq!(source("journal")["state"], "absent");

    let table = check(folder.path(), &config, &[]).await;
    assert_eq!(table.code, Some(1), "{table:?}");
    for part in [
        "cluster/lab: partly blind, server ",
        "  pods: forbidden: cluster lab: the API server answered 403",
        "  paste into kubectl apply -f -:",
        &format!("registry/{refuses}: "),
        "something cannot be read: see above",
    ] {
        assert!(table.out.contains(part), "{part} is not in {}", table.out);
    }
}

#[tokio::test]
async fn where_nothing_is_named_the_workloads_registries_are_asked() {
    let demo = Demo::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"clusters": [{"name": "lab", "kubeconfig": demo.kubeconfig}]});
    let said = check(folder.path(), &config, &[]).await;
    // The demo's registry is on loopback, where a workload's image must not send us.
    assert_eq!(said.code, Some(1), "{said:?}");
    let refused = format!("registry/{}: cannot be read: {} has the address", demo.registry, demo.registry);
    assert!(said.out.contains(&refused) && said.out.contains("which is refused"), "{}", said.out);
    let line = format!("  - host: \"{}\"", demo.registry);
    assert!(said.out.contains(&line), "{}", said.out);
    assert!(said.out.contains("git: none named"), "{}", said.out);
}

#[tokio::test]
async fn where_nothing_answers_the_exit_code_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = world::config(
        &dead().to_string(),
        &format!("http://{}/fleet.git", dead()),
        "lab",
        &folder.path().join("no-kubeconfig"),
    );
    let said = check(folder.path(), &config, &[]).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.ends_with("nothing can be read\n"), "{said:?}");
}
