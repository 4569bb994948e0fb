//! Reads the references of a tree, and of the difference of two trees. A blob is parsed once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::objs::tree::EntryKind;

use super::extract::{Dropped, Extracted, FILE_BYTES_MAX, Values, extract, is_candidate};
use super::names::{Attached, Content, Names, Slot, attach, content, placed, resolve, slot, value_content};
use crate::config::Marker;
use crate::observation::{GitConfigMap, GitScale, GitValue};

/// Files read under one path. A monorepo of a few thousand services has about this many manifests.
const FILES_PER_TREE_MAX: usize = 50_000;
/// Directories inside directories. Git has no limit; people stay under twenty.
const DEPTH_MAX: usize = 64;
/// Entries of directories visited for one path's level, and again for all its commits together. Ten levels of ten
/// equal directories are a few kilobytes to fetch and ten billion files to visit; real ones stay below this.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of a path. Linux opens nothing longer, so nobody can check it out.
const PATH_BYTES_MAX: usize = 4096;
/// Parsed files that are remembered. Mostly empty lists, so some tens of megabytes at worst.
const CACHED_FILES_MAX: usize = 100_000;
/// References of one tree: what a level may hold in memory and in the journal.
const REFERENCES_PER_TREE_MAX: usize = 100_000;
/// References that one commit may bring in. A bump of every service of a large shop fits.
const ADDED_PER_COMMIT_MAX: usize = 5000;

/// What stands at a path of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    id: ObjectId,
    is_tree: bool,
}

impl Root {
    /// Its id, if it is a directory.
    pub fn tree(self) -> Option<ObjectId> {
        self.is_tree.then_some(self.id)
    }
}

/// A file that differs between two trees.
struct Change {
    file: Arc<str>,
    before: Option<ObjectId>,
    after: Option<ObjectId>,
}

type Cache = HashMap<(ObjectId, Arc<str>), Arc<Extracted>>;

/// Reads trees and remembers what it parsed.
pub struct Reader {
    markers: Vec<Marker>,
    cache: Cache,
    dropped: Vec<&'static str>,
    /// Of the last level.
    attached: Attached,
    /// How many entries may still be visited.
    entries_left: usize,
}

/// A walk through two trees. It ends where it is full or told to stop; `cut` says so.
struct Comparison<'a> {
    repository: &'a gix::Repository,
    stop: &'a AtomicBool,
    entries_left: usize,
    found: Vec<Change>,
    cut: bool,
}

impl Reader {
    pub fn new(markers: Vec<Marker>) -> Self {
        Self {
            markers,
            cache: Cache::new(),
            dropped: Vec::new(),
            attached: Attached::new(),
            entries_left: ENTRIES_MAX,
        }
    }

    /// What follows may visit as many entries as one path's level.
    pub fn begin(&mut self) {
        self.entries_left = ENTRIES_MAX;
    }

    /// Notes that something was left out.
    pub fn drop_some(&mut self, reason: &'static str) {
        self.dropped.push(reason);
    }

    /// What was left out since this was last asked.
    pub fn take_dropped(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.dropped)
    }

    /// All names at a root, by file and line. Not all of them where `stop` was set meanwhile.
    pub fn level(
        &mut self,
        repository: &gix::Repository,
        path: &str,
        root: Option<Root>,
        stop: &AtomicBool,
    ) -> gix::Result<Names> {
        let mut names = Names::default();
        let mut read = Vec::new();
        self.attached.clear();
        for change in self.changes(repository, path, None, root, stop)? {
            let Some(blob) = change.after else { continue };
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let file = self.file(repository, &change.file, blob)?;
            names.references.extend_from_slice(&file.references);
            for written in &file.config_maps {
                names.config_maps.push(resolve(repository, trimmed(path), root, written)?);
                attach(&mut self.attached, written);
            }
            names.scales.extend_from_slice(&file.scales);
            if file.values != Values::default() {
                read.push((change.file, file));
            }
            let most = names.references.len().max(names.config_maps.len()).max(names.scales.len());
            if most > REFERENCES_PER_TREE_MAX {
                names.references.truncate(REFERENCES_PER_TREE_MAX);
                names.config_maps.truncate(REFERENCES_PER_TREE_MAX);
                names.scales.truncate(REFERENCES_PER_TREE_MAX);
                self.dropped.push("git_too_many_references");
                break;
            }
        }
        let values = read.iter().flat_map(|(name, file)| placed(&file.values, name, &self.attached));
        names.values = values.take(REFERENCES_PER_TREE_MAX).collect();
        Ok(names)
    }

    /// The names that come with the step from one root to the next. A move brings nothing.
    pub fn added(
        &mut self,
        repository: &gix::Repository,
        path: &str,
        before: Option<Root>,
        after: Option<Root>,
        stop: &AtomicBool,
    ) -> gix::Result<Names> {
        let (mut config_maps, mut scales) = (Vec::new(), Vec::new());
        let mut added = Vec::new();
        let mut gone = Vec::new();
        let (mut values_before, mut values_after): (Vec<GitValue>, Vec<GitValue>) = Default::default();
        let roots = (before, after);
        for change in self.changes(repository, path, before, after, stop)? {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let mut read = |blob: Option<ObjectId>| match blob {
                Some(blob) => self.file(repository, &change.file, blob),
                None => Ok(Arc::default()),
            };
            let (before, after) = (read(change.before)?, read(change.after)?);
            let resolved = |root, file: &Extracted| -> gix::Result<Vec<GitConfigMap>> {
                let all = file.config_maps.iter();
                all.map(|written| resolve(repository, trimmed(path), root, written)).collect()
            };
            let known = resolved(roots.0, &before)?;
            config_maps.extend(resolved(roots.1, &after)?.into_iter().filter(|it| !known.contains(it)));
            let known: HashSet<&GitScale> = before.scales.iter().collect();
            scales.extend(after.scales.iter().filter(|it| !known.contains(it)).cloned());
            for (values, file) in [(&mut values_before, &before), (&mut values_after, &after)] {
                let room = REFERENCES_PER_TREE_MAX - values.len();
                values.extend(placed(&file.values, &change.file, &self.attached).take(room));
            }
            let (before, after) = (&before.references, &after.references);
            let named_before: HashSet<Content<'_>> = before.iter().map(content).collect();
            let slots_after: HashSet<Slot<'_>> = after.iter().map(slot).collect();
            added.extend(after.iter().filter(|it| !named_before.contains(&content(it))).cloned());
            // Only what a file gave up altogether can have moved: a changed tag stays in its slot.
            gone.extend(before.iter().filter(|it| !slots_after.contains(&slot(it))).cloned());
        }
        let mut movable: HashMap<Content<'_>, usize> = HashMap::new();
        for reference in &gone {
            *movable.entry(content(reference)).or_default() += 1;
        }
        let mut kept = Vec::new();
        for reference in &added {
            match movable.get_mut(&content(reference)) {
                Some(left @ 1..) => *left -= 1,
                Some(0) | None => kept.push(reference.clone()),
            }
        }
        if kept.len().max(config_maps.len()).max(scales.len()) > ADDED_PER_COMMIT_MAX {
            kept.truncate(ADDED_PER_COMMIT_MAX);
            config_maps.truncate(ADDED_PER_COMMIT_MAX);
            scales.truncate(ADDED_PER_COMMIT_MAX);
            self.dropped.push("git_too_many_references");
        }
        let known: HashSet<_> = values_before.iter().map(value_content).collect();
        let values = values_after.iter().filter(|value| !known.contains(&value_content(value)));
        let values = values.take(ADDED_PER_COMMIT_MAX).cloned().collect();
        Ok(Names { references: kept, config_maps, values, scales })
    }

    fn changes(
        &mut self,
        repository: &gix::Repository,
        path: &str,
        before: Option<Root>,
        after: Option<Root>,
        stop: &AtomicBool,
    ) -> gix::Result<Vec<Change>> {
        let entries_left = self.entries_left;
        let mut comparison = Comparison { repository, stop, entries_left, found: Vec::new(), cut: false };
        comparison.visit(trimmed(path), before, after, DEPTH_MAX)?;
        self.entries_left = comparison.entries_left;
        if comparison.cut {
            self.dropped.push("git_tree_too_large");
        }
        Ok(comparison.found)
    }

    /// The references of one file, from memory where it was read before under the same name.
    fn file(
        &mut self,
        repository: &gix::Repository,
        file: &Arc<str>,
        blob: ObjectId,
    ) -> gix::Result<Arc<Extracted>> {
        let key = (blob, file.clone());
        if let Some(known) = self.cache.get(&key) {
            return Ok(known.clone());
        }
        // The size is asked first: what is too large is not even unpacked.
        let extracted = if repository.find_header(blob)?.size() > FILE_BYTES_MAX as u64 {
            Extracted { dropped: Some(Dropped::TooLarge), ..Extracted::default() }
        } else {
            extract(file, &repository.find_blob(blob)?.data, &self.markers)
        };
        self.dropped.extend(extracted.dropped.map(Dropped::as_str));
        let extracted = Arc::new(extracted);
        if self.cache.len() >= CACHED_FILES_MAX {
            self.cache.clear();
        }
        self.cache.insert(key, extracted.clone());
        Ok(extracted)
    }
}

/// What a commit has at a path; nothing where it has no such path.
pub fn root(repository: &gix::Repository, commit: ObjectId, path: &str) -> gix::Result<Option<Root>> {
    let tree = repository.find_commit(commit)?.tree()?;
    let path = trimmed(path);
    if path.is_empty() {
        return Ok(Some(Root { id: tree.id, is_tree: true }));
    }
    let entry = tree.lookup_entry(path.split('/'))?;
    Ok(entry.and_then(|entry| root_of(entry.mode().kind(), entry.object_id())))
}

/// `prod/`, `/prod` and `prod` are one path.
fn trimmed(path: &str) -> &str {
    path.trim_matches('/')
}

/// Links and submodules name no content of this repository.
fn root_of(kind: EntryKind, id: ObjectId) -> Option<Root> {
    match kind {
        EntryKind::Tree => Some(Root { id, is_tree: true }),
        EntryKind::Blob | EntryKind::BlobExecutable => Some(Root { id, is_tree: false }),
        EntryKind::Link | EntryKind::Commit => None,
    }
}

impl Comparison<'_> {
    /// Collects the files that differ.
    fn visit(
        &mut self,
        path: &str,
        before: Option<Root>,
        after: Option<Root>,
        depth_left: usize,
    ) -> gix::Result<()> {
        if before == after {
            return Ok(());
        }
        let blob = |root: Option<Root>| root.filter(|root| !root.is_tree).map(|root| root.id);
        let tree = |root: Option<Root>| root.filter(|root| root.is_tree).map(|root| root.id);
        if (blob(before).is_some() || blob(after).is_some()) && is_candidate(path) {
            if self.found.len() >= FILES_PER_TREE_MAX {
                self.entries_left = 0;
                self.cut = true;
                return Ok(());
            }
            self.found.push(Change { file: path.into(), before: blob(before), after: blob(after) });
        }
        if tree(before).is_none() && tree(after).is_none() {
            return Ok(());
        }
        if depth_left == 0 {
            self.cut = true;
            return Ok(());
        }
        let mut children: BTreeMap<String, (Option<Root>, Option<Root>)> = BTreeMap::new();
        for (name, root) in self.entries(tree(before))? {
            children.entry(name).or_default().0 = Some(root);
        }
        for (name, root) in self.entries(tree(after))? {
            children.entry(name).or_default().1 = Some(root);
        }
        for (name, (before, after)) in children {
            if self.entries_left == 0 || self.stop.load(Ordering::Relaxed) {
                self.cut = true;
                break;
            }
            let child = if path.is_empty() { name } else { format!("{path}/{name}") };
            if child.len() > PATH_BYTES_MAX {
                self.cut = true;
                continue;
            }
            self.visit(&child, before, after, depth_left - 1)?;
        }
        Ok(())
    }

    fn entries(&mut self, tree: Option<ObjectId>) -> gix::Result<Vec<(String, Root)>> {
        let Some(tree) = tree else { return Ok(Vec::new()) };
        let tree = self.repository.find_tree(tree)?;
        let mut entries = Vec::new();
        for entry in tree.iter() {
            if self.entries_left == 0 {
                self.cut = true;
                break;
            }
            self.entries_left -= 1;
            let entry = entry?;
            if let Some(root) = root_of(entry.mode().kind(), entry.object_id()) {
                entries.push((entry.filename().to_string(), root));
            }
        }
        Ok(entries)
    }
}
