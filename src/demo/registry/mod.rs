//! The demo's OCI registry: the distribution API over plain HTTP, everything in memory. It knows nothing of
//! git or Kubernetes. `content` holds what was pushed, `manifests` and `uploads` answer for their paths; a
//! new endpoint gets a variant of [`Endpoint`] and an answer beside the others.

mod content;
mod manifests;
mod uploads;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use serde_json::{Value, json};

use super::fault::{Fault, Faults};
use super::truth::Truth;
use content::Content;

/// How long an answer takes while the registry is slow.
const SLOW_ANSWER: Duration = Duration::from_secs(3);
/// While the registry is throttled it allows this many requests at once, and one more after each interval. A
/// push needs seven.
const THROTTLE_BURST: u32 = 8;
const THROTTLE_INTERVAL: Duration = Duration::from_millis(150);
/// Who looks for new tags in the demo, and who pulls, by the program that they say they are.
const SCANNERS: [&str; 2] = ["demo-updater", "go-containerregistry"];
const PULLER: &str = "containerd";
/// Tags in one answer when the client asks for no number, and the most it gets when it does.
const TAGS_PER_PAGE_MAX: usize = 1000;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A registry to be served at `host` (`127.0.0.1:port`), empty at first.
pub(super) fn router(host: String, faults: Faults, truth: Truth) -> Router {
    let registry = Registry {
        host,
        faults,
        truth,
        content: Mutex::new(Content::default()),
        throttle: Mutex::new(Instant::now()),
    };
    Router::new().fallback(answer).with_state(Arc::new(registry))
}

struct Registry {
    host: String,
    faults: Faults,
    truth: Truth,
    content: Mutex<Content>,
    /// When the requests allowed so far are all paid for.
    throttle: Mutex<Instant>,
}

/// A path of the distribution API. Repository names contain slashes, so paths are taken apart from the right.
enum Endpoint<'p> {
    Base,
    Catalog,
    Tags { name: &'p str },
    Manifest { name: &'p str, reference: &'p str },
    Blob { name: &'p str, digest: &'p str },
    Uploads { name: &'p str },
    Upload { name: &'p str, id: &'p str },
    Referrers { name: &'p str, digest: &'p str },
}

/// What the specification calls an error: a status, a code and a sentence.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn name_unknown(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            format!("repository name not known to registry: {name}"),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        (self.status, json_headers(), body.to_string()).into_response()
    }
}

impl Registry {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that a fault gives in place of the true one.
    async fn misbehave(&self, agent: &str) -> Option<Response> {
        if self.faults.on(Fault::RegistrySlow) {
            tokio::time::sleep(SLOW_ANSWER).await;
        }
        if self.faults.on(Fault::RegistryDown) {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "service unavailable");
            return Some(refusal.into_response());
        }
        let scans = is_scanner(agent) && self.faults.on(Fault::ScanFailing);
        if scans || agent.contains(PULLER) && self.faults.on(Fault::PullDenied) {
            let message = "authentication required";
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
            let realm = [(header::WWW_AUTHENTICATE, "Basic realm=\"demo\"")];
            return Some((realm, refusal).into_response());
        }
        if self.faults.on(Fault::RegistryThrottled) {
            let mut paid = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if *paid > now + THROTTLE_INTERVAL * THROTTLE_BURST {
                let refusal =
                    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many requests");
                return Some(([(header::RETRY_AFTER, "1")], refusal).into_response());
            }
            *paid = now.max(*paid) + THROTTLE_INTERVAL;
        }
        None
    }
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(response) = registry.misbehave(agent(&parts.headers)).await {
        return response;
    }
    let query = parts.uri.query().unwrap_or_default();
    let answered = match endpoint(parts.uri.path()) {
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", "no such endpoint")),
        Some(endpoint) => registry.at(endpoint, &parts.method, query, &parts.headers, body).await,
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

impl Registry {
    async fn at(
        &self,
        endpoint: Endpoint<'_>,
        method: &Method,
        query: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Refusal> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match endpoint {
            Endpoint::Base if reads => Ok(json_response(&json!({}))),
            Endpoint::Catalog if reads => Ok(json_response(&json!({"repositories": self.content().names()}))),
            Endpoint::Tags { name } if reads => self.tags(name, query, agent(headers)),
            Endpoint::Manifest { name, reference } => match *method {
                Method::GET | Method::HEAD => self.get_manifest(name, reference, method, headers),
                Method::PUT => self.put_manifest(name, reference, headers, body).await,
                Method::DELETE => self.delete_manifest(name, reference),
                _ => Err(unsupported()),
            },
            Endpoint::Referrers { name, digest } if reads => self.referrers(name, digest, query),
            Endpoint::Blob { name, digest } if reads => self.get_blob(name, digest, method),
            Endpoint::Uploads { name } if *method == Method::POST => {
                self.begin_upload(name, query, body).await
            }
            Endpoint::Upload { name, id } => match *method {
                Method::GET => self.upload_progress(name, id),
                Method::PATCH => self.continue_upload(name, id, headers, body).await,
                Method::PUT => self.finish_upload(name, id, query, body).await,
                Method::DELETE => self.cancel_upload(id),
                _ => Err(unsupported()),
            },
            _ => Err(unsupported()),
        }
    }

    fn tags(&self, name: &str, query: &str, agent: &str) -> Result<Response, Refusal> {
        let n = match parameter(query, "n") {
            Some(text) => text.parse::<usize>().map_err(|_| {
                Refusal::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "n is not a number")
            })?,
            None => TAGS_PER_PAGE_MAX,
        };
        let n = n.min(TAGS_PER_PAGE_MAX);
        let last = parameter(query, "last").unwrap_or_default();
        let truncates = is_scanner(agent) && self.faults.on(Fault::ListTruncated);
        let (tags, more) = {
            let content = self.content();
            let repository = content.repository(name).ok_or_else(|| Refusal::name_unknown(name))?;
            let (mut tags, more) = repository.tags_after(&last, n);
            if truncates && let Some(newest) = repository.newest() {
                tags.retain(|tag| tag != newest.as_str());
            }
            (tags, more)
        };
        let mut response = json_response(&json!({"name": name, "tags": tags}));
        if let (true, Some(last)) = (more, tags.last()) {
            let link = format!("</v2/{name}/tags/list?last={last}&n={n}>; rel=\"next\"");
            let link = link.parse().expect("names and tags are of the specification's ASCII grammar");
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    }
}

fn endpoint(path: &str) -> Option<Endpoint<'_>> {
    let rest = path.strip_prefix("/v2")?;
    let rest = match rest {
        "" | "/" => return Some(Endpoint::Base),
        "/_catalog" => return Some(Endpoint::Catalog),
        _ => rest.strip_prefix('/')?,
    };
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Some(Endpoint::Tags { name });
    }
    if let Some((name, id)) = rest.rsplit_once("/blobs/uploads/") {
        return Some(if id.is_empty() { Endpoint::Uploads { name } } else { Endpoint::Upload { name, id } });
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        return Some(Endpoint::Uploads { name });
    }
    let (front, last) = rest.rsplit_once('/')?;
    let (name, noun) = front.rsplit_once('/')?;
    match noun {
        "manifests" => Some(Endpoint::Manifest { name, reference: last }),
        "blobs" => Some(Endpoint::Blob { name, digest: last }),
        "referrers" => Some(Endpoint::Referrers { name, digest: last }),
        _ => None,
    }
}

fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_scanner(agent: &str) -> bool {
    SCANNERS.iter().any(|one| agent.contains(one))
}

fn unsupported() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported")
}

/// The value of a query parameter, percent-decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    super::query_pairs(query).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn json_headers() -> [(HeaderName, &'static str); 2] {
    [
        (header::CONTENT_TYPE, "application/json"),
        (HeaderName::from_static("docker-distribution-api-version"), "registry/2.0"),
    ]
}

fn json_response(body: &Value) -> Response {
    (json_headers(), body.to_string()).into_response()
}
