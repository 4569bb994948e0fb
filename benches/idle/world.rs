//! A registry and a cluster that stay as they are: each answers with what was written down at the start.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const REPOSITORIES: usize = 350;
const TAGS: usize = 115;
const PODS_PER_WORKLOAD: usize = 4;
/// As an API server sends them.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The first looks of a machine that does something else as well.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// Ends with its value.
pub struct World {
    pub config: PathBuf,
    runtime: Runtime,
}

/// The objects of one resource.
type Objects = HashMap<&'static str, Vec<Value>>;

impl World {
    pub fn start(folder: &Path, pods: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let registry = serve(&runtime, Router::new().fallback(tags));
        let cluster =
            Router::new().fallback(resource).with_state(Arc::new(objects(&registry.to_string(), pods)));
        let cluster = serve(&runtime, cluster);
        let kubeconfig = folder.join("kubeconfig");
        let entry = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": format!("http://{cluster}")}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "users": [{"name": "lab", "user": {}}],
        });
        let config = folder.join("knotmeter.yaml");
        let repositories: Vec<String> = (0..REPOSITORIES).map(repository).collect();
        let text = json!({
            "clusters": [{"name": "lab", "kubeconfig": kubeconfig, "context": "lab"}],
            "registries": [{"host": registry.to_string(), "plain_http": true, "repositories": repositories}],
        });
        std::fs::write(&kubeconfig, entry.to_string()).expect("our folder");
        std::fs::write(&config, text.to_string()).expect("our folder");
        Self { config, runtime }
    }

    /// Until registry and cluster have been seen whole.
    pub fn wait_until_seen(&self, address: &str) {
        let deadline = Instant::now() + SEEN_WITHIN;
        loop {
            let answer: Value =
                serde_json::from_str(&get(&format!("http://{address}/api/v1/sources"))).expect("JSON");
            let whole = |source: &&Value| source["up"] == true && source["fresh"] == source["scopes"];
            let sources = answer["sources"].as_array().cloned().unwrap_or_default();
            if sources.iter().filter(whole).count() >= 2 {
                return;
            }
            assert!(Instant::now() < deadline, "not seen whole: {answer}");
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(200)).await });
        }
    }
}

/// What is at an address of this machine.
pub fn get(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.get(url).send().await.expect("an answer").text().await.expect("text")
    })
}

fn serve(runtime: &Runtime, router: Router) -> SocketAddr {
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async move { axum::serve(listener, router).await });
    address
}

fn repository(at: usize) -> String {
    format!("team-{}/service-{at}", at % 40)
}

async fn tags(uri: Uri) -> Response {
    match uri.path().strip_prefix("/v2/").and_then(|path| path.strip_suffix("/tags/list")) {
        Some(name) => {
            let tags: Vec<String> = (0..TAGS).map(|at| format!("v1.{at}.0-{:012x}", at * 7919)).collect();
            json!({"name": name, "tags": tags}).to_string().into_response()
        }
        None if uri.path() == "/v2/" => "{}".into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn resource(
    State(objects): State<Arc<Objects>>,
    uri: Uri,
    query: Query<HashMap<String, String>>,
) -> Response {
    match uri.path() {
        "/version" => return json!({"gitVersion": "v1.36.2"}).to_string().into_response(),
        "/api/v1/namespaces/kube-system" => {
            return json!({"metadata": {"uid": "3f0c1c2e-6f5b-4f57-9d0c-0f3a5a1b2c3d"}})
                .to_string()
                .into_response();
        }
        _ => {}
    }
    let resource = uri.path().rsplit('/').next().unwrap_or_default();
    let items = objects.get(resource).map_or(&[][..], |items| items);
    if !query.contains_key("watch") {
        let list = json!({"metadata": {"resourceVersion": "100"}, "items": items});
        return list.to_string().into_response();
    }
    let event = |kind: &str, object: &Value| format!("{}\n", json!({"type": kind, "object": object}));
    let mut text = String::new();
    if query.contains_key("sendInitialEvents") {
        items.iter().for_each(|item| text.push_str(&event("ADDED", item)));
        let end = json!({"k8s.io/initial-events-end": "true"});
        let version = json!({"metadata": {"resourceVersion": "100", "annotations": end}});
        text.push_str(&event("BOOKMARK", &version));
    }
    let bookmark = Bytes::from(event("BOOKMARK", &json!({"metadata": {"resourceVersion": "100"}})));
    let first =
        stream::once(async move { Bytes::from(text) }).filter(|text| std::future::ready(!text.is_empty()));
    let later = stream::unfold(bookmark, |bookmark| async move {
        tokio::time::sleep(BOOKMARK_EVERY).await;
        Some((bookmark.clone(), bookmark))
    });
    Body::from_stream(first.chain(later).map(Ok::<_, std::convert::Infallible>)).into_response()
}

fn objects(registry: &str, count: usize) -> Objects {
    let (mut deployments, mut replicasets, mut pods) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..count / PODS_PER_WORKLOAD {
        let name = format!("service-{at}");
        let image = format!("{registry}/{}:v1.{}.0-{:012x}", repository(at % REPOSITORIES), 7, 7 * 7919);
        let labels = json!({"app.kubernetes.io/name": name, "pod-template-hash": "7d4b9c6f5"});
        let containers = json!([{"name": "app", "image": image, "resources": {"requests": {"cpu": "100m"}}}]);
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
        let metadata = |name: &str, uid: String, owner: Option<(&str, String)>| {
            let owners: Vec<Value> = owner
                .iter()
                .map(|(kind, uid)| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}))
                .collect();
            json!({"name": name, "namespace": format!("team-{}", at % 40), "uid": uid, "resourceVersion": "90",
                "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels,
                "annotations": {"deployment.kubernetes.io/revision": "1"}, "ownerReferences": owners})
        };
        let uid = |kind: char| format!("{kind}0000000-0000-4000-8000-{at:012}");
        let count = PODS_PER_WORKLOAD;
        deployments.push(json!({
            "metadata": metadata(&name, uid('d'), None),
            "spec": {"replicas": count, "selector": {"matchLabels": labels}, "template": template},
            "status": {"observedGeneration": 1, "replicas": count, "updatedReplicas": count, "readyReplicas": count,
                "availableReplicas": count},
        }));
        replicasets.push(json!({
            "metadata": metadata(&format!("{name}-7d4b9c6f5"), uid('e'), Some(("Deployment", uid('d')))),
            "spec": {"replicas": count, "template": template},
            "status": {"replicas": count, "readyReplicas": count, "observedGeneration": 1},
        }));
        for pod in 0..count {
            pods.push(json!({
                "metadata": metadata(&format!("{name}-7d4b9c6f5-{pod:05}"), format!("{}{pod}", uid('9')),
                    Some(("ReplicaSet", uid('e')))),
                "spec": {"nodeName": "node-1", "containers": containers},
                "status": {"phase": "Running", "startTime": "2026-01-01T00:00:01Z",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}],
                    "containerStatuses": [{"name": "app", "ready": true, "started": true, "restartCount": 0,
                        "image": image, "imageID": format!("{registry}/x@sha256:{at:064x}"),
                        "state": {"running": {"startedAt": "2026-01-01T00:00:04Z"}}}]},
            }));
        }
    }
    HashMap::from([("deployments", deployments), ("replicasets", replicasets), ("pods", pods)])
}
