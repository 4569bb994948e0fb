//! One test crate: one binary to link, one place to look. Each module says what belongs there.

mod config;
mod config_docs;
mod demo;
mod git;
mod image;
mod policy;
mod smoketest;
mod recordings;
mod registry;
mod tidy;
mod cluster;
mod journeys;
