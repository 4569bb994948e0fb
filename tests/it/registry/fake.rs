//! A registry whose every answer a test writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use knotmeter::image::Digest;

/// A request as the fake saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub authorization: Option<String>,
    pub accept: Option<String>,
    /// The fake's own host, as the client wrote it.
    pub host: String,
}

/// A server on a free loopback port; it ends with the test.
pub struct Fake {
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// Serves what `answer` says; the number counts requests from 0.
    pub async fn start(answer: impl Fn(usize, &Asked) -> Response + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        let app = axum::Router::new().fallback(move |request: Request| {
            let header = |name: &str| {
                request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
            };
            let one = Asked {
                method: request.method().to_string(),
                target: request.uri().to_string(),
                authorization: header("authorization"),
                accept: header("accept"),
                host: header("host").unwrap_or_default(),
            };
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let at = {
                    let mut log = log.lock().unwrap();
                    log.push(one.clone());
                    log.len() - 1
                };
                answer(at, &one)
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { host, asked, task }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|one| one.target.contains(part)).count()
    }
}

pub fn ok(body: impl Into<Body>) -> Response {
    Response::new(body.into())
}

pub fn status(code: u16) -> Response {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

pub fn with(code: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut builder = Response::builder().status(code);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap()
}

/// A page of tags.
pub fn page(tags: impl IntoIterator<Item = impl ToString>) -> String {
    let tags: Vec<String> = tags.into_iter().map(|tag| tag.to_string()).collect();
    serde_json::json!({"name": "shop/web", "tags": tags}).to_string()
}

/// Content of a well-behaved registry: one repository's tags, manifests and blobs.
#[derive(Default, Clone)]
pub struct Content {
    pub tags: BTreeMap<String, Digest>,
    pub blobs: BTreeMap<String, Vec<u8>>,
}

impl Content {
    pub fn add(&mut self, body: impl Into<Vec<u8>>) -> Digest {
        let body = body.into();
        let digest = Digest::of(&body);
        self.blobs.insert(digest.to_string(), body);
        digest
    }

    /// An image of one platform, under a tag.
    pub fn tag_image(&mut self, tag: &str, created: &str) -> (Digest, Digest) {
        let config = serde_json::json!({"created": created, "architecture": "amd64", "os": "linux"});
        let config = self.add(config.to_string());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 1},
            "layers": [],
        });
        let manifest = self.add(manifest.to_string());
        self.tags.insert(tag.into(), manifest.clone());
        (manifest, config)
    }

    /// As the distribution specification wants it.
    pub fn answer(&self, asked: &Asked) -> Response {
        let path = asked.target.split('?').next().unwrap();
        if path.ends_with("/tags/list") {
            return ok(page(self.tags.keys()));
        }
        let reference = path.rsplit('/').next().unwrap();
        let digest = self.tags.get(reference).map_or_else(|| reference.to_owned(), ToString::to_string);
        match self.blobs.get(&digest) {
            Some(body) => with(200, &[("docker-content-digest", &digest)], body.clone()),
            None => status(404),
        }
    }
}
