//! Azure's registry: a service account's token for one of the directory's, and that for one of the registry's.
//!
//! The directory's token goes to the registry's own host, which is Microsoft's front whoever owns the registry.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::environment::Environment;
use super::questions::{self, Body};
use crate::observers::registry::credentials::Login;
use crate::observers::secret::Secret;

/// Refresh tokens of the registry live three hours; rights that were taken away should not.
const LIFE: Duration = Duration::from_secs(3600);
const AUTHORITY: &str = "https://login.microsoftonline.com/";
/// What the directory's token is for.
const SCOPE: &str = "https://containerregistry.azure.net/.default";

#[derive(Deserialize)]
struct DirectoryAnswer {
    access_token: String,
}

#[derive(Deserialize)]
struct RegistryAnswer {
    refresh_token: String,
}

/// A refresh token for one registry. `None` where the pod has no workload identity.
pub async fn login(
    environment: &Environment,
    host: &str,
    registry: &Url,
) -> Result<Option<(Login, Duration, &'static str)>, String> {
    if environment.is_off() {
        return Ok(None);
    }
    let get = |name| environment.get(name);
    let Some(token) = environment.secret_file("AZURE_FEDERATED_TOKEN_FILE")? else { return Ok(None) };
    let (Some(client), Some(tenant)) = (get("AZURE_CLIENT_ID"), get("AZURE_TENANT_ID")) else {
        return Err(
            "AZURE_FEDERATED_TOKEN_FILE needs AZURE_CLIENT_ID and AZURE_TENANT_ID beside it; label the pod \
                    azure.workload.identity/use: \"true\""
                .into(),
        );
    };
    let mut url = Url::parse(get("AZURE_AUTHORITY_HOST").unwrap_or(AUTHORITY))
        .map_err(|_| "AZURE_AUTHORITY_HOST is no address")?;
    url.path_segments_mut()
        .map_err(|()| "AZURE_AUTHORITY_HOST is no address")?
        .pop_if_empty()
        .extend([tenant, "oauth2", "v2.0", "token"]);
    let form = Body::Form(vec![
        ("grant_type", Secret::new("client_credentials")),
        ("client_id", Secret::new(client)),
        ("scope", Secret::new(get("AZURE_ACR_SCOPE").unwrap_or(SCOPE))),
        ("client_assertion_type", Secret::new("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")),
        ("client_assertion", token),
    ]);
    let directory: DirectoryAnswer = questions::json("the directory", &url, &[], form)
        .await
        .map_err(|why| format!("{why}; check the federated credential of the managed identity"))?;
    let url = registry.join("/oauth2/exchange").map_err(|_| "the registry has no address")?;
    let form = Body::Form(vec![
        ("grant_type", Secret::new("access_token")),
        ("service", Secret::new(host)),
        ("tenant", Secret::new(tenant)),
        ("access_token", Secret::new(directory.access_token)),
    ]);
    let answer: RegistryAnswer = questions::json("the registry's token exchange", &url, &[], form)
        .await
        .map_err(|why| format!("{why}; the identity needs the role AcrPull"))?;
    Ok(Some((Login::Identity(Secret::new(answer.refresh_token)), LIFE, "Azure workload identity")))
}
