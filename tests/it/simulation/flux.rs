//! Flux in a story: its hands take their turns, each by its interval, and its objects say what they did. Who is
//! suspended does nothing, and takes its turn when it is resumed.

use std::collections::{BTreeMap, BTreeSet};

use super::people::Act;
use super::story::{Manifest, Telling};

/// Scans and choices are those of the first cluster.
const HOME: &str = "lab";
/// A turn comes so much later than it is due.
const LATE_MAX: i64 = 400;

/// Flux in all clusters.
#[derive(Debug)]
pub struct Flux {
    /// Of every hand but the applier, in milliseconds.
    every: i64,
    /// The tags that the last scan of each repository found, and how often they were others.
    scanned: BTreeMap<&'static str, (Vec<String>, u32)>,
    selected: BTreeMap<&'static str, String>,
    /// What each cluster's source took last.
    fetched: BTreeMap<&'static str, (String, Vec<Manifest>)>,
    resting: BTreeSet<Object>,
    /// Appliers that cannot build what they fetched.
    failing: BTreeSet<Object>,
}

/// An object: cluster, kind and name, as a line has them.
type Object = (&'static str, &'static str, String);

/// Whose turn it is.
#[derive(Debug, Clone)]
pub enum Turn {
    Scan { repository: &'static str },
    Select { repository: &'static str },
    Automate,
    Fetch { cluster: &'static str },
    Reconcile { cluster: &'static str, environment: &'static str },
    Applied { cluster: &'static str, environment: &'static str, commit: String },
    Rest,
    Resume { object: Object },
    Break { cluster: &'static str, environment: &'static str },
    Mend { cluster: &'static str, environment: &'static str },
}

/// The name of a repository's objects.
pub fn name(repository: &str) -> &str {
    repository.rsplit('/').next().unwrap_or(repository)
}

impl Telling {
    /// The objects are there before anybody looks, and the turns begin.
    pub fn set_up_flux(&mut self) {
        let every = *self.random.pick(&[5_000, 10_000, 20_000]);
        let (commit, tree) = self.commits.last().cloned().unwrap_or_default();
        let clusters = self.weather.clusters;
        let fetched = clusters.iter().map(|cluster| (*cluster, (commit.clone(), tree.clone())));
        self.flux = Some(Flux {
            every,
            scanned: BTreeMap::new(),
            selected: BTreeMap::new(),
            fetched: fetched.collect(),
            resting: BTreeSet::new(),
            failing: BTreeSet::new(),
        });
        let used = self.loads.iter().flat_map(|load| load.parts.iter().map(|part| part.repository));
        for repository in used.collect::<BTreeSet<_>>() {
            let (name, interval) = (name(repository), format!("interval={every}ms"));
            self.tell(format!(
                "{HOME} flux imagerepository {name} image=r.io/{repository} {interval} ready=True"
            ));
            self.tell(format!("{HOME} flux imagepolicy {name} repository={name} semver=>=1.0.0 ready=True"));
            self.scan(repository);
            self.select(repository);
        }
        self.tell(format!(
            "{HOME} flux imageupdateautomation fleet source=fleet interval={every}ms runs ready=True"
        ));
        self.turn(Turn::Automate);
        for cluster in clusters {
            self.tell(format!(
                "{cluster} flux gitrepository fleet interval={every}ms artifact={commit} ready=True"
            ));
            self.turn(Turn::Fetch { cluster });
            for environment in ["staging", "prod"] {
                let applies: Vec<String> =
                    self.loads_of(cluster, environment).map(|at| self.loads[at].key()).collect();
                if !applies.is_empty() {
                    let applies = applies.join(",");
                    self.tell(format!(
                        "{cluster} flux kustomization {environment} source=fleet applies={applies} interval=60s \
                         attempted={commit} applied={commit} ready=True"
                    ));
                }
            }
        }
    }

    fn loads_of(
        &self,
        cluster: &'static str,
        environment: &'static str,
    ) -> impl Iterator<Item = usize> + use<'_> {
        let loads = self.loads.iter().enumerate();
        let here = loads.filter(move |(_, load)| load.cluster == cluster && load.environment == environment);
        here.map(|(at, _)| at)
    }

    /// The next turn comes after the interval.
    fn turn(&mut self, turn: Turn) {
        let every = self.flux.as_ref().map_or(0, |flux| flux.every);
        self.later(every, every + LATE_MAX, Act::Flux(turn));
    }

    pub fn flux(&mut self, turn: Turn) {
        match turn {
            Turn::Scan { repository } => self.scan(repository),
            Turn::Select { repository } => self.select(repository),
            Turn::Automate => self.automate(),
            Turn::Fetch { cluster } => self.fetch(cluster),
            Turn::Reconcile { cluster, environment } => self.reconcile(cluster, environment),
            Turn::Applied { cluster, environment, commit } => {
                self.tell(format!("{cluster} flux kustomization {environment} applied={commit} ready=True"));
            }
            Turn::Rest => self.rest(),
            Turn::Resume { object } => self.wake(object),
            Turn::Break { cluster, environment } => {
                if let Some(flux) = &mut self.flux {
                    flux.failing.insert((cluster, "kustomization", environment.to_owned()));
                }
                self.later(5_000, 60_000, Act::Flux(Turn::Mend { cluster, environment }));
            }
            Turn::Mend { cluster, environment } => {
                if let Some(flux) = &mut self.flux {
                    flux.failing.remove(&(cluster, "kustomization", environment.to_owned()));
                }
            }
        }
    }

    fn rests(&self, cluster: &'static str, kind: &'static str, name: &str) -> bool {
        let object = (cluster, kind, name.to_owned());
        self.flux.as_ref().is_some_and(|flux| flux.resting.contains(&object))
    }

    fn scan(&mut self, repository: &'static str) {
        self.turn(Turn::Scan { repository });
        if self.rests(HOME, "imagerepository", name(repository)) {
            return;
        }
        let known = self.tags.keys().rev().filter(|(of, _)| *of == repository);
        let tags: Vec<String> = known.map(|(_, tag)| tag.clone()).collect();
        let Some(flux) = &mut self.flux else { return };
        let (last, revision) = flux.scanned.entry(repository).or_default();
        let others = *last != tags;
        if others {
            *revision += 1;
            last.clone_from(&tags);
        }
        let line =
            format!("{HOME} flux imagerepository {} scan={revision}:{}", name(repository), tags.join(","));
        self.tell(line);
        if others {
            self.later(20, 1_000, Act::Flux(Turn::Select { repository }));
        }
    }

    /// The highest version of the last scan.
    fn select(&mut self, repository: &'static str) {
        let Some(flux) = &mut self.flux else { return };
        let tags = flux.scanned.get(repository).map_or(&[][..], |(tags, _)| tags);
        let minor = |tag: &&String| tag.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
        let Some(best) = tags.iter().max_by_key(minor).cloned() else { return };
        if flux.selected.insert(repository, best.clone()) != Some(best.clone()) {
            self.tell(format!(
                "{HOME} flux imagepolicy {} selected=r.io/{repository}:{best}",
                name(repository)
            ));
        }
    }

    /// Everything that is selected goes into one commit.
    fn automate(&mut self) {
        self.turn(Turn::Automate);
        if self.rests(HOME, "imageupdateautomation", "fleet") {
            return;
        }
        let Some(flux) = &self.flux else { return };
        let mut tree = self.commits.last().map(|(_, tree)| tree.clone()).unwrap_or_default();
        for (load, manifest) in self.loads.iter().zip(&mut tree) {
            for (part, tag) in load.parts.iter().zip(&mut manifest.tags) {
                if let Some(selected) = flux.selected.get(part.repository) {
                    tag.clone_from(selected);
                }
            }
        }
        let before = self.commits.len();
        self.commit(tree, "by=flux");
        let new = self.commits.last().filter(|_| self.commits.len() > before);
        let pushed = new.map_or(String::new(), |(id, _)| format!(" pushed={id}"));
        self.tell(format!("{HOME} flux imageupdateautomation fleet{pushed} runs"));
    }

    fn fetch(&mut self, cluster: &'static str) {
        self.turn(Turn::Fetch { cluster });
        let Some(tip) = self.commits.last().cloned() else { return };
        let rests = self.rests(cluster, "gitrepository", "fleet");
        let Some(flux) = self.flux.as_mut().filter(|_| !rests) else { return };
        let id = tip.0.clone();
        if flux.fetched.insert(cluster, tip).is_some_and(|(last, _)| last == id) {
            return;
        }
        self.tell(format!("{cluster} flux gitrepository fleet artifact={id}"));
        for environment in ["staging", "prod"] {
            if self.loads_of(cluster, environment).next().is_some() {
                self.later(50, 1_500, Act::Flux(Turn::Reconcile { cluster, environment }));
            }
        }
    }

    /// Writes what was fetched, where that is another word than was written last.
    fn reconcile(&mut self, cluster: &'static str, environment: &'static str) {
        let object = (cluster, "kustomization", environment.to_owned());
        let Some(flux) = &self.flux else { return };
        let Some((commit, tree)) = flux.fetched.get(cluster).cloned() else { return };
        if flux.resting.contains(&object) {
            return;
        }
        self.tell(format!("{cluster} flux kustomization {environment} attempted={commit}"));
        if self.flux.as_ref().is_some_and(|flux| flux.failing.contains(&object)) {
            self.tell(format!(
                "{cluster} flux kustomization {environment} \"ready=False:BuildFailed:kustomize build failed\""
            ));
            return self.later(5_000, 6_000, Act::Flux(Turn::Reconcile { cluster, environment }));
        }
        for at in self.loads_of(cluster, environment).collect::<Vec<_>>() {
            self.apply_to(at, &tree[at]);
        }
        self.later(1_000, 6_000, Act::Flux(Turn::Applied { cluster, environment, commit }));
    }

    /// Somebody suspends one of the hands for a while.
    fn rest(&mut self) {
        let cluster = *self.random.pick(self.weather.clusters);
        let environment = *self.random.pick(&["staging", "prod"]);
        let load = self.random.below(self.loads.len());
        let repository = name(self.loads[load].parts[0].repository).to_owned();
        let all: [Object; 4] = [
            (cluster, "kustomization", environment.to_owned()),
            (cluster, "gitrepository", "fleet".to_owned()),
            (HOME, "imageupdateautomation", "fleet".to_owned()),
            (HOME, "imagerepository", repository),
        ];
        let object = self.random.pick(&all).clone();
        let (cluster, kind, name) = &object;
        if *kind == "kustomization" && self.loads_of(cluster, environment).next().is_none() {
            return;
        }
        if self.flux.as_mut().is_some_and(|flux| flux.resting.insert(object.clone())) {
            self.tell(format!("{cluster} flux {kind} {name} suspend"));
            self.later(3_000, 60_000, Act::Flux(Turn::Resume { object }));
        }
    }

    fn wake(&mut self, object: Object) {
        let (cluster, kind, name) = &object;
        self.tell(format!("{cluster} flux {kind} {name} resume"));
        if let Some(flux) = &mut self.flux {
            flux.resting.remove(&object);
        }
        // The other hands come round by themselves.
        if *kind == "kustomization"
            && let Some(environment) = ["staging", "prod"].into_iter().find(|it| it == name)
        {
            self.later(20, 500, Act::Flux(Turn::Reconcile { cluster, environment }));
        }
    }

    /// As a manifest's line has the marker of a load.
    pub fn marker(&self, at: usize) -> String {
        let load = &self.loads[at];
        match &self.flux {
            Some(_) => format!("flux-system:{}", name(load.parts[0].repository)),
            None => load.name.to_owned(),
        }
    }

    /// Somebody suspends hands, or an applier fails.
    pub fn trouble_flux(&mut self) {
        let busy = self.weather.busy;
        for _ in 0..self.random.below(3) {
            self.later(1_000, busy, Act::Flux(Turn::Rest));
        }
        if self.random.percent(30) {
            let cluster = *self.random.pick(self.weather.clusters);
            let environment = *self.random.pick(&["staging", "prod"]);
            self.later(1_000, busy, Act::Flux(Turn::Break { cluster, environment }));
        }
    }
}
