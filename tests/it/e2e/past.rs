//! `why --at`: the running program tells of the past from its journal, and so does the journal alone.

use knotmeter::app;
use knotmeter::config::{self, Config};
use knotmeter::observation::Time;
use knotmeter::tracker::Outcome;

use super::process::{knotmeter, run};
use super::restart::{Ground, configuration, ground};
use super::world::sources_up;
use super::{Timed, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_told_by_the_instance_and_by_its_journal_alone() {
    let _timed = Timed::part("past");
    let Ground { world, folder, journal, cache } = ground().await;
    let text = configuration(&world, &journal).to_string();
    let config: Config = config::parse(&text, std::path::Path::new("test.yaml")).unwrap();
    let running = app::start(config, cache).await.unwrap();
    let page = format!("http://{}", running.address);
    until("every source is up", async || sources_up(&page, 3).await.then_some(())).await;
    let settled = async |tag: &str| {
        until(tag, async || {
            let snapshot = running.snapshots.borrow().clone();
            let is_it = |journey: &&knotmeter::tracker::Journey| {
                journey.settled
                    && journey.outcome == Some(Outcome::Live)
                    && *journey.destination.environment == *"prod"
                    && journey.image.tag.as_ref().is_some_and(|known| known.as_str() == tag)
            };
            snapshot.journeys().find(is_it).cloned()
        })
        .await
    };
    world.push("team/web", "v1.0.1").await.unwrap();
    let first = settled("v1.0.1").await;
    let between = Time::from(chrono::Utc::now());
    world.push("team/web", "v1.0.2").await.unwrap();
    settled("v1.0.2").await;
    let ask = async |more: &[&str]| {
        let arguments = [&["why", "deployment/web", "-n", "prod"][..], more].concat();
        run(knotmeter(&arguments, folder.path()), "knotmeter").await
    };
    let live = |tag: &str| format!("team/web:{tag} is live in prod");
    let now = ask(&["--server", &page]).await.done();
    assert!(now.contains(&live("v1.0.2")), "{now}");
    let then = ask(&["--server", &page, "--at", &between.to_string()]).await.done();
    assert!(then.contains(&live("v1.0.1")) && !then.contains("v1.0.2"), "{then}");
    let wide = ask(&["--server", &page, "--at", &between.to_string(), "-o", "wide"]).await.done();
    assert!(wide.contains(&format!("journey      {}", first.id)) && wide.contains("basis"), "{wide}");
    let early = ask(&["--server", &page, "--at", "-2d"]).await;
    assert!(early.code == Some(64) && early.err.contains("oldest time that can be answered"), "{early:?}");

    running.stop().await;
    let journal = journal.to_str().unwrap();
    let then = ask(&["--journal", journal, "--at", &between.to_string()]).await.done();
    assert!(then.contains(&live("v1.0.1")) && !then.contains("v1.0.2"), "{then}");
    let last = ask(&["--journal", journal]).await.done();
    assert!(last.contains(&live("v1.0.2")), "{last}");
    let nowhere = ask(&["--journal", folder.path().join("none").to_str().unwrap()]).await;
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
}
