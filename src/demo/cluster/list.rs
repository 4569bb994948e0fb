//! Lists, whole and in pages.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Asked, in_version, json_response};
use super::refusal::Refusal;
use super::store::{Store, text};

pub(super) fn list(store: &Store, asked: &Asked) -> Result<Response, Refusal> {
    let (now, mut objects) = store.list(asked.kind, asked.within());
    let version = lower_bound(asked)?.unwrap_or(0);
    if version > now {
        return Err(from_the_future(version, now));
    }
    objects.retain(|object| asked.selector.matches(object));
    let limit = asked.parameter("limit").and_then(|limit| limit.parse::<usize>().ok()).unwrap_or(0);
    let page = asked.parameter("continue").filter(|token| !token.is_empty()).map(|token| {
        page_after(token).ok_or_else(|| Refusal::bad_request("continue key is not valid: invalid token"))
    });
    // Later pages carry the version of the first one: a watch from there sees what changed in between.
    let mut version = now;
    if let Some(page) = page {
        let (first_version, after) = page?;
        version = first_version;
        store.changes_since(asked.kind, first_version)?;
        objects.retain(|object| place(object) > after);
    }
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if limit > 0 && objects.len() > limit {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            metadata["continue"] = Value::from(token(version, &place(last)));
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    let shown = asked.form.list(asked.kind, objects.iter().map(|object| &**object), metadata);
    Ok(json_response(StatusCode::OK, &in_version(shown, asked.kind, asked.version)))
}

/// The `resourceVersion` of a request. Absent, empty and 0 all mean "any".
pub(super) fn lower_bound(asked: &Asked) -> Result<Option<u64>, Refusal> {
    match asked.parameter("resourceVersion") {
        None | Some("" | "0") => Ok(None),
        Some(given) => given.parse().map(Some).map_err(|_| {
            let message = format!(
                "resourceVersion: Invalid value: {given:?}: strconv.ParseUint: parsing {given:?}: invalid syntax"
            );
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
        }),
    }
}

fn from_the_future(asked: u64, now: u64) -> Refusal {
    let message = format!("Timeout: Too large resource version: {asked}, current: {now}");
    let mut refusal = Refusal::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
    refusal.details = json!({"retryAfterSeconds": 1,
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]});
    refusal
}

/// Where an object stands in the order of a list.
fn place(object: &Value) -> (String, String) {
    (text(&object["metadata"], "namespace"), text(&object["metadata"], "name"))
}

fn token(version: u64, last: &(String, String)) -> String {
    URL_SAFE_NO_PAD.encode(json!([version, last.0, last.1]).to_string())
}

fn page_after(token: &str) -> Option<(u64, (String, String))> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (version, namespace, name) = serde_json::from_slice(&bytes).ok()?;
    Some((version, (namespace, name)))
}
