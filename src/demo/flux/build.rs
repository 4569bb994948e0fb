//! What a Kustomization applies: the manifests below its path, or those that a `kustomization.yaml` names. Pure
//! functions over the files of an artifact.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::storage::Files;

/// Why nothing can be applied: the reason of the condition and its message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbuildable {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The objects below `path`, in the order in which they are applied. `work` is the folder that messages name.
pub(super) fn objects(files: &Files, path: &str, work: &str) -> Result<Vec<Value>, Unbuildable> {
    let folder = path.trim_start_matches("./").trim_end_matches('/');
    let inside: BTreeMap<&str, &String> = files
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix(folder)?.strip_prefix('/')?, text)))
        .collect();
    let at = format!("{work}/{folder}");
    if inside.is_empty() {
        let message = format!("kustomization path not found: stat {at}: no such file or directory");
        return Err(Unbuildable { reason: "ArtifactFailed", message });
    }
    let failed = |message: String| Unbuildable { reason: "BuildFailed", message };
    let named = match inside.get("kustomization.yaml") {
        Some(text) => named(text, &inside, &at).map_err(failed)?,
        None => {
            inside.keys().copied().filter(|name| name.ends_with(".yaml") || name.ends_with(".yml")).collect()
        }
    };
    let mut objects = Vec::new();
    for name in named {
        let documents: Vec<Value> = serde_saphyr::from_multiple(inside[name])
            .map_err(|error| failed(format!("failed to decode Kubernetes YAML from {at}/{name}: {error}")))?;
        for object in documents.into_iter().filter(Value::is_object) {
            let has = |pointer: &str| object.pointer(pointer).is_some_and(Value::is_string);
            if !(has("/kind") && has("/apiVersion") && has("/metadata/name")) {
                return Err(failed(format!(
                    "failed to decode Kubernetes apiVersion, kind and name from: {object}"
                )));
            }
            objects.push(object);
        }
    }
    objects.sort_by_key(rank);
    Ok(objects)
}

/// The files that a `kustomization.yaml` names; all of them must be there.
fn named<'f>(text: &str, inside: &BTreeMap<&'f str, &String>, at: &str) -> Result<Vec<&'f str>, String> {
    let kustomization: Value =
        serde_saphyr::from_str(text).map_err(|error| format!("kustomize build failed: {error}"))?;
    let resources = kustomization["resources"].as_array().into_iter().flatten();
    let mut found = Vec::new();
    for resource in resources.filter_map(Value::as_str) {
        match inside.get_key_value(resource) {
            Some((name, _)) => found.push(*name),
            None => {
                let missing = format!("{at}/{resource}");
                return Err(format!(
                    "kustomize build failed: accumulating resources: accumulation err='accumulating resources \
                     from '{resource}': open {missing}: no such file or directory': must build at directory: \
                     not a valid directory: evalsymlink failure on '{missing}' : lstat {missing}: no such file \
                     or directory"
                ));
            }
        }
    }
    Ok(found)
}

/// Puts the labels on an object by which its owner is found.
pub(super) fn label(object: &mut Value, namespace: &str, name: &str) {
    let labels = &mut object["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    labels["kustomize.toolkit.fluxcd.io/name"] = Value::from(name);
    labels["kustomize.toolkit.fluxcd.io/namespace"] = Value::from(namespace);
}

/// `Deployment/prod/web`
pub(super) fn subject(object: &Value) -> String {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{}/{namespace}/{}", text(&object["kind"]), text(&metadata["name"])),
        None => format!("{}/{}", text(&object["kind"]), text(&metadata["name"])),
    }
}

/// The object's line in the inventory.
pub(super) fn entry(object: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let metadata = &object["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    json!({"id": format!("{namespace}_{name}_{group}_{}", text(&object["kind"])), "v": version})
}

/// Where the object of such a line is, as far as a manifest would say it.
pub(super) fn of_entry(entry: &Value) -> Option<Value> {
    let id = entry["id"].as_str()?;
    let (front, kind) = id.rsplit_once('_')?;
    let (front, group) = front.rsplit_once('_')?;
    let (namespace, name) = front.split_once('_')?;
    let version = entry["v"].as_str()?;
    let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}))
}

/// What others need comes first.
fn rank(object: &Value) -> (usize, String) {
    const FIRST: [&str; 4] = ["Namespace", "ConfigMap", "Secret", "Service"];
    let kind = object["kind"].as_str().unwrap_or_default();
    (FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len()), subject(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: prod}\n";
    const SETTINGS: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-settings, namespace: prod}\n";

    fn files(more: &[(&str, &str)]) -> Files {
        let own =
            [("prod/web.yaml", WEB), ("prod/z.yaml", SETTINGS), ("staging/x.yaml", WEB), ("README", "")];
        own.iter().chain(more).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn everything_below_the_path_is_built_in_order() {
        let built = objects(&files(&[]), "./prod", "/tmp/k").unwrap();
        assert_eq!(
            built.iter().map(subject).collect::<Vec<_>>(),
            ["ConfigMap/prod/web-settings", "Deployment/prod/web"]
        );
        let entry = entry(&built[1]);
        assert_eq!(entry, json!({"id": "prod_web_apps_Deployment", "v": "v1"}));
        assert_eq!(
            of_entry(&entry).unwrap(),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "prod"}})
        );
    }

    #[test]
    fn what_cannot_be_built_says_why() {
        let missing = files(&[("prod/kustomization.yaml", "resources: [web.yaml, missing.yaml]\n")]);
        let said = objects(&missing, "./prod", "/tmp/k").unwrap_err();
        assert_eq!(said.reason, "BuildFailed");
        assert!(said.message.starts_with("kustomize build failed: accumulating resources: "), "{said:?}");
        assert!(
            said.message.ends_with("lstat /tmp/k/prod/missing.yaml: no such file or directory"),
            "{said:?}"
        );
        assert_eq!(objects(&files(&[]), "./none", "/tmp/k").unwrap_err().reason, "ArtifactFailed");
        let broken = files(&[("prod/broken.yaml", "a: [\n")]);
        assert_eq!(objects(&broken, "./prod", "/tmp/k").unwrap_err().reason, "BuildFailed");
    }
}
