//! The last step of a pipeline says what is to go live: followed from then on, long before anybody commits it.

use knotmeter::demo::{Fault, Options};
use knotmeter::tracker::{Outcome, Stage, Trigger};
use reqwest::StatusCode;
use serde_json::json;

use super::world::{Watched, quick};
use super::{Timed, get, until};

const SECRET: &str = "a-secret-of-the-pipeline";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pipeline_expects_is_stuck_until_somebody_commits_it() {
    let _timed = Timed::part("hints");
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
    let options = Options { faults: vec![Fault::UpdaterDown], ..quick() };
    let watched = Watched::start(options, |config| {
        let hook =
            json!({"name": "ci", "kind": "hint", "secret_file": secret_file, "expect_in": ["staging"]});
        config["hooks"] = json!([hook]);
        config["budgets"] = json!({"committed": "2s"});
    })
    .await;
    let hook = format!("{}/hooks/ci", watched.page());
    let say = async |image: &str, environment: &str, time: &str| {
        let body = json!({"image": image, "environment": environment, "time": time});
        let said = reqwest::Client::new().post(&hook).bearer_auth(SECRET).body(body.to_string()).send().await;
        said.unwrap().status()
    };

    let (image, digest) = (
        watched.image("team/web", "v1.0.900"),
        watched.world.push("team/web", "v1.0.900").await.unwrap().digest,
    );
    assert_eq!(say(&image, "prod", "2026-01-31T09:30:00Z").await, StatusCode::BAD_REQUEST);
    assert_eq!(say(&image, "staging", "2026-01-31T09:30:00Z").await, StatusCode::ACCEPTED);
    // Nobody has to do with this one, so nobody looks there either.
    let strange = image.replace("team/web", "team/strange");
    assert_eq!(say(&strange, "staging", "2026-01-31T09:30:01Z").await, StatusCode::ACCEPTED);

    let of_it = |journey: &knotmeter::tracker::Journey| journey.image.to_string() == image;
    let stuck = watched.journey("it is stuck", |journey| of_it(journey) && journey.stuck.is_some()).await;
    assert_eq!(
        (stuck.trigger, stuck.outcome, stuck.digest.as_ref()),
        (Trigger::Push, None, Some(&digest)),
        "{stuck:?}"
    );
    assert_eq!(&*stuck.destination.environment, "staging");
    let asked = get(&format!("{}/api/v1/why?q={image}", watched.page())).await.unwrap().to_string();
    assert!(asked.contains("not committed") || asked.contains("not_committed"), "{asked}");

    watched.world.clear(Fault::UpdaterDown);
    let live = watched.journey("it is live", |journey| of_it(journey) && journey.settled).await;
    assert_eq!((live.id, live.outcome), (stuck.id, Some(Outcome::Live)), "{live:?}");
    assert!(live.clock_start.is_some() && live.stages.evidence(Stage::Committed).is_some(), "{live:?}");
    until("nothing else came of it", async || {
        let known = watched.journeys();
        known.iter().all(|journey| !journey.image.to_string().contains("strange")).then_some(())
    })
    .await;
    watched.stop().await;
}
