//! A real fleet that Flux delivers to, replayed through the cluster observer's decoder, with its git and its registry.
//!
//! What must come out is what the driver did and saw (`truth.json`). `play.rs` plays a scenario: the watch lines as they
//! came, `registry.rs` and `git.rs` as our own pollers would have seen what was pushed there. `truth.rs` reads the
//! driver's side, `delivered.rs` holds every delivery against it; `held.rs`, `faults.rs`, `helm.rs`, `revisions.rs`,
//! `updater.rs` and `owners.rs` have what
//! is true in one scenario alone. A new scenario's truth goes into the file of its theme.

mod delivered;
mod faults;
mod git;
mod held;
mod helm;
mod owners;
mod play;
mod registry;
mod revisions;
mod truth;
mod updater;
