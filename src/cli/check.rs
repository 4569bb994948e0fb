//! `knotmeter check`: each source, whether it can be read, what its absence costs, and what to do.

use super::Exit;
use super::args::ConfigArgs;
use super::configure::configuration;
use crate::app;
use crate::config::{self, Config};
use crate::image::Repository;
use crate::observers::cluster::Access;
use crate::observers::{cluster, git, registry};

/// Checks every source. Exit code 1 if one that was named cannot be read.
pub async fn run(args: ConfigArgs) -> anyhow::Result<Exit> {
    let config = configuration(&args)?;
    let mut ok = check_clusters(&config).await;
    ok &= check_registries(&config).await;
    ok &= check_git(&config).await;
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

async fn check_clusters(config: &Config) -> bool {
    let mut ok = true;
    for named in app::clusters(config) {
        match cluster::check(&named).await {
            Ok(report) => {
                println!(
                    "cluster/{}: ok, server {}, uid {}",
                    report.cluster, report.server_version, report.uid
                );
                for (resource, access) in &report.resources {
                    match access {
                        Access::Allowed => {}
                        Access::Forbidden(said) => {
                            ok = false;
                            println!("  {}: forbidden: {said}", resource.plural());
                        }
                        Access::Missing => println!("  {}: the cluster has none", resource.plural()),
                        Access::Failed(why) => {
                            ok = false;
                            println!("  {}: {why}", resource.plural());
                        }
                    }
                }
                if let Some(grant) = report.grant() {
                    println!("  paste this to grant what is missing:\n{grant}");
                }
            }
            Err(error) => {
                ok = false;
                println!("cluster/{}: cannot be read: {error}", named.name);
                println!(
                    "  costs: applied, started, ready and live are unknown; nothing can be said to be live"
                );
            }
        }
    }
    ok
}

async fn check_registries(config: &Config) -> bool {
    if config.registries.is_empty() {
        println!("registries: none named; those that the workloads use are read anonymously");
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
                println!("registry/{}: ok, {} access", report.registry, report.auth);
                for (repository, tags) in &report.repositories {
                    match tags {
                        Ok(tags) => println!("  {repository}: {tags} tags"),
                        Err(error) => {
                            ok = false;
                            println!("  {repository}: {error}");
                        }
                    }
                }
            }
            Err(error) => {
                ok = false;
                println!("registry/{}: cannot be read: {error}", named.host);
                println!("  costs: pushed is unknown, image-to-live is not observed");
            }
        }
    }
    ok
}

async fn check_git(config: &Config) -> bool {
    if config.git.is_empty() {
        println!("git: none named; costs: committed is skipped, every change counts as out_of_band");
    }
    let mut ok = true;
    for named in &config.git {
        match git::check(named).await {
            Ok(report) => {
                println!("git/{}: ok, {:.3} s", report.url, report.seconds);
                for (branch, tip) in &report.branches {
                    match tip {
                        Some(tip) => println!("  {branch}: {tip}"),
                        None => {
                            ok = false;
                            println!("  {branch}: no such branch");
                        }
                    }
                }
            }
            Err(error) => {
                ok = false;
                println!("git/{}: cannot be read: {error}", config::public_url(&named.url));
                println!("  costs: committed is unknown, a commit opens no journey");
            }
        }
    }
    ok
}
