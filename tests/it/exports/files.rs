//! Files that are written from code, or that must not name what the code does not have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use knotmeter::exporters::metrics::{document, table};
use knotmeter::tracker::Reason;
use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Compares a generated page with the file, or writes it where `UPDATE_DOCS=1` says so.
pub fn check_page(path: &str, expected: &str) {
    let file = root().join(path);
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        fs::write(&file, expected).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == expected,
        "{path} is stale; write it again: UPDATE_DOCS=1 cargo test --test it page_is_what"
    );
}

#[test]
fn the_metrics_page_is_what_the_table_says() {
    check_page("docs/metrics.md", &document());
}

#[test]
fn help_is_one_plain_line_and_names_are_unique() {
    let mut names = BTreeSet::new();
    for family in table::ALL {
        assert!(names.insert(family.full_name()), "{} is declared twice", family.name);
        assert!(!family.help.contains(['\n', '"', '\\']), "the help of {} would need escaping", family.name);
        let counter = family.kind == table::Kind::Counter;
        assert_eq!(counter, family.name.ends_with("_total"), "{}", family.name);
    }
}

/// Every query of the dashboards.
pub fn dashboard_queries() -> Vec<String> {
    let mut queries = vec![];
    for entry in fs::read_dir(root().join("dashboards")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        collect_queries(&serde_json::from_str(&text).unwrap(), &mut queries);
    }
    assert!(queries.len() > 20, "the dashboards have queries");
    queries
}

fn collect_queries(value: &serde_json::Value, queries: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            queries.extend(fields.get("expr").and_then(|expr| expr.as_str()).map(str::to_owned));
            fields.values().for_each(|field| collect_queries(field, queries));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_queries(item, queries)),
        _ => {}
    }
}

/// Fails where a query names a family, or groups by a label, that the table does not have.
fn check_query(query: &str, place: &str) {
    let name = Regex::new(r"\bknotmeter_[a-z0-9_]+").unwrap();
    let mut labels: BTreeSet<&str> = BTreeSet::from(["le"]);
    for found in name.find_iter(query) {
        let family = table::ALL.iter().find(|family| {
            let known = family.full_name();
            let histogram = matches!(family.kind, table::Kind::Histogram(_));
            let parts = ["_bucket", "_sum", "_count"].map(|suffix| format!("{known}{suffix}"));
            found.as_str() == known || (histogram && parts.iter().any(|part| part == found.as_str()))
        });
        let family =
            family.unwrap_or_else(|| panic!("{place} names {}, which does not exist", found.as_str()));
        labels.extend(family.labels);
    }
    let grouped = Regex::new(r"by \(([^)]*)\)").unwrap();
    let matched = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let by = grouped.captures_iter(query).flat_map(|found| {
        found.get(1).unwrap().as_str().split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>()
    });
    let by: Vec<String> = by.chain(matched.captures_iter(query).map(|found| found[1].to_owned())).collect();
    for label in by {
        assert!(
            labels.contains(label.as_str()),
            "{place} uses label {label}, which its families do not have: {query}"
        );
    }
}

#[test]
fn dashboards_and_alerts_use_only_what_the_table_has() {
    dashboard_queries().iter().for_each(|query| check_query(query, "a dashboard"));
    let alerts = fs::read_to_string(root().join("alerts/knotmeter.yaml")).unwrap();
    let queries = Regex::new(r"(?m)^\s*expr: (.+)$").unwrap();
    let mut checked = 0;
    for found in queries.captures_iter(&alerts) {
        check_query(&found[1], "an alert");
        checked += 1;
    }
    assert_eq!(checked, alerts.matches("- alert:").count(), "every alert's expr is on one line");
}

#[test]
fn every_alert_has_a_runbook_that_says_what_to_do() {
    let alerts = fs::read_to_string(root().join("alerts/knotmeter.yaml")).unwrap();
    let names = Regex::new(r"- alert: (\w+)").unwrap();
    let names: Vec<String> = names.captures_iter(&alerts).map(|found| found[1].to_owned()).collect();
    assert!(!names.is_empty());
    for name in names {
        let path = format!("docs/runbooks/{name}.md");
        assert!(alerts.contains(&format!("runbook_url: {path}")), "{name} does not name {path}");
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|_| panic!("{path} is missing"));
        for heading in ["## What it means", "## How to check", "## What to do"] {
            assert!(text.contains(heading), "{path} lacks {heading:?}");
        }
    }
    let stuck = fs::read_to_string(root().join("docs/runbooks/KnotmeterJourneyStuck.md")).unwrap();
    for reason in Reason::ALL {
        assert!(stuck.contains(&format!("| `{}` |", reason.as_str())), "the runbook lacks {reason:?}");
    }
}
