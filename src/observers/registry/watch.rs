//! The task of one registry host: which repositories, and one look after the other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tracing::Instrument;

use super::client::HOST_CONCURRENCY;
use super::error::Error;
use super::known::Known;
use super::plan::Plan;
use super::resume::LastLooks;
use super::sweep::Host;
use crate::config;
use crate::image::Repository;
use crate::observation::{Interests, Measure, RepositoryInterest};

/// Looks under way at one host. A look waits mostly for the network; more would only queue for requests.
const LOOKS_MAX: usize = HOST_CONCURRENCY;
/// The longest sleep, so that a clock that jumped is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);

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
    last_looks: LastLooks,
) {
    let mut plan = Plan::new(registry.interval.duration());
    let mut looks = Looks::default();
    let literals = literals(&registry);
    let mut open = true;
    loop {
        let current = interests.borrow_and_update().clone();
        update(&mut plan, &registry, &literals, &current, &last_looks, &host);
        loop {
            let wake = start_due(&mut plan, &mut looks, &host);
            tokio::select! {
                Some(ended) = looks.tasks.join_next_with_id() => match ended {
                    Ok((id, (known, outcome))) => {
                        looks.repositories.remove(&id);
                        plan.finish(known, outcome.err().map(|error| error.class()), Instant::now());
                    }
                    // A look that panicked took its memory with it: the repository starts anew.
                    Err(error) => {
                        tracing::error!(registry = &**host.client.host(), %error, "a look crashed");
                        host.client.measure(Measure::Dropped {
                            source: host.client.source(),
                            reason: "look_crashed",
                        });
                        let lost = looks.repositories.remove(&error.id());
                        lost.into_iter().for_each(|repository| plan.restart(repository, Instant::now()));
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
    let used = interests.repositories.iter().filter(|(repository, _)| is_meant(registry, repository));
    let mut wanted: BTreeMap<Repository, RepositoryInterest> =
        used.map(|(repository, interest)| (repository.clone(), interest.clone())).collect();
    for repository in literals(registry) {
        wanted.entry(repository).or_default();
    }
    wanted
}

fn is_meant(registry: &config::Registry, repository: &Repository) -> bool {
    repository.host() == registry.host
        && (registry.repositories.is_empty()
            || registry.repositories.iter().any(|glob| glob.matches(repository.path())))
}

/// The repositories that are written without a star.
fn literals(registry: &config::Registry) -> HashSet<Repository> {
    let paths = registry.repositories.iter().filter_map(config::Glob::literal);
    paths.filter_map(|path| format!("{}/{path}", registry.host).parse().ok()).collect()
}

/// Takes over what is wanted now. What is in the plan was meant before, so its globs are not asked again.
fn update(
    plan: &mut Plan,
    registry: &config::Registry,
    literals: &HashSet<Repository>,
    interests: &Interests,
    last_looks: &LastLooks,
    host: &Host,
) {
    let now = Instant::now();
    let unused = RepositoryInterest::default();
    plan.keep(
        |repository| interests.repositories.contains_key(repository) || literals.contains(repository),
        now,
    );
    let written = literals.iter().filter(|repository| !interests.repositories.contains_key(*repository));
    let wanted = interests.repositories.iter().chain(written.map(|repository| (repository, &unused)));
    for (repository, interest) in wanted {
        let is_known = plan.contains(repository);
        if !is_known && !is_meant(registry, repository) {
            continue;
        }
        if !is_known && plan.is_full() {
            host.client
                .measure(Measure::Dropped { source: host.client.source(), reason: "too_many_repositories" });
            continue;
        }
        plan.want(repository, interest, now, || match last_looks.take(repository) {
            Some(last) => Known::resumed(last, interest),
            None => Known::new(repository.clone()),
        });
    }
}

/// Starts what is due, the longest overdue first, and says when to come back.
fn start_due(plan: &mut Plan, looks: &mut Looks, host: &Arc<Host>) -> Instant {
    let now = Instant::now();
    let latest = now + SLEEP_MAX;
    if let Some(until) = host.client.paused_until() {
        return until.min(latest);
    }
    while looks.tasks.len() < LOOKS_MAX {
        let Some((mut known, interest)) = plan.take_due(now) else { break };
        let repository = known.repository.clone();
        let span =
            tracing::info_span!("sweep", registry = &**host.client.host(), repository = repository.path());
        let host = host.clone();
        let look = async move {
            let outcome = host.sweep(&mut known, &interest).await;
            (known, outcome)
        };
        let task = looks.tasks.spawn(look.instrument(span));
        looks.repositories.insert(task.id(), repository);
    }
    // With all places taken the end of a look wakes us.
    plan.next_due().filter(|due| *due > now).unwrap_or(latest).min(latest)
}
