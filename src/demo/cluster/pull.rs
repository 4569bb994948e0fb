//! How the node pulls: by HTTP from the registry that the image names, as containerd would.

use std::time::Duration;

use http::{StatusCode, header};
use serde_json::Value;

use crate::image::{Digest, ImageRef};

/// Manifests and configs the node reads into memory.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// One request; a slow registry answers within this, a dead one does not.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";
/// What containerd calls itself.
const AGENT: &str = "containerd/2.3.4";
/// The label by which an image of the demo says how its container behaves.
pub(in crate::demo) const BEHAVIOUR_LABEL: &str = "dev.knotmeter.demo.behaviour";

/// What a container does once it runs. A real image has it in its program, the demo's in its config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::demo) enum Behaviour {
    Well,
    Crashes,
    NeverReady,
    /// Ready, but only after longer than anybody waits.
    SlowToStart,
}

impl Behaviour {
    pub(in crate::demo) fn label(self) -> &'static str {
        match self {
            Behaviour::Well => "well",
            Behaviour::Crashes => "crashes",
            Behaviour::NeverReady => "never-ready",
            Behaviour::SlowToStart => "slow-to-start",
        }
    }

    fn of(config: &Value) -> Self {
        let label = config["config"]["Labels"][BEHAVIOUR_LABEL].as_str();
        let all = [Behaviour::Crashes, Behaviour::NeverReady, Behaviour::SlowToStart];
        all.into_iter().find(|one| label == Some(one.label())).unwrap_or(Behaviour::Well)
    }
}

/// An image on the node.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    /// What the tag resolved to: the index, where there is one.
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) behaviour: Behaviour,
}

/// What containerd says where the way to the registry is cut.
pub(super) fn unreachable(image: &str) -> String {
    let reference: Result<ImageRef, _> = image.parse();
    let (host, path) =
        reference.as_ref().map_or(("", ""), |image| (image.repository.host(), image.repository.path()));
    let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    format!(
        "failed to pull and unpack image {image:?}: failed to resolve image: failed to do request: Head \
         \"http://{host}/v2/{path}/manifests/{tag}\": dial tcp {host}: connect: connection refused"
    )
}

/// What containerd says where there is no room for what it has fetched.
pub(super) fn no_room(image: &str) -> String {
    let layer = Digest::of(image.as_bytes());
    format!(
        "failed to pull and unpack image {image:?}: failed to extract layer {layer}: write \
         /var/lib/containerd/tmpmounts/containerd-mount1/data: no space left on device: unknown"
    )
}

/// Pulls an image; the error is the text that containerd would give.
pub(super) async fn pull(client: &reqwest::Client, image: &str) -> Result<Pulled, String> {
    let reference: ImageRef = image.parse().map_err(|_| "invalid reference format".to_owned())?;
    let failed = |why: String| format!("failed to pull and unpack image {image:?}: {why}");
    let not_resolved = |why: String| failed(format!("failed to resolve image: {why}"));
    let (host, path) = (reference.repository.host(), reference.repository.path());
    // The demo never leaves loopback, whatever a manifest names.
    if !matches!(host.split(':').next(), Some("127.0.0.1" | "localhost")) {
        return Err(not_resolved(format!(
            "failed to do request: Head \"https://{host}/v2/{path}\": no such host"
        )));
    }
    let front = format!("http://{host}/v2/{path}");
    let wanted = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "latest".to_owned(),
    };
    let url = format!("{front}/manifests/{wanted}");
    let head = ask(client.head(&url)).await;
    let head = head.map_err(|error| not_resolved(format!("failed to do request: Head {url:?}: {error}")))?;
    match head.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            return Err(format!(
                "rpc error: code = NotFound desc = {}",
                not_resolved(format!("{image}: not found"))
            ));
        }
        StatusCode::UNAUTHORIZED => {
            return Err(not_resolved(
                "pull access denied, repository does not exist or may require authorization: authorization \
                 failed: no basic auth credentials"
                    .to_owned(),
            ));
        }
        other => return Err(not_resolved(format!("unexpected status from HEAD request to {url}: {other}"))),
    }
    let digest = head.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
    let digest: Digest = digest
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| not_resolved("the registry names no digest".to_owned()))?;
    let mut manifest = document(client, &format!("{front}/manifests/{digest}")).await.map_err(failed)?;
    if let Some(platform) = platform_of(&manifest) {
        manifest = document(client, &format!("{front}/manifests/{platform}")).await.map_err(failed)?;
    }
    let config = manifest["config"]["digest"].as_str().unwrap_or_default();
    let config = document(client, &format!("{front}/blobs/{config}")).await.map_err(failed)?;
    let sizes = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
    let size = sizes.filter_map(|one| one["size"].as_u64()).sum();
    Ok(Pulled { digest, size, behaviour: Behaviour::of(&config) })
}

async fn ask(request: reqwest::RequestBuilder) -> reqwest::Result<reqwest::Response> {
    let request = request.header(header::ACCEPT, ACCEPTED).header(header::USER_AGENT, AGENT);
    request.timeout(REQUEST_TIME_MAX).send().await
}

/// In an index, the manifest for the node's platform.
fn platform_of(index: &Value) -> Option<String> {
    let manifests = index["manifests"].as_array()?;
    let fits = |one: &&Value| {
        one["platform"]["os"] == "linux"
            && one["platform"]["architecture"].as_str().is_none_or(|arch| arch == "amd64")
    };
    manifests.iter().find(fits)?["digest"].as_str().map(str::to_owned)
}

async fn document(client: &reqwest::Client, url: &str) -> Result<Value, String> {
    let sent = ask(client.get(url)).await;
    let mut response = sent.map_err(|error| format!("failed to do request: Get {url:?}: {error}"))?;
    if response.status() != StatusCode::OK {
        return Err(format!("unexpected status from GET request to {url}: {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| format!("failed to read {url}: {error}"))?
    {
        if bytes.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("{url} is above 4 MiB"));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|_| format!("{url} is not JSON"))
}
