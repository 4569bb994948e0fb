//! Logins that a cloud gives to a pod: no password is written down anywhere.
//!
//! The registry's own host name says which cloud it belongs to; nothing that a registry answers ever does. Who we are
//! comes from the environment that the cloud sets for the pod, and from the files that it names. The variables are
//! those of the clouds' own tools, endpoints for private networks among them. Another cloud is a file here.

mod aws;
mod azure;
mod environment;
mod google;
mod questions;

pub use environment::Environment;

use std::time::{Duration, Instant};

use reqwest::Url;

use super::Found;
use crate::observers::registry::client::NamedBy;

/// A login is got anew so long before its end, or after half its life if that is shorter.
const MARGIN: Duration = Duration::from_secs(300);

/// The cloud of one registry.
#[derive(Debug)]
pub struct Cloud {
    host: String,
    kind: Kind,
    named_by: NamedBy,
    environment: Environment,
}

/// Whose registry it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Amazon's ECR in a region; the suffix is the domain of that part of the world.
    Ecr { region: String, suffix: &'static str },
    /// Google's Artifact Registry, and its older Container Registry.
    Google,
    /// Azure's registry.
    Azure,
}

impl Kind {
    /// By the host's name, label by label.
    #[must_use]
    pub fn of(host: &str) -> Option<Self> {
        let labels: Vec<&str> = host.split('.').collect();
        match labels[..] {
            [_, "dkr", "ecr" | "ecr-fips", region, "amazonaws", "com"] => {
                Some(Self::Ecr { region: region.into(), suffix: "amazonaws.com" })
            }
            [_, "dkr", "ecr", region, "amazonaws", "com", "cn"] => {
                Some(Self::Ecr { region: region.into(), suffix: "amazonaws.com.cn" })
            }
            [name, "pkg", "dev"] if name.ends_with("-docker") => Some(Self::Google),
            ["gcr", "io"] | ["us" | "eu" | "asia", "gcr", "io"] => Some(Self::Google),
            [_, "azurecr", "io"] | [_, _, "azurecr", "io"] => Some(Self::Azure),
            _ => None,
        }
    }
}

impl Cloud {
    /// The cloud of a host, if it belongs to one, in the environment of this process.
    #[must_use]
    pub fn of(host: &str, named_by: NamedBy) -> Option<Self> {
        Kind::of(host).map(|kind| Self::new(kind, host, named_by, Environment::of_process()))
    }

    /// The same with another environment.
    #[must_use]
    pub fn new(kind: Kind, host: &str, named_by: NamedBy, environment: Environment) -> Self {
        Self { host: host.into(), kind, named_by, environment }
    }

    /// Gets a login. `None` where this pod has no identity in that cloud. `registry` is the address of its API.
    ///
    /// # Errors
    /// What was asked, what it answered and what to do, without any secret.
    pub async fn login(&self, registry: &Url) -> Result<Option<Found>, String> {
        let got = match &self.kind {
            Kind::Ecr { region, suffix } => aws::login(&self.environment, region, suffix).await,
            Kind::Google => google::login(&self.environment, self.named_by).await,
            Kind::Azure => azure::login(&self.environment, &self.host, registry).await,
        };
        let name = match self.kind {
            Kind::Ecr { .. } => "ECR",
            Kind::Google => "Artifact Registry",
            Kind::Azure => "ACR",
        };
        match got {
            Ok(got) => Ok(got.map(|(login, life, from)| {
                let until = Instant::now() + life.saturating_sub(MARGIN.min(life / 2));
                Found { login, until: Some(until), from }
            })),
            Err(why) => Err(format!("{name} login: {why} (docs/credentials.md)")),
        }
    }
}
