//! What goes wrong in the demo world, and that it goes wrong as on a real cluster.

use http::StatusCode;

use knotmeter::demo::{Entry, Fault, Happened, Options};
use serde_json::Value;

use super::flux::condition;
use super::flux_faults::Releases;
use super::{client, items, live, patiently, quick, until, waits_with, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tag_fails_to_pull_and_exceeds_the_deadline() {
    let world = world(Options { faults: vec![Fault::MissingTag], ..quick() }).await;
    world.push("team/web", "v1.0.1").await.unwrap();
    until(&world, "/api/v1/namespaces/prod/pods", |list| waits_with(list, "ErrImagePull")).await;
    until(&world, "/api/v1/namespaces/prod/pods", |list| waits_with(list, "ImagePullBackOff")).await;
    let events = world.get("/api/v1/namespaces/prod/events?fieldSelector=reason=Failed").await.unwrap();
    let image = format!("{}/team/web:v1.0.1-missing", world.addresses().registry);
    let told = format!(
        "Failed to pull image \"{image}\": rpc error: code = NotFound desc = failed to pull and unpack image \
         \"{image}\": failed to resolve image: {image}: not found"
    );
    assert!(items(&events).any(|event| event["message"] == told.as_str()), "{events}");
    let exceeded = |deployment: &Value| {
        let conditions = deployment["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|one| one["reason"] == "ProgressDeadlineExceeded" && one["status"] == "False")
    };
    let stuck = until(&world, "/apis/apps/v1/namespaces/prod/deployments/web", exceeded).await;
    assert_eq!(stuck["status"]["availableReplicas"], 3);
    assert_eq!(stuck["status"]["updatedReplicas"], 1);

    world.clear(Fault::MissingTag);
    let is_live = |entry: &Entry| {
        matches!(&entry.what, Happened::Live { namespace, image, .. }
            if namespace == "prod" && image.ends_with("team/web:v1.0.1"))
    };
    patiently(world.happened(is_live)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_image_loops_and_the_next_one_helps() {
    let world = world(Options { faults: vec![Fault::CrashLoop], ..quick() }).await;
    world.push("team/api", "v1.0.1").await.unwrap();
    until(&world, "/api/v1/namespaces/prod/pods", |list| waits_with(list, "CrashLoopBackOff")).await;
    world.clear(Fault::CrashLoop);
    let push = world.push("team/api", "v1.0.2").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_may_not_be_made_or_placed_say_why() {
    let world = world(quick()).await;
    world.inject(Fault::Quota);
    let push = world.push("team/web", "v1.0.1").await.unwrap();
    let refused = |deployment: &Value| {
        let conditions = deployment["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|one| one["type"] == "ReplicaFailure" && one["reason"] == "FailedCreate")
    };
    until(&world, "/apis/apps/v1/namespaces/prod/deployments/web", refused).await;
    world.inject(Fault::Unschedulable);
    world.clear(Fault::Quota);
    let homeless =
        |list: &Value| items(list).any(|pod| pod["status"]["conditions"][0]["reason"] == "Unschedulable");
    until(&world, "/api/v1/namespaces/prod/pods", homeless).await;
    world.clear(Fault::Unschedulable);
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_down_or_busy_say_so() {
    let world = world(quick()).await;
    let tags = format!("http://{}/v2/team/web/tags/list", world.addresses().registry);
    let refs = format!("{}/info/refs?service=git-upload-pack", world.addresses().git);
    world.inject(Fault::RegistryDown);
    world.inject(Fault::GitDown);
    assert_eq!(client().get(&tags).send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client().get(&refs).send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    world.clear(Fault::RegistryDown);
    world.clear(Fault::GitDown);
    assert_eq!(client().get(&refs).send().await.unwrap().status(), StatusCode::OK);
    world.inject(Fault::RegistryThrottled);
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(client().get(&tags).send().await.unwrap());
    }
    let busy = answers.iter().find(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).unwrap();
    assert_eq!(busy.headers()["retry-after"], "1");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_in_the_cluster_is_shown_and_ends() {
    let world = world(Options { progress_deadline_seconds: 2, ..quick() }).await;
    let mut releases = Releases(0);
    let pods = "/api/v1/namespaces/prod/pods";
    let web = "/apis/apps/v1/namespaces/prod/deployments/web";
    for (fault, says) in [
        (Fault::PullDenied, "authorization failed: no basic auth credentials"),
        (Fault::PullRegistryDown, "connect: connection refused"),
    ] {
        world.inject(fault);
        let push = releases.next(&world).await;
        let list = until(&world, pods, |list| waits_with(list, "ImagePullBackOff")).await;
        assert!(list.to_string().contains(says), "{fault}: {list:#}");
        world.clear(fault);
        patiently(world.happened(|entry| live(entry, &push, "prod"))).await;
    }
    // A path that does not exist answers 404.
    world.inject(Fault::ProbeFailing);
    let events = "/api/v1/namespaces/prod/events?fieldSelector=reason=Unhealthy";
    // Those of another app come before this one's manifest is applied.
    let unhealthy = |list: &Value| {
        let of_web = |event: &Value| event["involvedObject"]["name"].as_str().unwrap().starts_with("web-");
        items(list).any(|event| of_web(event) && event["message"].as_str().unwrap().ends_with("404"))
    };
    until(&world, events, unhealthy).await;
    world.clear(Fault::ProbeFailing);
    let probe = |object: &Value| {
        object["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/ready"
            && object["status"]["updatedReplicas"] == 3
            && object["status"]["availableReplicas"] == 3
    };
    until(&world, web, probe).await;
    // The setting changes and the pods stay, until somebody restarts them.
    let before = world.get(web).await.unwrap();
    world.inject(Fault::ConfigNotRolled);
    let settings = "/api/v1/namespaces/prod/configmaps/web-settings";
    until(&world, settings, |object| object["data"]["GREETING"] == "a warm hello from prod").await;
    let after = world.get(web).await.unwrap();
    assert_eq!(before["spec"]["template"], after["spec"]["template"]);
    world.clear(Fault::ConfigNotRolled);
    until(&world, web, |object| object["spec"]["template"] != before["spec"]["template"]).await;
    // Paused: the template changes and nothing follows.
    world.inject(Fault::Paused);
    let paused = |object: &Value| condition(object, "Progressing")["reason"] == "DeploymentPaused";
    until(&world, web, paused).await;
    let push = releases.next(&world).await;
    let applied = |entry: &Entry| {
        matches!(&entry.what, Happened::Applied { namespace, image, .. }
            if namespace == "prod" && image.ends_with("team/web:v1.0.3"))
    };
    patiently(world.happened(applied)).await;
    assert!(!world.truth().iter().any(|entry| live(entry, &push, "prod")));
    world.clear(Fault::Paused);
    patiently(world.happened(|entry| live(entry, &push, "prod"))).await;
    // Slower to start than the deadline allows; the next image is not.
    world.inject(Fault::ProgressDeadline);
    world.push("team/api", "v1.0.1").await.unwrap();
    let exceeded = |object: &Value| condition(object, "Progressing")["reason"] == "ProgressDeadlineExceeded";
    until(&world, "/apis/apps/v1/namespaces/prod/deployments/api", exceeded).await;
    world.clear(Fault::ProgressDeadline);
    let push = world.push("team/api", "v1.0.2").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    world.stop().await;
}
