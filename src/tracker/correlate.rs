//! From legs to journeys: trigger, outcome, and where the clock starts. `reached.rs` has the stages.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cause::{CauseHasher, Causes, Numbered, Used, Word, words};
use super::destination::{DestinationKey, promotion_rank};
use super::evidence::{merge, narrow};
use super::git::Slot;
use super::journey::{Destination, Journey, Outcome, Subject, Trigger};
use super::ledger::Ledger;
use super::leg::Leg;
use super::legs::{Desires, Inputs};
use super::maps::Map;
use super::next::Next;
use super::reached::stages;
use super::revisions::RevisionLeg;
use super::sample::Sample;
use super::stage::{Stage, StageState, Stages};
use crate::image::{Digest, ImageRef};
use crate::observation::{Basis, Interval, Rules, Time};

/// A commit or a template change this long after the push still counts as its consequence (`fresh_push`).
pub(super) const FRESH_PUSH_SECONDS: f64 = 3600.0;

/// When each destination first desired an image, and when it was live there.
pub type Seen = Map<ImageKey, BTreeMap<DestinationKey, SeenAt>>;

/// Identity of an image across destinations: its digest, else its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ImageKey {
    Digest(Digest),
    Text(ImageRef),
}

/// See [`Seen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAt {
    pub desired: Time,
    /// Learned on our clock, so that clusters with other clocks compare.
    pub live: Option<Time>,
    /// Position of the environment in promotion order.
    pub rank: Option<usize>,
}

/// A journey as derived now, before time is judged.
#[derive(Debug)]
pub struct Draft {
    /// Absent where a settled one has a cause of it: that one is final, whatever would come of it now.
    pub journey: Option<Box<Journey>>,
    /// Durable causes; two drafts with a common one are the same journey.
    pub causes: Causes,
    /// Index into the drafts of the one whose budget this one inherits.
    pub previous: Option<usize>,
    /// First and last version that carry it.
    pub versions: Option<(usize, usize)>,
    /// A write of a ConfigMap applies it.
    pub by_config_map: bool,
    /// When its number of pods was written, on our clock, and the generation of the workload then, where no template
    /// carries it.
    pub scaled: Option<(Interval, i64)>,
    /// The policy that is named on the field that names it.
    pub marker: Option<Arc<str>>,
    /// An entry of `images:` names it.
    pub by_images: bool,
    /// A ConfigMap that a release takes values from names it.
    pub by_values: bool,
}

/// See [`ImageKey`].
#[must_use]
pub fn image_key(leg: &Leg<'_>) -> ImageKey {
    match leg.digest {
        Some(digest) => ImageKey::Digest(digest.clone()),
        None => ImageKey::Text(leg.image.clone()),
    }
}

/// What is known besides the destination's own history.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    pub key: &'a DestinationKey,
    pub destination: &'a Destination,
    pub rules: &'a Rules,
    pub seen: &'a Seen,
    pub hasher: &'a CauseHasher,
    /// Its book, if it has one yet.
    pub ledger: Option<&'a Ledger>,
}

/// Derives the journeys of one destination, oldest first.
#[must_use]
pub fn derive(around: Around<'_>, desires: &Desires<'_>, inputs: &Inputs<'_>) -> Vec<Draft> {
    let Around { key, destination, rules, seen, ledger, .. } = around;
    let mut drafts: Vec<Draft> = Vec::with_capacity(desires.legs.len());
    let mut index_of: Vec<Option<usize>> = vec![None; desires.legs.len()];
    let mut used = Used::default();
    let unnumbered = ledger.map(Ledger::unnumbered).unwrap_or_default();
    for (at, leg) in desires.legs.iter().enumerate().filter(|(_, leg)| !leg.baseline) {
        let words = words(leg, inputs);
        let numbers = used.numbers(&words, around.hasher);
        let previous = leg.previous.and_then(|previous| index_of[previous]);
        let versions = leg.version.map(|first| (first, leg.until));
        index_of[at] = Some(drafts.len());
        let mut causes = Causes::known(&numbers, ledger);
        let settled = causes.settled || {
            causes.write(&words, key);
            numbers.iter().any(|number| ledger.is_some_and(|ledger| ledger.is_settled(number.of)))
                || causes.texts.iter().any(|text| unnumbered.contains(text.as_str()))
        };
        if settled {
            drafts.push(Draft {
                journey: None,
                previous,
                versions,
                by_config_map: false,
                scaled: None,
                marker: None,
                by_images: false,
                by_values: false,
                causes,
            });
            continue;
        }
        let mut stages = stages(leg, destination, inputs, rules);
        let conflicts = narrow(&mut stages) + contradictions(leg.version, leg.until, inputs);
        let intent = intent(leg, inputs).map(|intent| told(intent, leg, &stages));
        let trigger = trigger(key, leg, at, desires, inputs, destination, rules, seen, &stages);
        let claims = leg.digest.and_then(|digest| inputs.registries.claims(digest));
        let (outcome, ended) = outcome(leg, &stages, inputs);
        let failed = || leg.failed(inputs)?.1;
        let who = if outcome == Some(Outcome::Failed) { failed() } else { None };
        let (id, aliases) = causes.ids();
        let committed = stages.state(Stage::Committed);
        let unseen = leg.commit.is_none() && leg.version.is_some() && committed == StageState::Unknown;
        drafts.push(Draft {
            previous,
            versions,
            by_config_map: false,
            scaled: None,
            marker: leg.marker().cloned(),
            by_images: leg.commit.is_some_and(|change| matches!(change.slot, Slot::Kustomize { .. })),
            by_values: leg.commit.is_some_and(|change| change.slot.is_values()),
            journey: Some(Box::new(Journey {
                id,
                aliases,
                subject: Subject::Image,
                destination: destination.clone(),
                image: leg.image.clone(),
                digest: leg.digest.cloned(),
                replicas: None,
                trigger,
                synthetic: claims.is_some_and(|claims| claims.synthetic),
                clock_start: clock_start(
                    key,
                    leg,
                    at,
                    trigger,
                    intent_on_our_clock(leg, inputs),
                    &stages,
                    seen,
                ),
                intent,
                commit: leg.commit.map(|change| change.commit.clone()),
                commit_unseen: inputs.unseen.filter(|_| unseen).cloned(),
                built_from: claims.and_then(|claims| claims.revision.clone()),
                stages,
                outcome,
                ended,
                settled: false,
                held: None,
                held_seconds: 0.0,
                held_before_seconds: 0.0,
                stuck: None,
                who,
                blind: None,
                next: Next::default(),
                opened: leg.opened,
                conflicts,
            })),
            causes,
        });
    }
    drafts
}

/// Adds the journeys of revisions.
pub fn add_revisions(
    drafts: &mut Vec<Draft>,
    around: Around<'_>,
    revisions: &[RevisionLeg<'_>],
    inputs: &Inputs<'_>,
) {
    let Around { key, destination, .. } = around;
    let mut previous = None;
    for leg in revisions {
        let Some(image) = shown(leg, inputs) else { continue };
        let mut stages = Stages::default();
        let hands = inputs.hands(None, None);
        let scaled = leg.scaled(inputs);
        let taken = leg.version.map(|version| inputs.workload.versions[version].ours);
        let taken = taken.or(scaled.map(|(ours, _)| ours));
        let passed = hands.passed(&image, None, Some((&leg.change.commit, leg.change.at.interval)), taken);
        let committed = passed.committed.map_or(leg.change.at, |told| merge(told, leg.change.at).0);
        let known = [
            (Stage::Committed, Some(committed)),
            (Stage::Fetched, passed.fetched),
            (Stage::Applied, leg.applied(inputs)),
            (Stage::Started, leg.started(inputs)),
            (Stage::Ready, leg.ready(inputs)),
            (Stage::Live, leg.live(inputs)),
        ];
        for (stage, evidence) in known {
            stages.set(stage, evidence.map_or(StageState::Unknown, StageState::Known));
        }
        let without_source = hands.source.is_none().then_some(Stage::Fetched);
        for stage in [Stage::Built, Stage::Pushed, Stage::Detected].into_iter().chain(without_source) {
            stages.set(stage, StageState::Skipped);
        }
        for stage in [Stage::Started, Stage::Ready].into_iter().filter(|_| leg.starts_nothing(inputs)) {
            stages.set(stage, StageState::Skipped);
        }
        let conflicts = narrow(&mut stages);
        let words = [Word::Revision(&leg.change.commit)];
        let number = Numbered { of: around.hasher.hash_one(words[0]), times: 1 };
        let mut causes = Causes::known(&[number], around.ledger);
        if !causes.settled {
            causes.write(&words, key);
        }
        let committed = stages.evidence(Stage::Committed).map(|at| at.interval);
        let live = stages.evidence(Stage::Live).map(|live| (Outcome::Live, live.interval));
        let removed = inputs.workload.removed.map(|removed| (Outcome::Removed, removed.interval));
        let failed = leg.failed(inputs).map(|(failed, _)| (Outcome::Failed, failed));
        let end = leg.ended.or(live).or(failed).or(removed);
        let failed = || leg.failed(inputs).map(|(_, who)| who);
        let who = if end.is_some_and(|(outcome, _)| outcome == Outcome::Failed) { failed() } else { None };
        drafts.push(Draft {
            previous: previous.replace(drafts.len()),
            versions: leg.version.map(|first| (first, inputs.workload.versions.len() - 1)),
            by_config_map: leg.config_only,
            scaled,
            marker: None,
            by_images: false,
            by_values: false,
            journey: (!causes.settled).then(|| {
                Box::new(Journey {
                    id: causes.ids().0,
                    aliases: Vec::new(),
                    subject: Subject::Revision,
                    destination: destination.clone(),
                    image,
                    digest: None,
                    replicas: leg.change.replicas,
                    trigger: if leg.change.reverts { Trigger::Rollback } else { Trigger::Commit },
                    synthetic: false,
                    clock_start: None,
                    intent: committed,
                    commit: Some(leg.change.commit.clone()),
                    commit_unseen: None,
                    built_from: None,
                    stages,
                    outcome: end.map(|(outcome, _)| outcome),
                    ended: end.map(|(_, at)| at),
                    settled: false,
                    held: None,
                    held_seconds: 0.0,
                    held_before_seconds: 0.0,
                    stuck: None,
                    who,
                    blind: None,
                    next: Next::default(),
                    opened: leg.change.at.interval,
                    conflicts,
                })
            }),
            causes,
        });
    }
}

/// The image that the template named when a commit changed a ConfigMap, or when it got its number of pods.
fn ran(leg: &RevisionLeg<'_>, inputs: &Inputs<'_>) -> Option<ImageRef> {
    let versions = &inputs.workload.versions;
    let at = leg.scaled(inputs).map_or(leg.change.at.interval, |(ours, _)| ours);
    let before = |version: &&super::workload::Version| version.ours.not_before <= at.not_after;
    versions.iter().rev().find(before).or(versions.first())?.image(inputs.container)
}

/// The image that a revision travels with: what git names, unless that is only a name for what a kustomization puts
/// in its place.
fn shown(leg: &RevisionLeg<'_>, inputs: &Inputs<'_>) -> Option<ImageRef> {
    let runs = |image: &ImageRef| {
        let read = |version: &super::workload::Version| {
            version.read(inputs.container).is_some_and(|read| read.repository == image.repository)
        };
        inputs.workload.versions.iter().any(read)
    };
    let named = leg.change.after.as_ref();
    named.filter(|image| runs(image)).cloned().or_else(|| ran(leg, inputs)).or_else(|| named.cloned())
}

/// Contradictions between a cluster's clock and ours, in the versions that carry a leg.
fn contradictions(first: Option<usize>, last: usize, inputs: &Inputs<'_>) -> u32 {
    first.map_or(0, |first| inputs.workload.versions[first..=last].iter().map(|v| v.conflicts).sum())
}

fn outcome(leg: &Leg<'_>, stages: &Stages, inputs: &Inputs<'_>) -> (Option<Outcome>, Option<Interval>) {
    if let Some((outcome, at)) = leg.ended {
        return (Some(outcome), Some(at));
    }
    if let Some(live) = stages.evidence(Stage::Live) {
        return (Some(Outcome::Live), Some(live.interval));
    }
    if let Some((failed, _)) = leg.failed(inputs) {
        return (Some(Outcome::Failed), Some(failed));
    }
    match inputs.workload.removed {
        Some(removed) => (Some(Outcome::Removed), Some(removed.interval)),
        None => (None, None),
    }
}

/// The commit landing, else the template change.
fn intent(leg: &Leg<'_>, inputs: &Inputs<'_>) -> Option<Interval> {
    let version = leg.version.map(|version| &inputs.workload.versions[version]);
    match (leg.commit, version) {
        (None, version) => version.map(|version| version.changed.interval),
        (Some(_), _) => intent_on_our_clock(leg, inputs),
    }
}

/// Who pushed the commit told the second.
fn told(intent: Interval, leg: &Leg<'_>, stages: &Stages) -> Interval {
    let committed = stages.evidence(Stage::Committed).filter(|_| leg.commit.is_some());
    let told = committed.filter(|committed| committed.basis == Basis::StatusField);
    told.and_then(|told| told.interval.intersect(intent)).unwrap_or(intent)
}

/// The same where it is compared with other sources.
fn intent_on_our_clock(leg: &Leg<'_>, inputs: &Inputs<'_>) -> Option<Interval> {
    let applied = leg.version.map(|version| inputs.workload.versions[version].ours);
    match (leg.commit, applied) {
        (Some(commit), Some(applied)) => {
            // A commit lands before its template; what the poll's width leaves open, the template narrows.
            let until = commit.at.interval.not_after.min(applied.not_after);
            Some(Interval::new(commit.at.interval.not_before, until.max(commit.at.interval.not_before)))
        }
        (Some(commit), None) => Some(commit.at.interval),
        (None, applied) => applied,
    }
}

/// When we learned of the intent, on our clock: the commit at the latest with its template.
fn intent_learned(leg: &Leg<'_>, inputs: &Inputs<'_>) -> Option<Time> {
    let template = leg.version.map(|version| inputs.workload.versions[version].learned);
    let commit = leg.commit.map(|change| change.at.interval.not_after);
    match (commit, template) {
        (Some(commit), Some(template)) => Some(commit.min(template)),
        (commit, template) => commit.or(template),
    }
}

#[expect(clippy::too_many_arguments, reason = "the precedence of triggers reads all that is known")]
fn trigger(
    key: &DestinationKey,
    leg: &Leg<'_>,
    at: usize,
    desires: &Desires<'_>,
    inputs: &Inputs<'_>,
    destination: &Destination,
    rules: &Rules,
    seen: &Seen,
    stages: &Stages,
) -> Trigger {
    let goes_back = leg.previous.is_some_and(|previous| leg.rank < desires.legs[previous].rank);
    let rolled_back = match leg.selection.filter(|selection| !selection.hinted) {
        // Its own order tells back from forth, wherever else the image was desired before.
        Some(selection) => selection.lowered && leg.rank < at,
        None => {
            goes_back
                && (leg.version.is_some_and(|version| inputs.workload.is_reused(version))
                    || leg.commit.is_some_and(|it| it.reverts || reads_as_revert(&it.commit.subject))
                    || leg.selection.is_some())
        }
    };
    if rolled_back {
        return Trigger::Rollback;
    }
    let intent = intent_on_our_clock(leg, inputs);
    let rank = promotion_rank(&destination.environment, rules);
    let mut elsewhere = seen.get(&image_key(leg)).into_iter().flatten().filter(|(other, _)| *other != key);
    let promoted = rank.zip(intent_learned(leg, inputs)).is_some_and(|(rank, learned)| {
        elsewhere.any(|(_, at)| {
            at.rank.is_some_and(|other| other < rank) && at.live.is_some_and(|live| live <= learned)
        })
    });
    if promoted {
        return Trigger::Promotion;
    }
    let fresh = stages.evidence(Stage::Pushed).is_some_and(|pushed| pushed.interval.is_bounded());
    let marked = leg.commit.is_some_and(|change| change.marker.is_some()) && fresh;
    // An image that comes back here was not pushed for this.
    let first_time = leg.previous.is_none_or(|previous| leg.rank > previous);
    match (leg.selection, leg.commit) {
        (Some(_), _) => Trigger::Push,
        (None, Some(_)) if marked && first_time && !desired_before(key, leg, intent, seen) => Trigger::Push,
        (None, Some(_)) => Trigger::Commit,
        // An artifact brought it, without git.
        (None, None) if stages.evidence(Stage::Fetched).is_some() && fresh && first_time => Trigger::Push,
        (None, None) => Trigger::OutOfBand,
    }
}

fn reads_as_revert(subject: &str) -> bool {
    subject.starts_with("Revert ") || subject.starts_with("revert:") || subject.starts_with("revert(")
}

/// Another destination desired this image before this one's intent.
fn desired_before(key: &DestinationKey, leg: &Leg<'_>, intent: Option<Interval>, seen: &Seen) -> bool {
    let Some(intent) = intent else { return false };
    seen.get(&image_key(leg))
        .into_iter()
        .flatten()
        .any(|(other, at)| other != key && at.desired < intent.not_before)
}

/// Where `image_to_live` starts, if this journey counts for it.
fn clock_start(
    key: &DestinationKey,
    leg: &Leg<'_>,
    index: usize,
    trigger: Trigger,
    intent: Option<Interval>,
    stages: &Stages,
    seen: &Seen,
) -> Option<Interval> {
    let pushed = stages.evidence(Stage::Pushed)?.interval;
    if !pushed.is_bounded() {
        return None;
    }
    match trigger {
        // A rule that came to select it only after the push starts the clock then.
        Trigger::Push if leg.selection.is_some() || leg.commit.is_some() => Some(match leg.selection {
            Some(selection) if selection.at.interval.not_before > pushed.not_after => selection.at.interval,
            _ => pushed,
        }),
        Trigger::Push | Trigger::Commit | Trigger::OutOfBand => {
            let waited = Sample::between(pushed, intent?)?.seconds;
            let fresh = waited < FRESH_PUSH_SECONDS && leg.rank == index;
            (fresh && !desired_before(key, leg, intent, seen)).then_some(pushed)
        }
        Trigger::Rollback | Trigger::Promotion => None,
    }
}
