//! ConfigMaps that a file writes: as objects, and as entries of a kustomization's `configMapGenerator`.

use std::sync::Arc;

use super::template::content;
use super::yaml::{Node, Value};
use crate::observation::GitConfigMap;

/// A ConfigMap, and the files that its generator reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub config_map: GitConfigMap,
    /// Relative to the folder of the kustomization.
    pub sources: Vec<Arc<str>>,
    /// Those of its `files`, each with the key that its content gets.
    pub files: Vec<(Arc<str>, Arc<str>)>,
}

/// All ConfigMaps in the documents of a file.
pub fn all(file: &Arc<str>, documents: &[Node]) -> Vec<Written> {
    let mut found = Vec::new();
    for document in documents {
        if let Some(Value::Sequence(entries)) = document.get("configMapGenerator").map(|node| &node.value) {
            let suffix_off = |node: &Node| is_true(node.get("disableNameSuffixHash"));
            let everywhere = document.get("generatorOptions").is_some_and(suffix_off);
            for entry in entries {
                let here = entry.get("options").is_some_and(suffix_off);
                found.extend(generated(file, entry, !everywhere && !here));
            }
        }
        match document.get("items").map(|items| &items.value) {
            Some(Value::Sequence(items)) => found.extend(items.iter().filter_map(|item| object(file, item))),
            _ => found.extend(object(file, document)),
        }
    }
    found
}

fn object(file: &Arc<str>, node: &Node) -> Option<Written> {
    node.get("apiVersion")?;
    node.text_at("kind").filter(|kind| &***kind == "ConfigMap")?;
    let metadata = node.get("metadata")?;
    let config_map = GitConfigMap {
        file: file.clone(),
        name: metadata.text_at("name")?.clone(),
        namespace: metadata.text_at("namespace").cloned(),
        data: content([node.get("data"), node.get("binaryData")]),
        generated: false,
    };
    Some(Written { config_map, sources: Vec::new(), files: Vec::new() })
}

fn generated(file: &Arc<str>, entry: &Node, generated: bool) -> Option<Written> {
    let texts = |key: &str| match entry.get(key).map(|node| &node.value) {
        Some(Value::Sequence(items)) => items.iter().filter_map(|item| item.text().cloned()).collect(),
        Some(Value::Scalar(text)) => vec![text.clone()],
        _ => Vec::new(),
    };
    // `key=path`, or the path alone.
    let path = |text: Arc<str>| text.rsplit_once('=').map_or_else(|| text.clone(), |(_, path)| path.into());
    let named = |text: Arc<str>| match text.rsplit_once('=') {
        Some((key, path)) => (key.into(), path.into()),
        None => (text.rsplit('/').next().unwrap_or_default().into(), text.clone()),
    };
    let files = texts("files").into_iter().map(named).collect();
    let sources = ["files", "envs", "env"].into_iter().flat_map(texts).map(path).collect();
    let config_map = GitConfigMap {
        file: file.clone(),
        name: entry.text_at("name")?.clone(),
        namespace: entry.text_at("namespace").cloned(),
        data: content(["literals", "files", "envs", "env"].map(|key| entry.get(key))),
        generated,
    };
    Some(Written { config_map, sources, files })
}

fn is_true(node: Option<&Node>) -> bool {
    node.and_then(Node::text).is_some_and(|text| &**text == "true")
}
