//! Senders that wrap: Pub/Sub around Artifact Registry, CloudEvents around CDEvents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::registry::tagged;
use super::{Payload, header, json, stamp};
use crate::image::{ImageRef, Repository};

/// The topic `gcr` of Google Artifact Registry, pushed by Pub/Sub. Only a write of a tag names one.
pub fn gar(body: &[u8]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Push {
        message: Message,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        data: String,
        #[serde(default, alias = "message_id")]
        message_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Change {
        action: String,
        #[serde(default)]
        digest: Option<String>,
        #[serde(default)]
        tag: Option<String>,
    }
    let push: Push = json(body)?;
    let mut payload = Payload { id: push.message.message_id, ..Payload::default() };
    let data = STANDARD.decode(&push.message.data).map_err(|_| "message.data: not base64")?;
    let change: Change = json(&data)?;
    let Some(tag) = change.tag.filter(|_| change.action == "INSERT") else { return Ok(payload) };
    let image: ImageRef = tag.parse().map_err(|error| format!("tag: {error}"))?;
    let digest = change.digest.as_deref().and_then(|text| text.split_once('@')).map(|(_, digest)| digest);
    payload.triggers.push(tagged(
        image.repository,
        image.tag.as_ref().map(|tag| tag.as_str()),
        digest,
        None,
    )?);
    Ok(payload)
}

/// CDEvents `artifact.published`, any version of it (cdevents/spec: continuous-integration.md).
pub fn cdevents(headers: &HeaderMap, body: &[u8]) -> Result<Payload, String> {
    #[derive(Deserialize)]
    struct Event {
        context: Context,
        subject: Subject,
    }
    #[derive(Deserialize)]
    struct Context {
        #[serde(default)]
        id: Option<String>,
        #[serde(rename = "type", default)]
        kind: Option<String>,
        #[serde(default)]
        timestamp: Option<String>,
    }
    #[derive(Deserialize)]
    struct Subject {
        id: String,
    }
    let event: Event = json(body)?;
    let kind = event.context.kind.as_deref().or(header(headers, "ce-type")).unwrap_or_default();
    let mut payload = Payload { id: event.context.id, ..Payload::default() };
    if !kind.starts_with("dev.cdevents.artifact.published.") {
        return Ok(payload);
    }
    let (repository, tag, digest) = purl(&event.subject.id)?;
    let stamped = event.context.timestamp.as_deref().and_then(stamp);
    payload.triggers.push(tagged(repository, tag.as_deref(), digest.as_deref(), stamped)?);
    Ok(payload)
}

/// `pkg:oci/NAME@sha256%3AHEX?repository_url=HOST/PATH&tag=TAG` (package-url/purl-spec: types-doc/oci-definition.md).
fn purl(text: &str) -> Result<(Repository, Option<String>, Option<String>), String> {
    let rest = text.strip_prefix("pkg:oci/").ok_or("subject.id: not a purl that begins with pkg:oci/")?;
    let (name, query) = rest.split_once('?').ok_or("subject.id: the purl has no repository_url")?;
    let mut url = None;
    let mut tag = None;
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "repository_url" => url = Some(value.into_owned()),
            "tag" => tag = Some(value.into_owned()),
            _ => {}
        }
    }
    let url = url.ok_or("subject.id: the purl has no repository_url")?;
    let url = url.split_once("://").map_or(&*url, |(_, rest)| rest);
    let repository = url.parse().map_err(|error| format!("subject.id: repository_url: {error}"))?;
    let version = name.split_once('@').map(|(_, version)| version.replace("%3A", ":").replace("%3a", ":"));
    Ok((repository, tag, version))
}
