//! What machines ask: metrics, health, readiness.

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{ApiError, ServiceState};
use crate::exporters::metrics::Format;

/// The text of a scrape. Its place is free when it has been sent, since it is in memory until then.
struct Scrape {
    text: String,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Scrape {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<ServiceState>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let Ok(permit) = state.scrapes.clone().try_acquire_owned() else {
        return ApiError::busy("too many scrapes at the same time").into_response();
    };
    let (snapshot, metrics) = (state.snapshot(), state.http.metrics.clone());
    // With many series the text takes milliseconds to build: not on a thread that serves others.
    let encoded = tokio::task::spawn_blocking(move || {
        Bytes::from_owner(Scrape { text: metrics.encode(&snapshot, format), _permit: permit })
    });
    match encoded.await {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => ApiError::busy("the metrics could not be encoded").into_response(),
    }
}

/// `GET /healthz`: the process answers. Whether its sources do is no reason to restart it.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the journal was read and answers are true; the state of journal and sources is in the body
/// only, since no restart would mend it.
pub(super) async fn ready(State(state): State<ServiceState>) -> Response {
    let ready = state.http.ready.get();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sources = &state.snapshot().sources;
    (status, Json(json!({ "ready": ready, "journal": state.http.ready.journal(), "sources": sources })))
        .into_response()
}
