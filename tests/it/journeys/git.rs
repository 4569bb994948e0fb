//! A git repository and its ideal observer: the followed branches are polled, trees are read whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use knotmeter::image::ImageRef;
use knotmeter::observation::{
    Basis, Commit, Fact, GitConfigMap, GitReference, GitScale, GitValue, Interval, LookFailure, Scope,
    SourceKind, TreeNames, ValuePlace, ValueSays,
};

use super::record::{Recorder, Speaker, since};
use super::text::{Read, START, image, pair};

/// The one repository of every case.
pub const URL: &str = "fleet";
/// What was there at `0s` was committed an hour before.
const BEFORE: i64 = -3_600_000;

/// What a file holds.
#[derive(Debug, Clone, Default)]
struct File {
    lines: Vec<GitReference>,
    config_maps: Vec<GitConfigMap>,
    values: Vec<GitValue>,
    scales: Vec<GitScale>,
}

type Tree = BTreeMap<String, File>;

/// The repository, and what its observer has seen.
#[derive(Debug)]
pub struct Git {
    branches: BTreeMap<String, Vec<Made>>,
    down: bool,
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone)]
struct Made {
    id: Arc<str>,
    author: Arc<str>,
    parent: Option<Arc<str>>,
    reverts: Option<Arc<str>>,
    at: i64,
    before: Tree,
    tree: Tree,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<i64>,
    tip: Option<Arc<str>>,
    history: HashSet<Arc<str>>,
}

impl Default for Git {
    fn default() -> Self {
        let root = Made {
            id: "root".into(),
            author: "root".into(),
            parent: None,
            reverts: None,
            at: BEFORE,
            before: Tree::new(),
            tree: Tree::new(),
        };
        Self { branches: [("main".to_owned(), vec![root])].into(), down: false, seen: BTreeMap::new() }
    }
}

impl Git {
    pub fn set_down(&mut self, down: bool) {
        self.down = down;
    }

    pub fn restart(&mut self) {
        self.seen.clear();
    }

    pub fn delete_branch(&mut self, name: &str) {
        self.branches.remove(name);
    }

    /// `commit ID [on BRANCH] FILE [KIND/NAME] CONTAINER=IMAGE [marker=M] [by=NAME] [reverts=ID] [; ...]`.
    /// Answers with the images it names.
    pub fn commit(&mut self, now: i64, words: &[String]) -> Read<Vec<ImageRef>> {
        let (id, rest) = words.split_first().ok_or("a commit needs an id")?;
        let (branch, rest) = match rest {
            [on, branch, rest @ ..] if on == "on" => (branch.as_str(), rest),
            rest => ("main", rest),
        };
        self.change(now, id, branch, rest)
    }

    /// `force-push ID to ID0 FILE ...`: what came after ID0 is gone, ID is the new tip.
    pub fn force_push(&mut self, now: i64, words: &[String]) -> Read<Vec<ImageRef>> {
        let [id, to, base, rest @ ..] = words else { return Err("write `force-push ID to ID0 ..`".into()) };
        let main = self.branches.get_mut("main").ok_or("main is gone")?;
        let at = main.iter().position(|made| *made.id == **base);
        main.truncate(at.filter(|_| to == "to").ok_or(format!("no commit {base:?} to go back to"))? + 1);
        self.change(now, id, "main", rest)
    }

    /// `rename ID FILE to FILE`.
    pub fn rename(&mut self, now: i64, words: &[String]) -> Read<()> {
        let [id, from, _, to] = words else { return Err("write `rename ID FILE to FILE`".into()) };
        let mut tree = self.tip("main")?.tree.clone();
        let mut file = tree.remove(from).ok_or(format!("no file {from:?}"))?;
        file.lines.iter_mut().for_each(|reference| reference.file = to.as_str().into());
        tree.insert(to.clone(), file);
        self.add(now, id, "main", tree, &[])
    }

    /// `merge ID of BRANCH`: main takes the branch's tree and its commits.
    pub fn merge(&mut self, now: i64, words: &[String]) -> Read<()> {
        let [id, _, branch] = words else { return Err("write `merge ID of BRANCH`".into()) };
        let theirs = self.branches.get(branch).ok_or(format!("no branch {branch:?}"))?.clone();
        let tree = theirs.last().expect("a branch has commits").tree.clone();
        let into = self.tip("main")?;
        let (before, parent) = (into.tree.clone(), into.id.clone());
        let main = self.branches.get_mut("main").ok_or("main is gone")?;
        let known: HashSet<Arc<str>> = main.iter().map(|made| made.id.clone()).collect();
        main.extend(theirs.into_iter().filter(|made| !known.contains(&made.id)));
        self.add(now, id, "main", tree, &[])?;
        let merge = self.branches.get_mut("main").and_then(|main| main.last_mut());
        let merge = merge.expect("just added");
        (merge.before, merge.parent) = (before, Some(parent));
        Ok(())
    }

    /// One look at every followed branch.
    pub fn look(&mut self, now: i64, interval: i64, read: &[(String, String)], to: &mut Recorder) {
        let who = Speaker::new(SourceKind::Git, URL);
        let mut branches: Vec<&String> = read.iter().map(|(branch, _)| branch).collect();
        branches.sort();
        branches.dedup();
        for branch in branches {
            let scope = Scope::Branch { url: URL.into(), branch: branch.as_str().into() };
            let Some(history) = self.branches.get(branch).filter(|_| !self.down) else {
                let failure = if self.down { LookFailure::Network } else { LookFailure::Missing };
                to.failed(&who, now, scope, failure);
                continue;
            };
            let seen = self.seen.entry(branch.clone()).or_default();
            let tip = history.last().expect("a branch has commits");
            if seen.tip.as_ref() != Some(&tip.id) {
                for (_, path) in read.iter().filter(|(name, _)| name == branch) {
                    let (happened, basis) = match seen.looked {
                        None => (Interval::until(START + now), Basis::Backfill),
                        Some(last) => (since(last, now), Basis::Poll),
                    };
                    let names = tree_names(branch, path, history, seen);
                    to.say(&who, now, happened, basis, Fact::TreeNames(Box::new(names)));
                }
            }
            *seen = Seen {
                looked: Some(now),
                tip: Some(tip.id.clone()),
                history: history.iter().map(|made| made.id.clone()).collect(),
            };
            to.looked(&who, now, scope, interval);
        }
    }

    fn tip(&self, branch: &str) -> Read<&Made> {
        self.branches.get(branch).and_then(|made| made.last()).ok_or(format!("no branch {branch:?}"))
    }

    fn change(&mut self, now: i64, id: &str, branch: &str, words: &[String]) -> Read<Vec<ImageRef>> {
        if !self.branches.contains_key(branch) {
            let main = self.branches.get("main").ok_or("main is gone")?.clone();
            self.branches.insert(branch.to_owned(), main);
        }
        let mut tree = self.tip(branch)?.tree.clone();
        let (mut file, mut images) = (None, Vec::new());
        for part in words.split(|word| word == ";") {
            change_file(&mut tree, &mut file, part, &mut images)?;
        }
        self.add(now, id, branch, tree, words)?;
        Ok(images)
    }

    fn add(&mut self, now: i64, id: &str, branch: &str, tree: Tree, words: &[String]) -> Read<()> {
        let value = |wanted| words.iter().filter_map(|w| pair(w)).find(|(k, _)| *k == wanted).map(|(_, v)| v);
        let made = Made {
            id: id.into(),
            parent: Some(self.tip(branch)?.id.clone()),
            author: value("by").unwrap_or("dev").into(),
            reverts: value("reverts").map(Into::into),
            at: if now == 0 { BEFORE } else { now },
            before: self.tip(branch)?.tree.clone(),
            tree,
        };
        let history = self.branches.get_mut(branch).ok_or(format!("no branch {branch:?}"))?;
        if history.iter().any(|known| known.id == made.id) {
            return Err(format!("{branch} has a commit {id:?} already"));
        }
        history.push(made);
        Ok(())
    }
}

/// `[FILE] [KIND/NAME] [ns=NAMESPACE] CONTAINER=IMAGE [marker=M] [manifest=TEXT] [replicas=N]`; `-` as image takes the
/// reference away.
fn change_file(
    tree: &mut Tree,
    file: &mut Option<String>,
    words: &[String],
    images: &mut Vec<ImageRef>,
) -> Read<()> {
    let mut object = (None::<Arc<str>>, None::<Arc<str>>, None::<Arc<str>>);
    let mut set: Vec<(String, String)> = Vec::new();
    let mut marker = None;
    let mut manifest = None;
    let mut scales: Vec<(Option<&str>, &str)> = Vec::new();
    let (mut config_map, mut data, mut data_key, mut generated) = (None, None, None::<Arc<str>>, false);
    let sum = |text: &str| text.bytes().fold(7, |sum: u64, b| sum * 31 + u64::from(b));
    for word in words {
        match pair(word) {
            Some(("by" | "reverts", _)) => {}
            Some(("marker", name)) => marker = Some(Arc::from(name)),
            Some(("manifest", text)) => manifest = Some(sum(text)),
            Some(("replicas", number)) => scales.push((None, number)),
            Some((name, number)) if name.starts_with("replicas:") => scales.push((name.get(9..), number)),
            Some(("data", text)) => data = Some(sum(text)),
            Some(("key", text)) => data_key = Some(Arc::from(text)),
            Some(("ns", namespace)) => object.2 = Some(namespace.into()),
            Some((container, image)) => set.push((container.to_owned(), image.to_owned())),
            None if word == "generated" => generated = true,
            None if word.starts_with("configmap/") => {
                config_map = word.split_once('/').map(|(_, n)| n.into())
            }
            None => match kind_and_name(word) {
                Some((kind, name)) => (object.0, object.1) = (Some(kind), Some(name)),
                None => *file = Some(word.clone()),
            },
        }
    }
    let file = file.as_deref().ok_or("a commit names its file")?;
    let File { lines, config_maps, values, scales: numbers } = tree.entry(file.to_owned()).or_default();
    for (entry, number) in scales {
        let (kind, name) = match entry {
            Some(name) => (None, Some(name.into())),
            None => (object.0.clone(), object.1.clone()),
        };
        let name = name.ok_or("replicas are of an object")?;
        numbers.retain(|known| (&known.kind, &known.name) != (&kind, &name));
        if number != "-" {
            let replicas = number.parse().map_err(|_| format!("{number:?} is no number of replicas"))?;
            numbers.push(GitScale { file: file.into(), kind, name, namespace: object.2.clone(), replicas });
        }
    }
    // What a ConfigMap holds as text, and tags alone, are values of a release.
    let held: Option<Arc<str>> = config_map.clone();
    let (of_values, whole): (Vec<_>, Vec<_>) = set
        .into_iter()
        .partition(|(place, _)| place.starts_with("tag:") || (place == "values" && held.is_some()));
    for (key, text) in of_values {
        let key = key.strip_prefix("tag:").unwrap_or_default();
        let place = ValuePlace {
            kind: if held.is_some() { "ConfigMap".into() } else { "HelmRelease".into() },
            name: held.clone().or(object.1.clone()).ok_or("values are of an object")?,
            namespace: object.2.clone(),
            data: held.as_ref().map(|_| data_key.clone().unwrap_or_else(|| "values.yaml".into())),
            generated,
            key: key.into(),
        };
        values.retain(|known| known.place != place);
        if text == "-" {
            continue;
        }
        let says = match key {
            "" => {
                let named = image(&text)?;
                images.push(named.clone());
                ValueSays { repository: Some(named.repository), tag: named.tag, digest: named.digest }
            }
            _ => {
                let tag = text.parse().map_err(|error| format!("{error}"))?;
                ValueSays { repository: None, tag: Some(tag), digest: None }
            }
        };
        let template = manifest.filter(|_| held.is_none());
        let (file, marker) = (file.into(), marker.clone());
        values.push(GitValue { file, line: values.len() as u32 + 1, place, says, marker, template });
    }
    let set = whole;
    if let (Some(name), Some(data)) = (config_map, data) {
        config_maps.retain(|known| known.name != name);
        let namespace = object.2.clone();
        config_maps.push(GitConfigMap { file: file.into(), name, namespace, data, generated });
    }
    for (place, text) in set {
        let (kind, name, container) = if place == "text" {
            (None, None, None)
        } else if let Some(name) = place.strip_prefix("kustomize:") {
            (Some("Kustomize".into()), Some(name.into()), None)
        } else if place == "values" {
            (object.0.clone(), object.1.clone(), None)
        } else {
            (object.0.clone(), object.1.clone(), Some(Arc::from(place.as_str())))
        };
        let named = (text != "-").then(|| image(&text)).transpose()?;
        lines.retain(|line| {
            let same_place = (&line.kind, &line.name, &line.container) == (&kind, &name, &container);
            // Bare texts and kustomize entries are told apart by what they name.
            let same_image = named.as_ref().is_none_or(|named| line.image.repository == named.repository);
            !(same_place && (container.is_some() || same_image))
        });
        let Some(named) = named else { continue };
        images.push(named.clone());
        lines.push(GitReference {
            file: file.into(),
            line: 0,
            kind,
            name,
            namespace: object.2.clone(),
            container,
            image: named,
            marker: marker.clone(),
            template: object.0.as_ref().and(manifest),
        });
    }
    lines.iter_mut().zip(1..).for_each(|(line, number)| line.line = number);
    Ok(())
}

fn kind_and_name(word: &str) -> Option<(Arc<str>, Arc<str>)> {
    let (kind, name) = word.split_once('/')?;
    let kind = match kind {
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        "daemonset" => "DaemonSet",
        "cronjob" => "CronJob",
        "helmrelease" => "HelmRelease",
        _ => return None,
    };
    Some((kind.into(), name.into()))
}

fn tree_names(branch: &str, path: &str, history: &[Made], seen: &Seen) -> TreeNames {
    let tip = history.last().expect("a branch has commits");
    let known = |id: &Arc<str>| seen.history.contains(id);
    let new = history.iter().rev().filter(|made| seen.looked.is_some() && !known(&made.id));
    TreeNames {
        url: URL.into(),
        branch: branch.into(),
        path: path.into(),
        commit: tip.id.clone(),
        references: under(&tip.tree, path),
        config_maps: config_maps_under(&tip.tree, path),
        values: values_under(&tip.tree, path),
        scales: scales_under(&tip.tree, path),
        commits: new.map(|made| describe(made, path)).collect(),
        forced: seen.tip.as_ref().is_some_and(|tip| !history.iter().any(|made| made.id == *tip)),
    }
}

fn describe(made: &Made, path: &str) -> Commit {
    // A moved line or file brings nothing in: only place in the object and image count.
    let bare = |reference: &GitReference| GitReference { file: "".into(), line: 0, ..reference.clone() };
    let mut before: Vec<GitReference> = under(&made.before, path).iter().map(bare).collect();
    let mut added = under(&made.tree, path);
    added.retain(|reference| {
        let at = before.iter().position(|known| *known == bare(reference));
        at.map(|at| before.swap_remove(at)).is_none()
    });
    let subject = match &made.reverts {
        Some(id) => format!("Revert {id}"),
        None => format!("Change {}", made.id),
    };
    Commit {
        id: made.id.clone(),
        author: made.author.clone(),
        committed_at: START + made.at,
        subject: subject.into(),
        parent: made.parent.clone(),
        reverts: made.reverts.clone(),
        added,
        config_maps: {
            let before = config_maps_under(&made.before, path);
            let after = config_maps_under(&made.tree, path).into_iter();
            after.filter(|known| !before.contains(known)).collect()
        },
        values: {
            let before = values_under(&made.before, path);
            let bare = |value: &GitValue| GitValue { file: "".into(), line: 0, ..value.clone() };
            let before: Vec<GitValue> = before.iter().map(bare).collect();
            let after = values_under(&made.tree, path).into_iter();
            after.filter(|value| !before.contains(&bare(value))).collect()
        },
        scales: {
            let before = scales_under(&made.before, path);
            scales_under(&made.tree, path).into_iter().filter(|scale| !before.contains(scale)).collect()
        },
    }
}

fn under(tree: &Tree, path: &str) -> Vec<GitReference> {
    files(tree, path).flat_map(|file| file.lines.clone()).collect()
}

fn config_maps_under(tree: &Tree, path: &str) -> Vec<GitConfigMap> {
    files(tree, path).flat_map(|file| file.config_maps.clone()).collect()
}

fn values_under(tree: &Tree, path: &str) -> Vec<GitValue> {
    files(tree, path).flat_map(|file| file.values.clone()).collect()
}

fn scales_under(tree: &Tree, path: &str) -> Vec<GitScale> {
    files(tree, path).flat_map(|file| file.scales.clone()).collect()
}

fn files<'a>(tree: &'a Tree, path: &'a str) -> impl Iterator<Item = &'a File> {
    tree.iter().filter(move |(name, _)| name.starts_with(path)).map(|(_, file)| file)
}
