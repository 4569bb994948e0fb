//! What the API says about itself: versions, groups, resources, and as much of an OpenAPI document as kubectl
//! needs before it applies.

use serde_json::{Value, json};

use super::kinds::{Named, served};
use crate::demo::engine::Engine;

/// The release whose behaviour is imitated.
pub(super) const VERSION: &str = "v1.36.2";

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The document at `path`, if it is one of discovery's.
pub(super) fn document(engine: Engine, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": VERSION, "gitTreeState": "clean",
            "goVersion": "none", "compiler": "none", "platform": "demo",
        })),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        })),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(engine).into_iter().map(|(name, versions)| group(name, &versions)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let mut group = group(name, &versions(engine, name)?);
            group["kind"] = Value::from("APIGroup");
            group["apiVersion"] = Value::from("v1");
            Some(group)
        }
        ["api", "v1"] => Some(resources(engine, "", "v1")),
        ["apis", name, version] => {
            versions(engine, name)?.contains(version).then(|| resources(engine, name, version))
        }
        ["openapi", "v3"] => {
            let mut paths = json!({});
            let mut add = |at: String| {
                let url = format!("/openapi/v3/{at}?hash=demo");
                paths[&at] = json!({"serverRelativeURL": url});
            };
            add("api/v1".to_owned());
            for (name, versions) in groups(engine) {
                versions.iter().for_each(|version| add(format!("apis/{name}/{version}")));
            }
            Some(json!({"paths": paths}))
        }
        ["openapi", "v3", "api", "v1"] => Some(openapi(engine, "", "v1")),
        ["openapi", "v3", "apis", name, version] => {
            versions(engine, name)?.contains(version).then(|| openapi(engine, name, version))
        }
        _ => None,
    }
}

/// The named groups and their versions, the best first.
fn groups(engine: Engine) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for named in served(engine).filter(|named| !named.group.is_empty()) {
        if groups.last().is_none_or(|(name, _)| *name != named.group) {
            groups.push((named.group, Vec::new()));
        }
        let Some((_, versions)) = groups.last_mut() else { continue };
        versions.extend(named.versions());
        versions.dedup();
        let mut seen = Vec::new();
        versions.retain(|version| {
            !seen.contains(version) && {
                seen.push(*version);
                true
            }
        });
    }
    groups
}

fn versions(engine: Engine, group: &str) -> Option<Vec<&'static str>> {
    groups(engine).into_iter().find(|(name, _)| *name == group).map(|(_, versions)| versions)
}

fn group(name: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

fn resources(engine: Engine, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for named in of(engine, group, version) {
        resources.push(json!({
            "name": named.plural, "singularName": named.name.to_lowercase(), "namespaced": named.namespaced,
            "kind": named.name, "verbs": VERBS, "shortNames": named.short, "categories": categories(named),
        }));
        for subresource in named.subresources {
            let mut resource = json!({
                "name": format!("{}/{subresource}", named.plural), "singularName": "",
                "namespaced": named.namespaced, "kind": named.name, "verbs": ["get", "patch", "update"],
            });
            if *subresource == "scale" {
                resource["kind"] = Value::from("Scale");
                resource["group"] = Value::from("autoscaling");
                resource["version"] = Value::from("v1");
            }
            resources.push(resource);
        }
    }
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}

fn of(engine: Engine, group: &str, version: &str) -> impl Iterator<Item = &'static Named> {
    served(engine).filter(move |named| named.group == group && named.is_served_as(version))
}

fn categories(named: &Named) -> Vec<&'static str> {
    let all = matches!(
        named.plural,
        "pods" | "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "jobs" | "cronjobs"
    );
    match (all, named.is_custom()) {
        (_, true) => vec!["all", "fluxcd"],
        (true, false) => vec!["all"],
        (false, false) => Vec::new(),
    }
}

/// kubectl asks only whether PATCH of a kind takes `fieldValidation`; the schemas themselves are not served.
fn openapi(engine: Engine, group: &str, version: &str) -> Value {
    let mut paths = json!({});
    for named in of(engine, group, version) {
        let front = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/{version}") };
        let within = if named.namespaced { "/namespaces/{namespace}" } else { "" };
        let at = format!("{front}{within}/{}/{{name}}", named.plural);
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        paths[&at] = json!({"patch": {
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": named.name},
        }});
    }
    json!({"openapi": "3.0.0", "info": {"title": "demo", "version": VERSION}, "paths": paths, "components": {}})
}
