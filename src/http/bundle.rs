//! `GET /api/v1/journeys/{id}/bundle`: what was observed of one journey. Reading the journal is somebody else's
//! work; here is the way to ask for it.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::answer::{ApiError, ServiceState};
use super::api::find;
use crate::tracker::Journey;

/// Bundles that wait to be made: each reads the journal, so one after the other.
const WAITING_MAX: usize = 4;

/// Asks for the slice of one journey.
#[derive(Debug)]
pub struct BundleRequest {
    pub journey: Box<Journey>,
    /// Names of hosts and people are replaced.
    pub redact: bool,
    /// JSON lines, or a sentence why there are none.
    pub reply: oneshot::Sender<Result<Vec<u8>, String>>,
}

/// The way to whoever reads the journal. The default leads nowhere: there is no journal.
#[derive(Debug, Clone, Default)]
pub struct Bundles(Option<mpsc::Sender<BundleRequest>>);

impl Bundles {
    /// A way, and its other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<BundleRequest>) {
        let (to, asked) = mpsc::channel(WAITING_MAX);
        (Self(Some(to)), asked)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    redact: bool,
}

pub(super) async fn bundle(
    State(state): State<ServiceState>,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = asked.map_err(|error| ApiError::bad(error.body_text()))?;
    let journey = Box::new(find(&state.snapshot(), &id)?.clone());
    let Some(way) = &state.http.bundles.0 else {
        return Err(ApiError::missing(super::past::NO_JOURNAL));
    };
    let (reply, answer) = oneshot::channel();
    let request = BundleRequest { journey, redact: asked.redact, reply };
    way.try_send(request).map_err(|_| ApiError::busy("too many bundles are asked for; try again later"))?;
    let lines = answer.await.map_err(|_| ApiError::busy("the program is ending"))?;
    let lines = lines.map_err(ApiError::busy)?;
    Ok(([(CONTENT_TYPE, "application/jsonl")], lines).into_response())
}
