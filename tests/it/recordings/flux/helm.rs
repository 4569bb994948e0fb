//! What comes by a HelmRelease's values, and what comes without git, by an OCI artifact.

use knotmeter::observation::Interval;
use knotmeter::tracker::{Outcome, Stage, StageState, Trigger};

use super::delivered::{check, journey_of, told_by_objects};
use super::faults::table;
use super::play::play;
use super::revisions::revision;

const RELEASE: &str = "helmrelease/cart -n prod";

#[test]
fn images_that_come_by_helm_or_by_an_artifact_go_live_with_their_stages() {
    let fleet = play("06-helm-and-oci");
    let bases = check(&fleet);
    // Five by git, three by an artifact.
    assert_eq!(told_by_objects(&bases, Stage::Committed), (5, 3), "{bases:?}");
    assert_eq!(told_by_objects(&bases, Stage::Fetched), (8, 0), "{bases:?}");
    assert_eq!(told_by_objects(&bases, Stage::Detected), (5, 3), "{bases:?}");
}

#[test]
fn an_image_by_an_artifact_is_fetched_when_the_source_stored_it() {
    let fleet = play("06-helm-and-oci");
    let mail = fleet.truth.deliveries.iter().filter(|delivery| delivery.committed.is_empty());
    let fetched: Vec<String> = mail
        .map(|delivery| {
            let journey = journey_of(&fleet, delivery, &delivery.live[0]);
            for stage in [Stage::Detected, Stage::Committed] {
                assert_eq!(journey.stages.state(stage), StageState::Skipped, "{}", delivery.image);
            }
            let Interval { not_before, not_after } =
                journey.stages.evidence(Stage::Fetched).expect("fetched").interval;
            assert!(not_after.seconds_since(not_before) <= 1.0, "{}", delivery.image);
            not_before.to_string()[11..19].to_owned()
        })
        .collect();
    // `artifact.lastUpdateTime` in the recording.
    assert_eq!(fetched, ["18:23:17", "18:23:48", "18:24:17"]);
}

#[test]
fn what_holds_or_breaks_a_release_is_named() {
    let fleet = play("06-helm-and-oci");
    table(
        &fleet,
        &[
            ("helm-value-changed", &[]),
            ("helmrelease-suspended", &[("held suspended", RELEASE)]),
            // It gives up after 12 s.
            ("helm-upgrade-failing", &[]),
            ("helm-health-failing", &[("stuck image_pull", RELEASE)]),
            ("chart-missing", &[("stuck source_failing", "helmchart/prod-cart -n flux-system")]),
            ("chart-changed", &[]),
            // Nothing was on its way there, and two turns are 20 s.
            ("oci-unreachable", &[]),
            ("oci-revision", &[]),
        ],
    );
}

#[test]
fn values_are_revisions_and_what_a_release_gives_up_has_failed() {
    let fleet = play("06-helm-and-oci");
    for (subject, outcome) in [
        ("Debug the cart", Outcome::Live),
        ("No more debugging of the cart", Outcome::Live),
        ("Two carts", Outcome::Failed),
        ("2 carts", Outcome::Live),
        ("The next chart", Outcome::Superseded),
        ("The old chart", Outcome::Live),
    ] {
        let journey = revision(&fleet, "prod", subject);
        assert_eq!((journey.outcome, journey.trigger), (Some(outcome), Trigger::Commit), "{subject}");
    }
    let failed = revision(&fleet, "prod", "Two carts");
    let who = failed.who.as_ref().expect("who gave up");
    assert_eq!(&*who.object, RELEASE);
    assert!(who.says.contains(".spec.replicas: expected numeric (int or float), got string"), "{}", who.says);
    assert_eq!(failed.stages.state(Stage::Applied), StageState::Unknown);
    let fault =
        fleet.truth.faults.iter().find(|fault| fault.name == "helm-upgrade-failing").expect("in the truth");
    let ended = failed.ended.expect("it ended");
    assert!(ended.not_before >= fault.began && ended.not_after <= fault.repaired, "{ended:?}");
}
