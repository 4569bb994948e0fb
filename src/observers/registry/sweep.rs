//! One look at one repository: list it, ask about the tags that matter, describe what is new, and report.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;

use super::client::{Client, HOST_CONCURRENCY};
use super::error::{Error, Problem};
use super::known::{Change, Known, NEGATIVE_MILLIS, Verdict};
use super::resolve::{self, NotDescribed, Resolution};
use super::room::Room;
use super::tags::{self, DROPPED_COUNTED_MAX, NO_CLUSTER};
use crate::image::{Digest, Repository, Tag};
use crate::observation::{
    Basis, CacheResult, Fact, ImageDescribed, Interval, LookFailure, Measure, RepositoryInterest, Scope,
    Subject, Time,
};
use crate::observers::schedule::Wanted;
use crate::observers::{Reporter, now};

/// Tags asked about in one look. A mass push is worked off over several looks instead of blocking one.
const QUESTIONS_MAX: usize = 500;
/// Tags asked about in a look that is for told tags only. One image has rarely more; the rest waits for the whole look
/// that follows.
const TOLD_QUESTIONS_MAX: usize = 8;
/// Images described in one look: each costs several requests.
const DESCRIPTIONS_PER_LOOK_MAX: usize = 100;
/// Digests noted as "to describe" in one repository. Beyond it new ones are dropped and counted.
const UNDESCRIBED_MAX: usize = 2000;
/// Descriptions kept of one host, oldest out first. One is about half a kilobyte.
const DESCRIPTIONS_MAX: usize = 20_000;

/// What the looks at one host share.
pub struct Host {
    pub client: Client,
    pub reporter: Reporter,
    /// Seconds between two looks at a repository that nothing hurries.
    pub interval_seconds: f64,
    /// For the names of the tags of all repositories.
    pub room: Room,
    descriptions: Mutex<Descriptions>,
}

/// A fact that is to be reported.
struct News {
    happened: Interval,
    basis: Basis,
    fact: Fact,
}

/// Descriptions by digest. A digest never changes, so an entry is good for ever.
#[derive(Default)]
struct Descriptions {
    by_digest: HashMap<Digest, Arc<ImageDescribed>>,
    in_order: VecDeque<Digest>,
}

impl Host {
    #[must_use]
    pub fn new(client: Client, reporter: Reporter, interval_seconds: f64, room: Room) -> Self {
        Self { client, reporter, interval_seconds, room, descriptions: Mutex::default() }
    }

    /// Looks at a repository once, so `late`, and reports what changed, then that the look is complete or why it is
    /// not. Where only tags are wanted, those that somebody told of are asked for. If there is news of one, the look
    /// becomes a complete one: what a policy selects is decided by all of the tags. Else it is none.
    ///
    /// # Errors
    /// What cut the look short, already reported.
    pub async fn sweep(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        wanted: Wanted,
        late: Duration,
    ) -> Result<(), Error> {
        let started = now();
        let outcome = match wanted {
            Wanted::Whole => self.look_whole(known, interest, late).await.map(Some),
            Wanted::Tags => self.look_for_told(known, interest, late).await,
        };
        let finished = now();
        let scope = Scope::Repository(known.repository.clone());
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(tags)) => {
                tracing::debug!(tags, "look completed");
                let interval_seconds = self.interval_seconds;
                let fact = Fact::LookCompleted { scope, started, finished, interval_seconds };
                self.reporter.fact(Interval::at(finished), Basis::Poll, fact).await;
                if wanted == Wanted::Tags {
                    self.ask_about_others(known, interest).await;
                }
                Ok(())
            }
            Err(problem) => {
                let error = Error::new(known.repository.as_str(), problem);
                let (failure, message) = (error.class(), error.to_string().into());
                tracing::info!(%error, failure = failure.as_str(), "look failed");
                let fact = Fact::LookFailed { scope, failure, message };
                self.reporter.fact(Interval::at(finished), Basis::Poll, fact).await;
                Err(error)
            }
        }
    }

    async fn look_whole(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        late: Duration,
    ) -> Result<usize, Problem> {
        let news = self.ask_about_told(known, interest, QUESTIONS_MAX).await?;
        let tags = self.look(known, interest, late, news).await?;
        let asked = self.ask_about_tags(known, interest).await;
        // What could be asked is described even if something else failed.
        self.describe_wanted(known, interest).await?;
        asked.map(|()| tags)
    }

    async fn look_for_told(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        late: Duration,
    ) -> Result<Option<usize>, Problem> {
        let news = self.ask_about_told(known, interest, TOLD_QUESTIONS_MAX).await?;
        if news.is_empty() {
            return Ok(None);
        }
        self.look(known, interest, late, news).await.map(Some)
    }

    /// `news` are reported last, so that they and the word that the look is complete come together: two commits to the
    /// journal would take longer than the list.
    async fn look(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        late: Duration,
        news: Vec<News>,
    ) -> Result<usize, Problem> {
        let listing = tags::list(&self.client, &known.repository, known.pages()).await;
        let listing = match listing {
            Ok(listing) => listing,
            Err(problem) => {
                self.report(news).await;
                return Err(problem);
            }
        };
        let (tags, finished) = (listing.tag_count(), listing.finished);
        if !known.place.get_or_insert_with(|| self.room.place()).resize(listing.names_bytes()) {
            let limit = self.room.limit() as u64;
            self.report(news).await;
            return Err(Problem::TooLarge { what: "bytes in the tags of all repositories", limit });
        }
        self.reporter.measure(Measure::RegistryScan {
            repository: known.repository.clone(),
            seconds: finished.seconds_since(listing.started),
            lag_seconds: late.as_secs_f64(),
            tags,
            unchanged: listing.unchanged,
        });
        match known.take(listing, self.client.limits().waiting_tags) {
            Change::First(tags) => {
                let fact = Fact::TagsListed { repository: known.repository.clone(), tags };
                self.reporter.fact(Interval::until(finished), Basis::Backfill, fact).await;
            }
            Change::Fresh(count) => tracing::debug!(fresh = count, "listed"),
        }
        for _ in 0..known.take_forgotten().min(DROPPED_COUNTED_MAX) {
            self.dropped("too_many_new_tags");
        }
        known.forget_unwanted(interest);
        self.report(news).await;
        Ok(tags)
    }

    /// What a look for told tags leaves for later, because somebody waits for its end. A whole look follows soon, and asks
    /// again for what fails here.
    async fn ask_about_others(&self, known: &mut Known, interest: &RepositoryInterest) {
        let asked = self.ask_about_tags(known, interest).await;
        let described = self.describe_wanted(known, interest).await;
        if let Err(problem) = asked.and(described) {
            tracing::debug!(repository = %known.repository, %problem, "left for the next look");
        }
    }

    async fn ask_about_tags(&self, known: &mut Known, interest: &RepositoryInterest) -> Result<(), Problem> {
        let questions = known.questions(interest.tags.iter(), interest.urgent, now(), QUESTIONS_MAX);
        self.ask_about(known, interest, questions, None).await
    }

    /// Asks for what somebody told of before anything else: somebody waits for it. Returns what is to be reported.
    async fn ask_about_told(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        limit: usize,
    ) -> Result<Vec<News>, Problem> {
        let questions = known.told_questions(&interest.tags, limit);
        let mut news = Vec::new();
        match self.ask_about(known, interest, questions, Some(&mut news)).await {
            // While it links a tag distribution answers 500, too. It is asked again, and the next whole look tells
            // whether it is broken.
            Ok(()) | Err(Problem::Status(500..=599)) => Ok(news),
            Err(problem) => {
                self.report(news).await;
                Err(problem)
            }
        }
    }

    async fn report(&self, news: impl IntoIterator<Item = News>) {
        for News { happened, basis, fact } in news {
            self.reporter.fact(happened, basis, fact).await;
        }
    }

    /// Reports what the answers tell, or puts it into `held`.
    async fn ask_about(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        questions: Vec<Tag>,
        mut held: Option<&mut Vec<News>>,
    ) -> Result<(), Problem> {
        let repository = known.repository.clone();
        let mut answers = futures::stream::iter(questions)
            .map(|tag| async {
                let answer = resolve::resolve(&self.client, &repository, &tag).await;
                (tag, answer)
            })
            .buffered(HOST_CONCURRENCY);
        while let Some((tag, answer)) = answers.next().await {
            match answer {
                Ok(answer) => {
                    let news = self.take_answer(known, interest, tag, answer);
                    match &mut held {
                        Some(held) => held.extend(news),
                        None => self.report(news).await,
                    }
                }
                // A tag whose digest only a pull could tell.
                Err(Problem::PullsUsedUp) => {
                    self.dropped("pull_limit");
                    known.postpone(&tag, now());
                }
                // One broken tag must not blind the repository.
                Err(problem) if is_about_content(&problem) => {
                    tracing::warn!(%tag, "{repository}:{tag}: {problem}");
                    self.dropped("broken_manifest");
                    known.postpone(&tag, now());
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    fn take_answer(
        &self,
        known: &mut Known,
        interest: &RepositoryInterest,
        tag: Tag,
        answer: Resolution,
    ) -> Option<News> {
        let repository = known.repository.clone();
        let in_use = interest.tags.contains(&tag);
        match known.answer(&tag, in_use, answer.digest.clone(), answer.asked, answer.answered) {
            Verdict::Unchanged | Verdict::NotFound => None,
            Verdict::Gone(happened) => {
                let fact = Fact::Absent { subject: Subject::Tag { repository, tag } };
                Some(News { happened, basis: Basis::Poll, fact })
            }
            Verdict::Points { happened, first } => {
                let digest = answer.digest?;
                let stamped = || self.reporter.stamps().of_tag(&repository, &tag, &digest, happened);
                let (happened, basis) = match (first, stamped()) {
                    (true, _) => (happened, Basis::Backfill),
                    (false, Some(stamped)) => (stamped, Basis::Webhook),
                    (false, None) => (happened, Basis::Poll),
                };
                Some(News { happened, basis, fact: Fact::TagPointsTo { repository, tag, digest } })
            }
        }
    }

    fn note_undescribed(&self, known: &mut Known, digest: &Digest, at: Time) {
        if known.described.contains(digest) || known.undescribed.contains_key(digest) {
            return;
        }
        if known.undescribed.len() >= UNDESCRIBED_MAX {
            self.dropped("undescribed");
            return;
        }
        known.undescribed.insert(digest.clone(), at);
    }

    /// Describes what is wanted and due: what a pod runs, and what a named tag points to. A tag that nobody names
    /// costs one HEAD when it comes and nothing else, for most images that are pushed are never deployed. Only a failure of the registry itself ends the look; a bad image is put off.
    async fn describe_wanted(&self, known: &mut Known, interest: &RepositoryInterest) -> Result<(), Problem> {
        let started = now();
        for digest in &interest.digests {
            self.note_undescribed(known, digest, started);
        }
        let undescribed =
            known.named_digests(&interest.tags).filter(|digest| !known.described.contains(digest));
        for digest in undescribed.cloned().collect::<Vec<_>>() {
            self.note_undescribed(known, &digest, started);
        }
        let due: Vec<Digest> = known
            .undescribed
            .iter()
            .filter(|(_, at)| **at <= started)
            .map(|(digest, _)| digest.clone())
            .take(DESCRIPTIONS_PER_LOOK_MAX)
            .collect();
        for digest in due {
            match self.describe(&known.repository, &digest).await {
                Ok(described) => {
                    known.undescribed.remove(&digest);
                    known.described.insert(digest);
                    let happened = Interval::until(now());
                    let fact = Fact::ImageDescribed(Box::new(described));
                    self.reporter.fact(happened, Basis::Poll, fact).await;
                }
                // What a pod runs may have its home elsewhere, and may be copied here later.
                Err(NotDescribed::Missing) if interest.digests.contains(&digest) => {
                    known.undescribed.insert(digest, now() + NEGATIVE_MILLIS);
                }
                Err(NotDescribed::Missing) => {
                    known.undescribed.remove(&digest);
                }
                Err(NotDescribed::NoBudget) => {
                    self.dropped("pull_limit");
                    known.undescribed.insert(digest, now() + NEGATIVE_MILLIS);
                }
                Err(NotDescribed::Failed(problem)) if is_about_content(&problem) => {
                    tracing::warn!("{}@{}: {problem}", known.repository, digest.short());
                    self.dropped("broken_manifest");
                    known.undescribed.insert(digest, now() + NEGATIVE_MILLIS);
                }
                Err(NotDescribed::Failed(problem)) => return Err(problem),
            }
        }
        Ok(())
    }

    async fn describe(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<ImageDescribed, NotDescribed> {
        let cached = self.descriptions().by_digest.get(digest).cloned();
        let result = if cached.is_some() { CacheResult::Hit } else { CacheResult::Miss };
        let (cluster, caller) = (NO_CLUSTER.clone(), "sweep");
        self.client.measure(Measure::CacheLookup { cluster, cache: "manifest", result, caller });
        // HEAD first: it is free everywhere, tells the pull limit, and a copy elsewhere is no presence here.
        if !resolve::is_present(&self.client, repository, digest).await? {
            return Err(NotDescribed::Missing);
        }
        if let Some(cached) = cached {
            return Ok(ImageDescribed { repository: repository.clone(), ..(*cached).clone() });
        }
        let described = resolve::describe(&self.client, repository, digest, now()).await?;
        let mut descriptions = self.descriptions();
        if descriptions.by_digest.insert(digest.clone(), Arc::new(described.clone())).is_none() {
            descriptions.in_order.push_back(digest.clone());
        }
        if descriptions.in_order.len() > DESCRIPTIONS_MAX
            && let Some(oldest) = descriptions.in_order.pop_front()
        {
            descriptions.by_digest.remove(&oldest);
        }
        Ok(described)
    }

    fn descriptions(&self) -> std::sync::MutexGuard<'_, Descriptions> {
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self, reason: &'static str) {
        self.client.measure(Measure::Dropped { source: self.client.source(), reason });
    }
}

/// The fault lies in one manifest, not in the registry or our way to it.
fn is_about_content(problem: &Problem) -> bool {
    problem.class() == LookFailure::Malformed
}
