//! `knotmeter scan`: list repositories once and say what it took.

use serde_json::json;

use super::args::{Output, ScanArgs};
use super::configure::configuration;
use super::table::Table;
use super::{Exit, out};
use crate::config;
use crate::image::Repository;
use crate::observers::registry::{self, address::Names};

/// Scans each repository.
pub async fn run(args: ScanArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args.config)?;
    let mut table = Table::new(&["REPOSITORY", "TAGS", "PAGES", "BYTES", "REQUESTS", "SECONDS"]);
    let mut reports = Vec::new();
    let mut exit = Exit::Done;
    let names = Names::default();
    names.name(config.registries.iter().map(|listed| &listed.host));
    for text in &args.repositories {
        let repository: Repository = text.parse()?;
        let known = config.registries.iter().find(|registry| registry.host == repository.host()).cloned();
        let registry = known.unwrap_or_else(|| config::Registry {
            host: repository.host().to_owned(),
            plain_http: args.plain_http,
            docker_config: config.docker_config.clone(),
            ..config::Registry::default()
        });
        match registry::scan_as(&registry, &names, &repository).await {
            Ok(report) => {
                let requests: u64 = report.requests.values().sum();
                table.row([
                    repository.to_string(),
                    report.tags.len().to_string(),
                    report.pages.to_string(),
                    report.bytes.to_string(),
                    requests.to_string(),
                    format!("{:.3}", report.seconds),
                ]);
                reports.push(json!({
                    "repository": repository, "tags": report.tags, "pages": report.pages, "bytes": report.bytes,
                    "requests": report.requests, "seconds": report.seconds,
                }));
            }
            Err(error) => {
                out::remark(format_args!("error: {error}"));
                exit = Exit::CannotAsk;
            }
        }
    }
    match args.output {
        Output::Json => out::json(&reports)?,
        Output::Yaml => out::yaml(&reports)?,
        Output::Table | Output::Wide => out::text(&table)?,
    }
    Ok(exit)
}
