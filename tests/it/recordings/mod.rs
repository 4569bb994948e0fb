//! Recorded watch streams of a real cluster, replayed through the cluster observer's decoder into the tracker.
//!
//! What must come out is what the driver of the recording did and saw (`actions.jsonl`), never what the tracker
//! printed before. `replay.rs` plays, `drive.rs` reads the driver's side, `expected.rs` holds a tracker against it;
//! a scenario's truth goes into the file of its theme in `truth/`, what holds for every recording into
//! `promises.rs`. `bundles.rs` replays what `knotmeter bundle` wrote, as anybody would. `flux/` plays a fleet that Flux
//! delivers to, with its git and its registry.

mod bundles;
mod checkpoint;
pub mod drive;
mod expected;
mod flux;
mod promises;
mod replay;
mod truth;

use knotmeter::observation::{Fact, Observation, SourceKind};

pub use replay::repository;

/// What the objects of engines said in a recording, oldest first.
pub fn engine_objects(folder: &str) -> Vec<Observation> {
    let mut said = Vec::new();
    replay::Speaker::new(SourceKind::Cluster, "lab").watch(folder, &mut said);
    said.retain(|observation| matches!(observation.fact, Fact::EngineIs(_)));
    said.sort_by_key(|observation| observation.observed_at);
    said
}
