//! `knotmeter check`: each source, whether it can be read, what its absence costs, and what to do.
//!
//! One file per kind of source asks and finds; `report` holds what was found and prints it; `snippets` are what a
//! person pastes. All sources are asked at the same time, as `run` would ask them, and nothing is watched.

mod clusters;
mod git;
mod registries;
mod report;
mod scrape;
mod snippets;

use futures::future::join4;

use self::report::{Report, Source};
use super::args::{CheckArgs, Output};
use super::configure::configuration;
use super::{Exit, out};
use crate::config::Config;

/// Checks every source. Exit code 0: all that is named can be read; 1: something cannot, or is not allowed; 3:
/// nothing can be read at all.
pub async fn run(args: CheckArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args.config)?;
    let named = async {
        let (clusters, images) = clusters::check(&config).await;
        // Registries that nobody listed are known from the workloads.
        (clusters, registries::check_used(&config, &images).await)
    };
    let ((clusters, used), listed, git, scrape) =
        join4(named, registries::check_listed(&config), git::check(&config), scrape::check(&config)).await;
    let sources = [clusters, listed, used, git, scrape, journal(&config)];
    let report = Report::new(sources.into_iter().flatten().collect());
    match args.output {
        Output::Json => out::json(&report)?,
        Output::Yaml => out::yaml(&report)?,
        Output::Table | Output::Wide => out::text(&report)?,
    }
    Ok(report.exit())
}

fn journal(config: &Config) -> Vec<Source> {
    match &config.journal.path {
        Some(_) => Vec::new(),
        None => vec![
            Source::absent("journal", "none named")
                .costs("a restart begins anew: what is there then is in no figure")
                .paste("knotmeter.yaml", snippets::journal()),
        ],
    }
}
