//! The source controller's storage: artifacts as tar archives over HTTP. An archive depends on the tree alone,
//! so that a commit which changes nothing gives the same digest.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::StatusCode;

/// Artifacts kept; who fetches one does so within a second of hearing of it.
const ARTIFACTS_MAX: usize = 32;
/// An unpacked artifact; the demo's are some kilobytes.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;
const BLOCK: usize = 512;
/// Below this are the artifacts of charts.
const CHARTS: &str = "helmchart/";

/// The files of an artifact, by path.
pub(super) type Files = BTreeMap<String, String>;

pub(in crate::demo) struct Storage {
    /// `http://127.0.0.1:port`
    front: String,
    kept: Mutex<VecDeque<(String, Bytes)>>,
}

impl Storage {
    pub(super) fn new(host: &str) -> Self {
        Self { front: format!("http://{host}"), kept: Mutex::default() }
    }

    /// Keeps an artifact and returns where it can be fetched.
    pub(super) fn keep(&self, path: &str, archive: Vec<u8>) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| other != path);
        kept.push_back((path.to_owned(), archive.into()));
        // A chart is fetched again and again; each has one artifact.
        let goes = |(path, _): &(String, Bytes)| !path.starts_with(CHARTS);
        let surplus = kept.iter().filter(|one| goes(one)).count().saturating_sub(ARTIFACTS_MAX);
        for _ in 0..surplus {
            if let Some(at) = kept.iter().position(goes) {
                kept.remove(at);
            }
        }
        format!("{}/{path}", self.front)
    }
}

pub(super) fn router(storage: Arc<Storage>) -> Router {
    Router::new().fallback(answer).with_state(storage)
}

async fn answer(State(storage): State<Arc<Storage>>, request: Request) -> Response {
    let wanted = request.uri().path().trim_start_matches('/');
    let kept = storage.kept.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.iter().find(|(path, _)| path == wanted) {
        Some((_, archive)) => archive.clone().into_response(),
        None => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

/// Packs the files of a work tree, but for git's own.
pub(super) fn pack(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(one) = folders.pop() {
        for entry in std::fs::read_dir(one)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if entry.file_name() != ".git" {
                    folders.push(path);
                }
            } else if let Some(name) = path.strip_prefix(folder).ok().and_then(Path::to_str) {
                files.insert(name.to_owned(), std::fs::read(&path)?);
            }
        }
    }
    packed(files)
}

/// Packs files, in the order of their names.
pub(super) fn packed(files: BTreeMap<String, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for (name, bytes) in files {
        encoder.write_all(&header(&name, bytes.len()))?;
        encoder.write_all(&bytes)?;
        encoder.write_all(&vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()])?;
    }
    encoder.write_all(&[0; 2 * BLOCK])?;
    encoder.finish()
}

/// The text files in an archive.
pub(super) fn unpack(archive: &[u8]) -> std::io::Result<Files> {
    let mut bytes = Vec::new();
    GzDecoder::new(archive).take(UNPACKED_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut files = Files::new();
    let mut rest = bytes.as_slice();
    while rest.len() >= BLOCK && rest[0] != 0 {
        let (head, tail) = rest.split_at(BLOCK);
        let text = |from: usize, to: usize| {
            let field = head[from..to].split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(field).into_owned()
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8).unwrap_or(0).min(tail.len());
        files.insert(text(0, 100), String::from_utf8_lossy(&tail[..size]).into_owned());
        rest = &tail[size.next_multiple_of(BLOCK).min(tail.len())..];
    }
    Ok(files)
}

/// A header of a tar archive; names longer than 100 bytes are cut, and the demo has none.
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    let mut put = |at: usize, text: &str| {
        for (slot, byte) in head[at..].iter_mut().zip(text.bytes()) {
            *slot = byte;
        }
    };
    put(0, name.get(..100).unwrap_or(name));
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    for (slot, byte) in head[148..].iter_mut().zip(format!("{sum:06o}\0 ").bytes()) {
        *slot = byte;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again_and_git_stays_out() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("prod/web.yaml", "a: 1\n"), ("NOTES", &"x".repeat(2000)), (".git/HEAD", "no")] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let packed = pack(folder.path()).unwrap();
        assert_eq!(packed, pack(folder.path()).unwrap());
        let files = unpack(&packed).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["NOTES", "prod/web.yaml"]);
        assert_eq!((files["NOTES"].len(), files["prod/web.yaml"].as_str()), (2000, "a: 1\n"));
    }
}
