//! What `knotmeter run` costs while nothing happens: the built program as a process of its own, seen through `/proc`.
//!
//! Once without any source, and once with a registry of 40,000 tags and a cluster of 2,000 pods that stay as they
//! are (`world`). The floor is the same program waiting for an answer that does not come: the binary, its runtime and
//! a TLS client, and nothing of ours. `KNOTMETER_BENCH_SECONDS` makes each of the samples longer or shorter.

pub mod world;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Samples. An odd number, so that the median is one that happened.
const SAMPLES: usize = 7;
const SAMPLE_SECONDS: u64 = 5;
const PODS: usize = 2000;
/// The kernel counts in these, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
/// First looks, and what was used for them is given back.
const SETTLES_IN: Duration = Duration::from_secs(15);

/// One line of JSON. With or without sources.
pub fn figure(name: &str, sources: bool) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let server = format!("http://{}", silent.local_addr().expect("an address"));
    let floor = Program::start(&["status", "--server", &server], folder.path());
    sleep(Duration::from_secs(2));
    let floor = Status::of(&floor);
    let world = sources.then(|| world::World::start(folder.path(), PODS));
    let mut arguments = vec!["run", "--listen", "127.0.0.1:0"];
    let config = world.as_ref().map(|world| world.config.to_str().expect("a path").to_owned());
    arguments.extend(config.as_deref().into_iter().flat_map(|file| ["--config", file]));
    let mut program = Program::start(&arguments, folder.path());
    let address = program.address();
    if let Some(world) = &world {
        world.wait_until_seen(&address);
    }
    sleep(SETTLES_IN);
    let mut shares: Vec<f64> = (0..SAMPLES).map(|_| program.share_of_a_core()).collect();
    let status = Status::of(&program);
    let series = world::get(&format!("http://{address}/metrics"));
    let series = series.lines().filter(|line| !line.starts_with('#')).count();
    sleep(SETTLES_IN);
    let scraped = Status::of(&program);
    shares.sort_by(f64::total_cmp);
    json!({
        "bench": name,
        "ours": status.resident,
        "floor": floor.resident,
        "ratio": (status.resident / floor.resident * 100.0).round() / 100.0,
        "unit": "MiB",
        "anonymous": status.anonymous,
        "of_files": status.of_files,
        "peak": status.peak,
        "after_a_scrape": scraped.resident,
        "series": series,
        "threads": status.threads,
        "cpu_percent": shares[SAMPLES / 2],
        "cpu_percent_max": shares[SAMPLES - 1],
        "runs": SAMPLES,
    })
}

/// Lets time pass: how long is what is measured here.
fn sleep(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Ends with its value.
pub struct Program(Child);

impl Program {
    pub fn start(arguments: &[&str], folder: &std::path::Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knotmeter"));
        command.args(arguments).env_clear().env("HOME", folder).env("TMPDIR", folder);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().expect("the built program"))
    }

    /// Where it serves, by its own record. What it logs later is read and forgotten.
    pub fn address(&mut self) -> String {
        let mut records = BufReader::new(self.0.stderr.take().expect("its standard error")).lines();
        let address = records.by_ref().find_map(|record| {
            let record = record.ok()?;
            let (_, after) = record.split_once("address=")?;
            Some(after.split(' ').next().unwrap_or_default().to_owned())
        });
        std::thread::spawn(move || records.for_each(drop));
        address.expect("it tells its address")
    }

    /// Asks it to end, and waits until it has.
    pub fn end_in_order(mut self) {
        let id = self.0.id().to_string();
        let asked = Command::new("kill").args(["-s", "TERM", &id]).status().expect("a shell's kill");
        assert!(asked.success() && self.0.wait().expect("it ends").success(), "it did not end in order");
    }

    fn share_of_a_core(&self) -> f64 {
        let seconds = std::env::var("KNOTMETER_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
        let (before, started) = (self.ticks(), Instant::now());
        sleep(Duration::from_secs(seconds.unwrap_or(SAMPLE_SECONDS)));
        let spent = (self.ticks() - before) / TICKS_PER_SECOND;
        (spent / started.elapsed().as_secs_f64() * 10_000.0).round() / 100.0
    }

    /// `utime` and `stime` of proc(5): the name in parentheses may hold anything, so they are counted from its end.
    fn ticks(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let (_, after) = stat.rsplit_once(')').expect("a name");
        after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the kernel says of a process, in MiB.
struct Status {
    resident: f64,
    anonymous: f64,
    of_files: f64,
    peak: f64,
    threads: f64,
}

impl Status {
    fn of(program: &Program) -> Self {
        let text = fs::read_to_string(format!("/proc/{}/status", program.0.id())).expect("it runs");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default()
        };
        let mib = |name| (value(name) / 1024.0 * 10.0).round() / 10.0;
        Self {
            resident: mib("VmRSS"),
            anonymous: mib("RssAnon"),
            of_files: mib("RssFile"),
            peak: mib("VmHWM"),
            threads: value("Threads"),
        }
    }
}
