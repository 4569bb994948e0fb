//! What the registry holds. Blobs are kept once, whichever repositories have them. No HTTP here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use bytes::{Bytes, BytesMut};

use crate::image::{Digest, Tag};

/// All bytes the registry keeps: it lives in memory, and a person may try it with a real image.
const HELD_BYTES_MAX: usize = 1 << 30;
/// Uploads begun and not finished; a client that opens more has lost count of them.
const UPLOADS_MAX: usize = 256;
/// Repositories; names come from clients, and the demo needs three.
const REPOSITORIES_MAX: usize = 10_000;
/// Tags in one repository: the largest ones known in the field have about 40,000.
const TAGS_MAX: usize = 200_000;

#[derive(Default)]
pub(super) struct Content {
    blobs: HashMap<Digest, Bytes>,
    repositories: BTreeMap<String, Repository>,
    uploads: HashMap<String, BytesMut>,
    uploads_begun: u64,
    held_bytes: usize,
}

#[derive(Default)]
pub(super) struct Repository {
    tags: BTreeMap<Tag, Digest>,
    /// The tag that was pushed last.
    newest: Option<Tag>,
    pub(super) manifests: HashMap<Digest, Manifest>,
    blobs: HashSet<Digest>,
}

#[derive(Clone)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    /// The image that this one is about (a signature, an attestation).
    pub(super) subject: Option<Digest>,
}

/// The registry is full, in one of its limits.
pub(super) struct Full(pub(super) &'static str);

impl Content {
    pub(super) fn names(&self) -> Vec<&str> {
        self.repositories.keys().map(String::as_str).collect()
    }

    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.get(name)
    }

    pub(super) fn repository_mut(&mut self, name: &str) -> Option<&mut Repository> {
        self.repositories.get_mut(name)
    }

    pub(super) fn blob(&self, name: &str, digest: &Digest) -> Option<Bytes> {
        let held = self.repositories.get(name)?.blobs.contains(digest);
        held.then(|| self.blobs.get(digest).cloned()).flatten()
    }

    pub(super) fn put_manifest(
        &mut self,
        name: &str,
        tag: Option<Tag>,
        digest: Digest,
        manifest: Manifest,
    ) -> Result<(), Full> {
        self.hold(manifest.bytes.len())?;
        let repository = self.made(name)?;
        if let Some(tag) = tag {
            if repository.tags.len() >= TAGS_MAX {
                return Err(Full("tags"));
            }
            repository.newest = Some(tag.clone());
            repository.tags.insert(tag, digest.clone());
        }
        repository.manifests.insert(digest, manifest);
        Ok(())
    }

    pub(super) fn put_blob(&mut self, name: &str, digest: Digest, bytes: Bytes) -> Result<(), Full> {
        if !self.blobs.contains_key(&digest) {
            self.hold(bytes.len())?;
            self.blobs.insert(digest.clone(), bytes);
        }
        self.made(name)?.blobs.insert(digest);
        Ok(())
    }

    /// Makes a blob of one repository known in another without moving bytes.
    pub(super) fn mount(&mut self, from: &str, to: &str, digest: &Digest) -> Result<bool, Full> {
        if self.blob(from, digest).is_none() {
            return Ok(false);
        }
        self.made(to)?.blobs.insert(digest.clone());
        Ok(true)
    }

    pub(super) fn begin_upload(&mut self) -> Result<String, Full> {
        if self.uploads.len() >= UPLOADS_MAX {
            return Err(Full("open uploads"));
        }
        self.uploads_begun += 1;
        let id = format!("{:08x}", self.uploads_begun);
        self.uploads.insert(id.clone(), BytesMut::new());
        Ok(id)
    }

    pub(super) fn uploaded(&self, id: &str) -> Option<usize> {
        self.uploads.get(id).map(BytesMut::len)
    }

    /// Appends to an upload and tells how long it is now.
    pub(super) fn append(&mut self, id: &str, bytes: &[u8]) -> Option<usize> {
        let upload = self.uploads.get_mut(id)?;
        upload.extend_from_slice(bytes);
        Some(upload.len())
    }

    pub(super) fn end_upload(&mut self, id: &str) -> Option<Bytes> {
        self.uploads.remove(id).map(BytesMut::freeze)
    }

    fn made(&mut self, name: &str) -> Result<&mut Repository, Full> {
        if !self.repositories.contains_key(name) && self.repositories.len() >= REPOSITORIES_MAX {
            return Err(Full("repositories"));
        }
        Ok(self.repositories.entry(name.to_owned()).or_default())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Full> {
        if self.held_bytes + bytes > HELD_BYTES_MAX {
            return Err(Full("bytes"));
        }
        self.held_bytes += bytes;
        Ok(())
    }
}

impl Repository {
    /// Up to `n` tags after `last` in the order of the specification, and whether there are more.
    pub(super) fn tags_after(&self, last: &str, n: usize) -> (Vec<String>, bool) {
        // A `last` that is no tag, such as an empty one, sorts by its text all the same.
        let mut after: Box<dyn Iterator<Item = &Tag>> = match last.parse::<Tag>() {
            Ok(last) => {
                Box::new(self.tags.range((Bound::Excluded(last), Bound::Unbounded)).map(|(tag, _)| tag))
            }
            Err(_) => Box::new(self.tags.keys().filter(move |tag| tag.as_str() > last)),
        };
        let page: Vec<String> = after.by_ref().take(n).map(Tag::to_string).collect();
        (page, after.next().is_some())
    }

    pub(super) fn newest(&self) -> Option<&Tag> {
        self.newest.as_ref()
    }

    pub(super) fn tagged(&self, tag: &Tag) -> Option<&Digest> {
        self.tags.get(tag)
    }

    pub(super) fn untag(&mut self, tag: &Tag) -> bool {
        self.tags.remove(tag).is_some()
    }

    /// Removes a manifest and, as the specification wants it, every tag that points to it.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        self.tags.retain(|_, tagged| tagged != digest);
        self.manifests.remove(digest).is_some()
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blobs.contains(digest) || self.manifests.contains_key(digest)
    }
}
