//! The demo world with Flux as its engine: that its objects are as real ones are, and that images go through them.

use std::time::Duration;

use knotmeter::demo::{Engine, Entry, Happened, Intervals, Options, World};
use serde_json::Value;

use super::{client, items, live, patiently, until, world};

pub const SYSTEM: &str = "namespaces/flux-system";

/// A world in which nobody pushes, and in which Flux looks often.
pub fn flux() -> Options {
    // Whoever looks more often spends the machine on looking.
    let (soon, later) = (Duration::from_millis(300), Duration::from_secs(1));
    let health = Duration::from_secs(12);
    Options {
        engine: Engine::Flux,
        autopush: false,
        intervals: Intervals {
            scan: soon,
            automation: later,
            source: soon,
            kustomization: later,
            retry: soon,
            health,
        },
        pull_delay: Duration::from_millis(20),
        ready_delay: Duration::from_millis(20),
        ..Options::default()
    }
}

/// Where an object of Flux is.
pub fn at(kind: &str, name: &str) -> String {
    let group = match kind {
        "gitrepositories" => "source",
        "kustomizations" => "kustomize",
        _ => "image",
    };
    format!("/apis/{group}.toolkit.fluxcd.io/v1/{SYSTEM}/{kind}/{name}")
}

pub fn condition<'o>(object: &'o Value, type_: &str) -> &'o Value {
    let all = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|one| one["type"] == type_).unwrap_or(&Value::Null)
}

/// What each kind has in a world in which an image was released, as the real controllers write it.
const SHAPES: [(&str, &str, &[&str]); 5] = [
    (
        "imagerepositories",
        "web",
        &[
            "/metadata/finalizers/0",
            "/metadata/generation",
            "/spec/image",
            "/spec/interval",
            "/spec/provider",
            "/spec/exclusionList/0",
            "/status/canonicalImageName",
            "/status/lastScanResult/revision",
            "/status/lastScanResult/tagCount",
            "/status/lastScanResult/scanTime",
            "/status/lastScanResult/latestTags/0",
            "/status/observedExclusionList/0",
            "/status/observedGeneration",
        ],
    ),
    (
        "imagepolicies",
        "web",
        &[
            "/metadata/finalizers/0",
            "/spec/imageRepositoryRef/name",
            "/spec/policy/semver/range",
            "/spec/digestReflectionPolicy",
            "/status/latestRef/name",
            "/status/latestRef/tag",
            "/status/observedPreviousRef/tag",
            "/status/observedGeneration",
        ],
    ),
    (
        "imageupdateautomations",
        "fleet",
        &[
            "/spec/sourceRef/kind",
            "/spec/git/commit/author/email",
            "/spec/update/strategy",
            "/status/lastAutomationRunTime",
            "/status/lastPushCommit",
            "/status/lastPushTime",
            "/status/observedPolicies/web/tag",
            "/status/observedSourceRevision",
            "/status/observedGeneration",
        ],
    ),
    (
        "gitrepositories",
        "fleet",
        &[
            "/spec/timeout",
            "/spec/ref/branch",
            "/status/artifact/digest",
            "/status/artifact/lastUpdateTime",
            "/status/artifact/path",
            "/status/artifact/revision",
            "/status/artifact/size",
            "/status/artifact/url",
            "/status/observedGeneration",
        ],
    ),
    (
        "kustomizations",
        "prod",
        &[
            "/spec/path",
            "/spec/prune",
            "/spec/force",
            "/spec/sourceRef/name",
            "/spec/dependsOn/0/name",
            "/status/lastAttemptedRevision",
            "/status/lastAppliedRevision",
            "/status/inventory/entries/0/id",
            "/status/inventory/entries/0/v",
            "/status/history/0/digest",
            "/status/history/0/firstReconciled",
            "/status/history/0/lastReconciled",
            "/status/history/0/lastReconciledDuration",
            "/status/history/0/lastReconciledStatus",
            "/status/history/0/totalReconciliations",
            "/status/history/0/metadata/revision",
            "/status/observedGeneration",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn flux_brings_a_pushed_image_live_and_its_objects_tell_how() {
    let world = world(flux()).await;
    let push = world.push("team/web", "v1.0.1").await.unwrap();
    for environment in ["staging", "prod"] {
        patiently(world.happened(|entry| live(entry, &push.digest, environment))).await;
    }
    let tip = world
        .truth()
        .iter()
        .rev()
        .find_map(|entry| match &entry.what {
            Happened::Committed { commit } => Some(commit.clone()),
            _ => None,
        })
        .unwrap();
    let revision = format!("main@sha1:{tip}");
    for name in ["infra", "staging", "prod"] {
        let applied = until(&world, &at("kustomizations", name), |object| {
            object["status"]["lastAppliedRevision"] == revision.as_str()
                && condition(object, "Ready")["status"] == "True"
        })
        .await;
        assert_eq!(condition(&applied, "Ready")["message"], format!("Applied revision: {revision}"));
        assert_eq!(condition(&applied, "Ready")["reason"], "ReconciliationSucceeded");
        assert_eq!(condition(&applied, "Healthy")["status"], "True");
    }
    the_truth_is_in_order(&world);
    the_objects_have_their_shape(&world).await;
    the_words_are_those_of_flux(&world, &revision).await;
    the_apply_is_told(&world).await;
    world.stop().await;
}

fn the_truth_is_in_order(world: &World) {
    let order = |entry: &Entry| match &entry.what {
        Happened::Pushed { tag, .. } if tag.as_str() == "v1.0.1" => Some(0),
        Happened::Selected { policy, image } if policy == "web" && image.ends_with(":v1.0.1") => Some(1),
        Happened::Applied { namespace, image, .. } if namespace == "prod" && image.ends_with(":v1.0.1") => {
            Some(3)
        }
        Happened::Live { namespace, image, .. } if namespace == "prod" && image.ends_with(":v1.0.1") => {
            Some(4)
        }
        _ => None,
    };
    let truth = world.truth();
    let steps: Vec<u8> = truth.iter().filter_map(order).collect();
    assert_eq!(steps, [0, 1, 3, 4]);
    let place = |wanted: u8| truth.iter().position(|entry| order(entry) == Some(wanted)).unwrap();
    let between = |from: u8, to: u8, fits: fn(&Happened) -> bool| {
        truth[place(from)..place(to)].iter().any(|entry| fits(&entry.what))
    };
    assert!(between(0, 1, |what| matches!(what, Happened::Scanned { tags: 2, .. })), "{truth:?}");
    assert!(between(1, 3, |what| matches!(what, Happened::Committed { .. })), "{truth:?}");
    assert!(between(1, 3, |what| matches!(what, Happened::Fetched { .. })), "{truth:?}");
}

async fn the_objects_have_their_shape(world: &World) {
    for (kind, name, fields) in SHAPES {
        let object = world.get(&at(kind, name)).await.unwrap();
        for field in fields {
            assert!(
                object.pointer(field).is_some_and(|value| !value.is_null()),
                "{kind} {field}: {object:#}"
            );
        }
        for one in object["status"]["conditions"].as_array().unwrap() {
            for field in ["lastTransitionTime", "message", "observedGeneration", "reason", "status", "type"] {
                assert!(!one[field].is_null(), "{kind}: {one}");
            }
        }
        let managers = object["metadata"]["managedFields"].as_array().unwrap();
        let of_status: Vec<&Value> = managers.iter().filter(|one| one["subresource"] == "status").collect();
        assert_eq!(of_status.len(), 1, "{kind}: {managers:?}");
        assert_eq!(of_status[0]["fieldsV1"]["f:status"]["f:conditions"], serde_json::json!({}), "{kind}");
        assert!(of_status[0]["manager"].as_str().unwrap().ends_with("-controller"));
        // One generation: controllers write the status and nothing else of the object.
        assert_eq!(object["metadata"]["generation"], 1, "{kind}");
    }
    let older = world.get("/apis/image.toolkit.fluxcd.io/v1beta2/imagepolicies").await.unwrap();
    assert_eq!(older["apiVersion"], "image.toolkit.fluxcd.io/v1beta2");
    let groups = world.get("/apis").await.unwrap().to_string();
    for version in
        ["source.toolkit.fluxcd.io/v1", "helm.toolkit.fluxcd.io/v2", "notification.toolkit.fluxcd.io/v1"]
    {
        assert!(groups.contains(version), "{groups}");
    }
    let url = format!("{}/apis/image.toolkit.fluxcd.io/v1/imagerepositories", world.addresses().kubernetes);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table: Value = client().get(url).header("accept", accept).send().await.unwrap().json().await.unwrap();
    assert_eq!(table["rows"][2]["cells"][0], "web");
    assert_eq!(table["rows"][2]["cells"][2], "2");
    assert_eq!(table["rows"][2]["cells"][3], "True");
}

async fn the_words_are_those_of_flux(world: &World, revision: &str) {
    let image = format!("{}/team/web", world.addresses().registry);
    let message = |object: &Value| condition(object, "Ready")["message"].as_str().unwrap().to_owned();
    let repository = world.get(&at("imagerepositories", "web")).await.unwrap();
    let checksum = repository["status"]["lastScanResult"]["revision"].as_str().unwrap();
    assert_eq!(message(&repository), format!("successful scan: found 2 tags with checksum {checksum}"));
    let policy = world.get(&at("imagepolicies", "web")).await.unwrap();
    let resolved = format!("Latest image tag for {image} resolved to v1.0.1 (previously {image}:v1.0.0)");
    assert_eq!(message(&policy), resolved);
    let automation = world.get(&at("imageupdateautomations", "fleet")).await.unwrap();
    assert_eq!(message(&automation), "repository up-to-date");
    assert_eq!(automation["status"]["observedSourceRevision"], revision);
    let source = world.get(&at("gitrepositories", "fleet")).await.unwrap();
    assert_eq!(message(&source), format!("stored artifact for revision '{revision}'"));
    let events = world.get(&format!("/api/v1/{SYSTEM}/events")).await.unwrap();
    let said = |reason: &str, text: &str| {
        items(&events)
            .any(|event| event["reason"] == reason && event["message"].as_str().unwrap().contains(text))
    };
    let pushed = format!("pushed commit '{}' to branch 'main'", &revision["main@sha1:".len()..][..7]);
    for (reason, text) in [
        ("NewArtifact", "stored artifact for commit 'Update from image update automation'"),
        ("Succeeded", resolved.as_str()),
        ("Succeeded", "successful scan: found 2 tags"),
        ("Succeeded", &pushed),
        ("Progressing", "Deployment/prod/web configured"),
        ("Progressing", "Health check passed in"),
        ("ReconciliationSucceeded", ", next run in 1s"),
    ] {
        assert!(said(reason, text), "{reason} {text}: {events:#}");
    }
}

async fn the_apply_is_told(world: &World) {
    let deployment = world.get("/apis/apps/v1/namespaces/prod/deployments/web").await.unwrap();
    let labels = &deployment["metadata"]["labels"];
    assert_eq!(labels["kustomize.toolkit.fluxcd.io/name"], "prod");
    assert_eq!(labels["kustomize.toolkit.fluxcd.io/namespace"], "flux-system");
    let managers = deployment["metadata"]["managedFields"].as_array().unwrap();
    let applied = managers.iter().find(|one| one["manager"] == "kustomize-controller").unwrap();
    assert_eq!(applied["operation"], "Apply");
    let prod = world.get(&at("kustomizations", "prod")).await.unwrap();
    let entries = prod["status"]["inventory"]["entries"].as_array().unwrap();
    let ids: Vec<&str> = entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert!(
        ids.contains(&"prod_web_apps_Deployment") && ids.contains(&"prod_web-settings__ConfigMap"),
        "{ids:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_asks_for_a_look_and_commits_plain_changes() {
    let day = Duration::from_secs(86_400);
    let intervals =
        Intervals { scan: day, automation: day, source: day, kustomization: day, ..flux().intervals };
    let world = world(Options { intervals, ..flux() }).await;
    let commit = world.commit_variable("prod", "web", "LEVEL", "debug").await.unwrap();
    let requested = |when: &str| serde_json::json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": when}}});
    let ask = async |when: &str| {
        let url = format!("{}{}", world.addresses().kubernetes, at("gitrepositories", "fleet"));
        let patch = client().patch(url).header("content-type", "application/merge-patch+json");
        assert!(patch.body(requested(when).to_string()).send().await.unwrap().status().is_success());
    };
    ask("now").await;
    let source = until(&world, &at("gitrepositories", "fleet"), |object| {
        object["status"]["lastHandledReconcileAt"] == "now"
    })
    .await;
    assert_eq!(source["status"]["artifact"]["revision"], format!("main@sha1:{commit}"));
    let variable = |object: &Value| {
        object["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].as_str().map(str::to_owned)
    };
    let web = "/apis/apps/v1/namespaces/prod/deployments/web";
    until(&world, web, |object| variable(object).as_deref() == Some("debug")).await;
    world.commit_variable("prod", "web", "LEVEL", "info").await.unwrap();
    world.commit_setting("prod", "web", "good day").await.unwrap();
    world.commit_replicas("prod", "web", 2).await.unwrap();
    ask("again").await;
    until(&world, web, |object| variable(object).as_deref() == Some("info")).await;
    until(&world, web, |object| object["spec"]["replicas"] == 2).await;
    let settings = "/api/v1/namespaces/prod/configmaps/web-settings";
    until(&world, settings, |object| object["data"]["GREETING"] == "good day").await;
    world.stop().await;
}
