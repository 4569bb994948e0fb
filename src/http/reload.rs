//! `POST /-/reload`: reads the configuration again, as Prometheus and its kin have it.
//!
//! Nothing of the request is read. One reload goes on at a time, and what it changes is what its file says: who may ask
//! can make it happen sooner, and nothing else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::answer::{ApiError, ServiceState};

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// `rules`, and the sources that were begun again, or ended.
    pub changed: Vec<String>,
    /// Keys that have another value now, which a restart will take up.
    pub needs_restart: Vec<String>,
}

/// Whoever asks for a reload waits for this.
pub type AskedToReload = oneshot::Sender<Result<Reloaded, String>>;

/// The way to whoever reads the configuration. The default has nobody.
#[derive(Debug, Clone, Default)]
pub struct Reload(Option<mpsc::Sender<AskedToReload>>);

impl Reload {
    /// A way, and its other end. A second wish waits for the first, a third is refused.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<AskedToReload>) {
        let (ask, asked) = mpsc::channel(1);
        (Self(Some(ask)), asked)
    }

    /// Reads the configuration again. `None` where nobody does, or too many ask.
    pub async fn ask(&self) -> Option<Result<Reloaded, String>> {
        let (answer, answered) = oneshot::channel();
        self.0.as_ref()?.try_send(answer).ok()?;
        answered.await.ok()
    }
}

/// The address, to be merged into the others.
pub(super) fn routes() -> Router<ServiceState> {
    Router::new()
        .route("/-/reload", post(reload))
        .method_not_allowed_fallback(async || ApiError::not_allowed("a reload is asked for with POST"))
}

async fn reload(State(state): State<ServiceState>) -> Result<Response, ApiError> {
    let reload = &state.http.reload;
    if reload.0.is_none() {
        return Err(ApiError::missing("this instance reads no configuration again"));
    }
    match reload.ask().await {
        Some(Ok(reloaded)) => Ok(Json(reloaded).into_response()),
        Some(Err(why)) => {
            let why = format!("the last good configuration stays in force: {why}");
            Err(ApiError::of(StatusCode::INTERNAL_SERVER_ERROR, why))
        }
        None => Err(ApiError::busy("a reload is under way")),
    }
}
