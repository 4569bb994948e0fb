//! What a settled journey adds, once.

use std::sync::atomic::AtomicU64;
use std::time::UNIX_EPOCH;

use prometheus_client::metrics::counter::Counter;

use super::histogram::Histogram;
use super::series::{Registry, Series};
use super::table::{self, Buckets};
use super::text::Exemplar;
use super::{flag, place};
use crate::exporters::traces::trace_id;
use crate::observation::Basis;
use crate::tracker::{Evidence, Journey, Sample, Stage};

/// The families of journeys.
#[derive(Debug)]
pub struct Settled {
    pub journeys: Series<Counter>,
    /// Name the trace that tells the story behind a number.
    pub exemplars: bool,
    image_to_live: Series<Histogram>,
    change_to_live: Series<Histogram>,
    stage_duration: Series<Histogram>,
    stage_uncertainty: Series<Histogram>,
    stage_evidence: Series<Counter>,
    stage_uncertain: Series<Counter>,
    held_seconds: Series<Counter<f64, AtomicU64>>,
    negative: Series<Counter>,
    conflicts: Series<Counter>,
}

impl Settled {
    pub fn register(to: &mut Registry, refused: &Counter) -> Self {
        let deploys = || Histogram::new(Buckets::Deploys);
        let operations = || Histogram::new(Buckets::Operations);
        Self {
            journeys: Series::register(to, &table::JOURNEYS, Counter::default, refused),
            exemplars: false,
            image_to_live: Series::register(to, &table::IMAGE_TO_LIVE, deploys, refused),
            change_to_live: Series::register(to, &table::CHANGE_TO_LIVE, deploys, refused),
            stage_duration: Series::register(to, &table::STAGE_DURATION, deploys, refused),
            stage_uncertainty: Series::register(to, &table::STAGE_UNCERTAINTY, operations, refused),
            stage_evidence: Series::register(to, &table::STAGE_EVIDENCE, Counter::default, refused),
            stage_uncertain: Series::register(to, &table::STAGE_UNCERTAIN, Counter::default, refused),
            held_seconds: Series::register(to, &table::HELD_SECONDS, Counter::default, refused),
            negative: Series::register(to, &table::NEGATIVE_DURATION, Counter::default, refused),
            conflicts: Series::register(to, &table::EVIDENCE_CONFLICT, Counter::default, refused),
        }
    }

    /// Adds a journey.
    pub fn take(&self, journey: &Journey, dropped: &Series<Counter>) {
        let [cluster, environment, namespace, app] = place(&journey.destination);
        let (trigger, subject) = (journey.trigger.as_str(), journey.subject.as_str());
        let synthetic = flag(journey.synthetic);
        if let Some(sample) = self.certain(journey.image_to_live(), "image_to_live_uncertain", dropped) {
            let labels = [cluster, environment, namespace, app, trigger, synthetic];
            self.observe(&self.image_to_live, &labels, sample, journey);
        }
        if let Some(sample) = self.certain(journey.change_to_live(), "change_to_live_uncertain", dropped) {
            let labels = [cluster, environment, namespace, app, trigger, subject, synthetic];
            self.observe(&self.change_to_live, &labels, sample, journey);
        }
        for stage in Stage::ALL {
            // What was so at the very first look happened nobody knows when: it is in no number.
            match journey.stages.evidence(stage) {
                Some(evidence) if evidence.basis != Basis::Backfill => self.stage(journey, stage, evidence),
                Some(_) | None => {}
            }
        }
        if journey.conflicts > 0 {
            self.conflicts.with(&[cluster]).inc_by(journey.conflicts.into());
        }
        if journey.held_seconds > 0.0 {
            self.held_seconds.with(&place(&journey.destination)).inc_by(journey.held_seconds);
        }
        let outcome = journey.outcome.map_or("unknown", |outcome| outcome.as_str());
        let labels = [cluster, environment, namespace, app, outcome, trigger, subject, synthetic];
        self.journeys.with(&labels).inc();
    }

    pub fn histograms(&self) -> [&Series<Histogram>; 4] {
        [&self.image_to_live, &self.change_to_live, &self.stage_duration, &self.stage_uncertainty]
    }

    pub fn counters(&self) -> [&Series<Counter>; 5] {
        [&self.journeys, &self.stage_evidence, &self.stage_uncertain, &self.negative, &self.conflicts]
    }

    pub fn negative(&self) -> &Series<Counter> {
        &self.negative
    }

    pub fn held(&self) -> &Series<Counter<f64, AtomicU64>> {
        &self.held_seconds
    }

    fn stage(&self, journey: &Journey, stage: Stage, evidence: Evidence) {
        let labels = [stage.as_str(), evidence.basis.as_str()];
        self.stage_evidence.with(&labels).inc();
        if evidence.interval.is_bounded() {
            self.stage_uncertainty.with(&labels).observe(evidence.interval.half_width_seconds());
        }
        let Some(sample) = journey.stage_duration(stage) else { return };
        if sample.negative {
            self.negative.with(&[stage.as_str()]).inc();
        }
        if !sample.is_certain() {
            self.stage_uncertain.with(&labels).inc();
            return;
        }
        let to = &journey.destination;
        let (trigger, subject) = (journey.trigger.as_str(), journey.subject.as_str());
        let labels = [stage.as_str(), &to.cluster, &to.environment, to.engine, trigger, subject];
        self.observe(&self.stage_duration, &labels, sample, journey);
    }

    /// The sample, unless its error bar is too wide: then that is counted instead.
    fn certain(&self, sample: Option<Sample>, why: &str, dropped: &Series<Counter>) -> Option<Sample> {
        let sample = sample?;
        if !sample.is_certain() {
            dropped.with(&["tracker", why]).inc();
            return None;
        }
        Some(sample)
    }

    fn observe(&self, series: &Series<Histogram>, labels: &[&str], sample: Sample, journey: &Journey) {
        let exemplar = self.exemplars.then(|| Exemplar {
            trace_id: trace_id(journey),
            value: sample.seconds,
            at: UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64(),
        });
        series.with(labels).observe_with(sample.seconds, exemplar);
    }
}
