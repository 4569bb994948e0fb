//! Which login a registry gets: from a docker config or pull secret, from a helper program, or from the cloud that
//! the registry belongs to, in this order.
//!
//! `docker` reads the text of a file, `files` finds the files, `program` runs a helper, `cloud` asks a cloud. Nothing
//! here is asked for before a registry wanted a login. A new kind of file goes into `docker`, another cloud is a file
//! in `cloud`.

pub mod cloud;
pub mod docker;
pub mod files;
pub mod program;

pub use crate::observers::secret::Secret;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::Mutex;

use self::cloud::Cloud;
use self::files::{Asked, Files};
use super::client::NamedBy;

/// What a helper program said is taken for so long.
const HELPER_KEPT: Duration = Duration::from_secs(900);
/// A login that is refused although it was got a moment ago is not got again: with ten thousand repositories that
/// would be ten thousand questions to the cloud.
const REFUSED_KEPT: Duration = Duration::from_secs(60);
/// Where no login could be got, the next try comes after so long.
const FAILED_KEPT: Duration = Duration::from_secs(30);

/// How to log in at one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// An OAuth2 refresh token, good only at a token service.
    Identity(Secret),
}

/// A login, and how long it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub login: Login,
    /// `None`: until it is refused.
    pub until: Option<Instant>,
    /// Where it is from, for `check`.
    pub from: &'static str,
}

/// Everything that may log us in at one host.
#[derive(Debug)]
pub struct Keyring {
    host: Arc<str>,
    files: Files,
    cloud: Option<Cloud>,
    /// What a program or a cloud gave. Whoever holds the lock asks; the others wait and find it.
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    at: Instant,
    outcome: Result<Option<Found>, String>,
}

impl Keyring {
    /// For a host as image references name it. `docker_config` is a file or a folder.
    #[must_use]
    pub fn new(host: Arc<str>, plain_http: bool, named_by: NamedBy, docker_config: Option<PathBuf>) -> Self {
        // A cloud's token in the clear would be anybody's.
        let cloud = if plain_http { None } else { Cloud::of(&host, named_by) };
        Self { host, files: Files::new(docker_config), cloud, held: Mutex::default() }
    }

    /// The login for a repository's path; the empty path is the registry itself. Files are read again if they have
    /// changed.
    ///
    /// # Errors
    /// A sentence that names the file, program or service, without any secret.
    pub async fn login(&self, path: &str, registry: &Url) -> Result<Option<Found>, String> {
        self.find(path, registry, Duration::MAX).await
    }

    /// The same after the login was refused: what was got long ago is got anew.
    ///
    /// # Errors
    /// As [`Keyring::login`].
    pub async fn login_after_refusal(&self, path: &str, registry: &Url) -> Result<Option<Found>, String> {
        self.find(path, registry, REFUSED_KEPT).await
    }

    async fn find(&self, path: &str, registry: &Url, kept: Duration) -> Result<Option<Found>, String> {
        let helper = match self.files.ask(&self.host, path).await? {
            Asked::Login(login) => return Ok(Some(Found { login, until: None, from: "docker config" })),
            Asked::Helper(helper) => Some(helper),
            Asked::Nothing => None,
        };
        if helper.is_none() && self.cloud.is_none() {
            return Ok(None);
        }
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.is_good(kept)) {
            return held.outcome.clone();
        }
        let mut outcome = Ok(None);
        if let Some(helper) = helper {
            let until = Some(Instant::now() + HELPER_KEPT);
            let found = |login| Found { login, until, from: "credential helper" };
            outcome = helper.ask(&self.host).await.map(|login| login.map(found));
        }
        if let (Ok(None), Some(cloud)) = (&outcome, &self.cloud) {
            outcome = cloud.login(registry).await;
        }
        *held = Some(Held { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }
}

impl Held {
    fn is_good(&self, kept: Duration) -> bool {
        let age = self.at.elapsed();
        match &self.outcome {
            Ok(Some(found)) => age < kept && found.until.is_none_or(|until| Instant::now() < until),
            Ok(None) | Err(_) => age < FAILED_KEPT,
        }
    }
}
