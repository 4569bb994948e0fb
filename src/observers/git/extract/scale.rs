//! How many pods a file asks for: `spec.replicas` of Deployments and StatefulSets, patches of them among those, and
//! entries of a kustomization's `replicas`.

use std::sync::Arc;

use super::yaml::{Node, Value};
use crate::observation::GitScale;

/// Kinds whose number of pods is written.
const KINDS: [&str; 2] = ["Deployment", "StatefulSet"];

/// All numbers of pods in the documents of a file.
pub fn all(file: &Arc<str>, documents: &[Node]) -> Vec<GitScale> {
    let mut found = Vec::new();
    for document in documents {
        if let (Some(Value::Sequence(entries)), None) =
            (document.get("replicas").map(|node| &node.value), document.get("metadata"))
        {
            found.extend(entries.iter().filter_map(|item| entry(file, item)));
        }
        match document.get("items").map(|items| &items.value) {
            Some(Value::Sequence(items)) => found.extend(items.iter().filter_map(|item| object(file, item))),
            _ => found.extend(object(file, document)),
        }
    }
    found
}

fn object(file: &Arc<str>, node: &Node) -> Option<GitScale> {
    node.get("apiVersion")?;
    let kind = node.text_at("kind").filter(|kind| KINDS.contains(&&***kind))?;
    let metadata = node.get("metadata")?;
    Some(GitScale {
        file: file.clone(),
        kind: Some(kind.clone()),
        name: metadata.text_at("name")?.clone(),
        namespace: metadata.text_at("namespace").cloned(),
        replicas: number(node.get("spec")?.text_at("replicas")?)?,
    })
}

/// Its kustomization may put something before or behind the name; then it fits nobody.
fn entry(file: &Arc<str>, node: &Node) -> Option<GitScale> {
    Some(GitScale {
        file: file.clone(),
        kind: None,
        name: node.text_at("name")?.clone(),
        namespace: None,
        replicas: number(node.text_at("count")?)?,
    })
}

/// As the API takes it: a number of 32 bits that is not negative. A placeholder is none.
fn number(text: &str) -> Option<i64> {
    text.parse::<i32>().ok().filter(|number| *number >= 0).map(i64::from)
}
