//! A real registry (Debian `docker-registry`), filled by a real client (`skopeo`). Without them these tests
//! fail: install the packages docker-registry, skopeo and apache2-utils.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use knotmeter::config::Registry;
use knotmeter::image::Digest;
use knotmeter::observation::{Basis, Fact, Interests, LookFailure, NodeRole, Time};
use knotmeter::observers::registry::{Limits, check, scan};
use serde_json::{Value, json};

use super::{Watching, docker_config, interest, registry, ring};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A registry process and its folder; both end with the test.
struct RealRegistry {
    host: String,
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl RealRegistry {
    async fn start(password_for: Option<(&str, &str)>) -> Self {
        ring();
        let folder = tempfile::tempdir().unwrap();
        let auth = password_for.map(|(user, password)| {
            let lines = run("htpasswd", "apache2-utils", &["-Bbn", user, password]);
            std::fs::write(folder.path().join("htpasswd"), lines).unwrap();
            json!({"htpasswd": {"realm": "shop", "path": folder.path().join("htpasswd")}})
        });
        // It cannot choose a port itself. Between our choice and its start another may take it: then it exits.
        for _ in 0..5 {
            let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let mut config = json!({
                "version": "0.1",
                "log": {"level": "error"},
                "storage": {
                    "filesystem": {"rootdirectory": folder.path().join("data")},
                    "delete": {"enabled": true},
                },
                "http": {"addr": host},
            });
            if let Some(auth) = &auth {
                config["auth"] = auth.clone();
            }
            // JSON is YAML.
            let file = folder.path().join("config.yml");
            std::fs::write(&file, config.to_string()).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry is missing: apt-get install docker-registry");
            if answers(&host, &mut process).await {
                return Self { host, process, folder };
            }
        }
        panic!("docker-registry did not start; its folder was {}", folder.path().display());
    }

    /// Pushes an OCI layout folder with skopeo, all platforms, digests untouched.
    fn push(&self, layout: &Path, to: &str, login: Option<&str>) {
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{}/{to}", self.host));
        let mut arguments = vec![
            "--insecure-policy",
            "copy",
            "--quiet",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ];
        arguments.extend(login.map(|login| ["--dest-creds", login]).into_iter().flatten());
        arguments.extend([from.as_str(), to.as_str()]);
        run("skopeo", "skopeo", &arguments);
    }

    fn layout(&self, name: &str) -> Layout {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { folder }
    }
}

async fn answers(host: &str, process: &mut Child) -> bool {
    let deadline = std::time::Instant::now() + super::PATIENCE;
    while process.try_wait().unwrap().is_none() && std::time::Instant::now() < deadline {
        if tokio::net::TcpStream::connect(host).await.is_ok() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    false
}

fn run(program: &str, package: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install {package}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    output.stdout
}

/// An OCI image layout, written by hand.
struct Layout {
    folder: std::path::PathBuf,
}

impl Layout {
    fn blob(&self, media_type: &str, body: &[u8]) -> Value {
        let digest = Digest::of(body);
        let name = digest.to_string().replace(':', "/");
        std::fs::write(self.folder.join("blobs").join(name), body).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": body.len()})
    }

    /// A runnable image of one platform: its manifest's descriptor and its config's digest.
    fn image(&self, architecture: &str, created: &str, labels: &Value) -> (Value, Digest) {
        let tar = vec![0; 1024];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&tar).unwrap();
        let layer = self.blob(LAYER, &packed.finish().unwrap());
        let config = json!({
            "created": created, "os": "linux", "architecture": architecture, "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]},
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let digest = config["digest"].as_str().unwrap().parse().unwrap();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        (self.blob(MANIFEST, manifest.to_string().as_bytes()), digest)
    }

    /// Several platforms and what BuildKit adds to them.
    fn index(&self, platforms: &[&str], created: &str) -> (Value, Vec<Digest>) {
        let mut manifests = Vec::new();
        let mut nodes = Vec::new();
        for architecture in platforms {
            let (mut manifest, config) = self.image(architecture, "1970-01-01T00:00:00Z", &json!({}));
            nodes.extend([digest_of(&manifest), config]);
            manifest["platform"] = json!({"os": "linux", "architecture": architecture});
            manifests.push(manifest);
        }
        let (mut attestation, _) = self.image("unknown", "1970-01-01T00:00:00Z", &json!({"a": created}));
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        manifests.push(attestation);
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests,
            "annotations": {"org.opencontainers.image.created": created},
        });
        (self.blob(INDEX, index.to_string().as_bytes()), nodes)
    }

    /// Names what the layout holds.
    fn finish(self, root: &Value) -> std::path::PathBuf {
        let index = json!({"schemaVersion": 2, "manifests": [root]});
        std::fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
        self.folder
    }
}

fn digest_of(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_moves_and_deletions_are_seen_as_they_happen() {
    let real = RealRegistry::start(None).await;
    let labels =
        json!({"org.opencontainers.image.revision": "abc123", "org.label-schema.vcs-url": "https://g/x"});
    let layout = real.layout("one");
    let (one, one_config) = layout.image("amd64", "2026-01-01T00:00:00Z", &labels);
    let one_folder = layout.finish(&one);
    real.push(&one_folder, "shop/web:1.0.0", None);

    let name = format!("{}/shop/web", real.host);
    let interests = interest(&name, true, &["latest"], &[digest_of(&one)]);
    let mut watching = Watching::start(vec![registry(&real.host, &[])], interests, Limits::default());
    assert_eq!(watching.tags_listed().await, ["1.0.0"]);
    let image = watching.described(&digest_of(&one)).await;
    assert_eq!(image.nodes.iter().map(|node| &node.digest).collect::<Vec<_>>(), [&one_config]);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-01T00:00:00.000Z");
    assert_eq!((image.revision.as_deref(), image.source.as_deref()), (Some("abc123"), Some("https://g/x")));
    watching.look_completed().await;

    // A new tag, on an image of several platforms.
    let layout = real.layout("several");
    let (several, nodes) = layout.index(&["amd64", "arm64"], "2026-02-02T00:00:00Z");
    let several_folder = layout.finish(&several);
    let before = Time::from(chrono::Utc::now());
    real.push(&several_folder, "shop/web:1.1.0", None);
    let after = Time::from(chrono::Utc::now());
    let (digest, seen) = watching.points("1.1.0").await;
    assert_eq!((&digest, seen.basis), (&digest_of(&several), Basis::Poll));
    assert!(seen.happened.not_before <= after && seen.happened.not_after >= before, "{:?}", seen.happened);
    let interests = interest(&name, true, &["latest", "1.1.0"], &[digest_of(&one)]);
    watching.interests.send(Arc::new(interests)).unwrap();
    let image = watching.described(&digest).await;
    assert_eq!(image.nodes.iter().map(|node| node.digest.clone()).collect::<Vec<_>>(), nodes);
    let platforms: Vec<_> = image.nodes.iter().map(|node| (node.role, node.platform.as_deref())).collect();
    assert_eq!(platforms[0], (NodeRole::Manifest, Some("linux/amd64")));
    assert_eq!(platforms[3], (NodeRole::Config, Some("linux/arm64")));
    assert_eq!(image.created.unwrap().to_string(), "2026-02-02T00:00:00.000Z");

    // A named tag appears, then moves.
    real.push(&one_folder, "shop/web:latest", None);
    assert_eq!(watching.points("latest").await.0, digest_of(&one));
    real.push(&several_folder, "shop/web:latest", None);
    let (digest, moved) = watching.points("latest").await;
    assert_eq!(digest, digest_of(&several));
    assert!(moved.happened.is_bounded());

    // Deleting a manifest takes its tags along.
    let url = format!("http://{}/v2/shop/web/manifests/{}", real.host, digest_of(&one));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.delete(url).send().await.unwrap().status(), 202);
    watching.wait_for("Absent", |seen| matches!(seen.fact, Fact::Absent { .. }).then_some(())).await;
    assert_eq!(watching.absent_tags(), ["1.0.0"]);
    let failures = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::LookFailed { .. })).count();
    assert_eq!(failures, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_passwords_is_read_with_the_docker_config() {
    let real = RealRegistry::start(Some(("robot", "hunter2"))).await;
    let layout = real.layout("one");
    let (one, _) = layout.image("amd64", "2026-01-01T00:00:00Z", &json!({}));
    real.push(&layout.finish(&one), "shop/web:1.0.0", Some("robot:hunter2"));

    let registries = vec![registry(&real.host, &["shop/web"])];
    let mut stranger = Watching::start(registries, Interests::default(), Limits::default());
    let (failure, message) = stranger.look_failed().await;
    assert_eq!(failure, LookFailure::Unauthorized);
    assert!(message.contains("put one for this host into the docker config file"), "{message}");

    let file = docker_config(&real.host, "robot", "hunter2");
    let known = Registry {
        docker_config: Some(file.path().to_owned()),
        ..registry(&real.host, &["shop/web", "shop/nothing"])
    };
    let repository: Arc<str> = format!("{}/shop/web", real.host).into();
    let report = check(&known, &[repository.parse().unwrap()]).await.unwrap();
    assert_eq!((report.auth, report.login_from.is_some()), ("basic", true));
    assert!(report.clock_offset_seconds.unwrap().abs() < 5.0, "one machine, one clock");
    let report = scan(&known, &repository.parse().unwrap()).await.unwrap();
    assert_eq!((report.tags.len(), report.requests), (1, [(200, 1), (401, 1)].into()));

    let mut watching = Watching::start(vec![known], Interests::default(), Limits::default());
    let (mut listed, mut missing) = (false, false);
    while !(listed && missing) {
        watching
            .wait_for("the tags of one and the failure of the other", |seen| match &seen.fact {
                Fact::TagsListed { .. } | Fact::LookFailed { .. } => Some(()),
                _ => None,
            })
            .await;
        listed |= watching.facts.iter().any(|seen| matches!(seen.fact, Fact::TagsListed { .. }));
        missing |= watching.facts.iter().any(|seen| {
            matches!(&seen.fact, Fact::LookFailed { failure: LookFailure::Missing, message, .. }
                if message.contains("shop/nothing: does not exist"))
        });
    }
    let said = format!("{:?} {:?}", watching.facts, watching.measures);
    assert!(!said.contains("hunter2") && !said.contains("Basic"), "no secret is ever told");
}
