//! `/api/v1`: the same words as the page, in JSON. `openapi.json` beside this file describes it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{ApiError, ServiceState};
use super::matching::{QUESTION_LENGTH_MAX, Question};
use super::past::parse_at;
use super::why::{Answer, why};
use crate::exporters::Snapshot;
use crate::observation::Time;
use crate::tracker::{Journey, JourneyId, JourneyView};

/// Journeys in one answer where nobody says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// About 2 MB of JSON.
const LIMIT_MAX: usize = 1000;

/// The description of this API.
pub const OPENAPI: &str = include_str!("openapi.json");

/// `GET /api/v1/journeys`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filter {
    app: Option<String>,
    environment: Option<String>,
    namespace: Option<String>,
    /// Anything that names an image: see [`Question`].
    image: Option<String>,
    open: Option<bool>,
    limit: Option<usize>,
}

/// Newest first.
#[derive(Debug, Serialize)]
struct Journeys {
    at: Time,
    /// How many match, listed or not.
    total: usize,
    journeys: Vec<JourneyView>,
}

pub(super) async fn journeys(
    State(state): State<ServiceState>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(filter) = filter.map_err(|error| ApiError::bad(error.body_text()))?;
    let limit = filter.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let snapshot = state.snapshot();
    let matching: Vec<&Journey> = snapshot.journeys().rev().filter(|journey| filter.takes(journey)).collect();
    let listed = matching.iter().take(limit).map(|journey| view(&snapshot, journey)).collect();
    Ok(Json(Journeys { at: snapshot.at, total: matching.len(), journeys: listed }).into_response())
}

impl Filter {
    fn takes(&self, journey: &Journey) -> bool {
        let to = &journey.destination;
        let is = |asked: &Option<String>, known: &str| asked.as_deref().is_none_or(|asked| asked == known);
        let image =
            |asked: &String| Question::new(asked, None).names_image(&journey.image, journey.digest.as_ref());
        is(&self.app, &to.app)
            && is(&self.environment, &to.environment)
            && is(&self.namespace, &to.workload.namespace)
            && self.image.as_ref().is_none_or(image)
            && self.open.is_none_or(|open| open == journey.is_open())
    }
}

/// `GET /api/v1/journeys/{id}`, also by an id that it had before.
pub(super) async fn journey(
    State(state): State<ServiceState>,
    Path(id): Path<String>,
) -> Result<Json<JourneyView>, ApiError> {
    let snapshot = state.snapshot();
    find(&snapshot, &id).map(|journey| Json(view(&snapshot, journey)))
}

/// A journey and to whom its destination belongs.
fn view(snapshot: &Snapshot, journey: &Journey) -> JourneyView {
    let owner = snapshot.owner(&journey.destination).cloned().unwrap_or_default();
    let text = |word: Option<Arc<str>>| word.map(|word| word.to_string());
    JourneyView { team: text(owner.team), tier: text(owner.tier), ..JourneyView::from(journey) }
}

/// The journey of an id as people paste it.
pub(super) fn find<'a>(snapshot: &'a Snapshot, id: &str) -> Result<&'a Journey, ApiError> {
    let number = u64::from_str_radix(id, 16)
        .map_err(|_| ApiError::bad("a journey id has up to 16 hex digits; /api/v1/journeys lists them"))?;
    let missing = || ApiError::missing(format!("no journey {number:016x}: it is unknown, or long forgotten"));
    snapshot.journey(JourneyId(number)).ok_or_else(missing)
}

/// `GET /api/v1/why`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    q: String,
    namespace: Option<String>,
    /// As [`parse_at`] reads it.
    at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answers {
    at: Time,
    answers: Vec<Answer>,
    /// Observations of the past that are missing in the journal.
    lost: u64,
}

pub(super) async fn ask(
    State(state): State<ServiceState>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = asked.map_err(|error| ApiError::bad(error.body_text()))?;
    let question = Question::new(&asked.q, asked.namespace.as_deref());
    if question.text.is_empty() || question.text.len() > QUESTION_LENGTH_MAX {
        return Err(ApiError::bad(
            "q must name an image, a digest, a commit, an app, or kind/name of a workload",
        ));
    }
    if let Some(at) = &asked.at {
        let at = parse_at(at, Time::from(chrono::Utc::now())).map_err(ApiError::bad)?;
        let (answers, lost) = state.http.pasts.ask(question, at).await?;
        return Ok(Json(Answers { at, answers, lost }).into_response());
    }
    let findings = state.http.lookups.ask(question.lookup()).await;
    let snapshot = state.snapshot();
    let answers = why(&snapshot, &question, findings.as_ref());
    Ok(Json(Answers { at: snapshot.at, answers, lost: 0 }).into_response())
}

/// `GET /api/v1/sources`
pub(super) async fn sources(State(state): State<ServiceState>) -> Response {
    let snapshot = state.snapshot();
    Json(json!({ "at": snapshot.at, "sources": snapshot.sources })).into_response()
}

/// `GET /api/v1/openapi.json`
pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
