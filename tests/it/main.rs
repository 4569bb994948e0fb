//! One test crate: one binary to link, one place to look. Each module says what belongs there.

mod cluster;
mod config;
mod config_docs;
mod demo;
mod deploy;
mod e2e;
mod exports;
mod fleet;
mod forgetting;
mod form;
mod front;
mod git;
mod hooks;
mod http;
mod image;
mod journal;
mod journeys;
mod kill;
mod licences;
mod policy;
mod recordings;
mod registry;
mod schedule;
mod simulation;
mod smoketest;
mod tidy;
