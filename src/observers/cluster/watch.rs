//! The loop of one resource: look, follow, resume, and look again when there is nothing to resume from.
//!
//! It moves bytes and times into the [`Stream`] and does what the [`Verdict`] says. It never ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::api::{Api, Failure};
use super::check::rbac_line;
use super::lines::{Line, Lines};
use super::pace::{Backoff, Pace, chance};
use super::refusal::{Step, Verdict};
use super::resource::Resource;
use super::served::{Served, served};
use super::stream::{DecodeError, Said, Stream};
use crate::observation::{Basis, Fact, Interval, LookFailure, Time};
use crate::observers::{Reporter, now};

/// Objects per page: what kubectl and the controllers ask for.
const PAGE_ITEMS: usize = 500;
/// Pages of one list: five million objects. More is a server that never ends.
const PAGES_MAX: usize = 10_000;
/// The server ends a watch after this many seconds and up to `WATCH_SECONDS_SPREAD` more, so that not all end at once.
const WATCH_SECONDS_MIN: f64 = 240.0;
const WATCH_SECONDS_SPREAD: f64 = 50.0;
/// How much later than it said a server may end a watch.
const WATCH_END_GRACE: Duration = Duration::from_secs(5);
/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// That there is still no such kind is said so often: most clusters lack an engine for ever.
const NOWHERE_SAID_EVERY: Duration = Duration::from_secs(600);
/// A failure that lasts is said again so often.
const FAILURE_SAID_EVERY: Duration = Duration::from_secs(60);

/// How one connection ended.
enum End {
    /// All pages were read.
    Listed,
    /// The watch was closed after this long, by the server, the network or our patience.
    Closed {
        lasted: Duration,
    },
    /// The watch never said anything, although bookmarks were due.
    Mute,
    /// The streaming list did not end: the server does not know the option.
    Unlisted,
    Failed {
        step: Step,
        failure: Failure,
    },
}

/// The watcher of one resource.
pub(super) struct Watcher {
    api: Api,
    resource: Resource,
    /// Where its objects are; unknown until the cluster has said which version it serves.
    path: Option<String>,
    stream: Stream,
    reporter: Reporter,
    /// Learned per cluster: one refusal is enough for all its resources.
    streaming_lists: Arc<AtomicBool>,
    pace: Pace,
    backoff: Backoff,
    looked: Option<Instant>,
    failure_said: Option<(LookFailure, Instant)>,
    /// The last look found no such kind.
    is_nowhere: bool,
    nowhere_said: Option<Instant>,
    page_items: usize,
}

impl Watcher {
    pub(super) fn new(
        api: Api,
        resource: Resource,
        stream: Stream,
        reporter: Reporter,
        streaming_lists: Arc<AtomicBool>,
        pace: Pace,
    ) -> Self {
        Self {
            api,
            resource,
            path: None,
            stream,
            reporter,
            streaming_lists,
            pace,
            backoff: Backoff::new(pace),
            looked: None,
            failure_said: None,
            is_nowhere: false,
            nowhere_said: None,
            page_items: PAGE_ITEMS,
        }
    }

    pub(super) async fn run(mut self) -> Infallible {
        loop {
            if self.path.is_none() && !self.find().await {
                continue;
            }
            let end = if self.stream.resume_from().is_some() {
                self.follow(Step::Watch).await
            } else if self.streaming_lists.load(Ordering::Relaxed) {
                self.follow(Step::StreamingList).await
            } else {
                self.list().await
            };
            self.stream.cut(now());
            self.settle(end).await;
        }
    }

    /// Learns where the objects are. False where it must be asked again, after a wait.
    async fn find(&mut self) -> bool {
        let asked_at = now();
        match served(&self.api, self.resource).await {
            Ok(Served::At(path)) => {
                (self.path, self.is_nowhere, self.nowhere_said) = (Some(path), false, None);
                return true;
            }
            Ok(Served::Unread(why)) => {
                self.is_nowhere = false;
                self.say_failure(LookFailure::Missing, &self.api.malformed(&why)).await;
            }
            Ok(Served::Nowhere) => self.nowhere(asked_at).await,
            Err(failure) => {
                self.is_nowhere = false;
                self.failed(Step::PagedList, failure).await;
                return false;
            }
        }
        // It may be installed later, or as another version.
        sleep(self.pace.rest.mul_f64(1.0 + chance() / 4.0)).await;
        false
    }

    /// Nothing is blind where there is nothing to see: of a kind that the cluster does not have there are no objects.
    async fn nowhere(&mut self, asked_at: Time) {
        // What was stored of it went with it.
        self.stream.forget_version();
        // An API server that has only just started does not know its custom kinds yet: twice in a row is no accident.
        if !std::mem::replace(&mut self.is_nowhere, true)
            || self.nowhere_said.is_some_and(|at| at.elapsed() < NOWHERE_SAID_EVERY)
        {
            return;
        }
        self.nowhere_said = Some(Instant::now());
        self.failure_said = None;
        let said = self.stream.nothing_there(asked_at, now(), NOWHERE_SAID_EVERY.as_secs_f64());
        self.report(said).await;
    }

    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
    }

    /// Does what the end of a connection asks for, and waits as long as it should.
    async fn settle(&mut self, end: End) {
        match end {
            // Only a watch that holds ends a row of failures: lists succeed even where every watch fails.
            End::Closed { lasted } if lasted >= self.pace.good_after => self.backoff.reset(),
            End::Closed { .. } => sleep(self.backoff.next()).await,
            // A server that was restored from a backup leaves out everything up to the version we had, and its
            // bookmarks with it. A dead connection looks the same, and a look does no harm there.
            End::Mute => {
                tracing::info!(resource = %self.resource, "looking again: the watch said nothing");
                self.stream.forget_version();
                sleep(self.backoff.next()).await;
            }
            End::Listed => {}
            End::Unlisted => self.fall_back("it did not end its list"),
            End::Failed { step, failure } => self.failed(step, failure).await,
        }
    }

    async fn failed(&mut self, step: Step, failure: Failure) {
        let (verdict, retry_after) = match &failure {
            Failure::Refused { refusal, .. } => (refusal.verdict(step), refusal.retry_after_seconds),
            Failure::TooLarge { .. } => {
                self.page_items = (self.page_items / 4).max(1);
                (Verdict::Again(LookFailure::Malformed), None)
            }
            Failure::Network { .. } => (Verdict::Again(LookFailure::Network), None),
            Failure::Malformed { .. } => {
                // Resuming would meet the same line again: a look passes it by.
                self.stream.forget_version();
                (Verdict::Again(LookFailure::Malformed), None)
            }
        };
        match verdict {
            Verdict::FallBack => self.fall_back(&failure.to_string()),
            Verdict::Relist => {
                tracing::info!(resource = %self.resource, "looking again: {failure}");
                self.stream.forget_version();
                // Versions that expire at once would make looks a hot loop.
                if self.looked.is_some_and(|at| at.elapsed() < self.pace.good_after) || step != Step::Watch {
                    sleep(self.backoff.next()).await;
                }
            }
            Verdict::Again(class) => {
                self.say_failure(class, &failure).await;
                let asked = Duration::from_secs(retry_after.unwrap_or_default()).min(RETRY_AFTER_MAX);
                sleep(self.backoff.next().max(asked)).await;
            }
            // What was allowed a moment ago is refused by an API server that has only just started.
            Verdict::Rest(class) if self.looked.is_some_and(|at| at.elapsed() < self.pace.rest * 10) => {
                // A kind may be served as another version by now, or not at all.
                self.path.take_if(|_| class == LookFailure::Missing);
                self.say_failure(class, &failure).await;
                sleep(self.backoff.next()).await;
            }
            Verdict::Rest(class) => {
                // Another version may be served by now.
                self.path = None;
                self.say_failure(class, &failure).await;
                sleep(self.pace.rest.mul_f64(1.0 + chance() / 4.0)).await;
            }
        }
    }

    fn fall_back(&mut self, why: &str) {
        if self.streaming_lists.swap(false, Ordering::Relaxed) {
            tracing::info!(cluster = %self.api.cluster, "no streaming lists here, listing in pages: {why}");
        }
    }

    /// Lists in pages. The watch that follows begins at the version of the list.
    async fn list(&mut self) -> End {
        let failed = |failure| End::Failed { step: Step::PagedList, failure };
        self.stream.begin_look(now());
        let (mut token, mut body) = (None, Vec::new());
        for _ in 0..PAGES_MAX {
            let path = self.list_path(token.as_deref());
            if let Err(failure) = self.api.get_into(&path, self.resource.accept(), &mut body).await {
                return failed(failure);
            }
            let at = now();
            let page = match self.stream.page(at, &body) {
                Ok(page) => page,
                Err(why) => {
                    let failure = self.api.malformed(&why);
                    if let DecodeError::Page { said, .. } = why {
                        self.report(said).await;
                    }
                    return failed(failure);
                }
            };
            self.report(page.said).await;
            token = page.next;
            if token.is_none() {
                let said = self.stream.listed(at, &page.version);
                self.report(said).await;
                self.good();
                return End::Listed;
            }
        }
        failed(self.api.malformed(&format!("{}: a list of more than {PAGES_MAX} pages", self.resource)))
    }

    /// Opens a watch and reads it to its end.
    async fn follow(&mut self, step: Step) -> End {
        let seconds = (WATCH_SECONDS_MIN + WATCH_SECONDS_SPREAD * chance()).floor();
        let path = self.watch_path(step, seconds);
        let asked_at = now();
        let mut body = match self.api.open(&path, self.resource.accept()).await {
            Ok(body) => body,
            Err(failure) => return End::Failed { step, failure },
        };
        let opened = Instant::now();
        if step == Step::StreamingList {
            self.stream.begin_look(asked_at);
        }
        let ends = opened + Duration::from_secs_f64(seconds) + WATCH_END_GRACE;
        let mut lines = Lines::default();
        let (mut heard_at, mut heard_any, mut mute) = (opened, false, true);
        // The time spent on what came is no silence of the server, and what comes meanwhile waits.
        let (mut busy, mut behind) = (Duration::ZERO, Duration::ZERO);
        let mut step = step;
        loop {
            let patience = match step {
                Step::StreamingList | Step::PagedList => {
                    (heard_at + self.pace.list_silence_max).min(opened + self.pace.list_time_max + busy)
                }
                Step::Watch if !heard_any => opened + self.pace.quiet_after,
                Step::Watch if self.resource.has_bookmarks() => {
                    (heard_at + self.pace.watch_silence_max).min(ends)
                }
                Step::Watch => ends,
            };
            let chunk = match timeout_at(patience, body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Err(_) if step != Step::Watch => return End::Unlisted,
                Err(_) if !heard_any => {
                    heard_any = true;
                    let said = self.stream.quiet(asked_at, now());
                    self.report(said).await;
                    continue;
                }
                Err(_) if mute && self.resource.has_bookmarks() => return End::Mute,
                // Closed, broken or silent: all three are resumed from the last version.
                Ok(_) | Err(_) => return End::Closed { lasted: opened.elapsed() },
            };
            (heard_any, mute) = (true, false);
            let came_at = Instant::now();
            behind = behind.saturating_sub(came_at - heard_at);
            self.stream.behind(behind.as_millis() as i64);
            lines.push(chunk);
            let read = self.read(&mut lines, step, now()).await;
            heard_at = Instant::now();
            busy += heard_at - came_at;
            behind += heard_at - came_at;
            match read {
                Ok(true) => {
                    self.good();
                    step = Step::Watch;
                }
                Ok(false) => {}
                Err(failure) => return End::Failed { step, failure },
            }
        }
    }

    /// Reads the lines that are whole. True where the initial list ended among them.
    async fn read(&mut self, lines: &mut Lines, step: Step, at: Time) -> Result<bool, Failure> {
        let mut listed = false;
        while let Some(line) = lines.next_line() {
            let line = match line {
                Line::Whole(line) => line,
                Line::TooLong => {
                    let said = self.stream.unreadable();
                    self.report(vec![said]).await;
                    continue;
                }
            };
            let heard = self.stream.event(at, &line).map_err(|why| self.api.malformed(&why))?;
            self.report(heard.said).await;
            listed |= heard.listed;
            if let Some(refusal) = heard.refusal {
                let cluster = self.api.cluster.clone();
                return Err(Failure::Refused { cluster, refusal });
            }
        }
        if !listed && step == Step::Watch {
            self.failure_said = None;
        }
        Ok(listed)
    }

    /// A look was completed.
    fn good(&mut self) {
        self.looked = Some(Instant::now());
        self.failure_said = None;
    }

    async fn report(&self, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Fact { happened, basis, fact } => self.reporter.fact(happened, basis, fact).await,
                Said::Measure(measure) => self.reporter.measure(measure),
            }
        }
    }

    /// Says that the look failed: at once when the reason is new, seldom while it stays.
    async fn say_failure(&mut self, class: LookFailure, failure: &Failure) {
        if self.failure_said.is_some_and(|(said, at)| said == class && at.elapsed() < FAILURE_SAID_EVERY) {
            return;
        }
        self.failure_said = Some((class, Instant::now()));
        let message = match class {
            LookFailure::Forbidden => format!("{failure}; grant it with {}", rbac_line(self.resource)),
            _ => failure.to_string(),
        };
        tracing::warn!(resource = %self.resource, "{message}");
        let fact =
            Fact::LookFailed { scope: self.stream.scope(), failure: class, message: message.as_str().into() };
        self.reporter.fact(Interval::at(now()), Basis::Poll, fact).await;
    }

    fn list_path(&self, token: Option<&str>) -> String {
        let mut path = format!("{}?limit={}", self.path(), self.page_items);
        self.select(&mut path);
        if let Some(token) = token {
            path.push_str("&continue=");
            escape(&mut path, token);
        }
        path
    }

    fn watch_path(&self, step: Step, seconds: f64) -> String {
        let base = self.path();
        let mut path = format!("{base}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}");
        self.select(&mut path);
        match self.stream.resume_from() {
            Some(version) if step == Step::Watch => {
                path.push_str("&resourceVersion=");
                escape(&mut path, version);
            }
            _ => path.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
        }
        path
    }

    fn select(&self, path: &mut String) {
        if let Some(selector) = self.resource.field_selector() {
            path.push_str("&fieldSelector=");
            escape(path, selector);
        }
    }
}

/// Adds a value to a query: tokens and versions are opaque and may hold anything.
fn escape(path: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte))
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
}
