//! Pushing the canary, through oci-client: upload sessions are the fiddly part of the protocol.

use std::fmt;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use http::HeaderValue;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};

use super::Options;
use super::canary::{Canary, MANIFEST_TYPE};
use crate::image::{Digest, Repository, Tag};
use crate::observation::{Interval, Time};

/// A registry that does not take a connection for this long is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A registry that says nothing for this long is stuck: the blobs are a few kilobytes.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Who pushes.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    Anonymous,
    Basic {
        user: String,
        password: String,
    },
    /// What `docker login` left for this registry, or nobody.
    DockerConfig,
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { user, .. } => write!(f, "Basic({user})"),
            Self::DockerConfig => f.write_str("DockerConfig"),
        }
    }
}

/// Why the canary did not get there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be made: no certificates, a bad proxy.
    #[error("cannot speak to a registry: {0}")]
    Client(String),
    /// `docker login` left something that cannot be used.
    #[error("the docker credentials for {registry} cannot be used: {why}")]
    Credentials { registry: String, why: String },
    /// The tag is there already.
    #[error("{repository}:{tag} exists: a smoketest replaces nothing; give another tag or prefix")]
    Exists { repository: Repository, tag: Tag },
    /// The registry refused, or could not be reached.
    #[error("cannot push to {repository}: {why}")]
    Refused { repository: Repository, why: String },
}

/// Pushes the canary. The answer is when the manifest was put: not before the request, not after the reply.
pub async fn push(canary: &Canary, options: &Options, tag: &Tag) -> Result<Interval, Error> {
    let repository = &options.repository;
    let refused =
        |error: OciDistributionError| Error::Refused { repository: repository.clone(), why: because(&error) };
    let config = ClientConfig {
        protocol: if options.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(READ_TIMEOUT),
        user_agent: concat!("knotmeter/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    let client = Client::try_from(config).map_err(|error| Error::Client(because(&error)))?;
    let auth = authentication(&options.credentials, repository).await?;
    let target = Reference::with_tag(repository.host().into(), repository.path().into(), tag.to_string());
    client.auth(&target, &auth, RegistryOperation::Push).await.map_err(refused)?;
    // Any answer but "it is there" lets the push go on, and the push then says what is wrong.
    if client.fetch_manifest_digest(&target, &auth).await.is_ok() {
        return Err(Error::Exists { repository: repository.clone(), tag: tag.clone() });
    }
    for blob in [&canary.layer, &canary.config] {
        client.push_blob(&target, blob.clone(), &Digest::of(blob).to_string()).await.map_err(refused)?;
    }
    let started = now();
    let media_type = HeaderValue::from_static(MANIFEST_TYPE);
    client.push_manifest_raw(&target, canary.manifest.clone(), media_type).await.map_err(refused)?;
    Ok(Interval::new(started, now()))
}

async fn authentication(credentials: &Credentials, repository: &Repository) -> Result<RegistryAuth, Error> {
    match credentials {
        Credentials::Anonymous => Ok(RegistryAuth::Anonymous),
        Credentials::Basic { user, password } => Ok(RegistryAuth::Basic(user.clone(), password.clone())),
        Credentials::DockerConfig => {
            let registry = match repository.host() {
                // The key under which `docker login` keeps Docker Hub.
                "docker.io" => "https://index.docker.io/v1/".to_owned(),
                host => host.to_owned(),
            };
            let wrong = |why: String| Error::Credentials { registry: repository.host().to_owned(), why };
            // A credential helper is a program that is waited for.
            let asked =
                tokio::task::spawn_blocking(move || docker_credential::get_credential(&registry)).await;
            match asked.map_err(|error| wrong(error.to_string()))? {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    Ok(RegistryAuth::Basic(user, password))
                }
                Ok(DockerCredential::IdentityToken(_)) => Err(wrong(
                    "it is an identity token; log in with a user and a password or access token".into(),
                )),
                Err(
                    CredentialRetrievalError::NoCredentialConfigured
                    | CredentialRetrievalError::ConfigNotFound
                    | CredentialRetrievalError::ConfigReadError,
                ) => Ok(RegistryAuth::Anonymous),
                // A helper's output may hold the secret itself.
                Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                    Err(wrong(format!("docker-credential-{helper} failed; run it by hand")))
                }
                Err(error) => Err(wrong(error.to_string())),
            }
        }
    }
}

/// The library's error with its causes, on one line.
fn because(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect()
}

fn now() -> Time {
    Time::from(chrono::Utc::now())
}
