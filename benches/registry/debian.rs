//! Debian's docker-registry on a port of its own, filled by writing what it would have written.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use knotmeter::image::Digest;
use serde_json::json;

use super::scanner;

/// It starts within a second; a machine under load gets more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry process and its folder; both end with it.
pub struct Debian {
    pub host: String,
    pub names: Vec<String>,
    /// Where it keeps its repositories.
    pub folder: PathBuf,
    log: PathBuf,
    process: Child,
    _all: tempfile::TempDir,
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Debian {
    /// A registry with so many repositories of so many tags each, all of one image.
    pub fn start(repositories: usize, tags: usize) -> Self {
        // A hundred thousand small files: where there is a file system in memory, they cost a disk nothing.
        let memory = Path::new("/dev/shm");
        let all = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let all = all.expect("a folder");
        let data = all.path().join("data");
        let folder = data.join("docker/registry/v2/repositories");
        let names: Vec<String> = (0..repositories).map(scanner::name).collect();
        let image = write_image(&data);
        for name in &names {
            let repository = folder.join(name);
            write_link(&repository.join("_layers"), &image.config);
            write_link(&repository.join("_manifests/revisions"), &image.manifest);
            push(&folder, name, scanner::MOVED, &image.manifest);
            for at in 1..tags {
                push(&folder, name, &scanner::tag(at - 1), &image.manifest);
            }
        }
        // It cannot choose a port itself. Between our choice and its start another may take it: then it exits.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let host = free.local_addr().expect("an address").to_string();
            drop(free);
            let log = all.path().join("log");
            let mut process = serve(all.path(), &data, &host, &log);
            if answers(&host, &mut process) {
                return Self { host, names, folder, log, process, _all: all };
            }
        }
        panic!("docker-registry did not start in {}", all.path().display());
    }

    /// Lists that it has answered.
    pub fn lists(&self) -> usize {
        let log = std::fs::read_to_string(&self.log).expect("it logs each request");
        log.lines().filter(|line| line.contains("/tags/list")).count()
    }
}

/// Points a tag to a manifest that the repository has.
pub fn push(folder: &Path, name: &str, tag: &str, manifest: &Digest) {
    let tag = folder.join(name).join("_manifests/tags").join(tag);
    std::fs::create_dir_all(tag.join("current")).expect("a folder");
    std::fs::write(tag.join("current/link"), manifest.to_string()).expect("a link");
}

/// The manifest that everything there points to.
pub fn manifest(folder: &Path, name: &str) -> Digest {
    let revisions = std::fs::read_dir(folder.join(name).join("_manifests/revisions/sha256"));
    let first = revisions.expect("a repository").flatten().next().expect("one manifest");
    format!("sha256:{}", first.file_name().to_string_lossy()).parse().expect("its digest")
}

struct Image {
    config: Digest,
    manifest: Digest,
}

fn write_image(data: &Path) -> Image {
    let blob = |body: String| {
        let digest = Digest::of(body.as_bytes());
        let hex = digest.to_string().replace("sha256:", "");
        let folder = data.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("data"), &body).expect("a blob");
        (digest, body.len())
    };
    let config = json!({"created": "2026-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []}});
    let (config, size) = blob(config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
        "layers": [],
    });
    let (manifest, _) = blob(manifest.to_string());
    Image { config, manifest }
}

/// Says that a repository has a blob.
fn write_link(folder: &Path, digest: &Digest) {
    let folder = folder.join(digest.to_string().replace(':', "/"));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("link"), digest.to_string()).expect("a link");
}

fn serve(all: &Path, data: &Path, host: &str, log: &Path) -> Child {
    let config = json!({
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": false}},
        "storage": {"filesystem": {"rootdirectory": data}, "delete": {"enabled": true}},
        "http": {"addr": host},
    });
    // JSON is YAML.
    let file = all.join("config.yml");
    std::fs::write(&file, config.to_string()).expect("a configuration");
    Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(std::fs::File::create(log).expect("a log"))
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is missing: apt-get install docker-registry")
}

fn answers(host: &str, process: &mut Child) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while process.try_wait().expect("our child").is_none() && Instant::now() < deadline {
        if TcpStream::connect(host).is_ok() {
            return true;
        }
    }
    false
}
