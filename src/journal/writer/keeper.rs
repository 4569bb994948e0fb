//! The thread that owns the journal: takes what is there, commits it, and comes back to what the disk refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::watch;

use super::super::compact::{Keep, Pass};
use super::super::error::Fault;
use super::super::row::Line;
use super::super::store::Told;
use super::super::{Error, Journal, Limits, Position, State};
use super::Progress;
use super::pending::Pending;
use super::queue::{Command, Shared, Taken};

/// Between two commits under load: what comes meanwhile shares the next one's sync.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Commits that need not wait for each other after a while of silence: what belongs together comes in a few batches, and
/// somebody may be waiting for the last.
const COMMITS_AT_ONCE: u32 = 4;
/// First wait after the disk refused.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest wait after the disk refused: so soon after room was made it goes on.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How often the limits are looked at.
const LIMITS_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// See the file's front line.
pub struct Keeper {
    path: PathBuf,
    limits: Limits,
    /// Absent where it could not be opened yet.
    journal: Option<Journal>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    pending: Pending,
    told: Position,
    /// The tracker's time that is to be written with the next commit.
    advanced: i64,
    /// The one that was.
    advanced_written: i64,
    keep: Option<Keep>,
    pass: Option<Pass>,
    limits_checked: Option<Instant>,
    /// The disk refused: when to try again, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
    /// Until when the commits so far have used up their share of the time.
    used_until: Instant,
}

impl Keeper {
    pub fn over(journal: Journal, shared: Arc<Shared>, progress: watch::Sender<Progress>) -> Self {
        let at = journal.position();
        let path = journal.path().to_owned();
        let limits = journal.limits;
        let keeper = Self { journal: Some(journal), ..Self::at(at, path, limits, shared, progress) };
        keeper.say_stored();
        keeper
    }

    pub fn without(
        path: PathBuf,
        limits: Limits,
        why: String,
        shared: Arc<Shared>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let at = progress.borrow().durable;
        let mut keeper = Self::at(at, path, limits, shared, progress);
        // Whatever the file may hold, it does not lead to the present state.
        keeper.pending.lost(at);
        keeper.refused(why);
        keeper
    }

    fn at(
        at: Position,
        path: PathBuf,
        limits: Limits,
        shared: Arc<Shared>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            path,
            limits,
            journal: None,
            shared,
            progress,
            pending: Pending::new(at, limits.waiting_bytes_max),
            told: at,
            advanced: i64::MIN,
            advanced_written: i64::MIN,
            keep: None,
            pass: None,
            limits_checked: None,
            retry: None,
            used_until: Instant::now(),
        }
    }

    pub fn run(mut self) {
        loop {
            let Taken { commands, told, advanced, closing } = self.shared.take(self.wait(), self.advanced);
            (self.told, self.advanced) = (told, advanced);
            for command in commands {
                self.take(command);
            }
            if closing {
                self.commit();
                return;
            }
            if self.retry.is_none_or(|(at, _)| at <= Instant::now()) {
                self.commit();
                self.compact();
            }
        }
    }

    /// How long to wait for something new.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        match self.retry {
            Some((at, _)) => at.saturating_duration_since(now),
            None if self.pass.is_some() => Duration::ZERO,
            None => LIMITS_CHECK_INTERVAL,
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Append { start, observations } => {
                let lines: Vec<Line> = observations.iter().map(Line::of).collect();
                self.pending.add(start, &lines);
            }
            Command::Lost { start, end } => {
                self.pending.add_gap(start);
                self.pending.add_gap(end);
            }
            Command::Checkpoint(checkpoint) => self.pending.checkpoint = Some(checkpoint),
            Command::Keep(keep) => self.keep = Some(keep),
            Command::Since { at, reply } => {
                let found = match &self.journal {
                    Some(journal) => journal.since(at).map_err(|error| error.to_string()),
                    None => Err("the journal is not open now".into()),
                };
                // Nobody waits for the answer any more: that is theirs to decide.
                let _ = reply.send(found);
            }
        }
    }

    fn commit(&mut self) {
        let nothing = self.pending.is_empty() && self.advanced <= self.advanced_written;
        if nothing && self.retry.is_none() {
            return;
        }
        let ahead = Instant::now() + COMMIT_INTERVAL_MIN * (COMMITS_AT_ONCE - 1);
        self.shared.pause(self.used_until.saturating_duration_since(ahead));
        let started = Instant::now();
        self.shared.committing(Some(started));
        let outcome = self.try_commit();
        self.shared.committing(None);
        self.used_until = self.used_until.max(Instant::now()) + COMMIT_INTERVAL_MIN;
        match outcome {
            Ok(()) => self.committed(started.elapsed()),
            Err(Fault::Damaged(what)) => self.rebuild(&what),
            Err(fault) => self.refused(fault.at(&self.path).to_string()),
        }
    }

    fn try_commit(&mut self) -> Result<(), Fault> {
        if self.retry.is_some() {
            // After a refusal the engine wants to be opened anew.
            match &mut self.journal {
                Some(journal) => journal.reopen()?,
                None => self.journal = Some(self.open()?),
            }
            let head = self.journal.as_ref().map_or(Position(0), Journal::position);
            self.pending.follow(head);
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let checkpoint = self.pending.checkpoint.take();
        let written = journal.write(
            self.pending.rows(),
            Told { position: self.told, at: self.advanced },
            checkpoint.as_ref(),
        );
        self.pending.checkpoint = checkpoint;
        written
    }

    fn open(&self) -> Result<Journal, Fault> {
        match Journal::open(&self.path, self.limits) {
            Ok(opened) => {
                opened.notes.into_iter().for_each(|note| self.shared.note(note));
                Ok(opened.journal)
            }
            Err(Error::Damaged { what, .. }) => Err(Fault::Damaged(what)),
            Err(Error::Disk { source, .. }) => Err(Fault::Disk(source)),
            Err(error) => Err(Fault::Disk(std::io::Error::other(error.to_string()))),
        }
    }

    fn committed(&mut self, took: Duration) {
        let Some(journal) = &self.journal else { return };
        let head = journal.position();
        self.pending.written(head, journal.checkpoint);
        if self.retry.take().is_some() {
            tracing::info!(journal = %self.path.display(), "the journal is written again");
        }
        self.shared.say(|status| {
            status.state = State::Ok;
            status.last_commit_seconds = Some(took.as_secs_f64());
            status.commits += 1;
        });
        self.say_stored();
        self.advanced_written = self.advanced;
        self.progress.send_replace(Progress { durable: head, advanced: self.advanced, degraded: false });
    }

    fn refused(&mut self, why: String) {
        let wait = self.retry.map_or(RETRY_MIN, |(_, wait)| (wait * 2).min(RETRY_MAX));
        if self.retry.is_none() {
            tracing::error!("{why}; observations stay in memory until it can be written again");
        }
        self.retry = Some((Instant::now() + wait, wait));
        self.pass = None;
        self.shared.say(|status| status.state = State::Degraded(why));
        self.say_stored();
        self.progress.send_modify(|progress| progress.degraded = true);
    }

    /// What is stored is not what was written: begin anew, with the present state as soon as it is given.
    fn rebuild(&mut self, what: &str) {
        self.pass = None;
        let Some(journal) = &mut self.journal else {
            self.refused(what.into());
            return;
        };
        match journal.recover(what) {
            Ok(note) => {
                let head = journal.position();
                self.shared.note(note);
                self.shared.say(|status| status.rebuilt += 1);
                self.pending.follow(head);
                self.pending.lost(head);
                self.say_stored();
                // A disk that breaks every file must not be given one after the other without a pause.
                let wait = self.retry.map_or(RETRY_MIN, |(_, wait)| (wait * 2).min(RETRY_MAX));
                self.retry = Some((Instant::now() + wait, wait));
            }
            Err(fault) => {
                self.journal = None;
                self.refused(fault.at(&self.path).to_string());
            }
        }
    }

    fn compact(&mut self) {
        let (Some(journal), Some(keep)) = (&mut self.journal, &self.keep) else { return };
        if self.retry.is_some() {
            return;
        }
        let mut ended = None;
        let outcome = match &mut self.pass {
            Some(pass) => {
                // A step commits too, and may hang as one.
                self.shared.committing(Some(Instant::now()));
                let stepped = journal.step(pass);
                self.shared.committing(None);
                stepped.map(|through| {
                    if through {
                        ended = Some(pass.done());
                    }
                })
            }
            None if self.limits_checked.is_none_or(|at| at.elapsed() >= LIMITS_CHECK_INTERVAL) => {
                self.limits_checked = Some(Instant::now());
                let now = Utc::now().timestamp_millis();
                journal.begin_pass(keep.clone(), now).map(|pass| self.pass = pass)
            }
            None => Ok(()),
        };
        if let Some(done) = ended {
            self.pass = None;
            self.shared.say(|status| status.compacted += done.dropped);
            tracing::info!(dropped = done.dropped, bytes = done.bytes, "the journal was compacted");
        }
        match outcome {
            Ok(()) => self.say_stored(),
            Err(Fault::Damaged(what)) => self.rebuild(&what),
            Err(fault) => self.refused(fault.at(&self.path).to_string()),
        }
    }

    fn say_stored(&self) {
        let (lost, dropped) = (self.pending.lost_until, self.pending.dropped);
        let journal = self.journal.as_ref();
        self.shared.say(|status| {
            status.dropped = dropped;
            status.wants_checkpoint = lost.is_some() && self.retry.is_none() && journal.is_some();
            if let Some(journal) = journal {
                status.durable = journal.position();
                status.stored = journal.stored().lines;
                status.bytes_on_disk = journal.bytes_on_disk();
                status.checkpoint = journal.checkpoint;
            }
        });
    }
}
