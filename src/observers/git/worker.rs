//! The blocking part of a look: asks, fetches, and reads what moved.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use gix::ObjectId;

use super::mirror::{Mirror, Tips};
use super::tree::{Reader, Root, root};
use super::{Address, Error, history};
use crate::config::Marker;
use crate::observation::{Time, TreeNames};

/// Looks in a row that brought nothing readable before the copy is thrown away.
const UNREADABLE_MAX: u32 = 3;
/// References that all commits of one fact together say they added; older commits come without.
const ADDED_PER_LEVEL_MAX: usize = 20_000;

/// What was read of a branch before.
#[derive(Debug, Clone)]
pub struct Known {
    pub tip: ObjectId,
    /// One for each configured path.
    pub roots: Vec<Option<Root>>,
}

/// The commit that each path's last level was read from, before a restart.
pub type Resumed = BTreeMap<Arc<str>, Vec<Option<ObjectId>>>;

/// A look at all followed branches.
pub struct Look {
    pub answered: Time,
    pub poll_seconds: f64,
    pub fetch_seconds: Option<f64>,
    pub read_seconds: Option<f64>,
    pub branches: BTreeMap<Arc<str>, Branch>,
    /// What was left out, by reason.
    pub dropped: Vec<&'static str>,
}

/// What a look saw of one branch.
pub enum Branch {
    Missing,
    Unchanged,
    Moved(Moved),
    /// The branch moved and could not be read.
    Unread(Error),
}

/// A branch with a new tip.
pub struct Moved {
    pub known: Known,
    /// One for each path under which anything changed.
    pub levels: Vec<TreeNames>,
    pub new_commits: u64,
}

/// A repository's copy and the memory of what was parsed in it.
pub struct Worker {
    url: Arc<str>,
    branches: Vec<Arc<str>>,
    paths: Vec<Arc<str>>,
    mirror: Mirror,
    reader: Reader,
    unreadable: u32,
    /// Until each branch was read once.
    resumed: Resumed,
}

impl Worker {
    pub fn new(
        address: Address,
        branches: Vec<Arc<str>>,
        paths: Vec<Arc<str>>,
        markers: Vec<Marker>,
        directory: PathBuf,
        fetches_max: u32,
    ) -> Self {
        let url = address.url().clone();
        let mirror = Mirror::new(address, branches.clone(), directory, fetches_max);
        let (reader, resumed) = (Reader::new(markers), Resumed::new());
        Self { url, branches, paths, mirror, reader, unreadable: 0, resumed }
    }

    /// Compares the first look with what an earlier process told, and not with nothing.
    pub fn resuming(self, resumed: Resumed) -> Self {
        Self { resumed, ..self }
    }

    /// One look, compared with what was known before it.
    pub fn look(&mut self, known: &BTreeMap<Arc<str>, Known>, stop: &AtomicBool) -> Result<Look, Error> {
        let tips: Tips = known.iter().map(|(branch, known)| (branch.clone(), known.tip)).collect();
        let answer = self.mirror.look(&tips, stop)?;
        let mut look = Look {
            answered: answer.answered,
            poll_seconds: answer.poll_seconds,
            fetch_seconds: answer.fetch_seconds,
            read_seconds: None,
            branches: BTreeMap::new(),
            dropped: Vec::new(),
        };
        let mut compared = tips.clone();
        compared.extend(answer.tips.clone());
        let mut fetch_failed = answer.fetch_failed;
        let mut unread = false;
        for branch in self.branches.clone() {
            let seen = match answer.tips.get(&branch) {
                None => {
                    // What comes under its name after this is told whole.
                    self.resumed.remove(&branch);
                    Branch::Missing
                }
                Some(tip) if tips.get(&branch) == Some(tip) => Branch::Unchanged,
                Some(tip) => {
                    let started = Instant::now();
                    let moved = match fetch_failed.take() {
                        Some(error) => Err(error),
                        None => self.read(&branch, known.get(&branch), *tip, stop),
                    };
                    look.read_seconds =
                        Some(look.read_seconds.unwrap_or(0.0) + started.elapsed().as_secs_f64());
                    unread |= moved.is_err();
                    moved.map_or_else(Branch::Unread, Branch::Moved)
                }
            };
            // What was read since is not all that there is.
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped { url: self.url.clone(), why: "it was told to end".into() });
            }
            look.branches.insert(branch, seen);
        }
        look.dropped = self.reader.take_dropped();
        self.maintain(&compared, unread, stop);
        Ok(look)
    }

    /// A copy that stays unreadable or is worn is replaced. `compared` are the tips of the next comparison.
    fn maintain(&mut self, compared: &Tips, unread: bool, stop: &AtomicBool) {
        self.unreadable = if unread { self.unreadable + 1 } else { 0 };
        if self.unreadable >= UNREADABLE_MAX || self.mirror.is_full() {
            self.unreadable = 0;
            self.mirror.reset();
        } else if self.mirror.is_worn()
            && !unread
            && let Err(error) = self.mirror.renew(compared, stop)
        {
            tracing::warn!("the copy could not be renewed, the old one stays in use: {error}");
        }
    }

    fn read(
        &mut self,
        branch: &Arc<str>,
        known: Option<&Known>,
        tip: ObjectId,
        stop: &AtomicBool,
    ) -> Result<Moved, Error> {
        let Self { mirror, reader, paths, url, resumed, .. } = self;
        let missing = || Error::Malformed { url: url.clone(), why: "nothing was fetched".into() };
        let repository = mirror.repository().ok_or_else(missing)?;
        let bases: Vec<Option<Base>> = match known {
            Some(known) => {
                known.roots.iter().map(|root| Some(Base { tip: known.tip, root: *root })).collect()
            }
            None => {
                let told = resumed.get(branch).map_or(&[][..], Vec::as_slice);
                let of_path = |(at, path): (usize, &Arc<str>)| {
                    base(repository, told.get(at).copied().flatten()?, mirror.left(branch), path)
                };
                paths.iter().enumerate().map(of_path).collect()
            }
        };
        let moved = read(repository, reader, paths, (url, branch), &bases, tip, stop)
            .map_err(|error| Error::reading(url, &error))?;
        resumed.remove(branch);
        Ok(moved)
    }
}

/// What one path is compared with.
struct Base {
    tip: ObjectId,
    root: Option<Root>,
}

/// What an earlier process told of a path, if our copy has it. Where the tip that it fetched last says the same
/// under the path, the commits up to there are no news either.
fn base(repository: &gix::Repository, told: ObjectId, left: Option<ObjectId>, path: &str) -> Option<Base> {
    let root_of = |commit: ObjectId| root(repository, commit, path).ok();
    let told = Base { tip: told, root: repository.has_object(told).then(|| root_of(told))?? };
    let left = left.filter(|left| repository.has_object(left) && root_of(*left) == Some(told.root));
    Some(Base { tip: left.unwrap_or(told.tip), ..told })
}

fn read(
    repository: &gix::Repository,
    reader: &mut Reader,
    paths: &[Arc<str>],
    (url, branch): (&Arc<str>, &Arc<str>),
    bases: &[Option<Base>],
    tip: ObjectId,
    stop: &AtomicBool,
) -> gix::Result<Moved> {
    let boundary = history::boundary(repository)?;
    let mut histories: BTreeMap<Option<ObjectId>, history::History> = BTreeMap::new();
    for old in bases.iter().map(|base| base.as_ref().map(|base| base.tip)) {
        if let Entry::Vacant(entry) = histories.entry(old) {
            let between = |old| history::between(repository, &boundary, old, tip);
            entry.insert(old.map_or_else(|| Ok(history::History::default()), between)?);
        }
    }
    let mut roots = Vec::new();
    let mut levels = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let root = root(repository, tip, path)?;
        roots.push(root);
        // Nothing under the path changed: there is nothing to say about it.
        let base = bases.get(at).and_then(Option::as_ref);
        if base.is_some_and(|base| base.root == root) {
            continue;
        }
        let unknown = history::History::default();
        let history = histories.get(&base.map(|base| base.tip)).unwrap_or(&unknown);
        reader.begin();
        let names = reader.level(repository, path, root, stop)?;
        reader.begin();
        let mut commits = Vec::new();
        let mut added = 0;
        for id in &history.ids {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let mut commit = history::describe(repository, reader, &boundary, *id, path, stop)?;
            added +=
                commit.added.len() + commit.config_maps.len() + commit.values.len() + commit.scales.len();
            if added > ADDED_PER_LEVEL_MAX {
                commit.added.clear();
                commit.config_maps.clear();
                commit.values.clear();
                commit.scales.clear();
                reader.drop_some("git_too_many_references");
            }
            commits.push(commit);
        }
        levels.push(TreeNames {
            url: url.clone(),
            branch: branch.clone(),
            path: path.clone(),
            commit: tip.to_string().into(),
            references: names.references,
            config_maps: names.config_maps,
            values: names.values,
            scales: names.scales,
            commits,
            forced: history.forced,
        });
    }
    // Paths may have been left off at different commits: what came after the latest is new.
    let new_commits = histories.values().map(|history| history.count).min().unwrap_or(0);
    Ok(Moved { known: Known { tip, roots }, levels, new_commits })
}
