//! The tracker alone: five million observations of a busy day, sources overtaking each other, one in ten twice.
//!
//! The floor is what anybody must do who skips repeats and knows whom a fact concerns: remember each source's last
//! number, and hash the subject. Making the observations is not timed. `KNOTMETER_BENCH_OBSERVATIONS` makes a run
//! shorter; the line says how many there were, and of which kinds.
//!
//! A second is one of CPU time of the one thread that does it: what else the machine does is not counted, though it
//! takes part of the caches.

mod rollout;
mod world;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::hint::black_box;
use std::time::Duration;

use knotmeter::observation::{Fact, Observation, SourceId, Subject};
use knotmeter::tracker::{Event, Tracker};

use self::world::World;
use crate::process::thread_cpu;

const OBSERVATIONS: usize = 5_000_000;
/// Runs over all observations. Odd, so that the median is a run that happened.
const RUNS: usize = 7;
/// Observations that are there at once: some tens of megabytes.
const CHUNK: usize = 50_000;
const PAGE_BYTES: usize = 4096;

/// One line of JSON: observations per second of the tracker and of the floor.
pub fn figure(name: &str) -> serde_json::Value {
    let wanted = std::env::var("KNOTMETER_BENCH_OBSERVATIONS").ok().and_then(|text| text.parse().ok());
    let observations = wanted.unwrap_or(OBSERVATIONS);
    let mut runs: Vec<Run> = (0..RUNS).map(|_| Run::over(observations)).collect();
    runs.sort_by_key(|run| run.ours);
    let ours = runs[RUNS / 2].ours;
    runs.sort_by_key(|run| run.floor);
    let floor = runs[RUNS / 2].floor;
    let run = &runs[0];
    assert!(runs.iter().all(|other| other.said == run.said), "the same observations told another story");
    let rate = |spent: Duration| (run.observations as f64 / spent.as_secs_f64()).round();
    serde_json::json!({
        "bench": name,
        "ours": rate(ours),
        "floor": rate(floor),
        "ratio": (ours.as_secs_f64() / floor.as_secs_f64() * 100.0).round() / 100.0,
        "unit": "observations per second of CPU",
        "observations": run.observations,
        "repeats": run.repeats,
        "kinds": run.kinds,
        "runs": RUNS,
        "workloads": world::WORKLOADS,
        "settled": run.settled,
        "events": run.events,
        "story": format!("{:016x}", run.said),
        "resident_mib": run.resident >> 20,
    })
}

/// One pass over the world.
struct Run {
    observations: usize,
    repeats: usize,
    ours: Duration,
    floor: Duration,
    settled: usize,
    events: usize,
    /// How many there were of each kind, repeats included.
    kinds: BTreeMap<&'static str, usize>,
    /// A hash of every event: two programs that tell the same story have the same.
    said: u64,
    resident: usize,
}

impl Run {
    fn over(observations: usize) -> Self {
        let mut world = World::new();
        let (mut tracker, mut floor) = (Tracker::default(), Floor::default());
        let before = resident();
        let mut run = Self {
            observations: 0,
            repeats: 0,
            ours: Duration::ZERO,
            floor: Duration::ZERO,
            settled: 0,
            events: 0,
            kinds: BTreeMap::new(),
            said: 0xcbf2_9ce4_8422_2325,
            resident: 0,
        };
        while run.observations < observations {
            let chunk = world.chunk(CHUNK.min(observations - run.observations));
            for observation in &chunk {
                *run.kinds.entry(kind(&observation.fact)).or_default() += 1;
            }
            // Turns change, so that neither always finds the chunk in the cache.
            let first = (run.observations / CHUNK).is_multiple_of(2);
            for ours in [first, !first] {
                let started = thread_cpu();
                if ours {
                    chunk.iter().for_each(|observation| run.hear(&tracker.observe(observation)));
                    run.ours += thread_cpu() - started;
                } else {
                    black_box(chunk.iter().map(|observation| floor.observe(observation)).sum::<u64>());
                    run.floor += thread_cpu() - started;
                }
            }
            run.observations += chunk.len();
        }
        run.repeats = floor.repeats;
        run.resident = resident().saturating_sub(before);
        run
    }

    fn hear(&mut self, events: &[Event]) {
        for event in events {
            self.events += 1;
            let (kind, id) = match event {
                Event::Moved { id, stage } => (1 + stage.map_or(0, |stage| 16 * (1 + stage as u64)), id.0),
                Event::Held { id, .. } => (2, id.0),
                Event::Stuck { id, .. } => (3, id.0),
                Event::Blind { id, .. } => (4, id.0),
                Event::Cleared { id } => (5, id.0),
                Event::Settled(journey) => {
                    self.settled += 1;
                    let seconds = journey.image_to_live().map_or(0, |sample| sample.seconds.to_bits());
                    let outcome = journey.outcome.map_or(0, |outcome| 1 + outcome as u64);
                    (6 + 16 * outcome, journey.id.0 ^ seconds ^ journey.trigger as u64)
                }
                Event::Restarted { .. } => (7, 0),
                Event::Raced(_) => (8, 0),
                Event::Detected(_) => (9, 0),
                Event::Pushed(_) => (10, 0),
            };
            // FNV-1a over words: stable over builds.
            for word in [kind, id] {
                self.said = (self.said ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
            }
        }
    }
}

/// The least that anybody must do.
#[derive(Default)]
struct Floor {
    said: BTreeMap<SourceId, (u64, u64)>,
    hasher: RandomState,
    repeats: usize,
}

impl Floor {
    fn observe(&mut self, observation: &Observation) -> u64 {
        let number = (observation.source_epoch, observation.seq);
        match self.said.get_mut(&observation.source) {
            Some(last) if number <= *last => {
                self.repeats += 1;
                return 0;
            }
            Some(last) => *last = number,
            None => drop(self.said.insert(observation.source.clone(), number)),
        }
        let mut hash = self.hasher.build_hasher();
        match &observation.fact {
            Fact::TagPointsTo { repository, tag, .. } => (repository, tag).hash(&mut hash),
            Fact::TagsListed { repository, .. } => repository.hash(&mut hash),
            Fact::ImageDescribed(image) => image.digest.hash(&mut hash),
            Fact::TreeNames(tree) => (&tree.url, &tree.branch, &tree.path).hash(&mut hash),
            Fact::WorkloadIs(workload) => workload.key.hash(&mut hash),
            Fact::RevisionIs(revision) => revision.uid.hash(&mut hash),
            Fact::PodIs(pod) => pod.uid.hash(&mut hash),
            Fact::JobIs(job) => job.uid.hash(&mut hash),
            Fact::Absent { subject: Subject::Pod { uid } } => uid.hash(&mut hash),
            Fact::Absent { subject } => subject.hash(&mut hash),
            Fact::LookCompleted { scope, .. } | Fact::LookFailed { scope, .. } => scope.hash(&mut hash),
            _ => {}
        }
        hash.finish()
    }
}

fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::PodIs(_) | Fact::Absent { subject: Subject::Pod { .. } } => "pods",
        Fact::WorkloadIs(_) => "workloads",
        Fact::RevisionIs(_) | Fact::Absent { subject: Subject::Revision { .. } } => "revisions",
        Fact::TreeNames(_) => "trees",
        Fact::TagPointsTo { .. } | Fact::TagsListed { .. } | Fact::ImageDescribed(_) => "tags and images",
        Fact::LookCompleted { .. } => "looks",
        _ => "others",
    }
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE_BYTES
}
