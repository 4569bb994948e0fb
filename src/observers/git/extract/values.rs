//! Values of releases that do not say all of an image: a tag alone, whose repository its chart knows; and whatever a
//! ConfigMap, or a file that becomes one, holds as text.

use super::markers::Source;
use super::yaml::{Node, Value, parse};
use super::{REFERENCES_PER_FILE_MAX, template, walk};
use crate::config::Marker;
use crate::image::{Digest, Tag};
use crate::observation::{GitReference, GitValue, ValuePlace, ValueSays};

/// Makes workloads of a chart and of values.
const RELEASE: &str = "HelmRelease";
const CONFIG_MAP: &str = "ConfigMap";
/// A longer path among values is no path that a chart reads: each tag carries its own.
const KEY_BYTES_MAX: usize = 512;

/// What a file's documents hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Of releases and ConfigMaps.
    pub placed: Vec<GitValue>,
    /// Of documents that are no object, without a place: another file may make a ConfigMap of them.
    pub plain: Vec<GitValue>,
}

/// All values in the documents of a file; `references` are the images that these name.
pub fn all(
    source: &Source<'_>,
    documents: &[Node],
    references: &[GitReference],
    markers: &[Marker],
) -> Values {
    let mut found = Values::default();
    for document in documents {
        match document.get("items").map(|items| &items.value) {
            Some(Value::Sequence(items)) => {
                items.iter().for_each(|item| object(source, item, markers, &mut found.placed));
            }
            _ => object(source, document, markers, &mut found.placed),
        }
    }
    if documents.iter().all(|document| document.get("apiVersion").is_none()) {
        let bare = references.iter().filter(|reference| reference.kind.is_none());
        found.plain = bare.map(|reference| whole(reference, &ValuePlace::default(), 0)).collect();
        let mut tags = Tags::new(source, ValuePlace::default());
        documents.iter().for_each(|document| tags.node(document, "", ""));
        found.plain.append(&mut tags.found);
    }
    found.placed.truncate(REFERENCES_PER_FILE_MAX);
    found.plain.truncate(REFERENCES_PER_FILE_MAX);
    found
}

fn object(source: &Source<'_>, node: &Node, markers: &[Marker], found: &mut Vec<GitValue>) {
    let (Some(kind), Some(metadata)) = (node.text_at("kind"), node.get("metadata")) else { return };
    let Some(name) = metadata.text_at("name").filter(|_| node.get("apiVersion").is_some()) else { return };
    let place = ValuePlace {
        kind: kind.clone(),
        name: name.clone(),
        namespace: metadata.text_at("namespace").cloned(),
        ..ValuePlace::default()
    };
    match &**kind {
        RELEASE => {
            let Some(values) = node.get("spec").and_then(|spec| spec.get("values")) else { return };
            let mut tags = Tags { template: template::hash(node), ..Tags::new(source, place) };
            tags.node(values, "", "");
            found.append(&mut tags.found);
        }
        CONFIG_MAP => {
            let Some(Value::Map(data)) = node.get("data").map(|data| &data.value) else { return };
            for (key, node) in data {
                let place = ValuePlace { data: Some(key.clone()), ..place.clone() };
                let text = node.text().filter(|text| text.contains('\n'));
                found
                    .extend(text.into_iter().flat_map(|text| held(source, text, node.line, &place, markers)));
            }
        }
        _ => {}
    }
}

/// What a text in a ConfigMap says, which begins on this line of its file.
fn held(outer: &Source<'_>, text: &str, line: u32, place: &ValuePlace, markers: &[Marker]) -> Vec<GitValue> {
    let Some(documents) = parse(text) else { return Vec::new() };
    let before = line.saturating_sub(1);
    let source = Source::new(outer.file(), text, markers);
    let images = walk::references(&source, &documents);
    let bare = images.iter().filter(|reference| reference.kind.is_none());
    let mut found: Vec<GitValue> = bare.map(|reference| whole(reference, place, before)).collect();
    let mut tags = Tags { offset: before, ..Tags::new(&source, place.clone()) };
    documents.iter().for_each(|document| tags.node(document, "", ""));
    found.append(&mut tags.found);
    found
}

fn whole(reference: &GitReference, place: &ValuePlace, offset: u32) -> GitValue {
    let image = &reference.image;
    GitValue {
        file: reference.file.clone(),
        line: reference.line.saturating_add(offset),
        place: place.clone(),
        says: ValueSays {
            repository: Some(image.repository.clone()),
            tag: image.tag.clone(),
            digest: image.digest.clone(),
        },
        marker: reference.marker.clone(),
        template: None,
    }
}

/// A walk for tags that stand alone.
struct Tags<'a> {
    source: &'a Source<'a>,
    place: ValuePlace,
    template: Option<u64>,
    /// Added to each line.
    offset: u32,
    found: Vec<GitValue>,
}

impl<'a> Tags<'a> {
    fn new(source: &'a Source<'a>, place: ValuePlace) -> Self {
        Self { source, place, template: None, offset: 0, found: Vec::new() }
    }

    /// Recursion is bounded: the parser refused what nests deeper than `DEPTH_MAX`.
    fn node(&mut self, node: &Node, path: &str, key: &str) {
        if path.len() > KEY_BYTES_MAX || self.found.len() >= REFERENCES_PER_FILE_MAX {
            return;
        }
        match &node.value {
            Value::Scalar(text) => self.scalar(text, node.line, path, key),
            Value::Sequence(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.node(item, &format!("{path}[{at}]"), "");
                }
            }
            Value::Map(entries) => {
                let image = names_image(node, key);
                for (name, child) in entries {
                    // What stands beside its repository is a whole image, or names nothing.
                    if image && is_tag_key(name) {
                        continue;
                    }
                    let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
                    self.node(child, &path, name);
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, line: u32, path: &str, key: &str) {
        if !is_tag_key(key) && !self.source.marks_tag(line) {
            return;
        }
        let text = text.trim();
        let digest = text.parse::<Digest>().ok();
        let tag = text.parse::<Tag>().ok().filter(|_| !matches!(text, "null" | "~"));
        if tag.is_none() && digest.is_none() {
            return;
        }
        self.found.push(GitValue {
            file: self.source.file().clone(),
            line: line.saturating_add(self.offset),
            place: ValuePlace { key: path.into(), ..self.place.clone() },
            says: ValueSays { repository: None, tag, digest },
            marker: self.source.marker(&[line]),
            template: self.template,
        });
    }
}

/// Whether a map says what its tag is a tag of.
fn names_image(node: &Node, key: &str) -> bool {
    let says = |part: &str| {
        let text = node.text_at(part).map(|text| text.trim());
        text.is_some_and(|text| !matches!(text, "" | "null" | "~"))
    };
    says("repository") || says("image") || (key == "image" && says("name"))
}

/// Whether a key says that its value is a tag: `tag`, `imageTag`, `web_tag`.
pub fn is_tag_key(key: &str) -> bool {
    key == "tag" || ["Tag", "_tag", "-tag"].iter().any(|end| key.ends_with(end))
}
