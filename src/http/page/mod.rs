//! The page for people: HTML made on the server, one stylesheet, no script.
//!
//! It says in this order: what is stuck and why, what is under way, what is live where, what ended lately,
//! how fresh the sources are. It shows what a snapshot holds and decides nothing; maud escapes every text.
//! `overview.rs` and `detail.rs` are the two pages, `timeline.rs` draws a journey.

mod detail;
mod overview;
mod timeline;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::answer::{ApiError, ServiceState};
use super::api::find;

/// How often the page asks again, in seconds.
const REFRESH_SECONDS: u32 = 5;
const STYLE: &str = include_str!("style.css");

/// `GET /`
pub(super) async fn overview(State(state): State<ServiceState>) -> Response {
    page(overview::body(&state.snapshot()), "Knotmeter", "")
}

/// `GET /journeys/{id}`
pub(super) async fn journey(
    State(state): State<ServiceState>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let snapshot = state.snapshot();
    let journey = find(&snapshot, &id)?;
    let title = format!("{} · Knotmeter", super::words::subject(journey));
    Ok(page(detail::body(&snapshot, journey), &title, "../"))
}

/// `GET /style.css`
pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=300")], STYLE).into_response()
}

/// `root` leads from the page to `/`, also behind a proxy that puts us under a path.
fn page(body: Markup, title: &str, root: &str) -> Response {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href={ (root) "style.css" };
            }
            body {
                (timeline::patterns())
                (body)
                footer {
                    a href={ (root) "api/v1/journeys" } { "journeys as JSON" }
                    a href={ (root) "api/v1/openapi.json" } { "API" }
                    a href={ (root) "metrics" } { "metrics" }
                    span { "Knotmeter " (env!("CARGO_PKG_VERSION")) " · reads only" }
                }
            }
        }
    };
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], whole.into_string()).into_response()
}
