//! What a case expects of the shop's own updater.

use knotmeter::observation::Time;
use knotmeter::tracker::{Detected, Event, Pushed};

use super::check::sample_fits;
use super::run::Run;

/// Words after `updater`. The error is what was said instead.
pub fn said(words: &[&str], run: &Run, now: Time) -> Result<(), String> {
    let count = |is_it: &dyn Fn(&Event) -> bool| run.told.iter().filter(|event| is_it(event)).count();
    let equal = |wanted: &str, actual: String| if *wanted == actual { Ok(()) } else { Err(actual) };
    let seconds = |found: Option<f64>| found.map_or("unknown".to_owned(), |seconds| seconds.to_string());
    match words {
        ["races", wanted] => equal(wanted, count(&|event| matches!(event, Event::Raced(_))).to_string()),
        ["commits", wanted] => equal(wanted, count(&|event| matches!(event, Event::Pushed(_))).to_string()),
        ["commit", id, references, images] => {
            let named = |pushed: &&Pushed| *pushed.commit == **id;
            let all: Vec<&Pushed> = pushed(run).filter(named).collect();
            let [found] = all.as_slice() else { return Err(format!("{} of {id}", all.len())) };
            equal(&format!("{references} {images}"), format!("{} {}", found.references, found.images))
        }
        ["lag", image, wanted] => {
            let named = |told: &&Detected| format!("{}:{}", told.repository, told.tag) == **image;
            let all: Vec<&Detected> = detected(run).filter(named).collect();
            match (all.as_slice(), *wanted) {
                ([], "unknown") => Ok(()),
                ([found], "negative") if found.lag.negative && found.lag.seconds == 0.0 => Ok(()),
                ([found], _) if !found.lag.negative && sample_fits(wanted, Some(found.lag)) => Ok(()),
                (all, _) => Err(format!("{:?}", all.iter().map(|told| told.lag).collect::<Vec<_>>())),
            }
        }
        [word @ ("age" | "pending"), repository, wanted] => {
            let scanners = run.tracker().updaters(now).scanners;
            let found = scanners.iter().find(|scanner| scanner.repository.as_str() == *repository);
            let Some(found) = found else { return Err("nobody scans it".to_owned()) };
            let actual = if *word == "age" { found.age_seconds } else { found.pending_seconds };
            equal(wanted, seconds(actual))
        }
        _ => Err("no such word of `updater`".to_owned()),
    }
}

fn pushed(run: &Run) -> impl Iterator<Item = &Pushed> {
    run.told.iter().filter_map(|event| match event {
        Event::Pushed(pushed) => Some(&**pushed),
        _ => None,
    })
}

fn detected(run: &Run) -> impl Iterator<Item = &Detected> {
    run.told.iter().filter_map(|event| match event {
        Event::Detected(detected) => Some(&**detected),
        _ => None,
    })
}
