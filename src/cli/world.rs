//! The configuration with which the demo's world is watched.

use crate::config::{
    Budgets, Cluster, Config, Environment, Expect, Git, GitPath, Glob, Marker, Policy, Registry, Scrape,
    Seconds, Settle, Tls,
};
use crate::demo::{Addresses, Engine};

/// Between two looks at registry and git.
const LOOK_EVERY: Seconds = Seconds(1.0);
/// What runs there.
const APPS: [&str; 3] = ["web", "api", "worker"];

/// What a person would write to point `run` at this world.
///
/// # Errors
/// A pattern of its own that cannot be read.
pub fn config(engine: Engine, addresses: &Addresses) -> anyhow::Result<Config> {
    let environment = |name: &str| Environment {
        name: name.into(),
        clusters: vec![addresses.cluster.clone()],
        namespaces: vec![name.into()],
    };
    let marker = match engine {
        Engine::Plain => "# release-(?<name>[a-z]+)",
        Engine::Flux => r##"#\s*\{\s*"\$imagepolicy"\s*:\s*"[^":]+:(?<name>[^":]+)"##,
    };
    // Flux tells its intervals, and budgets follow from them.
    let committed = match engine {
        Engine::Plain => Some(Seconds(20.0)),
        Engine::Flux => None,
    };
    // Without an engine nobody but us knows which tag should go live.
    let expect = |(app, environment): (&str, &str)| Expect {
        image: format!("{}/team/{app}", addresses.registry),
        filter_tags: None,
        policy: Policy::Semver { range: ">=1.0.0".to_owned() },
        environment: environment.to_owned(),
    };
    let expect = match engine {
        Engine::Plain => {
            APPS.iter().flat_map(|app| ["staging", "prod"].map(|name| (*app, name))).map(expect).collect()
        }
        Engine::Flux => Vec::new(),
    };
    let path = |name: &str| GitPath { path: format!("{name}/"), environment: Some(name.into()) };
    let pattern = |error: String| anyhow::anyhow!(error);
    Ok(Config {
        environments: vec![environment("staging"), environment("prod")],
        registries: vec![Registry {
            host: addresses.registry.clone(),
            plain_http: true,
            interval: LOOK_EVERY,
            repositories: vec![Glob::new("team/*").map_err(pattern)?],
            ..Registry::default()
        }],
        git: vec![Git {
            url: addresses.git.clone(),
            branches: vec![addresses.branch.clone()],
            interval: LOOK_EVERY,
            paths: vec![path("staging"), path("prod")],
            markers: vec![Marker::new(marker).map_err(pattern)?],
            ..Git::default()
        }],
        clusters: vec![Cluster {
            name: addresses.cluster.clone(),
            kubeconfig: Some(addresses.kubeconfig.clone()),
            context: Some(addresses.cluster.clone()),
            ownership: None,
        }],
        scrape: addresses.controllers.iter().map(|url| scrape(url)).collect(),
        expect,
        budgets: Budgets { committed, applied: committed, live: Seconds(20.0) },
        settle: Settle { min: Seconds(2.0), max: Seconds(5.0), ..Settle::default() },
        ..Config::default()
    })
}

/// The engine's controllers, asked as often as everything else.
fn scrape(url: &str) -> Scrape {
    Scrape {
        name: "image-reflector".into(),
        url: url.into(),
        cluster: None,
        interval: LOOK_EVERY,
        token_file: None,
        tls: Tls::default(),
    }
}
