//! A story under way: what a seed lets happen, written line by line in the language of `tests/journeys/`.

use std::collections::{BTreeMap, BTreeSet};

use crate::journeys::random::Random;
use crate::journeys::text::{START, show_time};

use super::flux::Flux;
use super::people::Act;
use super::workload::Load;

/// What was there before anybody looked.
pub const BEFORE: i64 = 0;
/// After the last thing happened, what is under way comes to its end and settles.
const QUIET: i64 = 150_000;

/// A written story.
#[derive(Debug, Clone)]
pub struct Story {
    /// The lines of `config`.
    pub config: Vec<String>,
    /// When, and what happens: the lines of `facts`.
    pub facts: Vec<(i64, String)>,
    pub end: i64,
}

impl Story {
    /// As a file of `tests/journeys/` has it.
    pub fn text(&self) -> String {
        let mut text = "# What a seed of the simulation let happen.\nrule: 1\nconfig\n".to_owned();
        self.config.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        text.push_str("facts\n");
        for (at, line) in &self.facts {
            text.push_str(&format!("  {} {line}\n", show_time(START + *at)));
        }
        text.push_str(&format!("  {} end\n", show_time(START + self.end)));
        text
    }
}

/// What kind of world it is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Nothing fails between the world and its observers, and nobody restarts them: all that is true must be told.
    pub calm: bool,
    /// Milliseconds after its start in which things begin to happen.
    pub busy: i64,
    /// Flux brings the images.
    pub flux: bool,
    /// Manifests say how many pods there are to be.
    pub counted: bool,
    /// Calm, and nobody does anything but push: Flux brings each within its turns.
    pub healthy: bool,
    pub clusters: &'static [&'static str],
}

/// What main says of one load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Of each container.
    pub tags: Vec<String>,
    /// The rest of the pod template, by a number.
    pub text: u32,
    /// How many pods, where it says so.
    pub replicas: Option<usize>,
}

/// The world as its people know it.
pub struct Telling {
    pub random: Random,
    pub weather: Weather,
    pub now: i64,
    agenda: BTreeMap<(i64, u64), Act>,
    made: u64,
    pub facts: Vec<(i64, String)>,
    pub loads: Vec<Load>,
    /// Repository and tag: the word of its digest.
    pub tags: BTreeMap<(&'static str, String), String>,
    /// Versions pushed of each repository, newest last.
    pub versions: BTreeMap<&'static str, Vec<String>>,
    /// Tags whose containers never become ready.
    pub broken: BTreeSet<(&'static str, String)>,
    /// What main says for each container of each load, after each commit.
    pub commits: Vec<(String, Vec<Manifest>)>,
    /// What the applier last applied for each load.
    pub applied: Vec<Manifest>,
    /// Each repository's pushes, commits and the like are numbered through.
    pub number: u32,
    pub flux: Option<Flux>,
}

impl Telling {
    pub fn new(random: Random, weather: Weather) -> Self {
        Self {
            random,
            weather,
            now: BEFORE,
            agenda: BTreeMap::new(),
            made: 0,
            facts: Vec::new(),
            loads: Vec::new(),
            tags: BTreeMap::new(),
            versions: BTreeMap::new(),
            broken: BTreeSet::new(),
            commits: Vec::new(),
            applied: Vec::new(),
            number: 0,
            flux: None,
        }
    }

    /// It happens now.
    pub fn tell(&mut self, line: impl Into<String>) {
        self.facts.push((self.now, line.into()));
    }

    /// It will be tried in so many milliseconds, give or take.
    pub fn later(&mut self, from: i64, to: i64, act: Act) {
        self.made += 1;
        let at = self.now + self.random.between(from, to);
        self.agenda.insert((at, self.made), act);
    }

    /// Lets everything happen that is due before the end; answers with the end.
    pub fn unfold(&mut self) -> i64 {
        let end = self.weather.busy + QUIET;
        while let Some(((at, _), act)) = self.agenda.pop_first() {
            if at >= end - QUIET / 2 {
                break;
            }
            self.now = at;
            self.act(act);
        }
        end
    }
}
