//! Tags that move, and digests with several names.

use knotmeter::tracker::Stage;

use super::super::expected::{check, set};
use super::super::replay::{play, play_until};

const STABLE: &str = "media/player:stable";

#[test]
fn a_moved_tag_is_live_only_after_the_restart_that_pulled_it() {
    let played = play("03-moving-tag");
    let player = |at| set(at, "Deployment/player", "player", STABLE);
    // The third push, and the pod that pulled it when another was deleted, are no journey.
    check(
        &played,
        &[
            player("23:52:20.821").live("media/player stable-build-1", 3),
            player("23:52:35.470").live("media/player stable-build-2", 3),
        ],
    );
    // The restart brought another image: it is the journey.
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_moved_tag_alone_moves_nothing() {
    let played = play_until("03-moving-tag", "23:52:35.400");
    assert_eq!(played.journeys().len(), 1);
    assert!(!played.status("player").mixed_digests);
}

#[test]
fn a_deleted_pod_that_pulls_the_moved_tag_mixes_the_digests_of_one_replica_set() {
    // The pod is deleted 23:52:45.759, its replacement answers with build-3 at 23:52:46.622.
    for (at, mixed) in [("23:52:44", false), ("23:52:47", true), ("23:52:59", true)] {
        let played = play_until("03-moving-tag", at);
        assert_eq!(played.status("player").mixed_digests, mixed, "{at}");
        assert_eq!(played.journeys().len(), 2, "{at}");
    }
    let played = play("03-moving-tag");
    let (_, digest, _) = played.status("player").live.expect("build-2 is live");
    let repository = played.journey(STABLE).image.repository.clone();
    assert_eq!(digest, Some(played.drive.push(&repository, "media/player stable-build-2").2));
}

#[test]
fn a_restart_with_the_old_build_cached_is_live_only_with_the_template_that_names_the_digest() {
    let played = play("03b-moving-tag-cached");
    let smtp = |at| set(at, "Deployment/smtp", "smtp", "mail/smtp:stable");
    check(
        &played,
        &[
            smtp("00:01:00.843").live("mail/smtp stable-build-1", 2),
            smtp("00:01:10.400").live("mail/smtp stable-build-2", 2),
        ],
    );
    // The digest brought build-2 to pods that ran build-1: no mere restart.
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_complete_rollout_of_the_cached_build_makes_nothing_live() {
    // kubectl said that the restart was rolled out at 00:01:13.288; the digest was set at 00:01:19.288.
    for at in ["00:01:13.300", "00:01:14", "00:01:19.200"] {
        let played = play_until("03b-moving-tag-cached", at);
        let journey = played.journey("mail/smtp:stable");
        assert!(journey.is_open(), "{at}: {journey:?}");
        assert_eq!(journey.stages.reached(), Some(Stage::Applied), "{at}: only build-1 runs");
        let (_, digest, _) = played.status("smtp").live.expect("build-1 is live");
        let build = played.drive.push(&journey.image.repository, "mail/smtp stable-build-1").2;
        assert_eq!(digest, Some(build), "{at}");
    }
}

#[test]
fn pods_that_name_another_repository_confirm_the_image_of_their_template() {
    let played = play("07-multiarch-shared-config");
    let api =
        "platform/web-api:1.1.0@sha256:45131916575c28b44be3de4f30550d914ab9be3dbdf52837c13a2c5da768c3ae";
    // The third pod of web-api, made by scaling at 23:56:28.128, names the mirror's index and opens nothing.
    check(
        &played,
        &[
            set("23:56:11.585", "Deployment/web-api", "api", "platform/web-api:1.0.0")
                .live("platform/web-api 1.0.0", 2),
            set("23:56:22.477", "Deployment/web-api-mirror", "api", "mirror/web-api:1.0.0")
                .live("platform/web-api 1.0.0", 2),
            set("23:56:34.661", "Deployment/gateway", "gateway", "platform/gateway:1.0.0")
                .live("platform/gateway 1.0.0", 2),
            set("23:56:40.890", "Deployment/gateway", "gateway", "platform/gateway:1.1.0")
                .live("platform/gateway 1.1.0", 2),
            set("23:56:48.578", "Deployment/web-api", "api", api).live("platform/web-api 1.1.0", 3),
        ],
    );
    assert_eq!(played.restarts(), 0);
}
