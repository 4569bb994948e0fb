//! What the recorded streams of a real cluster say, against what is known of them.

use std::collections::{BTreeMap, BTreeSet};

use knotmeter::image::Digest;
use knotmeter::observation::{
    CacheResult, Fact, Measure, Pod, Revision, Strategy, Subject, Time, UpdateClass, Waiting, Workload,
};
use knotmeter::observers::cluster::Said;

use super::{at, facts, measures, said, scenarios};

#[test]
fn every_line_of_every_recording_decodes() {
    let mut lines_said = 0;
    for scenario in scenarios() {
        let said = said(&scenario);
        let dropped: Vec<_> = measures(&said).filter(|m| matches!(m, Measure::Dropped { .. })).collect();
        assert!(dropped.is_empty(), "{scenario}: {dropped:?}");
        assert!(facts(&said).any(|fact| matches!(fact, Fact::PodIs(_) | Fact::WorkloadIs(_))), "{scenario}");
        lines_said += said.len();
    }
    assert!(lines_said > 2000, "{lines_said}");
}

fn workloads(said: &[(Time, String, Said)]) -> Vec<&Workload> {
    let told = facts(said).filter_map(|fact| match fact {
        Fact::WorkloadIs(workload) => Some(&**workload),
        _ => None,
    });
    told.collect()
}

fn revisions(said: &[(Time, String, Said)]) -> Vec<&Revision> {
    let told = facts(said).filter_map(|fact| match fact {
        Fact::RevisionIs(revision) => Some(&**revision),
        _ => None,
    });
    told.collect()
}

fn pods(said: &[(Time, String, Said)]) -> Vec<&Pod> {
    facts(said).filter_map(|fact| if let Fact::PodIs(pod) = fact { Some(&**pod) } else { None }).collect()
}

#[test]
fn every_revision_has_the_hash_of_a_template_that_its_owner_had() {
    let mut pairs = 0;
    for scenario in scenarios() {
        let said = said(&scenario);
        let mut templates: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
        for workload in workloads(&said) {
            templates.entry(&workload.uid).or_default().insert(workload.template);
        }
        let mut of_revisions: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
        for revision in revisions(&said) {
            let owner = templates.get(&*revision.owner);
            let owner = owner.unwrap_or_else(|| panic!("{scenario}: {} has no owner", revision.name));
            assert!(owner.contains(&revision.template), "{scenario}: {}", revision.name);
            of_revisions.entry(&revision.owner).or_default().insert(revision.template);
            pairs += 1;
        }
        // Different revisions of one owner have different templates, or they would be one revision.
        for (owner, hashes) in &of_revisions {
            let names: BTreeSet<_> =
                revisions(&said).iter().filter(|r| *r.owner == **owner).map(|r| r.name.clone()).collect();
            assert_eq!(names.len(), hashes.len(), "{scenario}: {names:?}");
        }
    }
    assert!(pairs >= 48, "{pairs}");
}

#[test]
fn every_owned_pod_carries_the_label_of_one_of_its_owners_revisions() {
    let mut joined = 0;
    for scenario in scenarios() {
        let said = said(&scenario);
        let revisions = revisions(&said);
        let known: BTreeSet<_> = revisions
            .iter()
            .flat_map(|r| [(r.uid.clone(), r.pod_hash.clone()), (r.owner.clone(), r.pod_hash.clone())])
            .collect();
        for pod in pods(&said) {
            let (Some(owner), Some(hash)) = (&pod.owner, &pod.pod_hash) else { continue };
            assert!(known.contains(&(owner.clone(), hash.clone())), "{scenario}: {}", pod.name);
            joined += 1;
        }
    }
    assert!(joined > 500, "{joined}");
}

#[test]
fn every_digest_that_a_pod_runs_was_pushed() {
    let mut seen = BTreeSet::new();
    for scenario in scenarios() {
        let pushes =
            std::fs::read_to_string(super::recorded_path().join(&scenario).join("images.json")).unwrap();
        for pod in pods(&said(&scenario)) {
            for container in &pod.containers {
                let Some(digest) = &container.running else { continue };
                assert!(pushes.contains(&digest.to_string()), "{scenario}: {} runs {digest}", pod.name);
                seen.insert(digest.clone());
            }
        }
    }
    assert!(seen.len() > 30, "{}", seen.len());
}

#[test]
fn a_deleted_pod_of_a_moved_tag_runs_another_digest_in_the_same_replica_set() {
    let said = said("03-moving-tag");
    let mut last: BTreeMap<_, &Pod> = BTreeMap::new();
    for fact in facts(&said) {
        match fact {
            Fact::PodIs(pod) => drop(last.insert(pod.uid.clone(), pod)),
            Fact::Absent { subject: Subject::Pod { uid } } => drop(last.remove(uid)),
            _ => {}
        }
    }
    let hashes: BTreeSet<_> = last.values().map(|pod| pod.pod_hash.clone().unwrap()).collect();
    let digests: Vec<&Digest> =
        last.values().map(|pod| pod.containers[0].running.as_ref().unwrap()).collect();
    assert_eq!((last.len(), hashes.len()), (3, 1));
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), 2);
}

/// Counted by eye and by another program from the recording of 13-paused-annotation. The Deployment's spec was
/// written by eight commands (two pauses, two images, two resumes, the template annotation, the restart). Six
/// changes touched metadata only: the controller's revision annotation after the first apply and after each of
/// the four new templates that rolled out, and the one command that annotated the Deployment itself.
#[test]
fn updates_are_classified_by_the_part_that_changed() {
    let said = said("13-paused-annotation");
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for measure in measures(&said) {
        if let Measure::ObjectUpdate { kind, class, .. } = measure {
            *counts.entry((*kind, *class)).or_default() += 1;
        }
    }
    use UpdateClass::{Metadata, Spec, Status};
    let expected = BTreeMap::from([
        (("deployment", Spec), 8),
        (("deployment", Metadata), 6),
        (("deployment", Status), 48),
        (("pod", Spec), 10),
        (("pod", Metadata), 16),
        (("pod", Status), 57),
        (("replicaset", Spec), 12),
        (("replicaset", Metadata), 1),
        (("replicaset", Status), 52),
    ]);
    assert_eq!(counts, expected);
}

#[test]
fn a_template_is_written_when_it_changes_and_at_no_other_time() {
    let said = said("13-paused-annotation");
    let written = workloads(&said).into_iter().filter_map(|workload| workload.template_written.clone());
    let written: Vec<_> = written.map(|(at, by)| (at.not_before.to_string(), by.to_string())).collect();
    // Five templates: apply, set image (twice), annotate, restart. Pauses, resumes and the annotation of the
    // Deployment itself moved a manager's time too, and are not here.
    let seconds: Vec<_> = written.iter().map(|(at, _)| &at[11..19]).collect();
    assert_eq!(seconds, ["00:11:14", "00:11:22", "00:11:38", "00:11:49", "00:11:55"], "{written:?}");
}

#[test]
fn image_events_count_hits_misses_and_errors_by_their_increments() {
    let count = |scenario: &str| {
        let said = said(scenario);
        let mut counts = [0; 3];
        for measure in measures(&said) {
            if let Measure::CacheLookup { cache: "image_pull", result, .. } = measure {
                counts[*result as usize] += 1;
            }
        }
        (
            counts[CacheResult::Hit as usize],
            counts[CacheResult::Miss as usize],
            counts[CacheResult::Error as usize],
        )
    };
    // 02: the missing tag was tried twice by one event object. 04: the crashing container started from the node's
    // cache four times, three of them only raised a count.
    assert_eq!(count("02-missing-tag"), (1, 3, 2));
    assert_eq!(count("04-crashloop"), (4, 4, 0));
    assert_eq!(count("03-moving-tag"), (0, 7, 0));
}

#[test]
fn a_pull_is_timed_by_its_message() {
    let said = said("01-rollout-ok");
    let pulls: Vec<_> = measures(&said)
        .filter_map(|measure| match measure {
            Measure::ImagePull { namespace, seconds, bytes, .. } => Some((&**namespace, *seconds, *bytes)),
            _ => None,
        })
        .collect();
    assert!(pulls.contains(&("shop", 0.126, Some(307_100))), "{pulls:?}");
}

#[test]
fn rollout_states_of_the_recordings_are_told() {
    let paused = said("13-paused-annotation");
    assert!(workloads(&paused).iter().any(|workload| workload.paused));
    let quota = said("10a-quota-exceeded");
    assert!(workloads(&quota).iter().any(|workload| workload.replica_failure));
    let stuck = |w: &&Workload| w.progress.as_ref().is_some_and(|p| &*p.reason == "ProgressDeadlineExceeded");
    assert!(workloads(&quota).iter().any(stuck));
    assert!(pods(&said("10b-unschedulable")).iter().any(|pod| pod.unschedulable));
    let waits = |scenario: &str, reason| {
        pods(&said(scenario)).iter().any(|pod| pod.containers.iter().any(|c| c.waiting == Some(reason)))
    };
    assert!(waits("02-missing-tag", Waiting::PullNotFound));
    assert!(waits("04-crashloop", Waiting::CrashLoop));
    let sets = said("06-statefulset-daemonset");
    let strategies: BTreeSet<_> =
        workloads(&sets).iter().map(|w| (w.key.name.to_string(), format!("{:?}", w.strategy))).collect();
    let told = |name: &str, strategy| strategies.contains(&(name.to_owned(), format!("{strategy:?}")));
    assert!(told("db", Strategy::Rolling { partition: 2 }) && told("db", Strategy::Rolling { partition: 0 }));
    assert!(told("collector", Strategy::OnDelete) && told("agent", Strategy::Rolling { partition: 0 }));
}

#[test]
fn why_a_pod_is_refused_or_cannot_pull_is_told_in_the_same_words_at_each_try() {
    let quota = said("10a-quota-exceeded");
    let refusals: BTreeSet<_> = workloads(&quota).iter().filter_map(|one| one.refusal.as_deref()).collect();
    let exceeded = "exceeded quota: compute, requested: pods=1, used: pods=3, limited: pods=3";
    assert_eq!(refusals, BTreeSet::from([exceeded]));
    let words = |scenario: &str| {
        let said = said(scenario);
        let containers = pods(&said).into_iter().flat_map(|pod| &pod.containers);
        containers.filter_map(|container| container.says.as_deref().map(ToOwned::to_owned)).collect()
    };
    let missing: BTreeSet<String> = words("02-missing-tag");
    let [missing] = missing.iter().collect::<Vec<_>>()[..] else { panic!("{missing:?}") };
    assert!(
        missing.starts_with("rpc error: ") && missing.ends_with("shop/cart:2.4.1: not found"),
        "{missing}"
    );
    let denied: BTreeSet<String> = words("10c-pull-denied");
    assert!(denied.len() == 1 && denied.iter().all(|says| says.starts_with("failed to pull")), "{denied:?}");
    assert_eq!(words("04-crashloop"), BTreeSet::new());
}

#[test]
fn a_rollback_uses_the_old_revision_again() {
    let said = said("08-rollback");
    let first = revisions(&said)[0].uid.clone();
    let numbers: Vec<_> = revisions(&said).iter().filter(|r| r.uid == first).map(|r| r.number).collect();
    assert_eq!((numbers.first(), numbers.last()), (Some(&1), Some(&3)), "{numbers:?}");
}

#[test]
fn the_jobs_of_a_cron_job_name_it_and_others_name_nobody() {
    let said = said("12-job-cronjob");
    let cron = workloads(&said).into_iter().find(|workload| workload.schedule.is_some()).unwrap();
    assert_eq!(&*cron.schedule.as_ref().unwrap().cron, "* * * * *");
    let jobs: Vec<_> = facts(&said)
        .filter_map(|fact| if let Fact::JobIs(job) = fact { Some(&**job) } else { None })
        .collect();
    let ended = |name: &str| {
        let last = jobs.iter().rfind(|job| job.name.starts_with(name)).unwrap();
        (last.owner.clone(), last.succeeded, last.failed)
    };
    assert_eq!(ended("migrate-2"), (None, false, true));
    assert!(jobs.iter().any(|job| &*job.name == "migrate" && job.succeeded && job.owner.is_none()));
    assert!(jobs.iter().any(|job| job.owner.as_ref() == Some(&cron.uid) && job.succeeded));
    assert!(jobs.iter().any(|job| job.owner.as_ref() == Some(&cron.uid) && job.failed));
    assert!(jobs.iter().all(|job| job.containers.len() == 1));
}

#[test]
fn fluxs_labels_name_the_applier_as_a_hint() {
    let said = said("14-server-side-apply");
    let (engine, _, name) = workloads(&said)[0].applier.clone().unwrap();
    assert_eq!((&*engine, &*name), ("flux", "podinfo"));
}

#[test]
fn a_pod_is_ready_in_the_second_that_its_condition_names() {
    let said = said("01-rollout-ok");
    let ready: BTreeSet<_> = pods(&said).iter().filter_map(|pod| pod.ready).collect();
    // The first version was live on all pods at 23:50:43.
    assert_eq!(ready.first(), Some(&at("2026-11-20T23:50:43Z")));
}
