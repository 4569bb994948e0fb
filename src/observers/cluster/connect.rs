//! The way to a cluster: its configuration, and who it is.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use super::api::{Api, Failure, with_sources};
use super::resource::WHOLE;
use crate::config::Cluster;
use crate::observation::ClusterUid;

/// Time to connect. kube's own default is 30 s, longer than anybody waits for a `check`.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Why there is no way to a cluster. No message holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named kubeconfig cannot be read, or has no such context.
    #[error("cluster {cluster}: the kubeconfig {path} cannot be used: {why}")]
    Kubeconfig { cluster: String, path: String, why: String },
    /// Nothing is configured, we run in no cluster, and there is no kubeconfig either.
    #[error(
        "cluster {cluster}: not in a cluster ({in_cluster}) and no kubeconfig ({why}); set clusters[].kubeconfig, or KUBECONFIG"
    )]
    Nowhere { cluster: String, in_cluster: String, why: String },
    /// TLS or credentials of the configuration are unusable: a missing file, an exec plugin that fails.
    #[error("cluster {cluster}: no client can be made: {why}")]
    Client { cluster: String, why: String },
    /// The API server cannot be asked.
    #[error("{0}")]
    Ask(String),
}

/// Makes a client: the configured kubeconfig, else the cluster we run in, else `$KUBECONFIG` or `~/.kube/config`.
/// Nothing is asked of the cluster yet.
pub async fn connect(cluster: &Cluster) -> Result<kube::Client, Error> {
    let mut config = find(cluster).await?;
    config.connect_timeout = Some(CONNECT_TIME_MAX);
    // kube would retry 15 times inside one call, where neither our bounds nor our metrics see it.
    config.default_retry = false;
    kube::Client::try_from(config)
        .map_err(|why| Error::Client { cluster: cluster.name.clone(), why: with_sources(&why) })
}

async fn find(cluster: &Cluster) -> Result<Config, Error> {
    let options = KubeConfigOptions { context: cluster.context.clone(), ..Default::default() };
    let name = || cluster.name.clone();
    if let Some(path) = &cluster.kubeconfig {
        let wrong = |why: kube::config::KubeconfigError| Error::Kubeconfig {
            cluster: name(),
            path: path.display().to_string(),
            why: with_sources(&why),
        };
        let file = Kubeconfig::read_from(path).map_err(wrong)?;
        return Config::from_custom_kubeconfig(file, &options).await.map_err(wrong);
    }
    // A context is a word of a kubeconfig: who names one does not mean the cluster around us.
    let in_cluster = match cluster.context {
        None => match Config::incluster() {
            Ok(config) => return Ok(config),
            Err(why) => with_sources(&why),
        },
        Some(_) => "a context is configured".into(),
    };
    Config::from_kubeconfig(&options).await.map_err(|why| Error::Nowhere {
        cluster: name(),
        in_cluster,
        why: with_sources(&why),
    })
}

/// The cluster's identity: the UID of the namespace `kube-system`.
///
/// Where that may not be read, the UID of the Service `kubernetes` in `default`, which every API server makes once;
/// where that may not be read either, the configured name. Granting the first later changes the identity, and
/// history begins anew: so it is worth a warning.
pub(super) async fn identity(api: &Api) -> Result<ClusterUid, Failure> {
    match uid_of(api, "/api/v1/namespaces/kube-system").await {
        Err(failure) if is_refusal(&failure) => {
            tracing::warn!("{failure}; using another identity: allow get on the namespace kube-system");
        }
        answer => return answer,
    }
    match uid_of(api, "/api/v1/namespaces/default/services/kubernetes").await {
        Err(failure) if is_refusal(&failure) => Ok(format!("name-{}", api.cluster).into()),
        answer => Ok(format!("service-{}", answer?).into()),
    }
}

/// The server answered, and the answer is no.
fn is_refusal(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { refusal, .. } if matches!(refusal.code, 403 | 404))
}

async fn uid_of(api: &Api, path: &str) -> Result<ClusterUid, Failure> {
    let body = api.get(path, WHOLE).await?;
    let object: Identified = serde_json::from_slice(&body).map_err(|why| api.malformed(&why))?;
    Ok(object.metadata.uid)
}

#[derive(Deserialize)]
struct Identified {
    metadata: IdentifiedMetadata,
}

#[derive(Deserialize)]
struct IdentifiedMetadata {
    uid: Arc<str>,
}
