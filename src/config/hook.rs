//! Webhooks that may hurry a look.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A webhook: `POST /hooks/NAME`. It makes a look at something that is known already due at once, and is believed
/// in nothing else; a hint may also say what is to go live, where `expect_in` allows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The last part of its address: letters, digits, `-` and `_`.
    pub name: String,
    /// Who sends.
    pub kind: HookKind,
    /// A file with the secret, relative to the configuration file: one line, or two while the secret is being changed. Kinds that sign, sign with it; kinds that send a token send it; for the others it ends the address, `POST /hooks/NAME/SECRET`.
    pub secret_file: PathBuf,
    /// Registry host as image references name it, for senders that do not name it themselves.
    #[serde(default)]
    pub registry: Option<String>,
    /// Environments in which a hint may expect an image (kind `hint`): `{"image": .., "environment": ..}` opens a journey. None: hints only hurry looks.
    #[serde(default)]
    pub expect_in: Vec<String>,
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
    /// Google Artifact Registry through a Pub/Sub push subscription; the secret ends the address.
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
