//! A world that stays as large as it is must not need more and more memory.

use knotmeter::tracker::Tracker;

use crate::journeys::case::Case;
use crate::journeys::record::Delivery;
use crate::journeys::text::START;
use crate::journeys::world;

/// Deploys, twenty seconds apart. Lists of one destination are bounded by fewer than three quarters of them.
const DEPLOYS: i64 = 120;
const EVERY: i64 = 20_000;
/// Of each image that was used once, so much stays in a checkpoint: tag, digest, nodes, and who ran it when. It should
/// be let go, and this be zero.
const BYTES_PER_DEPLOY_MAX: usize = 1000;

#[test]
fn a_world_of_constant_size_remembers_little_of_each_deploy() {
    let mut text =
        "# Deploys without end.\nconfig\n  environments: prod=lab/prod\n  settle: 10s\n".to_owned();
    text.push_str("  poll: registry=20s git=20s cluster=20s\nfacts\n");
    text.push_str(
        "  0s push r.io/team/web:1.0.0 = d0\n  0s lab template prod/web x1 web=r.io/team/web:1.0.0\n",
    );
    for deploy in 1..=DEPLOYS {
        let (at, old) = (deploy * EVERY, deploy - 3);
        text.push_str(&format!("  {at}ms push r.io/team/web:1.{deploy}.0 = d{deploy}\n"));
        text.push_str(&format!("  {}ms lab template prod/web web=r.io/team/web:1.{deploy}.0\n", at + 1000));
        text.push_str(&format!("  {}ms lab rolls prod/web web=d{deploy}\n", at + 2000));
        if old >= 0 {
            text.push_str(&format!("  {}ms untag r.io/team/web:1.{old}.0\n", at + 3000));
        }
    }
    let case = Case::parse("memory".into(), "memory".into(), &text).expect("a good story");
    let deliveries = world::observe(&case).expect("a true story");
    let mut tracker = Tracker::default();
    let (mut earlier, middle) = (None, START + DEPLOYS * EVERY * 3 / 4);
    for delivery in &deliveries {
        let Delivery::Observation(observation) = delivery else { continue };
        if observation.observed_at >= middle && earlier.is_none() {
            earlier = Some(tracker.checkpoint().len());
        }
        tracker.observe(observation);
    }
    let (earlier, later) = (earlier.expect("the story is longer"), tracker.checkpoint().len());
    let deploys = (DEPLOYS / 4) as usize;
    let grown = later.saturating_sub(earlier);
    assert!(
        grown <= deploys * BYTES_PER_DEPLOY_MAX,
        "its state grew from {earlier} to {later} bytes in {deploys} deploys of one image"
    );
}
