//! Looks at registries over the distribution API and reports which tags point where and what images consist of.
//!
//! It only reads, decides nothing, and trusts no answer: every size, count, address and wait is limited in
//! `limits.rs`, `client.rs` or `address.rs`. A question to the API goes through [`client::Client`], so that
//! logins, budgets and limits hold for it; what it means for a repository goes into `known.rs`, which is pure.
//! A vendor's own API (push times) would be the next file beside `resolve.rs`.

pub mod address;
pub mod budget;
pub mod challenge;
pub mod client;
pub mod created;
pub mod credentials;
pub mod known;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod page;
pub mod pause;
pub mod schedule;
pub mod tags;

mod auth;
mod error;
mod probe;
mod resolve;
mod sweep;
mod watch;

pub use error::{Error, Problem};
pub use limits::Limits;
pub use probe::{CheckReport, ScanReport, check, scan};
pub use watch::wanted;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use self::client::{Client, NamedBy};
use self::sweep::Host;
use super::Reporter;
use crate::config::{self, Seconds};
use crate::image::Repository;
use crate::observation::{Basis, Fact, Interests, Interval, Scope};

/// Registries watched at once. A cluster uses a handful; hundreds mean that somebody feeds us image names.
const HOSTS_MAX: usize = 200;

/// Watches the configured registries and those that the interests name. Ends only when it is aborted.
pub async fn run(
    configured: Vec<config::Registry>,
    interests: Receiver<Arc<Interests>>,
    reporters: impl Fn(&str) -> Reporter + Send + Sync + 'static,
) {
    run_within(configured, interests, reporters, Limits::default()).await;
}

/// As [`run`], with other limits.
pub async fn run_within(
    configured: Vec<config::Registry>,
    mut interests: Receiver<Arc<Interests>>,
    reporters: impl Fn(&str) -> Reporter + Send + Sync + 'static,
    limits: Limits,
) {
    let mut tasks = JoinSet::new();
    let mut known = BTreeSet::new();
    let mut start = |registry: config::Registry, named_by: NamedBy, interests: Receiver<Arc<Interests>>| {
        if known.contains(&registry.host) || known.len() >= HOSTS_MAX {
            return;
        }
        known.insert(registry.host.clone());
        let reporter = reporters(&registry.host);
        tasks.spawn(watch_registry(registry, named_by, interests, reporter, limits));
    };
    for registry in &configured {
        start(normal(registry), NamedBy::Operator, interests.clone());
    }
    loop {
        let hosts: BTreeSet<String> =
            interests.borrow_and_update().repositories.keys().map(|r| r.host().to_owned()).collect();
        for host in hosts {
            start(unlisted(&host), NamedBy::Workload, interests.clone());
        }
        if interests.changed().await.is_err() {
            // Nobody changes the interests any more; the hosts go on with what they have.
            std::future::pending::<()>().await;
        }
    }
}

/// The settings of a registry that nobody listed: https, once a minute, whatever the workloads use.
#[must_use]
pub fn unlisted(host: &str) -> config::Registry {
    config::Registry {
        host: host.into(),
        plain_http: false,
        interval: Seconds::registry_interval(),
        repositories: Vec::new(),
        docker_config: None,
    }
}

/// The same registry under the host name that references are normalised to.
fn normal(registry: &config::Registry) -> config::Registry {
    let host = format!("{}/a/b", registry.host)
        .parse::<Repository>()
        .map_or_else(|_| registry.host.clone(), |repository| repository.host().to_owned());
    config::Registry { host, ..registry.clone() }
}

async fn watch_registry(
    registry: config::Registry,
    named_by: NamedBy,
    interests: Receiver<Arc<Interests>>,
    reporter: Reporter,
    limits: Limits,
) {
    let limits = match named_by {
        NamedBy::Operator => limits,
        NamedBy::Workload => limits.for_unlisted(),
    };
    let meter = reporter.clone();
    let meter = Arc::new(move |measure| meter.measure(measure));
    match Client::new(&registry, named_by, limits, meter) {
        Ok(client) => {
            let host = Arc::new(Host::new(client, reporter, registry.interval.0));
            watch::watch_host(host, registry, interests).await;
        }
        // It stays so until a restart; each repository says so once.
        Err(problem) => {
            let error = Error::new(&registry.host, problem);
            tracing::error!(%error, "registry cannot be watched");
            let repositories = wanted(&registry, &interests.borrow());
            for repository in repositories.into_keys() {
                let fact = Fact::LookFailed {
                    scope: Scope::Repository(repository),
                    failure: error.class(),
                    message: error.to_string().into(),
                };
                reporter.fact(Interval::at(super::now()), Basis::Poll, fact).await;
            }
        }
    }
}
