//! What really happened in the clusters, read off the world itself at every moment. Observers have no part in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use knotmeter::image::{Digest, ImageRef};
use knotmeter::observation::{ObjectKey, PodContainer, Strategy, TemplateHash, WorkloadKind};

use crate::journeys::case::Case;
use crate::journeys::cluster::Cluster;
use crate::journeys::text::{digest, image};
use crate::journeys::workload::{Made, Running};

use super::hands::Hands;

/// Git is looked at so often at least.
const SLOWEST_LOOK: i64 = 20_000;

/// What each container runs.
type Runs = BTreeMap<Arc<str>, BTreeSet<Digest>>;

/// See the file's front line.
#[derive(Debug, Default)]
pub struct Truth {
    /// By cluster UID and key: the spells of each template, in order.
    pub places: BTreeMap<(Arc<str>, ObjectKey), Vec<Spell>>,
    /// When which digest came under which reference.
    pub pushes: Vec<(i64, ImageRef, Digest)>,
    /// By cluster UID and key: each number of pods, in order.
    pub scales: BTreeMap<(Arc<str>, ObjectKey), Vec<Scaled>>,
    pub commits: BTreeMap<String, i64>,
    /// When main said which number of pods of `NAMESPACE/NAME`.
    pub numbers: BTreeMap<String, Vec<(i64, i64)>>,
    /// Largest difference between each cluster's clock and ours.
    pub offsets: BTreeMap<Arc<str>, i64>,
    /// Cluster UIDs and when each could not be seen.
    pub outages: Vec<(Arc<str>, i64, i64)>,
    /// Pods ran what their image never meant: no such story is true. Only cutting lines out of one does that.
    pub impossible: Option<String>,
    pub hands: Hands,
    pods: BTreeMap<Arc<str>, Known>,
}

/// A time during which a workload had one template.
#[derive(Debug)]
pub struct Spell {
    pub at: i64,
    pub until: Option<i64>,
    uid: Arc<str>,
    template: TemplateHash,
    pub images: Vec<(Arc<str>, Arc<str>)>,
    /// It was there before anybody looked.
    pub before: bool,
    /// Containers that started with it: name, digest, when.
    pub started: Vec<(Arc<str>, Digest, i64)>,
    /// Containers of pods that became ready with it.
    pub ready: Vec<(Arc<str>, Digest, i64)>,
    /// When the rollout was complete, and what each container ran then.
    pub complete: Vec<(i64, Runs)>,
    /// When a pod of it was no longer ready or its container ended.
    pub lost: Vec<i64>,
    /// The workload was deleted during it.
    pub removed: bool,
}

/// A time during which a workload was to have this many pods.
#[derive(Debug)]
pub struct Scaled {
    pub at: i64,
    uid: Arc<str>,
    pub replicas: i64,
    /// It was written with the manifest, after another one.
    pub by_manifest: bool,
    /// So many pods of the present template were ready, and no other was there.
    pub reached: Option<i64>,
}

#[derive(Debug)]
struct Known {
    started: BTreeMap<Arc<str>, Option<i64>>,
    ready: bool,
    deleting: bool,
    workload: Arc<str>,
    template: TemplateHash,
}

impl Known {
    /// A container that was running is not any more.
    fn ended(&self, made: &Made) -> bool {
        let ended = |container: &PodContainer| {
            container.started.is_none() && self.started.get(&container.name).is_some_and(Option::is_some)
        };
        made.pod.containers.iter().any(ended)
    }
}

impl Truth {
    /// What the lines of a story say by themselves.
    pub fn of(case: &Case) -> Self {
        let mut truth = Self::default();
        let mut down: BTreeMap<&str, i64> = BTreeMap::new();
        for line in &case.facts {
            let at = line.at.unwrap_or_default();
            let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
            truth.hands.read(at, &words);
            match words.as_slice() {
                ["push" | "copy", name, "=", word, ..] => {
                    truth.pushes.extend(image(name).ok().map(|image| (at, image, digest(word))));
                }
                ["commit" | "force-push", id, said @ ..] => {
                    truth.commits.insert((*id).to_owned(), at);
                    truth.read_numbers(at, said);
                }
                [cluster, "clock", offset] => {
                    let offset = crate::journeys::text::millis(offset).unwrap_or_default().abs();
                    let known = truth.offsets.entry(uid_of(cluster)).or_default();
                    *known = offset.max(*known);
                }
                [cluster, "down", ..] => drop(down.entry(cluster).or_insert(at)),
                [cluster, "up" | "relist"] => {
                    if let Some(from) = down.remove(cluster) {
                        truth.outages.push((uid_of(cluster), from, at));
                    }
                }
                _ => {}
            }
        }
        truth.outages.extend(down.into_iter().map(|(cluster, from)| (uid_of(cluster), from, case.end())));
        truth
    }

    fn read_numbers(&mut self, at: i64, said: &[&str]) {
        for file in said.split(|word| *word == ";") {
            let name = file.iter().find_map(|word| word.strip_suffix(".yaml"));
            let number = file.iter().find_map(|word| word.strip_prefix("replicas=")?.parse().ok());
            if let Some((name, number)) = name.zip(number) {
                self.numbers.entry(name.to_owned()).or_default().push((at, number));
            }
        }
    }

    /// Main said this number then, and no other around that: a look shows it for certain.
    pub fn showed(&self, key: &ObjectKey, replicas: i64, by: i64) -> bool {
        let said = self.numbers.get(&format!("{}/{}", key.namespace, key.name)).map_or(&[][..], |said| said);
        let Some((at, number)) = said.iter().rfind(|(at, _)| *at <= by) else { return false };
        let alone = |other: i64| other == *at || (other - at).abs() > SLOWEST_LOOK;
        *number == replicas && said.iter().all(|(other, _)| alone(*other))
    }

    /// Something happened in the clusters.
    pub fn note(&mut self, now: i64, clusters: &BTreeMap<String, Cluster>) {
        for cluster in clusters.values() {
            for (key, running) in &cluster.workloads {
                self.note_workload(now, (cluster.uid.clone(), key.clone()), running);
            }
            let gone = |(uid, key): &(Arc<str>, ObjectKey)| {
                *uid == cluster.uid && !cluster.workloads.contains_key(key)
            };
            for (_, spells) in self.places.iter_mut().filter(|(place, _)| gone(place)) {
                if let Some(spell) = spells.last_mut().filter(|spell| !spell.removed) {
                    spell.until.get_or_insert(now);
                    spell.removed = true;
                }
            }
        }
    }

    /// The tag came to mean another image.
    pub fn moved(&self, image: &str) -> bool {
        self.pushes.iter().filter(|(_, pushed, _)| pushed.to_string() == *image).count() > 1
    }

    fn note_scale(&mut self, now: i64, place: (Arc<str>, ObjectKey), running: &Running) {
        let is = &running.is;
        let scales = self.scales.entry(place).or_default();
        if scales.last().is_none_or(|last| (&last.uid, last.replicas) != (&is.uid, is.replicas)) {
            let by_manifest =
                is.replicas_written.is_some() && scales.last().is_some_and(|last| last.uid == is.uid);
            let (uid, replicas) = (is.uid.clone(), is.replicas);
            scales.push(Scaled { at: now, uid, replicas, by_manifest, reached: None });
        }
        let alive =
            running.pods.iter().filter(|made| !made.pod.deleting && !made.pod.finished).count() as i64;
        let seen = is.observed_generation >= is.generation;
        let all = alive == is.replicas && seen && (is.replicas == 0 || complete(running).is_some());
        if let Some(last) = scales.last_mut().filter(|_| all) {
            last.reached.get_or_insert(now);
        }
    }

    fn note_workload(&mut self, now: i64, place: (Arc<str>, ObjectKey), running: &Running) {
        let is = &running.is;
        self.note_scale(now, place.clone(), running);
        let spells = self.places.entry(place).or_default();
        let same = |spell: &Spell| spell.uid == is.uid && spell.template == is.template;
        if !spells.last().is_some_and(same) {
            if let Some(last) = spells.last_mut() {
                last.until.get_or_insert(now);
            }
            spells.push(Spell::new(now, running));
        }
        for made in &running.pods {
            // A pod of a Job starts when it is made.
            let template = made.revision.map_or(is.template, |at| running.revisions[at].template);
            let known = self.pods.entry(made.pod.uid.clone()).or_insert_with(|| Known {
                started: BTreeMap::new(),
                ready: false,
                deleting: false,
                workload: is.uid.clone(),
                template,
            });
            let became_ready = made.pod.ready.is_some() && !known.ready;
            let leaves = made.pod.deleting && !known.deleting;
            let lost = leaves || made.pod.ready.is_none() && known.ready || known.ended(made);
            known.deleting = made.pod.deleting;
            known.ready = made.pod.ready.is_some();
            let spell =
                spells.iter_mut().rev().find(|spell| spell.uid == is.uid && spell.template == template);
            let Some(spell) = spell else { continue };
            spell.lost.extend(lost.then_some(now));
            for container in &made.pod.containers {
                let Some(digest) = &container.running else { continue };
                let started = container.started.map(|at| at.0);
                let first = known.started.insert(container.name.clone(), started) != Some(started);
                if first && started.is_some() {
                    spell.started.push((container.name.clone(), digest.clone(), now));
                    if !meant(&self.pushes, &container.image, digest, now) {
                        self.impossible = Some(format!("{} does not mean {digest}", container.image));
                    }
                }
                if became_ready {
                    spell.ready.push((container.name.clone(), digest.clone(), now));
                }
            }
        }
        let there: BTreeSet<&Arc<str>> = running.pods.iter().map(|made| &made.pod.uid).collect();
        let gone = |uid: &Arc<str>, known: &Known| known.workload == is.uid && !there.contains(uid);
        for (_, gone) in self.pods.iter().filter(|(uid, known)| gone(uid, known)) {
            let carries = |spell: &&mut Spell| spell.uid == is.uid && spell.template == gone.template;
            if let Some(spell) = spells.iter_mut().rev().find(carries) {
                spell.lost.push(now);
            }
        }
        self.pods.retain(|uid, known| !gone(uid, known));
        let Some(spell) = spells.last_mut() else { return };
        let runs = if is.key.kind == WorkloadKind::CronJob { spell.first_job() } else { complete(running) };
        if let Some(runs) = runs
            && spell.complete.last().is_none_or(|(_, last)| *last != runs)
        {
            spell.complete.push((now, runs));
        }
    }
}

impl Spell {
    fn new(now: i64, running: &Running) -> Self {
        let containers = running.is.containers.iter();
        Self {
            at: now,
            until: None,
            uid: running.is.uid.clone(),
            template: running.is.template,
            images: containers.map(|spec| (spec.name.clone(), spec.image.clone())).collect(),
            before: now == 0,
            started: Vec::new(),
            ready: Vec::new(),
            complete: Vec::new(),
            lost: Vec::new(),
            removed: false,
        }
    }

    /// A CronJob is complete with the first containers that a Job of the template started.
    fn first_job(&self) -> Option<Runs> {
        let first = self.started.first()?.2;
        let mut runs = Runs::new();
        for (name, digest, _) in self.started.iter().filter(|(.., at)| *at == first) {
            runs.entry(name.clone()).or_default().insert(digest.clone());
        }
        Some(runs)
    }

    /// What the template says for a container.
    pub fn image(&self, container: &str) -> Option<&Arc<str>> {
        self.images.iter().find(|(name, _)| **name == *container).map(|(_, image)| image)
    }
}

/// Every pod that is to be there runs the present template and is ready, and none runs another: what they run.
fn complete(running: &Running) -> Option<Runs> {
    let is = &running.is;
    let current = running.current?;
    let alive: Vec<_> = running.pods.iter().filter(|made| !made.pod.deleting && !made.pod.finished).collect();
    let kept = matches!(is.strategy, Strategy::Rolling { partition } if partition > 0);
    let all = is.replicas > 0
        && alive.len() as i64 >= is.replicas
        // Of numbered pods the surplus goes first, and those that stay may not be made.
        && (is.key.kind != WorkloadKind::StatefulSet || alive.len() as i64 == is.replicas)
        && running.revisions[current].template == is.template
        && is.observed_generation >= is.generation
        && !(kept && is.update_revision != is.current_revision)
        && alive.iter().all(|made| made.revision == Some(current) && made.pod.ready.is_some());
    let mut runs = Runs::new();
    for container in alive.iter().flat_map(|made| &made.pod.containers) {
        runs.entry(container.name.clone()).or_default().extend(container.running.clone());
    }
    all.then_some(runs)
}

/// The image of that text was that digest at some time until now.
fn meant(pushes: &[(i64, ImageRef, Digest)], text: &str, digest: &Digest, now: i64) -> bool {
    let Ok(image) = text.parse::<ImageRef>() else { return false };
    pushes.iter().any(|(at, pushed, means)| *at <= now && *pushed == image && means == digest)
}

fn uid_of(cluster: &str) -> Arc<str> {
    format!("uid-{cluster}").into()
}
