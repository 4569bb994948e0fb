//! The repository as a poller sees it: the tree at the first look, then what came between two looks, read from the
//! recorded texts by the git observer's own extraction.

use std::collections::BTreeMap;
use std::sync::Arc;

use knotmeter::observation::{
    Basis, Commit, Fact, GitConfigMap, GitReference, GitScale, GitValue, Interval, LookFailure, Observation,
    Scope, SourceKind, TreeNames,
};
use knotmeter::observers::git::extract;
use serde_json::Value;

use super::super::drive::{text, time};
use super::super::replay::Speaker;
use super::play::{LOOK_SECONDS, Looks, PATHS};
use super::truth::{span, words};

pub const URL: &str = "http://127.0.0.1:13000/fleet.git";

/// Path to text.
type Tree = BTreeMap<String, String>;

/// A commit on the followed branch, with the trees before and after it.
struct Step {
    taken: Interval,
    line: Value,
    before: Tree,
    after: Tree,
}

/// Every look at the branch `main`.
pub fn looks(scenario: &str, looks: &Looks) -> Vec<Observation> {
    let (first, steps) = read(scenario);
    let mut speaker = Speaker::new(SourceKind::Git, URL);
    let mut said = Vec::new();
    let scope = Scope::Branch { url: URL.into(), branch: "main".into() };
    let mut tip = (words(&first.0), first.1);
    let mut last = None;
    for at in looks.times() {
        if looks.is_down(*at) {
            let failure = LookFailure::Network;
            let fact =
                Fact::LookFailed { scope: scope.clone(), failure, message: "connection refused".into() };
            said.push(speaker.say(*at, Interval::at(*at), Basis::Poll, fact));
            continue;
        }
        let new: Vec<&Step> = match last {
            Some(last) => steps.iter().filter(|step| (last..*at).contains(&step.taken.not_after)).collect(),
            None => Vec::new(),
        };
        let (happened, basis) = match last {
            Some(last) => (Interval::new(last, *at), Basis::Poll),
            None => (Interval::until(*at), Basis::Backfill),
        };
        if let Some(step) = new.last() {
            tip = (words(&step.line["sha"]), step.after.clone());
        }
        for path in PATHS {
            if last.is_none() || new.iter().any(|step| differs(path, &step.before, &step.after)) {
                let level = Fact::TreeNames(Box::new(level(path, &tip, &new)));
                said.push(speaker.say(*at, happened, basis, level));
            }
        }
        let interval_seconds = LOOK_SECONDS;
        let fact =
            Fact::LookCompleted { scope: scope.clone(), started: *at, finished: *at, interval_seconds };
        said.push(speaker.say(*at, Interval::at(*at), Basis::Poll, fact));
        last = Some(*at);
    }
    said
}

fn read(scenario: &str) -> ((Value, Tree), Vec<Step>) {
    let text = text(scenario, "commits.jsonl.gz");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let first = lines.next().expect("the tree at the beginning");
    let tree: Tree = serde_json::from_value(first["tree"].clone()).expect("path to text");
    let mut trees: BTreeMap<String, Tree> = [(words(&first["sha"]), tree.clone())].into();
    let mut steps = Vec::new();
    for line in lines {
        let before = trees[&words(&line["parents"][0])].clone();
        let mut after = before.clone();
        for file in line["files"].as_array().expect("a list") {
            match file["text"].as_str() {
                Some(text) => after.insert(words(&file["path"]), text.to_owned()),
                None => after.remove(&words(&file["path"])),
            };
        }
        trees.insert(words(&line["sha"]), after.clone());
        if line["branch"] == "main" {
            steps.push(Step { taken: span(&line["pushed"]), line, before, after });
        }
    }
    ((first["sha"].clone(), tree), steps)
}

fn differs(path: &str, before: &Tree, after: &Tree) -> bool {
    let below = |tree: &Tree| -> Tree {
        tree.iter().filter(|(file, _)| file.starts_with(path)).map(|(a, b)| (a.clone(), b.clone())).collect()
    };
    below(before) != below(after)
}

/// What the tip names under a path, and what each new commit brought in there.
fn level(path: &str, (sha, tree): &(String, Tree), new: &[&Step]) -> TreeNames {
    let Names { references, config_maps, values, scales } = names(path, tree);
    let commits = new.iter().rev().map(|step| {
        let before = names(path, &step.before);
        let mut added = names(path, &step.after);
        // Another line is no other content.
        let content = |it: &GitReference| GitReference { line: 0, ..it.clone() };
        added.references.retain(|it| !before.references.iter().any(|known| content(known) == content(it)));
        added.config_maps.retain(|it| !before.config_maps.contains(it));
        added.values.retain(|it| !before.values.contains(it));
        added.scales.retain(|it| !before.scales.contains(it));
        let line = &step.line;
        Commit {
            id: words(&line["sha"]).into(),
            author: words(&line["author"]["name"]).into(),
            committed_at: time(&line["committer"]["date"]),
            subject: words(&line["message"]).lines().next().unwrap_or_default().into(),
            parent: line["parents"][0].as_str().map(Into::into),
            reverts: None,
            added: added.references,
            config_maps: added.config_maps,
            values: added.values,
            scales: added.scales,
        }
    });
    TreeNames {
        url: URL.into(),
        branch: "main".into(),
        path: path.into(),
        commit: Arc::from(sha.as_str()),
        references,
        config_maps,
        values,
        scales,
        commits: commits.collect(),
        forced: false,
    }
}

#[derive(Default)]
struct Names {
    references: Vec<GitReference>,
    config_maps: Vec<GitConfigMap>,
    values: Vec<GitValue>,
    scales: Vec<GitScale>,
}

fn names(path: &str, tree: &Tree) -> Names {
    let mut names = Names::default();
    for (file, text) in tree.iter().filter(|(file, _)| file.starts_with(path) && file.ends_with(".yaml")) {
        let found = extract(file, text.as_bytes(), &[]);
        names.references.extend(found.references);
        names.values.extend(found.values.placed);
        names.scales.extend(found.scales);
        let maps = found.config_maps.into_iter().map(|written| {
            assert!(written.sources.is_empty(), "{file}: files of a generator are not read here");
            written.config_map
        });
        names.config_maps.extend(maps);
    }
    names
}
