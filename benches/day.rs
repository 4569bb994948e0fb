//! A simulated day of a shop in which every app is rolled out each hour: what is remembered must not grow.
//!
//! Tracker, metrics and snapshot as `app.rs` has them, with a scrape after each hour. "ours" is the memory of this
//! process after the last hour, "floor" after the first two, when every app has a history.
//! `KNOTMETER_BENCH_HOURS` makes the day longer or shorter.

use std::hint::black_box;
use std::sync::Arc;

use knotmeter::exporters::Snapshot;
use knotmeter::exporters::metrics::{Format, Metrics};
use knotmeter::observation::{Observation, Time};
use knotmeter::tracker::{Event, Tracker};
use serde_json::{Value, json};

use super::scrape::shop::Shop;

const APPS: usize = 300;
const HOURS: usize = 24;
const HOUR_MILLIS: i64 = 3_600_000;
const START: Time = Time(1_760_000_000_000);
const PAGE_BYTES: f64 = 4096.0;

/// One line of JSON.
pub fn figure(name: &str) -> Value {
    let hours =
        std::env::var("KNOTMETER_BENCH_HOURS").ok().and_then(|text| text.parse().ok()).unwrap_or(HOURS);
    let mut day = Day { tracker: Tracker::default(), metrics: Metrics::new(), settled: 0, observations: 0 };
    let mut shop = Shop::new(APPS);
    day.take(&shop.first(START));
    let mut looks: Vec<Look> = Vec::new();
    for hour in 0..hours as i64 {
        for app in 0..APPS {
            let at = Time(START.0 + hour * HOUR_MILLIS + app as i64 * HOUR_MILLIS / APPS as i64);
            day.take(&shop.rollout(app, at));
            day.take(&shop.bookmarks(at));
        }
        looks.push(day.look(Time(START.0 + (hour + 1) * HOUR_MILLIS - 1)));
    }
    let early = &looks[1.min(looks.len() - 1)];
    let late = looks.last().expect("an hour");
    json!({
        "bench": name,
        "ours": late.resident,
        "floor": early.resident,
        "ratio": (late.resident / early.resident * 100.0).round() / 100.0,
        "unit": "MiB",
        "series": late.series,
        "series_early": early.series,
        "journeys": late.journeys,
        "journeys_early": early.journeys,
        "settled": day.settled,
        "observations": day.observations,
        "hours": hours,
        "apps": APPS,
        "runs": 1,
    })
}

struct Day {
    tracker: Tracker,
    metrics: Metrics,
    settled: usize,
    observations: usize,
}

/// What is there after an hour.
struct Look {
    resident: f64,
    series: usize,
    journeys: usize,
}

impl Day {
    fn take(&mut self, observations: &[Observation]) {
        self.observations += observations.len();
        for observation in observations {
            self.metrics.observation(observation);
            let events = self.tracker.observe(observation);
            self.hear(&events);
        }
    }

    fn hear(&mut self, events: &[Event]) {
        events.iter().for_each(|event| self.metrics.event(event));
        self.settled += events.iter().filter(|event| matches!(event, Event::Settled(_))).count();
    }

    fn look(&mut self, at: Time) -> Look {
        let events = self.tracker.advance(at);
        self.hear(&events);
        let snapshot = Arc::new(Snapshot {
            at,
            journeys: self.tracker.shared_journeys(),
            destinations: self.tracker.destinations(at),
            sources: self.tracker.sources(at),
            updaters: self.tracker.updaters(at),
        });
        let text = black_box(self.metrics.encode(&snapshot, Format::OpenMetrics));
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        let journeys = snapshot.journeys.len();
        drop((text, snapshot));
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default();
        Look { resident: (pages * PAGE_BYTES / 1_048_576.0 * 10.0).round() / 10.0, series, journeys }
    }
}
