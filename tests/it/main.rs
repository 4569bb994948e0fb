//! One test crate: each module says what belongs there.

mod image;
mod registry;
mod git;
