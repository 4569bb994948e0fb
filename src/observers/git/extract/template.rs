//! The pod template of a manifest as a number: equal for equal meaning, whatever the order of keys, comments and
//! images. It tells a revision (an environment variable, a limit) from a change that rolls nothing. Of a HelmRelease it
//! is all of its spec: what its chart makes of a value the text cannot tell.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::values::is_tag_key;
use super::yaml::{Node, Value};

/// Where kinds keep the template of their pods.
const PATHS: [&[&str]; 2] = [&["spec", "jobTemplate", "spec", "template"], &["spec", "template"]];
/// Kinds whose pods follow their template.
const KINDS: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "CronJob"];

/// Makes workloads of a chart and of values.
const RELEASE: &str = "HelmRelease";
/// What names an image in values, in a map that has the first or the second of them.
const PARTS: [&str; 6] = ["repository", "image", "registry", "tag", "imageTag", "digest"];

/// The hash of a workload's pod template, or of a release's spec, without the images; `None` for anything else.
pub fn hash(object: &Node) -> Option<u64> {
    let kind = object.text_at("kind")?;
    if &**kind == RELEASE {
        let spec = object.get("spec")?;
        return Some(cut(|hasher| node(spec, "", Images::PartsLeftOut, hasher)));
    }
    if !KINDS.contains(&&**kind) {
        return None;
    }
    let at = |path: &&[&str]| path.iter().try_fold(object, |node, key| node.get(key));
    let template = PATHS.iter().find_map(at)?;
    Some(cut(|hasher| node(template, "", Images::LeftOut, hasher)))
}

/// The hash of all that some nodes hold, equal for any order of keys. An absent node is like no other.
pub fn content<'a>(nodes: impl IntoIterator<Item = Option<&'a Node>>) -> u64 {
    cut(|hasher| {
        for value in nodes {
            match value {
                Some(value) => node(value, "", Images::Taken, hasher),
                None => hasher.update(b"-"),
            }
        }
    })
}

fn cut(feed: impl FnOnce(&mut Sha256)) -> u64 {
    let mut hasher = Sha256::new();
    feed(&mut hasher);
    let bytes: [u8; 32] = hasher.finalize().into();
    u64::from_be_bytes(bytes[..8].try_into().expect("eight of 32 bytes"))
}

/// Whether the value of a key `image` counts, and of the keys beside it that name one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Images {
    Taken,
    LeftOut,
    PartsLeftOut,
}

/// Every value is closed by a mark, so that no two different templates read the same.
fn node(value: &Node, key: &str, images: Images, hasher: &mut Sha256) {
    match &value.value {
        Value::Scalar(_) if key == "image" && images != Images::Taken => hasher.update(b"i"),
        Value::Scalar(text) => {
            hasher.update(b"s");
            hasher.update(text.len().to_be_bytes());
            hasher.update(text.as_bytes());
        }
        Value::Sequence(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| node(item, "", images, hasher));
            hasher.update(b"]");
        }
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|left, right| left.0.cmp(&right.0));
            hasher.update(b"{");
            let names_image = images == Images::PartsLeftOut
                && PARTS[..2].iter().any(|part| value.get(part).is_some_and(|part| part.text().is_some()));
            for (name, child) in sorted {
                hasher.update(name.len().to_be_bytes());
                hasher.update(name.as_bytes());
                let part = names_image && PARTS.contains(&&**name);
                // A version alone is of an image that its chart knows.
                let version = |text: &&Arc<str>| text.bytes().any(|byte| byte.is_ascii_digit());
                let alone = images == Images::PartsLeftOut
                    && is_tag_key(name)
                    && child.text().filter(version).is_some();
                if alone || (part && child.text().is_some()) {
                    hasher.update(b"i");
                } else {
                    node(child, name, images, hasher);
                }
            }
            hasher.update(b"}");
        }
    }
}
