//! What a tree names: image references, ConfigMaps and numbers of pods, and when two of them are the same.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::extract::{Values, Written};
use super::tree::Root;
use crate::image::{ImageRef, Repository};
use crate::observation::{GitConfigMap, GitReference, GitScale, GitValue, ValuePlace, ValueSays};

/// What stands under one path of a commit.
#[derive(Debug, Default)]
pub struct Names {
    pub references: Vec<GitReference>,
    pub config_maps: Vec<GitConfigMap>,
    pub values: Vec<GitValue>,
    pub scales: Vec<GitScale>,
}

/// What is filled by an image: the container of an object, or a repository's name in a values file.
pub type Slot<'a> = ([Option<&'a str>; 4], &'a Repository);
/// Everything but the place in the text: lines shift and files are renamed without meaning.
pub type Content<'a> = (Slot<'a>, &'a ImageRef, Option<&'a str>, Option<u64>);

pub fn slot(reference: &GitReference) -> Slot<'_> {
    let GitReference { kind, name, namespace, container, image, .. } = reference;
    let object = [kind, name, namespace, container].map(Option::as_deref);
    (object, &image.repository)
}

pub fn content(reference: &GitReference) -> Content<'_> {
    (slot(reference), &reference.image, reference.marker.as_deref(), reference.template)
}

/// The same of a value.
pub type ValueContent<'a> = (&'a ValuePlace, &'a ValueSays, Option<&'a str>, Option<u64>);

pub fn value_content(value: &GitValue) -> ValueContent<'_> {
    (&value.place, &value.says, value.marker.as_deref(), value.template)
}

/// The ConfigMaps that generators make of files, by the files' places from the top of the repository.
pub type Attached = HashMap<Arc<str>, Vec<ValuePlace>>;

/// ConfigMaps that are made of one file, as far as they are told apart. Overlays of a few environments share one.
const ATTACHED_PER_FILE_MAX: usize = 64;

/// Notes what the generator of a ConfigMap makes of files.
pub fn attach(attached: &mut Attached, written: &Written) {
    let GitConfigMap { file, name, namespace, generated, .. } = &written.config_map;
    for (key, source) in &written.files {
        let Some(at) = place(file, source) else { continue };
        let places = attached.entry(at.into()).or_default();
        if places.len() >= ATTACHED_PER_FILE_MAX {
            continue;
        }
        places.push(ValuePlace {
            kind: "ConfigMap".into(),
            name: name.clone(),
            namespace: namespace.clone(),
            data: Some(key.clone()),
            generated: *generated,
            key: "".into(),
        });
    }
}

/// The values of a file, with those that generators make of it.
pub fn placed<'a>(
    values: &'a Values,
    file: &Arc<str>,
    attached: &'a Attached,
) -> impl Iterator<Item = GitValue> + 'a {
    let places = attached.get(file).into_iter().flatten();
    let made = places.flat_map(|place| {
        values.plain.iter().map(|value| {
            let place = ValuePlace { key: value.place.key.clone(), ..place.clone() };
            GitValue { place, ..value.clone() }
        })
    });
    values.placed.iter().cloned().chain(made)
}

/// A ConfigMap with the files that its generator reads, as the tree under the path has them. A file outside of the
/// path is not read: its changes stay unseen.
pub fn resolve(
    repository: &gix::Repository,
    path: &str,
    root: Option<Root>,
    written: &Written,
) -> gix::Result<GitConfigMap> {
    let mut config_map = written.config_map.clone();
    let Some(tree) = root.and_then(Root::tree).filter(|_| !written.sources.is_empty()) else {
        return Ok(config_map);
    };
    let tree = repository.find_tree(tree)?;
    let mut hasher = Sha256::new();
    hasher.update(config_map.data.to_be_bytes());
    for source in &written.sources {
        let inside = place(&config_map.file, source).and_then(|place| below(&place, path));
        let entry = match inside {
            Some(inside) => tree.lookup_entry(inside.split('/'))?,
            None => None,
        };
        match entry {
            Some(entry) => hasher.update(entry.object_id().as_bytes()),
            None => hasher.update(b"-"),
        }
    }
    let bytes: [u8; 32] = hasher.finalize().into();
    config_map.data = u64::from_be_bytes(bytes[..8].try_into().expect("eight of 32 bytes"));
    Ok(config_map)
}

/// Where a path that a file writes leads, from the top of the repository; `None` where it leaves it.
fn place(file: &Arc<str>, source: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The rest of a place below a path.
fn below(place: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(place.to_owned());
    }
    place.strip_prefix(path)?.strip_prefix('/').map(str::to_owned)
}
