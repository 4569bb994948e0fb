//! Knotmeter tells how fast an image sails from push to live, and where it is stuck.

// In the program only: a test may unwrap and print.
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod exporters;
pub mod http;
pub mod image;
pub mod journal;
pub mod observation;
pub mod observers;
pub mod policy;
pub mod smoketest;
pub mod telemetry;
pub mod tracker;
