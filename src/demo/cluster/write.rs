//! Writes: create, replace, patch in every form, scale, delete.

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{Api, Asked, json_response};
use super::fields::{self, Operation, Part, Writer};
use super::kinds::Kind;
use super::patch;
use super::refusal::Refusal;
use super::store::{Store, text};
use crate::demo::fault::Fault;

/// Where the admission webhook of a fault says no, and its name.
const GUARDED_NAMESPACE: &str = "prod";
const WEBHOOK: &str = "signatures.demo.invalid";

pub(super) fn write(api: &Api, method: &Method, asked: &Asked) -> Result<Response, Refusal> {
    let store = &*api.store;
    if asked.is_dry_run() && *method == Method::DELETE {
        return Err(Refusal::bad_request("the demo's API deletes nothing on trial"));
    }
    admit(api, asked)?;
    match *method {
        Method::POST if asked.name.is_none() => create(store, asked),
        Method::PUT => replace(store, asked),
        Method::PATCH => patched(store, asked),
        Method::DELETE => delete(store, asked),
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// The `Scale` of a workload, as the subresource shows it.
pub(super) fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"]},
        "spec": {"replicas": object["spec"]["replicas"]},
        "status": {"replicas": object["status"]["replicas"].as_u64().unwrap_or(0)},
    })
}

fn create(store: &Store, asked: &Asked) -> Result<Response, Refusal> {
    let object = placed(asked, json_body(&asked.body)?)?;
    valid(asked.kind, &object)?;
    let created = store.create(asked.kind, object, asked.writer(Part::Main), None)?;
    Ok(json_response(StatusCode::CREATED, &asked.shown(&created)))
}

fn replace(store: &Store, asked: &Asked) -> Result<Response, Refusal> {
    let (namespace, name) = asked.object()?;
    let body = json_body(&asked.body)?;
    change(store, asked, namespace, name, |object| {
        *object = body;
        Ok(())
    })
}

fn patched(store: &Store, asked: &Asked) -> Result<Response, Refusal> {
    let (namespace, name) = asked.object()?;
    let kind = asked.content_type.split(';').next().unwrap_or_default().trim();
    if kind == "application/apply-patch+yaml" {
        return apply(store, asked, namespace, name);
    }
    let body = json_body(&asked.body)?;
    match kind {
        "application/merge-patch+json" => change(store, asked, namespace, name, |object| {
            patch::merge(object, &body);
            Ok(())
        }),
        "application/strategic-merge-patch+json" if !asked.kind.named().is_custom() => {
            change(store, asked, namespace, name, |object| {
                patch::strategic(object, &body);
                Ok(())
            })
        }
        "application/json-patch+json" => change(store, asked, namespace, name, |object| {
            patch::json_patch(object, &body).map_err(Refusal::invalid)
        }),
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format",
        )),
    }
}

/// Changes the object itself, its status or, for `scale`, its replicas.
fn change(
    store: &Store,
    asked: &Asked,
    namespace: &str,
    name: &str,
    edit: impl FnOnce(&mut Value) -> Result<(), Refusal>,
) -> Result<Response, Refusal> {
    if asked.subresource.as_deref() == Some("scale") {
        let writer = asked.writer(Part::Scale);
        let changed = store.update(asked.kind, namespace, name, writer, |object| {
            let mut scale = scale_of(object);
            edit(&mut scale)?;
            let replicas = scale["spec"]["replicas"].as_u64();
            object["spec"]["replicas"] =
                json!(replicas.ok_or_else(|| Refusal::invalid("spec.replicas is no number"))?);
            Ok(())
        })?;
        return Ok(json_response(StatusCode::OK, &scale_of(&changed)));
    }
    let writer = asked.writer(if asked.subresource.is_some() { Part::Status } else { Part::Main });
    let changed = store.update(asked.kind, namespace, name, writer, |object| {
        edit(object)?;
        valid(asked.kind, object)
    })?;
    Ok(json_response(StatusCode::OK, &asked.shown(&changed)))
}

/// Server-side apply: creates what is missing, refuses what another manager holds unless forced.
fn apply(store: &Store, asked: &Asked, namespace: &str, name: &str) -> Result<Response, Refusal> {
    let yaml = std::str::from_utf8(&asked.body).map_err(|_| Refusal::bad_request("the body is not UTF-8"))?;
    let body: Value = serde_saphyr::from_str(yaml)
        .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))?;
    let Some(manager) = asked.parameter("fieldManager") else {
        return Err(Refusal::bad_request("fieldManager is required for apply patch"));
    };
    let mut text = placed(asked, body)?;
    text["metadata"]["name"] = Value::from(name);
    let part = if asked.subresource.is_some() { Part::Status } else { Part::Main };
    let writer = Writer { operation: Operation::Apply, ..asked.writer(part) };
    if store.get(asked.kind, namespace, name).is_none() {
        valid(asked.kind, &text)?;
        let created = store.create(asked.kind, text.clone(), writer, Some(&text))?;
        return Ok(json_response(StatusCode::CREATED, &asked.shown(&created)));
    }
    let changed = store.write(asked.kind, namespace, name, writer, Some(&text), |object| {
        let conflicts = fields::conflicts(object, &text, manager);
        if !conflicts.is_empty() && !asked.is_set("force") {
            let version = asked.kind.named().api_version();
            return Err(conflict(&conflicts, &version));
        }
        let mut applied = text.clone();
        if let Some(metadata) = applied["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        fields::give_up(object, &text, manager);
        patch::strategic(object, &applied);
        valid(asked.kind, object)
    })?;
    Ok(json_response(StatusCode::OK, &asked.shown(&changed)))
}

/// The API server's own words, which other programs pass on.
fn conflict(conflicts: &[(String, String)], api_version: &str) -> Refusal {
    let message = match conflicts {
        [(manager, path)] => {
            format!("Apply failed with 1 conflict: conflict with {manager:?} using {api_version}: {path}")
        }
        _ => {
            let mut managers: Vec<&str> = conflicts.iter().map(|(manager, _)| manager.as_str()).collect();
            managers.dedup();
            let of = |manager: &str| {
                let paths = conflicts.iter().filter(|(other, _)| other == manager);
                let paths: Vec<String> = paths.map(|(_, path)| format!("- {path}")).collect();
                format!("conflicts with {manager:?} using {api_version}:\n{}", paths.join("\n"))
            };
            let told: Vec<String> = managers.into_iter().map(of).collect();
            format!("Apply failed with {} conflicts: {}", conflicts.len(), told.join("\n"))
        }
    };
    let mut refusal = Refusal::new(StatusCode::CONFLICT, "Conflict", message);
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager:?}"), "field": path})
        })
        .collect();
    refusal.details = json!({"causes": causes});
    refusal
}

fn delete(store: &Store, asked: &Asked) -> Result<Response, Refusal> {
    let options: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let given = asked.parameter("gracePeriodSeconds").and_then(|text| text.parse().ok());
    let grace = given.or(options["gracePeriodSeconds"].as_u64());
    if asked.name.is_none() {
        let (version, objects) = store.list(asked.kind, asked.within());
        for object in objects.iter().filter(|object| asked.selector.matches(object)) {
            let metadata = &object["metadata"];
            store.delete(asked.kind, &text(metadata, "namespace"), &text(metadata, "name"), grace)?;
        }
        let metadata = json!({"resourceVersion": version.to_string()});
        return Ok(json_response(StatusCode::OK, &asked.form.list(asked.kind, std::iter::empty(), metadata)));
    }
    let (namespace, name) = asked.object()?;
    if asked.kind == Kind::Namespace {
        for named in super::kinds::KINDS.iter().filter(|named| named.namespaced) {
            for object in store.list(named.kind, Some(name)).1 {
                store.delete(named.kind, name, &text(&object["metadata"], "name"), Some(0))?;
            }
        }
    }
    let deleted = store.delete(asked.kind, namespace, name, grace)?;
    let shown = if deleted["metadata"]["deletionTimestamp"].is_null() {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": {
            "name": name, "kind": asked.kind.named().plural, "group": asked.kind.named().group,
            "uid": deleted["metadata"]["uid"]}})
    } else {
        (*deleted).clone()
    };
    Ok(json_response(StatusCode::OK, &shown))
}

fn json_body(body: &[u8]) -> Result<Value, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!("the object provided is unrecognized (must be of type JSON): {error}"))
    })?;
    Ok(body)
}

/// The object with the namespace of its path.
fn placed(asked: &Asked, mut object: Value) -> Result<Value, Refusal> {
    if !object["metadata"].is_object() {
        return Err(Refusal::invalid("metadata is required"));
    }
    if let Some(namespace) = asked.within() {
        let given = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        if given != namespace {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object["metadata"]["namespace"] = Value::from(namespace);
    } else if asked.kind.named().namespaced {
        return Err(Refusal::no_such_path());
    }
    Ok(object)
}

/// What an admission webhook says; there is none but by a fault.
fn admit(api: &Api, asked: &Asked) -> Result<(), Refusal> {
    let from_git = asked.content_type.starts_with("application/apply-patch");
    let guarded = asked.kind == Kind::Deployment && asked.namespace.as_deref() == Some(GUARDED_NAMESPACE);
    if guarded && from_git && api.faults.on(Fault::AdmissionDenied) {
        let message = format!("admission webhook {WEBHOOK:?} denied the request: images must be signed");
        return Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden", message));
    }
    Ok(())
}

/// The little validation without which a controller would trip.
fn valid(kind: Kind, object: &Value) -> Result<(), Refusal> {
    if !object.is_object() || !object["metadata"].is_object() {
        return Err(Refusal::invalid("metadata is required"));
    }
    let template = match kind {
        Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet | Kind::DaemonSet => {
            &object["spec"]["template"]
        }
        _ => return Ok(()),
    };
    let invalid = |what: String| {
        let named = kind.named();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        Refusal::invalid(format!("{}.{} {name:?} is invalid: {what}", named.name, named.group))
    };
    let containers = template["spec"]["containers"].as_array();
    let named = |container: &Value| container["name"].is_string() && container["image"].is_string();
    if containers.is_none_or(|all| all.is_empty() || !all.iter().all(named)) {
        return Err(invalid("spec.template.spec.containers: Required value: name and image".to_owned()));
    }
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas < 0) {
        return Err(invalid(format!(
            "spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0"
        )));
    }
    let labels = &template["metadata"]["labels"];
    if !super::selector::selects(&object["spec"]["selector"], labels) {
        return Err(invalid(format!(
            "spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
        )));
    }
    Ok(())
}
