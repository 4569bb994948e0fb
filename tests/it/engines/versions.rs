//! Kinds that are served as other versions than the newest, that come later, and that go.

use std::time::Duration;

use knotmeter::app;
use knotmeter::cli::world::config;
use knotmeter::config::{Config, Listen};
use knotmeter::demo::{Engine, Intervals};
use knotmeter::observation::{Basis, EngineKind, Fact, LookFailure, Subject};
use knotmeter::observers::cluster::{Access, Pace, Resource, check_with};
use knotmeter::tracker::{Outcome, Stage};

use super::front::{Front, Rules};
use super::{engine, failed, looked, patch, told, world};
use crate::cluster::watching::{Observer, config as lab};
use crate::demo::flux::flux;
use crate::e2e::{get, until};

const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io";
const IMAGE: &str = "image.toolkit.fluxcd.io";
const HELM: &str = "helm.toolkit.fluxcd.io";
const SOURCE: &str = "source.toolkit.fluxcd.io";

fn asked(front: &Front, path: &str) -> usize {
    front.rules().asked.iter().filter(|asked| asked.starts_with(path)).count()
}

/// An old Flux, and beside it something newer than this program.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_followed_through_the_versions_that_there_are() {
    let world = world(flux().intervals).await;
    let served = [(KUSTOMIZE, vec!["v1beta2"]), (IMAGE, vec!["v1beta1"]), (HELM, vec!["v3"])];
    let front = Front::of(&world, Rules { served: served.into(), ..Rules::default() }).await;
    let mut config =
        Config { listen: Listen("127.0.0.1:0".into()), ..config(Engine::Flux, world.addresses()).unwrap() };
    config.clusters[0].kubeconfig = Some(front.kubeconfig());
    let folder = tempfile::tempdir().unwrap();
    let running = app::start(config, folder.path().join("cache")).await.unwrap();
    let page = format!("http://{}", running.address);
    // Everything is seen, but what is of a version that nobody here can read: that is named.
    let lab = until("only releases are not seen", async || {
        let answer = get(&format!("{page}/api/v1/sources")).await?;
        let all = answer["sources"].as_array()?;
        let lab = all.iter().find(|source| source["source"] == "cluster/lab")?;
        let whole = |source: &&serde_json::Value| source["fresh"] == source["scopes"];
        let fresh = lab["fresh"].as_u64()? + 1 == lab["scopes"].as_u64()? && lab["fresh"].as_u64()? >= 22;
        (fresh && all.iter().filter(whole).count() + 1 == all.len()).then(|| lab.clone())
    })
    .await;
    let failing = lab["failing"].as_array().unwrap();
    assert_eq!((lab["up"].as_bool(), failing.len()), (Some(true), 1), "{lab}");
    assert!(failing[0][0].as_str().unwrap().ends_with("/helmreleases"), "{lab}");
    assert_eq!(failing[0][1], "missing");
    let says = failing[0][2].as_str().unwrap();
    assert!(
        says.contains("helm.toolkit.fluxcd.io is served as v3 only, and v2, v2beta2, v2beta1 can be read"),
        "{says}"
    );

    let live = async |tag: &str| {
        let image = format!("{}/team/web:{tag}", world.addresses().registry);
        world.push("team/web", tag).await.unwrap();
        until(&format!("{tag} is live in prod"), async || {
            let snapshot = running.snapshots.borrow().clone();
            let is_it = |one: &&knotmeter::tracker::Journey| {
                one.image.to_string() == image && *one.destination.environment == *"prod"
            };
            // The cluster tells it before we have looked at git once more.
            let told = |one: &&knotmeter::tracker::Journey| {
                one.outcome == Some(Outcome::Live) && one.stages.evidence(Stage::Fetched).is_some()
            };
            snapshot.journeys().find(is_it).filter(told).cloned()
        })
        .await
    };
    let told_by_flux = |journey: &knotmeter::tracker::Journey| {
        for stage in [Stage::Detected, Stage::Committed, Stage::Fetched] {
            let basis = journey.stages.evidence(stage).map(|at| at.basis);
            assert_eq!(basis, Some(Basis::StatusField), "{stage:?} of {journey:?}");
        }
    };
    told_by_flux(&live("v1.0.1").await);
    assert_eq!(asked(&front, &format!("/apis/{KUSTOMIZE}/v1/")), 0);
    assert!(asked(&front, &format!("/apis/{KUSTOMIZE}/v1beta2/kustomizations")) > 0);

    // Flux is brought up to date: the old version goes while it is watched.
    front.rules().served.insert(KUSTOMIZE, vec!["v1"]);
    front.cut();
    until("the new version is watched", async || {
        (asked(&front, &format!("/apis/{KUSTOMIZE}/v1/kustomizations")) > 0).then_some(())
    })
    .await;
    told_by_flux(&live("v1.0.2").await);
    running.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn a_kind_that_comes_later_is_found_and_one_that_goes_is_gone() {
    let world = world(Intervals::default()).await;
    let rules = Rules { served: [(KUSTOMIZE, Vec::new())].into(), ..Rules::default() };
    let front = Front::of(&world, rules).await;
    let soon = Duration::from_millis(100);
    let pace =
        Pace { rest: soon, backoff_min: Duration::from_millis(20), backoff_max: soon, ..Pace::default() };
    let mut observer = Observer::start(front.client().await, pace);
    let kustomization = EngineKind::Kustomization;

    // Twice in a row there was none: that is a look, and nothing is blind.
    observer.wait("a look at nothing", looked(kustomization)).await;
    assert!(asked(&front, &format!("/apis/{KUSTOMIZE}")) >= 2);
    assert!(!observer.heard.iter().any(failed(kustomization, LookFailure::Missing, "")));
    front.rules().served.remove(KUSTOMIZE);
    let first = observer.wait("it is installed", told(kustomization, "prod")).await;
    // It is younger than the look at nothing.
    assert!(first.basis == Basis::Relist && first.happened.is_bounded(), "{first:?}");

    // A group that is gone is blind at first, and empty when it stays away.
    let uid = engine(&first).unwrap().uid.clone();
    front.rules().served.insert(KUSTOMIZE, Vec::new());
    front.cut();
    observer.wait("blind", failed(kustomization, LookFailure::Missing, "could not find")).await;
    let gone = |o: &knotmeter::observation::Observation| matches!(&o.fact, Fact::Absent { subject: Subject::Engine { uid: of } } if *of == uid);
    observer.wait("its objects are gone", gone).await;
    observer.wait("nothing is blind", looked(kustomization)).await;
    // The others went on.
    patch(
        &world,
        "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/fleet",
        serde_json::json!({"spec": {"interval": "7s"}}),
    )
    .await;
    let changed = |o: &knotmeter::observation::Observation| {
        engine(o).is_some_and(|it| it.interval_seconds == Some(7.0))
    };
    observer.wait("a change of another kind", changed).await;

    // It is back, in a version that nobody can read: blind, and it says so.
    front.rules().served.insert(KUSTOMIZE, vec!["v9", "v3"]);
    let unread =
        "kustomize.toolkit.fluxcd.io is served as v9 and v3 only, and v1, v1beta2, v1beta1 can be read";
    observer.wait("unread", failed(kustomization, LookFailure::Missing, unread)).await;
    let report = check_with(&lab(), front.client().await).await.unwrap();
    let access = |kind| &report.resources.iter().find(|(of, _)| *of == Resource::Engine(kind)).unwrap().1;
    assert!(matches!(access(kustomization), Access::Failed(why) if why.contains(unread)));
    assert_eq!(access(EngineKind::HelmRelease), &Access::Allowed);
    // And in one that everybody can.
    front.rules().served.insert(KUSTOMIZE, vec!["v3", "v1beta1"]);
    observer.wait("read", told(kustomization, "prod")).await;
    assert!(asked(&front, &format!("/apis/{KUSTOMIZE}/v1beta1/kustomizations")) > 0);
    front.rules().served.insert(SOURCE, vec!["../../../version", "v1"]);
    front.cut();
    observer.wait("an odd version is passed by", looked(EngineKind::GitRepository)).await;
    assert!(front.rules().asked.iter().all(|path| !path.contains("..")));
    drop(observer);
    world.stop().await;
}
