//! Registries: field names as their senders write them.

use std::borrow::Cow;

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Payload, header, json, repository, stamp, stamp_seconds, trigger};
use crate::image::{Digest, Tag};
use crate::observation::Interval;
use crate::observers::hooks::trigger::{Moved, Trigger};

/// Layers are pushed, too; only what a tag can point to is told.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// `application/vnd.docker.distribution.events.v2+json` (distribution: docs/content/about/notifications.md).
pub fn distribution(body: &[u8], registry: Option<&str>) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        events: Vec<Event<'a>>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow, default)]
        id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        action: Cow<'a, str>,
        #[serde(borrow, default)]
        timestamp: Option<Cow<'a, str>>,
        #[serde(borrow)]
        target: Target<'a>,
        #[serde(borrow, default)]
        request: Option<Request<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Target<'a> {
        #[serde(borrow, default)]
        media_type: Option<Cow<'a, str>>,
        #[serde(borrow)]
        repository: Cow<'a, str>,
        #[serde(borrow, default)]
        tag: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        digest: Option<Cow<'a, str>>,
    }
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow, default)]
        host: Option<Cow<'a, str>>,
    }
    let envelope: Envelope = json(body)?;
    let mut payload = Payload::default();
    for event in &envelope.events {
        let is_manifest = event.target.media_type.as_ref().is_some_and(|kind| MANIFESTS.contains(&&**kind));
        let Some(tag) = event.target.tag.as_deref().filter(|_| event.action == "push" && is_manifest) else {
            continue;
        };
        let host = event.request.as_ref().and_then(|request| request.host.as_deref());
        let repository = repository(registry, host, &event.target.repository)?;
        let stamped = event.timestamp.as_deref().and_then(stamp);
        payload.triggers.push(tagged(repository, Some(tag), event.target.digest.as_deref(), stamped)?);
    }
    if let [only] = &envelope.events[..] {
        payload.id = only.id.as_deref().map(str::to_owned);
    }
    Ok(payload)
}

/// Harbor's own format (goharbor/harbor: src/pkg/notifier/model/event.go), or its CloudEvents.
pub fn harbor(body: &[u8], registry: Option<&str>) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        occur_at: Option<i64>,
        #[serde(default)]
        time: Option<String>,
        #[serde(default, alias = "data")]
        event_data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(default)]
        resources: Vec<Resource>,
        repository: Named,
    }
    #[derive(Deserialize)]
    struct Resource {
        #[serde(default)]
        digest: Option<String>,
        #[serde(default)]
        tag: Option<String>,
        #[serde(default)]
        resource_url: Option<String>,
    }
    #[derive(Deserialize)]
    struct Named {
        repo_full_name: String,
    }
    let event: Event = json(body)?;
    let mut payload = Payload { id: event.id, ..Payload::default() };
    let pushed = matches!(&*event.kind, "PUSH_ARTIFACT" | "harbor.artifact.pushed");
    let Some(data) = event.event_data.filter(|_| pushed) else { return Ok(payload) };
    let stamped = event.occur_at.and_then(stamp_seconds).or(event.time.as_deref().and_then(stamp));
    for resource in &data.resources {
        let host = resource.resource_url.as_deref().and_then(|url| url.split('/').next());
        let repository = repository(registry, host, &data.repository.repo_full_name)?;
        let tag = resource.tag.as_deref().filter(|tag| Tag::fits(tag));
        payload.triggers.push(tagged(repository, tag, resource.digest.as_deref(), stamped)?);
    }
    Ok(payload)
}

/// Docker Hub. It names no digest, and anybody could have written it.
pub fn dockerhub(body: &[u8], registry: Option<&str>) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Event {
        push_data: Push,
        repository: Named,
    }
    #[derive(Deserialize)]
    struct Push {
        tag: String,
    }
    #[derive(Deserialize)]
    struct Named {
        repo_name: String,
    }
    let event: Event = json(body)?;
    let repository = repository(registry, Some("docker.io"), &event.repository.repo_name)?;
    let trigger = tagged(repository, Some(&event.push_data.tag), None, None)?;
    Ok(Payload { id: None, triggers: vec![trigger] })
}

/// Quay. `updated_tags` was a map in very old versions.
pub fn quay(body: &[u8], registry: Option<&str>) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        docker_url: String,
        #[serde(borrow, default)]
        updated_tags: Option<&'a RawValue>,
    }
    let event: Event = json(body)?;
    let (host, path) = event.docker_url.split_once('/').ok_or("docker_url: not HOST/PATH")?;
    let repository = repository(registry, Some(host), path)?;
    let tags = event.updated_tags.and_then(|raw| serde_json::from_str::<Vec<String>>(raw.get()).ok());
    let mut triggers = Vec::new();
    for tag in tags.unwrap_or_default().iter().take(super::super::TRIGGERS_MAX) {
        triggers.push(tagged(repository.clone(), Some(tag), None, None)?);
    }
    if triggers.is_empty() {
        triggers.push(tagged(repository, None, None, None)?);
    }
    Ok(Payload { id: None, triggers })
}

/// GitHub's events `package` and `registry_package` for containers.
pub fn ghcr(headers: &HeaderMap, body: &[u8], registry: Option<&str>) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(default)]
        action: String,
        #[serde(default, alias = "registry_package")]
        package: Option<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        #[serde(default)]
        namespace: Option<String>,
        #[serde(default)]
        owner: Option<Owner>,
        package_type: String,
        #[serde(default)]
        package_version: Option<Version>,
    }
    #[derive(Deserialize)]
    struct Owner {
        login: String,
    }
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        container_metadata: Option<Container>,
    }
    #[derive(Deserialize)]
    struct Container {
        tag: Option<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
        #[serde(default)]
        digest: Option<String>,
    }
    let mut payload =
        Payload { id: header(headers, "x-github-delivery").map(str::to_owned), ..Payload::default() };
    if !matches!(header(headers, "x-github-event"), Some("package" | "registry_package")) {
        return Ok(payload);
    }
    let event: Event = json(body)?;
    let published = matches!(&*event.action, "published" | "updated");
    let Some(package) = event.package.filter(|_| published) else { return Ok(payload) };
    if !package.package_type.eq_ignore_ascii_case("container") {
        return Ok(payload);
    }
    let owner =
        package.namespace.or(package.owner.map(|owner| owner.login)).ok_or("package.namespace: missing")?;
    // GitHub writes names as people do; in image references they are lower case.
    let path = format!("{owner}/{}", package.name).to_ascii_lowercase();
    let repository = repository(registry, Some("ghcr.io"), &path)?;
    let tag = package.package_version.and_then(|version| version.container_metadata?.tag);
    // An untagged version has an empty name.
    let name = tag.as_ref().map(|tag| &*tag.name).filter(|name| !name.is_empty());
    let digest = tag.as_ref().and_then(|tag| tag.digest.as_deref());
    payload.triggers.push(tagged(repository, name, digest, None)?);
    Ok(payload)
}

/// A tag that may have moved.
pub fn tagged(
    repository: crate::image::Repository,
    tag: Option<&str>,
    digest: Option<&str>,
    stamped: Option<Interval>,
) -> Result<Trigger, String> {
    let tag = tag.map(str::parse::<Tag>).transpose().map_err(|error| format!("tag: {error}"))?;
    let digest = digest.filter(|digest| !digest.is_empty()).map(str::parse::<Digest>);
    let digest = digest.transpose().map_err(|error| format!("digest: {error}"))?;
    Ok(trigger(Moved::Tag { repository, tag, digest }, stamped))
}
