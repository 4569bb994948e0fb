//! What makes room, and what never goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use knotmeter::journal::{Checkpoint, Journal, Keep, Limits, Position};
use knotmeter::observation::{Fact, Observation, Rules, Subject, Time};

use super::facts::{START, observation, observations, observed, read};

fn limits(observations_max: u64) -> Limits {
    Limits { observations_max, ..Limits::default() }
}

/// A journal with everything checkpointed.
fn filled(path: &std::path::Path, limits: Limits, observations: &[Observation]) -> Journal {
    let mut journal = Journal::open(path, limits).expect("a journal").journal;
    for some in observations.chunks(60) {
        journal.append(some).expect("append");
    }
    checkpointed(&mut journal);
    journal
}

fn checkpointed(journal: &mut Journal) {
    let position = journal.position();
    let checkpoint = Checkpoint { position, settled: position, bytes: b"state".to_vec() };
    journal.commit(&[], Some(&checkpoint)).expect("commit");
}

fn left(journal: &Journal) -> Vec<Observation> {
    read(journal.everything().expect("a tail")).into_iter().map(|(_, observation)| observation).collect()
}

#[test]
fn below_its_limits_nothing_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = filled(&folder.path().join("j"), limits(5000), &observations(0..5000));
    let now = observation(5000).observed_at.0;
    assert_eq!(journal.compact(Keep::default(), now).expect("compact").dropped, 0);
    assert_eq!(left(&journal), observations(0..5000));
}

#[test]
fn beyond_a_count_the_oldest_superseded_facts_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("j");
    let all = observations(0..5000);
    let mut journal = filled(&path, limits(4000), &all);
    let done = journal.compact(Keep::default(), observation(5000).observed_at.0).expect("compact");
    assert!(done.dropped > 0);
    let left = left(&journal);
    assert_eq!(left.len() as u64, journal.stored().lines);
    assert_eq!(left.len() as u64 + done.dropped, 5000);
    // Three quarters of the limit stay whole, but for the row on the border.
    assert!(left.ends_with(&all[5000 - 2700..]), "the newest stay as they are");
    // Every subject's last word is there: each seventh repository has one moving tag and one look.
    let last = |fact: fn(&Fact) -> bool| left.iter().rev().filter(|o| fact(&o.fact)).take(7).count();
    assert_eq!(last(|fact| matches!(fact, Fact::TagPointsTo { .. })), 7);
    // Tags that went one by one are the last word about each.
    let absent = |list: &[Observation]| {
        let of = |o: &Observation| match &o.fact {
            Fact::Absent { subject } => Some(subject.clone()),
            _ => None,
        };
        list.iter().filter_map(of).collect::<BTreeSet<Subject>>()
    };
    assert_eq!(absent(&left), absent(&all));
    drop(journal);
    let opened = Journal::open(&path, limits(4000)).expect("a journal");
    assert_eq!(opened.notes, Vec::<String>::new());
    assert_eq!(opened.checkpoint.map(|checkpoint| checkpoint.position), Some(Position(5000)));
    assert_eq!(super::compaction::left(&opened.journal), left);
}

#[test]
fn what_open_journeys_need_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = filled(&folder.path().join("j"), limits(1000), &observations(0..3000));
    let keep = Keep { open_since: Some(observation(600).observed_at.0), in_use: None };
    journal.compact(keep, observation(3000).observed_at.0).expect("compact");
    assert!(left(&journal).ends_with(&observations(600..3000)));
    assert!(journal.stored().lines < 3000, "what is older went");
}

#[test]
fn what_no_checkpoint_covers_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = filled(&folder.path().join("j"), limits(1000), &observations(0..1000));
    journal.append(&observations(1000..4000)).expect("append");
    journal.compact(Keep::default(), observation(4000).observed_at.0).expect("compact");
    assert!(left(&journal).ends_with(&observations(1000..4000)));
    let path = folder.path().join("none");
    let mut journal = Journal::open(&path, limits(10)).expect("a journal").journal;
    journal.append(&observations(0..1000)).expect("append");
    let done = journal.compact(Keep::default(), observation(1000).observed_at.0).expect("compact");
    assert_eq!(done.dropped, 0, "without a checkpoint the rows are all there is");
}

#[test]
fn old_facts_go_by_age_and_the_last_of_each_kind_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let age_max = Duration::from_secs(14 * 86_400);
    let limits = Limits { age_max, ..Limits::default() };
    let config = |seq, at| observed(seq, Time(at), Fact::ConfigInForce(Box::default()));
    let named = |seq, at| observed(seq, Time(at), Fact::ClusterNamed { name: "lab".into() });
    let mut all = vec![config(1, START), named(2, START), config(3, START + 1), named(4, START + 1)];
    let unknown = r#"{"observed_at":"2026-11-01T00:00:00Z","fact":{"fact":"moon_rises"}}"#;
    all.extend(observations(5..400));
    let path = folder.path().join("j");
    let mut journal = filled(&path, limits, &all);
    journal.import(unknown.as_bytes()).expect("import");
    checkpointed(&mut journal);
    // Three weeks later something else happens.
    let later = START + 21 * 86_400_000;
    journal.append(&[config(1000, later)]).expect("append");
    checkpointed(&mut journal);
    let done = journal.compact(Keep::default(), later).expect("compact");
    assert!(done.dropped > 200, "{done:?}");
    let left = left(&journal);
    let count = |is: fn(&Fact) -> bool| left.iter().filter(|observation| is(&observation.fact)).count();
    let configs = count(|fact| matches!(fact, Fact::ConfigInForce(_)));
    assert_eq!(configs, 2, "the one in force, and the one that was when what is whole began");
    assert_eq!(left.last().map(|observation| observation.seq), Some(1000));
    assert_eq!(count(|fact| matches!(fact, Fact::ClusterNamed { .. })), 1);
    assert_eq!(count(|fact| matches!(fact, Fact::LookCompleted { .. })), 7, "one of each scope");
    let mut out = Vec::new();
    journal.export(&mut out).expect("export");
    assert!(String::from_utf8(out).expect("text").contains(unknown), "what nobody here knows stays");
    // Nothing new: nothing to do.
    assert_eq!(journal.compact(Keep::default(), later).expect("compact").dropped, 0);
    let _: Rules = Rules::default();
}

#[test]
fn unused_tags_go_when_the_rest_does_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    // Every one is the last word about its own tag.
    let all: Vec<Observation> = (0..3000).map(|number| observation(number * 3 + 2)).collect();
    let in_use = |fact: &Fact| match fact {
        Fact::Absent { subject: Subject::Tag { repository, .. } } => repository.path() == "team/app-1",
        _ => true,
    };
    let now = observation(9001).observed_at.0;
    let keep = Keep { open_since: None, in_use: Some(Arc::new(in_use)) };
    let mut roomy = filled(&folder.path().join("a"), limits(3000), &all);
    assert_eq!(roomy.compact(keep.clone(), now).expect("compact").dropped, 0);
    let mut tight = filled(&folder.path().join("b"), limits(2000), &all);
    let done = tight.compact(keep, now).expect("compact");
    assert!(done.dropped > 500, "{done:?}");
    let left = left(&tight);
    let kept = left.iter().filter(|observation| in_use(&observation.fact)).count();
    assert_eq!(kept, all.iter().filter(|observation| in_use(&observation.fact)).count());
}

#[test]
fn a_kill_in_the_middle_of_a_compaction_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("j");
    let mut journal = filled(&path, limits(1000), &observations(0..6000));
    let now = observation(6000).observed_at.0;
    let mut pass = journal.compaction(Keep::default(), now).expect("a look").expect("over the limit");
    let mut steps = 0;
    loop {
        let through = journal.compact_step(&mut pass).expect("a step");
        let copy = folder.path().join(format!("copy-{steps}"));
        std::fs::copy(&path, &copy).expect("copy");
        let opened = Journal::open(&copy, limits(1000)).expect("a journal");
        assert_eq!(opened.notes, Vec::<String>::new());
        let left = left(&opened.journal);
        assert_eq!(left.len() as u64, opened.journal.stored().lines);
        assert!(left.ends_with(&observations(5500..6000)));
        steps += 1;
        if through {
            break;
        }
    }
    assert!(steps > 2, "{steps} steps");
    // Appends go on between two steps.
    journal.append(&observations(6000..6100)).expect("append");
    assert!(left(&journal).ends_with(&observations(6000..6100)));
}
