//! The task of one registry host: which repositories, which is due, and one look after the other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tracing::Instrument;

use super::client::HOST_CONCURRENCY;
use super::error::Error;
use super::known::Known;
use super::schedule;
use super::sweep::Host;
use crate::config;
use crate::image::Repository;
use crate::observation::{Interests, Measure, RepositoryInterest};

/// Looks under way at one host. A look waits mostly for the network; more would only queue for requests.
const LOOKS_MAX: usize = HOST_CONCURRENCY;
/// Repositories of one host. Beyond it the rest is left out, and counted.
const REPOSITORIES_MAX: usize = 20_000;
/// What is known of a repository outlives its last use by this: workloads come back.
const KEPT_UNUSED: Duration = Duration::from_secs(3600);
/// The longest sleep, so that a clock that jumped is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// One repository in the plan.
struct Entry {
    interest: RepositoryInterest,
    /// Nobody wants it since then.
    unused_since: Option<Instant>,
    due: Instant,
    last_start: Option<Instant>,
    looks: u64,
    failures: u32,
    /// Away while a look is under way.
    known: Option<Known>,
}

type Look = (Known, Result<(), Error>);

/// The looks under way, and at which repository each is.
#[derive(Default)]
struct Looks {
    tasks: JoinSet<Look>,
    repositories: HashMap<Id, Repository>,
}

/// Looks at the repositories of one host for ever.
pub async fn watch_host(
    host: Arc<Host>,
    registry: config::Registry,
    mut interests: watch::Receiver<Arc<Interests>>,
) {
    let interval = registry.interval.duration();
    let mut plan: HashMap<Repository, Entry> = HashMap::new();
    let mut looks = Looks::default();
    let mut open = true;
    loop {
        let wanted = wanted(&registry, &interests.borrow_and_update());
        update(&mut plan, wanted, interval, &host);
        loop {
            let wake = start_due(&mut plan, &mut looks, &host);
            tokio::select! {
                Some(ended) = looks.tasks.join_next_with_id() => match ended {
                    Ok((id, (known, outcome))) => {
                        looks.repositories.remove(&id);
                        finish(&mut plan, known, outcome, interval);
                    }
                    // A look that panicked took its memory with it: the repository starts anew.
                    Err(error) => {
                        tracing::error!(registry = &**host.client.host(), %error, "a look crashed");
                        host.client.measure(Measure::Dropped {
                            source: host.client.source(),
                            reason: "look_crashed",
                        });
                        let lost = looks.repositories.remove(&error.id());
                        lost.into_iter().for_each(|repository| restart(&mut plan, repository));
                    }
                },
                () = tokio::time::sleep_until(wake.into()) => {}
                changed = interests.changed(), if open => {
                    // Without a sender the interests stay as they are; the looks go on.
                    open = changed.is_ok();
                    break;
                }
            }
        }
    }
}

/// The repositories to look at: written without a star, always; else what is used, as far as the globs allow.
#[must_use]
pub fn wanted(
    registry: &config::Registry,
    interests: &Interests,
) -> BTreeMap<Repository, RepositoryInterest> {
    let is_meant = |path: &str| {
        registry.repositories.is_empty() || registry.repositories.iter().any(|glob| glob.matches(path))
    };
    let mut wanted: BTreeMap<Repository, RepositoryInterest> = interests
        .repositories
        .iter()
        .filter(|(repository, _)| repository.host() == registry.host && is_meant(repository.path()))
        .map(|(repository, interest)| (repository.clone(), interest.clone()))
        .collect();
    for path in registry.repositories.iter().filter_map(config::Glob::literal) {
        if let Ok(repository) = format!("{}/{path}", registry.host).parse::<Repository>() {
            wanted.entry(repository).or_default();
        }
    }
    wanted
}

fn update(
    plan: &mut HashMap<Repository, Entry>,
    wanted: BTreeMap<Repository, RepositoryInterest>,
    interval: Duration,
    host: &Host,
) {
    let at = Instant::now();
    for (repository, entry) in plan.iter_mut() {
        if !wanted.contains_key(repository) {
            entry.unused_since.get_or_insert(at);
        }
    }
    plan.retain(|_, entry| {
        entry.known.is_none() || entry.unused_since.is_none_or(|since| at - since < KEPT_UNUSED)
    });
    for (repository, interest) in wanted {
        if plan.len() >= REPOSITORIES_MAX && !plan.contains_key(&repository) {
            host.client
                .measure(Measure::Dropped { source: host.client.source(), reason: "too_many_repositories" });
            continue;
        }
        let entry = plan.entry(repository.clone()).or_insert_with(|| Entry {
            interest: RepositoryInterest::default(),
            unused_since: None,
            due: at,
            last_start: None,
            looks: 0,
            failures: 0,
            known: Some(Known::new(repository)),
        });
        // Something new to resolve, or a journey just begun: the next look comes sooner.
        let sooner = interest.urgent && !entry.interest.urgent
            || !interest.tags.is_subset(&entry.interest.tags)
            || !interest.digests.is_subset(&entry.interest.digests);
        if sooner && entry.failures == 0 {
            let soon = schedule::wait_after_success(interval, true);
            entry.due = entry.due.min(entry.last_start.map_or(at, |last| last + soon));
        }
        entry.unused_since = None;
        entry.interest = interest;
    }
}

/// Starts what is due, the longest overdue first, and says when to come back.
fn start_due(plan: &mut HashMap<Repository, Entry>, looks: &mut Looks, host: &Arc<Host>) -> Instant {
    let at = Instant::now();
    let latest = at + SLEEP_MAX;
    if let Some(until) = host.client.paused_until() {
        return until.min(latest);
    }
    let mut waiting: Vec<(Instant, &Repository)> = plan
        .iter()
        .filter(|(_, entry)| entry.known.is_some() && entry.unused_since.is_none())
        .map(|(repository, entry)| (entry.due, repository))
        .collect();
    waiting.sort_unstable();
    let due: Vec<Repository> = waiting
        .iter()
        .take_while(|(due, _)| *due <= at)
        .take(LOOKS_MAX.saturating_sub(looks.tasks.len()))
        .map(|(_, repository)| (*repository).clone())
        .collect();
    // With all places taken the end of a look wakes us.
    let next = waiting.get(due.len()).map_or(latest, |(due, _)| *due);
    let next = if next <= at { latest } else { next };
    for repository in due {
        let Some(entry) = plan.get_mut(&repository) else { continue };
        let Some(mut known) = entry.known.take() else { continue };
        entry.last_start = Some(at);
        entry.looks += 1;
        let (host, interest) = (host.clone(), entry.interest.clone());
        let span =
            tracing::info_span!("sweep", registry = &**host.client.host(), repository = repository.path());
        let task = looks.tasks.spawn(
            async move {
                let outcome = host.sweep(&mut known, &interest).await;
                (known, outcome)
            }
            .instrument(span),
        );
        looks.repositories.insert(task.id(), repository);
    }
    next.min(latest)
}

fn finish(
    plan: &mut HashMap<Repository, Entry>,
    known: Known,
    outcome: Result<(), Error>,
    interval: Duration,
) {
    let Some(entry) = plan.get_mut(&known.repository) else { return };
    let urgent = entry.interest.urgent;
    let wait = match outcome {
        Ok(()) => {
            entry.failures = 0;
            schedule::wait_after_success(interval, urgent)
        }
        Err(error) => {
            entry.failures = entry.failures.saturating_add(1);
            schedule::wait_after_failure(interval, urgent, error.class(), entry.failures)
        }
    };
    let start = entry.last_start.unwrap_or_else(Instant::now);
    entry.due = start + schedule::jittered(wait, &known.repository, entry.looks);
    entry.known = Some(known);
}

/// Gives a repository whose look crashed a new, empty memory, and a pause.
fn restart(plan: &mut HashMap<Repository, Entry>, repository: Repository) {
    let Some(entry) = plan.get_mut(&repository) else { return };
    entry.failures = entry.failures.saturating_add(1);
    entry.due = Instant::now() + SLEEP_MAX;
    entry.known = Some(Known::new(repository));
}
