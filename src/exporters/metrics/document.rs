//! The table as a page for people.

use std::fmt::Write;

use super::table::{ALL, Cap, Family, Kind, PREFIX, Stability};

/// The text of `docs/metrics.md`.
#[must_use]
pub fn document() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Written from `src/exporters/metrics/table.rs`; do not edit. To write it again:\n\
         `UPDATE_DOCS=1 cargo test --test it exports`.\n\n\
         `GET /metrics` answers in OpenMetrics (with exemplars, where traces are sent) or in Prometheus' classic \
         text, by the `Accept` header.\n\
         Label values are closed sets or configured names. *Fed by* is the word that moves a family: only settled \
         journeys feed\n\
         histograms and counters of journeys, so no number is ever taken back.\n\n\
         A family marked *folds* carries a bounded number of label sets; beyond it `app` and `namespace` become \
         `overflow`, and\n\
         `knotmeter_dropped_total{source=\"metrics\",reason=\"series_cap\"}` counts it.\n\n\
         | family | type | unit | labels | what it tells | fed by | cap | stability |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for family in ALL {
        let row = row(family);
        page.push_str(&row);
    }
    page.push_str("\n## Buckets\n\n| list | upper bounds |\n|---|---|\n");
    for (name, buckets) in [
        ("deploys (seconds)", super::table::Buckets::Deploys),
        ("operations (seconds)", super::table::Buckets::Operations),
        ("bytes", super::table::Buckets::Bytes),
        ("counts", super::table::Buckets::Counts),
    ] {
        let bounds: Vec<String> = buckets.bounds().iter().map(ToString::to_string).collect();
        writeln!(page, "| {name} | {} |", bounds.join(", ")).expect("a String takes every text");
    }
    page
}

fn row(family: &Family) -> String {
    let kind = match family.kind {
        Kind::Counter => "counter".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::Info => "info".to_owned(),
        Kind::Histogram(buckets) => format!("histogram ({})", format!("{buckets:?}").to_lowercase()),
    };
    let unit = family.unit().unwrap_or_default();
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let cap = match family.cap {
        Cap::Folds => "folds",
        Cap::Never => "none",
    };
    let stability = match family.stability {
        Stability::Stable => "stable",
        Stability::Experimental => "experimental",
    };
    let name = family.full_name();
    debug_assert!(name.starts_with(PREFIX));
    let (labels, help, source) = (labels.join(", "), family.help, family.source);
    format!("| `{name}` | {kind} | {unit} | {labels} | {help}. | {source} | {cap} | {stability} |\n")
}
