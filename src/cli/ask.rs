//! Asking a running instance: directly, or through a cluster's API server.

use std::time::Duration;

use serde_json::Value;

use super::Usage;
use super::args::ServerArgs;
use crate::config;
use crate::observers::cluster;

/// One answer. The instance answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest answer taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// No running instance answers, or it has no answer. Its own exit code.
#[derive(Debug, thiserror::Error)]
pub enum CannotAsk {
    #[error(
        "cannot ask {server}: {why}\nis `knotmeter run` or `knotmeter demo` running there? name another with --server"
    )]
    Nobody { server: String, why: String },
    /// It runs, and says why not.
    #[error("{server} has no answer: {why}")]
    Refused { server: String, why: String },
}

/// The way to one instance.
pub struct Instance {
    server: String,
    way: Way,
}

enum Way {
    Http(reqwest::Client),
    Cluster(Box<kube::Client>),
}

impl Instance {
    /// The instance that the arguments name.
    pub async fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let Some(context) = &args.context else {
            let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?;
            return Ok(Self { server: args.server.trim_end_matches('/').to_owned(), way: Way::Http(client) });
        };
        let (namespace, name) = args
            .service
            .split_once('/')
            .ok_or_else(|| Usage("--service: write NAMESPACE/NAME, such as knotmeter/knotmeter".into()))?;
        let named = config::Cluster {
            name: context.clone(),
            kubeconfig: args.kubeconfig.clone(),
            context: Some(context.clone()),
            ownership: None,
        };
        let cannot =
            |error: &cluster::Error| CannotAsk::Nobody { server: context.clone(), why: error.to_string() };
        let client = cluster::connect(&named).await.map_err(|error| cannot(&error))?;
        let server = format!("/api/v1/namespaces/{namespace}/services/{name}:http/proxy");
        Ok(Self { server, way: Way::Cluster(Box::new(client)) })
    }

    /// The JSON at a path with a query.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let (status, body) = self.ask(path, query).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.cannot(format!("it answers {status} and no JSON: {error}")).into())
    }

    /// What is at a path with a query, as it comes.
    pub async fn get_bytes(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
        Ok(self.ask(path, query).await?.1)
    }

    fn cannot(&self, why: String) -> CannotAsk {
        CannotAsk::Nobody { server: self.server.clone(), why }
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<(http::StatusCode, Vec<u8>)> {
        let query: String = query
            .iter()
            .map(|(key, value)| format!("{key}={}", encoded(value)))
            .collect::<Vec<_>>()
            .join("&");
        let address = format!("{}{path}?{query}", self.server);
        let cannot = |why: String| self.cannot(why);
        let (status, body) = match &self.way {
            Way::Http(client) => {
                let answer = client.get(&address).send().await.map_err(|error| cannot(root_cause(&error)))?;
                let status = answer.status();
                (status, answer.bytes().await.map_err(|error| cannot(root_cause(&error)))?.to_vec())
            }
            Way::Cluster(client) => {
                let request = http::Request::get(&address).body(Vec::new())?;
                let asked = async {
                    let answer = client.send(request.map(Into::into)).await?;
                    let status = answer.status();
                    Ok::<_, kube::Error>((status, answer.into_body().collect_bytes().await?.to_vec()))
                };
                tokio::time::timeout(ANSWER_TIMEOUT, asked)
                    .await
                    .map_err(|_| cannot("no answer in time".into()))?
                    .map_err(|error| cannot(root_cause(&error)))?
            }
        };
        if body.len() > ANSWER_BYTES_MAX {
            return Err(cannot(format!("an answer of {} bytes", body.len())).into());
        }
        if !status.is_success() {
            let value: Value = serde_json::from_slice(&body)
                .map_err(|error| cannot(format!("it answers {status} and no JSON: {error}")))?;
            // An API server on the way has words of its own, and nobody answered behind it.
            let Some(said) = value["error"].as_str() else {
                let said = value["message"].as_str().unwrap_or("no reason given");
                return Err(cannot(format!("{status}: {said}")).into());
            };
            if status == http::StatusCode::BAD_REQUEST {
                return Err(Usage(said.to_owned()).into());
            }
            return Err(CannotAsk::Refused { server: self.server.clone(), why: said.to_owned() }.into());
        }
        Ok((status, body))
    }
}

/// Percent-encodes everything that is not plainly safe in a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// The innermost reason: "connection refused" says more than "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
