//! "Look now": how another part of the program says that something may have changed.
//!
//! A webhook is never believed, it only moves the next look forward. So this takes names and nothing else, and
//! answers at once. It costs a lookup and, for a name that is not noted yet, one entry: a flood about one
//! repository is one look, and a flood of invented names leaves nothing behind.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use tokio::sync::Notify;

use crate::image::{Repository, Tag};
use crate::observation::Measure;

/// Tags noted for one look. Beyond it the look comes all the same and finds what the list shows.
const TAGS_NOTED_MAX: usize = 64;

/// Tells the pollers that something known is due now. Clones share it; it never waits for a poller.
///
/// The look itself comes when the host may be asked: not before the end of its `Retry-After`, and not sooner than
/// [`COOL_DOWN`](super::COOL_DOWN) after the last look that was asked for in this way. Where tags are named, they alone
/// are asked for at first, and a few times again while they are not found: a look for tags costs a request for each. What
/// is asked while a look is under way gets another look after it, for the one under way may have read too early.
#[derive(Clone, Default)]
pub struct LookNow(Arc<Shared>);

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// It is noted; the look comes as soon as the host may be asked.
    Noted,
    /// It was noted already and that look has not begun yet: one look serves both.
    Coalesced,
    /// Nothing of that name is looked at. It is counted and forgotten.
    Unknown,
}

/// What a wish is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// All of the subject.
    Whole,
    /// Tags that are named.
    Tags,
}

/// Where the numbers about wishes go.
type Meter = Box<dyn Fn(Measure) + Send + Sync>;

#[derive(Default)]
struct Shared {
    /// By registry host. A desk whose poller has ended is nobody's.
    registries: RwLock<HashMap<Arc<str>, Weak<Desk<Repository>>>>,
    /// By [`comparable`] address.
    git: RwLock<HashMap<String, Followed>>,
    meter: Option<Meter>,
}

/// A git repository that is polled.
struct Followed {
    url: Arc<str>,
    branches: Vec<Arc<str>>,
    desk: Weak<Desk<Arc<str>>>,
}

impl LookNow {
    /// One that counts wishes.
    #[must_use]
    pub fn new(meter: impl Fn(Measure) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { meter: Some(Box::new(meter)), ..Shared::default() }))
    }

    /// A registry's repository may have changed, and which tag in it, if that is known: that tag is asked for its digest.
    pub fn repository(&self, repository: &Repository, tag: Option<&Tag>) -> Asked {
        let desks = self.0.registries.read().unwrap_or_else(PoisonError::into_inner);
        let desk = desks.get(repository.host()).and_then(Weak::upgrade);
        self.count("registry", desk.map_or(Asked::Unknown, |desk| desk.ask(repository, tag)))
    }

    /// A git repository may have changed, by any of its addresses: with or without `.git` and user, over https or
    /// ssh. One look asks for all of its followed branches; `branch` only tells whether there is one of them at
    /// all: `main`, or `refs/heads/main`.
    pub fn branch(&self, url: &str, branch: Option<&str>) -> Asked {
        let git = self.0.git.read().unwrap_or_else(PoisonError::into_inner);
        let branch = branch.map(|branch| branch.strip_prefix("refs/heads/").unwrap_or(branch));
        let followed = git.get(&comparable(url)).filter(|followed| {
            branch.is_none_or(|branch| followed.branches.iter().any(|one| &**one == branch))
        });
        let desk = followed.and_then(|followed| Some((&followed.url, followed.desk.upgrade()?)));
        self.count("git", desk.map_or(Asked::Unknown, |(url, desk)| desk.ask(url, None)))
    }

    /// Any git repository whose address fits may have changed: senders of webhooks often name no host, or one that
    /// is another outside. `Unknown` where none fits.
    pub fn branches(&self, fits: impl Fn(&str) -> bool, branch: Option<&str>) -> Asked {
        let urls: Vec<Arc<str>> = {
            let git = self.0.git.read().unwrap_or_else(PoisonError::into_inner);
            git.values().map(|followed| followed.url.clone()).filter(|url| fits(url)).collect()
        };
        let asked = urls.iter().map(|url| self.branch(url, branch));
        asked.reduce(|one, other| if one == Asked::Unknown { other } else { one }).unwrap_or(Asked::Unknown)
    }

    /// The desk of a registry's poller. What lies on an earlier one of that host is dropped.
    pub(in crate::observers) fn registry(&self, host: &Arc<str>) -> Arc<Desk<Repository>> {
        let desk = Arc::new(Desk::default());
        let mut desks = self.0.registries.write().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|_, desk| desk.strong_count() > 0);
        desks.insert(host.clone(), Arc::downgrade(&desk));
        desk
    }

    /// A git repository is polled by the owner of this desk from now on.
    pub(in crate::observers) fn follow(
        &self,
        url: &Arc<str>,
        branches: Vec<Arc<str>>,
        desk: &Arc<Desk<Arc<str>>>,
    ) {
        desk.know(url.clone());
        let followed = Followed { url: url.clone(), branches, desk: Arc::downgrade(desk) };
        let mut git = self.0.git.write().unwrap_or_else(PoisonError::into_inner);
        git.insert(comparable(url), followed);
    }

    fn count(&self, kind: &'static str, asked: Asked) -> Asked {
        if let Some(meter) = &self.0.meter {
            meter(Measure::LookAsked { kind, result: asked.as_str() });
        }
        asked
    }
}

impl std::fmt::Debug for LookNow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookNow").finish_non_exhaustive()
    }
}

impl Asked {
    /// The word used in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noted => "noted",
            Self::Coalesced => "coalesced",
            Self::Unknown => "unknown",
        }
    }
}

/// Where wishes about one host's repositories lie until their looks begin. It never holds more than is known.
#[derive(Debug)]
pub struct Desk<K> {
    notes: Mutex<Notes<K>>,
    rung: Notify,
}

#[derive(Debug)]
struct Notes<K> {
    known: HashSet<K>,
    /// Until the look begins.
    asked: HashMap<K, Noted>,
    /// Those of them that the poller has not heard of.
    fresh: Vec<(K, Wanted)>,
}

/// What is wanted of one subject; one of the two at least.
#[derive(Debug, Default)]
struct Noted {
    whole: bool,
    tags: BTreeSet<Tag>,
}

impl<K> Default for Desk<K> {
    fn default() -> Self {
        let notes = Notes { known: HashSet::new(), asked: HashMap::new(), fresh: Vec::new() };
        Self { notes: Mutex::new(notes), rung: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash> Desk<K> {
    /// Wishes about this are taken from now on.
    pub fn know(&self, key: K) {
        self.notes().known.insert(key);
    }

    /// Nobody looks at it any more.
    pub fn forget(&self, key: &K) {
        let mut notes = self.notes();
        notes.known.remove(key);
        notes.asked.remove(key);
    }

    /// Notes a wish.
    pub fn ask(&self, key: &K, tag: Option<&Tag>) -> Asked {
        let mut notes = self.notes();
        if !notes.known.contains(key) {
            return Asked::Unknown;
        }
        let noted = notes.asked.entry(key.clone()).or_default();
        let (wanted, is_new) = match tag {
            None => (Wanted::Whole, !std::mem::replace(&mut noted.whole, true)),
            Some(tag) => {
                let is_new = noted.tags.is_empty();
                if noted.tags.len() < TAGS_NOTED_MAX {
                    noted.tags.insert(tag.clone());
                }
                (Wanted::Tags, is_new)
            }
        };
        if !is_new {
            return Asked::Coalesced;
        }
        notes.fresh.push((key.clone(), wanted));
        drop(notes);
        self.rung.notify_one();
        Asked::Noted
    }

    /// Waits until there may be something new.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// What was noted since this was last called. It stays noted until its look begins.
    #[must_use]
    pub fn fresh(&self) -> Vec<(K, Wanted)> {
        std::mem::take(&mut self.notes().fresh)
    }

    /// A look begins, and serves what was noted so far: these tags. One that is not whole serves nothing else. `None`
    /// where nobody asked.
    #[must_use]
    pub fn begin(&self, key: &K, wanted: Wanted) -> Option<BTreeSet<Tag>> {
        let mut notes = self.notes();
        let noted = notes.asked.get_mut(key)?;
        let tags = std::mem::take(&mut noted.tags);
        let served = wanted == Wanted::Whole || !noted.whole;
        if served {
            notes.asked.remove(key);
        }
        notes.fresh.retain(|(fresh, wanted)| fresh != key || !served && *wanted == Wanted::Whole);
        Some(tags)
    }

    fn notes(&self) -> MutexGuard<'_, Notes<K>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all addresses of one git repository have in common: host and path.
fn comparable(url: &str) -> String {
    // `git@host:path`, as git writes ssh.
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(if scheme.is_empty() { ':' } else { '/' }).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    // The port of ssh is not that of https, and tells nothing about the repository.
    let host = match scheme {
        "ssh" => host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host),
        "https" => host.strip_suffix(":443").unwrap_or(&host),
        "http" => host.strip_suffix(":80").unwrap_or(&host),
        _ => &host,
    };
    let path = path.trim_matches(['/', ':']);
    format!("{host}/{}", path.strip_suffix(".git").unwrap_or(path))
}
