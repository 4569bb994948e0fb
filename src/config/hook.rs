//! Webhooks that may hurry a look.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::public_url;

/// A webhook: `POST /hooks/NAME`. It makes a look at something that is known already due at once, and is believed
/// in nothing else; a hint may also say what is to go live, where `expect_in` allows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The last part of its address: letters, digits, `-` and `_`.
    pub name: String,
    /// Who sends.
    pub kind: HookKind,
    /// A file with the secret, relative to the configuration file: one line, or two while the secret is being changed. Kinds that sign, sign with it; kinds that send a token send it; for the others it ends the address, `POST /hooks/NAME/SECRET`. Only `gar` may go without, where it has `oidc`.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Only for `gar`: the token that Pub/Sub sends with each push. With a `secret_file` both are wanted.
    #[serde(default)]
    pub oidc: Option<Oidc>,
    /// Registry host as image references name it, for senders that do not name it themselves.
    #[serde(default)]
    pub registry: Option<String>,
    /// Environments in which a hint may expect an image (kind `hint`): `{"image": .., "environment": ..}` opens a journey. None: hints only hurry looks.
    #[serde(default)]
    pub expect_in: Vec<String>,
}

/// Whose tokens are good: those that Google signed for this audience and this service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The audience of the push subscription; Pub/Sub's own default is the address that it pushes to.
    pub audience: String,
    /// E-mail address of the service account that the push subscription uses.
    pub service_account: String,
    /// Where the public keys are published.
    #[serde(default = "Oidc::default_keys_url")]
    pub keys_url: String,
}

impl Oidc {
    fn default_keys_url() -> String {
        "https://www.googleapis.com/oauth2/v3/certs".into()
    }
}

/// Who sends a webhook, and with that how it is signed and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Notifications of the distribution registry (`registry:2`, `registry:3`); `Authorization` is the secret, alone or after `Bearer`.
    Distribution,
    /// Harbor, `PUSH_ARTIFACT`; `Authorization` is the secret.
    Harbor,
    /// GitHub's events `package` and `registry_package` for images on ghcr.io; signed.
    Ghcr,
    /// Docker Hub; unsigned, the secret ends the address.
    Dockerhub,
    /// Quay; unsigned, the secret ends the address.
    Quay,
    /// Google Artifact Registry through a Pub/Sub push subscription; `oidc`, or the secret ends the address.
    Gar,
    /// GitHub's event `push`; signed.
    Github,
    /// GitLab's push and tag events; `X-Gitlab-Token` is the secret.
    Gitlab,
    /// Gitea and Forgejo, `push`; signed.
    Gitea,
    /// Bitbucket Cloud and Data Center; signed.
    Bitbucket,
    /// A Flux notification provider `generic`; unsigned, the secret ends the address.
    Generic,
    /// A Flux notification provider `generic-hmac`; signed.
    GenericHmac,
    /// CDEvents `artifact.published`; signed in `X-Signature`, or `Authorization: Bearer` with the secret.
    Cdevents,
    /// A job of yours: `{"image": "host/repository:tag"}`, with `"environment"` if it is to go live there (see `expect_in`), or `{"git": "https://..", "branch": "main"}`, with `"time"` if it knows it; signed in `X-Signature`, or `Authorization: Bearer` with the secret.
    Hint,
}

impl Hook {
    /// Who sends must prove something. An error names the key.
    pub(super) fn check_proof(&self) -> Result<(), (&'static str, String)> {
        let Some(oidc) = &self.oidc else {
            let missing = "a secret is needed: name a file that holds it";
            return self.secret_file.as_ref().map(|_| ()).ok_or_else(|| ("secret_file", missing.into()));
        };
        if self.kind != HookKind::Gar {
            return Err(("oidc", "only Pub/Sub (kind: gar) sends such tokens; remove it".into()));
        }
        if oidc.audience.trim().is_empty() {
            return Err((
                "oidc.audience",
                "must not be empty; write the one of the push subscription".into(),
            ));
        }
        if !oidc.service_account.contains('@') {
            let message = format!("{:?} is no e-mail address of a service account", oidc.service_account);
            return Err(("oidc.service_account", message));
        }
        if !Url::parse(&oidc.keys_url).is_ok_and(|url| keeps_keys_true(&url)) {
            let message = format!("{:?} is no https address", public_url(&oidc.keys_url));
            return Err(("oidc.keys_url", message));
        }
        Ok(())
    }
}

/// Whoever changes the keys on their way can sign everything. On this machine nobody does.
fn keeps_keys_true(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && is_here
}
