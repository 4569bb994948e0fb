//! Cuts a failing story down to what it needs to fail.

use super::run::{Beside, wrong};
use super::story::{Story, Weather};

/// Stories tried. Each costs some milliseconds, and a failure is worth a second or two.
const TRIES_MAX: usize = 600;

/// The shortest story found that breaks the same promise.
pub fn shrink(story: &Story, seed: u64, weather: Weather, kind: &str) -> Story {
    let fails = |story: &Story| {
        wrong(story, seed, weather, Beside::All)
            .is_ok_and(|wrong| wrong.iter().any(|(found, _)| *found == kind))
    };
    let mut short = story.clone();
    let mut tries = 0;
    let mut size = (short.facts.len() / 2).max(1);
    loop {
        let before = short.facts.len();
        let mut at = short.facts.len();
        while at > 0 && tries < TRIES_MAX {
            let from = at.saturating_sub(size);
            let mut fewer = short.clone();
            fewer.facts.drain(from..at);
            tries += 1;
            if fails(&fewer) {
                short = fewer;
            }
            at = from;
        }
        if tries >= TRIES_MAX || (size == 1 && before == short.facts.len()) {
            return short;
        }
        size = (size / 2).max(1);
    }
}
