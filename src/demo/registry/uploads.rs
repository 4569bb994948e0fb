//! Blobs: get, and uploads in one request, in chunks or by mounting from another repository.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::content::Full;
use super::{DOCKER_CONTENT_DIGEST, Refusal, Registry, parameter};
use crate::image::{Digest, Repository};

/// One request's part of a blob, and so the largest blob in one piece.
const CHUNK_BYTES_MAX: usize = 256 << 20;
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

pub(super) fn full(full: &Full) -> Refusal {
    let message = format!("the demo registry is full: too many {}; start a new demo", full.0);
    Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "DENIED", message)
}

impl Registry {
    pub(super) fn get_blob(&self, name: &str, digest: &str, method: &Method) -> Result<Response, Refusal> {
        let digest = parse(digest)?;
        let blob = self.content().blob(name, &digest).ok_or_else(|| {
            let message = format!("blob unknown to registry: {digest}");
            Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message)
        })?;
        let described = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, blob.len().to_string()),
            (DOCKER_CONTENT_DIGEST, digest.to_string()),
        ];
        let body = if *method == Method::HEAD { Body::empty() } else { Body::from(blob) };
        Ok((described, body).into_response())
    }

    pub(super) async fn begin_upload(
        &self,
        name: &str,
        query: &str,
        body: Body,
    ) -> Result<Response, Refusal> {
        format!("{}/{name}", self.host).parse::<Repository>().map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("invalid repository name: {error}"))
        })?;
        if let (Some(mount), Some(from)) = (parameter(query, "mount"), parameter(query, "from")) {
            let digest = parse(&mount)?;
            if self.content().mount(&from, name, &digest).map_err(|error| full(&error))? {
                return Ok(created(name, &digest));
            }
        }
        if let Some(digest) = parameter(query, "digest") {
            let bytes = received(body).await?;
            return self.keep(name, &digest, bytes);
        }
        let id = self.content().begin_upload().map_err(|error| full(&error))?;
        Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
    }

    pub(super) fn upload_progress(&self, name: &str, id: &str) -> Result<Response, Refusal> {
        let length = self.content().uploaded(id).ok_or_else(no_upload)?;
        Ok(progress(StatusCode::NO_CONTENT, name, id, length))
    }

    pub(super) async fn continue_upload(
        &self,
        name: &str,
        id: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Refusal> {
        let length = self.content().uploaded(id).ok_or_else(no_upload)?;
        let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let start = range.and_then(|range| range.split('-').next()).and_then(|start| start.parse().ok());
        if start.is_some_and(|start: usize| start != length) {
            return Ok(progress(StatusCode::RANGE_NOT_SATISFIABLE, name, id, length));
        }
        let bytes = received(body).await?;
        let length = self.content().append(id, &bytes).ok_or_else(no_upload)?;
        if length > CHUNK_BYTES_MAX {
            self.content().end_upload(id);
            return Err(too_large());
        }
        Ok(progress(StatusCode::ACCEPTED, name, id, length))
    }

    pub(super) async fn finish_upload(
        &self,
        name: &str,
        id: &str,
        query: &str,
        body: Body,
    ) -> Result<Response, Refusal> {
        let digest = parameter(query, "digest").ok_or_else(|| {
            Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the parameter digest is missing")
        })?;
        let bytes = received(body).await?;
        let blob = {
            let mut content = self.content();
            content.append(id, &bytes).ok_or_else(no_upload)?;
            content.end_upload(id).ok_or_else(no_upload)?
        };
        self.keep(name, &digest, blob)
    }

    pub(super) fn cancel_upload(&self, id: &str) -> Result<Response, Refusal> {
        self.content().end_upload(id).ok_or_else(no_upload)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn keep(&self, name: &str, digest: &str, bytes: Bytes) -> Result<Response, Refusal> {
        let digest = parse(digest)?;
        if Digest::of(&bytes) != digest {
            let message = "provided digest did not match uploaded content";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
        }
        self.content().put_blob(name, digest.clone(), bytes).map_err(|error| full(&error))?;
        Ok(created(name, &digest))
    }
}

async fn received(body: Body) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, CHUNK_BYTES_MAX).await.map_err(|_| too_large())
}

fn parse(digest: &str) -> Result<Digest, Refusal> {
    digest
        .parse()
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the digest is malformed"))
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "blobs in the demo registry end at 256 MiB")
}

fn no_upload() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

fn created(name: &str, digest: &Digest) -> Response {
    let at = [
        (header::LOCATION, format!("/v2/{name}/blobs/{digest}")),
        (DOCKER_CONTENT_DIGEST, digest.to_string()),
    ];
    (StatusCode::CREATED, at).into_response()
}

fn progress(status: StatusCode, name: &str, id: &str, length: usize) -> Response {
    let at = [
        (header::LOCATION, format!("/v2/{name}/blobs/uploads/{id}")),
        (header::RANGE, format!("0-{}", length.saturating_sub(1))),
        (UPLOAD_ID, id.to_owned()),
    ];
    (status, at).into_response()
}
