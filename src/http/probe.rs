//! What machines ask: metrics, health, readiness.

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{ApiError, ServiceState};
use crate::exporters::metrics::Format;

/// The body of a scrape. Its place is free when it has been sent, since it is in memory until then.
struct Scrape {
    body: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Scrape {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<ServiceState>, headers: HeaderMap) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(header(ACCEPT));
    let gzip = takes_gzip(header(ACCEPT_ENCODING));
    let Ok(permit) = state.scrapes.clone().try_acquire_owned() else {
        return ApiError::busy("too many scrapes at the same time").into_response();
    };
    let (snapshot, metrics) = (state.snapshot(), state.http.metrics.clone());
    // With many series this takes milliseconds: not on a thread that serves others.
    let encoded = tokio::task::spawn_blocking(move || {
        let body = if gzip {
            metrics.encode_gzip(&snapshot, format)
        } else {
            metrics.encode(&snapshot, format).into_bytes()
        };
        Bytes::from_owner(Scrape { body, _permit: permit })
    });
    let Ok(body) = encoded.await else {
        return ApiError::busy("the metrics could not be encoded").into_response();
    };
    let mut answer = ([(CONTENT_TYPE, format.content_type())], body).into_response();
    if gzip {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Whether an `Accept-Encoding` names gzip. What is packed here is packed as it is written, and on no thread that
/// serves others; what is left to the layer for all answers is neither.
fn takes_gzip(header: &str) -> bool {
    header.split(',').any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|text| text.parse::<f64>().is_ok_and(|q| q <= 0.0))
        });
        gzip && !refused
    })
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
