//! Registries of clouds from end to end: the program behind a proxy, TLS, the cloud's services and the registry.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::process::{knotmeter, run};
use crate::front::{Proxy, TlsFront};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const ACR: &str = "shop.azurecr.io";

/// The services of both clouds, and their registries: who is asked is told by path and headers.
async fn clouds() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let answer = async |uri: Uri, headers: HeaderMap, body: Bytes| -> Response {
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = String::from_utf8_lossy(&body).into_owned();
        let basic = format!("Basic {}", STANDARD.encode("AWS:ecr-password"));
        let tags = r#"{"name":"shop/web","tags":["1","2"]}"#;
        match uri.path() {
            "/v1/credentials" => r#"{"AccessKeyId":"A","SecretAccessKey":"k","Token":"s"}"#.into_response(),
            "/" if header("x-amz-target").ends_with("GetAuthorizationToken") => {
                let token = STANDARD.encode("AWS:ecr-password");
                format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}"}}]}}"#).into_response()
            }
            "/tenant/oauth2/v2.0/token" => r#"{"access_token":"directory"}"#.into_response(),
            "/oauth2/exchange" if body.contains("access_token=directory") => {
                r#"{"refresh_token":"refresh"}"#.into_response()
            }
            "/oauth2/token" if body.contains("refresh_token=refresh") => {
                r#"{"access_token":"acr"}"#.into_response()
            }
            "/v2/shop/web/tags/list" if header("host") == ECR && header("authorization") == basic => {
                tags.into_response()
            }
            "/v2/shop/web/tags/list" if header("authorization") == "Bearer acr" => tags.into_response(),
            _ => {
                let wants = match header("host").as_str() {
                    ACR => format!(r#"Bearer realm="https://{ACR}/oauth2/token",service="{ACR}""#),
                    _ => "Basic realm=ecr".to_owned(),
                };
                (axum::http::StatusCode::UNAUTHORIZED, [("www-authenticate", wants)]).into_response()
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer);
    (address, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

#[tokio::test]
async fn registries_of_clouds_are_read_with_the_identity_of_the_pod_through_a_proxy() {
    let (services, task) = clouds().await;
    let front = TlsFront::start(services, &[ECR, ACR]).await;
    let proxy = Proxy::start(front.address).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "k8s-token").unwrap();
    let scan = async |host: &str, variables: &[(&str, &str)]| {
        let mut command = knotmeter(&["scan", &format!("{host}/shop/web"), "-o", "json"], folder.path());
        command.env("HTTPS_PROXY", &proxy.url).env("SSL_CERT_FILE", front.ca_file());
        command.envs(variables.iter().copied());
        run(command, "knotmeter").await
    };
    let near = |path: &str| format!("http://{services}{path}");
    let amazon = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*near("/v1/credentials")),
        ("AWS_ENDPOINT_URL_ECR", &*near("/")),
    ];
    let azure = [
        ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", &*near("/")),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_TENANT_ID", "tenant"),
    ];
    for (host, variables) in [(ECR, &amazon[..]), (ACR, &azure)] {
        let said = scan(host, variables).await.done();
        assert!(said.contains(r#""1""#) && said.contains(r#""2""#), "{said}");
        let connect = format!("CONNECT {host}:443 HTTP/1.1");
        assert!(proxy.asked.lock().unwrap().contains(&connect), "{:?}", proxy.asked);
        // Without an identity it is asked anonymously, and says what is missing.
        let refused = scan(host, &[]).await;
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.err.contains("without a login (none found for it)"), "{refused:?}");
    }
    // What the proxy may not see goes around it.
    assert!(proxy.asked.lock().unwrap().iter().all(|line| line.ends_with(":443 HTTP/1.1")));
    task.abort();
}
