//! Manifests and referrers: get, put and delete by tag and by digest.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::content::Manifest;
use super::{DOCKER_CONTENT_DIGEST, Refusal, Registry, json_response, parameter};
use crate::demo::truth::Happened;
use crate::image::{Digest, Tag};

/// The limit that most registries share; the largest index known in the field is far below it.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Registry {
    pub(super) fn get_manifest(
        &self,
        name: &str,
        reference: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let (digest, manifest) = self.resolve(name, reference)?;
        if !accepts(headers, &manifest.media_type) {
            let message = "OCI manifest found, but accept header does not support OCI manifests";
            return Err(Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message));
        }
        let etag = format!("\"{digest}\"");
        let wanted = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        if wanted.is_some_and(|wanted| wanted.split(',').any(|one| one.trim() == etag)) {
            let known = [(header::ETAG, etag), (DOCKER_CONTENT_DIGEST, digest.to_string())];
            return Ok((StatusCode::NOT_MODIFIED, known).into_response());
        }
        let described = [
            (header::CONTENT_TYPE, manifest.media_type),
            (header::CONTENT_LENGTH, manifest.bytes.len().to_string()),
            (header::ETAG, etag),
            (DOCKER_CONTENT_DIGEST, digest.to_string()),
        ];
        let body = if *method == Method::HEAD { Body::empty() } else { Body::from(manifest.bytes) };
        Ok((described, body).into_response())
    }

    pub(super) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Refusal> {
        let repository = format!("{}/{name}", self.host).parse().map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("invalid repository name: {error}"))
        })?;
        let bytes = axum::body::to_bytes(body, MANIFEST_BYTES_MAX).await.map_err(|_| {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "the manifest is above 4 MiB")
        })?;
        let invalid =
            |message: &str| Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message.to_owned());
        let text: Value =
            serde_json::from_slice(&bytes).map_err(|_| invalid("the manifest is not valid JSON"))?;
        let digest = Digest::of(&bytes);
        let tag =
            if reference.contains(':') {
                let named: Digest = reference.parse().map_err(|_| invalid("the digest is malformed"))?;
                if named != digest {
                    return Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        "DIGEST_INVALID",
                        "the digest does not fit",
                    ));
                }
                None
            } else {
                Some(reference.parse::<Tag>().map_err(|_| {
                    Refusal::new(StatusCode::BAD_REQUEST, "TAG_INVALID", "the tag is invalid")
                })?)
            };
        let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = text["mediaType"].as_str().or(sent).unwrap_or(OCI_MANIFEST).to_owned();
        let subject = text["subject"]["digest"].as_str().and_then(|digest| digest.parse().ok());
        let manifest = Manifest { media_type, bytes, subject: subject.clone() };
        let at = {
            let mut content = self.content();
            for needed in named_content(&text) {
                if !content.repository(name).is_some_and(|repository| repository.has(&needed)) {
                    let message = format!("blob unknown to registry: {needed}");
                    return Err(Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", message));
                }
            }
            let at = Utc::now();
            content
                .put_manifest(name, tag.clone(), digest.clone(), manifest)
                .map_err(|full| super::uploads::full(&full))?;
            at
        };
        if let Some(tag) = tag {
            self.truth.record(at, Happened::Pushed { repository, tag, digest: digest.clone() });
        }
        let mut response = (
            StatusCode::CREATED,
            [
                (header::LOCATION, format!("/v2/{name}/manifests/{digest}")),
                (DOCKER_CONTENT_DIGEST, digest.to_string()),
            ],
        )
            .into_response();
        if let Some(subject) = subject {
            let subject = subject.to_string().parse().expect("a digest is ASCII");
            response.headers_mut().insert("oci-subject", subject);
        }
        Ok(response)
    }

    pub(super) fn delete_manifest(&self, name: &str, reference: &str) -> Result<Response, Refusal> {
        let mut content = self.content();
        let repository = content.repository_mut(name).ok_or_else(|| Refusal::name_unknown(name))?;
        let removed = match reference.parse::<Tag>() {
            Ok(tag) => repository.untag(&tag),
            Err(_) => reference.parse().is_ok_and(|digest| repository.remove(&digest)),
        };
        if removed { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(unknown(reference)) }
    }

    pub(super) fn referrers(&self, name: &str, digest: &str, query: &str) -> Result<Response, Refusal> {
        let subject: Digest = digest.parse().map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the digest is malformed")
        })?;
        let wanted_type = parameter(query, "artifactType");
        let content = self.content();
        let manifests = content.repository(name).map(|repository| &repository.manifests);
        let mut found: Vec<Value> = Vec::new();
        for (digest, manifest) in manifests.into_iter().flatten() {
            if manifest.subject.as_ref() != Some(&subject) {
                continue;
            }
            let text: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
            let kind = text["artifactType"].as_str().or(text["config"]["mediaType"].as_str());
            if wanted_type.is_some() && wanted_type.as_deref() != kind {
                continue;
            }
            found.push(json!({
                "mediaType": manifest.media_type, "digest": digest, "size": manifest.bytes.len(),
                "artifactType": kind, "annotations": text["annotations"],
            }));
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found});
        let mut response = json_response(&index);
        response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(OCI_INDEX));
        if wanted_type.is_some() {
            let filters = http::HeaderValue::from_static("artifactType");
            response.headers_mut().insert("oci-filters-applied", filters);
        }
        Ok(response)
    }

    fn resolve(&self, name: &str, reference: &str) -> Result<(Digest, Manifest), Refusal> {
        let content = self.content();
        let repository = content.repository(name).ok_or_else(|| Refusal::name_unknown(name))?;
        let digest = match reference.parse::<Tag>() {
            Ok(tag) => repository.tagged(&tag).cloned(),
            Err(_) => reference.parse().ok(),
        };
        let digest = digest.ok_or_else(|| unknown(reference))?;
        let manifest = repository.manifests.get(&digest).cloned().ok_or_else(|| unknown(reference))?;
        Ok((digest, manifest))
    }
}

fn unknown(reference: &str) -> Refusal {
    let message = format!("manifest unknown to registry: {reference}");
    Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
}

/// Everything a manifest or index points to that must be there before it. A layer with `urls` lives elsewhere.
fn named_content(manifest: &Value) -> Vec<Digest> {
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let mut descriptors = list("layers");
    descriptors.retain(|layer| layer["urls"].is_null());
    descriptors.extend(list("manifests"));
    descriptors.push(manifest["config"].clone());
    descriptors.iter().filter_map(|one| one["digest"].as_str()?.parse().ok()).collect()
}

/// Docker's registry hides OCI manifests from clients that name only other types; so does this one.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    if media_type != OCI_INDEX && media_type != OCI_MANIFEST {
        return true;
    }
    let mut accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    accepted.peek().is_none() || accepted.any(|value| value.contains(media_type) || value.contains("*/*"))
}
