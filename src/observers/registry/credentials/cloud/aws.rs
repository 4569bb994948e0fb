//! Amazon's ECR: keys of the pod's role, then one signed question for a password.
//!
//! The role comes from a service account (IRSA: a token file and STS), from EKS Pod Identity (an agent on the node), from
//! keys in the environment, or, where the operator names the metadata service, from the machine.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;

use super::environment::Environment;
use super::questions::{self, Body, element};
use crate::observers::registry::credentials::Login;
use crate::observers::secret::Secret;

/// What ECR promises where it does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(12 * 3600);
/// The content type of Amazon's JSON questions.
const JSON: &str = "application/x-amz-json-1.1";
/// The one question that is asked.
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// How the session is named in Amazon's audit log, where nothing else is set.
const SESSION: &str = "knotmeter";

/// A token of the metadata service is used at once, twice.
const METADATA_TOKEN_SECONDS: &str = "60";
/// Amazon's own limit for the name of a role.
const ROLE_BYTES_MAX: usize = 64;

/// Keys that sign.
struct Keys {
    id: String,
    secret: Secret,
    session: Option<Secret>,
    from: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentAnswer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EcrAnswer {
    authorization_data: Vec<EcrToken>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EcrToken {
    authorization_token: String,
    expires_at: Option<f64>,
}

/// A password for a region's registries. `None` where the pod has no role.
pub async fn login(
    environment: &Environment,
    region: &str,
    suffix: &str,
) -> Result<Option<(Login, Duration, &'static str)>, String> {
    if environment.is_off() {
        return Ok(None);
    }
    let Some(keys) = keys(environment, region, suffix).await? else { return Ok(None) };
    let url = endpoint(environment, "AWS_ENDPOINT_URL_ECR", &format!("https://api.ecr.{region}.{suffix}/"))?;
    let headers = signed(&keys, &url, region, SystemTime::now())?;
    let body = Body::Json(JSON, "{}".into());
    let answer: EcrAnswer = questions::json("ECR", &url, &headers, body).await.map_err(|why| {
        format!("{why}; the role needs ecr:GetAuthorizationToken and AmazonEC2ContainerRegistryReadOnly")
    })?;
    let token = answer.authorization_data.into_iter().next().ok_or("ECR sent no token")?;
    let broken = || "ECR sent a token that is no user and password".to_owned();
    let pair = STANDARD.decode(&token.authorization_token).map_err(|_| broken())?;
    let pair = String::from_utf8(pair).map_err(|_| broken())?;
    let (user, password) = pair.split_once(':').ok_or_else(broken)?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    let life = token.expires_at.and_then(|at| Duration::try_from_secs_f64(at - now).ok());
    let login = Login::Password { user: user.into(), password: Secret::new(password) };
    Ok(Some((login, life.unwrap_or(LIFE_DEFAULT).min(LIFE_DEFAULT), keys.from)))
}

/// In the order of Amazon's own tools.
async fn keys(environment: &Environment, region: &str, suffix: &str) -> Result<Option<Keys>, String> {
    let get = |name| environment.get(name);
    if let (Some(id), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
        let session = get("AWS_SESSION_TOKEN").map(Secret::new);
        let secret = Secret::new(secret);
        return Ok(Some(Keys { id: id.into(), secret, session, from: "AWS keys of the environment" }));
    }
    if let (Some(role), Some(token)) =
        (get("AWS_ROLE_ARN"), environment.secret_file("AWS_WEB_IDENTITY_TOKEN_FILE")?)
    {
        return of_service_account(environment, (region, suffix), role, token).await.map(Some);
    }
    if let Some(address) = get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        return of_agent(environment, address).await.map(Some);
    }
    match get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        Some(address) => of_machine(address).await.map(Some),
        None => Ok(None),
    }
}

/// IRSA: the service account's token for keys of its role.
async fn of_service_account(
    environment: &Environment,
    (region, suffix): (&str, &str),
    role: &str,
    token: Secret,
) -> Result<Keys, String> {
    let region = environment.get("AWS_REGION").or(environment.get("AWS_DEFAULT_REGION")).unwrap_or(region);
    let url = endpoint(environment, "AWS_ENDPOINT_URL_STS", &format!("https://sts.{region}.{suffix}/"))?;
    let session = environment.get("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION);
    let form = Body::Form(vec![
        ("Action", Secret::new("AssumeRoleWithWebIdentity")),
        ("Version", Secret::new("2011-06-15")),
        ("RoleArn", Secret::new(role)),
        ("RoleSessionName", Secret::new(session)),
        ("WebIdentityToken", token),
    ]);
    let answer = questions::bytes("STS", &url, &[], form).await.map_err(|why| {
        format!("{why}; check AWS_ROLE_ARN and that the role trusts this cluster's OIDC provider")
    })?;
    let xml = String::from_utf8(answer).map_err(|_| "STS sent something else than expected")?;
    let of = |name: &str| {
        element(&xml, name).map(str::to_owned).ok_or_else(|| format!("STS sent no {name}; is it STS?"))
    };
    Ok(Keys {
        id: of("AccessKeyId")?,
        secret: Secret::new(of("SecretAccessKey")?),
        session: Some(Secret::new(of("SessionToken")?)),
        from: "AWS role of the service account",
    })
}

/// EKS Pod Identity: an agent on the node gives keys for a token.
async fn of_agent(environment: &Environment, address: &str) -> Result<Keys, String> {
    let name = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let url = Url::parse(address).map_err(|_| format!("{name} is no address"))?;
    let token = match environment.secret_file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")? {
        Some(token) => Some(token),
        None => environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
    };
    let headers: Vec<_> = token.into_iter().map(|token| ("authorization", token)).collect();
    let answer: AgentAnswer = questions::json("the Pod Identity agent", &url, &headers, Body::None)
        .await
        .map_err(|why| format!("{why}; check the pod identity association of the service account"))?;
    Ok(Keys {
        id: answer.access_key_id,
        secret: Secret::new(answer.secret_access_key),
        session: Some(Secret::new(answer.token)),
        from: "AWS Pod Identity",
    })
}

/// The role of the machine (IMDSv2). Every pod of a machine can ask for it, so it is taken only where the operator
/// wrote the address down, as `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
async fn of_machine(address: &str) -> Result<Keys, String> {
    const WHAT: &str = "the instance metadata service";
    let name = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    let base = Url::parse(&format!("{}/latest/", address.trim_end_matches('/')))
        .map_err(|_| format!("{name} is no address"))?;
    let at = |path: &str| base.join(path).map_err(|_| format!("{name} is no address"));
    let hops = "the machine answers pods only with http-put-response-hop-limit 2 or more; IRSA or Pod Identity need none of it";
    let life = [("x-aws-ec2-metadata-token-ttl-seconds", Secret::new(METADATA_TOKEN_SECONDS))];
    let token = questions::bytes(WHAT, &at("api/token")?, &life, Body::NonePut)
        .await
        .map_err(|why| format!("{why}; {hops}"))?;
    let text =
        |bytes| String::from_utf8(bytes).map_err(|_| format!("{WHAT} sent something else than expected"));
    let headers = [("x-aws-ec2-metadata-token", Secret::new(text(token)?))];
    let roles = "meta-data/iam/security-credentials/";
    let role = questions::bytes(WHAT, &at(roles)?, &headers, Body::None)
        .await
        .map_err(|why| format!("{why}; give the machine an instance profile"))?;
    let role = text(role)?.trim().to_owned();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    // It becomes part of an address.
    if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.bytes().all(fits) || role.starts_with('.') {
        return Err(format!("{WHAT} names a role that is none"));
    }
    let answer: AgentAnswer =
        questions::json(WHAT, &at(&format!("{roles}{role}"))?, &headers, Body::None).await?;
    Ok(Keys {
        id: answer.access_key_id,
        secret: Secret::new(answer.secret_access_key),
        session: Some(Secret::new(answer.token)),
        from: "AWS role of the machine",
    })
}

/// The headers of the question to ECR, the signature among them.
fn signed(
    keys: &Keys,
    url: &Url,
    region: &str,
    time: SystemTime,
) -> Result<Vec<(&'static str, Secret)>, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("cannot sign the question to ECR: {why}");
    let session = keys.session.as_ref().map(|session| session.reveal().to_owned());
    let identity = Credentials::new(&keys.id, keys.secret.reveal(), session, None, "knotmeter").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("ecr")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| cannot(&error))?;
    let told = [("content-type", JSON), ("x-amz-target", TARGET)];
    let request = SignableRequest::new("POST", url.as_str(), told.into_iter(), SignableBody::Bytes(b"{}"))
        .map_err(|error| cannot(&error))?;
    let (signature, _) = sign(request, &params.into()).map_err(|error| cannot(&error))?.into_parts();
    let mut headers = vec![("x-amz-target", Secret::new(TARGET))];
    for name in ["authorization", "x-amz-date", "x-amz-security-token"] {
        let value = signature.headers().find(|(found, _)| *found == name);
        headers.extend(value.map(|(_, value)| (name, Secret::new(value))));
    }
    Ok(headers)
}

/// The address that Amazon's own variables name, for private networks; else the public one.
fn endpoint(environment: &Environment, name: &str, public: &str) -> Result<Url, String> {
    let set = environment.get(name).or(environment.get("AWS_ENDPOINT_URL"));
    let url = Url::parse(set.unwrap_or(public)).map_err(|_| format!("{name} is no address"))?;
    Ok(url)
}
