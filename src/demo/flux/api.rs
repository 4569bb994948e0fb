//! A controller's client of the Kubernetes API: over HTTP, as everybody's.

use http::{Method, StatusCode, header};
use serde_json::{Map, Value, json};

use super::events::Events;

/// A kind and where it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) kind: &'static str,
    /// Group and version.
    pub(super) version: &'static str,
    pub(super) plural: &'static str,
}

/// Why the API refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) message: String,
}

/// The client of one controller.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) client: reqwest::Client,
    /// `http://127.0.0.1:port`
    pub(super) front: String,
    /// The controller's name, which is also the manager of what it writes.
    pub(super) name: &'static str,
    pub(super) events: Events,
}

impl Type {
    pub(super) fn path(&self, namespace: &str, name: &str) -> String {
        format!("/apis/{}/namespaces/{namespace}/{}/{name}", self.version, self.plural)
    }

    pub(super) fn all(&self) -> String {
        format!("/apis/{}/{}", self.version, self.plural)
    }
}

impl Api {
    pub(super) fn new(client: reqwest::Client, front: &str, name: &'static str) -> Self {
        Self { client, front: front.to_owned(), name, events: Events::default() }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, Refused> {
        match self.send(Method::GET, path, "", None).await {
            Ok(object) => Ok(Some(object)),
            Err(refused) if refused.code == StatusCode::NOT_FOUND.as_u16() => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// The objects of a kind in a namespace.
    pub(super) async fn list(&self, type_: &Type, namespace: &str) -> Result<Vec<Value>, Refused> {
        let path = format!("/apis/{}/namespaces/{namespace}/{}", type_.version, type_.plural);
        let mut list = self.send(Method::GET, &path, "", None).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        let path = format!("{path}?fieldManager={}", self.name);
        self.send(Method::POST, &path, "application/json", Some(object)).await
    }

    pub(super) async fn merge(&self, path: &str, manager: &str, patch: &Value) -> Result<Value, Refused> {
        let path = format!("{path}?fieldManager={manager}");
        self.send(Method::PATCH, &path, "application/merge-patch+json", Some(patch)).await
    }

    /// A server-side apply, on trial or in earnest.
    pub(super) async fn apply(
        &self,
        path: &str,
        object: &Value,
        force: bool,
        on_trial: bool,
    ) -> Result<Value, Refused> {
        let trial = if on_trial { "&dryRun=All" } else { "" };
        let path = format!("{path}?fieldManager={}&force={force}{trial}", self.name);
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", Some(object)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), Refused> {
        self.send(Method::DELETE, path, "", None).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        form: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let url = format!("{}{path}", self.front);
        let lost = |error: reqwest::Error| Refused {
            code: 0,
            reason: String::new(),
            message: format!("{method} {url:?}: {error}"),
        };
        let mut request = self.client.request(method.clone(), &url).header(header::USER_AGENT, self.name);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, form).body(body.to_string());
        }
        let response = request.send().await.map_err(lost)?;
        let code = response.status();
        let mut answer: Value = response.json().await.map_err(lost)?;
        if code.is_success() {
            return Ok(answer);
        }
        let conflicts = answer["details"]["causes"][0]["reason"] == "FieldManagerConflict";
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        Err(Refused {
            code: code.as_u16(),
            reason: if conflicts { "FieldManagerConflict".to_owned() } else { text(answer["reason"].take()) },
            message: text(answer["message"].take()),
        })
    }
}

/// The merge patch that makes `before` into `after`, if they differ.
pub(super) fn difference(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return Some(after.clone()) };
    let mut patch = Map::new();
    for (key, value) in new {
        if let Some(inside) = difference(old.get(key).unwrap_or(&Value::Null), value) {
            patch.insert(key.clone(), inside);
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), json!(null));
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_holds_what_differs_and_nothing_else() {
        let before = json!({"a": 1, "b": {"c": [1], "d": 2}, "e": 3});
        let after = json!({"a": 1, "b": {"c": [1, 2], "d": 2}});
        assert_eq!(difference(&before, &after), Some(json!({"b": {"c": [1, 2]}, "e": null})));
        assert_eq!(difference(&after, &after), None);
    }
}
