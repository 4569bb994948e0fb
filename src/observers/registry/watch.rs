//! The task of one registry host: which repositories are looked at, and what a look at one is.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tracing::Instrument;

use super::client::{HOST_CONCURRENCY, NamedBy};
use super::known::Known;
use super::resume::LastLooks;
use super::sweep::Host;
use crate::config;
use crate::image::Repository;
use crate::observation::{Interests, Measure, RepositoryInterest};
use crate::observers::schedule::{self, Begun, Ended, LookNow, Outcome, Plan, Wanted, Wish};

/// Looks under way at one host. A look waits mostly for the network; more would only queue for requests.
const LOOKS_MAX: usize = HOST_CONCURRENCY;
/// Repositories of one host. Beyond it the rest is left out, and counted.
const REPOSITORIES_MAX: usize = 20_000;

/// The looks at the repositories of one host.
type Looks = schedule::Looks<Repository, Known, RepositoryInterest>;

impl schedule::Interest for RepositoryInterest {
    fn urgent(&self) -> bool {
        self.urgent
    }

    /// There is something new to resolve or to describe.
    fn adds_to(&self, before: &Self) -> bool {
        !self.tags.is_subset(&before.tags) || !self.digests.is_subset(&before.digests)
    }
}

/// Looks at the repositories of one host for ever.
pub async fn watch_host(
    host: Arc<Host>,
    registry: config::Registry,
    mut interests: watch::Receiver<Arc<Interests>>,
    last_looks: LastLooks,
    look_now: &LookNow,
) {
    // So that two of us do not ask in step.
    let seed = RandomState::new().hash_one(&registry.host);
    let mut plan = Plan::new(registry.interval.duration(), REPOSITORIES_MAX, seed);
    if host.client.named_by() == NamedBy::Operator {
        plan = plan.with_hot();
    }
    let mut looks = Looks::new(plan, look_now.registry(host.client.host()), LOOKS_MAX);
    let literals = literals(&registry);
    let look = |begun| look(host.clone(), begun);
    let mut open = true;
    loop {
        let current = interests.borrow_and_update().clone();
        update(&mut looks, &registry, &literals, &current, &last_looks, &host);
        loop {
            tell(&mut looks, &host);
            tokio::select! {
                crashed = looks.step(host.client.gate().paused_until(), look) => if let Some(crashed) = crashed {
                    tracing::error!(registry = &**host.client.host(), error = crashed.why, "a look crashed");
                    host.client.measure(Measure::Dropped { source: host.client.source(), reason: "look_crashed" });
                    looks.plan.restart(&crashed.key, Known::new(crashed.key.clone()), Instant::now());
                },
                changed = interests.changed(), if open => {
                    // Without a sender the interests stay as they are; the looks go on.
                    open = changed.is_ok();
                    break;
                }
            }
        }
    }
}

/// Says from time to time how the looks keep up.
fn tell(looks: &mut Looks, host: &Host) {
    let Some(schedule::State { due, late, throttled }) = looks.state() else { return };
    host.client.measure(Measure::Looks { source: host.client.source(), due, late, throttled });
    let requests = host.client.gate().requests_left();
    let sweep = looks.plan.sweep_projected(looks.places(), requests.map(|(_, per_second)| per_second));
    host.client.measure(Measure::RegistryPace {
        registry: host.client.host().clone(),
        requests_left: requests.map(|(left, _)| left),
        pulls_left: host.client.gate().pulls_left().map(f64::from),
        sweep_seconds: sweep.map(|sweep| sweep.as_secs_f64()),
    });
}

/// One look at one repository.
fn look(
    host: Arc<Host>,
    begun: Begun<Repository, Known, RepositoryInterest>,
) -> impl Future<Output = Ended<Known>> + Send + 'static {
    let Begun { key: repository, memory: mut known, interest, late, wanted, asked } = begun;
    let span = tracing::info_span!("sweep", registry = &**host.client.host(), repository = repository.path());
    let look = async move {
        known.told.hear(asked.iter().flatten());
        let ended = host.sweep(&mut known, &interest, wanted, late).await;
        let is_wished = asked.is_some() || wanted == Wanted::Tags;
        if wanted == Wanted::Whole && ended.is_ok() {
            let just_told = asked.unwrap_or_default();
            known.told.keep(|tag| just_told.contains(tag));
        }
        let wish = match known.told.tags().is_empty() {
            true => is_wished.then_some(Wish::Met),
            // Where looks fail, only a new wish makes another come sooner.
            false => (is_wished || ended.is_ok()).then_some(Wish::Unmet),
        };
        let requests = u32::try_from(known.pages().len().max(1)).unwrap_or(u32::MAX);
        let outcome = Outcome { failure: ended.err().map(|error| error.class()), requests, wish };
        Ended { memory: known, outcome }
    };
    look.instrument(span)
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
    looks: &mut Looks,
    registry: &config::Registry,
    literals: &HashSet<Repository>,
    interests: &Interests,
    last_looks: &LastLooks,
    host: &Host,
) {
    let now = Instant::now();
    let unused = RepositoryInterest::default();
    let is_wanted = |repository: &Repository| {
        interests.repositories.contains_key(repository) || literals.contains(repository)
    };
    looks.plan.keep(is_wanted, now).iter().for_each(|repository| looks.desk.forget(repository));
    let written = literals.iter().filter(|repository| !interests.repositories.contains_key(*repository));
    let wanted = interests.repositories.iter().chain(written.map(|repository| (repository, &unused)));
    for (repository, interest) in wanted {
        let is_known = looks.plan.contains(repository);
        if !is_known && !is_meant(registry, repository) {
            continue;
        }
        if !is_known && looks.plan.is_full() {
            host.client
                .measure(Measure::Dropped { source: host.client.source(), reason: "too_many_repositories" });
            continue;
        }
        let is_new = looks.plan.want(repository, interest, now, || match last_looks.take(repository) {
            Some(last) => Known::resumed(last, interest),
            None => Known::new(repository.clone()),
        });
        if is_new {
            looks.desk.know(repository.clone());
        }
    }
}
