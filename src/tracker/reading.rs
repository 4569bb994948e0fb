//! Reading a workload's pods, Jobs and status: what started first, what was ready first, when a rollout was complete.

use std::sync::Arc;

use super::evidence::{merge, on_our_clock, own_time};
use super::pod_state::PodState;
use super::pods::{in_order, template_of, why};
use super::rollout;
use super::scale::{Reached, Scale, Scales, is_reached};
use super::stage::Evidence;
use super::tally::Tally;
use super::workload::{Complete, First, Firsts, Version, WorkloadState};
use crate::image::Digest;
use crate::observation::{Basis, Interval, Job, LiveWhen, TemplateHash, Time, Workload, WorkloadKind};

/// Times that one template became complete with other digests.
const COMPLETES_MAX: usize = 8;

impl WorkloadState {
    /// Reads starts, readiness and completion off the pods and the status. True if a version changed by it.
    pub fn refresh(&mut self, live_when: LiveWhen) -> bool {
        if self.now.key.kind == WorkloadKind::CronJob {
            let changed = self.refresh_jobs();
            self.news.ran = earliest(self.news.ran, changed.then_some(0));
            return changed;
        }
        let mut changed = self.news.read.take();
        let tally = match self.news.tally.take().filter(|tally| tally.template == self.now.template) {
            Some(tally) => tally,
            None => {
                let mut tally = Tally::new(self.now.template);
                for state in in_order(&self.pods) {
                    let template = template_of(&self.revisions, &self.now.uid, &state.pod);
                    tally.add(state, template);
                    if let Some(template) = template {
                        changed = earliest(changed, read_pod(&mut self.versions, template, state));
                    }
                    if template == Some(self.now.template) {
                        self.news.derive |= read_scale(&mut self.scales, &self.now, state);
                    }
                }
                tally
            }
        };
        if self.read_completion(&tally, live_when) {
            changed = earliest(changed, self.versions.len().checked_sub(1));
        }
        self.read_scale(&tally, live_when);
        self.news.tally = Some(tally);
        self.news.ran = earliest(self.news.ran, changed);
        changed.is_some()
    }

    fn read_completion(&mut self, tally: &Tally, live_when: LiveWhen) -> bool {
        let Some(at) = rollout::complete(&self.now, tally.ready, live_when, self.learned) else {
            return false;
        };
        let Some(version) = self.versions.last() else { return false };
        let known = version.completes.last().is_some_and(|last| tally.ran(&last.digests));
        if known || version.completes.len() >= COMPLETES_MAX {
            return false;
        }
        let youngest = self.ready().filter_map(|state| state.pod.ready).max();
        let learned = self.learned_of_ready();
        // Ready for a moment, and no more when the status said so: then it may have been complete as early as that.
        let said = version.said_complete.filter(|_| version.completes.is_empty());
        let from = said.map_or(learned.not_before, |said| said.not_before.min(learned.not_before));
        // Or with another number of pods, which it had while nobody watched.
        let came = version.ours.not_before;
        let under_it = |scale: &&Scale| version.completes.is_empty() && scale.ours.not_after >= came;
        let unwatched = self.scales.0.last().filter(under_it).and_then(|scale| scale.unwatched_since);
        let from = unwatched.map_or(from, |unwatched| unwatched.max(came).min(from));
        let learned = Interval::new(from, learned.not_after);
        let receipt = Evidence { interval: learned, basis: Basis::Watch };
        // The condition's own time is of the first completion; later ones have only our receipt. It stays when a
        // workload is scaled to zero and back: then its pods are younger.
        let own = at.basis == Basis::Condition
            && version.completes.is_empty()
            && at.interval.not_after >= version.changed.interval.not_before
            && youngest.is_none_or(|ready| ready <= at.interval.not_after);
        let until = Evidence { interval: Interval::until(learned.not_after), basis: Basis::Watch };
        let (at, conflict) = if own { merge(at, until) } else { (receipt, false) };
        if let Some(version) = self.versions.last_mut() {
            version.conflicts += u32::from(conflict);
            let ours = on_our_clock(at.interval, since(version.ours, learned));
            let digests = tally.digests();
            version.completes.push(Complete { at, ours, learned: learned.not_after, digests });
        }
        true
    }

    /// Whether it has as many pods as it is to have. Nothing but our receipt tells when.
    fn read_scale(&mut self, tally: &Tally, live_when: LiveWhen) {
        if self.scales.0.last().is_none_or(|scale| scale.backfill || scale.reached.is_some()) {
            return;
        }
        let complete = rollout::complete(&self.now, tally.ready, live_when, self.learned).is_some();
        if !is_reached(&self.now, complete) {
            return;
        }
        let interval = self.learned_of_ready();
        let Some(scale) = self.scales.0.last_mut() else { return };
        let ours = on_our_clock(interval, since(scale.ours, interval));
        scale.reached = Some(Reached { at: Evidence { interval, basis: Basis::Watch }, ours });
        self.news.derive = true;
    }

    /// Ready pods of the present template that are to stay.
    fn ready(&self) -> impl Iterator<Item = &PodState> {
        let present = |state: &&PodState| self.template_of(&state.pod) == Some(self.now.template);
        self.pods.values().filter(|state| counts(state) && state.pod.ready.is_some()).filter(present)
    }

    /// When the last was learned of what makes a rollout complete.
    fn learned_of_ready(&self) -> Interval {
        let later =
            |last: Interval, next: Interval| if next.not_after > last.not_after { next } else { last };
        self.ready().map(|state| state.learned).fold(self.learned, later)
    }

    /// A version of a CronJob starts, and is live, with the first container that one of its Jobs runs. A Job that
    /// succeeded ran one, even if we never saw its pod.
    fn refresh_jobs(&mut self) -> bool {
        let mut changed = false;
        let all = in_order(&self.pods);
        for (job, learned) in self.jobs.values() {
            let Some(version) = self.versions.iter_mut().rev().find(|version| runs(version, job)) else {
                continue;
            };
            let pods = all.iter().filter(|state| state.pod.owner.as_ref() == Some(&job.uid));
            let mut started = false;
            for state in pods {
                for container in state.pod.containers.iter().filter(|c| c.started.is_some()) {
                    let Some(at) = container.started else { continue };
                    let (at, conflict) = own_time(at, Basis::StatusField, state.learned);
                    let digest = state.digests.get(&container.name).and_then(|(_, digest)| digest.as_ref());
                    let ours = on_our_clock(at.interval, since(version.ours, state.learned));
                    let fresh = note_first(&mut version.started, &container.name, digest, at, ours);
                    version.conflicts += u32::from(conflict && fresh);
                    (started, changed) = (true, changed | fresh);
                }
            }
            if let Some(at) = job.started.filter(|_| job.succeeded && !started && version.started.is_empty())
            {
                let (at, _) = own_time(at, Basis::StatusField, *learned);
                let ours = on_our_clock(at.interval, since(version.ours, *learned));
                for (name, _) in &version.images {
                    changed |= note_first(&mut version.started, name, None, at, ours);
                }
                started = true;
            }
            if job.failed && !started && version.started.is_empty() {
                changed |= version.failed.is_none();
                version.failed.get_or_insert(*learned);
            }
            let first = version.started.values().flatten().min_by_key(|first| first.at.interval.not_after);
            let first = first.map(|first| (first.at, first.ours));
            if let Some((at, ours)) = first.filter(|_| version.completes.is_empty()) {
                let digests = version
                    .started
                    .iter()
                    .map(|(name, firsts)| (name.clone(), firsts.iter().map(|f| f.digest.clone()).collect()))
                    .collect();
                version.completes.push(Complete { at, ours, learned: learned.not_after, digests });
                changed = true;
            }
        }
        changed
    }
}

/// Notes what one pod of the present template did under the present number of pods.
pub fn read_scale(scales: &mut Scales, now: &Workload, state: &PodState) -> bool {
    now.containers.first().is_some_and(|first| scales.read(state, &first.name))
}

/// A pod that is to stay.
fn counts(state: &PodState) -> bool {
    !state.pod.deleting && !state.pod.finished
}

/// Of two versions, if any, the first.
#[must_use]
pub fn earliest(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// Notes what one pod started and when it was ready; the version for which that was news.
pub fn read_pod(versions: &mut [Version], template: TemplateHash, state: &PodState) -> Option<usize> {
    let mut carrying =
        versions.iter_mut().enumerate().rev().filter(|(_, version)| version.template == template);
    let (index, version) = carrying.next()?;
    // A pod from when the template was there before: only what it does from now on counts.
    let returns = state.since < version.learned && carrying.next().is_some();
    let mut changed = false;
    for container in &state.pod.containers {
        let digest = state.digests.get(&container.name).and_then(|(_, digest)| digest.as_ref());
        let waiting = container.waiting.filter(|waiting| why(*waiting).is_some());
        version.trouble = waiting.or(version.trouble);
        let ready = state.pod.ready.filter(|_| !state.pod.deleting);
        let did = [
            container.started.map(|at| (at, Basis::StatusField, Did::Start, state.told.0)),
            ready.map(|at| (at, Basis::Condition, Did::Ready, state.told.1)),
        ];
        for (time, basis, did, told) in did.into_iter().flatten() {
            let (mut at, conflict) = own_time(time, basis, state.learned);
            let mut ours = on_our_clock(at.interval, since(version.ours, state.learned));
            if returns && at.interval.not_before < version.changed.interval.not_after {
                changed |= doubt(version, at.interval, ours, told);
                continue;
            }
            if let Some(from) = version.doubted {
                begin(&mut at, &mut ours, from);
            }
            let firsts = match did {
                Did::Start => &mut version.started,
                Did::Ready => &mut version.ready,
            };
            let fresh = note_first(firsts, &container.name, digest, at, ours);
            version.conflicts += u32::from(conflict && fresh);
            changed |= fresh;
        }
    }
    changed.then_some(index)
}

/// What a container does that counts for its version.
#[derive(Clone, Copy)]
enum Did {
    Start,
    Ready,
}

/// What an older pod did may have been after its template came back: then it was the first of it. True if that was not
/// known.
fn doubt(version: &mut Version, at: Interval, ours: Interval, told: Time) -> bool {
    let came = version.changed.interval.not_before;
    if at.not_after.min(told) < came {
        return false;
    }
    let (own, our) = (at.not_before.max(came), ours.not_before.max(version.ours.not_before));
    let from = version.doubted.map_or((own, our), |known| (known.0.min(own), known.1.min(our)));
    if version.doubted.replace(from) == Some(from) {
        return false;
    }
    let Version { started, ready, .. } = version;
    for first in started.values_mut().chain(ready.values_mut()).flatten() {
        begin(&mut first.at, &mut first.ours, from);
    }
    true
}

/// Lets it begin no later than that, by its clock and by ours.
fn begin(at: &mut Evidence, ours: &mut Interval, from: (Time, Time)) {
    at.interval.not_before = at.interval.not_before.min(from.0);
    ours.not_before = ours.not_before.min(from.1);
}

/// A Job carries a version: same containers, same images, and not made before it, as far as the clocks tell.
fn runs(version: &Version, job: &Job) -> bool {
    let same = |(name, image): &(Arc<str>, Arc<str>)| {
        job.containers.iter().any(|c| c.name == *name && c.image == *image)
    };
    let after = job.created.is_none_or(|at| at + 999 >= version.changed.interval.not_before);
    version.images.iter().all(same) && (after || version.backfill)
}

/// When we learned of something that a template's pods did: not before the template.
fn since(template: Interval, learned: Interval) -> Interval {
    Interval::new(learned.not_before.max(template.not_before), learned.not_after)
}

/// Keeps the earliest start per digest; true if it was new or earlier. Where the digest became known, the one without
/// it goes, and the one with it is new.
fn note_first(
    firsts: &mut Firsts,
    container: &Arc<str>,
    digest: Option<&Digest>,
    at: Evidence,
    ours: Interval,
) -> bool {
    let list = firsts.entry(container, || Vec::with_capacity(1));
    if digest.is_some() {
        // The same container before its digest was known.
        list.retain(|first| first.digest.is_some() || first.at.interval.not_before != at.interval.not_before);
    }
    match list.iter_mut().find(|first| first.digest.as_ref() == digest) {
        None => {
            list.push(First { digest: digest.cloned(), at, ours });
            true
        }
        Some(first) if starts(at) < starts(first.at) => {
            (first.at, first.ours) = (at, ours);
            true
        }
        Some(_) => false,
    }
}

/// What of two may have been earlier, and where that is even, what was at the latest.
fn starts(at: Evidence) -> (Time, Time) {
    (at.interval.not_before, at.interval.not_after)
}
