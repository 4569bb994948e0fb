//! Changes without an image, and images that somebody puts in the place of others.

use knotmeter::observation::Basis;
use knotmeter::tracker::{Journey, Outcome, Stage, StageState, Subject, Trigger};

use super::delivered::{check, journey_of};
use super::play::{Fleet, play, watch};

/// The only journey of a commit that changes no image.
pub fn revision<'a>(fleet: &'a Fleet, namespace: &str, subject: &str) -> &'a Journey {
    let all = fleet.played.journeys();
    let mut mine = all.into_iter().filter(|journey| {
        journey.subject == Subject::Revision
            && *journey.destination.workload.namespace == *namespace
            && journey.commit.as_ref().is_some_and(|commit| *commit.subject == *subject)
    });
    let found = mine.next().unwrap_or_else(|| panic!("no {subject}\n{}", fleet.played.lines().join("\n")));
    assert!(mine.next().is_none(), "two of {subject}\n{}", fleet.played.lines().join("\n"));
    found
}

#[test]
fn a_changed_variable_or_generated_config_is_a_revision_that_goes_live() {
    let fleet = play("05-revisions");
    for subject in ["Speak less", "Speak again", "Faster", "Slower"] {
        let journey = revision(&fleet, "prod", subject);
        assert_eq!((journey.outcome, journey.trigger), (Some(Outcome::Live), Trigger::Commit), "{subject}");
        assert_eq!(journey.image.repository.as_str(), "127.0.0.1:15000/team/api", "{subject}");
        for stage in [Stage::Committed, Stage::Applied, Stage::Started, Stage::Ready, Stage::Live] {
            assert!(journey.stages.evidence(stage).is_some(), "{subject}: {}", stage.as_str());
        }
    }
}

#[test]
fn a_changed_number_of_replicas_is_followed_to_its_pods() {
    let fleet = play("05-revisions");
    // "One less" landed at 18:18:19.7, while the fourth pod started: Flux had waited for a dependency. The driver saw
    // four ready pods at 18:18:20.471 and three at 18:18:24.919.
    let told = [
        ("One more", Some(4), Outcome::Superseded, ["18:18:08", "18:18:18", "18:18:20"]),
        ("One less", Some(3), Outcome::Live, ["18:18:23", "18:18:24", "18:18:24"]),
    ];
    for (subject, replicas, outcome, seconds) in told {
        let journey = revision(&fleet, "prod", subject);
        assert_eq!((journey.outcome, journey.replicas), (Some(outcome), replicas), "{subject}");
        let at = |stage| journey.stages.evidence(stage).expect("known").interval.not_after.to_string();
        let at = [Stage::Fetched, Stage::Applied, Stage::Live].map(at).map(|at| at[11..19].to_owned());
        assert_eq!(at, seconds, "{subject}");
        let applied = journey.stages.evidence(Stage::Applied).expect("known");
        assert_eq!(applied.basis, Basis::ManagedFields, "{subject}");
        for stage in [Stage::Started, Stage::Ready] {
            let skipped = journey.stages.state(stage) == StageState::Skipped;
            let known = journey.stages.evidence(stage).is_some();
            assert_eq!((skipped, known), (replicas == Some(3), replicas == Some(4)), "{subject}");
        }
    }
}

#[test]
fn no_image_of_the_revisions_is_lost() {
    let fleet = play("05-revisions");
    for delivery in &fleet.truth.deliveries {
        for live in &delivery.live {
            let journey = journey_of(&fleet, delivery, live);
            assert_eq!(journey.outcome, Some(Outcome::Live), "{} in {}", delivery.image, live.namespace);
        }
    }
}

#[test]
fn a_config_map_that_nobody_restarts_for_is_not_rolled_until_a_commit_rolls_it() {
    let mut not_rolled = Vec::new();
    let fleet = watch("07-config-forgotten", |tracker, now| {
        for status in tracker.destinations(now).iter().filter(|status| status.config_not_rolled.is_some()) {
            not_rolled.push((now, status.destination.workload.to_string()));
        }
    });
    check(&fleet);
    let forgotten = revision(&fleet, "staging", "Greet anew");
    assert_eq!(forgotten.stages.state(Stage::Started), StageState::Skipped);
    assert_eq!(revision(&fleet, "staging", "Roll for the greeting").outcome, Some(Outcome::Live));
    let fault = &fleet.truth.faults[0];
    let (first, last) = (not_rolled.first().expect("said"), not_rolled.last().expect("said"));
    assert!(first.0 >= fault.began && first.0 < fault.repaired, "{first:?}");
    assert!(last.0 >= fault.repaired && last.0 <= fault.ended, "{last:?}");
    assert!(not_rolled.iter().all(|(_, workload)| workload.contains("staging")), "{not_rolled:?}");
    assert!(fleet.told.is_empty(), "{}", fleet.told_lines());
}

#[test]
fn an_override_in_the_cluster_and_a_proposal_hold() {
    let fleet = play("05-revisions");
    let held: Vec<String> =
        fleet.told.iter().map(|told| format!("{}: {} {}", told.journey, told.what, told.who)).collect();
    let override_of_web =
        "team/web:1.24.0 in staging: held replaced kustomization/web-staging -n flux-system";
    // The automation pushes to a branch of its own until somebody merges that.
    let proposal = "team/api:rel-2026112118210723 in prod: held manual_approval imageupdateautomation/fleet -n flux-system";
    assert_eq!(held, [override_of_web, proposal]);
    for (told, name) in fleet.told.iter().zip(["images-override", "proposed"]) {
        let fault = fleet.truth.faults.iter().find(|fault| fault.name == name).expect("in the truth");
        assert!(told.from >= fault.began && told.from <= fault.repaired, "{}", fleet.told_lines());
        assert!(told.to >= fault.repaired && told.to <= fault.ended, "{}", fleet.told_lines());
    }
}

#[test]
fn what_a_lowered_range_selects_again_is_a_rollback_and_what_a_raised_one_does_is_none() {
    let fleet = play("05-revisions");
    let lowered = fleet.truth.faults.iter().find(|fault| fault.name == "policy-lowered").expect("it was");
    let of_it = |journey: &&Journey| {
        let opened = journey.opened.not_after;
        *journey.destination.workload.name == *"web"
            && *journey.destination.workload.namespace == *"prod"
            && opened >= lowered.began
            && opened <= lowered.ended
    };
    let journeys = fleet.played.journeys().into_iter().filter(of_it);
    let told: Vec<_> = journeys
        .map(|it| (it.image.tag.as_ref().map_or("", |tag| tag.as_str()), it.trigger, it.outcome))
        .collect();
    // It was live in staging before.
    let live = Some(Outcome::Live);
    assert_eq!(told, [("1.22.0", Trigger::Rollback, live), ("1.23.0", Trigger::Promotion, live)]);
}
