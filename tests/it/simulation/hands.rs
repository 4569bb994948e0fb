//! What the hands of Flux did in truth, read off the story, and what a journey tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use knotmeter::image::Repository;
use knotmeter::tracker::{Journey, Stage, Subject};

use crate::journeys::text::{START, pair, show_interval, show_time};

use super::claims::contains;
use super::story::BEFORE;
use super::truth::Truth;

/// Where images are looked for.
const HOME: &str = "uid-lab";

/// See the file's front line.
#[derive(Debug, Default)]
pub struct Hands {
    /// Of each ImageRepository, by name.
    scans: BTreeMap<String, Scans>,
    /// Cluster UID, when, and every commit that the artifact then contained.
    fetches: Vec<(Arc<str>, i64, BTreeSet<String>)>,
    /// What main has, oldest first.
    main: Vec<String>,
    /// Tags of each repository's path.
    tags: BTreeSet<String>,
    /// A hand did what it could not: only cutting lines out of a story does that.
    pub impossible: Option<String>,
}

/// What an ImageRepository looks at, and each scan with the tags it found.
#[derive(Debug, Default)]
struct Scans {
    of: Option<Repository>,
    found: Vec<(i64, BTreeSet<String>)>,
}

impl Hands {
    /// Reads one line of a story.
    pub fn read(&mut self, at: i64, words: &[&str]) {
        match words {
            ["push" | "copy", name, ..] => drop(self.tags.insert((*name).to_owned())),
            ["commit", id, ..] => self.main.push((*id).to_owned()),
            ["force-push", id, "to", onto, ..] => {
                let kept = self.main.iter().position(|known| known == onto).map_or(0, |at| at + 1);
                self.main.truncate(kept);
                self.main.push((*id).to_owned());
            }
            [_, "flux", "imagerepository", name, said @ ..] => {
                let Scans { of, found } = self.scans.entry((*name).to_owned()).or_default();
                for (key, value) in said.iter().filter_map(|word| pair(word)) {
                    match key {
                        "image" => *of = value.parse().ok(),
                        "scan" => {
                            let tags = value.rsplit(':').next().unwrap_or_default();
                            let tags: BTreeSet<String> = tags.split(',').map(str::to_owned).collect();
                            if let Some(of) = of
                                && let Some(tag) =
                                    tags.iter().find(|tag| !self.tags.contains(&format!("{of}:{tag}")))
                            {
                                self.impossible =
                                    Some(format!("a scan found {of}:{tag}, which is not there"));
                            }
                            found.push((at, tags));
                        }
                        _ => {}
                    }
                }
            }
            [cluster, "flux", "gitrepository", _, said @ ..]
                if said.iter().any(|word| word.starts_with("artifact=")) =>
            {
                let named = said.iter().find_map(|word| word.strip_prefix("artifact="));
                if named != self.main.last().map(String::as_str) {
                    self.impossible = Some(format!("{cluster} fetched {named:?}, which is not the tip"));
                }
                self.fetches.push((format!("uid-{cluster}").into(), at, self.main.iter().cloned().collect()));
            }
            _ => {}
        }
    }

    /// Where a journey says of a hand what is not so.
    pub fn contradiction(&self, journey: &Journey, truth: &Truth, tolerance: i64) -> Result<(), String> {
        let detected = self.detected(journey, truth);
        let fetched = self.fetched(journey);
        for (stage, at) in [(Stage::Detected, detected), (Stage::Fetched, fetched)] {
            let Some(evidence) = journey.stages.evidence(stage) else { continue };
            let told = show_interval(evidence.interval);
            match at {
                None => return Err(format!("never {} in truth, told {told}", stage.as_str())),
                Some(Some(at)) if !contains(evidence.interval, at, tolerance) => {
                    return Err(format!("{} at {}, told {told}", stage.as_str(), show_time(START + at)));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whether all hands are told of an image that went all the way.
    pub fn untold(journey: &Journey) -> Option<String> {
        let home = *journey.destination.cluster_uid == *HOME;
        let passes = |stage: &Stage| match stage {
            Stage::Detected => home && journey.subject == Subject::Image,
            Stage::Committed => home,
            _ => true,
        };
        let mut stages = [Stage::Detected, Stage::Committed, Stage::Fetched].into_iter().filter(passes);
        let unknown = stages.find(|stage| journey.stages.evidence(*stage).is_none());
        unknown.map(|stage| format!("{} is unknown", stage.as_str()))
    }

    /// When a scan first found its tag: `Some(None)` where nobody can tell, as of a tag that meant several images.
    fn detected(&self, journey: &Journey, truth: &Truth) -> Option<Option<i64>> {
        if truth.moved(&journey.image.to_string()) {
            return Some(None);
        }
        let tag = journey.image.tag.as_ref()?.as_str();
        // A story cut short may not say what is scanned.
        if self.scans.values().any(|scans| scans.of.is_none()) {
            return Some(None);
        }
        let scans = self.scans.values().filter(|scans| scans.of.as_ref() == Some(&journey.image.repository));
        let found = scans.flat_map(|scans| &scans.found).filter(|(_, tags)| tags.contains(tag));
        found.map(|(at, _)| *at).min().map(looked_at)
    }

    /// When the source of its cluster first held its commit.
    fn fetched(&self, journey: &Journey) -> Option<Option<i64>> {
        let Some(commit) = &journey.commit else { return Some(None) };
        let fetches = self.fetches.iter().filter(|(cluster, ..)| *cluster == journey.destination.cluster_uid);
        let holding = fetches.filter(|(.., commits)| commits.contains(&*commit.id));
        holding.map(|(_, at, _)| *at).min().map(looked_at)
    }
}

/// Of what was so before anybody looked no time is told.
fn looked_at(at: i64) -> Option<i64> {
    Some(at).filter(|at| *at > BEFORE)
}
