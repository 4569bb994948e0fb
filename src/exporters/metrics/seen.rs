//! What is remembered between scrapes.

use std::collections::HashMap;

use super::gauges::{self, Revisions, remember_revisions};
use super::latch::Latch;
use super::place;
use super::text::Text;
use super::updater::Durations;
use crate::exporters::Snapshot;

/// Cluster, environment, namespace and app.
pub type Place<'a> = [&'a str; 4];

/// Only scrapes lock it: whoever feeds the numbers never waits for one.
#[derive(Debug)]
pub struct Seen {
    latches: [Latch; 3],
    revisions: Revisions,
    /// Apps of the last snapshot, with the number of the scrape that saw them: their totals have been started at 0.
    apps: HashMap<Box<str>, u64>,
    scrapes: u64,
}

impl Seen {
    pub fn new() -> Self {
        Self { latches: Latch::all(), revisions: HashMap::new(), apps: HashMap::new(), scrapes: 0 }
    }

    /// Remembers a snapshot; answers with the apps that were not in the one before.
    pub fn take_in<'a>(&mut self, snapshot: &'a Snapshot) -> Vec<Place<'a>> {
        for latch in &mut self.latches {
            latch.update(snapshot.at, &snapshot.journeys, &snapshot.destinations);
        }
        remember_revisions(&mut self.revisions, snapshot);
        self.scrapes += 1;
        let (mut new, mut seen) = (Vec::new(), 0);
        let mut key = String::new();
        for status in &snapshot.destinations {
            let place = place(&status.destination);
            key.clear();
            for part in place {
                key.push_str(part);
                // No name has it.
                key.push('\0');
            }
            match self.apps.get_mut(key.as_str()) {
                Some(scrape) => seen += usize::from(std::mem::replace(scrape, self.scrapes) != self.scrapes),
                None => {
                    self.apps.insert(key.as_str().into(), self.scrapes);
                    new.push(place);
                    seen += 1;
                }
            }
        }
        if seen < self.apps.len() {
            self.apps.retain(|_, scrape| *scrape == self.scrapes);
        }
        new
    }

    /// Writes the gauges of a snapshot that was taken in.
    pub fn write(&self, snapshot: &Snapshot, scans: &Durations, to: &mut Text) {
        gauges::write(snapshot, &self.revisions, scans, &self.latches, to);
    }
}
