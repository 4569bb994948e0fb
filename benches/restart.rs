//! Going on after a kill: the built program over the journal of a large installation, from its start until `/metrics`
//! tells the journeys that were under way.
//!
//! The journal holds a checkpoint of most of what was observed and a tail of what came after it, and each round ends with
//! SIGKILL. The peer is a cold start without a journal, until registry and cluster of the same size have been seen.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use knotmeter::observation::Observation;
use knotmeter::observers::now;
use serde_json::{Value, json};

use super::idle::{Program, world};
use super::{checkpoint, median};

/// Rounds of each.
const RUNS: usize = 7;
/// Observations after the checkpoint: two seconds of a storm.
const TAIL: usize = 10_000;
/// How long before the bench what is remembered began: longer than telling it takes.
const BEFORE_MILLIS: i64 = 5 * 60 * 1000;
/// What takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of JSON.
pub fn figure(name: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, config) = (folder.path().join("journal"), folder.path().join("knotmeter.yaml"));
    // Nobody is there: what is told is what was remembered.
    let nobody = json!({"clusters": [{"name": "lab", "kubeconfig": folder.path().join("none")}]});
    std::fs::write(&config, nobody.to_string()).expect("our folder");
    let words = |journal: &Path| {
        let text = |path: &Path| path.to_str().expect("a path").to_owned();
        let run = ["run", "--listen", "127.0.0.1:0", "--config"].map(str::to_owned);
        run.into_iter().chain([text(&config), "--journal".into(), text(journal)]).collect::<Vec<_>>()
    };
    let words = words(&journal);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Journeys of last year would have been given up.
    let observations = checkpoint::observations(now() - BEFORE_MILLIS);
    let (before, after) = observations.split_at(observations.len() - TAIL);
    import(&journal, before);
    let mut program = Program::start(&words, folder.path());
    program.address();
    program.end_in_order();
    import(&journal, after);
    let under_way = checkpoint::tracker_of(&observations).journeys().filter(|one| one.is_open()).count();
    let mut ours = Vec::new();
    for round in 0..=RUNS {
        let started = Instant::now();
        let mut program = Program::start(&words, folder.path());
        let address = program.address();
        while open(&address) != under_way {
            assert!(started.elapsed() < PATIENCE, "{} journeys under way, not {under_way}", open(&address));
        }
        // The first fills the page cache and is not counted.
        if round > 0 {
            ours.push(started.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let world = world::World::start(folder.path(), checkpoint::PODS);
    let config = world.config.to_str().expect("a path");
    let mut cold = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let mut program =
            Program::start(&["run", "--listen", "127.0.0.1:0", "--config", config], folder.path());
        let address = program.address();
        world.wait_until_seen(&address);
        cold.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let (ours, cold) = (median(ours), median(cold));
    json!({
        "bench": name,
        "ours": (ours * 10.0).round() / 10.0,
        "floor": (cold * 10.0).round() / 10.0,
        "ratio": (ours / cold * 1000.0).round() / 1000.0,
        "unit": "ms",
        "floor_is": "a cold start from the sources",
        "faster": (cold / ours * 10.0).round() / 10.0,
        "journeys": under_way,
        "observations": observations.len(),
        "tail": TAIL,
        "journal_mib": std::fs::metadata(&journal).map_or(0, |file| file.len() >> 20),
        "runs": RUNS,
    })
}

/// Appends to the journal, as a user would.
fn import(journal: &Path, observations: &[Observation]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knotmeter"));
    command.args(["journal", "import"]).arg(journal).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("the built program");
    let mut lines = std::io::BufWriter::new(child.stdin.take().expect("its standard input"));
    for observation in observations {
        serde_json::to_writer(&mut lines, observation).expect("it reads");
        lines.write_all(b"\n").expect("it reads");
    }
    drop(lines);
    assert!(child.wait().expect("it ends").success(), "an import that failed");
}

/// Journeys under way by the metrics.
fn open(address: &str) -> usize {
    let text = world::get(&format!("http://{address}/metrics"));
    let lines = text.lines().filter(|line| line.starts_with("knotmeter_journeys_open{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as usize
}
