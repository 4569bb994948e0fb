//! Registries: those that are listed, and those that the workloads use.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;

use super::report::{Source, State};
use super::snippets;
use crate::config::{self, Config};
use crate::image::Repository;
use crate::observers::registry::address::Names;
use crate::observers::registry::{self, CheckReport, Error, NamedBy, Problem};

/// Registries that nobody listed and that are checked. A cluster uses a handful.
const USED_MAX: usize = 20;
/// Registries that are asked at the same time.
const USED_AT_ONCE: usize = 8;

const COSTS: &str = "pushed is unknown, image-to-live is not observed";

/// Asks each listed registry, and for the repositories that are written without a star.
pub async fn check_listed(config: &Config) -> Vec<Source> {
    let checks = config.registries.iter().map(async |listed| {
        let literal = |glob: &config::Glob| format!("{}/{}", listed.host, glob.literal()?).parse().ok();
        let repositories: Vec<Repository> = listed.repositories.iter().filter_map(literal).collect();
        check_one(listed, NamedBy::Operator, &names(config), &repositories).await
    });
    join_all(checks).await
}

/// Asks each registry that only the workloads name for one of the repositories that they use.
pub async fn check_used(config: &Config, images: &BTreeSet<Repository>) -> Vec<Source> {
    let mut used: BTreeMap<&str, &Repository> = BTreeMap::new();
    for repository in images {
        if !config.registries.iter().any(|listed| listed.host == repository.host()) {
            used.entry(repository.host()).or_insert(repository);
        }
    }
    if config.registries.is_empty() && used.is_empty() {
        return vec![
            Source::absent("registries", "none named, and no workload is seen that uses one").costs(COSTS),
        ];
    }
    let left_out = used.len().saturating_sub(USED_MAX);
    let checks = used.into_iter().take(USED_MAX).map(async |(host, repository)| {
        let unlisted = registry::unlisted(host, config.docker_config.clone());
        check_one(&unlisted, NamedBy::Workload, &names(config), std::slice::from_ref(repository)).await
    });
    let mut sources: Vec<Source> = stream::iter(checks).buffered(USED_AT_ONCE).collect().await;
    if left_out > 0 {
        sources.push(Source::absent(
            "registries",
            format!("{left_out} more that workloads use are not checked"),
        ));
    }
    sources
}

/// The hosts that the operator named.
fn names(config: &Config) -> Names {
    let names = Names::default();
    names.name(config.registries.iter().map(|listed| &listed.host));
    names
}

async fn check_one(
    listed: &config::Registry,
    named_by: NamedBy,
    names: &Names,
    repositories: &[Repository],
) -> Source {
    let name = format!("registry/{}", listed.host);
    match registry::check_as(listed, named_by, names, repositories).await {
        Ok(report) => found(name, &report),
        Err(error) => {
            let blind = Source::blind(name, error.problem().to_string()).costs(COSTS);
            mended(blind, &listed.host, &error)
        }
    }
}

fn found(name: String, report: &CheckReport) -> Source {
    let login = report.login_from.map_or_else(String::new, |from| format!(", login from {from}"));
    let mut source = Source::ok(name, format!("{} access{login}", report.auth));
    for (repository, tags) in &report.repositories {
        match tags {
            Ok(tags) => source.part(repository.as_str(), State::Ok, format!("{tags} tags")),
            Err(error) => {
                let state = match error.problem() {
                    Problem::Unauthorized { .. } | Problem::Forbidden => State::Forbidden,
                    _ => State::Blind,
                };
                source.part(repository.as_str(), state, error.problem().to_string());
                source = mended(source.costs(format!("{COSTS} (of {repository})")), &report.registry, error);
            }
        }
    }
    source
}

/// The line that helps, where one does.
fn mended(source: Source, host: &str, error: &Error) -> Source {
    match error.problem() {
        Problem::Unauthorized { .. } | Problem::Forbidden => {
            source.paste("a shell", snippets::pull_secret(host))
        }
        Problem::Refused { host, .. } => source.paste("knotmeter.yaml", snippets::registry(host)),
        Problem::Certificate(_) => source.paste("knotmeter.yaml", snippets::registry_ca(host)),
        _ => source,
    }
}
