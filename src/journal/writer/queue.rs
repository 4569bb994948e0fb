//! What was handed over and not taken yet, and how it all is: shared between the thread and everybody else.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::{Checkpoint, Keep, Position, State, Status, Tail};
use super::SLOW_AFTER;
use crate::observation::Observation;

/// Messages about the file that wait for somebody to tell them.
const NOTES_MAX: usize = 16;

/// Something for the thread to do.
pub enum Command {
    Append {
        start: Position,
        observations: Arc<Vec<Observation>>,
    },
    /// These were dropped here already.
    Lost {
        start: Position,
        end: Position,
    },
    Checkpoint(Checkpoint),
    Keep(Keep),
    Since {
        at: i64,
        reply: oneshot::Sender<Result<Tail, String>>,
    },
}

/// See the file's front line.
#[derive(Debug)]
pub struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    status: Mutex<Known>,
}

struct Queue {
    commands: VecDeque<Command>,
    /// Observations in it.
    observations: usize,
    observations_max: usize,
    /// Where the next observation will stand.
    head: Position,
    told: Position,
    advanced: i64,
    dropped: u64,
    closing: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("commands", &self.commands.len()).field("head", &self.head).finish()
    }
}

/// What the thread says of itself.
#[derive(Debug)]
struct Known {
    status: Status,
    /// A commit is under way since then.
    committing: Option<Instant>,
    notes: Vec<String>,
}

/// What the thread takes in one go.
pub struct Taken {
    pub commands: VecDeque<Command>,
    pub told: Position,
    pub advanced: i64,
    pub closing: bool,
}

impl Shared {
    /// `observations_max`: how many may wait here.
    pub fn new(at: Position, observations_max: usize) -> Self {
        let queue = Queue {
            observations_max,
            commands: VecDeque::new(),
            observations: 0,
            head: at,
            told: at,
            advanced: i64::MIN,
            dropped: 0,
            closing: false,
        };
        let status = Status { state: State::Ok, position: at, durable: at, ..Status::off() };
        Self {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            status: Mutex::new(Known { status, committing: None, notes: Vec::new() }),
        }
    }

    pub fn append(&self, observations: Arc<Vec<Observation>>, told: Position) -> Position {
        let mut queue = self.queue();
        let start = queue.head;
        queue.head = Position(start.0 + observations.len() as u64);
        queue.told = queue.told.max(told);
        if !observations.is_empty() {
            queue.observations += observations.len();
            queue.commands.push_back(Command::Append { start, observations });
            queue.drop_surplus();
        }
        let head = queue.head;
        drop(queue);
        self.wake.notify_one();
        head
    }

    pub fn checkpoint(&self, bytes: Vec<u8>, told: Position) {
        let mut queue = self.queue();
        queue.told = queue.told.max(told);
        // An older one that nobody has taken yet is of no use any more.
        queue.commands.retain(|command| !matches!(command, Command::Checkpoint(_)));
        let checkpoint = Checkpoint { position: queue.head, settled: queue.told, bytes };
        queue.commands.push_back(Command::Checkpoint(checkpoint));
        drop(queue);
        self.wake.notify_one();
    }

    pub fn push(&self, command: Command) {
        let mut queue = self.queue();
        if matches!(command, Command::Keep(_)) {
            queue.commands.retain(|command| !matches!(command, Command::Keep(_)));
        }
        queue.commands.push_back(command);
        drop(queue);
        self.wake.notify_one();
    }

    pub fn advanced(&self, at: i64) {
        let mut queue = self.queue();
        queue.advanced = queue.advanced.max(at);
        drop(queue);
        self.wake.notify_one();
    }

    pub fn close(&self) {
        self.queue().closing = true;
        self.wake.notify_one();
    }

    /// Takes everything, waiting for something to come for at most `wait`; also for a later time than `advanced`.
    pub fn take(&self, wait: Duration, advanced: i64) -> Taken {
        let queue = self.queue();
        let idle =
            |queue: &mut Queue| queue.commands.is_empty() && queue.advanced <= advanced && !queue.closing;
        let (mut queue, _) =
            self.wake.wait_timeout_while(queue, wait, idle).unwrap_or_else(PoisonError::into_inner);
        queue.observations = 0;
        Taken {
            commands: std::mem::take(&mut queue.commands),
            told: queue.told,
            advanced: queue.advanced,
            closing: queue.closing,
        }
    }

    /// Waits, but not once the program is ending.
    pub fn pause(&self, wait: Duration) {
        let queue = self.queue();
        drop(self.wake.wait_timeout_while(queue, wait, |queue| !queue.closing));
    }

    pub fn status(&self, now: Instant) -> Status {
        let known = self.known();
        let mut status = known.status.clone();
        if let Some(since) = known.committing
            && status.state == State::Ok
            && now.duration_since(since) > SLOW_AFTER
        {
            let seconds = now.duration_since(since).as_secs();
            status.state = State::Degraded(format!("a commit takes {seconds} s so far: the disk is slow"));
        }
        drop(known);
        let queue = self.queue();
        status.position = queue.head;
        status.dropped += queue.dropped;
        status.queued = queue.head.0.saturating_sub(status.durable.0);
        status
    }

    /// Changes what is known of the thread.
    pub fn say(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.known().status);
    }

    pub fn committing(&self, since: Option<Instant>) {
        self.known().committing = since;
    }

    pub fn note(&self, note: String) {
        tracing::error!("{note}");
        let mut known = self.known();
        known.notes.push(note);
        let surplus = known.notes.len().saturating_sub(NOTES_MAX);
        known.notes.drain(..surplus);
    }

    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.known().notes)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Beyond the bound the oldest observations go; that they were there is remembered.
    fn drop_surplus(&mut self) {
        while self.observations > self.observations_max {
            let oldest = self.commands.iter().position(|command| matches!(command, Command::Append { .. }));
            let Some(at) = oldest else { return };
            let Command::Append { start, observations } = &self.commands[at] else { return };
            let (start, count) = (*start, observations.len());
            let end = Position(start.0 + count as u64);
            self.observations -= count;
            self.dropped += count as u64;
            match at.checked_sub(1).and_then(|before| self.commands.get_mut(before)) {
                Some(Command::Lost { end: lost, .. }) if *lost == start => {
                    *lost = end;
                    self.commands.remove(at);
                }
                _ => self.commands[at] = Command::Lost { start, end },
            }
        }
    }
}
