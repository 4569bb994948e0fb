//! The demo's Flux where a chart makes the app: that its objects are as real ones are, and that a tag goes through them.

use knotmeter::demo::{Fault, World};
use serde_json::Value;

use super::flux::{at, condition, flux};
use super::{items, live, patiently, until, world};

const RELEASE: &str = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/prod/helmreleases/cart";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/prod/deployments/cart";

fn chart() -> String {
    at("gitrepositories", "prod-cart").replace("gitrepositories", "helmcharts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_among_values_goes_live_through_its_chart_and_the_objects_tell_how() {
    let world = world(flux()).await;
    let push = world.push("team/cart", "v1.0.1").await.unwrap();
    for environment in ["staging", "prod"] {
        patiently(world.happened(|entry| live(entry, &push.digest, environment))).await;
    }
    let release = until(&world, RELEASE, |object| {
        let is_done = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        is_done && object["status"]["history"][0]["version"] == 2
    })
    .await;
    let succeeded = "Helm upgrade succeeded for release prod/cart.v2 with chart cart@0.1.0";
    for type_ in ["Ready", "Released"] {
        let one = condition(&release, type_);
        assert_eq!((&one["status"], &one["reason"]), (&"True".into(), &"UpgradeSucceeded".into()), "{one}");
        assert_eq!(one["message"], succeeded);
    }
    assert!(condition(&release, "Reconciling").is_null());
    let status = &release["status"];
    assert_eq!(status["helmChart"], "flux-system/prod-cart");
    assert_eq!(status["lastAttemptedRevision"], "0.1.0");
    assert_eq!(status["lastAttemptedReleaseAction"], "upgrade");
    assert_eq!(status["inventory"]["entries"][0]["id"], "prod_cart_apps_Deployment");
    let history =
        |at: usize, field: &str| status["history"][at][field].as_str().unwrap_or_default().to_owned();
    assert_eq!([history(0, "status"), history(1, "status")], ["deployed", "superseded"]);
    assert_eq!(history(0, "configDigest"), status["lastAttemptedConfigDigest"].as_str().unwrap());

    let kept = world.get(&chart()).await.unwrap();
    assert_eq!(condition(&kept, "Ready")["message"], "pulled 'cart' chart with version '0.1.0'");
    assert_eq!(kept["status"]["artifact"]["revision"], "0.1.0");
    assert_eq!(kept["metadata"]["labels"]["helm.toolkit.fluxcd.io/namespace"], "prod");
    let made = world.get(DEPLOYMENT).await.unwrap();
    assert_eq!(made["metadata"]["labels"]["helm.toolkit.fluxcd.io/name"], "cart");
    assert_eq!(made["metadata"]["annotations"]["meta.helm.sh/release-name"], "cart");
    let image = made["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
    assert!(image.ends_with("/team/cart:v1.0.1"), "{image}");
    let managers = made["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|one| one["manager"] == "helm-controller" && one["operation"] == "Apply"));
    let prod = world.get(&at("kustomizations", "prod")).await.unwrap();
    assert!(prod["status"]["inventory"].to_string().contains("prod_cart_helm.toolkit.fluxcd.io_HelmRelease"));
    assert!(told(&world, "UpgradeSucceeded").await.contains(&succeeded.to_owned()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_fails_is_tried_no_more_until_the_values_are_others() {
    let world = world(flux()).await;
    world.inject(Fault::CrashLoop);
    world.push("team/cart", "v1.0.1").await.unwrap();
    let gave_up = until(&world, RELEASE, |object| condition(object, "Stalled")["status"] == "True").await;
    let (stalled, ready) = (condition(&gave_up, "Stalled"), condition(&gave_up, "Ready"));
    assert_eq!(stalled["reason"], "RetriesExceeded");
    assert_eq!(stalled["message"], "Failed to upgrade after 1 attempt(s)");
    assert_eq!(ready["reason"], "UpgradeFailed");
    let says = ready["message"].as_str().unwrap();
    let begins = "Helm upgrade failed for release prod/cart with chart cart@0.1.0: ";
    assert!(says.starts_with(begins) && says.contains("[Deployment/prod/cart status: '"), "{says}");
    world.clear(Fault::CrashLoop);
    let push = world.push("team/cart", "v1.0.2").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    let ready = until(&world, RELEASE, |object| condition(object, "Ready")["status"] == "True").await;
    assert!(condition(&ready, "Stalled").is_null());
    world.stop().await;
}

/// What events of a reason said in prod.
async fn told(world: &World, reason: &str) -> Vec<String> {
    let events = world.get("/api/v1/namespaces/prod/events").await.unwrap();
    let of_it = items(&events).filter(|event: &&Value| event["reason"] == reason);
    of_it.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}
