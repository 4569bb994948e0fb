//! A small API server: lists, watches, bookmarks and faults, without a socket. It keeps one history for all
//! resources, as etcd does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What this server does with a watch from a version that it has not reached: it was restored from a backup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Future {
    /// 504, with a cause that names it.
    Refused,
    /// Accepted, and silent until the version is reached.
    Silent,
}

/// What this server does about `sendInitialEvents`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StreamingLists {
    Served,
    /// 422, as Kubernetes 1.31.
    Refused,
    /// 200 and one ERROR event, as over an old etcd.
    RefusedInStream,
    /// The objects come, and no bookmark ends them.
    Ignored,
}

#[derive(Clone)]
pub struct Fake(Arc<Mutex<Cluster>>);

pub struct Cluster {
    pub streaming_lists: StreamingLists,
    pub future: Future,
    /// So many watches that resume are refused with 410, in turns as the answer and as an event.
    pub storm: usize,
    /// Resources that answer 403.
    pub forbidden: BTreeSet<&'static str>,
    /// Resources that answer 404.
    pub missing: BTreeSet<&'static str>,
    /// The most objects of a page, whatever was asked for.
    pub page_items: usize,
    /// Watches are cut after so many bytes; the next one after the next number.
    pub cuts: Vec<usize>,
    /// Continue tokens that answer 410, once each.
    pub expired_tokens: BTreeSet<String>,
    /// Pieces of watches that were taken by whoever reads them.
    pub pieces_taken: Arc<AtomicUsize>,
    /// Every request, as path and query.
    pub requests: Vec<String>,
    version: u64,
    compacted: u64,
    objects: BTreeMap<(String, String), Value>,
    history: Vec<(u64, String, String)>,
    /// What is watched, since which version, and by whom.
    watches: Vec<(String, u64, UnboundedSender<String>)>,
}

impl Fake {
    pub fn new(streaming_lists: StreamingLists) -> Self {
        Self(Arc::new(Mutex::new(Cluster {
            streaming_lists,
            future: Future::Refused,
            storm: 0,
            forbidden: BTreeSet::new(),
            missing: BTreeSet::new(),
            page_items: usize::MAX,
            cuts: Vec::new(),
            expired_tokens: BTreeSet::new(),
            pieces_taken: Arc::default(),
            requests: Vec::new(),
            version: 100,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            watches: Vec::new(),
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap()
    }

    pub fn client(&self) -> kube::Client {
        let router: Router = Router::new().fallback(answer).with_state(self.clone());
        let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
            router.clone().oneshot(request.map(Body::new))
        });
        kube::Client::new(service, "default")
    }
}

impl Cluster {
    /// Makes or changes a Deployment with this image, as one write.
    pub fn deploy(&mut self, name: &str, image: &str) {
        self.version += 1;
        let key = ("deployments".to_owned(), name.to_owned());
        let generation =
            self.objects.get(&key).map_or(1, |was| was["metadata"]["generation"].as_u64().unwrap() + 1);
        let object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
                "generation": generation, "resourceVersion": self.version.to_string()},
            "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
            "status": {"observedGeneration": generation},
        });
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.write(kind, &key.0, &object);
        self.objects.insert(key, object);
    }

    /// Makes or replaces any object.
    pub fn put(&mut self, resource: &str, name: &str, object: Value) {
        self.version += 1;
        self.write("ADDED", resource, &object);
        self.objects.insert((resource.to_owned(), name.to_owned()), object);
    }

    pub fn delete(&mut self, name: &str) {
        let key = ("deployments".to_owned(), name.to_owned());
        let mut object = self.objects.remove(&key).unwrap();
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.write("DELETED", &key.0, &object);
    }

    /// Puts a line that is no event into the history.
    pub fn garble(&mut self) {
        self.version += 1;
        self.history.push((self.version, "deployments".into(), "{}\n".into()));
        self.watches.retain(|(of, _, to)| of != "deployments" || to.unbounded_send("{}\n".into()).is_ok());
    }

    /// Ends every open watch, as a restart does.
    pub fn close_watches(&mut self) {
        self.watches.clear();
    }

    /// The server ends, and comes back with what a backup held: these objects, and an older version.
    pub fn restore(&mut self, version: u64, deployments: &[(&str, &str)]) {
        self.watches.clear();
        self.history.clear();
        self.objects.retain(|(of, _), _| of != "deployments");
        self.version = version;
        for (name, image) in deployments {
            self.deploy(name, image);
        }
        // What a backup holds is no event.
        self.history.clear();
    }

    /// Forgets the history: older versions answer 410.
    pub fn compact(&mut self) {
        self.version += 1;
        self.compacted = self.version;
        self.history.clear();
    }

    fn write(&mut self, kind: &str, resource: &str, object: &Value) {
        let line = json!({"type": kind, "object": object}).to_string() + "\n";
        self.history.push((self.version, resource.to_owned(), line.clone()));
        let version = self.version;
        self.watches.retain(|(of, since, to)| {
            of != resource || version <= *since || to.unbounded_send(line.clone()).is_ok()
        });
    }

    fn list(&mut self, resource: &str, query: &HashMap<String, String>) -> Response {
        let token = query.get("continue").map_or("", String::as_str);
        if self.expired_tokens.remove(token) {
            return refuse(410, "The provided continue parameter is too old");
        }
        // A token has characters that a query must escape.
        let first: usize = token.strip_prefix("from+/=&").map_or(0, |at| at.parse().unwrap());
        let asked: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let all: Vec<_> = self.objects.iter().filter(|((of, _), _)| of == resource).map(|(_, o)| o).collect();
        let end = first.saturating_add(asked.min(self.page_items)).min(all.len());
        let next = if end < all.len() { format!("from+/=&{end}") } else { String::new() };
        let page = json!({
            "metadata": {"resourceVersion": self.version.to_string(), "continue": next},
            "items": all[first..end],
        });
        page.to_string().into_response()
    }

    fn watch(&mut self, resource: &str, query: &HashMap<String, String>) -> Response {
        let (to, from) = unbounded();
        let say = |line: &str| to.unbounded_send(line.to_owned()).unwrap();
        let streaming = query.contains_key("sendInitialEvents");
        let since: Option<u64> = query.get("resourceVersion").map(|version| version.parse().unwrap());
        match (streaming, since, self.streaming_lists) {
            (true, _, StreamingLists::Refused) => return refuse(422, "sendInitialEvents is forbidden"),
            (true, _, StreamingLists::RefusedInStream) => {
                let status =
                    json!({"kind": "Status", "code": 500, "message": "RequestWatchProgress is disabled"});
                return format!("{}\n", json!({"type": "ERROR", "object": status})).into_response();
            }
            (true, _, served) => {
                for ((of, _), object) in &self.objects {
                    if of == resource {
                        say(&(json!({"type": "ADDED", "object": object}).to_string() + "\n"));
                    }
                }
                if served == StreamingLists::Served {
                    let metadata = json!({"resourceVersion": self.version.to_string(),
                        "annotations": {"k8s.io/initial-events-end": "true"}});
                    say(&(json!({"type": "BOOKMARK", "object": {"metadata": metadata}}).to_string() + "\n"));
                }
            }
            (false, Some(_), _) if self.storm > 0 => {
                self.storm -= 1;
                let status = json!({"kind": "Status", "code": 410, "message": "too old resource version"});
                return match self.storm % 2 {
                    0 => refuse(410, "too old resource version"),
                    _ => format!("{}\n", json!({"type": "ERROR", "object": status})).into_response(),
                };
            }
            (false, Some(since), _) if since > self.version && self.future == Future::Refused => {
                let status = json!({"kind": "Status", "code": 504, "reason": "Timeout",
                    "message": format!("Timeout: Too large resource version: {since}, current: {}", self.version),
                    "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                        "retryAfterSeconds": 1}});
                return (StatusCode::GATEWAY_TIMEOUT, status.to_string()).into_response();
            }
            (false, Some(since), _) if since < self.compacted => {
                let status = json!({"kind": "Status", "code": 410, "message": "too old resource version"});
                return format!("{}\n", json!({"type": "ERROR", "object": status})).into_response();
            }
            (false, since, _) => {
                let later = self
                    .history
                    .iter()
                    .filter(|(version, of, _)| of == resource && since.is_none_or(|since| *version > since));
                later.for_each(|(_, _, line)| say(line));
            }
        }
        self.watches.push((resource.to_owned(), since.unwrap_or_default(), to));
        let cut = if resource == "deployments" { self.cuts.pop() } else { None };
        let taken = self.pieces_taken.clone();
        let counted = cut_after(cut.unwrap_or(usize::MAX), from).inspect(move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
        });
        Body::from_stream(counted).into_response()
    }
}

/// The stream, broken off in the middle of whatever stands at that byte.
fn cut_after(
    bytes: usize,
    lines: UnboundedReceiver<String>,
) -> impl futures::Stream<Item = Result<Bytes, io::Error>> {
    let pieces = lines.scan(bytes, |left, line| {
        let mut line = Bytes::from(line);
        let mut pieces = Vec::new();
        if *left < line.len() {
            line.truncate(*left);
            pieces.push(Err(io::Error::other("connection reset")));
        }
        *left -= line.len();
        pieces.insert(0, Ok(line));
        futures::future::ready(Some(futures::stream::iter(pieces)))
    });
    pieces.flatten()
}

async fn answer(
    State(fake): State<Fake>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let mut cluster = fake.lock();
    cluster.requests.push(uri.to_string());
    let resource = uri.path().rsplit('/').next().unwrap();
    match uri.path() {
        "/version" => return json!({"gitVersion": "v1.36.2"}).to_string().into_response(),
        "/api/v1/namespaces/kube-system" if cluster.forbidden.contains("namespaces") => {
            return refuse(403, "namespaces is forbidden");
        }
        "/api/v1/namespaces/kube-system" => {
            return json!({"metadata": {"uid": "cluster-uid"}}).to_string().into_response();
        }
        "/api/v1/namespaces/default/services/kubernetes" => {
            return json!({"metadata": {"uid": "service-uid"}}).to_string().into_response();
        }
        _ => {}
    }
    if cluster.forbidden.contains(resource) {
        return refuse(403, &format!("{resource} is forbidden"));
    }
    if cluster.missing.contains(resource) {
        return refuse(404, "the server could not find the requested resource");
    }
    match query.contains_key("watch") {
        true => cluster.watch(resource, &query),
        false => cluster.list(resource, &query),
    }
}

fn refuse(code: u16, message: &str) -> Response {
    let status = json!({"kind": "Status", "code": code, "message": message}).to_string();
    (StatusCode::from_u16(code).unwrap(), status).into_response()
}
