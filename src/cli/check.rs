//! `knotmeter check`: each source, whether it can be read, what its absence costs, and what to do.

use super::args::ConfigArgs;
use super::configure::configuration;
use super::{Exit, out};
use crate::app;
use crate::config::{self, Config};
use crate::image::Repository;
use crate::observers::cluster::Access;
use crate::observers::{cluster, git, registry};

/// Checks every source. Exit code 1 if one that was named cannot be read.
pub async fn run(args: ConfigArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args)?;
    let mut ok = check_clusters(&config).await?;
    ok &= check_registries(&config).await?;
    ok &= check_git(&config).await?;
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

async fn check_clusters(config: &Config) -> Result<bool, out::Error> {
    let mut ok = true;
    for named in app::clusters(config) {
        match cluster::check(&named).await {
            Ok(report) => {
                out::line(format_args!(
                    "cluster/{}: ok, server {}, uid {}",
                    report.cluster, report.server_version, report.uid
                ))?;
                for (resource, access) in &report.resources {
                    match access {
                        Access::Allowed => {}
                        Access::Forbidden(said) => {
                            ok = false;
                            out::line(format_args!("  {}: forbidden: {said}", resource.plural()))?;
                        }
                        Access::Missing => {
                            out::line(format_args!("  {}: the cluster has none", resource.plural()))?
                        }
                        Access::Failed(why) => {
                            ok = false;
                            out::line(format_args!("  {}: {why}", resource.plural()))?;
                        }
                    }
                }
                if let Some(grant) = report.grant() {
                    out::line(format_args!("  paste this to grant what is missing:\n{grant}"))?;
                }
            }
            Err(error) => {
                ok = false;
                out::line(format_args!("cluster/{}: cannot be read: {error}", named.name))?;
                out::line(format_args!(
                    "  costs: applied, started, ready and live are unknown; nothing can be said to be live"
                ))?;
            }
        }
    }
    Ok(ok)
}

async fn check_registries(config: &Config) -> Result<bool, out::Error> {
    if config.registries.is_empty() {
        out::line("registries: none named; those that the workloads use are read anonymously")?;
    }
    let mut ok = true;
    for named in &config.registries {
        let repositories: Vec<Repository> = named
            .repositories
            .iter()
            .filter_map(|glob| format!("{}/{}", named.host, glob.literal()?).parse().ok())
            .collect();
        match registry::check(named, &repositories).await {
            Ok(report) => {
                out::line(format_args!("registry/{}: ok, {} access", report.registry, report.auth))?;
                for (repository, tags) in &report.repositories {
                    match tags {
                        Ok(tags) => out::line(format_args!("  {repository}: {tags} tags"))?,
                        Err(error) => {
                            ok = false;
                            out::line(format_args!("  {repository}: {error}"))?;
                        }
                    }
                }
            }
            Err(error) => {
                ok = false;
                out::line(format_args!("registry/{}: cannot be read: {error}", named.host))?;
                out::line("  costs: pushed is unknown, image-to-live is not observed")?;
            }
        }
    }
    Ok(ok)
}

async fn check_git(config: &Config) -> Result<bool, out::Error> {
    if config.git.is_empty() {
        out::line("git: none named; costs: committed is skipped, every change counts as out_of_band")?;
    }
    let mut ok = true;
    for named in &config.git {
        match git::check(named).await {
            Ok(report) => {
                out::line(format_args!("git/{}: ok, {:.3} s", report.url, report.seconds))?;
                for (branch, tip) in &report.branches {
                    match tip {
                        Some(tip) => out::line(format_args!("  {branch}: {tip}"))?,
                        None => {
                            ok = false;
                            out::line(format_args!("  {branch}: no such branch"))?;
                        }
                    }
                }
            }
            Err(error) => {
                ok = false;
                out::line(format_args!("git/{}: cannot be read: {error}", config::public_url(&named.url)))?;
                out::line("  costs: committed is unknown, a commit opens no journey")?;
            }
        }
    }
    Ok(ok)
}
