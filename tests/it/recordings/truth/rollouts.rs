//! Rollouts that work, forward and back, and what must not look like one.

use knotmeter::tracker::Stage;

use super::super::drive::clock;
use super::super::expected::{check, set};
use super::super::replay::{Recording, play, play_until};

#[test]
fn a_rollout_is_live_when_its_last_pod_answers_with_it() {
    let played = play("01-rollout-ok");
    let web = |at, image| set(at, "Deployment/web", "web", image);
    check(
        &played,
        &[
            web("23:50:41.275", "shop/web:1.0.0").live("shop/web 1.0.0", 3),
            web("23:50:50.252", "shop/web:1.1.0").live("shop/web 1.1.0", 3),
            web("23:51:00.820", "shop/web:1.2.0").live("shop/web 1.2.0", 3),
        ],
    );
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_push_two_seconds_before_its_rollout_is_where_image_to_live_starts() {
    let played = play("01-rollout-ok");
    // Pushed 23:50:48.252 and set 23:50:50.252; the last pod answered 23:50:52.846, up to 0.8 s late.
    let journey = played.journey("shop/web:1.1.0");
    let whole = journey.image_to_live().expect("push and live are known");
    assert!((whole.seconds - 4.2).abs() <= 0.4 + whole.uncertainty_seconds, "{whole:?}");
    let change = journey.change_to_live().expect("the template change and live are known");
    assert!((change.seconds - 2.2).abs() <= 0.4 + change.uncertainty_seconds, "{change:?}");
    assert!(whole.uncertainty_seconds <= 1.0 && change.uncertainty_seconds <= 1.0);
}

#[test]
fn with_one_of_three_pods_changed_a_rollout_is_ready_and_not_live() {
    let played = play_until("01-rollout-ok", "23:50:51.300");
    let journey = played.journey("shop/web:1.1.0");
    assert_eq!(journey.stages.reached(), Some(Stage::Ready));
    assert!(journey.is_open());
    let (live, ..) = played.status("web").live.expect("1.0.0 is live");
    assert_eq!(live.to_string(), "127.0.0.1:5000/shop/web:1.0.0");
}

#[test]
fn going_back_to_the_first_replica_set_is_a_rollback_that_starts_new_pods() {
    let played = play("08-rollback");
    let front = |at, image| set(at, "Deployment/front", "front", image);
    check(
        &played,
        &[
            front("23:52:20.583", "portal/front:1.1.0").live("portal/front 1.1.0", 3),
            front("23:52:31.022", "portal/front:1.2.0").live("portal/front 1.2.0", 3),
            front("23:52:44.000", "portal/front:1.1.0").rollback().live("portal/front 1.1.0", 3),
        ],
    );
    assert_eq!(played.restarts(), 0);
    // 1.1.0 was pushed long before somebody went back to it: no image-to-live.
    let back = played.journey("portal/front:1.1.0");
    assert_eq!(back.image_to_live(), None);
    assert!(back.change_to_live().is_some());
}

#[test]
fn scaling_deleting_and_cordoning_open_nothing() {
    let played = play("09-scale-delete-cordon");
    let timeline = |at, image| set(at, "Deployment/timeline", "timeline", image);
    // Scaled from 3 to 5 in the middle of the second one.
    check(
        &played,
        &[
            timeline("00:12:14.934", "feed/home:1.0.0").live("feed/home 1.0.0", 3),
            timeline("00:12:25.057", "feed/home:1.1.0").live("feed/home 1.1.0", 5),
        ],
    );
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_pending_replacement_of_a_deleted_pod_leaves_live_what_was_live() {
    // Cordoned since 00:12:57.584, a pod deleted 00:12:59.742, uncordoned 00:13:09.830.
    let played = Recording::read("09-scale-delete-cordon").live_budget(4.0).play_until("00:13:08");
    assert!(played.journeys().iter().all(|journey| !journey.is_open() && journey.stuck.is_none()));
    let status = played.status("timeline");
    let (live, _, since) = status.live.expect("1.1.0 is live");
    assert_eq!(live.to_string(), "127.0.0.1:5000/feed/home:1.1.0");
    assert!(since < clock("00:12:35"), "{since}");
    assert!(status.behind_seconds == 0.0, "{}", status.behind_seconds);
}

#[test]
fn a_forced_apply_over_a_change_by_hand_is_a_rollback() {
    let played = play("14-server-side-apply");
    let podinfo = |at, image| set(at, "Deployment/podinfo", "podinfod", image);
    // The reconcile without change at 00:01:21.808 and the refused apply at 00:01:33.297 are no journeys.
    check(
        &played,
        &[
            podinfo("00:01:01.218", "gitops/podinfo:6.9.0").live("gitops/podinfo 6.9.0", 2),
            podinfo("00:01:14.410", "gitops/podinfo:6.9.1").live("gitops/podinfo 6.9.1", 2),
            podinfo("00:01:26.006", "gitops/podinfo:6.10.0-rc.1").live("gitops/podinfo 6.10.0-rc.1", 2),
            podinfo("00:01:34.947", "gitops/podinfo:6.9.1").rollback().live("gitops/podinfo 6.9.1", 2),
        ],
    );
    assert_eq!(played.restarts(), 0);
}
