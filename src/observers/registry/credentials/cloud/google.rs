//! Google's Artifact Registry: an access token is the password of `oauth2accesstoken`.
//!
//! It comes from a credential configuration (workload identity federation from any cluster), or from the metadata
//! service of a machine at Google. The latter is a link-local address, so it is asked only where the operator listed the
//! registry or set `GCE_METADATA_HOST`.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use super::environment::Environment;
use super::questions::{self, Body};
use crate::observers::registry::client::NamedBy;
use crate::observers::registry::credentials::Login;
use crate::observers::secret::Secret;

/// The user that goes with an access token.
const USER: &str = "oauth2accesstoken";
/// What the token may be used for, as far as the service account may.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Where no life is told: Google's tokens have an hour.
const LIFE_DEFAULT: Duration = Duration::from_secs(3600);
const METADATA_HOST: &str = "metadata.google.internal";

/// `gcloud iam workload-identity-pools create-cred-config` writes it.
#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    subject_token_type: String,
    #[serde(default)]
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: Option<Source>,
}

#[derive(Deserialize)]
struct Source {
    file: Option<String>,
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, Default)]
struct Format {
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImpersonationAnswer {
    access_token: String,
    expire_time: Option<String>,
}

/// An access token. `None` where the pod has no identity at Google.
pub async fn login(
    environment: &Environment,
    named_by: NamedBy,
) -> Result<Option<(Login, Duration, &'static str)>, String> {
    if environment.is_off() {
        return Ok(None);
    }
    let login = |token: String, life, from| {
        let login = Login::Password { user: USER.into(), password: Secret::new(token) };
        Ok(Some((login, life, from)))
    };
    if let Some(file) = environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
        let (token, life) = federated(Path::new(file)).await?;
        return login(token, life, "Google workload identity federation");
    }
    let host = environment.get("GCE_METADATA_HOST");
    if host.is_none() && named_by == NamedBy::Workload {
        return Ok(None);
    }
    let address = format!(
        "http://{}/computeMetadata/v1/instance/service-accounts/default/token",
        host.unwrap_or(METADATA_HOST)
    );
    let url = Url::parse(&address).map_err(|_| "GCE_METADATA_HOST is no host")?;
    let headers = [("metadata-flavor", Secret::new("Google"))];
    match questions::json::<TokenAnswer>("the metadata service", &url, &headers, Body::None).await {
        Ok(answer) => login(answer.access_token, life(answer.expires_in), "Google metadata service"),
        // Outside of Google there is none, and public images need none.
        Err(_) if host.is_none() => Ok(None),
        Err(why) => Err(why),
    }
}

/// Another cluster's token for one of Google's, and that for one of a service account.
async fn federated(file: &Path) -> Result<(String, Duration), String> {
    let shown = file.display();
    let told = |why: &str| format!("GOOGLE_APPLICATION_CREDENTIALS: {shown}: {why}");
    let text = std::fs::read(file).map_err(|error| told(&error.to_string()))?;
    let found: Configuration =
        serde_json::from_slice(&text).map_err(|_| told("not a credential configuration"))?;
    if found.kind != "external_account" {
        return Err(told(&format!(
            "of type {:?}, and only external_account (workload identity federation) is read; for a service account's \
             key make a pull secret with the user _json_key",
            found.kind
        )));
    }
    let source = found.credential_source.ok_or_else(|| told("has no credential_source"))?;
    let subject = source.file.as_deref().ok_or_else(|| told("credential_source must name a file"))?;
    let subject = subject_token(Path::new(subject), source.format.subject_token_field_name.as_deref())?;
    let url = Url::parse(&found.token_url).map_err(|_| told("token_url is no address"))?;
    let form = Body::Form(vec![
        ("grant_type", Secret::new("urn:ietf:params:oauth:grant-type:token-exchange")),
        ("requested_token_type", Secret::new("urn:ietf:params:oauth:token-type:access_token")),
        ("audience", Secret::new(found.audience)),
        ("scope", Secret::new(SCOPE)),
        ("subject_token_type", Secret::new(found.subject_token_type)),
        ("subject_token", subject),
    ]);
    let answer: TokenAnswer = questions::json("Google's token service", &url, &[], form).await?;
    let Some(impersonate) = found.service_account_impersonation_url else {
        return Ok((answer.access_token, life(answer.expires_in)));
    };
    let url =
        Url::parse(&impersonate).map_err(|_| told("service_account_impersonation_url is no address"))?;
    let headers = [("authorization", Secret::new(format!("Bearer {}", answer.access_token)))];
    let body = Body::Json(
        "application/json",
        serde_json::json!({"scope": [SCOPE], "lifetime": "3600s"}).to_string(),
    );
    let answer: ImpersonationAnswer = questions::json("Google's service account", &url, &headers, body)
        .await
        .map_err(|why| format!("{why}; grant roles/iam.workloadIdentityUser on the service account"))?;
    let end = answer.expire_time.and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok());
    let left = end.and_then(|end| (end.to_utc() - chrono::Utc::now()).to_std().ok());
    Ok((answer.access_token, left.unwrap_or(LIFE_DEFAULT).min(LIFE_DEFAULT)))
}

/// The file is the token, or a JSON object with it.
fn subject_token(file: &Path, field: Option<&str>) -> Result<Secret, String> {
    let Some(field) = field else { return Secret::read(file) };
    let told = |why: &str| format!("{}: {why}", file.display());
    let text = std::fs::read(file).map_err(|error| told(&error.to_string()))?;
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|_| told("is no JSON"))?;
    json[field].as_str().map(Secret::new).ok_or_else(|| told("has no such field as the configuration names"))
}

fn life(seconds: Option<u64>) -> Duration {
    seconds.map_or(LIFE_DEFAULT, Duration::from_secs).min(LIFE_DEFAULT)
}
