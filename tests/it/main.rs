//! One test crate: each module says what belongs there.

mod image;
mod registry;
mod git;
//! One test crate: one binary to link, one place to look. Each module says what belongs there.

mod config;
mod config_docs;
mod policy;
mod tidy;
mod recordings;
//! One test crate; each module says what belongs there.

mod demo;
