//! Rollouts in trouble: what was never live, why it was stuck, and since when.

use knotmeter::observation::Time;
use knotmeter::tracker::{Event, Outcome, Reason, Stage};

use super::super::drive::clock;
use super::super::expected::{check, set};
use super::super::replay::{Played, Recording, play, play_until};

/// A latest status that the driver could see is this much late at most.
const WATCH_LATE_MILLIS_MAX: i64 = 1000;

/// At each of these times the journey of an image is stuck for that reason, since about then.
fn stuck(scenario: &str, image: &str, reason: Reason, since: &str, at: &[&str]) {
    for at in at {
        let played = play_until(scenario, at);
        stuck_in(&played, image, reason, clock(since));
    }
}

fn stuck_in(played: &Played, image: &str, reason: Reason, since: Time) {
    let journey = played.journey(image);
    let at = played.until;
    let stuck = journey.stuck.unwrap_or_else(|| panic!("{image} at {at}: not stuck"));
    assert_eq!(stuck.reason, reason, "{image} at {at}");
    let late = stuck.since.seconds_since(since).abs() * 1000.0;
    assert!(late <= WATCH_LATE_MILLIS_MAX as f64, "{image} at {at}: since {}", stuck.since);
    assert!(stuck.stage > Stage::Applied && journey.is_open(), "{image} at {at}");
}

fn not_stuck(scenario: &str, image: &str, at: &[&str]) {
    for at in at {
        let played = play_until(scenario, at);
        assert_eq!(played.journey(image).stuck, None, "{image} at {at}");
    }
}

fn live(played: &Played, workload: &str) -> String {
    let (image, ..) = played.status(workload).live.expect("something is live");
    image.to_string().split_once('/').expect("a registry").1.to_owned()
}

#[test]
fn a_missing_tag_is_rolled_back_and_the_old_version_was_live_all_the_time() {
    let played = play("02-missing-tag");
    let cart = |at, image| set(at, "Deployment/cart", "cart", image);
    check(
        &played,
        &[
            cart("23:52:20.661", "shop/cart:2.4.0").live("shop/cart 2.4.0", 2),
            cart("23:52:29.182", "shop/cart:2.4.1").never_ran(Outcome::RolledBack, None),
            cart("23:52:54.278", "shop/cart:2.4.0").rollback().kept_running("shop/cart 2.4.0"),
            cart("23:53:00.605", "shop/cart:2.5.0").live("shop/cart 2.5.0", 2),
        ],
    );
    assert_eq!(played.restarts(), 0);
    for at in ["23:52:30", "23:52:45", "23:52:54", "23:52:57"] {
        assert_eq!(live(&play_until("02-missing-tag", at), "cart"), "shop/cart:2.4.0", "{at}");
    }
}

#[test]
fn a_missing_tag_is_stuck_pulling_from_the_deadline_until_it_is_undone() {
    let at = ["23:52:46", "23:52:50", "23:52:54.200"];
    stuck("02-missing-tag", "shop/cart:2.4.1", Reason::PullNotFound, "23:52:45", &at);
    not_stuck("02-missing-tag", "shop/cart:2.4.1", &["23:52:35", "23:52:44", "23:52:55"]);
    // Ten seconds after it was applied, where that is the budget.
    let played = Recording::read("02-missing-tag").live_budget(10.0).play_until("23:52:41");
    stuck_in(&played, "shop/cart:2.4.1", Reason::PullNotFound, clock("23:52:39.200"));
}

#[test]
fn a_crash_loop_is_never_live_and_the_next_version_supersedes_it() {
    let played = play("04-crashloop");
    let invoicer = |at, image| set(at, "Deployment/invoicer", "invoicer", image);
    check(
        &played,
        &[
            invoicer("00:11:13.990", "billing/invoicer:3.0.0").live("billing/invoicer 3.0.0", 2),
            invoicer("00:11:20.879", "billing/invoicer:3.1.0")
                .never_ready(Outcome::Superseded, "billing/invoicer 3.1.0"),
            invoicer("00:12:01.984", "billing/invoicer:3.1.1").live("billing/invoicer 3.1.1", 2),
        ],
    );
    assert_eq!(played.restarts(), 0);
    for at in ["00:11:22", "00:11:40", "00:12:01", "00:12:02.500"] {
        assert_eq!(live(&play_until("04-crashloop", at), "invoicer"), "billing/invoicer:3.0.0", "{at}");
    }
}

#[test]
fn a_crash_loop_is_stuck_from_the_deadline_until_another_version_is_set() {
    let at = ["00:11:52", "00:11:56", "00:12:01.900"];
    stuck("04-crashloop", "billing/invoicer:3.1.0", Reason::CrashLoop, "00:11:51", &at);
    not_stuck("04-crashloop", "billing/invoicer:3.1.0", &["00:11:30", "00:11:50", "00:12:03"]);
    for at in ["00:11:32", "00:11:36", "00:11:44", "00:12:00"] {
        let played = Recording::read("04-crashloop").live_budget(10.0).play_until(at);
        stuck_in(&played, "billing/invoicer:3.1.0", Reason::CrashLoop, clock("00:11:30.900"));
    }
}

#[test]
fn a_version_that_answers_without_being_ready_is_never_live() {
    let played = play("05-failing-readiness");
    let query = |at, image| set(at, "Deployment/query", "query", image);
    check(
        &played,
        &[
            query("23:56:11.971", "search/query:0.9.0").live("search/query 0.9.0", 3),
            query("23:56:22.738", "search/query:0.10.0")
                .never_ready(Outcome::Superseded, "search/query 0.10.0"),
            query("23:56:44.134", "search/query:0.10.1").live("search/query 0.10.1", 3),
        ],
    );
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_version_that_is_not_ready_is_stuck_when_its_budget_ends() {
    // The progress deadline is 600 s: no condition tells.
    not_stuck("05-failing-readiness", "search/query:0.10.0", &["23:56:30", "23:56:44"]);
    for at in ["23:56:34", "23:56:43.900"] {
        let played = Recording::read("05-failing-readiness").live_budget(10.0).play_until(at);
        stuck_in(&played, "search/query:0.10.0", Reason::ProbeFailing, clock("23:56:32.800"));
    }
    // What supersedes it at the same stage is late from the first moment on, and no longer when it is live.
    let play = |at| Recording::read("05-failing-readiness").live_budget(10.0).play_until(at);
    assert!(play("23:56:45.500").journey("search/query:0.10.1").stuck.is_some());
    assert_eq!(play("23:56:49").journey("search/query:0.10.1").stuck, None);
}

#[test]
fn a_rollout_goes_live_after_its_deadline_when_the_quota_is_raised() {
    let played = play("10a-quota-exceeded");
    let api = |at, image| set(at, "Deployment/api", "api", image);
    check(
        &played,
        &[
            api("00:01:01.525", "tenant/orders-api:1.0.0").live("tenant/orders-api 1.0.0", 3),
            api("00:01:10.816", "tenant/orders-api:1.1.0").live("tenant/orders-api 1.1.0", 3),
        ],
    );
    assert_eq!(played.restarts(), 0);
    let image = "tenant/orders-api:1.1.0";
    stuck("10a-quota-exceeded", image, Reason::Quota, "00:01:26", &["00:01:27", "00:01:28.800"]);
    not_stuck("10a-quota-exceeded", image, &["00:01:24", "00:01:36"]);
    let id = played.journey(image).id;
    assert!(played.events.contains(&Event::Cleared { id }));
}

#[test]
fn of_two_templates_that_no_node_fits_one_goes_live_corrected_and_one_is_undone() {
    let played = play("10b-unschedulable");
    let render = |at, image| set(at, "Deployment/render", "c", image);
    let solver = |at, image| set(at, "Deployment/solver", "c", image);
    check(
        &played,
        &[
            render("23:56:11.289", "tenant/render:1.0.0").live("tenant/render 1.0.0", 2),
            solver("23:56:11.565", "tenant/solver:1.0.0").live("tenant/solver 1.0.0", 2),
            render("23:56:19.796", "tenant/render:1.1.0").live("tenant/render 1.1.0", 2),
            solver("23:56:22.995", "tenant/solver:1.1.0")
                .never_ran(Outcome::RolledBack, Some("tenant/solver 1.1.0")),
            solver("23:56:55.714", "tenant/solver:1.0.0").rollback().kept_running("tenant/solver 1.0.0"),
        ],
    );
    // The corrected template of render is a rollout without another image.
    assert_eq!(played.restarts(), 1);
    // The controller's deadline of 15 s passed 23:56:36.013 and 23:56:40.015.
    let scenario = "10b-unschedulable";
    let at = ["23:56:37", "23:56:48.900"];
    stuck(scenario, "tenant/render:1.1.0", Reason::Unschedulable, "23:56:36", &at);
    let at = ["23:56:41", "23:56:55.600"];
    stuck(scenario, "tenant/solver:1.1.0", Reason::Unschedulable, "23:56:40", &at);
    not_stuck(scenario, "tenant/render:1.1.0", &["23:56:34", "23:56:53"]);
    for at in ["23:56:30", "23:56:50", "23:56:56"] {
        assert_eq!(live(&play_until(scenario, at), "solver"), "tenant/solver:1.0.0", "{at}");
    }
}

#[test]
fn a_pull_without_credentials_is_stuck_and_goes_live_with_them_as_the_same_journey() {
    let played = play("10c-pull-denied");
    let vault = |at, image| set(at, "Deployment/vault", "vault", image);
    check(
        &played,
        &[
            vault("23:56:11.719", "tenant/vault:1.0.0").live("tenant/vault 1.0.0", 2),
            vault("23:56:24.981", "private/vault:1.1.0").live("private/vault 1.1.0", 2),
        ],
    );
    // The template that names the secret is a rollout without another image.
    assert_eq!(played.restarts(), 1);
    let image = "private/vault:1.1.0";
    let at = ["23:56:42", "23:56:50"];
    stuck("10c-pull-denied", image, Reason::PullDenied, "23:56:41", &at);
    not_stuck("10c-pull-denied", image, &["23:56:39", "23:56:55"]);
}

#[test]
fn a_sidecar_travels_alone_and_its_neighbour_stays_where_it_is() {
    let played = play("11-multi-container");
    let proxy = |at, image| set(at, "Deployment/order-svc", "proxy", image);
    check(
        &played,
        &[
            set("00:01:01.386", "Deployment/order-svc", "app", "orders/order-api:1.0.0")
                .live("orders/order-api 1.0.0", 2),
            proxy("00:01:01.386", "mesh/linker:1.0.0").live("mesh/linker 1.0.0", 2),
            proxy("00:01:13.914", "mesh/linker:1.1.0").live("mesh/linker 1.1.0", 2),
            proxy("00:01:27.673", "mesh/linker:1.2.0").never_ready(Outcome::Superseded, "mesh/linker 1.2.0"),
            proxy("00:01:42.829", "mesh/linker:1.2.1").live("mesh/linker 1.2.1", 2),
        ],
    );
    // Each rollout had another image for one container: none is a restart of the pod.
    assert_eq!(played.restarts(), 0);
}

#[test]
fn a_sidecar_that_is_not_ready_is_stuck_although_its_neighbour_is_ready() {
    for at in ["00:01:37", "00:01:42.800"] {
        let played = Recording::read("11-multi-container").live_budget(8.0).play_until(at);
        stuck_in(&played, "mesh/linker:1.2.0", Reason::ProbeFailing, clock("00:01:35.700"));
        assert_eq!(played.journey("orders/order-api:1.0.0").outcome, Some(Outcome::Live));
    }
}
