//! A process of its own for each group of parsers, in which memory has a limit and time is watched.
//!
//! Forbidding unsafe code means no counting allocator, so the kernel counts: `RLIMIT_DATA` of the process is what it
//! has before a parser begins and 64 MiB more, and an allocation beyond it ends the process. The parser's whole
//! work on one input is limited so, not only its largest piece.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::mutator::broken;
use super::parsers::Parser;

/// What one parser may take for one input.
const BYTES_MAX: u64 = 64 << 20;
/// Processor time for one input, all threads of the process together, also without optimisation. Not the time on the
/// wall: other tests run beside this one.
const SECONDS_MAX: f64 = 1.0;
/// What the kernel counts in, on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// A parser that waits for something takes no processor time.
const WAIT_MAX: Duration = Duration::from_secs(120);
const MUTATIONS: u64 = 500;
/// Set in the process of its own: the file that says which input is being read.
const AT: &str = "KNOTMETER_HOSTILE_AT";
/// How much of a bad input is shown.
const SHOWN_MAX: usize = 600;

/// Holds every parser against broken texts. `test` is the full name of the test that calls.
pub fn hold(test: &str, parsers: fn() -> Vec<Parser>) {
    if let Err(found) = verdict(test, parsers, SECONDS_MAX) {
        panic!("{found}");
    }
}

/// What was found. In the process of its own it returns only where nothing was.
pub fn verdict(test: &str, parsers: fn() -> Vec<Parser>, seconds_max: f64) -> Result<(), String> {
    if let Some(at) = std::env::var_os(AT) {
        inside(Path::new(&at), &parsers(), seconds_max);
        return Ok(());
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("at");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(AT, &at)
        // Finding the names of functions takes more memory than a parser may.
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!("{}", said.trim());
        return Ok(());
    }
    let left = std::fs::read_to_string(&at).unwrap_or_default();
    let mut words = left.split_whitespace();
    let (name, seed) = (words.next().unwrap_or_default(), words.next().and_then(|seed| seed.parse().ok()));
    let parsers = parsers();
    let parser = parsers.iter().find(|parser| parser.name == name);
    let last = parser.zip(seed).map(|(parser, seed)| shown(&broken(&parser.examples, parser.largest, seed)));
    Err(format!("{}; the last was {}: {}\n{said}", output.status, left.trim(), last.unwrap_or_default()))
}

fn inside(at: &Path, parsers: &[Parser], seconds_max: f64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = match number("KNOTMETER_SEED") {
        Some(seed) => (seed, 1),
        // Longer runs begin elsewhere, so that each of them sees something new.
        None => number("KNOTMETER_MUTATIONS")
            .map_or((0, MUTATIONS), |count| (Instant::now().elapsed().as_nanos() as u64 ^ now(), count)),
    };
    let at = File::create(at).unwrap();
    let turn = Arc::new(AtomicU64::new(0));
    watch(turn.clone(), seconds_max);
    let mut bad = Vec::new();
    for parser in parsers {
        let (began, mut most) = (Instant::now(), 0.0f64);
        limit_memory();
        parser.examples.iter().for_each(|example| (parser.read)(example));
        let count = count.div_ceil(parser.cost);
        for seed in first..first.saturating_add(count) {
            let input = broken(&parser.examples, parser.largest, seed);
            at.write_all_at(format!("{:<40} {seed:>20}\n", parser.name).as_bytes(), 0).unwrap();
            turn.fetch_add(1, Ordering::Relaxed);
            let before = processor_seconds();
            let panicked = catch_unwind(AssertUnwindSafe(|| (parser.read)(&input))).is_err();
            let took = processor_seconds() - before;
            most = most.max(took);
            if panicked || took > seconds_max {
                let why = if panicked { String::new() } else { format!(", {took:.2} s of processor time") };
                bad.push(format!("{} with KNOTMETER_SEED={seed}{why}: {}", parser.name, shown(&input)));
                break;
            }
        }
        let name = parser.name;
        let all = began.elapsed().as_secs_f64();
        eprintln!("{name:<24} {count} from seed {first}, {all:.2} s, the longest {most:.2} s");
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() << 20
}

fn shown(input: &[u8]) -> String {
    let start = input[..input.len().min(SHOWN_MAX)].escape_ascii();
    format!("{} bytes: {start}", input.len())
}

/// From here on this process may have so much more than it has.
fn limit_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let has = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    let has: u64 = has.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = format!("--data={}:", has * 1024 + BYTES_MAX);
    let pid = std::process::id().to_string();
    let done =
        Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit, of util-linux");
    assert!(done.success());
}

/// What this process used so far, all its threads together.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // What stands before the bracket may hold spaces.
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// Ends the process when one input does not end; the file tells which.
fn watch(turn: Arc<AtomicU64>, seconds_max: f64) {
    std::thread::spawn(move || {
        let (mut seen, mut since, mut used) = (u64::MAX, Instant::now(), 0.0);
        loop {
            std::thread::park_timeout(Duration::from_millis(100));
            let at = turn.load(Ordering::Relaxed);
            if at != seen {
                (seen, since, used) = (at, Instant::now(), processor_seconds());
            } else if at > 0 && (processor_seconds() - used > seconds_max || since.elapsed() > WAIT_MAX) {
                eprintln!(
                    "one input took more than {seconds_max} s of processor time, or {WAIT_MAX:?} in all"
                );
                std::process::abort();
            }
        }
    });
}
