//! The way to a cluster: its configuration, and who it is.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{Config, ExecInteractiveMode, KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use super::api::{Api, Failure, with_sources};
use super::resource::WHOLE;
use crate::config::Cluster;
use crate::observation::ClusterUid;
use crate::observers::program;

/// Time to connect. kube's own default is 30 s, longer than anybody waits for a `check`.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A program that asks a cloud for a token needs seconds; one that waits for a person would wait for ever.
const EXEC_TIME_MAX: Duration = Duration::from_secs(30);
/// How much of a kubeconfig's hint is shown.
const HINT_LENGTH_MAX: usize = 200;

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
    /// The kubeconfig logs in with a program that is not here, or that fails.
    #[error(
        "cluster {cluster}: the kubeconfig logs in with the program {program}, which {why}; where it cannot be run use a service account: `kubectl apply -f` what `knotmeter check` prints, then in the kubeconfig `users: [{{name: .., user: {{tokenFile: /path/to/token}}}}]` with `kubectl -n knotmeter create token knotmeter --duration=8760h`"
    )]
    Exec { cluster: String, program: String, why: String },
    /// TLS or credentials of the configuration are unusable: a missing file.
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
    let name = || cluster.name.clone();
    let Some(exec) = &mut config.auth_info.exec else {
        return kube::Client::try_from(config)
            .map_err(|why| Error::Client { cluster: name(), why: with_sources(&why) });
    };
    let program = exec.command.clone().unwrap_or_default();
    let failed = |why: String| Error::Exec { cluster: name(), program: program.clone(), why };
    if program::find(&program).is_none() {
        let hint =
            exec.install_hint.as_deref().map_or_else(String::new, |hint| format!(" ({})", one_line(hint)));
        return Err(failed(format!("is not here{hint}")));
    }
    // Nobody sits in front of us.
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
    // kube waits for the program where it stands. What it printed is never shown: it may be the token.
    let runtime = tokio::runtime::Handle::current();
    let made = tokio::task::spawn_blocking(move || {
        let _context = runtime.enter();
        kube::Client::try_from(config).map_err(|_| "failed; run it by hand to see why".to_owned())
    });
    match tokio::time::timeout(EXEC_TIME_MAX, made).await {
        Ok(Ok(made)) => made.map_err(failed),
        Ok(Err(_)) => Err(failed("failed".into())),
        Err(_) => Err(failed(format!("did not end within {} s", EXEC_TIME_MAX.as_secs()))),
    }
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

/// A hint is a text of others, of several lines as a rule.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(HINT_LENGTH_MAX).collect()
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
