//! From legs to journeys: stages with their evidence, trigger, outcome, and where the clock starts.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::destination::{DestinationKey, promotion_rank};
use super::evidence::narrow;
use super::git::Slot;
use super::journey::{Destination, Journey, JourneyId, Outcome, Subject, Trigger};
use super::leg::{Leg, committed};
use super::legs::{Desires, Inputs};
use super::revisions::RevisionLeg;
use super::sample::Sample;
use super::stage::{Evidence, Stage, StageState, Stages};
use crate::image::{Digest, ImageRef};
use crate::observation::{Basis, Interval, Rules, Time, WorkloadKind};

/// A commit or a template change this long after the push still counts as its consequence (`fresh_push`).
const FRESH_PUSH_SECONDS: f64 = 3600.0;

/// When each destination first desired an image, and when it was live there.
pub type Seen = BTreeMap<ImageKey, BTreeMap<DestinationKey, SeenAt>>;

/// Identity of an image across destinations: its digest, else its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Debug, Clone)]
pub struct Draft {
    /// Absent where a settled one has a cause of it: that one is final, whatever would come of it now.
    pub journey: Option<Journey>,
    /// Durable causes; two drafts with a common one are the same journey.
    pub causes: Vec<String>,
    /// Index into the drafts of the one whose budget this one inherits.
    pub previous: Option<usize>,
    /// First and last version that carry it.
    pub versions: Option<(usize, usize)>,
    /// A write of a ConfigMap applies it.
    pub by_config_map: bool,
}

/// See [`ImageKey`].
#[must_use]
pub fn image_key(leg: &Leg) -> ImageKey {
    match &leg.digest {
        Some(digest) => ImageKey::Digest(digest.clone()),
        None => ImageKey::Text(leg.image.clone()),
    }
}

/// Derives the journeys of one destination, oldest first.
#[must_use]
pub fn derive(
    key: &DestinationKey,
    destination: &Destination,
    desires: &Desires,
    inputs: &Inputs<'_>,
    rules: &Rules,
    seen: &Seen,
    settled: &HashSet<&str>,
) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut index_of = BTreeMap::new();
    let mut used = BTreeMap::new();
    for (at, leg) in desires.legs.iter().enumerate().filter(|(_, leg)| !leg.baseline) {
        let causes = unique(causes(leg, inputs), &mut used);
        if causes.iter().any(|cause| settled.contains(cause.as_str())) {
            let previous = leg.previous.and_then(|previous| index_of.get(&previous).copied());
            let versions = leg.version.map(|first| (first, leg.until));
            index_of.insert(at, drafts.len());
            drafts.push(Draft { journey: None, previous, versions, by_config_map: false, causes });
            continue;
        }
        let mut stages = stages(leg, destination, inputs, rules);
        let conflicts = narrow(&mut stages) + contradictions(leg.version, leg.until, inputs);
        let ids: Vec<JourneyId> = causes.iter().map(|cause| id(key, cause)).collect();
        let intent = intent(leg, inputs);
        let trigger = trigger(key, leg, desires, inputs, destination, rules, seen, &stages);
        let claims = leg.digest.as_ref().and_then(|digest| inputs.registries.claims(digest));
        let (outcome, ended) = outcome(leg, &stages, inputs);
        index_of.insert(at, drafts.len());
        drafts.push(Draft {
            previous: leg.previous.and_then(|previous| index_of.get(&previous).copied()),
            versions: leg.version.map(|first| (first, leg.until)),
            by_config_map: false,
            journey: Some(Journey {
                id: ids.first().copied().unwrap_or(JourneyId(0)),
                aliases: ids.into_iter().skip(1).collect(),
                subject: Subject::Image,
                destination: destination.clone(),
                image: leg.image.clone(),
                digest: leg.digest.clone(),
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
                commit: leg.commit.as_ref().map(|change| change.commit.clone()),
                built_from: claims.and_then(|claims| claims.revision.clone()),
                stages,
                outcome,
                ended,
                settled: false,
                held: None,
                held_seconds: 0.0,
                stuck: None,
                blind: None,
                opened: leg.opened,
                conflicts,
            }),
            causes,
        });
    }
    drafts
}

/// Adds the journeys of revisions.
pub fn add_revisions(
    drafts: &mut Vec<Draft>,
    key: &DestinationKey,
    destination: &Destination,
    revisions: &[RevisionLeg],
    inputs: &Inputs<'_>,
) {
    let mut previous = None;
    for leg in revisions {
        let Some(image) = leg.change.after.clone().or_else(|| ran(leg, inputs)) else { continue };
        let mut stages = Stages::default();
        for stage in [Stage::Built, Stage::Pushed, Stage::Detected, Stage::Fetched] {
            stages.set(stage, StageState::Skipped);
        }
        let known = [
            (Stage::Committed, Some(leg.change.at)),
            (Stage::Applied, leg.applied(inputs)),
            (Stage::Started, leg.first(inputs, |version| &version.started)),
            (Stage::Ready, leg.first(inputs, |version| &version.ready)),
            (Stage::Live, leg.live(inputs)),
        ];
        for (stage, evidence) in known {
            stages.set(stage, evidence.map_or(StageState::Unknown, StageState::Known));
        }
        if leg.version.is_none() && leg.written.is_some() {
            // No template changed: nothing had to start.
            stages.set(Stage::Started, StageState::Skipped);
            stages.set(Stage::Ready, StageState::Skipped);
        }
        let conflicts = narrow(&mut stages);
        let cause = format!("revision {} {}", leg.change.commit.id, leg.change.commit.branch);
        let committed = stages.evidence(Stage::Committed).map(|at| at.interval);
        let live = stages.evidence(Stage::Live).map(|live| (Outcome::Live, live.interval));
        let removed = inputs.workload.removed.map(|removed| (Outcome::Removed, removed.interval));
        let end = leg.ended.or(live).or(removed);
        drafts.push(Draft {
            previous: previous.replace(drafts.len()),
            versions: leg.version.map(|first| (first, inputs.workload.versions.len() - 1)),
            by_config_map: leg.config_only,
            journey: Some(Journey {
                id: id(key, &cause),
                aliases: Vec::new(),
                subject: Subject::Revision,
                destination: destination.clone(),
                image,
                digest: None,
                trigger: if leg.change.reverts { Trigger::Rollback } else { Trigger::Commit },
                synthetic: false,
                clock_start: None,
                intent: committed,
                commit: Some(leg.change.commit.clone()),
                built_from: None,
                stages,
                outcome: end.map(|(outcome, _)| outcome),
                ended: end.map(|(_, at)| at),
                settled: false,
                held: None,
                held_seconds: 0.0,
                stuck: None,
                blind: None,
                opened: leg.change.at.interval,
                conflicts,
            }),
            causes: vec![cause],
        });
    }
}

/// The image that the template named when a commit changed a ConfigMap.
fn ran(leg: &RevisionLeg, inputs: &Inputs<'_>) -> Option<ImageRef> {
    let versions = &inputs.workload.versions;
    let before =
        |version: &&super::workload::Version| version.ours.not_before <= leg.change.at.interval.not_after;
    versions.iter().rev().find(before).or(versions.first())?.image(inputs.container)
}

/// Contradictions between a cluster's clock and ours, in the versions that carry a leg.
fn contradictions(first: Option<usize>, last: usize, inputs: &Inputs<'_>) -> u32 {
    first.map_or(0, |first| inputs.workload.versions[first..=last].iter().map(|v| v.conflicts).sum())
}

fn stages(leg: &Leg, destination: &Destination, inputs: &Inputs<'_>, rules: &Rules) -> Stages {
    let mut stages = Stages::default();
    let mut know = |stage: Stage, evidence: Option<Evidence>| {
        if let Some(evidence) = evidence {
            stages.set(stage, StageState::Known(evidence));
        }
    };
    let digest = leg.digest.as_ref();
    let pushed = digest.and_then(|digest| inputs.registries.presence(&leg.image.repository, digest));
    let built = digest
        .and_then(|digest| inputs.registries.claims(digest)?.created)
        .map(|created| Evidence { interval: built_at(created), basis: Basis::ImageCreated });
    know(Stage::Pushed, pushed);
    know(
        Stage::Built,
        built.filter(|built| {
            pushed.is_some_and(|pushed| built.interval.not_before <= pushed.interval.not_after)
        }),
    );
    know(Stage::Committed, committed(leg));
    know(Stage::Applied, leg.version.map(|version| inputs.workload.versions[version].changed));
    know(Stage::Started, leg.first_start(inputs));
    let live = leg.live(inputs);
    know(Stage::Live, live);
    if inputs.workload.now.key.kind == WorkloadKind::CronJob {
        stages.set(Stage::Ready, StageState::Skipped);
    } else {
        know(Stage::Ready, leg.first_ready(inputs));
    }
    stages.set(Stage::Fetched, StageState::Skipped);
    let path_known = rules.paths.iter().any(|path| path.environment == destination.environment);
    if leg.commit.is_none() && !path_known {
        stages.set(Stage::Committed, StageState::Skipped);
        stages.set(Stage::Detected, StageState::Skipped);
    }
    if live.is_some() {
        // Pods of that template ran before it was desired again: nothing had to start.
        for stage in [Stage::Started, Stage::Ready] {
            if stages.evidence(stage).is_none() {
                stages.set(stage, StageState::Skipped);
            }
        }
    }
    stages
}

/// A claimed time without a fraction was cut to its second.
fn built_at(created: Time) -> Interval {
    if created.0 % 1000 == 0 { Interval::second(created) } else { Interval::at(created) }
}

fn outcome(leg: &Leg, stages: &Stages, inputs: &Inputs<'_>) -> (Option<Outcome>, Option<Interval>) {
    if let Some((outcome, at)) = leg.ended {
        return (Some(outcome), Some(at));
    }
    if let Some(live) = stages.evidence(Stage::Live) {
        return (Some(Outcome::Live), Some(live.interval));
    }
    if let Some(failed) = leg.failed(inputs) {
        return (Some(Outcome::Failed), Some(failed));
    }
    match inputs.workload.removed {
        Some(removed) => (Some(Outcome::Removed), Some(removed.interval)),
        None => (None, None),
    }
}

/// The commit landing, else the template change.
fn intent(leg: &Leg, inputs: &Inputs<'_>) -> Option<Interval> {
    let version = leg.version.map(|version| &inputs.workload.versions[version]);
    match (&leg.commit, version) {
        (None, version) => version.map(|version| version.changed.interval),
        (Some(_), _) => intent_on_our_clock(leg, inputs),
    }
}

/// The same where it is compared with other sources.
fn intent_on_our_clock(leg: &Leg, inputs: &Inputs<'_>) -> Option<Interval> {
    let applied = leg.version.map(|version| inputs.workload.versions[version].ours);
    match (&leg.commit, applied) {
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
fn intent_learned(leg: &Leg, inputs: &Inputs<'_>) -> Option<Time> {
    let template = leg.version.map(|version| inputs.workload.versions[version].learned);
    let commit = leg.commit.as_ref().map(|change| change.at.interval.not_after);
    match (commit, template) {
        (Some(commit), Some(template)) => Some(commit.min(template)),
        (commit, template) => commit.or(template),
    }
}

#[expect(clippy::too_many_arguments, reason = "the precedence of triggers reads all that is known")]
fn trigger(
    key: &DestinationKey,
    leg: &Leg,
    desires: &Desires,
    inputs: &Inputs<'_>,
    destination: &Destination,
    rules: &Rules,
    seen: &Seen,
    stages: &Stages,
) -> Trigger {
    let goes_back = leg.previous.is_some_and(|previous| leg.rank < desires.legs[previous].rank);
    let said_so = leg.version.is_some_and(|version| inputs.workload.is_reused(version))
        || leg
            .commit
            .as_ref()
            .is_some_and(|change| change.reverts || reads_as_revert(&change.commit.subject))
        || leg.selection.is_some();
    if goes_back && said_so {
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
    let marked = leg.commit.as_ref().is_some_and(|change| change.marker) && fresh;
    // An image that comes back here was not pushed for this.
    let first_time = leg.previous.is_none_or(|previous| leg.rank > previous);
    match (&leg.selection, &leg.commit) {
        (Some(_), _) => Trigger::Push,
        (None, Some(_)) if marked && first_time && !desired_before(key, leg, intent, seen) => Trigger::Push,
        (None, Some(_)) => Trigger::Commit,
        (None, None) => Trigger::OutOfBand,
    }
}

fn reads_as_revert(subject: &str) -> bool {
    subject.starts_with("Revert ") || subject.starts_with("revert:") || subject.starts_with("revert(")
}

/// Another destination desired this image before this one's intent.
fn desired_before(key: &DestinationKey, leg: &Leg, intent: Option<Interval>, seen: &Seen) -> bool {
    let Some(intent) = intent else { return false };
    seen.get(&image_key(leg))
        .into_iter()
        .flatten()
        .any(|(other, at)| other != key && at.desired < intent.not_before)
}

/// Where `image_to_live` starts, if this journey counts for it.
fn clock_start(
    key: &DestinationKey,
    leg: &Leg,
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
        Trigger::Push => Some(match &leg.selection {
            Some(selection) if selection.at.interval.not_before > pushed.not_after => selection.at.interval,
            _ => pushed,
        }),
        Trigger::Commit | Trigger::OutOfBand => {
            let waited = Sample::between(pushed, intent?)?.seconds;
            let fresh = waited < FRESH_PUSH_SECONDS && leg.rank == index;
            (fresh && !desired_before(key, leg, intent, seen)).then_some(pushed)
        }
        Trigger::Rollback | Trigger::Promotion => None,
    }
}

/// The durable causes, the first one first: selection, commit, template.
fn causes(leg: &Leg, inputs: &Inputs<'_>) -> Vec<String> {
    let mut causes = Vec::new();
    // A namesake made later starts with the same words: what it was made with is a journey of its own.
    let made = leg.version.filter(|version| *version == 0).map(|first| &inputs.workload.versions[first]);
    let made = made.filter(|version| !version.backfill && !version.horizon);
    let made = made.map(|_| format!(" {}", inputs.workload.now.uid)).unwrap_or_default();
    if let Some(selection) = &leg.selection {
        let digest = selection.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        causes.push(format!("selection {} {digest}{made}", selection.image));
    }
    if let Some(change) = &leg.commit {
        let slot = match &change.slot {
            Slot::Container { .. } => "manifest",
            Slot::Kustomize { .. } => "kustomize",
            Slot::Text { .. } => "text",
            Slot::ConfigMap { .. } => "configmap",
        };
        causes.push(format!("commit {} {slot} {}{made}", change.commit.id, leg.image));
    }
    if let Some(version) = leg.version {
        let version = &inputs.workload.versions[version];
        causes.push(format!(
            "template {} {:016x} {}",
            version.generation, version.template.0, inputs.workload.now.uid
        ));
    }
    causes
}

/// The same cause may be there twice (a commit forced away and back, a tag deleted and selected again): each time
/// is another journey.
fn unique(mut causes: Vec<String>, used: &mut BTreeMap<String, u32>) -> Vec<String> {
    for cause in &mut causes {
        let times = used.entry(cause.clone()).or_default();
        *times += 1;
        if *times > 1 {
            cause.push_str(&format!(" again {times}"));
        }
    }
    causes
}

fn id(key: &DestinationKey, cause: &str) -> JourneyId {
    let mut hash = Sha256::new();
    for part in [&*key.cluster, key.workload.kind.as_str(), &key.workload.namespace, &key.workload.name] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(key.container.as_bytes());
    hash.update([0]);
    hash.update(cause.as_bytes());
    let bytes: [u8; 32] = hash.finalize().into();
    JourneyId(u64::from_be_bytes(bytes[..8].try_into().expect("eight of 32 bytes")))
}
