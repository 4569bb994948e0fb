//! The applier: looks at the branch and applies every manifest of a new commit to the Kubernetes API, on the
//! server's side and (but for a fault) with force, as the manager `demo-applier`. It prunes nothing.

use std::time::Duration;

use http::{StatusCode, header};
use serde_json::Value;

use super::updater::{manifests, read};
use super::{ENVIRONMENTS, expect};
use crate::demo::Error;
use crate::demo::fault::{Fault, Faults};
use crate::demo::git::Git;

/// The field manager of everything that comes from git.
const MANAGER: &str = "demo-applier";

pub(in crate::demo) struct Applier {
    client: reqwest::Client,
    /// `http://127.0.0.1:port`
    api: String,
    git: Git,
    faults: Faults,
    applied: String,
}

impl Applier {
    /// An applier whose `git` is a clone.
    pub(in crate::demo) fn new(client: reqwest::Client, api: String, git: Git, faults: Faults) -> Self {
        Self { client, api, git, faults, applied: String::new() }
    }

    pub(in crate::demo) async fn run(mut self, every: Duration) {
        loop {
            if !self.faults.on(Fault::ApplierDown)
                && let Err(error) = self.pass().await
            {
                tracing::debug!(%error, "the applier will try again");
            }
            tokio::time::sleep(every).await;
        }
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let tip = self.git.remote_tip().await?;
        if tip == self.applied {
            return Ok(());
        }
        self.git.refresh().await?;
        let mut first_error = None;
        for environment in ENVIRONMENTS {
            for path in manifests(&self.git.folder().join(environment))? {
                let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&read(&path)?);
                let documents = match documents {
                    Ok(documents) => documents,
                    Err(error) => {
                        let what = format!("reading {}", path.display());
                        first_error.get_or_insert(Error::Http { what, why: error.to_string() });
                        continue;
                    }
                };
                for object in documents.iter().filter(|object| object.is_object()) {
                    // One bad manifest does not keep the others from being applied.
                    if let Err(error) = self.apply(environment, object).await {
                        first_error.get_or_insert(error);
                    }
                }
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => {
                self.applied = tip;
                Ok(())
            }
        }
    }

    async fn apply(&self, environment: &str, object: &Value) -> Result<(), Error> {
        let path = object_path(environment, object);
        let force = !self.faults.on(Fault::ApplyConflict);
        let url = format!("{}{path}?fieldManager={MANAGER}&force={force}", self.api);
        let request = self
            .client
            .patch(url)
            .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
            .body(object.to_string());
        let what = || format!("applying {path}");
        expect(what, request.send().await, &[StatusCode::OK, StatusCode::CREATED]).await.map(drop)
    }
}

/// Where an object of a manifest is found in the API; `namespace` where the manifest names none.
pub(in crate::demo) fn object_path(namespace: &str, object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
    let root = if version.contains('/') { "apis" } else { "api" };
    let kind = kind.to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    format!("/{root}/{version}/namespaces/{namespace}/{plural}/{name}")
}
