//! The truth of each scenario, by theme. A test is a fact about what ran; times of day are the driver's.

mod holds;
mod kinds;
mod rollouts;
mod tags;
mod trouble;
