//! A small image as an OCI layout, for skopeo to push.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use knotmeter::image::Digest;
use serde_json::{Value, json};

/// A layout with one image for this platform: its folder, and the digest that a registry will know it by.
pub struct Layout {
    pub folder: PathBuf,
    pub digest: Digest,
}

/// Writes a layout below a folder; another version gives another digest.
pub fn layout(below: &Path, version: &str) -> Layout {
    let folder = below.join(format!("layout-{version}"));
    std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    // Two empty records are an archive without files.
    let tar = [0; 1024];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).unwrap();
    let blob = |media_type: &str, body: &[u8]| -> Value {
        let digest = Digest::of(body);
        let file = folder.join("blobs").join(digest.to_string().replace(':', "/"));
        std::fs::write(file, body).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": body.len()})
    };
    let layer = blob("layer.v1.tar+gzip", &packed.finish().unwrap());
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": chrono::Utc::now().to_rfc3339(),
        "config": {"Labels": {"org.opencontainers.image.version": version}},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]},
    });
    let config = blob("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer],
    });
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    let digest = manifest["digest"].as_str().unwrap().parse().unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    Layout { folder, digest }
}

/// Copies a layout into a plain-http registry, as `host/team/web:v1.0.7`.
pub async fn push(layout: &Layout, to: &str, home: &Path) {
    let (from, to) = (format!("oci:{}", layout.folder.display()), format!("docker://{to}"));
    let options = ["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"];
    let arguments: Vec<&str> = options.into_iter().chain([from.as_str(), to.as_str()]).collect();
    super::process::run(super::process::program("skopeo", &arguments, home), "skopeo").await.done();
}
