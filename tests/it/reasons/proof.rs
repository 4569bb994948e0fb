//! Every fault of the demo, one after the other: Knotmeter names stage, reason and holder when the budget is over, `why`
//! says what the list of faults says, and it is over when it is repaired.
//!
//! Worlds run side by side, each with some faults. `KNOTMETER_FAULTS=all` runs every fault with both engines,
//! `=flux` those with Flux, and `=quota,paused` those two.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use futures::FutureExt as _;
use knotmeter::cli::faults::{Says, says};
use knotmeter::demo::{Engine, Fault, Options};
use knotmeter::http::{Question, why};
use knotmeter::observation::Time;
use knotmeter::tracker::{Journey, Outcome, Reason, Stage};

use super::lanes::{Lane, PROD};
use crate::e2e::Timed;

/// Worlds at the same time: each has a registry, a git server, a cluster and a Knotmeter of its own.
const WORLDS_MAX: usize = 6;
/// Faults of one world in the long form.
const FAULTS_PER_WORLD: usize = 4;
/// Nobody looks for new tags.
const STOPPED: [Fault; 2] = [Fault::UpdaterDown, Fault::ScanLate];
/// The demo's own budgets: what is written, or twice its intervals of 2 s, but at least this.
const LIVE_SECONDS: f64 = 20.0;
const COMMIT_SECONDS: [f64; 2] = [20.0, 10.0];
/// Twice the source's interval and the default requeue of what depends on others.
const APPLY_SECONDS: [f64; 2] = [20.0, 64.0];

/// What the short form runs: most reasons, each with the engine that tells it best.
const SHORT: [(Engine, &[Fault]); 6] = {
    use Engine::{Flux, Plain};
    use Fault as F;
    [
        (Flux, &[F::ScanLate, F::ScanFailing, F::ListTruncated, F::AutomationRace]),
        (Flux, &[F::UpdaterDown, F::GitAuth, F::BuildFailed, F::ApplyConflict]),
        (Flux, &[F::AdmissionDenied, F::ManualApproval, F::SuspendedKustomization, F::ReadinessGate]),
        (Plain, &[F::UpdaterDown, F::PullDenied, F::PullRegistryDown, F::NeverReady]),
        (Plain, &[F::Quota, F::DiskFull, F::ControllersDown, F::MissingTag, F::CreateError]),
        (Plain, &[F::ProgressDeadline, F::SlowPull, F::CrashLoop, F::ConfigNotRolled]),
    ]
};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_named_in_its_budget_and_over_when_it_is_repaired() {
    let _timed = Timed::part("every fault");
    let wanted = std::env::var("KNOTMETER_FAULTS").ok();
    let lanes: VecDeque<(Engine, Vec<Fault>)> = if let Some(wanted) = &wanted {
        let of = move |engine: Engine| {
            let is_named = move |name: &str, fault: &Fault| name == engine.name() || name == fault.name();
            let named =
                move |fault: &Fault| wanted == "all" || wanted.split(',').any(|name| is_named(name, fault));
            Fault::ALL.into_iter().filter(move |fault| fault.applies_to(engine) && named(fault))
        };
        let chunks = |engine| {
            let faults: Vec<Fault> = of(engine).collect();
            faults.chunks(FAULTS_PER_WORLD).map(|chunk| (engine, chunk.to_vec())).collect::<Vec<_>>()
        };
        Engine::ALL.into_iter().flat_map(chunks).collect()
    } else {
        SHORT.iter().map(|(engine, faults)| (*engine, faults.to_vec())).collect()
    };
    let (lanes, wrong) = (Mutex::new(lanes), Mutex::new(Vec::new()));
    let work = async || {
        while let Some((engine, faults)) = { lanes.lock().unwrap().pop_front() } {
            // What goes wrong in one world is told, and the others go on.
            if AssertUnwindSafe(run(engine, &faults)).catch_unwind().await.is_err() {
                wrong.lock().unwrap().push((engine, faults));
            }
        }
    };
    // Each on its own would be a task; here they share one, and every world has tasks of its own.
    let mut workers: Vec<_> = (0..WORLDS_MAX).map(|_| Box::pin(work())).collect();
    futures::future::join_all(workers.iter_mut()).await;
    drop(workers);
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "not in all of these worlds: {wrong:?}");
}

async fn run(engine: Engine, faults: &[Fault]) {
    let mut lane = Lane::start(Options { engine, ..Options::default() }).await;
    // Something of this life must have gone live before the first fault: a rollout is compared with it.
    let first = lane.push().await;
    live(&lane, &first).await;
    for fault in faults {
        let began = std::time::Instant::now();
        comes_and_goes(&mut lane, *fault).await;
        eprintln!("{engine} {fault:<28} {:>5.1} s", began.elapsed().as_secs_f64());
    }
    lane.running.stop().await;
    lane.world.stop().await;
}

async fn comes_and_goes(lane: &mut Lane, fault: Fault) {
    let expected = says(fault, lane.engine).expect("it exists with this engine");
    let known: Vec<_> = lane.journeys().into_iter().map(|journey| journey.id).collect();
    let is_new = |journey: &Journey| !known.contains(&journey.id);
    let committed = lane.commits();
    // What is pushed must be on its way before nobody can push, or before another tag is committed in its place: who looks
    // later than the updater would take it for newer than that.
    let is_under_way = [Fault::RegistryDown, Fault::MissingTag].contains(&fault);
    if is_under_way {
        lane.world.inject(Fault::UpdaterDown);
        lane.push().await;
        lane.journey("a journey begins", |journey| is_new(journey) && journey.is_open()).await;
    }
    if fault == Fault::ListTruncated {
        // Else the one before would be missing from the list for a moment, and what runs be taken back.
        STOPPED.iter().for_each(|stopped| lane.world.inject(*stopped));
        lane.push().await;
    }
    lane.world.inject(fault);
    if fault == Fault::MissingTag {
        lane.world.clear(Fault::UpdaterDown);
    }
    if fault == Fault::ListTruncated {
        STOPPED.iter().for_each(|stopped| lane.world.clear(*stopped));
    }
    lane.takes_hold(fault, committed).await;
    // These are commits themselves.
    let is_commit = [Fault::ReadinessGate, Fault::CreateError, Fault::ProbeFailing, Fault::ConfigNotRolled];
    let is_pushed = is_under_way || fault == Fault::ListTruncated;
    if !is_pushed && !is_commit.contains(&fault) {
        lane.push().await;
    }
    let what = format!("{fault}: {expected:?}");
    match expected {
        Says::Stuck(reason) => {
            // What was asked for is never what is committed.
            let misses = fault == Fault::MissingTag;
            let is_it = |journey: &Journey| {
                is_new(journey) && (!misses || journey.image.to_string().ends_with("-missing"))
            };
            let first = lane.journey(&what, |journey| is_it(journey) && journey.stuck.is_some()).await;
            let because = |journey: &Journey| journey.stuck.is_some_and(|stuck| stuck.reason == reason);
            if !because(&first) {
                // On a machine that is too busy the world may be late before its fault is.
                eprintln!("{} {fault}: first {:?} {:?}", lane.engine, first.stuck, first.who);
            }
            let journey = lane.journey(&what, |journey| is_it(journey) && because(journey)).await;
            is_named(lane, fault, reason, &journey);
        }
        Says::Held(hold) => {
            let is_it =
                |journey: &Journey| is_new(journey) && journey.held.is_some_and(|held| held.hold == hold);
            let journey = lane.journey(&what, is_it).await;
            assert_eq!(journey.stuck, None, "{fault}");
            if fault != Fault::Paused {
                assert!(journey.who.is_some(), "{fault}: nobody holds it: {journey:?}");
            }
        }
        Says::Blind(_) => {
            let blind = |journey: &Journey| is_new(journey) && journey.blind.is_some();
            assert_eq!(lane.journey(&what, blind).await.stuck, None, "{fault}");
        }
        Says::NotRolled => {
            let mut snapshots = lane.running.snapshots.clone();
            let not_rolled = async {
                while !snapshots
                    .borrow_and_update()
                    .destinations
                    .iter()
                    .any(|one| one.config_not_rolled.is_some())
                {
                    snapshots.changed().await.expect("it runs");
                }
            };
            lane.patiently(&what, not_rolled).await;
        }
        Says::NotSelected => {
            let image = format!(":v1.0.{}", lane.pushed);
            let newest = |object: &serde_json::Value| {
                object["status"]["lastScanResult"]["latestTags"][0]
                    .as_str()
                    .is_some_and(|tag| image.ends_with(tag))
            };
            lane.shows(&crate::demo::flux::at("imagerepositories", "web"), newest).await;
            assert!(!lane.journeys().iter().any(|one| one.image.to_string().ends_with(&image)), "{fault}");
        }
        Says::Arrives => {}
    }
    if !matches!(expected, Says::NotSelected | Says::Arrives) {
        says_so(lane, fault, expected);
    }
    repaired(lane, fault, expected).await;
}

/// Stage, reason and holder, in time: the budget's end is what the tracker says it is, and was not passed unsaid.
fn is_named(lane: &Lane, fault: Fault, reason: Reason, journey: &Journey) {
    let stuck = journey.stuck.expect("it is stuck");
    assert_eq!(stuck.reason, reason, "{} {fault}: {:?} {:?}", lane.engine, stuck, journey.who);
    assert!(reason.row().stages.contains(&stuck.stage), "{fault}: {reason:?} at {:?}", stuck.stage);
    let at = |stage: Stage| journey.stages.evidence(stage).map(|at| at.interval.not_after);
    let flux = usize::from(lane.engine == Engine::Flux);
    let (since, budget): (Time, f64) = match (stuck.stage, at(Stage::Committed), at(Stage::Applied)) {
        (stage, _, Some(applied)) if stage > Stage::Applied => (applied, LIVE_SECONDS),
        (stage, Some(committed), _) if stage > Stage::Committed => (committed, APPLY_SECONDS[flux]),
        _ => (journey.opened.not_after, COMMIT_SECONDS[flux]),
    };
    let took = stuck.since.seconds_since(since);
    // A second more: objects have clocks of whole seconds. Where looks come late a budget is paused, so this is told and
    // not held against a busy machine; the timelines hold budgets to the second.
    if took > budget + 1.0 {
        eprintln!("{} {fault}: {took:.1} s of {budget} s, some of it blind", lane.engine);
    }
    // Without an engine's objects nobody holds what is neither committed nor applied, and nobody is who made no pod.
    let nobody = lane.engine == Engine::Plain && matches!(reason, Reason::NotCommitted | Reason::NotApplied)
        || matches!(reason, Reason::NoPods | Reason::Incomplete);
    assert_eq!(journey.who.is_none(), nobody, "{} {fault}: {:?}", lane.engine, journey.who);
    let in_words = [Reason::Quota, Reason::PullNotFound, Reason::PullDenied, Reason::PullRegistryDown];
    let says = journey.who.as_ref().map_or("", |who| &who.says);
    assert!(!in_words.contains(&reason) || !says.is_empty(), "{} {fault}: {:?}", lane.engine, journey.who);
}

/// `why` says what the list of faults says, and which command looks closer.
fn says_so(lane: &Lane, fault: Fault, expected: Says) {
    let snapshot = lane.running.snapshots.borrow().clone();
    let answers = why(&snapshot, &Question::new("deployment/web", Some(PROD)), None);
    let words = match expected {
        Says::Blind(_) => "nothing can be said of".to_owned(),
        other => other.sentence(),
    };
    let said = answers.iter().find(|answer| answer.sentence.contains(&words));
    let said = said.unwrap_or_else(|| panic!("{} {fault}: {words:?} is not in {answers:#?}", lane.engine));
    let template = match expected {
        Says::Stuck(reason) => reason.row().command,
        Says::Held(hold) => hold.row().command,
        _ => None,
    };
    assert_eq!(said.command.is_some(), template.is_some(), "{fault}: {said:?}");
    if let (Some(template), Some(command)) = (template, &said.command) {
        let begins = template.split('{').next().unwrap_or_default();
        assert!(command.starts_with(begins) && !command.contains('{'), "{fault}: {command}");
    }
}

/// Nothing is stuck, held or blind any more when the fault is over and another version came.
async fn repaired(lane: &mut Lane, fault: Fault, expected: Says) {
    lane.world.clear(fault);
    lane.world.clear(Fault::UpdaterDown);
    if expected == Says::NotRolled {
        let mut snapshots = lane.running.snapshots.clone();
        let rolled = async {
            while snapshots.borrow_and_update().destinations.iter().any(|one| one.config_not_rolled.is_some())
            {
                snapshots.changed().await.expect("it runs");
            }
        };
        lane.patiently("its pods were made anew", rolled).await;
    }
    // Of a policy that takes what was left out this is the next tag, pushed before the first of them is committed.
    let next = lane.push().await;
    live(lane, &next).await;
    let mut snapshots = lane.running.snapshots.clone();
    let cleared = async {
        loop {
            let open = snapshots.borrow_and_update().journeys().filter(|journey| journey.is_open()).count();
            if open == 0 {
                return;
            }
            snapshots.changed().await.expect("it runs");
        }
    };
    lane.patiently(&format!("{fault} is over"), cleared).await;
}

/// Waits until an image is live in prod, and said to be.
async fn live(lane: &Lane, image: &str) {
    let is_live =
        |journey: &Journey| journey.image.to_string() == *image && journey.outcome == Some(Outcome::Live);
    lane.journey(&format!("{image} is live"), is_live).await;
}
