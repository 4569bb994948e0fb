//! The page, the API, the metrics: everything that is asked over HTTP.
//!
//! Handlers read the last published snapshot and never wait for the tracker; only `why` asks it, and not for long.
//! Nothing here changes anything: every route is a GET, but for webhooks (`hooks.rs`), which only hurry a look. A new
//! route is an entry of [`ROUTES`], a line of `openapi.json` if it is under `/api`, and a handler in the file of its kind
//! (`api.rs` for programs, `page/` for people, `probe.rs` for machines).

mod answer;
mod api;
mod bundle;
mod events;
mod hooks;
mod lookups;
mod matching;
mod nowhere;
mod page;
mod past;
mod patience;
mod probe;
mod reload;
mod sentence;
mod serve;
mod why;
pub mod words;

pub use api::OPENAPI;
pub use bundle::{BundleRequest, Bundles};
pub use events::{EVENTS_KEPT, EventRecord};
pub use hooks::{HookHead, Hooks, TakeHook};
pub use lookups::{LookupRequest, Lookups};
pub use matching::Question;
pub use past::{PastAnswers, PastRequest, Pasts, parse_at};
pub use reload::{AskedToReload, Reload, Reloaded};
pub use sentence::{Around, sentence};
pub use serve::{serve, serve_with};
pub use why::{Answer, PolicyAnswer, why};
pub use words::CONFIG_NOT_ROLLED;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use self::answer::{ApiError, ServiceState};
use crate::exporters::Snapshot;
use crate::exporters::metrics::Metrics;

/// No route but a webhook's reads a body.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Until an answer begins. A stream of events may last longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Every path and what is there, for the answer to a wrong one.
pub const ROUTES: &[(&str, &str)] = &[
    ("/", "the page"),
    ("/journeys/{id}", "one journey, as a page"),
    ("/style.css", "how the page looks"),
    ("/metrics", "Prometheus metrics"),
    ("/healthz", "the process answers"),
    ("/readyz", "ready to serve, with the state of the journal and the sources"),
    ("/api/v1/journeys", "journeys, newest first: app, environment, namespace, image, open, limit"),
    ("/api/v1/journeys/{id}", "one journey"),
    ("/api/v1/journeys/{id}/bundle", "what was observed of one journey, as JSON lines: redact"),
    ("/api/v1/why", "where something is and why: q, namespace, at"),
    ("/api/v1/sources", "how fresh each source is"),
    ("/api/v1/events", "journey events as they come (server-sent events)"),
    ("/api/v1/openapi.json", "this API described"),
];

/// What the surfaces read.
#[derive(Debug, Clone)]
pub struct HttpState {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub metrics: Arc<Metrics>,
    /// Made with room for [`EVENTS_KEPT`].
    pub events: broadcast::Sender<EventRecord>,
    pub ready: Ready,
    pub bundles: Bundles,
    pub lookups: Lookups,
    pub pasts: Pasts,
    pub hooks: Hooks,
    pub reload: Reload,
}

impl HttpState {
    /// What is read, and nothing behind the rest: not ready, no journal to make bundles of, no webhooks, nothing to
    /// read again.
    #[must_use]
    pub fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        metrics: Arc<Metrics>,
        events: broadcast::Sender<EventRecord>,
    ) -> Self {
        Self {
            snapshots,
            metrics,
            events,
            ready: Ready::default(),
            bundles: Bundles::default(),
            lookups: Lookups::default(),
            pasts: Pasts::default(),
            hooks: Hooks::default(),
            reload: Reload::default(),
        }
    }
}

/// Whether the journal is open and answers are true. Starts as not ready.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    ready: Arc<AtomicBool>,
    journal: Arc<Mutex<Value>>,
}

impl Ready {
    /// Ready from now on, or no longer.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// What was set last.
    #[must_use]
    pub fn get(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// How the journal is, for the body.
    pub fn set_journal(&self, journal: Value) {
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = journal;
    }

    fn journal(&self) -> Value {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All routes over one state.
pub fn router(state: HttpState) -> Router {
    let mut router = Router::new();
    for (path, _) in ROUTES {
        router = router.route(path, handler(path));
    }
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .merge(hooks::routes())
        .merge(reload::routes())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_TIMEOUT))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(axum::middleware::map_response(with_headers))
        .with_state(ServiceState::new(state))
}

/// The handler of a path of [`ROUTES`].
fn handler(path: &str) -> MethodRouter<ServiceState> {
    match path {
        "/" => get(page::overview),
        "/journeys/{id}" => get(page::journey),
        "/style.css" => get(page::style),
        "/metrics" => get(probe::metrics),
        "/healthz" => get(probe::health),
        "/readyz" => get(probe::ready),
        "/api/v1/journeys" => get(api::journeys),
        "/api/v1/journeys/{id}" => get(api::journey),
        "/api/v1/journeys/{id}/bundle" => get(bundle::bundle),
        "/api/v1/why" => get(api::ask),
        "/api/v1/sources" => get(api::sources),
        "/api/v1/events" => get(events::events),
        "/api/v1/openapi.json" => get(api::openapi),
        _ => unreachable!("every path of ROUTES has a handler"),
    }
}

async fn nowhere(uri: Uri) -> Response {
    let paths: Vec<_> = ROUTES.iter().map(|(path, what)| json!({ "path": path, "what": what })).collect();
    let error = format!("nothing is at {}", uri.path());
    (StatusCode::NOT_FOUND, Json(json!({ "error": error, "paths": paths }))).into_response()
}

async fn not_allowed() -> ApiError {
    ApiError::not_allowed("everything here is read with GET")
}

/// The page runs no script and loads nothing from elsewhere; nobody needs to cache what is seconds old.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
        ),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
