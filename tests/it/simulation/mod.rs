//! The simulation: a seed makes a small world with people, controllers and trouble, ideal observers look at it, and a
//! tracker tells the journeys. What really happened is known, so every claim is held against it.
//!
//! `scenario.rs` says who lives in a world, `people.rs`, `workload.rs` and `flux.rs` what they do; the outcome is a story in the
//! language of `tests/journeys/`, which `journeys/world.rs` plays. `lateness.rs` does what networks do to what was
//! said, `truth.rs` and `hands.rs` keep what happened, `claims.rs` holds one journey against it, `run.rs` asks for everything else,
//! `journal.rs` ends and kills our process on the way, `shrink.rs` cuts a failing story down, `memory.rs` lets a world
//! go on for long. A new promise goes into `run.rs`, a new mishap into `scenario.rs`.
//!
//!     KNOTMETER_SEEDS=100000 cargo test --test it simulation      more worlds
//!     KNOTMETER_SEED=123 KNOTMETER_SHOW=1 cargo test ...          one world, and its story

mod claims;
mod flux;
mod hands;
mod journal;
mod lateness;
mod memory;
mod people;
mod run;
mod scenario;
mod shrink;
mod story;
mod truth;
mod workload;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::Beside;

/// Worlds in a usual run: less than thirty seconds on two free cores.
const SEEDS: u64 = 2000;
/// Failing worlds that are told in full; the others only by number.
const TOLD_MAX: usize = 3;

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = number("KNOTMETER_SEED") {
        let failure = try_seed(seed, Beside::All);
        assert!(failure.is_none(), "{}", failure.unwrap_or_default());
        return;
    }
    let seeds = number("KNOTMETER_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if let Err(kinds) = keeps(seed, Beside::One) {
                        failures.lock().expect("no thread panics with it").push((seed, kinds));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("all threads are gone");
    failures.sort();
    let told: Vec<String> =
        failures.iter().take(TOLD_MAX).filter_map(|(seed, _)| try_seed(*seed, Beside::All)).collect();
    let list: Vec<String> = failures.iter().map(|(seed, kinds)| format!("{seed} ({kinds})")).collect();
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds fail: {}\n\n{}",
        failures.len(),
        list.join(", "),
        told.join("\n\n")
    );
}

/// Which promises a seed breaks.
fn keeps(seed: u64, beside: Beside) -> Result<(), String> {
    let (story, weather) = scenario::write(seed);
    let wrong = run::wrong(&story, seed, weather, beside)?;
    let kinds: std::collections::BTreeSet<&str> = wrong.iter().map(|(kind, _)| *kind).collect();
    if kinds.is_empty() { Ok(()) } else { Err(kinds.into_iter().collect::<Vec<_>>().join(", ")) }
}

/// Everything about one seed: what is wrong, the shortest story that still is, and how to see it again.
fn try_seed(seed: u64, beside: Beside) -> Option<String> {
    let (story, weather) = scenario::write(seed);
    let shows = std::env::var_os("KNOTMETER_SHOW").is_some();
    if shows {
        eprintln!("seed {seed}, {weather:?}\n{}", story.text());
    }
    let again =
        format!("KNOTMETER_SEED={seed} KNOTMETER_SHOW=1 cargo test --test it simulation -- --nocapture");
    let wrong = match run::wrong(&story, seed, weather, beside) {
        Ok(wrong) => wrong,
        Err(why) => return Some(format!("seed {seed} tells no story: {why}\n  again: {again}")),
    };
    let (kind, whole) = wrong.first()?;
    let short = shrink::shrink(&story, seed, weather, kind);
    let wrong = run::wrong(&short, seed, weather, Beside::All).unwrap_or_default();
    let lines: Vec<String> = wrong.iter().map(|(kind, why)| format!("  [{kind}] {why}")).collect();
    Some(format!(
        "seed {seed} ({weather:?}) breaks\n{}\n  in this story\n{}\n  and whole: [{kind}] {whole}\n  again: {again}",
        lines.join("\n"),
        short.text()
    ))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
