//! Knotmeter tells how fast an image sails from push to live, and where it is stuck.

pub mod config;
pub mod image;
pub mod observation;
pub mod observers;
pub mod policy;
pub mod smoketest;
pub mod tracker;
