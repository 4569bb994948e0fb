//! `knotmeter replay`: the journeys that come of a journal, an export or a bundle.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::args::{Output, ReplayArgs};
use super::{Exit, Usage, out, status};
use crate::journal::{Journal, import_lines};
use crate::observation::Observation;
use crate::tracker::{Event, Journey, JourneyId, JourneyView, Tracker};

/// How a journal begins; everything else is read as JSON lines.
const JOURNAL_MAGIC: &[u8] = b"redb";

/// Prints the journeys.
pub fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let only = args.journey.as_deref().map(journey_id).transpose()?;
    let mut replay = Replay::default();
    read(&args.file, &mut replay)?;
    let journeys = replay.end();
    let wanted = journeys
        .iter()
        .filter(|journey| only.is_none_or(|id| journey.id == id || journey.aliases.contains(&id)));
    let views = wanted.map(|journey| serde_json::to_value(JourneyView::from(journey)));
    let views: Vec<Value> = views.collect::<Result<_, _>>()?;
    match args.output {
        Output::Json => out::json(&views)?,
        Output::Yaml => out::yaml(&views)?,
        Output::Table | Output::Wide => status::print(&views.iter().collect::<Vec<_>>(), args.output, true)?,
    }
    if replay.unread > 0 {
        out::remark(format_args!("{} observations are of a newer program and were skipped", replay.unread));
    }
    if views.is_empty() {
        out::remark("No journeys found.");
    }
    Ok(Exit::Done)
}

/// An id as people paste it.
pub(super) fn journey_id(text: &str) -> Result<JourneyId, Usage> {
    let number = u64::from_str_radix(text, 16);
    number.map(JourneyId).map_err(|_| Usage(format!("{text:?} is no journey: an id has up to 16 hex digits")))
}

fn read(file: &Path, replay: &mut Replay) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return replay.lines(stdin().lock());
    }
    let mut opened =
        BufReader::new(File::open(file).with_context(|| format!("cannot read {}", file.display()))?);
    let front = opened.fill_buf().with_context(|| format!("cannot read {}", file.display()))?;
    if !front.starts_with(JOURNAL_MAGIC) {
        return replay.lines(opened).with_context(|| file.display().to_string());
    }
    drop(opened);
    for batch in Journal::open_existing(file)?.journal.everything()? {
        let batch = batch?;
        replay.unread += batch.unread;
        batch.observations.iter().for_each(|(_, observation)| replay.observe(observation));
    }
    Ok(())
}

/// A tracker, and what settled on the way.
#[derive(Default)]
pub(super) struct Replay {
    tracker: Tracker,
    settled: BTreeMap<JourneyId, Journey>,
    pub unread: u64,
}

impl Replay {
    /// Takes JSON lines in.
    pub fn lines(&mut self, from: impl BufRead) -> anyhow::Result<()> {
        for line in import_lines(from) {
            match serde_json::from_slice::<Observation>(&line?.json) {
                Ok(observation) => self.observe(&observation),
                Err(_) => self.unread += 1,
            }
        }
        Ok(())
    }

    fn observe(&mut self, observation: &Observation) {
        for event in self.tracker.observe(observation) {
            if let Event::Settled(journey) = event {
                self.settled.insert(journey.id, *journey);
            }
        }
    }

    /// Every journey, oldest first, as it was when the last observation was made.
    pub fn end(&mut self) -> Vec<Journey> {
        let mut journeys = std::mem::take(&mut self.settled);
        journeys.extend(self.tracker.journeys().map(|journey| (journey.id, journey.clone())));
        let mut journeys: Vec<Journey> = journeys.into_values().collect();
        journeys.sort_by_key(|journey| (journey.opened.not_after, journey.id));
        journeys
    }
}
