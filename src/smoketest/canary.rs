//! The synthetic image: unlike any other, as small as can be, and able to run.
//!
//! One uncompressed layer with one program of two hundred bytes that waits for SIGTERM and ends. So it comes up,
//! stays ready and goes away at once, on any amd64 node, without a base image.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use crate::image::Digest;

/// Tells the journey of a canary from those of real images, wherever labels and annotations are read.
const SYNTHETIC: &str = "knotmeter.dev/synthetic";
const CREATED: &str = "org.opencontainers.image.created";
const REVISION: &str = "org.opencontainers.image.revision";

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image made for one run.
#[derive(Debug, Clone)]
pub struct Canary {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl Canary {
    /// Makes an image that says it was built now. Two runs of one process never get the same one.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        let now = DateTime::<Utc>::from(now);
        let unique = format!("{} {}\n", now.to_rfc3339_opts(SecondsFormat::Nanos, true), std::process::id());
        let revision = hex(&Digest::of(unique.as_bytes()));
        let layer = tar(&[("canary", 0o755, &program()), ("canary.txt", 0o644, unique.as_bytes())]);
        let labels = json!({
            SYNTHETIC: "true",
            CREATED: now.to_rfc3339_opts(SecondsFormat::Secs, true),
            REVISION: &revision[..40],
        });
        let config = json!({
            "created": now.to_rfc3339_opts(SecondsFormat::Millis, true),
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/canary"], "User": "65532", "Labels": labels},
            // The layer is not compressed, so the digest of its content is that of the blob.
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
        });
        let config = config.to_string().into_bytes();
        let descriptor = |media_type, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &config),
            "layers": [descriptor(LAYER_TYPE, &layer)],
            "annotations": labels,
        });
        Self { manifest: manifest.to_string().into_bytes(), layer, config }
    }

    /// The root digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

fn hex(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

/// A ustar archive of a few small files.
fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(156, "0");
        put(257, "ustar\x0000");
        // The checksum counts its own field as spaces.
        put(148, "        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// A static ELF program for Linux on amd64. As process 1 it would ignore a SIGTERM that it does not ask for, and
/// every smoketest would cost a pod's whole grace period; so it blocks the signal and waits for it.
fn program() -> Vec<u8> {
    const LOADED_AT: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    #[rustfmt::skip]
    const CODE: [u8; 69] = [
        0xb8, 14, 0, 0, 0,                  // rt_sigprocmask(
        0x31, 0xff,                         //   SIG_BLOCK,
        0x48, 0x8d, 0x35, 47, 0, 0, 0,      //   &set,
        0x31, 0xd2,                         //   null,
        0x41, 0xba, 8, 0, 0, 0,             //   8)
        0x0f, 0x05,
        0xb8, 128, 0, 0, 0,                 // again: rt_sigtimedwait(
        0x48, 0x8d, 0x3d, 25, 0, 0, 0,      //   &set,
        0x31, 0xf6,                         //   null,
        0x31, 0xd2,                         //   null: no time limit,
        0x41, 0xba, 8, 0, 0, 0,             //   8)
        0x0f, 0x05,
        0x85, 0xc0,                         // interrupted by another signal?
        0x78, 0xe4,                         //   again
        0xb8, 60, 0, 0, 0,                  // exit(
        0x31, 0xff,                         //   0)
        0x0f, 0x05,
        0x02, 0x40, 0, 0, 0, 0, 0, 0,       // set: SIGINT and SIGTERM
    ];
    let size = HEADERS + CODE.len() as u64;
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // An executable (2) for amd64 (62), version 1.
    file.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for value in [LOADED_AT + HEADERS, 64, 0] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    // No flags; sizes and counts of the headers: one program header, no sections.
    for value in [0, 0, 64, 56, 1, 0, 0, 0_u16] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    // One segment to load, readable and executable: all of the file.
    for value in [1, 5_u32] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    for value in [0, LOADED_AT, LOADED_AT, size, size, 0x1000_u64] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&CODE);
    file
}
