//! What the API server says no with: Kubernetes' `Status` object.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::kinds::Kind;

#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) details: Value,
}

impl Refusal {
    pub(super) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        let mut refusal = Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{} {name:?} not found", kind.qualified_plural()),
        );
        refusal.details = json!({"name": name, "group": kind.named().group, "kind": kind.named().plural});
        refusal
    }

    pub(super) fn no_such_path() -> Self {
        let mut refusal =
            Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource");
        refusal.details = json!({});
        refusal
    }

    pub(super) fn exists(kind: Kind, name: &str) -> Self {
        let mut refusal = Self::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            format!("{} {name:?} already exists", kind.qualified_plural()),
        );
        refusal.details = json!({"name": name, "group": kind.named().group, "kind": kind.named().plural});
        refusal
    }

    pub(super) fn changed_meanwhile(kind: Kind, name: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your \
                 changes to the latest version and try again",
                kind.qualified_plural()
            ),
        )
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    pub(super) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(StatusCode::GONE, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl Kind {
    /// `pods` or `deployments.apps`, as messages have it.
    fn qualified_plural(self) -> String {
        let named = self.named();
        if named.group.is_empty() {
            named.plural.to_owned()
        } else {
            format!("{}.{}", named.plural, named.group)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        (self.code, json, self.status().to_string()).into_response()
    }
}
