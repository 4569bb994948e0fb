//! What every handler shares: the state, and errors as JSON.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use super::HttpState;
use crate::exporters::Snapshot;

/// Readers of events at the same time: each holds a connection and a place in the broadcast.
const EVENT_READERS_MAX: usize = 64;
/// Scrapes encoded at the same time: each builds the whole text in memory.
const SCRAPES_MAX: usize = 4;

/// What the handlers see.
#[derive(Debug, Clone)]
pub(super) struct ServiceState {
    pub http: HttpState,
    pub readers: Arc<Semaphore>,
    pub scrapes: Arc<Semaphore>,
}

impl ServiceState {
    pub fn new(http: HttpState) -> Self {
        let readers = Arc::new(Semaphore::new(EVENT_READERS_MAX));
        Self { http, readers, scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)) }
    }

    /// The last published state. Never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.http.snapshots.borrow().clone()
    }
}

/// An answer that says what was wrong: `{"error": "..."}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub fn of(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub fn missing(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }

    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, message: message.into() }
    }

    pub fn busy(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message: message.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
