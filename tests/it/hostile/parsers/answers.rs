//! Answers that are read only by the code that asked: a server on loopback, or a program, says what is to be read.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use knotmeter::config::{self, Git, Registry};
use knotmeter::image::Repository;
use knotmeter::observation::{SourceId, SourceKind};
use knotmeter::observers::cluster;
use knotmeter::observers::git::Poller;
use knotmeter::observers::registry::client::{Ask, Client};
use knotmeter::observers::registry::credentials::Login;
use knotmeter::observers::registry::credentials::cloud::{Cloud, Environment, Kind};
use knotmeter::observers::registry::credentials::program::Helper;
use knotmeter::observers::registry::{Limits, NamedBy};
use knotmeter::observers::{REPORT_QUEUE_SIZE, Reporter};
use reqwest::Method;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::{Parser, told};

/// What is read of a login, from whomever.
const LOGIN: usize = 64 << 10;
/// A part of what an API server or a git server may send.
const ANSWER: usize = 256 << 10;
/// One input in so many: each is a question over a socket, or a program.
const COST: u64 = 5;

const TOKEN_ANSWER: &str =
    r#"{"token":"abc.def","access_token":"x","expires_in":300.5,"issued_at":"2026-11-21T10:00:00Z"}"#;
const ECR: &str = r#"{"authorizationData":[{"authorizationToken":"QVdTOnNlY3JldA==","expiresAt":1.9e9,"proxyEndpoint":"https://1.dkr.ecr"}]}"#;
const STS: &str =
    "<AssumeRoleWithWebIdentityResponse><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>B
    </SecretAccessKey><SessionToken>C</SessionToken></Credentials></AssumeRoleWithWebIdentityResponse>";
const AGENT: &str =
    r#"{"AccessKeyId":"A","SecretAccessKey":"B","Token":"C","Expiration":"2026-11-21T10:00:00Z"}"#;
const AZURE: &str = r#"{"access_token":"A","refresh_token":"B","expires_in":3599,"token_type":"Bearer"}"#;
const REFUSED: [&str; 3] = [
    r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"m"}}"#,
    r#"{"__type":"com.amazonaws#AccessDeniedException","error":"invalid_grant"}"#,
    "<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>",
];
const HELPER: &str = r#"{"ServerURL":"r.example","Username":"<token>","Secret":"abc"}"#;
const EXEC: &str = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"abc",
    "expirationTimestamp":"2036-11-21T10:00:00Z"}}"#;
const CLUSTER: &str = r#"{"gitVersion":"v1.34.1","metadata":{"uid":"11111111-lab","resourceVersion":"7"},"items":[{"spec":
    {"template":{"spec":{"containers":[{"name":"main","image":"r.io/web:1"}]}}}}],"kind":"List","apiVersion":"v1",
    "versions":[{"groupVersion":"x/v1","version":"v1"},{"version":"v2"},{"version":"v1beta2"}],"resources":[{"name":"kustomizations",
    "namespaced":true,"kind":"Kustomization"},{"name":"helmreleases"},{"name":"imagepolicies/status"},{"name":"buckets"}]}"#;

/// A server whose answers are the text that is being read; it ends with the process.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    text: Arc<Mutex<Vec<u8>>>,
}

/// What stands before the text in an answer to a request line, or a whole other answer.
type Front = fn(&str, SocketAddr) -> Result<String, Vec<u8>>;

impl Server {
    fn start(front: Front) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), text: Arc::default() };
        let each = server.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Whoever goes away in between is not waited for.
                let _ = each.answer(connection, front);
            }
        });
        server
    }

    fn says(&self, text: &[u8]) {
        *self.text.lock().unwrap() = text.to_vec();
    }

    fn answer(&self, connection: TcpStream, front: Front) -> std::io::Result<()> {
        let mut connection = BufReader::new(connection);
        let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if connection.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(told) = lower.strip_prefix("content-length:") {
                length = told.trim().parse().unwrap_or(0);
            }
            head += &line;
        }
        std::io::copy(&mut (&mut connection).take(length), &mut std::io::sink())?;
        let answer = front(&head, self.address).map_or_else(
            |whole| whole,
            |front| {
                let text = self.text.lock().unwrap();
                let head = format!(
                    "HTTP/1.1 {front}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    text.len()
                );
                [head.as_bytes(), &text].concat()
            },
        );
        connection.get_mut().write_all(&answer)
    }
}

fn whole(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn plain(_: &str, _: SocketAddr) -> Result<String, Vec<u8>> {
    Ok("200 OK\r\ncontent-type: application/json".into())
}

/// A registry that wants a token of itself.
fn registry(head: &str, address: SocketAddr) -> Result<String, Vec<u8>> {
    if head.starts_with("GET /token") {
        return plain(head, address);
    }
    let wants = format!("401 Unauthorized\r\nwww-authenticate: Bearer realm=\"http://{address}/token\"");
    let has_one = head.to_ascii_lowercase().contains("authorization: bearer");
    Err(whole(if has_one { "200 OK" } else { &wants }, b"{}"))
}

/// A machine whose role is the text.
fn names_role(head: &str, address: SocketAddr) -> Result<String, Vec<u8>> {
    match head.lines().next().unwrap_or_default() {
        line if line.contains("/api/token") => Err(whole("200 OK", b"a-token")),
        line if line.contains("/security-credentials/ ") => plain(head, address),
        _ => Err(whole("200 OK", AGENT.as_bytes())),
    }
}

/// A machine that gives the text for its role, and for the token before it.
fn keys_of_role(head: &str, address: SocketAddr) -> Result<String, Vec<u8>> {
    let line = head.lines().next().unwrap_or_default();
    if line.contains("/security-credentials/ ") {
        Err(whole("200 OK", b"web-role"))
    } else {
        plain(head, address)
    }
}

fn runtime() -> Arc<Runtime> {
    Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
}

fn token() -> Parser {
    let (server, runtime, asked) = (Server::start(registry), runtime(), AtomicU64::new(0));
    let config = Registry { host: server.address.to_string(), plain_http: true, ..Registry::default() };
    let client = Client::new(&config, NamedBy::Operator, Limits::default(), Arc::new(drop)).unwrap();
    Parser::new("token", LOGIN, [TOKEN_ANSWER], move |text| {
        server.says(text);
        // A token is kept for its repository.
        let path = format!("team/r{}", asked.fetch_add(1, Ordering::Relaxed));
        let repository: Repository = format!("{}/{path}", server.address).parse().unwrap();
        let ask = Ask {
            operation: "tags",
            method: Method::GET,
            url: client.url(&format!("{path}/tags/list")),
            accept: None,
            repository: Some(&repository),
            body: ("bytes", ANSWER),
        };
        told(runtime.block_on(client.ask(ask)).map(drop));
    })
    .costing(COST)
}

/// A cloud whose every service says the text; the variables may name the server and a file with the text.
fn cloud(
    name: &'static str,
    kind: &Kind,
    front: Front,
    examples: &[&str],
    variables: &[(&str, &str)],
) -> Parser {
    let (server, runtime, folder) = (Server::start(front), runtime(), tempfile::tempdir().unwrap());
    let (file, other) = (folder.path().join("text"), folder.path().join("token"));
    std::fs::write(&other, "a-token").unwrap();
    let filled = variables.iter().map(|(name, value)| {
        let value = value.replace("SERVER", &format!("http://{}/", server.address));
        let value = value.replace("HOST", &server.address.to_string());
        (*name, value.replace("TOKEN", other.to_str().unwrap()).replace("TEXT", file.to_str().unwrap()))
    });
    let cloud = Cloud::new(kind.clone(), "r.example", NamedBy::Operator, Environment::new(filled));
    let registry = format!("http://{}/", server.address).parse().unwrap();
    Parser::new(name, LOGIN, examples, move |text| {
        let _ = &folder;
        server.says(text);
        std::fs::write(&file, text).unwrap();
        told(runtime.block_on(cloud.login(&registry)).map(drop));
    })
    .costing(COST)
}

/// The login that Google's metadata service gives with this answer.
pub fn of_google(text: &str) -> Option<Login> {
    let (server, runtime) = (Server::start(plain), runtime());
    server.says(text.as_bytes());
    let environment = Environment::new([("GCE_METADATA_HOST", server.address.to_string())]);
    let cloud = Cloud::new(Kind::Google, "gcr.io", NamedBy::Operator, environment);
    let found = runtime.block_on(cloud.login(&"http://127.0.0.1:1/".parse().unwrap()));
    found.unwrap().map(|found| found.login)
}

/// The login that Azure gives where both its services answer this.
pub fn of_azure(text: &str) -> Option<Login> {
    let (server, runtime, folder) = (Server::start(plain), runtime(), tempfile::tempdir().unwrap());
    server.says(text.as_bytes());
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token").unwrap();
    let base = format!("http://{}/", server.address);
    let environment = Environment::new([
        ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", &base),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
    ]);
    let cloud = Cloud::new(Kind::Azure, "shop.azurecr.io", NamedBy::Operator, environment);
    runtime.block_on(cloud.login(&base.parse().unwrap())).unwrap().map(|found| found.login)
}

/// The login that Amazon gives with this answer.
pub fn of_amazon(text: &str) -> Option<Login> {
    let (server, runtime) = (Server::start(plain), runtime());
    server.says(text.as_bytes());
    let base = format!("http://{}/", server.address);
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_ENDPOINT_URL", &*base)];
    let kind = Kind::Ecr { region: "eu-west-1".into(), suffix: "amazonaws.com" };
    let cloud = Cloud::new(kind, "r.example", NamedBy::Operator, Environment::new(keys));
    runtime.block_on(cloud.login(&base.parse().unwrap())).unwrap().map(|found| found.login)
}

/// Whether a kubeconfig's program that prints this lets us in.
pub fn of_plugin(text: &str) -> bool {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let (program, file) = prints(folder.path());
    let exec = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": program,
        "interactiveMode": "Never"}});
    let cluster = kubeconfig(folder.path(), "http://127.0.0.1:1", &exec);
    std::fs::write(&file, text).unwrap();
    runtime.block_on(cluster::connect(&cluster)).is_ok()
}

/// The login that a helper gives that prints this.
pub fn of_helper(text: &str) -> Option<Login> {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let (program, file) = prints(folder.path());
    std::fs::write(&file, text).unwrap();
    runtime.block_on(Helper::at(program).ask("r.example")).unwrap()
}

/// A program that prints what stands in a file.
fn prints(folder: &Path) -> (PathBuf, PathBuf) {
    let (program, file) = (folder.join("prints"), folder.join("text"));
    std::fs::write(&program, format!("#!/bin/sh\nexec cat {}\n", file.display())).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (program, file)
}

fn helper() -> Parser {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let (program, file) = prints(folder.path());
    let helper = Helper::at(program);
    Parser::new("helper", LOGIN, [HELPER, "credentials not found in native keychain"], move |text| {
        let _ = &folder;
        std::fs::write(&file, text).unwrap();
        told(runtime.block_on(helper.ask("r.example")).map(drop));
    })
    .costing(COST)
}

fn kubeconfig(folder: &Path, server: &str, user: &serde_json::Value) -> config::Cluster {
    let file = folder.join("kubeconfig");
    let text = serde_json::json!({
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
        "users": [{"name": "u", "user": user}],
    });
    std::fs::write(&file, text.to_string()).unwrap();
    config::Cluster { name: "lab".into(), kubeconfig: Some(file), context: None, ownership: None }
}

fn exec_credential() -> Parser {
    let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
    let (program, file) = prints(folder.path());
    let exec = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": program,
        "interactiveMode": "Never"}});
    let cluster = kubeconfig(folder.path(), "http://127.0.0.1:1", &exec);
    Parser::new("exec_credential", LOGIN, [EXEC], move |text| {
        let _ = &folder;
        std::fs::write(&file, text).unwrap();
        told(runtime.block_on(cluster::connect(&cluster)).map(drop));
    })
    .costing(COST)
}

fn cluster_itself() -> Parser {
    let (server, runtime, folder) = (Server::start(plain), runtime(), tempfile::tempdir().unwrap());
    let cluster = kubeconfig(folder.path(), &format!("http://{}", server.address), &serde_json::json!({}));
    Parser::new("cluster_itself", ANSWER, [CLUSTER], move |text| {
        let _ = &folder;
        server.says(text);
        told(runtime.block_on(cluster::check(&cluster)).map(drop));
    })
    .costing(4 * COST)
}

/// A line of git's protocol: its length, then itself.
fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

fn greeting() -> String {
    let lines =
        ["version 2\n", "agent=git/2.47.0\n", "ls-refs=unborn\n", "fetch=shallow\n", "object-format=sha1\n"];
    line("# service=git-upload-pack\n") + "0000" + &lines.map(line).concat() + "0000"
}

fn references() -> String {
    let commit = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
    let lines = [
        format!("{commit} HEAD symref-target:refs/heads/main\n"),
        format!("{commit} refs/heads/main\n"),
        format!("{commit} refs/tags/v1 peeled:{commit}\n"),
    ];
    lines.map(|text| line(&text)).concat() + "0000"
}

const GREETS: &str = "200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement";
const ANSWERS: &str = "200 OK\r\ncontent-type: application/x-git-upload-pack-result";

/// The greeting is what is read.
fn greets(head: &str, _: SocketAddr) -> Result<String, Vec<u8>> {
    if head.starts_with("GET") { Ok(GREETS.into()) } else { Err(whole(ANSWERS, references().as_bytes())) }
}

/// What follows it is: references, and what comes when they are fetched.
fn lists(head: &str, _: SocketAddr) -> Result<String, Vec<u8>> {
    if head.starts_with("GET") { Err(whole(GREETS, greeting().as_bytes())) } else { Ok(ANSWERS.into()) }
}

fn git(name: &'static str, front: Front, example: String) -> Parser {
    let (server, runtime, folder) = (Server::start(front), runtime(), tempfile::tempdir().unwrap());
    Parser::new(name, ANSWER, [example], move |text| {
        server.says(text);
        let config = Git { url: format!("http://{}/x.git", server.address), ..Git::default() };
        runtime.block_on(async {
            let (to, _reports) = mpsc::channel(REPORT_QUEUE_SIZE);
            let reporter = Reporter::new(SourceId::new(SourceKind::Git, "x"), 1, to);
            told(Poller::new(config, folder.path(), reporter).poll().await);
        });
    })
    .costing(4 * COST)
}

pub fn all() -> Vec<Parser> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ecr = Kind::Ecr { region: "eu-west-1".into(), suffix: "amazonaws.com" };
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_ENDPOINT_URL", "SERVER")];
    let role = [
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "TOKEN"),
        ("AWS_ENDPOINT_URL", "SERVER"),
    ];
    let agent = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "SERVER"), ("AWS_ENDPOINT_URL", "SERVER")];
    let machine = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "SERVER"), ("AWS_ENDPOINT_URL", "SERVER")];
    let azure = [
        ("AZURE_FEDERATED_TOKEN_FILE", "TOKEN"),
        ("AZURE_AUTHORITY_HOST", "SERVER"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
    ];
    let federated = r#"{"type":"external_account","audience":"//iam","subject_token_type":"urn:ietf:params:oauth:token-type:jwt",
        "token_url":"http://127.0.0.1:1/token","credential_source":{"file":"/nowhere","format":{"type":"json",
        "subject_token_field_name":"id_token"}},"service_account_impersonation_url":"http://127.0.0.1:1/x"}"#;
    let refuses: Front = |_, _| Ok("400 Bad Request\r\ncontent-type: text/plain".into());
    vec![
        token(),
        cloud("ecr", &ecr, plain, &[ECR], &keys),
        cloud("sts", &ecr, plain, &[STS], &role),
        cloud("pod_identity", &ecr, plain, &[AGENT], &agent),
        cloud("machine_role", &ecr, names_role, &["web-role", "Role+=,.@_-1\n"], &machine),
        cloud("machine_keys", &ecr, keys_of_role, &[AGENT], &machine),
        cloud("cloud_refusal", &ecr, refuses, &REFUSED, &keys),
        cloud("google", &Kind::Google, plain, &[AZURE], &[("GCE_METADATA_HOST", "HOST")]),
        cloud(
            "google_file",
            &Kind::Google,
            plain,
            &[federated],
            &[("GOOGLE_APPLICATION_CREDENTIALS", "TEXT")],
        ),
        cloud("azure", &Kind::Azure, plain, &[AZURE], &azure),
        helper(),
        exec_credential(),
        cluster_itself(),
        git("git_greeting", greets, greeting()),
        git("git_references", lists, references()),
    ]
}
