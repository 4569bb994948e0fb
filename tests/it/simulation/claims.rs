//! Holds what a tracker says of a journey against the truth: it happened, it ended so, and then.

use std::sync::Arc;

use knotmeter::image::Digest;
use knotmeter::observation::{Interval, ObjectKey};
use knotmeter::tracker::{Journey, Outcome, Stage, Subject};

use crate::journeys::text::{START, show_interval, show_time};

use super::truth::{Scaled, Spell, Truth};

/// Completion is learned within this time, in milliseconds: whole seconds, and a late message.
const LEARNED_WITHIN: i64 = 1250;

/// Rollouts of one image at one destination, one template after another.
#[derive(Debug)]
pub struct Rollout<'a> {
    pub image: &'a Arc<str>,
    spells: &'a [Spell],
}

impl<'a> Rollout<'a> {
    /// The rollouts of a container, oldest first.
    pub fn all(spells: &'a [Spell], container: &str) -> Vec<Self> {
        let same =
            |left: &Spell, right: &Spell| left.image(container) == right.image(container) && !left.removed;
        let chunks = spells.chunk_by(same);
        chunks.filter_map(|spells| Some(Rollout { image: spells[0].image(container)?, spells })).collect()
    }

    pub fn at(&self) -> i64 {
        self.spells[0].at
    }

    /// It was there before anybody looked.
    pub fn before(&self) -> bool {
        self.spells[0].before
    }

    /// Its last template was replaced by then.
    pub fn over_by(&self, at: i64) -> bool {
        self.spells.last().and_then(|spell| spell.until).is_some_and(|until| until <= at)
    }

    /// When it was first complete, and with which digest.
    pub fn live(&self, container: &str, digest: Option<&Digest>) -> Option<i64> {
        let complete = self.spells.iter().flat_map(|spell| &spell.complete);
        let fits =
            |runs: &&(i64, std::collections::BTreeMap<Arc<str>, std::collections::BTreeSet<Digest>>)| {
                runs.1.get(container).is_some_and(|runs| {
                    digest.is_none_or(|digest| runs.iter().all(|running| running == digest))
                })
            };
        complete.filter(fits).map(|(at, _)| *at).min()
    }

    fn first(
        list: impl Iterator<Item = &'a (Arc<str>, Digest, i64)>,
        container: &str,
        digest: Option<&Digest>,
    ) -> Option<i64> {
        list.filter(|(name, running, _)| {
            **name == *container && digest.is_none_or(|digest| digest == running)
        })
        .map(|(.., at)| *at)
        .min()
    }

    /// When a stage was reached. `None` where it never was.
    fn reached(&self, stage: Stage, journey: &Journey) -> Option<i64> {
        let (container, digest) = (&*journey.destination.container, journey.digest.as_ref());
        match stage {
            Stage::Applied => Some(self.at()),
            Stage::Started => {
                Self::first(self.spells.iter().flat_map(|spell| &spell.started), container, digest)
            }
            Stage::Ready => Self::first(self.spells.iter().flat_map(|spell| &spell.ready), container, digest),
            Stage::Live => self.live(container, digest),
            _ => None,
        }
    }

    /// The same from a later template on: a restart may bring what a tag means now.
    fn from(&self, first: usize) -> Self {
        Rollout { image: self.image, spells: &self.spells[first..] }
    }

    /// Pods were lost, or it was complete and over, while nobody could see it. What is first seen after that was
    /// perhaps not the first.
    fn hidden(&self, cluster: &str, truth: &Truth) -> bool {
        self.spells.iter().any(|spell| {
            let outage = |at: i64| outage(at, cluster, truth);
            let over = |at: i64| outage(at).is_some_and(|to| spell.until.is_some_and(|until| until <= to));
            // A look after an outage finds what is left a moment later.
            spell.lost.iter().any(|at| outage(*at).is_some() || outage(*at - LEARNED_WITHIN).is_some())
                || spell.complete.iter().any(|(at, _)| over(*at))
        })
    }

    /// One of its templates came and went while nobody could see it: what is told is of another, or of several.
    fn unseen(&self, cluster: &str, truth: &Truth) -> bool {
        self.spells.iter().any(|spell| {
            let until = outage(spell.at, cluster, truth);
            until.is_some_and(|to| spell.until.is_some_and(|until| until <= to))
        })
    }

    /// Why a journey cannot be of this rollout.
    fn contradiction(&self, journey: &Journey, truth: &Truth, tolerance: i64) -> Option<String> {
        if **self.image != *journey.image.to_string() {
            return Some(format!("its template says {}", self.image));
        }
        if self.unseen(&journey.destination.cluster_uid, truth) {
            return None;
        }
        let hidden = self.hidden(&journey.destination.cluster_uid, truth);
        for stage in [Stage::Applied, Stage::Started, Stage::Ready, Stage::Live] {
            let Some(evidence) = journey.stages.evidence(stage) else { continue };
            let told = show_interval(evidence.interval);
            match self.reached(stage, journey) {
                None => return Some(format!("never {} in truth, told {told}", stage.as_str())),
                Some(at) if hidden && stage > Stage::Applied && START + at <= evidence.interval.not_after => {
                }
                Some(at) if !contains(evidence.interval, at, tolerance) => {
                    return Some(format!("{} at {}, told {told}", stage.as_str(), show_time(START + at)));
                }
                Some(_) => {}
            }
        }
        None
    }
}

/// Holds one journey against the truth. Answers with the start of its rollout, or with what is wrong.
pub fn check(journey: &Journey, truth: &Truth, slip: i64) -> Result<Option<i64>, String> {
    let destination = &journey.destination;
    let offset = truth.offsets.get(&destination.cluster_uid).copied().unwrap_or_default();
    let tolerance = if offset == 0 { slip } else { slip + offset + 1000 };
    let committed = match &journey.commit {
        Some(commit) => {
            Some(*truth.commits.get(&*commit.id).ok_or(format!("there is no commit {}", commit.id))?)
        }
        None => None,
    };
    let pushed = match &journey.digest {
        Some(digest) => {
            let here = truth
                .pushes
                .iter()
                .filter(|(_, image, word)| image.repository == journey.image.repository && word == digest);
            Some(here.map(|(at, ..)| *at).min().ok_or(format!("{digest} was never pushed"))?)
        }
        None => None,
    };
    // Named before it was pushed: the order of the two is often more than anybody can see.
    let late = pushed.is_some_and(|pushed| {
        committed.is_some_and(|committed| committed <= pushed)
            || journey
                .stages
                .evidence(Stage::Applied)
                .is_some_and(|at| at.interval.not_before <= START + pushed + tolerance)
    });
    // The same for a commit that came after its template, inside one look.
    let applied = journey.stages.evidence(Stage::Applied).map(|at| at.interval.not_before - tolerance);
    let caused = |at: &i64| applied.is_none_or(|applied| START + *at <= applied);
    let certain = |at: Option<i64>| at.filter(|at| *at > 0 && !late);
    // A tag that moved between two looks of ours was scanned with another image, and nobody can know.
    let scanned = journey.stages.evidence(Stage::Detected).is_some();
    let pushed = pushed.filter(|_| !(scanned && truth.moved(&journey.image.to_string())));
    let committed = committed.filter(caused);
    for (stage, at) in [(Stage::Committed, certain(committed)), (Stage::Pushed, certain(pushed))] {
        if let (Some(at), Some(evidence)) = (at, journey.stages.evidence(stage))
            && !contains(evidence.interval, at, tolerance)
        {
            let told = show_interval(evidence.interval);
            return Err(format!("{} at {}, told {told}", stage.as_str(), show_time(START + at)));
        }
    }
    truth.hands.contradiction(journey, truth, tolerance)?;
    in_order(journey, late)?;
    let place = (destination.cluster_uid.clone(), destination.workload.clone());
    let spells = truth.places.get(&place).ok_or("there is no such workload")?;
    if journey.subject == Subject::Revision {
        return match journey.replicas {
            Some(replicas) => resized(journey, replicas, (&place, spells), truth, tolerance),
            None => revision(journey, spells, tolerance),
        }
        .map(|()| None);
    }
    if journey.stages.evidence(Stage::Applied).is_none() {
        let live = journey.outcome == Some(Outcome::Live);
        return if live { Err("live, and no template ever carried it".into()) } else { Ok(None) };
    }
    let rollouts = Rollout::all(spells, &destination.container);
    let mut candidates: Vec<Rollout<'_>> = Vec::new();
    for rollout in &rollouts {
        let first = usize::from(rollout.before());
        candidates.extend((first..rollout.spells.len()).map(|at| rollout.from(at)));
    }
    let away = |rollout: &Rollout<'_>| (journey.opened.not_after.0 - START.0 - rollout.at()).abs();
    candidates.sort_by_key(away);
    let mut nearest: Vec<(bool, i64, String)> = Vec::new();
    for rollout in &candidates {
        match rollout.contradiction(journey, truth, tolerance) {
            None => {
                if journey.settled && !rollout.hidden(&destination.cluster_uid, truth) {
                    decided(journey, rollout, slip)?;
                }
                // With a clock that is minutes off several can fit.
                return Ok(Some(rollout.at()).filter(|_| offset == 0));
            }
            Some(why) => {
                let other = **rollout.image != *journey.image.to_string();
                nearest.push((other, away(rollout), why));
            }
        }
    }
    nearest.sort();
    let why = nearest.into_iter().next().map_or("nothing was ever applied there".to_owned(), |(.., why)| why);
    Err(format!("no true rollout is this one; of the nearest: {why}"))
}

/// A revision was applied with a template, and live when that template, or a later one, was.
fn revision(journey: &Journey, spells: &[Spell], tolerance: i64) -> Result<(), String> {
    let Some(applied) = journey.stages.evidence(Stage::Applied) else { return Ok(()) };
    let carries = |spell: &&Spell| contains(applied.interval, spell.at, tolerance);
    let Some(first) = spells.iter().position(|spell| carries(&spell)) else {
        return Err(format!("no template changed at {}", show_interval(applied.interval)));
    };
    let Some(told) = journey.stages.evidence(Stage::Live) else { return Ok(()) };
    let mut complete = spells[first..].iter().flat_map(|spell| &spell.complete);
    let by = told.interval.not_after + tolerance;
    let lived = complete.any(|(at, _)| START + *at <= by);
    if lived { Ok(()) } else { Err(format!("nothing was live by {}", show_interval(told.interval))) }
}

/// A number of pods was applied when the workload got it, and live when it first had so many.
fn resized(
    journey: &Journey,
    replicas: i64,
    (place, spells): (&(Arc<str>, ObjectKey), &[Spell]),
    truth: &Truth,
    tolerance: i64,
) -> Result<(), String> {
    let Some(applied) = journey.stages.evidence(Stage::Applied) else { return Ok(()) };
    let told = |stage| journey.stages.evidence(stage).map(|at| at.interval);
    let scales = truth.scales.get(place).map_or(&[][..], |scales| scales);
    let fits =
        |scale: &&Scaled| scale.replicas == replicas && contains(applied.interval, scale.at, tolerance);
    let hidden =
        |at: i64| outage(at, &place.0, truth).or(outage(at - LEARNED_WITHIN, &place.0, truth)).is_some();
    let reached = |scale: &Scaled| match (told(Stage::Live), scale.reached) {
        (Some(_), None) => false,
        (Some(live), Some(at)) => {
            // Another template came before anybody heard of it: then its rollout tells.
            let overtaken = |spell: &Spell| spell.at >= at && spell.at - at <= LEARNED_WITHIN + tolerance;
            hidden(at)
                || contains(live, at, tolerance + LEARNED_WITHIN)
                || (spells.iter().any(overtaken) && START + at <= live.not_after)
        }
        (None, _) => true,
    };
    let mut candidates = scales.iter().filter(fits).peekable();
    if candidates.peek().is_none() {
        return Err(format!("nobody scaled it to {replicas} at {}", show_interval(applied.interval)));
    }
    // With a clock that is minutes off several can fit.
    let Some(scale) = candidates.find(|scale| reached(scale)) else {
        return Err(format!("it had no {replicas} pods then: {scales:?}"));
    };
    let first = &*journey.destination.container;
    let after = |list: &[(Arc<str>, Digest, i64)], told: Interval| {
        list.iter().any(|(name, _, at)| {
            **name == *first && *at >= scale.at - tolerance && contains(told, *at, tolerance)
        })
    };
    if let Some(started) = told(Stage::Started)
        && !spells.iter().any(|spell| after(&spell.started, started))
    {
        return Err(format!("no pod started for it at {}", show_interval(started)));
    }
    if let Some(ready) = told(Stage::Ready)
        && !spells.iter().any(|spell| after(&spell.ready, ready))
    {
        return Err(format!("no pod was ready for it at {}", show_interval(ready)));
    }
    Ok(())
}

/// What ended otherwise was not live before its end.
fn decided(journey: &Journey, rollout: &Rollout<'_>, slip: i64) -> Result<(), String> {
    let live = rollout.live(&journey.destination.container, journey.digest.as_ref());
    let (Some(live), Some(outcome), Some(ended)) = (live, journey.outcome, journey.ended) else {
        return Ok(());
    };
    let certain = START + live + LEARNED_WITHIN + slip < ended.not_before;
    if certain && !matches!(outcome, Outcome::Live | Outcome::Unknown) {
        let (at, end) = (show_time(START + live), show_interval(ended));
        return Err(format!("it ended {} at {end}, and was live at {at}", outcome.as_str()));
    }
    Ok(())
}

/// Causes come before effects, unless two clocks contradict each other.
fn in_order(journey: &Journey, late: bool) -> Result<(), String> {
    if journey.conflicts > 0 {
        return Ok(());
    }
    let known: Vec<(Stage, Interval)> = Stage::ALL
        .into_iter()
        .skip(1)
        .filter(|stage| !late || *stage != Stage::Pushed)
        .filter_map(|stage| Some((stage, journey.stages.evidence(stage)?.interval)))
        .collect();
    for pair in known.windows(2) {
        let [(first, earlier), (second, later)] = pair else { continue };
        if earlier.not_before > later.not_before || earlier.not_after > later.not_after {
            return Err(format!("{} is told after {}", first.as_str(), second.as_str()));
        }
    }
    Ok(())
}

/// The end of the outage that a moment is in.
fn outage(at: i64, cluster: &str, truth: &Truth) -> Option<i64> {
    let mut outages = truth.outages.iter().filter(|(uid, ..)| **uid == *cluster);
    outages.find(|(_, from, to)| *from <= at && at <= *to).map(|(.., to)| *to)
}

pub fn contains(interval: Interval, at: i64, tolerance: i64) -> bool {
    let at = START + at;
    interval.not_before <= at + tolerance && at <= interval.not_after + tolerance
}
