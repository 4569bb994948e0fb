//! The developer: builds an image of nothing and pushes it, blob by blob, as a build system would.

use std::io::Write as _;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{StatusCode, header};
use serde_json::json;

use super::{App, expect, version};
use crate::demo::Error;
use crate::demo::cluster::pull::{BEHAVIOUR_LABEL, Behaviour};
use crate::demo::fault::{Fault, Faults};
use crate::image::Digest;

/// The first push comes this soon after the start: nobody wants to wait for a demo to begin.
const FIRST_PUSH_AFTER: Duration = Duration::from_millis(500);
/// An empty tar archive is two blocks of zeros.
const EMPTY_TAR: [u8; 1024] = [0; 1024];
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CHART_CONFIG_TYPE: &str = "application/vnd.cncf.helm.config.v1+json";
const CHART_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Debug, Clone)]
pub(in crate::demo) struct Developer {
    pub(in crate::demo) client: reqwest::Client,
    /// `127.0.0.1:port`
    pub(in crate::demo) registry: String,
    pub(in crate::demo) faults: Faults,
}

impl Developer {
    /// Pushes the next version of one app after the other, for ever.
    pub(in crate::demo) async fn run(
        self,
        apps: &'static [App],
        every: Duration,
        first_app: usize,
        first_number: u64,
    ) {
        let mut numbers = vec![first_number; apps.len()];
        let mut turn = first_app;
        tokio::time::sleep(FIRST_PUSH_AFTER).await;
        loop {
            let at = turn % apps.len();
            let app = &apps[at];
            match self.push(&app.repository(), &version(numbers[at])).await {
                Ok(_) => {
                    numbers[at] += 1;
                    turn += 1;
                }
                // The same version is pushed again at the next turn, as a person would.
                Err(error) => tracing::debug!(%error, "the developer could not push"),
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Pushes a new image under a tag and returns its digest. Two pushes are never the same image.
    pub(in crate::demo) async fn push(&self, repository: &str, tag: &str) -> Result<Digest, Error> {
        let behaviour = if self.faults.on(Fault::CrashLoop) {
            Behaviour::Crashes
        } else if self.faults.on(Fault::NeverReady) {
            Behaviour::NeverReady
        } else if self.faults.on(Fault::ProgressDeadline) {
            Behaviour::SlowToStart
        } else {
            Behaviour::Well
        };
        let created = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
        let layer = gzipped(&EMPTY_TAR);
        let config = json!({
            "created": created, "architecture": "amd64", "os": "linux",
            "config": {"Labels": {
                "org.opencontainers.image.version": tag, BEHAVIOUR_LABEL: behaviour.label()}},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&EMPTY_TAR)]},
            "history": [{"created": created, "created_by": "the demo's developer"}],
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": Digest::of(&config), "size": config.len()},
            "layers": [{"mediaType": LAYER_TYPE, "digest": Digest::of(&layer), "size": layer.len()}],
            "annotations": {
                "org.opencontainers.image.created": created, "org.opencontainers.image.version": tag},
        })
        .to_string()
        .into_bytes();
        self.upload(repository, layer).await?;
        self.upload(repository, config).await?;
        let digest = Digest::of(&manifest);
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.registry);
        let put = self.client.put(&url).header(header::CONTENT_TYPE, MANIFEST_TYPE).body(manifest);
        expect(|| format!("pushing {repository}:{tag}"), put.send().await, &[StatusCode::CREATED]).await?;
        Ok(digest)
    }

    /// Pushes a chart, as `helm push` does.
    pub(in crate::demo) async fn push_chart(
        &self,
        repository: &str,
        version: &str,
        archive: Vec<u8>,
    ) -> Result<(), Error> {
        let name = repository.rsplit('/').next();
        let config = json!({"name": name, "version": version, "apiVersion": "v2"}).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CHART_CONFIG_TYPE, "digest": Digest::of(&config), "size": config.len()},
            "layers": [{"mediaType": CHART_TYPE, "digest": Digest::of(&archive), "size": archive.len()}],
        })
        .to_string();
        self.upload(repository, archive).await?;
        self.upload(repository, config).await?;
        let url = format!("http://{}/v2/{repository}/manifests/{version}", self.registry);
        let put = self.client.put(&url).header(header::CONTENT_TYPE, MANIFEST_TYPE).body(manifest);
        let what = || format!("pushing {repository}:{version}");
        expect(what, put.send().await, &[StatusCode::CREATED]).await.map(drop)
    }

    async fn upload(&self, repository: &str, blob: Vec<u8>) -> Result<(), Error> {
        let what = || format!("uploading a blob to {repository}");
        let digest = Digest::of(&blob);
        let front = format!("http://{}", self.registry);
        let there = self.client.head(format!("{front}/v2/{repository}/blobs/{digest}")).send().await;
        let there = expect(what, there, &[StatusCode::OK, StatusCode::NOT_FOUND]).await?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let begun = self.client.post(format!("{front}/v2/{repository}/blobs/uploads/")).send().await;
        let begun = expect(what, begun, &[StatusCode::ACCEPTED]).await?;
        let location = begun.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| Error::Http { what: what(), why: "no Location".to_owned() })?;
        let url = format!("{front}{location}?digest={digest}");
        expect(what, self.client.put(url).body(blob).send().await, &[StatusCode::CREATED]).await.map(drop)
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}
