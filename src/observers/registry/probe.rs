//! One look by hand: `scan` times a listing, `check` says whether a registry can be read at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;

use super::address::Names;
use super::client::{Ask, Client, Meter, NamedBy};
use super::error::{Error, Problem};
use super::limits::Limits;
use super::{normal, tags};
use crate::config;
use crate::image::{Repository, Tag};
use crate::observation::Measure;

/// What a listing of one repository took.
#[derive(Debug)]
pub struct ScanReport {
    pub repository: Repository,
    /// Sorted, each once.
    pub tags: Vec<Tag>,
    /// Names that are no tags, left out.
    pub invalid: usize,
    pub pages: usize,
    /// After decompression.
    pub bytes: u64,
    pub seconds: f64,
    /// Requests by HTTP status; 0 where no answer came.
    pub requests: BTreeMap<u16, u64>,
}

/// Whether a registry can be read.
#[derive(Debug)]
pub struct CheckReport {
    pub registry: Arc<str>,
    /// `anonymous`, `basic` or `bearer`: what it asked for.
    pub auth: &'static str,
    /// Where our login for it is from, if there is one: for the first repository that was asked for.
    pub login_from: Option<&'static str>,
    /// Its clock minus ours, in seconds.
    pub clock_offset_seconds: Option<f64>,
    /// Each repository that was asked for: how many tags, or what fails.
    pub repositories: Vec<(Repository, Result<usize, Error>)>,
}

/// Lists one repository once. The registry counts as named by the operator.
///
/// # Errors
/// What cut the listing short, with the repository's name and what to do.
pub async fn scan(registry: &config::Registry, repository: &Repository) -> Result<ScanReport, Error> {
    scan_as(registry, &Names::default(), repository).await
}

/// The same where the operator named other hosts, too.
///
/// # Errors
/// As [`scan`].
pub async fn scan_as(
    registry: &config::Registry,
    names: &Names,
    repository: &Repository,
) -> Result<ScanReport, Error> {
    let counts = Arc::new(Counts::default());
    let client = client(registry, NamedBy::Operator, names, &counts)
        .map_err(|problem| Error::new(&registry.host, problem))?;
    let listing = tags::list(&client, repository, &[])
        .await
        .map_err(|problem| Error::new(repository.as_str(), problem))?;
    let mut tags: Vec<Tag> = listing
        .pages
        .iter()
        .flat_map(|page| page.names.iter())
        .filter_map(|name| name.parse().ok())
        .collect();
    tags.sort_unstable();
    tags.dedup();
    Ok(ScanReport {
        repository: repository.clone(),
        tags,
        invalid: listing.invalid,
        pages: listing.pages.len(),
        bytes: listing.bytes,
        seconds: listing.finished.seconds_since(listing.started),
        requests: counts.requests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    })
}

/// Asks a registry for its API and for some repositories.
///
/// # Errors
/// The registry itself cannot be reached or used. A failing repository is in the report instead.
pub async fn check(registry: &config::Registry, repositories: &[Repository]) -> Result<CheckReport, Error> {
    check_as(registry, NamedBy::Operator, &Names::default(), repositories).await
}

/// The same for a registry that may have been named by a workload.
///
/// # Errors
/// As [`check`].
pub async fn check_as(
    registry: &config::Registry,
    named_by: NamedBy,
    names: &Names,
    repositories: &[Repository],
) -> Result<CheckReport, Error> {
    let counts = Arc::new(Counts::default());
    let about = |problem| Error::new(&registry.host, problem);
    let client = client(registry, named_by, names, &counts).map_err(about)?;
    let root = client
        .ask(Ask {
            operation: "check",
            method: Method::GET,
            url: client.url(""),
            accept: None,
            repository: None,
            body: ("bytes in its front page", client.limits().manifest_bytes),
        })
        .await;
    match root {
        Ok(answer) if answer.status >= 300 => return Err(about(Problem::Status(answer.status))),
        Ok(_) => {}
        // Some registries refuse their root to those who may read a repository.
        Err(Problem::Unauthorized { .. } | Problem::Forbidden) if !repositories.is_empty() => {}
        Err(problem) => return Err(about(problem)),
    }
    let mut report = CheckReport {
        registry: client.host().clone(),
        auth: "anonymous",
        login_from: client.login_from(repositories.first()).await.map_err(about)?,
        clock_offset_seconds: None,
        repositories: Vec::new(),
    };
    for repository in repositories {
        let listed = tags::list(&client, repository, &[]).await;
        let outcome = listed
            .map(|listing| listing.tag_count())
            .map_err(|problem| Error::new(repository.as_str(), problem));
        report.repositories.push((repository.clone(), outcome));
    }
    report.auth = client.auth().kind();
    report.clock_offset_seconds = *counts.clock_offset.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(report)
}

/// The numbers of one probe.
#[derive(Default)]
struct Counts {
    requests: Mutex<BTreeMap<u16, u64>>,
    clock_offset: Mutex<Option<f64>>,
}

fn client(
    registry: &config::Registry,
    named_by: NamedBy,
    names: &Names,
    counts: &Arc<Counts>,
) -> Result<Client, Problem> {
    let counts = counts.clone();
    let meter: Meter = Arc::new(move |measure| match measure {
        Measure::RegistryRequest { code, .. } => {
            *counts.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
        }
        Measure::ClockOffset { seconds, .. } => {
            *counts.clock_offset.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);
        }
        _ => {}
    });
    Client::with_names(&normal(registry), named_by, Limits::default(), meter, names.clone())
}
