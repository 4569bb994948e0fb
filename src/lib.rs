//! Knotmeter tells how fast an image sails from push to live, and where it is stuck.

pub mod demo;
pub mod image;
