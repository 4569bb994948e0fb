//! The objects with which a person sets Flux up: where the images are, which are wanted, and who brings what git
//! says to which namespace.

use serde_json::{Value, json};

use super::api::{Api, Refused, Type};
use super::{
    AUTOMATION, GIT_REPOSITORY, HELM_REPOSITORY, IMAGE_POLICY, IMAGE_REPOSITORY, INFRASTRUCTURE, Intervals,
    KUSTOMIZATION, NAMESPACE, clock,
};
use crate::demo::engine::Engine;
use crate::demo::fault::Fault;
use crate::demo::gitops::{ENVIRONMENTS, apps};

/// The repository of the charts.
pub(in crate::demo) const CHARTS: &str = "charts";
/// The name of the source, and of the automation that writes to it.
const SOURCE: &str = "fleet";
const AUTOMATION_NAME: &str = "fleet";
/// The app whose policy compares numbers; the others compare versions.
const NUMBERED: &str = "api";

/// A scan may take longer than the demo's intervals: a slow registry is slow, not down.
const SCAN_TIMEOUT: &str = "20s";

/// The marker by which the automation finds an app's image.
pub(in crate::demo) fn marker(app: &str) -> String {
    format!("# {{\"$imagepolicy\": \"{NAMESPACE}:{app}\"}}")
}

/// The same where a value is a tag alone.
pub(in crate::demo) fn tag_marker(app: &str) -> String {
    format!("# {{\"$imagepolicy\": \"{NAMESPACE}:{app}:tag\"}}")
}

/// Where an app's policy is found in the API.
pub(in crate::demo) fn policy_path(app: &str) -> String {
    IMAGE_POLICY.path(NAMESPACE, app)
}

/// Where the automation is found in the API.
pub(in crate::demo) fn automation_path() -> String {
    AUTOMATION.path(NAMESPACE, AUTOMATION_NAME)
}

/// The filter of an app's policy; null where it has none.
pub(in crate::demo) fn filter(app: &str) -> Value {
    if app == NUMBERED {
        json!({"pattern": r"^v1\.0\.(?P<number>[0-9]+)$", "extract": "$number"})
    } else {
        Value::Null
    }
}

/// A filter that lets one tag through, given with its points escaped.
pub(in crate::demo) fn pinned(app: &str, tag: &str) -> Value {
    if app == NUMBERED {
        let number = tag.rsplit('.').next().unwrap_or_default();
        json!({"pattern": format!(r"^v1\.0\.(?P<number>{number})$"), "extract": "$number"})
    } else {
        json!({"pattern": format!("^{tag}$")})
    }
}

/// Where the objects are that a fault suspends.
pub(in crate::demo) fn suspended_by(fault: Fault) -> Vec<String> {
    match fault {
        Fault::SuspendedImageRepository => {
            apps(Engine::Flux).iter().map(|app| IMAGE_REPOSITORY.path(NAMESPACE, app.name)).collect()
        }
        Fault::SuspendedAutomation => vec![AUTOMATION.path(NAMESPACE, AUTOMATION_NAME)],
        Fault::SuspendedSource => vec![GIT_REPOSITORY.path(NAMESPACE, SOURCE)],
        Fault::SuspendedKustomization => vec![KUSTOMIZATION.path(NAMESPACE, "prod")],
        _ => Vec::new(),
    }
}

/// Creates all of them, as the manager that the `flux` program is.
pub(super) async fn create(
    api: &Api,
    registry: &str,
    repository: &str,
    branch: &str,
    every: &Intervals,
) -> Result<(), Refused> {
    for (type_, name, spec) in all(registry, repository, branch, every) {
        let object = json!({
            "apiVersion": type_.version, "kind": type_.kind,
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        });
        let path = format!("/apis/{}/namespaces/{NAMESPACE}/{}", type_.version, type_.plural);
        api.create(&path, &object).await?;
    }
    Ok(())
}

fn all(registry: &str, repository: &str, branch: &str, every: &Intervals) -> Vec<(Type, String, Value)> {
    let source =
        json!({"interval": clock::print(every.source), "url": repository, "ref": {"branch": branch}});
    let mut all = vec![(GIT_REPOSITORY, SOURCE.to_owned(), source)];
    // Such a one says nothing of itself: nobody lists what is in it.
    let charts = json!({"interval": clock::print(every.kustomization), "type": "oci", "insecure": true,
        "provider": "generic", "url": format!("oci://{registry}/{CHARTS}")});
    all.push((HELM_REPOSITORY, CHARTS.to_owned(), charts));
    for app in apps(Engine::Flux) {
        let scanned = json!({"image": format!("{registry}/{}", app.repository()), "insecure": true,
            "interval": clock::print(every.scan), "timeout": SCAN_TIMEOUT});
        all.push((IMAGE_REPOSITORY, app.name.to_owned(), scanned));
        let policy = match app.name {
            NUMBERED => json!({"numerical": {"order": "asc"}}),
            _ => json!({"semver": {"range": ">=1.0.0"}}),
        };
        let mut chosen = json!({"imageRepositoryRef": {"name": app.name}, "policy": policy});
        let filter = filter(app.name);
        if !filter.is_null() {
            chosen["filterTags"] = filter;
        }
        all.push((IMAGE_POLICY, app.name.to_owned(), chosen));
    }
    let automation = json!({
        "interval": clock::print(every.automation),
        "sourceRef": {"kind": "GitRepository", "name": SOURCE},
        "git": {
            "checkout": {"ref": {"branch": branch}},
            "commit": {"author": {"name": "fluxcdbot", "email": "fluxcdbot@demo.invalid"}},
            "push": {"branch": branch},
        },
        "update": {"path": "./", "strategy": "Setters"},
    });
    all.push((AUTOMATION, AUTOMATION_NAME.to_owned(), automation));
    let kustomization = |path: &str| {
        json!({
            "interval": clock::print(every.kustomization),
            "retryInterval": clock::print(every.retry),
            "timeout": clock::print(every.health),
            "path": format!("./{path}"),
            "prune": true,
            "wait": true,
            "sourceRef": {"kind": "GitRepository", "name": SOURCE},
        })
    };
    all.push((KUSTOMIZATION, INFRASTRUCTURE.to_owned(), kustomization(INFRASTRUCTURE)));
    for environment in ENVIRONMENTS {
        let mut spec = kustomization(environment);
        spec["dependsOn"] = json!([{"name": INFRASTRUCTURE}]);
        all.push((KUSTOMIZATION, environment.to_owned(), spec));
    }
    all
}
