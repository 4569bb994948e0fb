//! `POST /hooks/{name}`: the request, its limits and its answer. What a delivery means is somebody else's work.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::json;

use super::answer::{ApiError, ServiceState};

/// Bodies in memory at the same time, all together. Beyond it a sender is asked to come again; the poll comes anyhow.
const BODIES_BYTES_MAX: usize = 8 << 20;
/// Nobody needs longer for half a megabyte.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request as far as it is known before its body is read.
#[derive(Debug, Clone, Copy)]
pub struct HookHead<'a> {
    pub name: &'a str,
    /// What follows the name in the address.
    pub path_secret: Option<&'a str>,
    pub headers: &'a HeaderMap,
}

/// Whoever takes deliveries. Both answer at once: a delivery is looked at, nothing is done for it yet.
pub trait TakeHook: Send + Sync + fmt::Debug {
    /// Largest body that is worth reading, in bytes.
    fn body_bytes_max(&self) -> usize;

    /// Whether the body is worth reading.
    ///
    /// # Errors
    /// The status and the sentence to answer with.
    fn admit(&self, head: HookHead<'_>) -> Result<(), (StatusCode, String)>;

    /// Takes a whole delivery.
    ///
    /// # Errors
    /// The status and the sentence to answer with.
    fn take(&self, head: HookHead<'_>, body: &[u8]) -> Result<(), (StatusCode, String)>;

    /// A body was too large, too slow, cut short, or one too many.
    fn unread(&self, head: HookHead<'_>);
}

/// The way to whoever takes deliveries. The default takes none.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    taker: Option<Arc<dyn TakeHook>>,
    /// Bytes of the bodies being read.
    bytes: Arc<AtomicUsize>,
}

impl Hooks {
    #[must_use]
    pub fn new(taker: Arc<dyn TakeHook>) -> Self {
        Self { taker: Some(taker), bytes: Arc::default() }
    }
}

/// The addresses of webhooks, to be merged into the others.
pub(super) fn routes() -> Router<ServiceState> {
    Router::new()
        .route("/hooks/{name}", post(deliver))
        .route("/hooks/{name}/{secret}", post(deliver))
        .method_not_allowed_fallback(async || ApiError::not_allowed("a webhook is sent with POST"))
}

#[derive(Debug, Deserialize)]
struct Address {
    name: String,
    #[serde(default)]
    secret: Option<String>,
}

async fn deliver(
    State(state): State<ServiceState>,
    Path(address): Path<Address>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let hooks = &state.http.hooks;
    let Some(taker) = &hooks.taker else {
        return Err(ApiError::missing("no webhooks are configured: see `hooks` in the configuration"));
    };
    let head = HookHead { name: &address.name, path_secret: address.secret.as_deref(), headers: &headers };
    let refused = |(status, message)| ApiError::of(status, message);
    taker.admit(head).map_err(refused)?;
    let read = read(body, taker.body_bytes_max(), &hooks.bytes);
    let read = tokio::time::timeout(BODY_TIMEOUT, read).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT));
    let body = read.map_err(|status| {
        taker.unread(head);
        ApiError::of(status, "the body is too large, too slow, or cut short")
    })?;
    taker.take(head, &body.bytes).map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "taken": true }))).into_response())
}

/// A body in memory; its room is free again when it is dropped.
struct Held {
    bytes: Vec<u8>,
    counted: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Only what has come counts: a sender who announces much and sends nothing takes no room from others.
async fn read(mut body: Body, limit: usize, counted: &Arc<AtomicUsize>) -> Result<Held, StatusCode> {
    if body.size_hint().lower() > limit as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut held = Held { bytes: Vec::new(), counted: counted.clone() };
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else { continue };
        if held.bytes.len() + data.len() > limit {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if counted.fetch_add(data.len(), Ordering::Relaxed) + data.len() > BODIES_BYTES_MAX {
            counted.fetch_sub(data.len(), Ordering::Relaxed);
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        held.bytes.extend_from_slice(&data);
    }
    Ok(held)
}
