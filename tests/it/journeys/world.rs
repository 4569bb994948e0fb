//! The world of a case: facts happen, ideal observers look, and everything they say is recorded in order.

use std::collections::BTreeMap;

use knotmeter::image::ImageRef;
use knotmeter::observation::{Basis, Fact, Interval, SourceKind};

use super::case::{Case, Line};
use super::cluster::Cluster;
use super::git::Git;
use super::record::{Delivery, Recorder, Speaker};
use super::registry::Registries;
use super::text::{Read, START, digest, image, millis, pair};
use super::verbs::{ROLL_STEPS, Roll, act};

/// Steps of a rollout follow each other after this.
const ROLL_STEP: i64 = 1000;
/// The configuration is there before anything is seen.
const CONFIGURED: i64 = -5000;

/// Lets everything of a case happen, and answers with what the observers said.
pub fn observe(case: &Case) -> Read<Vec<Delivery>> {
    observe_beside(case, &mut |_, _| {})
}

/// The same with somebody beside who sees the clusters as they are, whenever something happened in them.
pub fn observe_beside(
    case: &Case,
    beside: &mut dyn FnMut(i64, &BTreeMap<String, Cluster>),
) -> Read<Vec<Delivery>> {
    let mut world = World::new(case);
    let mut agenda: BTreeMap<(i64, u8, usize), Action> = BTreeMap::new();
    // Facts come before looks of the same moment; a `restart` comes before its looks.
    for (index, line) in case.facts.iter().enumerate() {
        agenda.insert((line.at.unwrap_or_default(), 0, index), Action::Fact(line.clone()));
    }
    let end = case.end();
    let poll = &case.config.poll;
    for (class, every, look) in
        [(2, poll.registry, Look::Registry), (3, poll.git, Look::Git), (4, poll.cluster, Look::Cluster)]
    {
        for at in (0..=end).step_by(every as usize) {
            agenda.insert((at, class, 0), Action::Look(look));
        }
    }
    let mut next = case.facts.len();
    while let Some(((now, _, _), action)) = agenda.pop_first() {
        if now > end {
            break;
        }
        let changes = !matches!(action, Action::Look(_));
        match action {
            Action::Look(look) => world.look(now, look),
            Action::Roll { cluster, roll, step, line } => {
                let found = world.cluster(&cluster);
                roll.step(found.0, now, step, found.1)
                    .map_err(|error| format!("{}:{line}: {error}", case.file))?;
            }
            Action::Fact(line) => {
                let rolled = world
                    .happens(now, &line)
                    .map_err(|error| format!("{}:{}: {error}", case.file, line.number))?;
                for step in 0..rolled.as_ref().map_or(0, |_| ROLL_STEPS) {
                    let at = if now == 0 { 0 } else { now + i64::from(step) * ROLL_STEP };
                    let action = Action::Roll {
                        cluster: line.words[0].clone(),
                        roll: rolled.clone().expect("has steps"),
                        step,
                        line: line.number,
                    };
                    next += 1;
                    // The first step happens in its own line's place; what was there at 0s is whole at once.
                    if at == now {
                        world
                            .roll(now, action)
                            .map_err(|error| format!("{}:{}: {error}", case.file, line.number))?;
                    } else {
                        agenda.insert((at, 0, next), action);
                    }
                }
            }
        }
        if changes {
            beside(now, &world.clusters);
        }
    }
    Ok(world.to.deliveries)
}

/// Something that is due.
#[derive(Debug)]
enum Action {
    Fact(Line),
    Roll { cluster: String, roll: Roll, step: u8, line: usize },
    Look(Look),
}

#[derive(Debug, Clone, Copy)]
enum Look {
    Registry,
    Git,
    Cluster,
}

struct World<'a> {
    case: &'a Case,
    registries: Registries,
    git: Git,
    clusters: BTreeMap<String, Cluster>,
    to: Recorder,
}

impl<'a> World<'a> {
    fn new(case: &'a Case) -> Self {
        let mut to = Recorder::default();
        configure(case, CONFIGURED, &mut to);
        let mut registries = Registries::new(&case.config.rules.expect);
        for image in images(case) {
            registries.follow(&image);
        }
        let mut clusters = BTreeMap::new();
        for (alias, name, uid) in &case.config.clusters {
            clusters.insert(alias.clone(), Cluster::new(name, uid));
        }
        for word in case.facts.iter().filter_map(|line| line.words.first()) {
            if !NOT_A_CLUSTER.contains(&word.as_str()) && !clusters.contains_key(word) {
                clusters.insert(word.clone(), Cluster::new(word, &format!("uid-{word}")));
            }
        }
        Self { case, registries, git: Git::default(), clusters, to }
    }

    fn cluster(&mut self, alias: &str) -> (&mut Cluster, &mut Recorder) {
        (self.clusters.get_mut(alias).expect("every first word is a cluster"), &mut self.to)
    }

    fn roll(&mut self, now: i64, action: Action) -> Read<()> {
        let Action::Roll { cluster, roll, step, .. } = action else { return Ok(()) };
        let (cluster, to) = self.cluster(&cluster);
        roll.step(cluster, now, step, to)
    }

    fn look(&mut self, now: i64, look: Look) {
        let config = &self.case.config;
        match look {
            Look::Registry => self.registries.look(now, config.poll.registry, &mut self.to),
            Look::Git => self.git.look(now, config.poll.git, &config.read, &mut self.to),
            Look::Cluster => {
                for cluster in self.clusters.values_mut() {
                    cluster.look(now, config.poll.cluster, &mut self.to);
                }
            }
        }
    }

    fn happens(&mut self, now: i64, line: &Line) -> Read<Option<Roll>> {
        let [first, rest @ ..] = line.words.as_slice() else { return Err("nothing happens here".into()) };
        let mut images = Vec::new();
        match first.as_str() {
            "push" | "copy" => self.registries.push(rest)?,
            "untag" => self.registries.untag(rest.first().ok_or("untag what?")?)?,
            "hint" => self.hint(now, rest)?,
            "registry" => self.registries.set_down(is_down(rest)?),
            "git" => self.git.set_down(is_down(rest)?),
            "commit" => images = self.git.commit(now, rest)?,
            "force-push" => images = self.git.force_push(now, rest)?,
            "rename" => self.git.rename(now, rest)?,
            "merge" => self.git.merge(now, rest)?,
            "delete-branch" => self.git.delete_branch(rest.first().ok_or("delete which branch?")?),
            "restart" => self.restart(now),
            "end" => {}
            _ => return self.happens_in_cluster(now, line),
        }
        images.iter().for_each(|image| self.registries.want(image));
        Ok(None)
    }

    /// `hint IMAGE in ENVIRONMENT`: a CI job says that this tag is to go live there.
    fn hint(&mut self, now: i64, words: &[String]) -> Read<()> {
        let [named, word, environment] = words else {
            return Err("write `hint IMAGE in ENVIRONMENT`".into());
        };
        let image = image(named)?;
        let tag =
            image.tag.clone().filter(|_| word == "in").ok_or("write `hint IMAGE:TAG in ENVIRONMENT`")?;
        self.registries.want(&image);
        let fact =
            Fact::Expected { repository: image.repository, tag, environment: environment.as_str().into() };
        let who = Speaker::new(SourceKind::Hook, "ci");
        self.to.say(&who, now, Interval::at(START + now), Basis::Hint, fact);
        Ok(())
    }

    fn happens_in_cluster(&mut self, now: i64, line: &Line) -> Read<Option<Roll>> {
        let [alias, verb, rest @ ..] = line.words.as_slice() else {
            return Err(format!("{:?} is neither a verb nor a cluster with one", line.words));
        };
        for word in rest {
            let Some((_, value)) = pair(word) else { continue };
            match verb.as_str() {
                "template" => image(value).iter().for_each(|image| self.registries.want(image)),
                "rolls" | "pod" | "job" => self.registries.runs(digest(value)),
                _ => {}
            }
        }
        let interval = self.case.config.poll.cluster;
        let (cluster, to) = self.cluster(alias);
        match verb.as_str() {
            "down" => cluster.down(rest.first().is_some_and(|word| word == "failing")),
            "up" => cluster.up(now, interval, to),
            "relist" => cluster.relist(now, interval, to),
            "forbid" => cluster.forbid(now, rest.first().ok_or("what?")?, to),
            "allow" => cluster.allow(now, interval, rest.first().ok_or("what?")?, to),
            "clock" => cluster.clock = millis(rest.first().ok_or("by how much?")?)?,
            _ => return act(cluster, now, verb, rest, to),
        }
        Ok(None)
    }

    fn restart(&mut self, now: i64) {
        self.to.restart(now);
        configure(self.case, now, &mut self.to);
        self.registries.restart();
        self.git.restart();
        self.clusters.values_mut().for_each(Cluster::restart);
        // A new process looks at once.
        for look in [Look::Registry, Look::Git, Look::Cluster] {
            self.look(now, look);
        }
    }
}

const NOT_A_CLUSTER: [&str; 13] = [
    "push",
    "copy",
    "untag",
    "hint",
    "registry",
    "git",
    "commit",
    "force-push",
    "rename",
    "merge",
    "delete-branch",
    "restart",
    "end",
];

fn configure(case: &Case, now: i64, to: &mut Recorder) {
    let who = Speaker::new(SourceKind::Config, "rules");
    let fact = Fact::ConfigInForce(Box::new(case.config.rules.clone()));
    to.say(&who, now, Interval::at(START + now), Basis::StatusField, fact);
}

fn is_down(words: &[String]) -> Read<bool> {
    match words {
        [word] if word == "down" => Ok(true),
        [word] if word == "up" => Ok(false),
        other => Err(format!("{other:?} is neither up nor down")),
    }
}

/// Every image that the facts name.
fn images(case: &Case) -> impl Iterator<Item = ImageRef> {
    let words = case.facts.iter().flat_map(|line| &line.words);
    words.filter_map(|word| {
        let text = pair(word).map_or(word.as_str(), |(_, value)| value);
        let looks_like_one = text.contains('/') && (text.contains(':') || text.contains('@'));
        looks_like_one
            .then(|| image(text).ok())
            .flatten()
            .filter(|image| image.repository.host() != "docker.io")
    })
}
