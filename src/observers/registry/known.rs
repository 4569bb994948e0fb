//! What is known of one repository, and what a new listing changes in it. No I/O and no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::tags::{Listing, Page};
use crate::image::{Digest, Repository, Tag};
use crate::observation::{Interval, Time};

/// Complete looks without a tag before we ask whether it is gone: lists are known to shrink and recover.
const LOOKS_WITHOUT_MIN: u32 = 2;
/// A tag that lists lack and that answers nevertheless is asked again after so many more looks.
const LOOKS_BETWEEN_QUESTIONS: u32 = 10;
/// A tag whose name looks fixed is checked this often: somebody may move it all the same.
const FIXED_TAG_CHECK_MILLIS: i64 = 10 * 60 * 1000;
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
    /// Digests said to be here.
    pub described: HashSet<Digest>,
    /// Digests that could not be described, and when to try again.
    pub undescribed: HashMap<Digest, Time>,
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
}

#[derive(Debug)]
struct Resolved {
    digest: Digest,
    /// Start of the last check that saw this digest.
    seen: Time,
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
            described: HashSet::new(),
            undescribed: HashMap::new(),
            forgotten: 0,
        }
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
            let mut tags: Vec<Tag> = self.pages.iter().flat_map(|page| page.tags.iter().cloned()).collect();
            tags.sort_unstable();
            tags.dedup();
            return Change::First(tags);
        };
        for missing in self.missing.values_mut() {
            missing.looks += 1;
        }
        if listing.unchanged {
            return Change::Fresh(0);
        }
        let old: HashSet<&Tag> = self.pages.iter().flat_map(|page| page.tags.iter()).collect();
        let new: HashSet<&Tag> = listing.pages.iter().flat_map(|page| page.tags.iter()).collect();
        for tag in old.difference(&new) {
            let pending = self.pending.remove(*tag).map(|pending| pending.happened);
            self.missing.insert((*tag).clone(), Missing { looks: 1, pending, last_listed: before });
        }
        let mut fresh = 0;
        for page in &listing.pages {
            for tag in page.tags.iter().filter(|tag| !old.contains(tag)) {
                let happened = match self.missing.remove(tag) {
                    Some(Missing { pending: Some(happened), .. }) => happened,
                    Some(Missing { pending: None, .. }) => continue,
                    None if self.resolved.contains_key(tag) || self.pending.contains_key(tag) => continue,
                    None => Interval::new(before, page.answered),
                };
                self.pending.insert(tag.clone(), Pending { happened, retry_at: started });
                fresh += 1;
            }
        }
        self.pages = listing.pages;
        self.forget_surplus(waiting_max);
        Change::Fresh(fresh)
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
            (Some(resolved), _) if looks_mutable(tag.as_str()) => (resolved.seen, 0),
            (Some(resolved), _) => (resolved.seen, FIXED_TAG_CHECK_MILLIS),
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
        if !is_named && pending.is_none() && !self.resolved.contains_key(tag) {
            return Verdict::Unchanged;
        }
        let absent = self.unresolved.remove(tag).filter(|unresolved| unresolved.absent);
        let before = self.resolved.insert(tag.clone(), Resolved { digest: digest.clone(), seen: asked });
        match before {
            Some(before) if before.digest == digest => Verdict::Unchanged,
            Some(before) => Verdict::Points { happened: Interval::new(before.seen, answered), first: false },
            None => match pending.or(absent.map(|absent| Interval::new(absent.asked, answered))) {
                Some(happened) => Verdict::Points { happened, first: false },
                None => Verdict::Points { happened: Interval::until(answered), first: true },
            },
        }
    }

    fn answer_not_found(&mut self, tag: &Tag, asked: Time, answered: Time) -> Verdict {
        if let Some(pending) = self.pending.get_mut(tag) {
            pending.retry_at = answered + NEGATIVE_MILLIS;
        }
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
        if let Some(pending) = self.pending.get_mut(tag) {
            pending.retry_at = now + NEGATIVE_MILLIS;
        } else if !self.resolved.contains_key(tag) {
            self.unresolved.insert(tag.clone(), Unresolved { asked: now, absent: false });
        }
    }

    /// Forgets notes about tags that nobody names any more.
    pub fn forget_unnamed(&mut self, is_named: impl Fn(&Tag) -> bool) {
        self.unresolved.retain(|tag, _| is_named(tag));
    }
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
