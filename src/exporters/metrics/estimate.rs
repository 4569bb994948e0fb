//! How many series a shop will have, before it has them.
//!
//! It is a walk over the table of families with a number for each label. Some are known (outcomes), the others are what
//! a shop has after a while: a young one has half of it, because nothing was rolled back yet.

use super::table::{ALL, Family, Kind};
use crate::tracker::{Outcome, Trigger};

/// The shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Each runs in each environment.
    pub apps: usize,
    pub environments: usize,
    pub clusters: usize,
    pub registries: usize,
    /// In all registries.
    pub repositories: usize,
    /// Git repositories.
    pub git: usize,
}

/// Triggers that one app's journeys have: a push or a commit, and now and then another.
const TRIGGERS_OF_AN_APP: usize = 2;
/// Stages that are seen on one path: of nine nobody's has them all.
const STAGES: usize = 6;
/// Requests of a registry by operation, and their codes: list, head, manifest, blob and token; well, missing, refused.
const OPERATIONS: usize = 5;
const CODES: usize = 2;
/// How a stage's time is known: of fourteen ways a shop meets a few at each stage.
const BASES_OF_A_STAGE: usize = 2;
/// Kinds of object that are watched, and what changes of them.
const KINDS: usize = 10;
const CLASSES: usize = 3;

impl Size {
    /// Series of all families, a histogram's buckets counted one by one.
    #[must_use]
    pub fn series(&self) -> usize {
        ALL.iter().map(|family| self.of(family)).sum()
    }

    /// What one more app in each environment adds, with a repository of its own.
    #[must_use]
    pub fn series_of_an_app(&self) -> usize {
        let more = Self { apps: self.apps + 1, repositories: self.repositories + 1, ..*self };
        more.series() - self.series()
    }

    fn of(&self, family: &Family) -> usize {
        let lines = match family.kind {
            // One for each bound, one for what is above, the sum and the count.
            Kind::Histogram(buckets) => buckets.bounds().len() + 3,
            Kind::Counter | Kind::Gauge | Kind::Info => 1,
        };
        let values: usize = family.labels.iter().map(|label| self.values(family, label)).product();
        lines * values
    }

    /// How many values a label has in one family.
    fn values(&self, family: &Family, label: &str) -> usize {
        let has = |other: &str| family.labels.contains(&other);
        let of_an_app = has("app");
        match label {
            "app" => self.apps,
            "environment" => self.environments.max(1),
            // An app in an environment is in one of each.
            "cluster" if of_an_app => 1,
            "cluster" => self.clusters,
            "namespace" if has("environment") => 1,
            "namespace" => self.environments.max(1),
            "registry" if has("repository") => 1,
            "registry" => self.registries,
            "repository" if has("registry") => self.repositories,
            "repository" => self.git,
            "source" if of_an_app => 1,
            "source" => self.registries + self.git + self.clusters,
            // What is counted begins at zero for every app.
            "outcome" => Outcome::ALL.len(),
            "trigger" if has("outcome") => Trigger::ALL.len(),
            "trigger" => TRIGGERS_OF_AN_APP,
            "stage" if of_an_app => 1,
            "stage" => STAGES,
            "basis" => BASES_OF_A_STAGE,
            "operation" if has("registry") => OPERATIONS,
            // Poll, fetch, read.
            "operation" => 3,
            "code" => CODES,
            "kind" if of_an_app => 1,
            "kind" => KINDS,
            "class" => CLASSES,
            "result" => 2,
            _ => 1,
        }
    }
}
