//! `cargo bench`: what the hot paths cost beside a floor that is measured in the same run.
//!
//! A figure alone says little on another machine, a ratio says more: "ours" is the code that the program runs,
//! "floor" the least that anybody must do with the same bytes. Runs of both alternate, so that a busy machine
//! slows both, and the medians are printed, one JSON object per line. The next bench is a module here and a line
//! in `main`. `cargo bench -- NAME` runs those whose name contains NAME. Those that need other programs (registry,
//! git) say so in their front page.

mod checkpoint;
mod cluster;
mod day;
mod engines;
mod git;
mod hooks;
mod idle;
mod journal;
mod large;
mod policy;
mod process;
mod reference;
mod registry;
mod restart;
mod scrape;
mod tags;
mod tracker;

use std::hint::black_box;
use std::time::Instant;

/// Pairs of runs. An odd number, so that the median is a run that happened.
const RUNS: usize = 11;
/// The shortest run worth timing; shorter work is repeated until it takes this long.
const RUN_SECONDS_MIN: f64 = 0.02;

/// A bench by its name.
type Named = (&'static str, fn() -> Bench);
/// One that measures by itself.
type Figure = (&'static str, fn(&str) -> serde_json::Value);
/// A bench that measures by itself and gives several figures.
type Whole = (&'static str, fn() -> Vec<serde_json::Value>);

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if let Ok(orders) = std::env::var(large::child::ORDERS) {
        return large::child::main(&orders);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [child, what, words @ ..] = &words[..]
        && child == "child"
    {
        assert_eq!(what, "scan", "a child process of a bench");
        return registry::scanner::run(words);
    }
    // Cargo adds `--bench`; the first word that is no flag is the filter.
    let filter = words.into_iter().find(|word| !word.starts_with('-')).unwrap_or_default();
    let benches: [Named; 10] = [
        ("image_reference", reference::bench),
        ("tags_page", tags::bench),
        ("policy_semver", policy::bench),
        ("watch_event", cluster::bench),
        ("engine_object", engines::bench),
        ("checkpoint_write", checkpoint::write),
        ("checkpoint_restore", checkpoint::restore),
        ("journal_one", journal::one),
        ("journal_many", journal::many),
        ("journal_reopen", journal::reopen),
    ];
    for (name, bench) in benches {
        if name.contains(&filter) {
            println!("{}", bench().measure(name));
        }
    }
    let figures: [Figure; 13] = [
        ("tracker_observe", tracker::figure),
        ("metrics_50k", |name| scrape::figure(name, &scrape::Size { apps: 1000, settled: 170, gzip: false })),
        ("metrics_50k_gzip", |name| {
            scrape::figure(name, &scrape::Size { apps: 1000, settled: 170, gzip: true })
        }),
        ("metrics_100k", |name| {
            scrape::figure(name, &scrape::Size { apps: 1400, settled: 850, gzip: false })
        }),
        ("metrics_100k_gzip", |name| {
            scrape::figure(name, &scrape::Size { apps: 1400, settled: 850, gzip: true })
        }),
        ("simulated_day", day::figure),
        ("idle", |name| idle::figure(name, false)),
        ("idle_with_sources", |name| idle::figure(name, true)),
        ("restart", restart::figure),
        ("cluster_sync_paged", large::paged),
        ("cluster_sync_streaming", large::streaming),
        ("cluster_storm", large::storm),
        ("engines_sync", large::engines),
    ];
    for (name, figure) in figures {
        if name.contains(&filter) {
            println!("{}", figure(name));
        }
    }
    let whole: [Whole; 9] = [
        ("registry_cold_scan", registry::cold_scan),
        ("registry_steady_sweep", registry::steady_sweep),
        ("registry_growth", registry::growth),
        ("registry_token_bucket", registry::paced::token_bucket),
        ("registry_hot_tag", registry::paced::hot_tag),
        ("registry_poll_delay", registry::paced::poll_delay),
        ("git_poll", git::poll),
        ("hook_to_journey", hooks::journey),
        ("hook_flood", hooks::flood),
    ];
    for (_, bench) in whole.iter().filter(|(name, _)| name.contains(&filter)) {
        bench().iter().for_each(|figure| println!("{figure}"));
    }
}

/// What is compared: two ways through the same items.
struct Bench {
    /// What one item is.
    unit: &'static str,
    items: usize,
    ours: Box<dyn FnMut() -> usize>,
    floor: Box<dyn FnMut() -> usize>,
}

impl Bench {
    fn measure(mut self, name: &str) -> serde_json::Value {
        let repeat = repeats(&mut self.ours).max(repeats(&mut self.floor));
        let mut ours = Vec::new();
        let mut floor = Vec::new();
        for _ in 0..RUNS {
            ours.push(seconds(&mut self.ours, repeat));
            floor.push(seconds(&mut self.floor, repeat));
        }
        let each = |runs: Vec<f64>| median(runs) * 1e9 / (repeat * self.items) as f64;
        let (ours, floor) = (each(ours), each(floor));
        serde_json::json!({
            "bench": name,
            "ours": (ours * 10.0).round() / 10.0,
            "floor": (floor * 10.0).round() / 10.0,
            "ratio": (ours / floor * 100.0).round() / 100.0,
            "unit": self.unit,
            "runs": RUNS,
        })
    }
}

/// How often the work must be done to be long enough to time. This also warms up.
fn repeats(work: &mut dyn FnMut() -> usize) -> usize {
    let mut times = 1;
    while seconds(work, times) < RUN_SECONDS_MIN {
        times *= 2;
    }
    times
}

fn seconds(work: &mut dyn FnMut() -> usize, times: usize) -> f64 {
    let started = Instant::now();
    for _ in 0..times {
        black_box(work());
    }
    started.elapsed().as_secs_f64()
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}
