//! "I changed an environment variable and do not see it in the pods": a ConfigMap, or a number of replicas, from its
//! commit to running pods.

use knotmeter::observation::Basis;
use knotmeter::tracker::{Journey, Outcome, Stage, StageState, Subject};

use super::world::{Watched, quick};
use super::{Timed, until};

const NOT_ROLLED: &str = r#"knotmeter_image_mismatch{cluster="lab",environment="prod",namespace="prod",app="web",kind="config_not_rolled"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_config_map_is_followed_until_its_pods_have_it() {
    let _timed = Timed::part("settings");
    let watched = Watched::start(quick(), |_| {}).await;
    let mismatch = async || {
        let metrics = reqwest::get(format!("{}/metrics", watched.page())).await.ok()?.text().await.ok()?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(NOT_ROLLED).map(str::to_owned));
        line.and_then(|value| value.trim().parse::<f64>().ok())
    };
    let is = async |wanted: f64| (mismatch().await == Some(wanted)).then_some(());
    until("the gauge is there", async || is(0.0).await).await;

    // A container says its start by the second: written in the same one, nobody can tell which was first.
    let live = || watched.running.snapshots.borrow().destinations.iter().all(|known| known.live.is_some());
    until("every pod runs", async || live().then_some(())).await;
    let second = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let running = second();
    until("the second in which they started is over", async || (second() > running).then_some(())).await;

    let louder = |text: &str| text.replace("hello", "HELLO");
    let commit = watched.world.commit_edit("prod/web-settings.yaml", louder, "say it louder").await.unwrap();
    let journey = watched
        .journey("the revision is settled", |journey| {
            journey.settled && journey.commit.as_ref().is_some_and(|known| *known.id == *commit)
        })
        .await;
    assert_eq!((journey.subject, journey.outcome), (Subject::Revision, Some(Outcome::Live)), "{journey:?}");
    assert_eq!(&*journey.destination.workload.name, "web");
    assert_eq!(&*journey.destination.environment, "prod");
    let stage = |stage| journey.stages.state(stage);
    assert_eq!((stage(Stage::Started), stage(Stage::Ready)), (StageState::Skipped, StageState::Skipped));
    assert_eq!(journey.stages.evidence(Stage::Applied), journey.stages.evidence(Stage::Live));
    until("the pods are known to run without it", async || is(1.0).await).await;
    let why = reqwest::get(format!("{}/api/v1/why?q=web&namespace=prod", watched.page())).await.unwrap();
    let why = why.text().await.unwrap();
    assert!(why.contains("is not rolled"), "{why}");

    watched.world.restart("prod", "web").await.unwrap();
    until("new pods have it", async || is(0.0).await).await;
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_number_of_replicas_is_followed_until_so_many_pods_are_ready() {
    let _timed = Timed::part("replicas");
    let watched = Watched::start(quick(), |_| {}).await;
    let live = || watched.running.snapshots.borrow().destinations.iter().all(|known| known.live.is_some());
    until("every pod runs", async || live().then_some(())).await;
    let settled = async |commit: String| {
        let its = |journey: &Journey| journey.commit.as_ref().is_some_and(|known| *known.id == *commit);
        watched.journey("the revision is settled", |journey| journey.settled && its(journey)).await
    };

    let more = settled(watched.world.commit_replicas("prod", "api", 4).await.unwrap()).await;
    assert_eq!(
        (more.subject, more.outcome, more.replicas),
        (Subject::Revision, Some(Outcome::Live), Some(4))
    );
    for stage in [Stage::Committed, Stage::Applied, Stage::Started, Stage::Ready, Stage::Live] {
        assert!(more.stages.evidence(stage).is_some(), "{}: {more:?}", stage.as_str());
    }
    assert_eq!(more.stages.evidence(Stage::Applied).map(|at| at.basis), Some(Basis::ManagedFields));

    let less = settled(watched.world.commit_replicas("prod", "api", 1).await.unwrap()).await;
    assert_eq!((less.outcome, less.replicas), (Some(Outcome::Live), Some(1)));
    let stage = |stage| less.stages.state(stage);
    assert_eq!((stage(Stage::Started), stage(Stage::Ready)), (StageState::Skipped, StageState::Skipped));
    let why = reqwest::get(format!("{}/api/v1/why?q=api&namespace=prod", watched.page())).await.unwrap();
    let why = why.text().await.unwrap();
    assert!(why.contains("to 1 replicas is live"), "{why}");
    watched.stop().await;
}
