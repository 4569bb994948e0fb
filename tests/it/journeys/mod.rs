//! The timeline cases of `tests/journeys/`: a text says what happened in the world and which journeys are true.
//!
//! `world.rs` lets it happen and plays ideal observers, `run.rs` feeds a tracker, `check.rs` compares, and
//! `promises.rs` tries what must hold for every case. Nothing here knows how the tracker works. A new case is a new
//! text file; a new verb goes into `world.rs` or `verbs.rs` and into `tests/journeys/README.md`. `simulation/` writes
//! such stories by the thousand and has them played here.
//! `KNOTMETER_CASE=name` runs the cases whose file name contains it; `KNOTMETER_SHOW=1` also prints what the
//! observers said, as a journal would keep it.

pub mod case;
mod check;
pub mod cluster;
mod flux;
mod git;
pub mod promises;
pub mod random;
pub mod record;
mod registry;
pub mod run;
pub mod show;
pub mod text;
mod updater;
mod verbs;
pub mod workload;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use case::Case;
use check::Check;
use record::Delivery;
use run::Run;
use text::START;

#[test]
fn every_case_tells_its_journeys() {
    let wanted = std::env::var("KNOTMETER_CASE").unwrap_or_default();
    let (mut failures, mut ran) = (BTreeMap::new(), 0);
    for file in files().iter().filter(|file| name(file).contains(&wanted)) {
        ran += 1;
        let wrong = Case::read(file).and_then(|case| run_case(&case)).unwrap_or_else(|error| vec![error]);
        if !wrong.is_empty() {
            failures.insert(name(file), wrong);
        }
    }
    assert!(ran > 0, "no case is called {wanted:?}");
    let report: Vec<String> = failures.values().flatten().map(|wrong| format!("  {wrong}")).collect();
    let names: Vec<&str> = failures.keys().map(String::as_str).collect();
    assert!(
        report.is_empty(),
        "{} of {ran} cases fail:\n\n{}\n\nfailing: {}\n",
        failures.len(),
        report.join("\n\n"),
        names.join(" ")
    );
}

#[test]
fn every_rule_has_a_case() {
    let cases: Vec<Case> = files().iter().map(|file| Case::read(file).unwrap()).collect();
    let held: BTreeSet<u8> = cases.iter().flat_map(|case| case.rules.clone()).collect();
    assert_eq!(held, (1..=12).collect(), "rules of \"Joining\" with a case in tests/journeys");
    let numbers: BTreeSet<&str> = cases.iter().filter_map(|case| case.name.split('-').next()).collect();
    assert_eq!(numbers.len(), cases.len(), "two cases in tests/journeys share a number");
}

fn run_case(case: &Case) -> Result<Vec<String>, String> {
    let deliveries = world::observe(case)?;
    if std::env::var_os("KNOTMETER_SHOW").is_some() {
        deliveries.iter().for_each(show_delivery);
    }
    let names = text::digest_names(&case.text);
    let end = START + case.end();
    let mut check = Check { case, names: &names, wrong: Vec::new() };
    let mut moments: Vec<i64> = case.expect.iter().filter_map(|line| line.at).collect();
    moments.sort_unstable();
    moments.dedup();
    let mut plain = Run::default();
    let mut rest = deliveries.iter().peekable();
    for moment in moments.into_iter().map(Some).chain([None]) {
        let until = moment.map_or(end, |at| START + at);
        while let Some(delivery) = rest.next_if(|delivery| delivery.at() <= until) {
            plain.advance(delivery.at());
            plain.deliver(delivery.at(), delivery);
        }
        match moment {
            Some(_) => plain.advance(until),
            None => plain.finish(until),
        }
        check.at(moment, &plain);
    }
    let mut wrong = check.wrong;
    let broken = promises::broken(&deliveries, end, &plain, &names);
    wrong.extend(broken.into_iter().map(|broken| format!("{}: {broken}", case.file)));
    Ok(wrong)
}

fn show_delivery(delivery: &Delivery) {
    let at = text::show_time(delivery.at());
    match delivery {
        Delivery::Restart(_) => eprintln!("{at} restart"),
        Delivery::Observation(observation) => {
            let line = serde_json::to_string(observation).expect("an observation is JSON");
            eprintln!("{at} {line}");
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journeys");
    let entries = std::fs::read_dir(&folder).expect("tests/journeys is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
