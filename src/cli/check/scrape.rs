//! Prometheus endpoints.

use futures::future::join_all;

use super::report::Source;
use crate::config::{self, Config};
use crate::observers::scrape;

/// Scrapes each once. None is named as a rule, and nothing but one number is missing then.
pub async fn check(config: &Config) -> Vec<Source> {
    join_all(config.scrape.iter().map(check_one)).await
}

async fn check_one(named: &config::Scrape) -> Source {
    let name = format!("scrape/{}", named.name);
    const COSTS: &str = "how long the updater's scans take is unknown";
    match scrape::check(named).await {
        Ok(0) => Source::ok(name, "answers, and tells of no ImageRepository").costs(COSTS),
        Ok(count) => Source::ok(name, format!("tells of {count} ImageRepository objects")),
        Err(problem) => Source::blind(name, problem.to_string()).costs(COSTS),
    }
}
