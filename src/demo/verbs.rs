//! What a person can do in the world by hand. Everything goes through the real protocols.

use chrono::{DateTime, SecondsFormat, Utc};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Error, World};
use crate::image::Digest;

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub digest: Digest,
    /// When the registry had answered.
    pub at: DateTime<Utc>,
}

impl World {
    /// Builds a new image and pushes it, for example as `team/web` and `v1.0.7`.
    ///
    /// # Errors
    /// Where the registry refuses it.
    pub async fn push(&self, repository: &str, tag: &str) -> Result<Push, Error> {
        let digest = self.developer.push(repository, tag).await?;
        Ok(Push { digest, at: Utc::now() })
    }

    /// Takes a tag out of the registry; the manifest stays.
    ///
    /// # Errors
    /// Where the registry refuses it.
    pub async fn delete_tag(&self, repository: &str, tag: &str) -> Result<(), Error> {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.addresses.registry);
        let request = self.client.delete(url);
        self.send(format!("deleting the tag {repository}:{tag}"), request).await.map(drop)
    }

    /// Scales a Deployment, as `kubectl scale`.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn scale(&self, namespace: &str, name: &str, replicas: u32) -> Result<(), Error> {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale");
        self.patch(&path, "kubectl", &json!({"spec": {"replicas": replicas}})).await.map(drop)
    }

    /// Restarts a Deployment, as `kubectl rollout restart`.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn restart(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.patch(&deployment(namespace, name), "kubectl-rollout", &patch).await.map(drop)
    }

    /// Gives a Deployment's container another image past git, as `kubectl set image`.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn set_image(&self, namespace: &str, name: &str, image: &str) -> Result<(), Error> {
        let containers = json!([{"name": name, "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.patch(&deployment(namespace, name), "kubectl-set", &patch).await.map(drop)
    }

    /// Pauses or resumes the rollouts of a Deployment, as `kubectl rollout pause` and `resume`.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn pause(&self, namespace: &str, name: &str, paused: Paused) -> Result<(), Error> {
        let value = match paused {
            Paused::Yes => json!(true),
            Paused::No => Value::Null,
        };
        let patch = json!({"spec": {"paused": value}});
        self.patch(&deployment(namespace, name), "kubectl-rollout", &patch).await.map(drop)
    }

    /// Deletes an object of the Kubernetes API by its path, for example
    /// `/api/v1/namespaces/prod/pods/web-5d9c-x2x7k`.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        let request = self.client.delete(format!("{}{path}", self.addresses.kubernetes));
        self.send(format!("deleting {path}"), request).await.map(drop)
    }

    /// Creates an object in a collection of the Kubernetes API, for example `/api/v1/namespaces`.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Error> {
        let request = self.client.post(format!("{}{path}", self.addresses.kubernetes)).json(object);
        self.send(format!("creating in {path}"), request).await
    }

    /// What the Kubernetes API answers at a path.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        self.send(format!("getting {path}"), self.client.get(format!("{}{path}", self.addresses.kubernetes)))
            .await
    }

    /// Patches an object by a strategic merge as the given field manager.
    ///
    /// # Errors
    /// Where the API refuses it.
    pub async fn patch(&self, path: &str, manager: &str, patch: &Value) -> Result<Value, Error> {
        let url = format!("{}{path}?fieldManager={manager}", self.addresses.kubernetes);
        let request = self
            .client
            .request(Method::PATCH, url)
            .header(header::CONTENT_TYPE, "application/strategic-merge-patch+json")
            .body(patch.to_string());
        self.send(format!("patching {path}"), request).await
    }

    async fn send(&self, what: String, request: reqwest::RequestBuilder) -> Result<Value, Error> {
        let failed = |why: String| Error::Http { what: what.clone(), why };
        let response = request.send().await.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let body = response.text().await.map_err(|error| failed(error.to_string()))?;
        if !status.is_success() {
            return Err(failed(format!("{status}: {}", body.chars().take(300).collect::<String>())));
        }
        if status == StatusCode::ACCEPTED || body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&body).map_err(|error| failed(error.to_string()))
    }
}

/// Whether rollouts of a Deployment rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    Yes,
    No,
}

fn deployment(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
}
