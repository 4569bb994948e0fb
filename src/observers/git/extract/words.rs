//! When a text is an image reference, and how its parts are put together.

use crate::image::{Digest, ImageRef};

/// Parts of a reference that a file keeps under different keys. A part that is absent is empty.
#[derive(Default)]
pub struct Parts<'a> {
    pub registry: &'a str,
    pub repository: &'a str,
    pub tag: &'a str,
    pub digest: &'a str,
}

/// A reference as a container names it: without tag and digest it means `latest`.
pub fn any(text: &str) -> Option<ImageRef> {
    let text = text.trim();
    if text.is_empty() || is_templated(text) { None } else { text.parse().ok() }
}

/// A reference that says its tag or digest. Anything less, outside a container, is just a word.
pub fn explicit(text: &str) -> Option<ImageRef> {
    let text = text.trim();
    let name = text.rfind('/').map_or(text, |at| &text[at + 1..]);
    if name.contains([':', '@']) { any(text) } else { None }
}

/// An explicit reference with a path: what can be told from other texts without knowing its key.
pub fn explicit_with_path(text: &str) -> Option<ImageRef> {
    if text.contains('/') { explicit(text) } else { None }
}

/// The reference that separate parts make; there must be a tag or a digest.
pub fn joined(parts: &Parts<'_>) -> Option<ImageRef> {
    let written = |text: &str| !matches!(text.trim(), "" | "null" | "~");
    if !written(parts.repository) {
        return None;
    }
    // Some charts put a digest where the tag belongs.
    let (tag, digest) = match parts.tag.trim().parse::<Digest>() {
        Ok(_) if !written(parts.digest) => ("", parts.tag),
        _ => (parts.tag, parts.digest),
    };
    let mut text = String::new();
    if written(parts.registry) {
        text.push_str(parts.registry.trim().trim_end_matches('/'));
        text.push('/');
    }
    text.push_str(parts.repository.trim());
    if written(tag) {
        text.push(':');
        text.push_str(tag.trim());
    }
    if written(digest) {
        text.push('@');
        text.push_str(digest.trim());
    }
    if written(tag) || written(digest) { any(&text) } else { None }
}

/// Whether a key says that its value is an image: `image`, `webImage`, `sidecar_image`.
pub fn is_image_key(key: &str) -> bool {
    key == "image" || key.ends_with("Image") || key.ends_with("_image") || key.ends_with("-image")
}

/// Text that something else fills in later names nothing yet.
fn is_templated(text: &str) -> bool {
    ["{{", "$(", "${"].iter().any(|open| text.contains(open))
}
