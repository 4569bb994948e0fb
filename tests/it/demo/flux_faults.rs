//! What goes wrong with Flux in the demo world: each fault says so on the right object, in Flux's own words, and
//! no longer does when it is repaired.

use std::time::Duration;

use chrono::Utc;
use knotmeter::demo::{Entry, Fault, Happened, Intervals, Options, World};
use knotmeter::image::Digest;
use serde_json::Value;

use super::flux::{SYSTEM, at, condition, flux};
use super::{items, live, patiently, until, world};

/// A condition that a fault brings: where, which, with which reason and part of its message.
struct Symptom {
    fault: Fault,
    kind: &'static str,
    name: &'static str,
    reason: &'static str,
    says: &'static str,
}

fn symptom(
    fault: Fault,
    (kind, name): (&'static str, &'static str),
    reason: &'static str,
    says: &'static str,
) -> Symptom {
    Symptom { fault, kind, name, reason, says }
}

const REPOSITORY: (&str, &str) = ("imagerepositories", "web");
const AUTOMATION: (&str, &str) = ("imageupdateautomations", "fleet");
const SOURCE: (&str, &str) = ("gitrepositories", "fleet");
const PROD: (&str, &str) = ("kustomizations", "prod");

/// Pushes one version after the other.
pub struct Releases(pub u32);

impl Releases {
    pub async fn next(&mut self, world: &World) -> Digest {
        self.0 += 1;
        world.push("team/web", &format!("v1.0.{}", self.0)).await.unwrap().digest
    }
}

/// Sets a fault, sees what it says, repairs it and sees that it no longer does.
async fn comes_and_goes(world: &World, symptom: &Symptom) {
    world.inject(symptom.fault);
    let path = at(symptom.kind, symptom.name);
    let fits = |object: &Value| {
        let ready = condition(object, "Ready");
        ready["status"] == "False"
            && ready["reason"] == symptom.reason
            && ready["message"].as_str().is_some_and(|message| message.contains(symptom.says))
            && condition(object, "Reconciling")["reason"] != "Progressing"
    };
    let seen = tokio::time::timeout(super::PATIENCE, until(world, &path, fits)).await;
    assert!(seen.is_ok(), "{}: {:#}", symptom.fault, world.get(&path).await.unwrap()["status"]);
    let events = format!("/api/v1/{SYSTEM}/events");
    let told = |list: &Value| {
        items(list)
            .any(|event| event["reason"] == symptom.reason && event["involvedObject"]["name"] == symptom.name)
    };
    until(world, &events, told).await;
    world.clear(symptom.fault);
    until(world, &path, |object| condition(object, "Ready")["status"] == "True").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_before_a_commit_is_told_and_ends() {
    let world = world(flux()).await;
    let mut releases = Releases(0);
    comes_and_goes(
        &world,
        &symptom(
            Fault::ScanFailing,
            REPOSITORY,
            "ReadOperationFailed",
            "/v2/team/web/tags/list?n=1000: UNAUTHORIZED: authentication required",
        ),
    )
    .await;
    let down = "/v2/: UNAVAILABLE: service unavailable";
    comes_and_goes(&world, &symptom(Fault::RegistryDown, REPOSITORY, "ReadOperationFailed", down)).await;
    let mut push = releases.next(&world).await;
    for (fault, says) in [
        (Fault::AutomationFailing, "failed to push to remote: authorization failed"),
        (Fault::AutomationRace, "failed to push to remote: command error on refs/heads/main: "),
    ] {
        world.inject(fault);
        push = releases.next(&world).await;
        comes_and_goes(&world, &symptom(fault, AUTOMATION, "GitOperationFailed", says)).await;
    }
    patiently(world.happened(|entry| live(entry, &push, "prod"))).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_looks_for_or_wants_is_not_selected() {
    let world = world(flux()).await;
    let mut releases = Releases(0);
    let latest = |object: &Value| object["status"]["latestRef"]["tag"].as_str().map(str::to_owned);
    let web = at("imagepolicies", "web");
    let selected = async |tag: &str| until(&world, &web, |one| latest(one).as_deref() == Some(tag)).await;

    // Stopped: nothing scans, and nothing says so.
    world.inject(Fault::ScanLate);
    releases.next(&world).await;
    world.clear(Fault::ScanLate);
    selected("v1.0.1").await;

    // The newest tag is missing from the list; the one before it is there.
    world.inject(Fault::ListTruncated);
    releases.next(&world).await;
    releases.next(&world).await;
    selected("v1.0.2").await;
    world.clear(Fault::ListTruncated);
    selected("v1.0.3").await;

    // The policy takes the tag that it has and no other.
    world.inject(Fault::PolicyExcludes);
    let pinned = |object: &Value| object["spec"]["filterTags"]["pattern"] == r"^v1\.0\.3$";
    until(&world, &web, pinned).await;
    let push = releases.next(&world).await;
    let newest = |object: &Value| object["status"]["lastScanResult"]["latestTags"][0] == "v1.0.4";
    until(&world, &at("imagerepositories", "web"), newest).await;
    let policy = world.get(&web).await.unwrap();
    assert_eq!(latest(&policy).as_deref(), Some("v1.0.3"));
    assert_eq!(condition(&policy, "Ready")["status"], "True");
    world.clear(Fault::PolicyExcludes);
    patiently(world.happened(|entry| live(entry, &push, "prod"))).await;

    // Everything rests; then one after the other is resumed, and the image goes as far as the next one.
    let suspended = [
        (Fault::SuspendedImageRepository, REPOSITORY),
        (Fault::SuspendedAutomation, AUTOMATION),
        (Fault::SuspendedSource, SOURCE),
        (Fault::SuspendedKustomization, PROD),
    ];
    for (fault, (kind, name)) in suspended {
        world.inject(fault);
        let object = until(&world, &at(kind, name), |object| object["spec"]["suspend"] == true).await;
        assert!(object["metadata"]["managedFields"].to_string().contains("\"f:suspend\""), "{fault}");
    }
    let before = Utc::now();
    let push = releases.next(&world).await;
    let reached = |entry: &Entry, fault: Fault| match (&entry.what, fault) {
        (Happened::Selected { image, .. }, Fault::SuspendedImageRepository) => image.ends_with(":v1.0.5"),
        (Happened::Committed { .. }, Fault::SuspendedAutomation) => entry.at > before,
        (Happened::Fetched { .. }, Fault::SuspendedSource) => entry.at > before,
        (Happened::Live { .. }, Fault::SuspendedKustomization) => live(entry, &push, "prod"),
        _ => false,
    };
    for (fault, _) in suspended {
        assert!(!world.truth().iter().any(|entry| reached(entry, fault)), "{fault} does not hold");
        world.clear(fault);
        patiently(world.happened(|entry| reached(entry, fault))).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_between_git_and_the_cluster_is_told_and_ends() {
    let world = world(flux()).await;
    let mut releases = Releases(0);
    for symptom in [
        symptom(
            Fault::GitAuth,
            SOURCE,
            "GitOperationFailed",
            "/fleet.git': authentication required: Unauthorized",
        ),
        symptom(Fault::SourceFailing, SOURCE, "GitOperationFailed", "status code: 500"),
        symptom(
            Fault::BuildFailed,
            PROD,
            "BuildFailed",
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from \
             'missing.yaml': open /tmp/kustomization-",
        ),
        symptom(
            Fault::InvalidManifest,
            PROD,
            "ReconciliationFailed",
            "Deployment/prod/web dry-run failed (Invalid): Deployment.apps \"web\" is invalid: spec.replicas: \
             Invalid value: -1: must be greater than or equal to 0",
        ),
        symptom(
            Fault::AdmissionDenied,
            PROD,
            "ReconciliationFailed",
            "dry-run failed (Forbidden): admission webhook \"signatures.demo.invalid\" denied the request: ",
        ),
        symptom(
            Fault::DependencyNotReady,
            PROD,
            "DependencyNotReady",
            "dependency 'flux-system/infra' is not ready",
        ),
    ] {
        comes_and_goes(&world, &symptom).await;
    }
    // Somebody else owns the images before the next one comes.
    world.inject(Fault::ApplyConflict);
    let web = "/apis/apps/v1/namespaces/prod/deployments/web";
    until(&world, web, |object| object["metadata"]["managedFields"].to_string().contains("\"hotfix\"")).await;
    let push = releases.next(&world).await;
    let conflict = symptom(
        Fault::ApplyConflict,
        PROD,
        "ReconciliationFailed",
        "Deployment/prod/web dry-run failed (FieldManagerConflict): Apply failed with 1 conflict: conflict with \
         \"hotfix\" using apps/v1: .spec.template.spec.containers[name=\"web\"].image",
    );
    comes_and_goes(&world, &conflict).await;
    patiently(world.happened(|entry| live(entry, &push, "prod"))).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_becomes_healthy_is_told_and_the_next_image_helps() {
    let intervals = Intervals { health: Duration::from_secs(3), ..flux().intervals };
    let world = world(Options { progress_deadline_seconds: 1, intervals, ..flux() }).await;
    let prod = at("kustomizations", "prod");
    let failed = |says: &'static str| {
        move |object: &Value| {
            let (ready, healthy) = (condition(object, "Ready"), condition(object, "Healthy"));
            ready["reason"] == "HealthCheckFailed"
                && healthy["status"] == "False"
                && ready["message"].as_str().unwrap().starts_with("health check failed after ")
                && ready["message"].as_str().unwrap().contains(says)
        }
    };
    world.inject(Fault::NeverReady);
    world.push("team/api", "v1.0.1").await.unwrap();
    let says = "failed early due to stalled resources: [Deployment/prod/api status: 'Failed']";
    until(&world, &prod, failed(says)).await;
    world.clear(Fault::NeverReady);
    let push = world.push("team/api", "v1.0.2").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;

    // With a longer deadline, and a gate that nobody opens, the health check ends first.
    world.inject(Fault::ReadinessGate);
    until(&world, &prod, failed("timeout waiting for: [")).await;
    until(&world, &prod, failed("Deployment/prod/web status: 'InProgress'")).await;
    world.clear(Fault::ReadinessGate);
    let push = world.push("team/web", "v1.0.2").await.unwrap();
    patiently(world.happened(|entry| live(entry, &push.digest, "prod"))).await;
    until(&world, &prod, |object| condition(object, "Ready")["status"] == "True").await;
    world.stop().await;
}
