//! The values that the API server fills in where a manifest is silent.

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// Fills the gaps of an object's spec.
pub(super) fn fill(kind: Kind, object: &mut Value) {
    without_nulls(&mut object["spec"]);
    if object["spec"].is_null() {
        as_object(object).remove("spec");
    }
    match kind {
        Kind::Deployment => {
            let spec = object_at(object, "spec");
            set(spec, "replicas", json!(1));
            set(spec, "revisionHistoryLimit", json!(10));
            set(spec, "progressDeadlineSeconds", json!(600));
            let strategy = spec.entry("strategy").or_insert_with(|| json!({}));
            let strategy = as_object(strategy);
            set(strategy, "type", json!("RollingUpdate"));
            if strategy["type"] == "RollingUpdate" {
                let rolling = as_object(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
                set(rolling, "maxUnavailable", json!("25%"));
                set(rolling, "maxSurge", json!("25%"));
            } else {
                strategy.remove("rollingUpdate");
            }
            template(spec);
        }
        Kind::ReplicaSet => {
            let spec = object_at(object, "spec");
            set(spec, "replicas", json!(1));
            template(spec);
        }
        Kind::StatefulSet => {
            let spec = object_at(object, "spec");
            set(spec, "replicas", json!(1));
            set(spec, "revisionHistoryLimit", json!(10));
            set(spec, "podManagementPolicy", json!("OrderedReady"));
            set(spec, "updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
            template(spec);
        }
        Kind::DaemonSet => {
            let spec = object_at(object, "spec");
            set(spec, "revisionHistoryLimit", json!(10));
            let rolling =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
            set(spec, "updateStrategy", rolling);
            template(spec);
        }
        Kind::Job => {
            let spec = object_at(object, "spec");
            set(spec, "parallelism", json!(1));
            set(spec, "completions", json!(1));
            set(spec, "backoffLimit", json!(6));
            template(spec);
        }
        Kind::CronJob => {
            let spec = object_at(object, "spec");
            set(spec, "suspend", json!(false));
            set(spec, "concurrencyPolicy", json!("Allow"));
            set(spec, "successfulJobsHistoryLimit", json!(3));
            set(spec, "failedJobsHistoryLimit", json!(1));
            let job = as_object(spec.entry("jobTemplate").or_insert_with(|| json!({})));
            let job = as_object(job.entry("spec").or_insert_with(|| json!({})));
            template(job);
        }
        Kind::Pod => {
            pod(object_at(object, "spec"));
            let status = object_at(object, "status");
            set(status, "phase", json!("Pending"));
            set(status, "qosClass", json!("Burstable"));
        }
        Kind::Namespace => {
            set(object_at(object, "spec"), "finalizers", json!(["kubernetes"]));
            set(object_at(object, "status"), "phase", json!("Active"));
        }
        Kind::Node | Kind::Event | Kind::ConfigMap | Kind::ControllerRevision | Kind::Lease => {}
        _ => custom(kind, as_object(object)),
    }
}

/// The defaults that the definitions of Flux's kinds carry.
fn custom(kind: Kind, object: &mut Map<String, Value>) {
    set(object, "status", json!({"observedGeneration": -1}));
    let spec = as_object(object.entry("spec").or_insert_with(|| json!({})));
    match kind {
        Kind::ImageRepository => {
            set(spec, "provider", json!("generic"));
            set(spec, "exclusionList", json!(["^.*\\.sig$"]));
        }
        Kind::ImagePolicy => {
            set(spec, "digestReflectionPolicy", json!("Never"));
            for ordered in ["numerical", "alphabetical"] {
                if let Some(order) = spec.get_mut("policy").and_then(|policy| policy.get_mut(ordered)) {
                    set(as_object(order), "order", json!("asc"));
                }
            }
        }
        Kind::ImageUpdateAutomation => set(spec, "update", json!({"strategy": "Setters"})),
        Kind::GitRepository | Kind::OciRepository | Kind::Bucket => set(spec, "timeout", json!("60s")),
        Kind::Kustomization => set(spec, "force", json!(false)),
        _ => {}
    }
}

/// Clients write `creationTimestamp: null` into templates; to the server it is the same as nothing.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn template(spec: &mut Map<String, Value>) {
    let template = as_object(spec.entry("template").or_insert_with(|| json!({})));
    pod(as_object(template.entry("spec").or_insert_with(|| json!({}))));
}

fn pod(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    for list in ["containers", "initContainers"] {
        for item in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container(as_object(item));
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let moves = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    set(container, "imagePullPolicy", json!(if moves { "Always" } else { "IfNotPresent" }));
    set(container, "resources", json!({}));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        set(as_object(port), "protocol", json!("TCP"));
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            let probe = as_object(probe);
            set(probe, "timeoutSeconds", json!(1));
            set(probe, "periodSeconds", json!(10));
            set(probe, "successThreshold", json!(1));
            set(probe, "failureThreshold", json!(3));
            if let Some(get) = probe.get_mut("httpGet") {
                set(as_object(get), "scheme", json!("HTTP"));
            }
        }
    }
}

fn set(fields: &mut Map<String, Value>, key: &str, value: Value) {
    let slot = fields.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value;
    }
}

fn object_at<'v>(object: &'v mut Value, key: &str) -> &'v mut Map<String, Value> {
    as_object(as_object(object).entry(key).or_insert_with(|| json!({})))
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made one")
}
