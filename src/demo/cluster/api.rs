//! The Kubernetes API over HTTP: takes a request apart, answers reads of single objects and discovery, and
//! hands lists, watches and writes to their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::discovery;
use super::fields::{Operation, Part, Writer};
use super::form::Form;
use super::kinds::{Kind, Named};
use super::refusal::Refusal;
use super::selector::Selector;
use super::store::Store;
use crate::demo::engine::Engine;
use crate::demo::fault::Faults;

/// The API server's own limit on a request body.
const REQUEST_BYTES_MAX: usize = 3 << 20;

pub(super) struct Api {
    pub(super) store: Arc<Store>,
    pub(super) faults: Faults,
    engine: Engine,
}

/// A request for objects, taken apart.
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// The version in which the client wants to see the kind.
    pub(super) version: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) selector: Selector,
    pub(super) form: Form,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    user_agent: String,
}

pub(super) fn router(store: Arc<Store>, faults: Faults, engine: Engine) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Api { store, faults, engine }))
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if matches!(path, "/healthz" | "/readyz" | "/livez") {
        return "ok".into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        let code = StatusCode::PAYLOAD_TOO_LARGE;
        return Refusal::new(code, "RequestEntityTooLarge", "the request is above 3 MiB").into_response();
    };
    if parts.method == Method::GET
        && let Some(document) = discovery::document(api.engine, path)
    {
        return json_response(StatusCode::OK, &document);
    }
    if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" && parts.method == Method::POST {
        return allowed(&parts.headers, &body);
    }
    let query = parts.uri.query().unwrap_or_default();
    let asked = match take_apart(api.engine, path, query, &parts.headers, body) {
        Ok(asked) => asked,
        Err(refusal) => return refusal.into_response(),
    };
    let answered = match parts.method {
        Method::GET if asked.watches() => super::watch::watch(&api, &asked),
        Method::GET if asked.name.is_none() => super::list::list(&api.store, &asked),
        Method::GET => get(&api.store, &asked),
        _ => super::write::write(&api, &parts.method, &asked),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

impl Asked {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value == "true" || value == "1")
    }

    pub(super) fn watches(&self) -> bool {
        self.is_set("watch")
    }

    /// The namespace to list in; none means all of them.
    pub(super) fn within(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) fn object(&self) -> Result<(&str, &str), Refusal> {
        let name = self.name.as_deref().ok_or_else(Refusal::method_not_allowed)?;
        Ok((self.namespace.as_deref().unwrap_or_default(), name))
    }

    /// An object in the form and version that the client wants.
    pub(super) fn shown(&self, object: &Value) -> Value {
        in_version(self.form.one(self.kind, object), self.kind, self.version)
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.parameter("dryRun").is_some()
    }

    /// An ordinary write by whoever asks.
    pub(super) fn writer(&self, part: Part) -> Writer<'_> {
        let dry_run = self.is_dry_run();
        Writer { manager: self.manager(), part, operation: Operation::Update, dry_run }
    }

    /// Who writes: what the client says it is, else the first word of its user agent.
    pub(super) fn manager(&self) -> &str {
        self.parameter("fieldManager").unwrap_or_else(|| {
            let program = self.user_agent.split(['/', ' ']).next().unwrap_or_default();
            if program.is_empty() { "unknown" } else { program }
        })
    }
}

fn take_apart(
    engine: Engine,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Asked, Refusal> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", "v1", rest @ ..] => ("", "v1", rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(Refusal::no_such_path()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, ..] if !matches!(*plural, "status" | "finalize") => {
            (Some((*namespace).to_owned()), &rest[2..])
        }
        _ => (None, rest),
    };
    let (plural, rest) = rest.split_first().ok_or_else(Refusal::no_such_path)?;
    let named = Named::find(engine, group, version, plural).ok_or_else(Refusal::no_such_path)?;
    let version = named.versions().find(|one| *one == version).unwrap_or(named.version);
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some((*name).to_owned()), None),
        [name, sub] if named.subresources.contains(sub) => {
            (Some((*name).to_owned()), Some((*sub).to_owned()))
        }
        _ => return Err(Refusal::no_such_path()),
    };
    let query: BTreeMap<String, String> = crate::demo::query_pairs(query).into_iter().collect();
    let parameter = |name: &str| query.get(name).map_or("", String::as_str);
    let selector = Selector::parse(parameter("labelSelector"), parameter("fieldSelector"))
        .map_err(|part| Refusal::bad_request(format!("unable to parse requirement: {part:?}")))?;
    let header =
        |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok(Asked {
        kind: named.kind,
        version,
        namespace,
        name,
        subresource,
        selector,
        form: Form::asked(headers, query.get("includeObject").map(String::as_str)),
        content_type: header(header::CONTENT_TYPE),
        user_agent: header(header::USER_AGENT),
        query,
        body,
    })
}

fn get(store: &Store, asked: &Asked) -> Result<Response, Refusal> {
    let (namespace, name) = asked.object()?;
    let object =
        store.get(asked.kind, namespace, name).ok_or_else(|| Refusal::not_found(asked.kind, name))?;
    let shown = match asked.subresource.as_deref() {
        Some("scale") => super::write::scale_of(&object),
        _ => asked.shown(&object),
    };
    Ok(json_response(StatusCode::OK, &shown))
}

/// Everybody may do everything in the demo; a client that asks first hears so.
fn allowed(headers: &HeaderMap, body: &[u8]) -> Response {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if sent.contains("protobuf") {
        // A client that hears this says it again in JSON.
        let message = "the body of the request was in an unknown format";
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Refusal::new(code, "UnsupportedMediaType", message).into_response();
    }
    let mut review: Value = serde_json::from_slice(body).unwrap_or_default();
    if !review.is_object() {
        return Refusal::bad_request("the body is not a SelfSubjectAccessReview").into_response();
    }
    review["status"] = json!({"allowed": true});
    json_response(StatusCode::CREATED, &review)
}

/// An object or a list as another served version of its kind has it.
pub(super) fn in_version(mut shown: Value, kind: Kind, version: &str) -> Value {
    let named = kind.named();
    if version != named.version && shown["apiVersion"] == named.api_version().as_str() {
        shown["apiVersion"] = Value::from(format!("{}/{version}", named.group));
    }
    shown
}

pub(super) fn json_response(code: StatusCode, body: &Value) -> Response {
    let described =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache, private")];
    (code, described, body.to_string()).into_response()
}
