//! What stands before the demo's API server: it hides groups, serves them as other versions, refuses kinds and cuts
//! what is open. Everything else it passes on as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use knotmeter::config;
use knotmeter::demo::World;
use knotmeter::observers::cluster::connect;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// See the file's front line. It ends with the value.
pub struct Front {
    rules: Arc<Mutex<Rules>>,
    cut: watch::Sender<()>,
    kubeconfig: PathBuf,
    server: JoinHandle<()>,
    _folder: TempDir,
}

#[derive(Default)]
pub struct Rules {
    /// Kinds, by plural name, that nobody may list or watch.
    pub forbidden: BTreeSet<&'static str>,
    /// Groups that are served in these versions, whatever the world serves; in none it is not there at all.
    pub served: BTreeMap<&'static str, Vec<&'static str>>,
    /// Every path that was asked for.
    pub asked: Vec<String>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Front {
    /// Before this world's API server, with rules from the start.
    pub async fn of(world: &World, rules: Rules) -> Self {
        let addresses = world.addresses();
        let rules = Arc::new(Mutex::new(rules));
        let (cut, _) = watch::channel(());
        let (behind, kept, cuts) = (addresses.kubernetes.clone(), rules.clone(), cut.clone());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let pass = async move |uri: Uri| -> Response {
            let to = match kept.lock().unwrap().judge(&uri) {
                Judged::Passed(path) => format!("{behind}{path}"),
                Judged::Answered(answer) => return answer,
            };
            let answer = client.get(to).send().await.unwrap();
            let (status, mut cut) = (answer.status(), cuts.subscribe());
            let ends = async move { drop(cut.changed().await) };
            (status, Body::from_stream(answer.bytes_stream().take_until(Box::pin(ends)))).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let text = std::fs::read_to_string(&addresses.kubeconfig).unwrap();
        std::fs::write(&kubeconfig, text.replace(&addresses.kubernetes, &here)).unwrap();
        Self { rules, cut, kubeconfig, server, _folder: folder }
    }

    pub fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    /// Ends every answer that is under way.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    pub async fn client(&self) -> kube::Client {
        let kubeconfig = Some(self.kubeconfig.clone());
        connect(&config::Cluster { name: "lab".into(), kubeconfig, context: None, ownership: None })
            .await
            .unwrap()
    }
}

/// What becomes of a request.
enum Judged {
    /// It goes to the server, for this path.
    Passed(String),
    /// It never comes there.
    Answered(Response),
}

impl Rules {
    /// What to ask the server for, or what to answer in its place.
    fn judge(&mut self, uri: &Uri) -> Judged {
        let asked = uri.path_and_query().unwrap().to_string();
        self.asked.push(asked.clone());
        let words: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        let plural = words.last().copied().unwrap_or_default();
        if self.forbidden.contains(plural) {
            let message =
                format!("{plural} is forbidden: User \"knotmeter\" cannot list resource \"{plural}\"");
            return Judged::Answered(refuse(403, "Forbidden", &message));
        }
        let ["apis", group, rest @ ..] = &words[..] else { return Judged::Passed(asked) };
        let Some(versions) = self.served.get(group) else { return Judged::Passed(asked) };
        match rest {
            [] if !versions.is_empty() => {
                let versions = versions.iter().map(|version| json!({"version": version})).collect::<Vec<_>>();
                let found = json!({"kind": "APIGroup", "name": group, "versions": versions});
                Judged::Answered(axum::Json(found).into_response())
            }
            // The world keeps the objects in the newest version that there is.
            [version, ..] if versions.contains(version) => {
                let own = if *group == "helm.toolkit.fluxcd.io" { "v2" } else { "v1" };
                Judged::Passed(asked.replacen(&format!("/{version}"), &format!("/{own}"), 1))
            }
            _ => {
                Judged::Answered(refuse(404, "NotFound", "the server could not find the requested resource"))
            }
        }
    }
}

fn refuse(code: u16, reason: &str, message: &str) -> Response {
    let status =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    (StatusCode::from_u16(code).unwrap(), axum::Json(status)).into_response()
}
