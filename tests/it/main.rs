//! One test crate: one binary to link, one place to look. Each module says what belongs there.

mod cluster;
mod config;
mod config_docs;
mod demo;
mod deploy;
mod git;
mod image;
mod journeys;
mod licences;
mod policy;
mod recordings;
mod registry;
mod smoketest;
mod tidy;
//! One test crate. A module per part of the program; what several need is a module of its own.

mod exports;
mod fleet;
mod http;
