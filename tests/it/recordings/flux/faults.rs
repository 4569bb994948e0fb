//! What broke, and what was said of it: the table of each scenario's faults.

use super::delivered::check;
use super::play::{Fleet, Told, play};
use super::truth::Fault;

/// A fault of the truth, and what its journeys are said to wait for before it is repaired: `stuck REASON` and who.
/// Nothing for a fault that ends within the budget, or that is none.
type Row = (&'static str, &'static [(&'static str, &'static str)]);

/// What fails goes on failing for a while after its repair: the controllers of images and sources wait longer after
/// each try, the applier takes its next turn.
const BACK_OFF_MILLIS: i64 = 6_000;
/// A look of ours after the end, and the driver's own lateness.
const CLEARED_MILLIS: i64 = 3_000;

const UPDATER: &str = "imageupdateautomation/fleet -n flux-system";
/// Any pod.
const POD: &str = "pod/";
const SOURCE: &str = "gitrepository/fleet -n flux-system";

#[test]
fn an_outage_is_named_where_it_outlasts_two_turns_and_is_over_when_it_is_over() {
    let fleet = play("03-outages");
    check(&fleet);
    table(
        &fleet,
        &[
            ("git-readonly", &[("stuck git_auth", UPDATER)]),
            // Our own look at the registry fails as well: blind, not stuck.
            ("registry-down", &[]),
            ("git-protected", &[("stuck automation_failing", UPDATER)]),
            // Well again after a second.
            ("push-race", &[]),
            ("git-auth", &[("stuck git_auth", UPDATER)]),
            ("fetch-failing", &[("stuck git_auth", SOURCE)]),
            // Our own look at git fails as well.
            ("git-down", &[]),
            ("reflector-down", &[("stuck scan_late", "imagerepository/web -n flux-system")]),
            // It says nothing, and what depends on another may take 70 s.
            ("applier-down", &[]),
            ("source-recreated", &[]),
        ],
    );
}

#[test]
fn what_is_broken_in_git_or_in_the_cluster_is_named_by_the_applier_or_by_the_pods() {
    let fleet = play("04-broken");
    check(&fleet);
    table(
        &fleet,
        &[
            ("build-error", &[("stuck build_failed", "kustomization/web-prod -n flux-system")]),
            ("invalid-manifest", &[("stuck invalid_manifest", "kustomization/api -n flux-system")]),
            ("immutable-field", &[("stuck invalid_manifest", "kustomization/worker -n flux-system")]),
            ("dependency-not-ready", &[("stuck dependency_not_ready", "kustomization/infra -n flux-system")]),
            ("admission-denied", &[("stuck admission_denied", "kustomization/web-prod -n flux-system")]),
            ("health-check-failing", &[("stuck image_pull", POD)]),
            ("health-check-deadline", &[("stuck image_pull", POD)]),
            ("quota", &[("stuck quota", "resourcequota/few -n staging")]),
            ("unschedulable", &[("stuck unschedulable", POD)]),
        ],
    );
}

/// Each fault is told as the table has it, before its repair works, and is over with it. Nothing else is told.
pub fn table(fleet: &Fleet, rows: &[Row]) {
    let names: Vec<&str> = fleet.truth.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names, rows.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (at, (fault, (name, expected))) in fleet.truth.faults.iter().zip(rows).enumerate() {
        let next = fleet.truth.faults.get(at + 1).map(|next| next.began);
        let told = fleet
            .told
            .iter()
            .filter(|told| (at == 0 || told.from >= fault.began) && next.is_none_or(|next| told.from < next));
        let told: Vec<&Told> = told.collect();
        for (what, who) in *expected {
            let is_it = |told: &&&Told| says(told, what, who);
            if !told.iter().filter(is_it).any(|told| told.from <= fault.repaired + BACK_OFF_MILLIS) {
                wrong.push(format!("{name}: {what} {who} was not said"));
            }
        }
        wrong.extend(told.iter().filter(|now| !fits(now, &told, fault, expected)).map(|told| {
            format!("{name}: {} {} {} {}..{}", told.journey, told.what, told.who, told.from, told.to)
        }));
    }
    assert!(wrong.is_empty(), "{}\n\nof\n{}", wrong.join("\n"), fleet.told_lines());
}

/// A pod has another name each time.
fn says(told: &Told, what: &str, who: &str) -> bool {
    *told.what == *what && (*told.who == *who || who == POD && told.who.starts_with(POD))
}

fn fits(now: &Told, told: &[&Told], fault: &Fault, expected: &[(&str, &str)]) -> bool {
    let is_expected = |told: &Told| expected.iter().any(|(what, who)| says(told, what, who));
    // What was stuck stays so until it has arrived, and for the same reason: whoever mends it gets no other alert.
    let goes_on = now.from >= fault.repaired
        && told.iter().any(|before| {
            let same = before.journey == now.journey && before.what == now.what;
            same && before.from < now.from && is_expected(before)
        });
    now.from >= fault.began && now.to <= fault.ended + CLEARED_MILLIS && (is_expected(now) || goes_on)
}
