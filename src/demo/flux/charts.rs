//! The source controller's other half: keeps the chart of every HelmChart, from an OCI registry, as an artifact.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use semver::{Version, VersionReq};
use serde_json::{Value, json};

use super::api::{Api, Refused, Type};
use super::queue::{Controller, Next};
use super::registry;
use super::storage::Storage;
use super::subject::Subject;
use super::watch::{Change, Place};
use super::{HELM_CHART, HELM_REPOSITORY, clock, conditions};
use crate::image::Digest;

pub(super) struct Charts {
    pub(super) api: Api,
    pub(super) storage: Arc<Storage>,
}

impl Controller for Charts {
    const WATCHES: &'static [Type] = &[HELM_CHART];

    fn api(&self) -> &Api {
        &self.api
    }

    fn concerns(&self, _: &Value, _: &Change) -> bool {
        false
    }

    async fn reconcile(&self, place: Place) -> Next {
        self.look(&place).await.unwrap_or_else(|refused| super::put_off(&place, &refused))
    }
}

impl Charts {
    async fn look(&self, place: &Place) -> Result<Next, Refused> {
        let manager = self.api.name.to_owned();
        let Some(mut subject) = Subject::read(&self.api, &HELM_CHART, place, manager).await? else {
            return Ok(Next::Woken);
        };
        subject.begin().await?;
        let next = Next::After(subject.duration("interval").unwrap_or(Duration::from_secs(60)));
        let source = subject.text("/spec/sourceRef/name");
        let repository = self.api.get(&HELM_REPOSITORY.path(&place.0, &source)).await?;
        let url = repository.as_ref().and_then(|one| one["spec"]["url"].as_str()).unwrap_or_default();
        let Some(host) = url.strip_prefix("oci://").map(str::to_owned) else {
            let why =
                format!("failed to get source: HelmRepository.source.toolkit.fluxcd.io {source:?} not found");
            return self.failed(&mut subject, "SourceUnavailable", why).await;
        };
        let chart = subject.text("/spec/chart");
        let wanted = subject.text("/spec/version");
        let image = format!("{host}/{chart}");
        let version = match self.newest(&image, &wanted).await {
            Ok(version) => version,
            Err(why) => {
                return self.failed(&mut subject, "ChartPullError", format!("chart pull error: {why}")).await;
            }
        };
        conditions::delete(&mut subject.object, "FetchFailed");
        let pulled = format!("pulled '{chart}' chart with version '{version}'");
        if subject.text("/status/artifact/revision") == version {
            conditions::mark(&mut subject.object, "Ready", "True", "ChartPullSucceeded", &pulled);
            finished(&mut subject.object);
            subject.finish().await?;
            let told = format!("artifact up-to-date with remote revision: '{version}'");
            self.api.normal(&subject.object, "ArtifactUpToDate", &told, Value::Null).await;
            return Ok(next);
        }
        let archive = match self.pull(&image, &version).await {
            Ok(archive) => archive,
            Err(why) => {
                return self.failed(&mut subject, "ChartPullError", format!("chart pull error: {why}")).await;
            }
        };
        let folder = format!("helmchart/{}/{}", place.0, place.1);
        let path = format!("{folder}/{chart}-{version}.tgz");
        let digest = Digest::of(&archive).to_string();
        let size = archive.len();
        let at = self.storage.keep(&path, archive);
        let latest = at.replace(&path, &format!("{folder}/latest.tar.gz"));
        let status = &mut subject.object["status"];
        status["artifact"] = json!({"digest": digest, "lastUpdateTime": clock::now(), "path": path,
            "revision": version, "size": size, "url": at});
        status["observedChartName"] = Value::from(chart);
        status["url"] = Value::from(latest);
        conditions::mark(&mut subject.object, "Ready", "True", "ChartPullSucceeded", &pulled);
        conditions::mark(&mut subject.object, "ArtifactInStorage", "True", "ChartPullSucceeded", &pulled);
        finished(&mut subject.object);
        subject.finish().await?;
        let annotations = json!({"source.toolkit.fluxcd.io/digest": digest,
            "source.toolkit.fluxcd.io/revision": version});
        self.api.normal(&subject.object, "ChartPullSucceeded", &pulled, annotations).await;
        Ok(next)
    }

    async fn failed(
        &self,
        subject: &mut Subject<'_>,
        reason: &str,
        message: String,
    ) -> Result<Next, Refused> {
        conditions::mark(&mut subject.object, "FetchFailed", "True", reason, &message);
        conditions::failed(&mut subject.object, reason, &message);
        subject.finish().await?;
        self.api.warning(&subject.object, reason, &message, Value::Null).await;
        Ok(Next::Retry)
    }

    /// The newest version of a chart that fits.
    async fn newest(&self, image: &str, wanted: &str) -> Result<String, String> {
        let tags = registry::tags(&self.api.client, image).await?;
        let range = VersionReq::parse(wanted).map_err(|error| format!("improper constraint: {error}"))?;
        let versions = tags.iter().filter_map(|tag| Version::parse(tag).ok());
        let newest = versions.filter(|version| range.matches(version)).max();
        newest
            .map(|version| version.to_string())
            .ok_or_else(|| format!("failed to get chart version for remote reference: could not locate a version matching provided version string {wanted}"))
    }

    /// The archive of a version.
    async fn pull(&self, image: &str, version: &str) -> Result<Vec<u8>, String> {
        let (host, path) = image.split_once('/').ok_or("could not parse reference")?;
        let front = format!("http://{host}/v2/{path}");
        let get = async |url: String| {
            let sent = self.api.client.get(&url).header(header::USER_AGENT, self.api.name).send().await;
            let answer = sent.map_err(|error| error.to_string())?;
            answer.error_for_status().map_err(|error| error.to_string())
        };
        let manifest = get(format!("{front}/manifests/{version}")).await?;
        let manifest: Value = manifest.json().await.map_err(|error| error.to_string())?;
        let layer = manifest["layers"][0]["digest"].as_str().ok_or("the chart has no layer")?;
        let archive = get(format!("{front}/blobs/{layer}")).await?;
        Ok(archive.bytes().await.map_err(|error| error.to_string())?.to_vec())
    }
}

fn finished(object: &mut Value) {
    conditions::delete(object, "Reconciling");
    conditions::delete(object, "Stalled");
    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
}
