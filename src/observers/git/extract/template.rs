//! The pod template of a manifest as a number: equal for equal meaning, whatever the order of keys, comments and
//! images. It tells a revision (an environment variable, a limit) from a change that rolls nothing.

use sha2::{Digest as _, Sha256};

use super::yaml::{Node, Value};

/// Where kinds keep the template of their pods.
const PATHS: [&[&str]; 2] = [&["spec", "jobTemplate", "spec", "template"], &["spec", "template"]];
/// Kinds whose pods follow their template.
const KINDS: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "CronJob"];

/// The hash of a workload's pod template without the images; `None` for anything else.
pub fn hash(object: &Node) -> Option<u64> {
    object.text_at("kind").filter(|kind| KINDS.contains(&&***kind))?;
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

/// Whether the value of a key `image` counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Images {
    Taken,
    LeftOut,
}

/// Every value is closed by a mark, so that no two different templates read the same.
fn node(value: &Node, key: &str, images: Images, hasher: &mut Sha256) {
    match &value.value {
        Value::Scalar(_) if key == "image" && images == Images::LeftOut => hasher.update(b"i"),
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
            for (name, child) in sorted {
                hasher.update(name.len().to_be_bytes());
                hasher.update(name.as_bytes());
                node(child, name, images, hasher);
            }
            hasher.update(b"}");
        }
    }
}
