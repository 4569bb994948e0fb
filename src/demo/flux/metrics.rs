//! What the reflector counts of itself, as the controllers of Flux write it for Prometheus: how long each object's
//! reconciliation took.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::watch::Place;

/// The bounds that Flux's own library uses.
const BOUNDS: [f64; 10] = [
    0.01,
    0.038_363_583_488_692_544,
    0.147_176_453_809_388_3,
    0.564_621_617_328_616_9,
    2.166_090_855_590_701,
    8.309_900_738_254_731,
    31.879_757_075_478_317,
    122.302_172_216_434_93,
    469.194_959_467_365_44,
    1_799.999_999_999_998_6,
];

/// Shared by the controller and the server.
#[derive(Debug, Clone, Default)]
pub(in crate::demo) struct Durations(Arc<Mutex<BTreeMap<Place, Tally>>>);

#[derive(Debug, Default)]
struct Tally {
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
    count: u64,
}

impl Durations {
    pub(super) fn note(&self, place: &Place, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = all.entry(place.clone()).or_default();
        let seconds = took.as_secs_f64();
        for (bucket, bound) in tally.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        tally.seconds += seconds;
        tally.count += 1;
    }

    fn text(&self) -> String {
        const NAME: &str = "gotk_reconcile_duration_seconds";
        let mut text = format!(
            "# HELP {NAME} The duration in seconds of a GitOps Toolkit resource reconciliation.\n# TYPE {NAME} histogram\n"
        );
        for ((namespace, name), tally) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = format!("kind=\"ImageRepository\",name=\"{name}\",namespace=\"{namespace}\"");
            let bounds = BOUNDS.map(|bound| bound.to_string()).into_iter().chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(tally.buckets.into_iter().chain([tally.count])) {
                let _ = writeln!(text, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(text, "{NAME}_sum{{{labels}}} {}", tally.seconds);
            let _ = writeln!(text, "{NAME}_count{{{labels}}} {}", tally.count);
        }
        text
    }
}

/// Serves them at `/metrics`.
pub(super) fn router(durations: Durations) -> Router {
    let answer = move || {
        let text = durations.text();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response() }
    };
    Router::new().route("/metrics", get(answer))
}
