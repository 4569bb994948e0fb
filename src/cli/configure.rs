//! `knotmeter config check|schema|show`, and how file, environment and flags become one configuration.

use super::args::{ConfigArgs, ConfigureArgs, ConfigureCommand, Output};
use super::{Exit, Usage, out};
use crate::app;
use crate::config::{self, Config};
use crate::exporters::metrics::Size;

/// The configuration that the arguments ask for: the file, then environment and flags over it.
pub fn configuration(args: &ConfigArgs) -> anyhow::Result<Config> {
    let mut config = match &args.config {
        Some(file) => config::load(file)?,
        None => Config::default(),
    };
    if let Some(listen) = &args.listen {
        listen.parse::<std::net::SocketAddr>().map_err(|_| {
            Usage(format!("--listen {listen:?} is not an address and port such as 0.0.0.0:9871"))
        })?;
        config.listen = config::Listen(listen.clone());
    }
    if let Some(endpoint) = &args.traces_endpoint {
        config.traces.endpoint = Some(endpoint.clone());
    }
    if let Some(journal) = &args.journal {
        config.journal.path = Some(journal.clone());
    }
    Ok(config)
}

/// Runs the command.
pub fn run(args: &ConfigureArgs) -> anyhow::Result<Exit> {
    match &args.command {
        ConfigureCommand::Check { config: args, apps } => {
            let config = configuration(args)?;
            out::line(format_args!(
                "ok: {} environments, {} registries, {} git repositories, {} clusters, {} expect rules",
                config.environments.len(),
                config.registries.len(),
                config.git.len(),
                config.clusters.len(),
                config.expect.len()
            ))?;
            let size = size(&config, *apps);
            out::line(format_args!(
                "series: about {} with {apps} apps in each of {} environments; one app more adds {}",
                size.series(),
                size.environments,
                size.series_of_an_app()
            ))?;
        }
        ConfigureCommand::Schema => out::json(&config::schema())?,
        ConfigureCommand::Show { config, output } => {
            let mut config = configuration(config)?;
            // What is shown is pasted into tickets: no password of an address is in it.
            for git in &mut config.git {
                git.url = config::public_url(&git.url).to_string();
            }
            match output {
                Output::Json => out::json(&config)?,
                Output::Yaml | Output::Table | Output::Wide => out::yaml(&config)?,
            }
        }
    }
    Ok(Exit::Done)
}

/// The shop that a configuration is for, as far as it says. Every app has a repository.
fn size(config: &Config, apps: usize) -> Size {
    let written =
        |registry: &config::Registry| registry.repositories.iter().filter_map(config::Glob::literal).count();
    let written: usize = config.registries.iter().map(written).sum();
    Size {
        apps,
        environments: config.environments.len().max(1),
        clusters: app::clusters(config).len(),
        registries: config.registries.len().max(1),
        repositories: apps.max(written),
        git: config.git.len(),
    }
}
