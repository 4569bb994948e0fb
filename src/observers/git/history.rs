//! Which commits came between two tips, and what each of them says.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::revision::walk::Sorting;
use gix::traverse::commit::simple::CommitTimeOrder;
use regex::bytes::Regex;

use super::names::Names;
use super::tree::{Reader, root};
use crate::observation::{Commit, Time};

/// Commits that a fact carries; an import of a thousand is one change to a journey.
const COMMITS_MAX: usize = 200;
/// Commits that are counted. Above it the number only says "very many".
const COMMITS_COUNTED_MAX: usize = 10_000;
/// Author and first line, as the page shows them.
const TEXT_LENGTH_MAX: usize = 200;
/// How much of a message is searched for what it reverts.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What `git revert` writes.
static REVERTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"This reverts commit ([0-9a-f]{7,64})\b").expect("the pattern is a constant")
});

/// The way from one tip to the next.
#[derive(Default)]
pub struct History {
    /// Reachable from the new tip and not from the old one, newest first, at most [`COMMITS_MAX`].
    pub ids: Vec<ObjectId>,
    /// All of them.
    pub count: u64,
    /// The new tip does not contain the old one.
    pub forced: bool,
}

/// Walks from the new tip down to what the old one already had.
pub fn between(
    repository: &gix::Repository,
    boundary: &HashSet<ObjectId>,
    old: ObjectId,
    new: ObjectId,
) -> gix::Result<History> {
    if !repository.has_object(old) {
        return Ok(History { forced: true, ..History::default() });
    }
    // A merge or a force-push may fetch what lies behind the boundary. That was there before, although our
    // copy of the old tip does not lead to it: what is older than the whole first fetch is no news.
    let mut oldest = None;
    for id in boundary {
        let seconds = repository.find_commit(*id)?.time()?.seconds;
        oldest = Some(oldest.map_or(seconds, |oldest: i64| oldest.min(seconds)));
    }
    let order = CommitTimeOrder::NewestFirst;
    let newest_first = match oldest {
        Some(seconds) => Sorting::ByCommitTimeCutoff { order, seconds },
        None => Sorting::ByCommitTime(order),
    };
    let mut history = History::default();
    let walk = repository.rev_walk([new]).sorting(newest_first).with_hidden([old]).all()?;
    for commit in walk.take(COMMITS_COUNTED_MAX) {
        let id = commit?.id;
        history.count += 1;
        if history.ids.len() < COMMITS_MAX {
            history.ids.push(id);
        }
    }
    // Nothing is reachable from the old tip alone exactly where the new one contains it.
    history.forced = repository.rev_walk([old]).with_hidden([new]).all()?.next().transpose()?.is_some();
    Ok(history)
}

/// Commits whose parents were not fetched: what they changed is unknown.
pub fn boundary(repository: &gix::Repository) -> gix::Result<HashSet<ObjectId>> {
    let shallow = repository.shallow_commits()?;
    Ok(shallow.map(|commits| commits.iter().copied().collect()).unwrap_or_default())
}

/// One commit as a fact has it, with what it brought in under a path.
pub fn describe(
    repository: &gix::Repository,
    reader: &mut Reader,
    boundary: &HashSet<ObjectId>,
    id: ObjectId,
    path: &str,
    stop: &AtomicBool,
) -> gix::Result<Commit> {
    let object = repository.find_commit(id)?;
    let commit = object.decode()?;
    let author = commit.author()?;
    let author = if author.name.trim().is_empty() { author.email } else { author.name };
    let message = commit.message;
    let reverts = REVERTS.captures(&message[..message.len().min(MESSAGE_BYTES_MAX)]).and_then(|it| it.get(1));
    let parent = commit.parents().next();
    let added = if boundary.contains(&id) {
        Names::default()
    } else {
        let parent = match parent {
            Some(parent) => root(repository, parent, path)?,
            None => None,
        };
        reader.added(repository, path, parent, root(repository, id, path)?, stop)?
    };
    Ok(Commit {
        id: id.to_string().into(),
        author: shown(author),
        committed_at: Time(commit.committer()?.seconds().saturating_mul(1000)),
        subject: shown(message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()),
        parent: parent.map(|parent| parent.to_string().into()),
        reverts: reverts.map(|hex| String::from_utf8_lossy(hex.as_bytes()).into()),
        added: added.references,
        config_maps: added.config_maps,
        values: added.values,
        scales: added.scales,
    })
}

/// Who commits writes them: they are shown to people, and no control character is needed for that.
fn shown(text: &[u8]) -> Arc<str> {
    let text = text.to_str_lossy();
    let letters = text.trim().chars().filter(|c| !c.is_control());
    letters.take(TEXT_LENGTH_MAX).collect::<String>().into()
}
