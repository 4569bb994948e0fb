//! No secret in any message: every way to log in, with secrets that are refused, at the most talkative level.

use std::path::Path;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::process::{Program, knotmeter, run};
use super::until;
use crate::front::{Proxy, TlsFront};
use crate::secrets::clean;

/// Refuses everybody, and repeats what it was sent: the worst that a server can do.
async fn parrot() -> std::net::SocketAddr {
    let answer = async |uri: Uri, headers: HeaderMap, body: String| -> Response {
        let wants = match headers.get("host").and_then(|host| host.to_str().ok()) {
            Some("shop.azurecr.io") => r#"Bearer realm="https://shop.azurecr.io/oauth2/token",service="s""#,
            _ => r#"Basic realm="r""#,
        };
        let said = json!({"error": format!("{uri} {headers:?} {body}"), "message": body});
        (StatusCode::UNAUTHORIZED, [("www-authenticate", wants)], said.to_string()).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    address
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A configuration that logs in everywhere, each time in another way.
fn configuration(folder: &Path, parrot: std::net::SocketAddr, front: &TlsFront) -> Value {
    let password = json!({"auths": {
        parrot.to_string(): {"username": "bot", "password": "hunter2-password"},
        "identity.example": {"identitytoken": "hunter2-identity"},
    }, "credHelpers": {"helper.example": "leaks"}});
    let helper =
        write(folder, "docker-credential-leaks", "#!/bin/sh\necho hunter2; echo hunter2 >&2; exit 1\n");
    let plugin = write(folder, "plugin", "#!/bin/sh\necho hunter2; echo hunter2 >&2; exit 1\n");
    for script in [&helper, &plugin] {
        std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let kubeconfig = |user: Value| {
        json!({
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{parrot}")}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
            "users": [{"name": "u", "user": user}],
        })
        .to_string()
    };
    let exec = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": plugin,
        "env": [{"name": "SECRET", "value": "hunter2-env"}]}});
    let registry = |host: &str, plain: bool| {
        json!({"host": host, "plain_http": plain, "interval": "500ms", "repositories": ["team/web"],
            "tls": {"ca_file": front.ca_file()}})
    };
    json!({
        "listen": "127.0.0.1:0",
        "docker_config": write(folder, "config.json", &password.to_string()),
        "registries": [
            registry(&parrot.to_string(), true),
            registry("identity.example", false),
            registry("helper.example", false),
            registry("shop.azurecr.io", false),
            registry("1.dkr.ecr.eu-west-1.amazonaws.com", false),
        ],
        "git": [
            {"url": "https://bot:hunter2-url@127.0.0.1:1/fleet.git", "interval": "500ms"},
            {"url": format!("https://localhost:{}/fleet.git", front.address.port()), "interval": "500ms",
             "token_file": write(folder, "git-token", "hunter2-git"), "tls": {"ca_file": front.ca_file()}},
        ],
        "clusters": [
            {"name": "token", "kubeconfig": write(folder, "token.kubeconfig", &kubeconfig(json!({"token": "hunter2-kube"})))},
            {"name": "exec", "kubeconfig": write(folder, "exec.kubeconfig", &kubeconfig(exec))},
        ],
    })
}

#[tokio::test]
async fn no_secret_is_in_any_log_line_error_metric_answer_or_page() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let parrot = parrot().await;
    let hosts = [
        "localhost",
        "identity.example",
        "helper.example",
        "shop.azurecr.io",
        "1.dkr.ecr.eu-west-1.amazonaws.com",
    ];
    let front = TlsFront::start(parrot, &hosts).await;
    let proxy = Proxy::start(front.address).await;
    let config = configuration(folder.path(), parrot, &front);
    let file = write(folder.path(), "knotmeter.yaml", &config.to_string());
    let token = write(folder.path(), "federated", "hunter2-federated");
    let near = format!("http://{parrot}/");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let command = |arguments: &[&str]| {
        let mut command = knotmeter(arguments, folder.path());
        command.env("PATH", &path).env("HTTPS_PROXY", &proxy.url).env("NO_PROXY", "127.0.0.1,localhost");
        command.envs([
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ("AWS_ENDPOINT_URL", &near),
            ("AZURE_FEDERATED_TOKEN_FILE", &token),
            ("AZURE_AUTHORITY_HOST", &near),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_TENANT_ID", "t"),
            ("KNOTMETER_CONFIG", &file),
        ]);
        command
    };

    for arguments in [&["check"][..], &["check", "-o", "json"], &["config", "show"], &["config", "check"]] {
        let said = run(command(arguments), "knotmeter").await;
        clean(&format!("{arguments:?}"), &(said.out.clone() + &said.err));
        if arguments[0] == "check" {
            // They were all tried: what is clean because nothing happened would prove nothing.
            for part in
                ["docker-credential-leaks", "STS at 127.0.0.1", "the directory at 127.0.0.1", "plugin"]
            {
                assert!(said.out.contains(part), "{part} is not in {}", said.out);
            }
        }
    }

    let mut running = Program::start(command(&["run", "--log", "debug"]), "knotmeter", folder.path());
    let said = |running: &Program| running.errors() + &running.output();
    let address = until("it serves", async || {
        running.still_runs();
        let said = said(&running);
        let line = said.lines().find(|line| line.contains("page, API and metrics are served"))?;
        line.split("address=").nth(1)?.split_whitespace().next().map(str::to_owned)
    })
    .await;
    let read = async |path: &str| -> Option<String> {
        reqwest::get(format!("http://{address}{path}")).await.ok()?.text().await.ok()
    };
    until("every source has failed", async || {
        let sources: Value = serde_json::from_str(&read("/api/v1/sources").await?).ok()?;
        let failing =
            |source: &&Value| source["failing"].as_array().is_some_and(|failing| !failing.is_empty());
        (sources["sources"].as_array()?.iter().filter(failing).count() >= 8).then_some(())
    })
    .await;
    for path in ["/", "/metrics", "/readyz", "/api/v1/sources", "/api/v1/journeys", "/api/v1/why?q=web"] {
        clean(path, &read(path).await.unwrap());
    }
    std::fs::write(&file, "git: [{url: 'ftp://bot:hunter2-reload@host/x.git'}]").unwrap();
    let answer = reqwest::Client::new().post(format!("http://{address}/-/reload")).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    clean("the answer to a reload", &answer.text().await.unwrap());
    running.signal("TERM");
    assert!(running.ended().success());
    let log = said(&running);
    assert!(log.contains("DEBUG"), "it was talkative");
    clean("the log", &log);
}
