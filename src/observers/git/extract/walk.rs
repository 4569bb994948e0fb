//! Finds references in parsed documents: one recursive walk, one rule per way to write an image.

use std::collections::HashMap;
use std::sync::Arc;

use super::markers::Source;
use super::template;
use super::words::{Parts, any, explicit, explicit_with_path, is_image_key, joined};
use super::yaml::{Node, Value};
use crate::image::{ImageRef, Repository};
use crate::observation::GitReference;

/// The kind of a reference that replaces another image wherever that is named.
const KUSTOMIZE: &str = "Kustomize";
/// Keys under which nothing is a destination: these containers come and go before and beside the workload.
const SKIPPED_KEYS: [&str; 2] = ["initContainers", "ephemeralContainers"];
/// Kinds that run nothing by themselves that git would roll out: schemas with examples, and bare pods.
const SKIPPED_KINDS: [&str; 2] = ["CustomResourceDefinition", "Pod"];

/// All references in the documents of a file.
pub fn references(source: &Source<'_>, documents: &[Node]) -> Vec<GitReference> {
    let mut walk = Walk { source, found: Vec::new() };
    for document in documents {
        walk.node(document, Place { key: "", object: Object::default() });
    }
    walk.found
}

/// The Kubernetes object around a node.
#[derive(Clone, Copy, Default)]
struct Object<'a> {
    kind: Option<&'a Arc<str>>,
    name: Option<&'a Arc<str>>,
    namespace: Option<&'a Arc<str>>,
    /// Hash of its pod template without the images.
    template: Option<u64>,
}

impl<'a> Object<'a> {
    /// The object that this map is. A mere pointer to one (`targetRef`) has no metadata.
    fn of(node: &'a Node) -> Option<Self> {
        let metadata = node.get("metadata")?;
        node.get("apiVersion")?;
        Some(Self {
            kind: Some(node.text_at("kind")?),
            name: Some(metadata.text_at("name").or_else(|| metadata.text_at("generateName"))?),
            namespace: metadata.text_at("namespace"),
            template: template::hash(node),
        })
    }
}

/// Where the walk stands: the nearest key above, through sequences, and the object around it.
#[derive(Clone, Copy)]
struct Place<'a> {
    key: &'a str,
    object: Object<'a>,
}

struct Walk<'a> {
    source: &'a Source<'a>,
    found: Vec<GitReference>,
}

impl Walk<'_> {
    /// Recursion is bounded: the parser refused what nests deeper than `DEPTH_MAX`.
    fn node(&mut self, node: &Node, place: Place<'_>) {
        match &node.value {
            Value::Scalar(text) => self.scalar(text, node.line, place),
            Value::Map(entries) => self.map(node, entries, place),
            Value::Sequence(items) => self.sequence(items, place),
        }
    }

    fn sequence(&mut self, items: &[Node], place: Place<'_>) {
        if place.key == "parameters" {
            self.helm_parameters(items, place.object);
        }
        for item in items {
            match &item.value {
                Value::Scalar(text) if place.key == "images" => self.replacement_text(text, item.line),
                // Arguments are texts without a key: `image` above them names the sequence, not them.
                Value::Scalar(text) => self.scalar(text, item.line, Place { key: "", ..place }),
                Value::Map(_) if place.key == "images" && self.replacement(item) => {}
                _ => self.node(item, place),
            }
        }
    }

    fn map(&mut self, node: &Node, entries: &[(Arc<str>, Node)], place: Place<'_>) {
        let is_object = node.get("apiVersion").is_some();
        if is_object && node.text_at("kind").is_some_and(|kind| SKIPPED_KINDS.contains(&&**kind)) {
            return;
        }
        let object = Object::of(node).unwrap_or(place.object);
        let image_taken = self.image(node, Place { object, ..place });
        self.pair(node, Place { object, ..place });
        self.patch(node, object);
        for (key, child) in entries {
            if SKIPPED_KEYS.contains(&&**key) || (image_taken && &**key == "image") {
                continue;
            }
            self.node(child, Place { key, object });
        }
    }

    /// `image: repo:tag`, in a container also without tag; or `image: repo` beside `tag: ...`.
    fn image(&mut self, node: &Node, place: Place<'_>) -> bool {
        let Some(image_node) = node.get("image") else { return false };
        let Some(text) = image_node.text() else { return false };
        let tag = node.get("tag").or_else(|| node.get("imageTag"));
        let with_tag = tag.and_then(|tag| {
            let parts = Parts { repository: text, tag: tag.text()?, ..Parts::default() };
            Some((joined(&parts)?, vec![tag.line, image_node.line]))
        });
        let container = (place.key == "containers").then(|| node.text_at("name")).flatten();
        let found = match explicit(text) {
            Some(image) => Some((image, vec![image_node.line])),
            None if place.key == "containers" => any(text).map(|image| (image, vec![image_node.line])),
            None => with_tag,
        };
        if let Some((image, lines)) = found {
            self.push(image, &lines, place.object, container);
        }
        true
    }

    /// `repository:` and `tag:` beside each other, with `registry:` and `digest:` where they are.
    fn pair(&mut self, node: &Node, place: Place<'_>) {
        let name = if place.key == "image" { node.get("name") } else { None };
        let Some(repository) = node.get("repository").or(name) else { return };
        let part = |key| node.text_at(key).map_or("", |text| text);
        let parts = Parts {
            registry: part("registry"),
            repository: repository.text().map_or("", |text| text),
            tag: part("tag"),
            digest: part("digest"),
        };
        let Some(image) = joined(&parts) else { return };
        let line = |key| node.get(key).map(|node| node.line);
        let tag_first =
            if parts.tag.is_empty() { [line("digest"), None] } else { [line("tag"), line("digest")] };
        let lines: Vec<u32> = tag_first.into_iter().flatten().chain([repository.line]).collect();
        self.push(image, &lines, place.object, None);
    }

    /// A JSON patch: `path: /spec/.../image` and `value: repo:tag`.
    fn patch(&mut self, node: &Node, object: Object<'_>) {
        let (Some(path), Some(value)) = (node.text_at("path"), node.get("value")) else { return };
        let image = value.text().filter(|_| path.ends_with("/image")).and_then(|text| explicit(text));
        if let Some(image) = image {
            self.push(image, &[value.line], object, None);
        }
    }

    /// An entry of a kustomization's `images:`, in its own file or in Flux' object.
    fn replacement(&mut self, entry: &Node) -> bool {
        let Some(name) = entry.text_at("name") else { return false };
        let part = |key| entry.text_at(key).map_or("", |text| text);
        let parts = Parts {
            registry: "",
            repository: entry.text_at("newName").unwrap_or(name),
            tag: part("newTag"),
            digest: part("digest"),
        };
        let line = |key| entry.get(key).map(|node| node.line);
        if line("newTag").is_none() && line("digest").is_none() {
            return false;
        }
        if let Some(image) = joined(&parts) {
            let lines: Vec<u32> = [line("newTag"), line("digest"), line("newName"), line("name")]
                .into_iter()
                .flatten()
                .collect();
            self.push_replacement(image, &lines, name);
        }
        true
    }

    /// An image override as Argo CD writes it: `[old=]repo:tag`.
    fn replacement_text(&mut self, text: &str, line: u32) {
        let (old, new) = text.split_once('=').map_or((None, text), |(old, new)| (Some(old), new));
        if let Some(image) = explicit(new) {
            let old = old.map_or_else(|| image.repository.to_string(), str::to_owned);
            self.push_replacement(image, &[line], &old);
        }
    }

    /// Helm parameters of Argo CD: an image in one value, or `<prefix>.repository` beside `<prefix>.tag`.
    fn helm_parameters(&mut self, items: &[Node], object: Object<'_>) {
        // Looked up by name, since a file may have many thousands; of two with one name the first counts.
        let mut values: HashMap<&str, Option<(&str, u32)>> = HashMap::new();
        for item in items {
            let Some(name) = item.text_at("name") else { continue };
            let value = item.get("value").and_then(|value| Some((&**value.text()?, value.line)));
            values.entry(&**name).or_insert(value);
        }
        let value = |name: &str| values.get(name).copied().flatten();
        for item in items {
            let (Some(name), Some(node)) = (item.text_at("name"), item.get("value")) else { continue };
            let Some(text) = node.text() else { continue };
            if let Some(image) = explicit_with_path(text) {
                self.push(image, &[node.line], object, None);
                continue;
            }
            let Some(prefix) = name.strip_suffix("tag") else { continue };
            let repository = ["repository", "name"].iter().find_map(|key| value(&format!("{prefix}{key}")));
            let Some((repository, repository_line)) = repository else { continue };
            let registry = value(&format!("{prefix}registry")).map_or("", |(text, _)| text);
            let parts = Parts { registry, repository, tag: text, digest: "" };
            if let Some(image) = joined(&parts) {
                self.push(image, &[node.line, repository_line], object, None);
            }
        }
    }

    /// A text by itself counts under an image key, or where a marker says that an updater writes it.
    fn scalar(&mut self, text: &str, line: u32, place: Place<'_>) {
        let Some(image) = explicit_with_path(text) else { return };
        if is_image_key(place.key) || self.source.marker(&[line]).is_some() {
            self.push(image, &[line], place.object, None);
        }
    }

    fn push(&mut self, image: ImageRef, lines: &[u32], object: Object<'_>, container: Option<&Arc<str>>) {
        self.found.push(GitReference {
            kind: object.kind.cloned(),
            name: object.name.cloned(),
            namespace: object.namespace.cloned(),
            container: container.cloned(),
            template: object.template,
            ..self.source.reference(image, lines)
        });
    }

    fn push_replacement(&mut self, image: ImageRef, lines: &[u32], original: &str) {
        let original =
            original.parse::<Repository>().map_or_else(|_| original.into(), |it| it.as_str().into());
        self.found.push(GitReference {
            kind: Some(KUSTOMIZE.into()),
            name: Some(original),
            ..self.source.reference(image, lines)
        });
    }
}
