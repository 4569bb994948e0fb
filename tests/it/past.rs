//! `why` at a time gone by: what the journal gives is what the running program would have answered then.

use std::path::Path;

use knotmeter::app::past::{Past, PastLimits, recall};
use knotmeter::http::Question;
use knotmeter::journal::{Checkpoint, Journal, Keep, Limits};
use knotmeter::observation::{Observation, Time};

use crate::journeys::case::Case;
use crate::journeys::record::Delivery;
use crate::journeys::run::Run;
use crate::journeys::text::START;
use crate::journeys::world;

/// Between two questions.
const STEP_MILLIS: i64 = 13_000;
/// Most happens before; each question replays all of it.
const LAST_MILLIS: i64 = 140_000;

fn case(name: &str) -> Case {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/journeys/{name}.txt"));
    Case::read(&path).expect("a case")
}

fn observations(deliveries: &[Delivery]) -> Vec<Observation> {
    let said = deliveries.iter().map(|delivery| match delivery {
        Delivery::Observation(observation) => (**observation).clone(),
        Delivery::Restart(_) => panic!("a case without a restart"),
    });
    said.collect()
}

fn journal(path: &Path, limits: Limits, observations: &[Observation]) -> Journal {
    let mut journal = Journal::open(path, limits).expect("a journal").journal;
    for some in observations.chunks(25) {
        journal.append(some).expect("append");
    }
    journal
}

fn past(journal: &Journal, at: Option<Time>) -> Result<Past, String> {
    recall(journal.everything().expect("a tail"), at, PastLimits::none(), &|| true)
}

fn sentences(past: &Past, question: &str) -> Vec<String> {
    past.why(&Question::new(question, None)).into_iter().map(|answer| answer.sentence).collect()
}

#[test]
fn a_replay_to_any_moment_answers_what_was_answered_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut asked = 0;
    for name in [
        "220-why-no-policy-selects",
        "221-why-what-comes-next",
        "222-why-a-commit",
        "08-five-destinations",
        "59-held-time-subtracted",
        "86-stuck-across-a-restart",
        "150-flux-suspended-kustomization",
    ] {
        let case = case(name);
        let mut deliveries = world::observe(&case).expect("what was said");
        deliveries.retain(|delivery| matches!(delivery, Delivery::Observation(_)));
        let journal = journal(&folder.path().join(name), Limits::default(), &observations(&deliveries));
        let mut run = Run::default();
        let mut rest = deliveries.iter().peekable();
        let mut at = START + STEP_MILLIS;
        while at < START + case.end().min(LAST_MILLIS) {
            while let Some(delivery) = rest.next_if(|delivery| delivery.at() <= at) {
                run.advance(delivery.at());
                run.deliver(delivery.at(), delivery);
            }
            run.advance(at);
            let then = past(&journal, Some(at)).expect("an answer");
            for question in ["web", "deployment/web", "web:1.1.0", "web:1.5.0-rc1", "deadbeef", "nobody:1"] {
                assert_eq!(sentences(&then, question), run.why(at, question), "{name}: {question} at {at}");
                asked += 1;
            }
            at = at + STEP_MILLIS;
        }
    }
    assert!(asked > 300, "{asked} questions");
}

#[test]
fn a_time_before_what_is_kept_is_refused_with_the_oldest_that_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = crate::journal::facts::observations(0..4000);
    let full = journal(&folder.path().join("full"), Limits::default(), &all);
    let first = all[0].observed_at;
    assert!(past(&full, Some(first)).is_ok());
    let refused = past(&full, Some(first - 1)).expect_err("too early");
    assert!(refused.contains(&format!("oldest time that can be answered, which is {first}")), "{refused}");

    let limits = Limits { observations_max: 2000, ..Limits::default() };
    let path = folder.path().join("compacted");
    let mut compacted = journal(&path, limits, &all);
    let position = compacted.position();
    compacted
        .commit(&[], Some(&Checkpoint { position, settled: position, bytes: b"state".to_vec() }))
        .expect("commit");
    let now = all.last().expect("some").observed_at;
    assert!(compacted.compact(Keep::default(), now.0).expect("compact").dropped > 500);
    drop(compacted);
    let compacted = Journal::open(&path, limits).expect("a journal").journal;
    let oldest = Time(compacted.everything().expect("a tail").whole_since.expect("noted"));
    assert!(oldest > first && oldest < now, "{oldest}");
    let refused = past(&compacted, Some(oldest - 1)).expect_err("too early");
    assert!(refused.contains(&oldest.to_string()), "{refused}");
    // From then on every tag is as it was.
    let mut at = oldest;
    while at < now {
        let (short, whole) =
            (past(&compacted, Some(at)).expect("an answer"), past(&full, Some(at)).expect("one"));
        for question in ["team/app-1:latest", "team/app-3:latest", "team/app-2"] {
            let read = |past: &Past| {
                let found = past.tracker.look_up(&Question::new(question, None).lookup());
                let images = found.images.into_iter().map(|it| (it.image, it.digest, it.gone));
                (images.collect::<Vec<_>>(), found.repositories)
            };
            assert_eq!(read(&short), read(&whole), "{question} at {at}");
        }
        at = at + (now.0 - oldest.0) / 9 + 1;
    }
}

#[test]
fn a_replay_ends_when_nobody_waits_or_it_costs_too_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = crate::journal::facts::observations(0..1000);
    let journal = journal(&folder.path().join("j"), Limits::default(), &all);
    let at = all.last().map(|last| last.observed_at);
    let tail = || journal.everything().expect("a tail");
    let refused = recall(tail(), at, PastLimits::none(), &|| false).expect_err("given up");
    assert!(refused.contains("nobody waits"), "{refused}");
    let now = Some(std::time::Instant::now());
    let refused = recall(tail(), at, PastLimits { until: now, ..PastLimits::none() }, &|| true);
    assert!(refused.expect_err("too long").contains("--journal"));
    let empty = Journal::open(&folder.path().join("empty"), Limits::default()).expect("a journal").journal;
    assert!(past(&empty, at).expect_err("nothing").contains("empty"));
}
