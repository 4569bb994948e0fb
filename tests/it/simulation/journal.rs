//! The same story, remembered in a journal: our process is ended or killed at random moments, and the next one goes on
//! from the file, by the program's own way of recalling it.
//!
//! A kill leaves what was committed, so a copy of the file is what it would be. What was not handed over is said again
//! by whoever looks next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use knotmeter::app::memory::{self, Parts, Recalled};
use knotmeter::exporters::Snapshot;
use knotmeter::exporters::metrics::{Format, Metrics};
use knotmeter::journal::{Journal, Limits, Position, Writer};
use knotmeter::observation::{Observation, Time};
use knotmeter::tracker::{Event, JourneyId};

use crate::journeys::promises;
use crate::journeys::random::Random;
use crate::journeys::record::Delivery;
use crate::journeys::run::Run;
use crate::journeys::show::Names;

/// Far longer than any commit takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// About so many commits in each story.
const COMMITS: usize = 12;
/// Of a hundred commits so many are the last of their process.
const ENDS: u64 = 30;

/// What is wrong with the story told by one process after the other.
pub fn broken(deliveries: &[Delivery], end: Time, seed: u64, plain: &Run, names: &Names) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let lives = runtime.block_on(live(deliveries, end, Random(seed ^ 0x6a6f_7572_6e61_6c00)));
    let mut broken = lives.broken;
    broken.extend(promises::difference("a journal", plain, &lives.run, names));
    let lost = plain.settled.keys().filter(|id| !lives.told.contains_key(id));
    broken.extend(lost.map(|id| format!("journey {id} settled and was never told")));
    let counted = Metrics::new();
    plain.settled.values().for_each(|journey| counted.event(&Event::Settled(Box::new(journey.clone()))));
    let (right, totals) = (totals(&counted, end), totals(&lives.metrics, end));
    if right != totals {
        broken.push(format!("the totals are {totals:?} and should be {right:?}"));
    }
    broken
}

async fn live(deliveries: &[Delivery], end: Time, mut random: Random) -> Lives {
    let mut lives = Lives::begin();
    let mut rest = deliveries;
    while let Some(first) = rest.first() {
        let many = 1 + random.below(2 * deliveries.len() / COMMITS + 1);
        let batch =
            rest[..many.min(rest.len())].iter().take_while(|one| matches!(one, Delivery::Observation(_)));
        let count = batch.count();
        let ends = if count == 0 {
            rest = &rest[1..];
            let events = lives.take(&[], first.at()).await;
            lives.tell(events);
            true
        } else {
            let (batch, after) = rest.split_at(count);
            rest = after;
            let last = batch[count - 1].at();
            // What is late may say an earlier time.
            let next = after.first().map_or(end, Delivery::at).max(last);
            let until = if random.percent(50) { next } else { Time(random.between(last.0, next.0 + 1)) };
            let events = lives.take(batch, until).await;
            // Time alone led to something: no observation tells the next process.
            let by_time = events.later.iter().any(counts) && random.percent(50);
            let killed_before_told = random.percent(ENDS / 2);
            if !killed_before_told {
                lives.tell(events);
            }
            if !by_time && random.percent(30) {
                lives.checkpoint().await;
            }
            killed_before_told || by_time || random.percent(ENDS / 2)
        };
        if ends {
            let killed = lives.untold || random.percent(50);
            lives.next(killed).await;
        }
    }
    let events = lives.take(&[], end).await;
    lives.tell(events);
    lives.next(false).await;
    let before = lives.run.told.len();
    lives.run.finish(end);
    let later = lives.run.told[before..].to_vec();
    lives.tell(Led { said: Vec::new(), later });
    lives
}

/// One process after the other.
struct Lives {
    folder: tempfile::TempDir,
    number: u32,
    writer: Writer,
    metrics: Metrics,
    run: Run,
    position: Position,
    watermark: Position,
    /// The last batch was not told: only a kill may follow.
    untold: bool,
    /// What settled journeys were told, when the watermark became this; and whether time alone led to it, after that.
    told: BTreeMap<JourneyId, (Position, bool)>,
    broken: Vec<String>,
}

/// What a batch led to: what was said in it, and the time after it.
struct Led {
    said: Vec<Event>,
    later: Vec<Event>,
}

impl Lives {
    fn begin() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let opened = Journal::open(&folder.path().join("0"), Limits::default()).expect("a new journal");
        Self {
            folder,
            number: 0,
            writer: Writer::start(opened.journal).expect("a thread"),
            metrics: Metrics::new(),
            run: Run::default(),
            position: Position(0),
            watermark: Position(0),
            untold: false,
            told: BTreeMap::new(),
            broken: Vec::new(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(self.number.to_string())
    }

    /// Takes a batch in as the program does: handed over, observed, and durable before anything is told.
    async fn take(&mut self, batch: &[Delivery], until: Time) -> Led {
        let observations: Vec<Observation> = batch
            .iter()
            .filter_map(|one| match one {
                Delivery::Observation(observation) => Some((**observation).clone()),
                Delivery::Restart(_) => None,
            })
            .collect();
        if !observations.is_empty() {
            self.position = self.writer.append(Arc::new(observations), self.watermark);
        }
        let before = self.run.told.len();
        for delivery in batch {
            // Time passes with what is said, and alone only after a batch.
            self.run.deliver(delivery.at(), delivery);
        }
        let said = self.run.told.len();
        self.run.advance(until);
        let later = self.run.told[said..].to_vec();
        if let Some(now) = self.run.now.filter(|_| later.iter().any(counts)) {
            self.writer.advanced(now.0);
            assert!(self.writer.durable_advance(now.0, PATIENCE).await, "{:?}", self.writer.status());
        }
        assert!(self.writer.durable(self.position, PATIENCE).await, "{:?}", self.writer.status());
        self.untold = true;
        Led { said: self.run.told[before..said].to_vec(), later }
    }

    fn tell(&mut self, led: Led) {
        led.said.iter().chain(&led.later).for_each(|event| self.metrics.event(event));
        self.watermark = self.position;
        self.untold = false;
        self.note(&led.said, false);
        self.note(&led.later, true);
    }

    fn note(&mut self, events: &[Event], by_time: bool) {
        for event in events {
            if let Event::Settled(journey) = event {
                self.told.insert(journey.id, (self.watermark, by_time));
            }
        }
    }

    /// Only what was told may be in it: its totals are those of its position.
    async fn checkpoint(&mut self) {
        if self.untold {
            return;
        }
        let (tracker, metrics) = (self.run.tracker().checkpoint(), self.metrics.checkpoint());
        let parts = Parts { epoch: 1, tracker: &tracker, metrics: &metrics };
        self.writer.checkpoint(parts.write(), self.watermark);
        let written = async {
            while self.writer.status().checkpoint != Some(self.position) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("a checkpoint is written");
    }

    /// The process is gone, and the next one recalls what it can.
    async fn next(&mut self, killed: bool) {
        let before = totals(&self.metrics, Time(0));
        let file = self.file();
        self.number += 1;
        let next = self.file();
        if killed {
            std::fs::copy(&file, &next).expect("a copy");
            self.writer.finish();
        } else {
            self.checkpoint().await;
            self.writer.finish();
            std::fs::rename(&file, &next).expect("another name");
        }
        let opened = Journal::open(&next, Limits::default()).expect("the journal opens");
        self.broken.extend(opened.notes.iter().cloned());
        let told = opened.told;
        self.metrics = Metrics::new();
        let (journal, recalled) = memory::replay(opened, &self.metrics).expect("it reads");
        if journal.position() != self.position {
            let (found, right) = (journal.position(), self.position);
            self.broken.push(format!("the journal ends at {found}, and {right} were durable"));
        }
        self.watermark = self.position;
        self.untold = false;
        let Recalled { tracker, untold, .. } = recalled;
        self.run.replace(tracker);
        for event in &untold {
            let Event::Settled(journey) = event else { continue };
            // What the last batch led to may be told again, and what time led to after it.
            let again =
                self.told.get(&journey.id).filter(|(at, by_time)| *at < told || *at == told && !by_time);
            if again.is_some() || !killed {
                self.broken.push(format!("{} is told twice: {again:?}, below {told}", journey.id));
            }
        }
        // Time may have led to it, and does so again until something is observed.
        self.note(&untold, true);
        let after = totals(&self.metrics, Time(0));
        for (labels, count) in before {
            if after.get(&labels).is_none_or(|after| *after < count) {
                self.broken.push(format!("{labels} was {count} and is {:?}", after.get(&labels)));
            }
        }
        self.writer = Writer::start(journal).expect("a thread");
    }
}

fn counts(event: &Event) -> bool {
    matches!(event, Event::Settled(_) | Event::Restarted { .. })
}

/// `journeys_total` by its labels, where anything was counted.
fn totals(metrics: &Metrics, at: Time) -> BTreeMap<String, f64> {
    let text = metrics.encode(&Snapshot::empty(at), Format::Classic);
    let lines = text.lines().filter_map(|line| line.strip_prefix("knotmeter_journeys_total"));
    let numbers = lines.filter_map(|line| line.rsplit_once(' '));
    let numbers = numbers.map(|(labels, number)| (labels.to_owned(), number.parse().expect("a number")));
    numbers.filter(|(_, number)| *number > 0.0).collect()
}
