//! Whether the configuration that is written is the one that is in force.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::series::{Registry, Series};
use super::table;
use crate::observation::Time;

/// The families. A program that never reads a configuration again has no series of them.
#[derive(Debug)]
pub struct Config {
    successful: Series<Gauge>,
    succeeded_at: Series<Gauge<f64, AtomicU64>>,
}

impl Config {
    pub fn register(to: &mut Registry, refused: &Counter) -> Self {
        Self {
            successful: Series::register(to, &table::CONFIG_RELOAD_SUCCESSFUL, Gauge::default, refused),
            succeeded_at: Series::register(to, &table::CONFIG_RELOAD_SUCCESS_AT, Gauge::default, refused),
        }
    }

    /// It was read at this time, or was refused.
    pub fn read(&self, at: Option<Time>) {
        self.successful.with(&[]).set(i64::from(at.is_some()));
        if let Some(at) = at {
            self.succeeded_at.with(&[]).set(at.0 as f64 / 1000.0);
        }
    }
}
