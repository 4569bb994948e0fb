//! What somebody suspended, and what no policy selects.

use super::delivered::check;
use super::faults::table;
use super::play::play;

#[test]
fn what_is_suspended_holds_and_is_never_stuck() {
    let fleet = play("02-held");
    check(&fleet);
    table(
        &fleet,
        &[
            ("kustomization-suspended", &[("held suspended", "kustomization/web-prod -n flux-system")]),
            ("imagerepository-suspended", &[("held suspended", "imagerepository/api -n flux-system")]),
            ("automation-suspended", &[("held suspended", "imageupdateautomation/fleet -n flux-system")]),
            ("source-suspended", &[("held suspended", "gitrepository/fleet -n flux-system")]),
            ("policy-suspended", &[("held suspended", "imagepolicy/api -n flux-system")]),
            ("policy-excludes", &[]),
            ("policy-excludes-prerelease", &[]),
        ],
    );
}

#[test]
fn what_no_policy_selects_makes_no_journey() {
    let fleet = play("02-held");
    let lines = fleet.played.lines();
    assert!(!lines.iter().any(|line| line.contains("hotfix")), "{}", lines.join("\n"));
    let candidate: Vec<_> = (fleet.played.journeys().into_iter())
        .filter(|journey| journey.image.tag.as_ref().is_some_and(|tag| tag.as_str() == "1.23.0-rc.1"))
        .map(|journey| journey.destination.environment.to_string())
        .collect();
    assert_eq!(candidate, ["staging"], "{}", lines.join("\n"));
}
