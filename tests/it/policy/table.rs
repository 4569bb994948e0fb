//! `flux.txt`: what Flux selects, row by row.

use std::collections::BTreeMap;

use knotmeter::observation::{FilterTags, Order, Policy};
use knotmeter::policy::{Cause, Selector};

use super::{select, tags};

/// A whole row that nobody reads is as good as none.
const ROWS_MIN: usize = 200;

struct Row<'a> {
    number: usize,
    text: &'a str,
    filter: Option<FilterTags>,
    policy: Policy,
    tags: &'a str,
    selected: &'a str,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    let names: BTreeMap<&str, &str> = lines().filter_map(|(_, line)| line.split_once(" = ")).collect();
    lines()
        .filter(|(_, line)| line.contains(" => "))
        .map(|(at, line)| {
            let (front, selected) = line.split_once(" => ").expect("what is selected");
            let parts: Vec<&str> = front.split(" | ").collect();
            let (kind, how) = parts[0].split_once(' ').expect("a policy");
            let order = || if how == "desc" { Order::Desc } else { Order::Asc };
            let policy = match kind {
                "semver" => Policy::Semver { range: how.into() },
                "numerical" => Policy::Numerical { order: order() },
                "alphabetical" => Policy::Alphabetical { order: order() },
                other => panic!("{other} is no policy"),
            };
            let value = |word: &str| parts.iter().find_map(|part| part.strip_prefix(word)?.strip_prefix(' '));
            let filter = value("filter").map(|pattern| FilterTags {
                pattern: pattern.into(),
                extract: value("extract").map(Into::into),
            });
            let tags = parts[parts.len() - 1];
            let tags = names.get(tags).copied().unwrap_or(tags);
            Row { number: at + 1, text: line, filter, policy, tags, selected }
        })
        .collect()
}

#[test]
fn every_row_of_the_table_selects_what_flux_selects() {
    let text = include_str!("flux.txt");
    let rows = rows(text);
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let found = match Selector::new(row.filter.as_ref(), &row.policy) {
            Err(_) => "!range".to_owned(),
            Ok(selector) => {
                let tags = tags(row.tags);
                let said = tags.iter().find(|tag| selector.explain(tag, &tags).0 == Cause::Selected);
                assert_eq!(said, selector.select(&tags), "{}", row.text);
                select(&selector, &tags).unwrap_or_else(|| "-".to_owned())
            }
        };
        if found != row.selected {
            wrong.push(format!("flux.txt:{}: {found}, not as in {}", row.number, row.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
