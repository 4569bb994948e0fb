//! Logins of clouds, against fakes of their services on loopback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knotmeter::observers::registry::client::NamedBy;
use knotmeter::observers::registry::credentials::cloud::{Cloud, Environment, Kind};
use knotmeter::observers::registry::credentials::{Login, Secret};
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use super::fake::{ok, status, with};
use super::ring;

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// A request as a service saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Seen {
    fn form(&self) -> BTreeMap<String, String> {
        let url = Url::parse(&format!("form:?{}", self.body)).unwrap();
        url.query_pairs().into_owned().collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// All services of all clouds at one address; it ends with the test.
struct Services {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Services {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Services {
    async fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        ring();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let app =
            axum::Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let headers = headers.iter().map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                });
                let one = Seen {
                    method: method.to_string(),
                    path: uri.to_string(),
                    headers: headers.collect(),
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                log.lock().unwrap().push(one.clone());
                std::future::ready(answer(&one))
            });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

fn token_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn login(host: &str, registry: &str, variables: &[(&str, &str)]) -> Result<Option<Login>, String> {
    let environment = Environment::new(variables.iter().copied());
    let cloud = Cloud::new(Kind::of(host).unwrap(), host, NamedBy::Workload, environment);
    let found = cloud.login(&Url::parse(registry).unwrap()).await?;
    Ok(found.map(|found| {
        assert!(found.until.is_some(), "a cloud's login ends");
        found.login
    }))
}

#[test]
fn a_cloud_is_known_by_the_name_of_the_host_alone() {
    let ecr = |region: &str, suffix| Some(Kind::Ecr { region: region.into(), suffix });
    for (host, kind) in [
        (ECR, ecr("eu-west-1", "amazonaws.com")),
        ("1.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ecr("us-gov-west-1", "amazonaws.com")),
        ("1.dkr.ecr.cn-north-1.amazonaws.com.cn", ecr("cn-north-1", "amazonaws.com.cn")),
        ("europe-docker.pkg.dev", Some(Kind::Google)),
        ("eu.gcr.io", Some(Kind::Google)),
        ("shop.azurecr.io", Some(Kind::Azure)),
        ("shop.westeurope.azurecr.io", Some(Kind::Azure)),
        ("1.dkr.ecr.eu-west-1.amazonaws.com.evil.test", None),
        ("1.dkr.ecr.eu-west-1.amazonaws.com:444", None),
        ("dkr.ecr.eu-west-1.amazonaws.com", None),
        ("docker.pkg.dev.evil.test", None),
        ("pkg.dev", None),
        ("evil.gcr.io", None),
        ("azurecr.io", None),
        ("azurecr.io.evil.test", None),
        ("public.ecr.aws", None),
        ("docker.io", None),
    ] {
        assert_eq!(Kind::of(host), kind, "{host}");
    }
}

/// STS, the Pod Identity agent and ECR.
fn amazon(seen: &Seen) -> Response {
    let form = seen.form();
    if form.get("Action").map(String::as_str) == Some("AssumeRoleWithWebIdentity") {
        if form["WebIdentityToken"] != "jwt-1" {
            let refusal = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>jwt-2 is bad</Message></Error></ErrorResponse>";
            return with(400, &[], refusal);
        }
        return ok("<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>AKID</AccessKeyId><SecretAccessKey>key</SecretAccessKey>\
             <SessionToken>session</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>");
    }
    if seen.path == "/v1/credentials" {
        return match seen.header("authorization") {
            "agent-token" => ok(
                r#"{"AccessKeyId":"AKID","SecretAccessKey":"key","Token":"session","Expiration":"2030-01-01T00:00:00Z"}"#,
            ),
            _ => status(401),
        };
    }
    if seen.header("x-amz-target").ends_with(".GetAuthorizationToken") {
        let expected = signature(seen, "key", "eu-west-1");
        if !seen.header("authorization").ends_with(&format!("Signature={expected}")) {
            return with(400, &[], r#"{"__type":"InvalidSignatureException","message":"key"}"#);
        }
        let token = STANDARD.encode("AWS:ecr-password");
        return ok(format!(
            r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":1.9E9,"proxyEndpoint":"https://x"}}]}}"#
        ));
    }
    status(404)
}

/// The signature of a request as Amazon's documentation computes it, from what arrived.
fn signature(seen: &Seen, key: &str, region: &str) -> String {
    let authorization = seen.header("authorization");
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(name).unwrap_or_default();
        rest.split(',').next().unwrap_or_default().to_owned()
    };
    let names = part("SignedHeaders=");
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", seen.header(name))).collect();
    let canonical = format!("{}\n/\n\n{headers}\n{names}\n{}", seen.method, hex(&hash(seen.body.as_bytes())));
    let date = seen.header("x-amz-date");
    let day = &date[..8];
    let scope = format!("{day}/{region}/ecr/aws4_request");
    assert_eq!(part("Credential="), format!("AKID/{scope}"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&hash(canonical.as_bytes())));
    let mut signing = format!("AWS4{key}").into_bytes();
    for word in [day, region, "ecr", "aws4_request", &text] {
        signing = hmac(&signing, word.as_bytes());
    }
    hex(&signing)
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// RFC 2104.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { hash(key) } else { key.to_vec() };
    block.resize(64, 0);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<_>>();
    hash(&[pad(0x5c), hash(&[pad(0x36), text.to_vec()].concat())].concat())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test]
async fn a_service_account_of_amazon_gets_a_password_for_ecr() {
    let services = Services::start(amazon).await;
    let token = token_file("jwt-1\n");
    let variables = |token: &'static str| -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/knotmeter".into()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.into()),
            ("AWS_ENDPOINT_URL", services.url.clone()),
        ]
    };
    let path: &'static str = token.path().to_str().unwrap().to_owned().leak();
    let set = variables(path);
    let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let got = login(ECR, "https://unused.test/", &set).await.unwrap();
    assert_eq!(
        got,
        Some(Login::Password { user: "AWS".into(), password: Secret::new("ecr-password") }),
        "{:?}",
        services.seen()
    );
    let asked = &services.seen()[0];
    assert_eq!(
        (asked.form()["RoleArn"].as_str(), asked.form()["RoleSessionName"].as_str()),
        ("arn:aws:iam::1:role/knotmeter", "knotmeter")
    );
    assert_eq!(services.seen()[1].header("x-amz-security-token"), "session");

    // The cluster rotated the token; the next login takes the new one, and a refusal shows its code alone.
    std::fs::write(token.path(), "jwt-2").unwrap();
    let told = login(ECR, "https://unused.test/", &set).await.unwrap_err();
    assert!(told.contains("STS at 127.0.0.1 answered HTTP 400 (InvalidIdentityToken)"), "{told}");
    assert!(told.contains("AWS_ROLE_ARN") && !told.contains("jwt"), "{told}");
}

#[tokio::test]
async fn pod_identity_of_amazon_gets_a_password_for_ecr() {
    let services = Services::start(amazon).await;
    let token = token_file("agent-token");
    let agent = format!("{}/v1/credentials", services.url);
    let set = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL_ECR", services.url.as_str()),
    ];
    let got = login(ECR, "https://unused.test/", &set).await.unwrap();
    assert_eq!(got, Some(Login::Password { user: "AWS".into(), password: Secret::new("ecr-password") }));

    // Keys are taken from this machine or over https, never from somewhere in the clear.
    let set = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/v1/credentials")];
    let told = login(ECR, "https://unused.test/", &set).await.unwrap_err();
    assert!(told.contains("must be asked over https"), "{told}");
    assert_eq!(login(ECR, "https://unused.test/", &[]).await, Ok(None), "no role is no failure");
    let off = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent.as_str()), ("KNOTMETER_CLOUD_LOGINS", "off")];
    assert_eq!(login(ECR, "https://unused.test/", &off).await, Ok(None));
}

/// The instance metadata service, version 2, of a machine with this role; and ECR.
fn machine(seen: &Seen, role: &str) -> Response {
    let roles = "/latest/meta-data/iam/security-credentials/";
    let has_token = seen.header("x-aws-ec2-metadata-token") == "imds-token";
    match (seen.method.as_str(), seen.path.as_str()) {
        ("PUT", "/latest/api/token") if seen.header("x-aws-ec2-metadata-token-ttl-seconds") == "60" => {
            ok("imds-token")
        }
        ("GET", path) if path == roles && has_token => ok(format!("{role}\n")),
        ("GET", path) if path == format!("{roles}{role}") && has_token => ok(
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKID","SecretAccessKey":"key","Token":"session"}"#,
        ),
        ("PUT" | "GET", _) => status(401),
        _ => amazon(seen),
    }
}

#[tokio::test]
async fn the_role_of_a_machine_is_used_only_where_its_service_is_named() {
    let services = Services::start(|seen| machine(seen, "node-role")).await;
    let ecr = ("AWS_ENDPOINT_URL_ECR", services.url.as_str());
    assert_eq!(login(ECR, "https://unused.test/", &[ecr]).await, Ok(None));
    assert!(services.seen().is_empty(), "nobody is asked without being named");
    for name in [services.url.clone(), format!("{}/", services.url)] {
        let set = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", name.as_str()), ecr];
        let got = login(ECR, "https://unused.test/", &set).await.unwrap();
        assert_eq!(got, Some(Login::Password { user: "AWS".into(), password: Secret::new("ecr-password") }));
    }
    let asked: Vec<String> =
        services.seen()[..4].iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    let roles = "/latest/meta-data/iam/security-credentials";
    let expected = [
        "PUT /latest/api/token".into(),
        format!("GET {roles}/"),
        format!("GET {roles}/node-role"),
        "POST /".into(),
    ];
    assert_eq!(asked, expected);
    assert_eq!(services.seen()[3].header("x-amz-security-token"), "session");

    for role in ["..", "../../user-data", "a?b", "a b", ""] {
        let services = Services::start(move |seen| machine(seen, role)).await;
        let set = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", services.url.as_str())];
        let told = login(ECR, "https://unused.test/", &set).await.unwrap_err();
        assert!(told.contains("names a role that is none"), "{role}: {told}");
        assert_eq!(services.seen().len(), 2, "{role}");
    }
    let nobody = Services::start(|_| status(403)).await;
    let told =
        login(ECR, "https://unused.test/", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody.url.as_str())])
            .await;
    let told = told.unwrap_err();
    assert!(told.contains("hop-limit") && told.contains("IRSA") && !told.contains("imds-token"), "{told}");
    let elsewhere = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://192.0.2.1")];
    let told = login(ECR, "https://unused.test/", &elsewhere).await.unwrap_err();
    assert!(told.contains("must be asked over https"), "{told}");
}

#[tokio::test]
async fn google_gives_a_token_by_federation_or_by_its_metadata_service() {
    let services = Services::start(|seen| match seen.path.as_str() {
        "/v1/token" if seen.form()["subject_token"] == "k8s-token" => {
            ok(r#"{"access_token":"federated","expires_in":3600,"token_type":"Bearer"}"#)
        }
        "/impersonate" if seen.header("authorization") == "Bearer federated" => {
            ok(r#"{"accessToken":"impersonated","expireTime":"2030-01-01T00:00:00Z"}"#)
        }
        "/computeMetadata/v1/instance/service-accounts/default/token"
            if seen.header("metadata-flavor") == "Google" =>
        {
            ok(r#"{"access_token":"metadata","expires_in":1200,"token_type":"Bearer"}"#)
        }
        _ => with(403, &[], r#"{"error":{"status":"PERMISSION_DENIED","message":"k8s-token"}}"#),
    })
    .await;
    let password =
        |text: &str| Some(Login::Password { user: "oauth2accesstoken".into(), password: Secret::new(text) });
    let (host, registry) = ("europe-docker.pkg.dev", "https://unused.test/");
    let token = token_file("k8s-token");
    let configured = |impersonate: bool, token: &str| {
        let mut json = serde_json::json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/v1/token", services.url),
            "credential_source": {"file": token, "format": {"type": "text"}},
        });
        if impersonate {
            json["service_account_impersonation_url"] = format!("{}/impersonate", services.url).into();
        }
        token_file(&json.to_string())
    };
    let path = token.path().to_str().unwrap();
    for (impersonate, expected) in [(false, "federated"), (true, "impersonated")] {
        let file = configured(impersonate, path);
        let set = [("GOOGLE_APPLICATION_CREDENTIALS", file.path().to_str().unwrap())];
        assert_eq!(login(host, registry, &set).await.unwrap(), password(expected));
    }
    let wrong = token_file("wrong");
    let file = configured(false, wrong.path().to_str().unwrap());
    let set = [("GOOGLE_APPLICATION_CREDENTIALS", file.path().to_str().unwrap())];
    let told = login(host, registry, &set).await.unwrap_err();
    assert!(told.contains("answered HTTP 403 (PERMISSION_DENIED)") && !told.contains("k8s-token"), "{told}");

    let set = [("GCE_METADATA_HOST", services.host())];
    assert_eq!(login(host, registry, &set).await.unwrap(), password("metadata"));
    // A workload's image alone never sends us to a link-local address.
    let before = services.seen().len();
    assert_eq!(login(host, registry, &[]).await, Ok(None));
    assert_eq!(services.seen().len(), before);

    let key = token_file(r#"{"type":"service_account","private_key":"hunter2"}"#);
    let set = [("GOOGLE_APPLICATION_CREDENTIALS", key.path().to_str().unwrap())];
    let told = login(host, registry, &set).await.unwrap_err();
    assert!(told.contains("_json_key") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_federated_token_of_azure_becomes_a_refresh_token_of_the_registry() {
    let services = Services::start(|seen| match seen.path.as_str() {
        "/tenant-1/oauth2/v2.0/token" if seen.form()["client_assertion"] == "k8s-token" => {
            assert_eq!(seen.form()["scope"], "https://containerregistry.azure.net/.default");
            ok(r#"{"token_type":"Bearer","expires_in":3599,"access_token":"directory"}"#)
        }
        "/oauth2/exchange" if seen.form()["access_token"] == "directory" => {
            assert_eq!(seen.form()["service"], "shop.azurecr.io");
            ok(r#"{"refresh_token":"registry"}"#)
        }
        _ => with(400, &[], r#"{"error":"invalid_client","error_description":"k8s-token"}"#),
    })
    .await;
    let token = token_file("k8s-token");
    let mut set = vec![
        ("AZURE_FEDERATED_TOKEN_FILE", token.path().to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", services.url.as_str()),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_TENANT_ID", "tenant-1"),
    ];
    let got = login("shop.azurecr.io", &services.url, &set).await.unwrap();
    assert_eq!(got, Some(Login::Identity(Secret::new("registry"))));
    std::fs::write(token.path(), "wrong").unwrap();
    let told = login("shop.azurecr.io", &services.url, &set).await.unwrap_err();
    assert!(told.contains("answered HTTP 400 (invalid_client)") && !told.contains("k8s-token"), "{told}");
    set.pop();
    let told = login("shop.azurecr.io", &services.url, &set).await.unwrap_err();
    assert!(told.contains("AZURE_TENANT_ID"), "{told}");
    assert_eq!(login("shop.azurecr.io", &services.url, &[]).await, Ok(None));
}
