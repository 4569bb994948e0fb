//! What the API says about itself: versions, groups, resources, and as much of an OpenAPI document as kubectl
//! needs before it applies.

use serde_json::{Value, json};

use super::kinds::{KINDS, Named};

/// The release whose behaviour is imitated.
pub(super) const VERSION: &str = "v1.36.2";

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The document at `path`, if it is one of discovery's.
pub(super) fn document(path: &str) -> Option<Value> {
    match path {
        "/version" => Some(json!({
            "major": "1", "minor": "36", "gitVersion": VERSION, "gitTreeState": "clean",
            "goVersion": "none", "compiler": "none", "platform": "demo",
        })),
        "/api" => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        })),
        "/apis" => {
            let groups: Vec<Value> = groups().into_iter().map(group).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        "/api/v1" => Some(resources("")),
        "/openapi/v3" => {
            let mut paths = json!({});
            for name in [""].into_iter().chain(groups()) {
                let at = if name.is_empty() { "api/v1".to_owned() } else { format!("apis/{name}/v1") };
                paths[&at] = json!({"serverRelativeURL": format!("/openapi/v3/{at}?hash=demo")});
            }
            Some(json!({"paths": paths}))
        }
        "/openapi/v3/api/v1" => Some(openapi("")),
        _ => {
            if let Some(name) =
                path.strip_prefix("/openapi/v3/apis/").and_then(|rest| rest.strip_suffix("/v1"))
            {
                return groups().contains(&name).then(|| openapi(name));
            }
            let rest = path.strip_prefix("/apis/")?;
            match rest.strip_suffix("/v1") {
                Some(name) => groups().contains(&name).then(|| resources(name)),
                None => groups().contains(&rest).then(|| {
                    let mut group = group(rest);
                    group["kind"] = Value::from("APIGroup");
                    group["apiVersion"] = Value::from("v1");
                    group
                }),
            }
        }
    }
}

fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> =
        KINDS.iter().map(|named| named.group).filter(|group| !group.is_empty()).collect();
    groups.dedup();
    groups
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str) -> Value {
    let mut resources = Vec::new();
    for named in KINDS.iter().filter(|named| named.group == group) {
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
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}

fn categories(named: &Named) -> Vec<&'static str> {
    let all = matches!(
        named.plural,
        "pods" | "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "jobs" | "cronjobs"
    );
    if all { vec!["all"] } else { Vec::new() }
}

/// kubectl asks only whether PATCH of a kind takes `fieldValidation`; the schemas themselves are not served.
fn openapi(group: &str) -> Value {
    let mut paths = json!({});
    for named in KINDS.iter().filter(|named| named.group == group) {
        let front = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
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
            "x-kubernetes-group-version-kind": {"group": group, "version": "v1", "kind": named.name},
        }});
    }
    json!({"openapi": "3.0.0", "info": {"title": "demo", "version": VERSION}, "paths": paths, "components": {}})
}
