//! What scanning registries costs: Debian's docker-registry for the real figures, and a server of our own, which
//! costs next to nothing, where only our part of the work may count.
//!
//! `debian` starts and fills the registry, `synthetic` is the other server, `floor` a raw loop over the same bytes,
//! `scanner` the program's own sweep in a process of its own. Needs docker-registry and skopeo; takes about three
//! minutes. `paced` is about registries that limit us, of which `bucket` is one; each of its figures takes
//! `BENCH_SECONDS`, 15 by default. The next figure is a function here or there and a line in `main`.

mod bucket;
mod debian;
mod floor;
pub mod paced;
pub mod scanner;
mod synthetic;

use std::process::{Command, Stdio};
use std::time::Instant;

use debian::Debian;
use scanner::Job;
use serde_json::{Value, json};
use synthetic::Synthetic;

use super::median;
use super::process::Again;

/// What the seed of the project had to scan.
const REPOSITORIES: usize = 350;
const TAGS: usize = 114;
/// Runs of each kind.
const RUNS: usize = 7;
/// skopeo is asked for every tenth repository, for its whole loop takes longer than all other runs together; its
/// time is told for all of them.
const SKOPEO_PART: usize = 10;
/// Seconds between two sweeps: short, because their number is what matters here.
const SWEEP_SECONDS: f64 = 2.0;
/// Sweeps that are measured.
const SWEEPS: usize = 7;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

/// One complete first scan, against a raw loop over as many connections, and against skopeo.
pub fn cold_scan() -> Vec<Value> {
    let registry = Debian::start(REPOSITORIES, TAGS);
    let (mut ours, mut floor, mut skopeo, mut peak) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round fills the page cache and is not counted.
    for round in 0..=RUNS {
        let raw = floor::scan(&registry.host, &registry.names);
        let job = Job { sweeps: 0, ..Job::new(&registry.host, REPOSITORIES) };
        let said = Again::start(&job.words()).line();
        let started = Instant::now();
        for name in registry.names.iter().step_by(SKOPEO_PART) {
            list_with_skopeo(&registry.host, name);
        }
        let listed = started.elapsed().as_secs_f64() * SKOPEO_PART as f64;
        assert_eq!(number(&said, "lists"), REPOSITORIES as f64, "each repository is one page: {said}");
        if round > 0 {
            floor.push(raw.seconds);
            ours.push(number(&said, "seconds"));
            peak.push(number(&said, "peak_kib"));
            skopeo.push(listed);
        }
    }
    let (ours, floor, skopeo) = (median(ours), median(floor), median(skopeo));
    vec![json!({
        "bench": "registry_cold_scan",
        "ours": rounded(ours * 1000.0, 1),
        "floor": rounded(floor * 1000.0, 1),
        "ratio": rounded(ours / floor, 2),
        "unit": "ms",
        "runs": RUNS,
        "repositories": REPOSITORIES,
        "tags": TAGS,
        "skopeo": rounded(skopeo * 1000.0, 0),
        "skopeo_ratio": rounded(skopeo / ours, 1),
        "skopeo_part": format!("1/{SKOPEO_PART}, scaled"),
        "peak_mib": rounded(median(peak) / 1024.0, 1),
    })]
}

fn list_with_skopeo(host: &str, name: &str) {
    let status = Command::new("skopeo")
        .args(["list-tags", "--tls-verify=false", &format!("docker://{host}/{name}")])
        .stdout(Stdio::null())
        .status()
        .expect("skopeo is missing: apt-get install skopeo");
    assert!(status.success(), "skopeo list-tags {host}/{name}: {status}");
}

/// Sweeps in which nothing is new, one with one new tag, and sweeps with 500 tags in use.
pub fn steady_sweep() -> Vec<Value> {
    let registry = Debian::start(REPOSITORIES, TAGS);
    let mut figures = Vec::new();
    for in_use in [0, 500] {
        let job = Job {
            sweeps: SWEEPS,
            interval: SWEEP_SECONDS,
            in_use,
            push_to: Some(&registry.folder),
            ..Job::new(&registry.host, REPOSITORIES)
        };
        let before = registry.lists();
        let mut child = Again::start(&job.words());
        let cold = child.line();
        let sweeps: Vec<Value> = (0..SWEEPS).map(|_| child.line()).collect();
        let (after, end) = (child.line(), child.line());
        let logged = registry.lists() - before;
        drop(child);
        let raw =
            (0..SWEEPS).map(|_| floor::scan(&registry.host, &registry.names).cpu.as_secs_f64() * 1000.0);
        let floor = median(raw.collect());
        let all = |key: &str| sweeps.iter().map(|sweep| number(sweep, key)).collect::<Vec<_>>();
        // Looks are spread over the interval, so a sweep is as many looks as there are repositories.
        let looks: f64 = all("looks").iter().sum();
        let per_sweep = |key: &str| all(key).iter().sum::<f64>() / looks * REPOSITORIES as f64;
        let cpu =
            sweeps.iter().map(|sweep| number(sweep, "cpu_ms") / number(sweep, "looks") * REPOSITORIES as f64);
        let ours = median(cpu.collect());
        figures.push(json!({
            "bench": "registry_steady_sweep",
            "ours": rounded(ours, 1),
            "floor": rounded(floor, 1),
            "ratio": rounded(ours / floor, 2),
            "unit": "ms of CPU per sweep",
            "runs": SWEEPS,
            "in_use": in_use,
            "mutable_in_use": in_use / scanner::MUTABLE_PART,
            "lists": rounded(per_sweep("lists"), 2),
            "heads": rounded(per_sweep("heads"), 2),
            "gets": rounded(per_sweep("gets"), 2),
            "two_sweeps_with_a_new_tag": {
                "looks": after["looks"], "lists": after["lists"], "heads": after["heads"], "gets": after["gets"],
            },
            "lists_since_the_start": end["lists"],
            "lists_in_the_registrys_log": logged,
            "heads_of_the_first_sweep": cold["heads"],
            "gets_of_the_first_sweep": cold["gets"],
        }));
    }
    figures
}

/// How time and memory grow with repositories and with tags.
pub fn growth() -> Vec<Value> {
    let axes = [
        ("repositories", [(350, TAGS), (700, TAGS), (1400, TAGS), (2800, TAGS)]),
        ("tags of one", [(1, 10_000), (1, 20_000), (1, 40_000), (1, 80_000)]),
    ];
    let mut figures: Vec<Value> = axes.iter().map(|(name, sizes)| growth_along(name, sizes)).collect();
    figures.push(growth_along("10,000 repositories, 1,000,000 tags", &[(1000, 100), (10_000, 100)]));
    figures
}

fn growth_along(name: &str, sizes: &[(usize, usize)]) -> Value {
    let servers: Vec<Synthetic> = sizes.iter().map(|(_, tags)| Synthetic::start(*tags)).collect();
    let mut cpu = vec![Vec::new(); sizes.len()];
    let mut rest = vec![Vec::new(); sizes.len()];
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        for (at, ((repositories, _), server)) in sizes.iter().zip(&servers).enumerate() {
            let said =
                Again::start(&Job { sweeps: 0, ..Job::new(&server.host, *repositories) }.words()).line();
            cpu[at].push(number(&said, "cpu_ms"));
            rest[at].push(number(&said, "rest_kib"));
            seconds.push((at, number(&said, "seconds")));
        }
    }
    let (cpu, rest): (Vec<f64>, Vec<f64>) =
        (cpu.into_iter().map(median).collect(), rest.into_iter().map(median).collect());
    let total = |(repositories, tags): (usize, usize)| (repositories * tags) as f64;
    let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
    let tags = total(last) - total(first);
    let each = (rest[rest.len() - 1] - rest[0]) * 1024.0 / tags;
    let largest = seconds.iter().filter(|(at, _)| *at == sizes.len() - 1).map(|(_, seconds)| *seconds);
    let slope = slope(sizes.iter().map(|size| total(*size)).zip(cpu.iter().copied()));
    json!({
        "bench": "registry_growth",
        "along": name,
        "ours": rounded(slope, 3),
        "floor": 1,
        "ratio": rounded(slope, 3),
        "unit": "log-log slope of CPU time",
        "runs": RUNS,
        "cpu_ms": cpu.iter().map(|ms| rounded(*ms, 1)).collect::<Vec<_>>(),
        "sizes": sizes,
        "bytes_per_tag": rounded(each, 1),
        "name_bytes": synthetic::NAME_BYTES,
        "seconds_of_the_largest": rounded(median(largest.collect()), 2),
    })
}

/// The slope of the straight line closest to the logarithms of the points.
fn slope(points: impl Iterator<Item = (f64, f64)>) -> f64 {
    let points: Vec<(f64, f64)> = points.map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}
