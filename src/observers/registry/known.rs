//! What is known of one repository, and what a new listing changes in it. No I/O and no clock.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::names::Names;
use super::room::Place;
use super::tags::{Listing, Page};
use super::told::{Told, since};
use crate::image::{Digest, Repository, Tag};
use crate::observation::{Interval, LastLook, RepositoryInterest, Time};

/// Complete looks without a tag before we ask whether it is gone: lists are known to shrink and recover.
const LOOKS_WITHOUT_MIN: u32 = 2;
/// A tag that lists lack and that answers nevertheless is asked again after so many more looks.
const LOOKS_BETWEEN_QUESTIONS: u32 = 10;
/// A tag whose name looks fixed is checked at least this often: somebody may move it all the same. Each has its
/// own wait between half of it and all of it, so that hundreds are not due in one look.
const FIXED_TAG_CHECK_MILLIS: i64 = 10 * 60 * 1000;
/// Tags that nobody names and whose digest is kept all the same: most likely they will be named soon. A tag that
/// was forgotten costs one more question when it is.
const RESOLVED_UNNAMED_MAX: usize = 2000;
/// Digests noted as described that nobody asks for any more. One that was forgotten is described again when
/// somebody does.
const DESCRIBED_UNWANTED_MAX: usize = 2000;
/// What a list shows and is not there is asked again after this, then after twice as long, and so on: a registry lists
/// a tag an instant before it answers for it.
const LISTED_AGAIN_MILLIS: i64 = 2000;
/// What was not found, or was broken, is asked again after this.
pub const NEGATIVE_MILLIS: i64 = 10 * 60 * 1000;

/// The memory of one repository between looks.
#[derive(Debug)]
pub struct Known {
    pub repository: Repository,
    /// The last complete listing.
    pages: Vec<Page>,
    /// When the last complete listing began; `None` before the first.
    listed: Option<Time>,
    /// Tags that lists lack now and had before.
    missing: BTreeMap<Tag, Missing>,
    /// Tags that came after the first look and have no digest yet.
    pending: BTreeMap<Tag, Pending>,
    resolved: HashMap<Tag, Resolved>,
    /// Named tags without a digest: not there, or not readable.
    unresolved: HashMap<Tag, Unresolved>,
    pub told: Told,
    /// Digests said to be here.
    pub described: HashSet<Digest>,
    /// Digests that could not be described, and when to try again.
    pub undescribed: HashMap<Digest, Time>,
    /// What the pages take of the memory for all repositories; absent before the first listing.
    pub place: Option<Place>,
    /// Tags that were forgotten because too many came or went, since this was last asked.
    forgotten: usize,
}

#[derive(Debug)]
struct Missing {
    looks: u32,
    /// It had no digest yet when it left the list: when it came.
    pending: Option<Interval>,
    /// Start of the last complete listing that had it.
    last_listed: Time,
}

#[derive(Debug)]
struct Pending {
    happened: Interval,
    retry_at: Time,
    /// 404s so far.
    misses: u32,
}

#[derive(Debug)]
struct Resolved {
    digest: Digest,
    /// It pointed there at this time for certain.
    seen: Time,
    /// Start of the last check.
    checked: Time,
}

#[derive(Debug)]
struct Unresolved {
    asked: Time,
    /// The answer was 404, so what comes later is new.
    absent: bool,
}

/// What a listing brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// All tags of the first look, sorted.
    First(Vec<Tag>),
    /// How many tags were not there before.
    Fresh(usize),
}

/// What an answer about one tag means.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The tag points there since this interval; `first` if we did not know where it pointed before, although
    /// it may have for long.
    Points { happened: Interval, first: bool },
    /// As known.
    Unchanged,
    /// It is gone, since this interval.
    Gone(Interval),
    /// Not there, or not any more, and not proved gone either.
    NotFound,
}

impl Known {
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self {
            repository,
            pages: Vec::new(),
            listed: None,
            missing: BTreeMap::new(),
            pending: BTreeMap::new(),
            resolved: HashMap::new(),
            unresolved: HashMap::new(),
            told: Told::default(),
            described: HashSet::new(),
            undescribed: HashMap::new(),
            place: None,
            forgotten: 0,
        }
    }

    /// What an earlier process knew. `interest` tells which tags were checked again and again: where one of the
    /// others points was last seen when it was resolved.
    #[must_use]
    pub fn resumed(last: LastLook, interest: &RepositoryInterest) -> Self {
        let mut known = Self::new(last.repository);
        known.described = last.described.into_iter().collect();
        for tag in &last.tags {
            let Some((digest, resolved)) = &tag.digest else { continue };
            let seen = match interest.tags.contains(&tag.tag) {
                true if looks_mutable(tag.tag.as_str()) => last.started,
                true => last.started + -FIXED_TAG_CHECK_MILLIS,
                false => *resolved,
            };
            let seen = seen.max(*resolved);
            let resolved = Resolved { digest: digest.clone(), seen, checked: last.started };
            known.resolved.insert(tag.tag.clone(), resolved);
        }
        let names = last.tags.iter().map(|tag| Cow::Borrowed(tag.tag.as_str())).collect();
        known.pages = vec![Page::remembered(Names::pack(names), last.started)];
        known.listed = Some(last.started);
        known
    }

    /// How many tags were forgotten unasked since this was last called.
    pub fn take_forgotten(&mut self) -> usize {
        std::mem::take(&mut self.forgotten)
    }

    /// The pages to compare the next listing with.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Takes a complete listing. At most `waiting_max` tags that came or went wait for an answer.
    pub fn take(&mut self, listing: Listing, waiting_max: usize) -> Change {
        let (before, started) = (self.listed.replace(listing.started), listing.started);
        let Some(before) = before else {
            self.pages = listing.pages;
            return Change::First(sorted(&self.pages).filter_map(|(name, _)| name.parse().ok()).collect());
        };
        for missing in self.missing.values_mut() {
            missing.looks += 1;
        }
        // Evidence from before this list is worth less than the list, once what it shows is taken.
        let absent = self.told.take_absent();
        if listing.unchanged {
            return Change::Fresh(0);
        }
        let old = std::mem::take(&mut self.pages);
        let mut fresh = 0;
        for difference in differences(sorted(&old), sorted(&listing.pages)) {
            match difference {
                Difference::Gone(name) => self.miss(name, before),
                Difference::Came(name, answered) => {
                    let happened = since(Interval::new(before, answered), absent.get(name).copied());
                    fresh += usize::from(self.welcome(name, happened, started));
                }
            }
        }
        self.pages = listing.pages;
        self.forget_surplus(waiting_max);
        Change::Fresh(fresh)
    }

    /// A name that the list before had, and that this one lacks.
    fn miss(&mut self, name: &str, last_listed: Time) {
        let Ok(tag) = name.parse() else { return };
        let pending = self.pending.remove(name).map(|pending| pending.happened);
        self.missing.insert(tag, Missing { looks: 1, pending, last_listed });
    }

    /// A name that the list before lacked; true if it is to be asked about.
    fn welcome(&mut self, name: &str, happened: Interval, started: Time) -> bool {
        let happened = match self.missing.remove(name) {
            Some(Missing { pending: Some(happened), .. }) => happened,
            Some(Missing { pending: None, .. }) => return false,
            None if self.resolved.contains_key(name) || self.pending.contains_key(name) => return false,
            None => happened,
        };
        let Ok(tag) = name.parse() else { return false };
        self.pending.insert(tag, Pending { happened, retry_at: started, misses: 0 });
        true
    }

    /// A list that is another one at every look must not fill memory: what left longest ago goes first, then
    /// what came first. What is forgotten here is told again only when somebody names it.
    fn forget_surplus(&mut self, waiting_max: usize) {
        let surplus = (self.missing.len() + self.pending.len()).saturating_sub(waiting_max);
        if surplus == 0 {
            return;
        }
        self.forgotten += surplus;
        let gone = self.missing.iter().map(|(tag, missing)| (missing.last_listed, tag));
        for tag in oldest(gone, surplus) {
            self.missing.remove(&tag);
            self.resolved.remove(&tag);
        }
        let left = (self.missing.len() + self.pending.len()).saturating_sub(waiting_max);
        let came = self.pending.iter().map(|(tag, pending)| (pending.happened.not_after, tag));
        for tag in oldest(came, left) {
            self.pending.remove(&tag);
        }
    }

    /// Which told tags to ask about, at most `limit`. One that was listed from the beginning and that nobody names is
    /// forgotten: there is no digest with which to compare the answer. So are all before the first list.
    #[must_use]
    pub fn told_questions(&mut self, named: &BTreeSet<Tag>, limit: usize) -> Vec<Tag> {
        let mut told = std::mem::take(&mut self.told);
        told.keep(|tag| {
            let is_known = self.resolved.contains_key(tag) || self.pending.contains_key(tag);
            self.listed.is_some() && (named.contains(tag) || is_known || !self.is_listed(tag))
        });
        self.told = told;
        self.told.tags().iter().take(limit).cloned().collect()
    }

    fn is_listed(&self, tag: &Tag) -> bool {
        self.pages.iter().any(|page| page.names.iter().any(|name| name == tag.as_str()))
    }

    /// Which tags to ask about now: new ones, named ones that are due, and those that may be gone. At most
    /// `limit`, the rest waits for the next look.
    #[must_use]
    pub fn questions<'a>(
        &self,
        named: impl Iterator<Item = &'a Tag>,
        urgent: bool,
        now: Time,
        limit: usize,
    ) -> Vec<Tag> {
        // What is named comes first: it is little, and a flood of new tags must not delay it.
        let mut due: Vec<(Time, &Tag)> =
            named.filter_map(|tag| self.due(tag, urgent, now).map(|last| (last, tag))).collect();
        due.sort_unstable();
        let fresh = self.pending.iter().filter(|(_, pending)| pending.retry_at <= now).map(|(tag, _)| tag);
        let doubtful = self.missing.iter().filter(|(_, missing)| {
            missing.looks >= LOOKS_WITHOUT_MIN
                && (missing.looks - LOOKS_WITHOUT_MIN).is_multiple_of(LOOKS_BETWEEN_QUESTIONS)
        });
        let mut asked: HashSet<&Tag> = HashSet::new();
        let mut questions: Vec<Tag> = due
            .into_iter()
            .map(|(_, tag)| tag)
            .chain(fresh)
            .chain(doubtful.map(|(tag, _)| tag))
            .filter(|tag| asked.insert(tag))
            .cloned()
            .collect();
        questions.truncate(limit);
        questions
    }

    /// When a named tag was last asked about, if it is to be asked again.
    fn due(&self, tag: &Tag, urgent: bool, now: Time) -> Option<Time> {
        let (last, every) = match (self.resolved.get(tag), self.unresolved.get(tag)) {
            (Some(resolved), _) if looks_mutable(tag.as_str()) => (resolved.checked, 0),
            (Some(resolved), _) => (resolved.checked, fixed_tag_wait(tag)),
            (None, Some(unresolved)) => (unresolved.asked, NEGATIVE_MILLIS),
            (None, None) => match self.pending.get(tag) {
                Some(pending) if pending.retry_at > now => (pending.retry_at, 0),
                Some(_) | None => return Some(Time::MIN),
            },
        };
        (urgent || last + every <= now).then_some(last)
    }

    /// Takes the answer about a tag: its digest, or a 404. `is_named`: somebody wants to know where it points,
    /// and not only whether it is gone.
    pub fn answer(
        &mut self,
        tag: &Tag,
        is_named: bool,
        digest: Option<Digest>,
        asked: Time,
        answered: Time,
    ) -> Verdict {
        let Some(digest) = digest else { return self.answer_not_found(tag, asked, answered) };
        let pending_when_it_left = self.missing.get_mut(tag).and_then(|missing| missing.pending.take());
        let pending = self.pending.remove(tag).map(|pending| pending.happened).or(pending_when_it_left);
        let pending = pending.or_else(|| self.not_listed(tag, answered));
        let pending = pending.map(|happened| self.told.narrow(tag, happened));
        if !is_named && pending.is_none() && !self.resolved.contains_key(tag) {
            return Verdict::Unchanged;
        }
        let absent = self.unresolved.remove(tag).filter(|unresolved| unresolved.absent);
        let resolved = Resolved { digest: digest.clone(), seen: asked, checked: asked };
        let before = self.resolved.insert(tag.clone(), resolved);
        if before.as_ref().is_none_or(|before| before.digest != digest) {
            self.told.forget(tag);
        }
        match before {
            Some(before) if before.digest == digest => Verdict::Unchanged,
            Some(before) => Verdict::Points { happened: Interval::new(before.seen, answered), first: false },
            None => match pending.or(absent.map(|absent| Interval::new(absent.asked, answered))) {
                Some(happened) => Verdict::Points { happened, first: false },
                None => Verdict::Points { happened: Interval::until(answered), first: true },
            },
        }
    }

    /// When a told tag came that the last complete list lacks, and that no list before had.
    fn not_listed(&self, tag: &Tag, answered: Time) -> Option<Interval> {
        let is_new = self.told.tags().contains(tag)
            && !self.resolved.contains_key(tag)
            && !self.missing.contains_key(tag)
            && !self.is_listed(tag);
        self.listed.filter(|_| is_new).map(|listed| Interval::new(listed, answered))
    }

    fn answer_not_found(&mut self, tag: &Tag, asked: Time, answered: Time) -> Verdict {
        if let Some(pending) = self.pending.get_mut(tag) {
            let wait = LISTED_AGAIN_MILLIS.saturating_mul(1 << pending.misses.min(16));
            pending.retry_at = answered + wait.min(NEGATIVE_MILLIS);
            pending.misses += 1;
        }
        self.told.was_absent(tag, asked);
        match self.missing.get(tag) {
            Some(missing) if missing.looks >= LOOKS_WITHOUT_MIN => {
                let gone = Interval::new(missing.last_listed, answered);
                self.missing.remove(tag);
                self.pending.remove(tag);
                self.resolved.remove(tag);
                self.unresolved.insert(tag.clone(), Unresolved { asked, absent: true });
                Verdict::Gone(gone)
            }
            _ => {
                if !self.resolved.contains_key(tag) && !self.pending.contains_key(tag) {
                    self.unresolved.insert(tag.clone(), Unresolved { asked, absent: true });
                }
                Verdict::NotFound
            }
        }
    }

    /// A tag whose answer was broken: not asked again for a while.
    pub fn postpone(&mut self, tag: &Tag, now: Time) {
        self.told.forget(tag);
        if let Some(pending) = self.pending.get_mut(tag) {
            pending.retry_at = now + NEGATIVE_MILLIS;
        } else if !self.resolved.contains_key(tag) {
            self.unresolved.insert(tag.clone(), Unresolved { asked: now, absent: false });
        }
    }

    /// Digests that tags named there point to, as far as they are known.
    pub fn named_digests<'a>(&'a self, named: &'a BTreeSet<Tag>) -> impl Iterator<Item = &'a Digest> {
        named.iter().filter_map(|tag| Some(&self.resolved.get(tag)?.digest))
    }

    /// Forgets notes about what nobody names or wants any more, once they are many.
    pub fn forget_unwanted(&mut self, interest: &RepositoryInterest) {
        self.unresolved.retain(|tag, _| interest.tags.contains(tag));
        let surplus = self.resolved.len().saturating_sub(interest.tags.len() + RESOLVED_UNNAMED_MAX);
        if surplus > 0 {
            let unnamed = self.resolved.iter().filter(|(tag, _)| !interest.tags.contains(*tag));
            // Half of them go at once, so that this is rare.
            let count = surplus + RESOLVED_UNNAMED_MAX / 2;
            for tag in oldest(unnamed.map(|(tag, resolved)| (resolved.seen, tag)), count) {
                self.resolved.remove(&tag);
            }
        }
        if self.described.len() > interest.digests.len() + interest.tags.len() + DESCRIBED_UNWANTED_MAX {
            let named: HashSet<Digest> = self.named_digests(&interest.tags).cloned().collect();
            self.described.retain(|digest| interest.digests.contains(digest) || named.contains(digest));
        }
    }
}

/// One name that two lists do not share.
enum Difference<'a> {
    Gone(&'a str),
    /// It came on a page that was answered then.
    Came(&'a str, Time),
}

/// All names of pages in order, each once, with the time of its page. Pages that registries send follow one
/// another; others are sorted here.
fn sorted(pages: &[Page]) -> impl Iterator<Item = (&str, Time)> {
    let mut names: Vec<(&str, Time)> = Vec::with_capacity(pages.iter().map(|page| page.names.len()).sum());
    names.extend(pages.iter().flat_map(|page| page.names.iter().map(|name| (name, page.answered))));
    names.sort_by_key(|(name, _)| *name);
    names.dedup_by_key(|(name, _)| *name);
    names.into_iter()
}

/// Walks along two lists in order.
fn differences<'a>(
    old: impl Iterator<Item = (&'a str, Time)>,
    new: impl Iterator<Item = (&'a str, Time)>,
) -> impl Iterator<Item = Difference<'a>> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    std::iter::from_fn(move || {
        while let (Some((left, _)), Some((right, _))) = (old.peek(), new.peek()) {
            match left.cmp(right) {
                Ordering::Less => return old.next().map(|(name, _)| Difference::Gone(name)),
                Ordering::Greater => return new.next().map(|(name, at)| Difference::Came(name, at)),
                Ordering::Equal => (old.next(), new.next()),
            };
        }
        let gone = old.next().map(|(name, _)| Difference::Gone(name));
        gone.or_else(|| new.next().map(|(name, at)| Difference::Came(name, at)))
    })
}

/// The wait between two checks of a tag whose name looks fixed.
fn fixed_tag_wait(tag: &Tag) -> i64 {
    let mut hasher = DefaultHasher::new();
    tag.hash(&mut hasher);
    let half = FIXED_TAG_CHECK_MILLIS / 2;
    half + i64::try_from(hasher.finish() % half.unsigned_abs()).unwrap_or(0)
}

/// The tags of the smallest times, at most `count`.
fn oldest<'a>(tags: impl Iterator<Item = (Time, &'a Tag)>, count: usize) -> Vec<Tag> {
    let mut tags: Vec<(Time, &Tag)> = tags.collect();
    tags.sort_unstable();
    tags.into_iter().take(count).map(|(_, tag)| tag.clone()).collect()
}

/// Whether a tag's name suggests that it is moved on purpose: it is no full version, no date or build number,
/// and no commit. `latest`, `main`, `1` and `1.4` are; `1.4.2`, `build-20261105` and `main-3f2a9bc` are not.
#[must_use]
pub fn looks_mutable(tag: &str) -> bool {
    let is_version = tag.split(['-', '+', '_']).any(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        word.split('.').count() >= 3
            && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    });
    let is_number_or_commit = tag.split(['-', '.', '_']).any(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_hex = word.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex && digits > 0 && word.len() >= 6
    });
    !is_version && !is_number_or_commit
}
