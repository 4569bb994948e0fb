//! What leaves the program as numbers and traces: everything here is derived from the tracker's words.
//!
//! Exporters take events, measures and snapshots and write them down in the formats of others. They decide
//! nothing: no stage, outcome or reason is computed here. A scrape reads the last [`Snapshot`] and never waits
//! for the tracker. A new family is one entry of `metrics/table.rs`; a new format is the next folder beside these.

pub mod metrics;
mod snapshot;
pub mod traces;

pub use snapshot::Snapshot;
