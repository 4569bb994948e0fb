//! What may be read in a cluster, and the role that grants the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Failure};
use super::connect::{Error, connect, identity};
use super::resource::{Resource, WHOLE};
use super::served::{Served, served};
use crate::config::Cluster;
use crate::image::{ImageRef, Repository};
use crate::observation::{ClusterUid, LookFailure};

/// Workloads of a kind that are looked at for their images: a large cluster's registries are among them.
const WORKLOADS_MAX: usize = 500;

/// What a check of a cluster found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    pub cluster: String,
    pub uid: ClusterUid,
    /// As the server prints it: `v1.36.2`.
    pub server_version: String,
    pub resources: Vec<(Resource, Access)>,
    /// What the first page of each kind of workload uses.
    pub images: BTreeSet<Repository>,
}

/// What may be done with a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// List and watch.
    Allowed,
    /// The server's own sentence.
    Forbidden(String),
    /// The cluster has no such kind.
    Missing,
    Failed(String),
}

impl CheckReport {
    /// A role to paste, where something is forbidden.
    #[must_use]
    pub fn grant(&self) -> Option<String> {
        self.resources.iter().any(|(_, access)| matches!(access, Access::Forbidden(_))).then(rbac)
    }
}

/// Asks the cluster what we may read of it: one object of each resource, and a watch that is closed at once.
pub async fn check(config: &Cluster) -> Result<CheckReport, Error> {
    let client = connect(config).await?;
    check_with(config, client).await
}

/// The same with a client that is already there.
pub async fn check_with(config: &Cluster, client: kube::Client) -> Result<CheckReport, Error> {
    let api = Api::new(client, config.name.as_str().into(), None);
    let ask = |failure: Failure| Error::Ask(failure.to_string());
    let version = api.get("/version", WHOLE).await.map_err(ask)?;
    let version: Version = serde_json::from_slice(&version).map_err(|why| ask(api.malformed(&why)))?;
    let uid = identity(&api).await.map_err(ask)?;
    let mut resources = Vec::new();
    let mut images = BTreeSet::new();
    for resource in Resource::all() {
        let access = access(&api, resource).await;
        if access == Access::Allowed && resource.workload_kind().is_some() {
            images.extend(used(&api, resource).await);
        }
        resources.push((resource, access));
    }
    Ok(CheckReport {
        cluster: config.name.clone(),
        uid,
        server_version: version.git_version,
        resources,
        images,
    })
}

/// The repositories that workloads of a kind name. A page that cannot be read names none: this only says what to
/// check next.
async fn used(api: &Api, resource: Resource) -> BTreeSet<Repository> {
    let page = api.get(&format!("{}?limit={WORKLOADS_MAX}", resource.path()), resource.accept()).await;
    let list: Option<Value> = page.ok().and_then(|page| serde_json::from_slice(&page).ok());
    let items = list.as_ref().and_then(|list| list["items"].as_array()).into_iter().flatten();
    let containers = items.flat_map(|item| {
        let spec = match resource {
            Resource::CronJobs => &item["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            _ => &item["spec"]["template"]["spec"],
        };
        spec["containers"].as_array().into_iter().flatten()
    });
    let images = containers.filter_map(|container| container["image"].as_str()?.parse::<ImageRef>().ok());
    images.map(|image| image.repository).collect()
}

async fn access(api: &Api, resource: Resource) -> Access {
    let path = match served(api, resource).await {
        Ok(Served::At(path)) => path,
        Ok(Served::Nowhere) => return Access::Missing,
        Ok(Served::Unread(why)) => return Access::Failed(why),
        Err(failure) => return Access::Failed(failure.to_string()),
    };
    let listed = api.get(&format!("{path}?limit=1"), resource.accept()).await.map(drop);
    let watch = format!("{path}?watch=1&timeoutSeconds=1&resourceVersion=0");
    let watched = match listed {
        Ok(()) => api.open(&watch, resource.accept()).await.map(drop),
        failed => failed,
    };
    match watched {
        Ok(()) => Access::Allowed,
        Err(failure) => match failure.class() {
            LookFailure::Forbidden => Access::Forbidden(failure.to_string()),
            LookFailure::Missing => Access::Missing,
            _ => Access::Failed(failure.to_string()),
        },
    }
}

/// The rule that grants one resource, as one line of a ClusterRole.
pub(super) fn rbac_line(resource: Resource) -> String {
    rule(resource.group(), &[resource.plural()])
}

/// The whole ClusterRole and its binding, for the service account that knotmeter is deployed with.
#[must_use]
pub fn rbac() -> String {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in Resource::all() {
        groups.entry(resource.group()).or_default().push(resource.plural());
    }
    let rules: String =
        groups.iter().map(|(group, resources)| format!("- {}\n", rule(group, resources))).collect();
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRole\n\
         metadata: {{name: knotmeter}}\n\
         rules:\n\
         - {{apiGroups: [\"\"], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}}\n\
         {rules}\
         ---\n\
         apiVersion: rbac.authorization.k8s.io/v1\n\
         kind: ClusterRoleBinding\n\
         metadata: {{name: knotmeter}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: knotmeter}}\n\
         subjects:\n\
         - {{kind: ServiceAccount, name: knotmeter, namespace: knotmeter}}\n"
    )
}

fn rule(group: &str, resources: &[&str]) -> String {
    format!("{{apiGroups: [\"{group}\"], resources: [{}], verbs: [get, list, watch]}}", resources.join(", "))
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Forbidden(_) => f.write_str("forbidden"),
            Self::Missing => f.write_str("missing"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}
