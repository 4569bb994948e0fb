//! Journey events as a stream that a browser or `curl -N` can follow (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::HttpState;
use super::answer::{ApiError, ServiceState};
use crate::tracker::{Event, JourneyView, Updater};

/// Events kept for a slow reader; one that falls further behind is told how many it missed.
pub const EVENTS_KEPT: usize = 1024;
/// A comment this often keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event of the tracker as readers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// `moved`, `held`, `stuck`, `blind`, `cleared`, `settled`, `restarted`, or of the shop's updater `raced`, `detected`,
    /// `pushed`.
    pub name: &'static str,
    /// One line of JSON.
    pub json: Arc<str>,
}

impl EventRecord {
    /// The event with the sentence that `why` has for its journey.
    #[must_use]
    pub fn told(event: &Event, why: Option<&str>) -> Self {
        let (name, mut json) = parts(event);
        if let (Some(why), Some(object)) = (why, json.as_object_mut()) {
            object.insert("why".into(), why.into());
        }
        Self { name, json: json.to_string().into() }
    }
}

impl From<&Event> for EventRecord {
    fn from(event: &Event) -> Self {
        Self::told(event, None)
    }
}

fn parts(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Moved { id, stage } => {
            ("moved", json!({ "journey": id, "stage": stage.map(|stage| stage.as_str()) }))
        }
        Event::Held { id, held } => {
            let (hold, since, until) = (held.hold.as_str(), held.since, held.until);
            ("held", json!({ "journey": id, "hold": hold, "since": since, "until": until }))
        }
        Event::Stuck { id, stuck } => {
            let (stage, since) = (stuck.stage.as_str(), stuck.since);
            let (reason, sentence) = (stuck.reason.as_str(), stuck.reason.sentence());
            let json = json!({ "journey": id, "stage": stage, "reason": reason, "since": since, "sentence": sentence });
            ("stuck", json)
        }
        Event::Blind { id, source } => ("blind", json!({ "journey": id, "source": source })),
        Event::Cleared { id } => ("cleared", json!({ "journey": id })),
        Event::Settled(journey) => ("settled", json!(JourneyView::from(&**journey))),
        Event::Restarted { destination } => {
            ("restarted", json!({ "destination": destination.to_string(), "app": destination.app }))
        }
        Event::Raced(updater) => ("raced", of_updater(updater)),
        Event::Detected(detected) => {
            let image = format!("{}:{}", detected.repository, detected.tag);
            let (engine, cluster, lag) = (detected.engine, &detected.cluster, detected.lag);
            ("detected", json!({ "engine": engine, "cluster": cluster, "image": image, "lag": lag }))
        }
        Event::Pushed(pushed) => {
            let mut json = of_updater(&pushed.updater);
            json["commit"] = json!(pushed.commit);
            json["references"] = json!(pushed.references);
            ("pushed", json)
        }
    }
}

fn of_updater(updater: &Updater) -> serde_json::Value {
    json!({ "engine": updater.engine, "cluster": updater.cluster, "repository": updater.repository })
}

/// `GET /api/v1/events`
pub(super) async fn events(State(state): State<ServiceState>) -> Response {
    // Every reader holds a connection for as long as it likes, so their number is bounded.
    let Ok(permit) = state.readers.clone().try_acquire_owned() else {
        return ApiError::busy("too many readers of events; try again later").into_response();
    };
    let HttpState { events, .. } = &state.http;
    Sse::new(follow(events.subscribe(), permit))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

fn follow(
    reader: broadcast::Receiver<EventRecord>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold((reader, permit), |(mut reader, permit)| async move {
        let event = match reader.recv().await {
            Ok(record) => sse::Event::default().event(record.name).data(&*record.json),
            Err(RecvError::Lagged(missed)) => {
                sse::Event::default().event("lagged").data(json!({ "missed": missed }).to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (reader, permit)))
    })
}
