//! Who makes things happen: developers push and commit, an applier applies, operators meddle.

use super::flux::Turn;
use super::story::{Manifest, Telling};
use super::workload::{Kind, Load};

/// Something that will be tried at its time.
#[derive(Debug, Clone)]
pub enum Act {
    Release,
    Meddle,
    Push {
        repository: &'static str,
        tag: String,
    },
    Commit {
        repository: &'static str,
        tag: String,
        environments: &'static [&'static str],
    },
    Revert,
    Apply {
        environment: &'static str,
    },
    Roll {
        load: usize,
        roll: u32,
    },
    Start {
        load: usize,
        pod: String,
    },
    Ready {
        load: usize,
        pod: String,
    },
    Crash {
        load: usize,
        pod: String,
    },
    Gone {
        load: usize,
        pod: String,
    },
    Resume {
        load: usize,
    },
    Scale {
        load: usize,
        replicas: usize,
    },
    Partition {
        load: usize,
    },
    MakeAgain {
        load: usize,
    },
    Job {
        load: usize,
    },
    JobEnds {
        load: usize,
        job: String,
    },
    /// Somebody commits another number of pods.
    Resize,
    Flux(Turn),
}

impl Telling {
    pub fn act(&mut self, act: Act) {
        match act {
            Act::Release => self.release(),
            Act::Meddle => self.meddle(),
            Act::Push { repository, tag } => self.push(repository, &tag),
            Act::Commit { repository, tag, environments } => self.update(repository, &tag, environments),
            Act::Revert => self.revert(),
            // What was committed before Flux was there is applied.
            Act::Apply { .. } if self.flux.is_some() => {}
            Act::Apply { environment } => self.apply(environment),
            Act::Roll { load, roll } => self.roll(load, roll),
            Act::Start { load, pod } => self.start(load, &pod),
            Act::Ready { load, pod } => self.ready(load, &pod),
            Act::Crash { load, pod } => self.crash(load, &pod),
            Act::Gone { load, pod } if self.loads[load].there => self.tell_pod(load, &pod, "gone"),
            Act::Gone { .. } => {}
            Act::Resume { load } => self.resume(load),
            Act::Scale { load, replicas } => self.scale(load, replicas),
            Act::Partition { load } => self.partition(load, 0),
            Act::MakeAgain { load } => self.write_template(load, "applier"),
            Act::Resize => self.resize(),
            Act::Flux(turn) => self.flux(turn),
            Act::Job { load } => self.job(load),
            Act::JobEnds { load, job } => {
                let key = self.loads[load].key();
                let cluster = self.loads[load].cluster;
                self.tell(format!("{cluster} job {key} {job} succeeded"));
            }
        }
    }

    /// A new tag points to an image of its own.
    pub fn push(&mut self, repository: &'static str, tag: &str) {
        self.number += 1;
        let word = format!("{}{}", repository.rsplit('/').next().unwrap_or(repository), self.number);
        self.tags.insert((repository, tag.to_owned()), word.clone());
        self.tell(format!("push r.io/{repository}:{tag} = {word}"));
    }

    /// One more version, and how it goes on.
    fn release(&mut self) {
        let repositories: Vec<&'static str> = self.versions.keys().copied().collect();
        let repository = *self.random.pick(&repositories);
        let versions = self.versions.entry(repository).or_default();
        let tag = format!("1.{}.0", versions.len());
        versions.push(tag.clone());
        if self.random.percent(12) {
            self.broken.insert((repository, tag.clone()));
        }
        let both: &'static [&'static str] = &["staging", "prod"];
        let commit = |environments| Act::Commit { repository, tag: tag.clone(), environments };
        match self.random.below(10) {
            // Flux finds it by itself.
            at if self.flux.is_some() && (at < 7 || self.weather.healthy) => self.push(repository, &tag),
            // Nobody commits it.
            0 => self.push(repository, &tag),
            // Committed before it is there: pods cannot pull it yet.
            1 => {
                self.later(5000, 30_000, Act::Push { repository, tag: tag.clone() });
                self.act(commit(both));
            }
            2..=5 => {
                self.push(repository, &tag);
                self.later(500, 15_000, commit(both));
            }
            _ => {
                self.push(repository, &tag);
                self.later(500, 15_000, commit(&both[..1]));
                self.later(10_000, 60_000, commit(&both[1..]));
            }
        }
    }

    /// What main says now.
    fn tip(&self) -> Vec<Manifest> {
        self.commits.last().map(|(_, tree)| tree.clone()).unwrap_or_default()
    }

    /// The updater sets a tag wherever the repository is used.
    fn update(&mut self, repository: &'static str, tag: &str, environments: &[&'static str]) {
        let mut tree = self.tip();
        for (load, manifest) in self.loads.iter().zip(&mut tree) {
            for (part, known) in load.parts.iter().zip(&mut manifest.tags) {
                if part.repository == repository && environments.contains(&load.environment) {
                    tag.clone_into(known);
                }
            }
        }
        self.commit(tree, "by=updater");
    }

    fn revert(&mut self) {
        let [.., (_, before), (last, _)] = self.commits.as_slice() else { return };
        let (tree, options) = (before.clone(), format!("by=dev reverts={last}"));
        self.commit(tree, &options);
    }

    /// Writes what differs; the appliers hear of it.
    pub fn commit(&mut self, tree: Vec<Manifest>, options: &str) {
        let parts = self.difference(&self.tip(), &tree);
        if !parts.is_empty() {
            let id = format!("c{}", self.number);
            self.number += 1;
            self.tell(format!("commit {id} {} {options}", parts.join(" ; ")));
            self.committed(id, tree);
        }
    }

    fn committed(&mut self, id: String, tree: Vec<Manifest>) {
        self.commits.push((id, tree));
        if self.flux.is_some() {
            return;
        }
        for environment in ["staging", "prod"] {
            self.later(300, 20_000, Act::Apply { environment });
        }
    }

    /// The files that differ, as a line has them.
    fn difference(&self, tip: &[Manifest], tree: &[Manifest]) -> Vec<String> {
        let mut parts = Vec::new();
        for (at, load) in self.loads.iter().enumerate().filter(|(at, _)| tip.get(*at) != tree.get(*at)) {
            let kind = match load.kind {
                Kind::Deployment => "deployment",
                Kind::StatefulSet => "statefulset",
                Kind::DaemonSet => "daemonset",
                Kind::CronJob => "cronjob",
            };
            let (environment, name) = (load.environment, load.name);
            let set: Vec<String> = load
                .parts
                .iter()
                .zip(&tree[at].tags)
                .map(|(part, tag)| format!("{}=r.io/{}:{tag}", part.name, part.repository))
                .collect();
            // One file for each cluster: their manifests are the same, so only one is written.
            if self.loads[..at].iter().any(|other| other.file() == load.file()) {
                continue;
            }
            let (set, text, marker) = (set.join(" "), tree[at].text, self.marker(at));
            let replicas =
                tree[at].replicas.map_or(String::new(), |replicas| format!(" replicas={replicas}"));
            parts.push(format!(
                "{environment}/{name}.yaml {kind}/{name} {set} marker={marker} manifest=m{text}{replicas}"
            ));
        }
        parts
    }

    /// Another variable in the environment of a container.
    fn configure(&mut self, at: usize) {
        let mut tree = self.tip();
        self.number += 1;
        for (load, manifest) in self.loads.iter().zip(&mut tree) {
            if load.file() == self.loads[at].file() {
                manifest.text = self.number;
            }
        }
        self.commit(tree, "by=dev");
    }

    /// Another number of pods, alone or with another variable.
    fn resize(&mut self) {
        let scales = |load: &Load| matches!(load.kind, Kind::Deployment | Kind::StatefulSet);
        let some: Vec<usize> = (0..self.loads.len()).filter(|at| scales(&self.loads[*at])).collect();
        if some.is_empty() {
            return;
        }
        let at = *self.random.pick(&some);
        let replicas = self.random.below(5);
        let replicas = if self.weather.healthy { replicas.max(1) } else { replicas };
        let also = self.random.percent(15);
        let mut tree = self.tip();
        self.number += 1;
        for (load, manifest) in self.loads.iter().zip(&mut tree) {
            if load.file() == self.loads[at].file() {
                manifest.replicas = Some(replicas);
                manifest.text = if also { self.number } else { manifest.text };
            }
        }
        self.commit(tree, "by=dev");
    }

    /// Somebody takes commits back and puts another one in their place.
    fn force_push(&mut self, at: usize) {
        if self.commits.len() < 3 {
            return;
        }
        let base = self.random.below(self.commits.len() - 1);
        let (onto, before) = self.commits[base].clone();
        let repository = self.loads[at].parts[0].repository;
        let tag = self.random.pick(&self.versions[repository]).clone();
        let mut tree = before.clone();
        for (load, manifest) in self.loads.iter().zip(&mut tree) {
            if load.file() == self.loads[at].file() {
                manifest.tags[0].clone_from(&tag);
            }
        }
        let parts = self.difference(&before, &tree);
        if !parts.is_empty() {
            let id = format!("c{}", self.number);
            self.number += 1;
            self.commits.truncate(base + 1);
            self.tell(format!("force-push {id} to {onto} {}", parts.join(" ; ")));
            self.committed(id, tree);
        }
    }

    /// A tag comes to mean another image.
    fn move_tag(&mut self) {
        let known: Vec<(&'static str, String)> = self.tags.keys().cloned().collect();
        let (repository, tag) = self.random.pick(&known).clone();
        self.push(repository, &tag);
    }

    /// The applier writes what main says now, where that is another word than it wrote last.
    fn apply(&mut self, environment: &str) {
        for (at, manifest) in self.tip().iter().enumerate() {
            if self.loads[at].environment == environment {
                self.apply_to(at, manifest);
            }
        }
    }

    pub fn apply_to(&mut self, at: usize, manifest: &Manifest) {
        if self.applied[at] == *manifest || !self.loads[at].there {
            return;
        }
        self.applied[at].clone_from(manifest);
        let before = self.loads[at].template();
        self.loads[at].text = manifest.text;
        for (part, tag) in self.loads[at].parts.iter_mut().zip(&manifest.tags) {
            part.tag.clone_from(tag);
        }
        let load = &mut self.loads[at];
        let replicas = manifest.replicas.filter(|replicas| *replicas != load.replicas);
        load.replicas = replicas.unwrap_or(load.replicas);
        // What is not written stays as it is, and a manifest is written at once.
        match (load.template() == before, replicas) {
            (true, None) if manifest.replicas.is_some() => {}
            (true, Some(replicas)) => {
                let line = format!("{} scale {} {replicas}", load.cluster, load.key());
                self.tell(line);
                self.again(at);
            }
            (_, None) => self.write_template(at, "applier"),
            (false, Some(_)) => self.write_manifest(at, "applier"),
        }
    }

    /// An operator does something to one workload.
    fn meddle(&mut self) {
        let at = self.random.below(self.loads.len());
        let (there, kind) = (self.loads[at].there, self.loads[at].kind);
        if !there {
            return;
        }
        match (self.random.below(15), kind) {
            (0 | 1, _) => self.deploy_by_hand(at),
            (2, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet) => {
                self.loads[at].salt += 1;
                self.write_template(at, "kubectl");
            }
            (3, Kind::Deployment | Kind::StatefulSet) => {
                let replicas = 1 + self.random.below(4);
                self.scale(at, replicas);
            }
            (4, Kind::Deployment | Kind::StatefulSet) => {
                let replicas = self.loads[at].replicas;
                self.scale(at, 0);
                self.later(5000, 40_000, Act::Scale { load: at, replicas });
            }
            (5, Kind::Deployment) if !self.loads[at].paused => {
                self.loads[at].paused = true;
                let line = format!("{} pause {}", self.loads[at].cluster, self.loads[at].key());
                self.tell(line);
                self.later(2000, 40_000, Act::Resume { load: at });
            }
            (5, Kind::StatefulSet) => {
                self.partition(at, 1);
                self.later(5000, 40_000, Act::Partition { load: at });
            }
            (6, _) => self.act(Act::Revert),
            (7, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet) => self.delete(at),
            (8, _) => self.untag(),
            (12, _) => self.configure(at),
            (13, _) => self.force_push(at),
            (14, _) => self.move_tag(),
            (_, Kind::CronJob) => {}
            (9 | 10, _) => self.move_pod(at),
            _ => self.flap(at),
        }
    }

    fn deploy_by_hand(&mut self, at: usize) {
        let part = self.random.below(self.loads[at].parts.len());
        let repository = self.loads[at].parts[part].repository;
        let known: Vec<String> =
            self.tags.keys().filter(|(name, _)| *name == repository).map(|(_, tag)| tag.clone()).collect();
        let tag = self.random.pick(&known).clone();
        if self.loads[at].parts[part].tag != tag {
            self.loads[at].parts[part].tag = tag;
            self.write_template(at, "kubectl");
        }
    }

    fn scale(&mut self, at: usize, replicas: usize) {
        if self.loads[at].replicas != replicas && self.loads[at].there {
            self.loads[at].replicas = replicas;
            let line =
                format!("{} scale {} {replicas} by=kubectl", self.loads[at].cluster, self.loads[at].key());
            self.tell(line);
            self.again(at);
        }
    }

    fn partition(&mut self, at: usize, partition: usize) {
        if self.loads[at].there && self.loads[at].partition != partition {
            self.loads[at].partition = partition;
            let line = format!("{} partition {} {partition}", self.loads[at].cluster, self.loads[at].key());
            self.tell(line);
            self.again(at);
        }
    }

    fn resume(&mut self, at: usize) {
        if self.loads[at].there && self.loads[at].paused {
            self.loads[at].paused = false;
            let line = format!("{} resume {}", self.loads[at].cluster, self.loads[at].key());
            self.tell(line);
            self.again(at);
        }
    }

    fn delete(&mut self, at: usize) {
        let line = format!("{} delete {}", self.loads[at].cluster, self.loads[at].key());
        let load = &mut self.loads[at];
        (load.there, load.paused, load.partition) = (false, false, 0);
        load.replicas = load.replicas.max(1);
        load.pods.clear();
        load.roll += 1;
        self.tell(line);
        if self.random.percent(60) {
            self.later(3000, 40_000, Act::MakeAgain { load: at });
        }
    }

    /// Housekeeping takes an old tag away.
    fn untag(&mut self) {
        let known: Vec<(&'static str, String)> = self.tags.keys().cloned().collect();
        let (repository, tag) = self.random.pick(&known).clone();
        let used = self
            .loads
            .iter()
            .flat_map(|load| &load.parts)
            .any(|part| part.repository == repository && part.tag == tag);
        if !used {
            self.tags.remove(&(repository, tag.clone()));
            self.tell(format!("untag r.io/{repository}:{tag}"));
        }
    }

    /// A schedule is due.
    fn job(&mut self, at: usize) {
        self.later(59_999, 60_001, Act::Job { load: at });
        let load = &self.loads[at];
        let runs: Option<Vec<String>> = load
            .parts
            .iter()
            .map(|part| {
                let word = self.tags.get(&(part.repository, part.tag.clone()))?;
                Some(format!("{}={word}", part.name))
            })
            .collect();
        let Some(runs) = runs else { return };
        let job = format!("{}-{}", load.name, self.now);
        let line = format!("{} job {} {job} starts {}", load.cluster, load.key(), runs.join(" "));
        self.tell(line);
        self.later(1000, 20_000, Act::JobEnds { load: at, job });
    }
}
