//! `knotmeter status`: journeys as a table, once or as they change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::args::{Output, StatusArgs};
use super::ask::Instance;
use super::table::{Table, age, seconds};
use super::{Exit, out};
use crate::http::words;
use crate::image::ImageRef;
use crate::observation::Time;
use crate::observers::now;

/// Between two looks with `-w`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Prints the journeys.
pub async fn run(args: StatusArgs) -> anyhow::Result<Exit> {
    let instance = Instance::new(&args.server).await?;
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut head = true;
    loop {
        let journeys = journeys(&instance, &args).await?;
        match args.output {
            Output::Json if !args.watch => return out::json(&journeys).map(|()| Exit::Done),
            Output::Yaml if !args.watch => return out::yaml(&journeys).map(|()| Exit::Done),
            _ => {}
        }
        let mut list: Vec<&Value> = journeys.as_array().into_iter().flatten().collect();
        list.reverse();
        let fresh: Vec<&Value> = list
            .into_iter()
            .filter(|journey| {
                let state = format!("{} {}", state(journey), journey["stages"]);
                shown.insert(text(journey, "id"), state.clone()) != Some(state)
            })
            .collect();
        print(&fresh, args.output, std::mem::take(&mut head))?;
        if !args.watch {
            if shown.is_empty() {
                out::remark("No journeys found.");
            }
            return Ok(Exit::Done);
        }
        sleep(WATCH_EVERY).await;
    }
}

async fn journeys(instance: &Instance, args: &StatusArgs) -> anyhow::Result<Value> {
    let limit = args.limit.to_string();
    let mut query: Vec<(&str, &str)> = vec![("limit", &limit)];
    let optional =
        [("namespace", &args.namespaces.namespace), ("app", &args.app), ("environment", &args.environment)];
    query.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))));
    if args.open {
        query.push(("open", "true"));
    }
    Ok(instance.get("/api/v1/journeys", &query).await?["journeys"].take())
}

/// Prints journeys as a table, or one JSON object per line.
pub(super) fn print(journeys: &[&Value], output: Output, head: bool) -> Result<(), out::Error> {
    if matches!(output, Output::Json | Output::Yaml) {
        return journeys.iter().try_for_each(out::json_line);
    }
    let wide = output == Output::Wide;
    let mut columns = vec!["APP", "ENVIRONMENT", "WORKLOAD", "IMAGE", "TRIGGER", "STATE", "TO LIVE", "AGE"];
    if wide {
        columns.extend(["CLUSTER", "NAMESPACE", "TEAM", "DIGEST", "COMMIT", "ID"]);
    }
    let mut table = Table::new(&columns);
    for journey in journeys {
        let opened = journey["opened"].as_str().and_then(Time::from_rfc3339);
        let to_live =
            journey["image_to_live_seconds"].as_f64().or(journey["change_to_live_seconds"].as_f64());
        let mut row = vec![
            text(journey, "app"),
            text(journey, "environment"),
            text(journey, "workload"),
            if wide { text(journey, "image") } else { image(journey) },
            text(journey, "trigger"),
            state(journey),
            to_live.map_or_else(|| "-".into(), seconds),
            opened.map_or_else(|| "-".into(), |at| age(now().seconds_since(at))),
        ];
        if wide {
            row.push(text(journey, "cluster"));
            row.push(text(journey, "namespace"));
            row.push(text(journey, "team"));
            row.push(text(journey, "digest").chars().take(19).collect());
            row.push(journey["commit"]["id"].as_str().unwrap_or("-").chars().take(10).collect());
            row.push(text(journey, "id"));
        }
        table.row(row);
    }
    let lines = table.to_string();
    let skip = usize::from(!head);
    lines.lines().skip(skip).try_for_each(out::line)
}

/// What a person wants to know first: stuck and why, held, or how far.
pub fn state(journey: &Value) -> String {
    if let Some(outcome) = journey["outcome"].as_str() {
        return outcome.to_owned();
    }
    if let Some(reason) = journey["stuck"]["reason"].as_str() {
        return format!("stuck: {reason}");
    }
    if let Some(hold) = journey["held"]["hold"].as_str() {
        return format!("held: {hold}");
    }
    if let Some(source) = journey["blind"].as_str() {
        return format!("blind: {source}");
    }
    let reached = journey["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|stage| stage["state"] == "known")
        .filter_map(|stage| stage["stage"].as_str())
        .next_back();
    reached.unwrap_or("opened").to_owned()
}

/// As people call it: the registry and a digest beside a tag make rows that no terminal holds.
fn image(journey: &Value) -> String {
    let text = text(journey, "image");
    text.parse::<ImageRef>().map_or(text, |image| words::image(&image))
}

fn text(journey: &Value, key: &str) -> String {
    journey[key].as_str().unwrap_or("-").to_owned()
}
