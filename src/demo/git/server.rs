//! The smart HTTP server: git's own `http-backend` behind the demo's listener, and what its faults answer.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::io::AsyncWriteExt;

use super::{BRANCH, Git, REPOSITORY, finished, program};
use crate::demo::Error;
use crate::demo::fault::{Fault, Faults};
use crate::demo::truth::{Happened, Truth};

/// One request's body: a demo's push is some kilobytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Who fetches for the cluster, and who writes new tags, by the program that they say they are.
const FETCHERS: [&str; 2] = ["demo-applier", "source-controller"];
const UPDATERS: [&str; 2] = ["demo-updater", "image-automation-controller"];

/// The smart HTTP server for the repositories in `root`.
pub(in crate::demo) fn router(root: PathBuf, faults: Faults, truth: Truth) -> Router {
    let server = Server { root, faults, truth, tip: Mutex::new(String::new()) };
    Router::new().fallback(answer).with_state(Arc::new(server))
}

struct Server {
    root: PathBuf,
    faults: Faults,
    truth: Truth,
    tip: Mutex<String>,
}

impl Server {
    /// The answer that a fault gives in place of the true one.
    async fn misbehaves(&self, parts: &Parts) -> Option<Response> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let is_one_of = |all: &[&str]| agent.is_some_and(|agent| all.iter().any(|one| agent.contains(one)));
        let (fetches, updates) = (is_one_of(&FETCHERS), is_one_of(&UPDATERS));
        let asks_to_push = parts.uri.query().is_some_and(|query| query.contains("service=git-receive-pack"));
        if self.faults.on(Fault::GitDown) {
            let told = (StatusCode::SERVICE_UNAVAILABLE, "the demo's git server is down\n");
            return Some(told.into_response());
        }
        if fetches && self.faults.on(Fault::GitAuth) {
            let realm = [(header::WWW_AUTHENTICATE, "Basic realm=\"demo\"")];
            return Some((StatusCode::UNAUTHORIZED, realm, "Unauthorized\n").into_response());
        }
        if fetches && self.faults.on(Fault::SourceFailing) {
            return Some((StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n").into_response());
        }
        if updates && asks_to_push && self.faults.on(Fault::AutomationFailing) {
            return Some((StatusCode::FORBIDDEN, "write access is not granted\n").into_response());
        }
        if updates && is_push(parts) && self.faults.on(Fault::AutomationRace) {
            // A failure leaves the race to be won, which is what a race is about.
            if let Err(error) = self.commit_in_between().await {
                tracing::debug!(%error, "nobody was quicker than the updater");
            }
            self.note_tip();
        }
        None
    }

    /// Somebody else's commit, which changes nothing but the tip of the branch.
    async fn commit_in_between(&self) -> Result<(), Error> {
        let bare = Git::new(self.root.join(REPOSITORY), "demo-colleague");
        let message = "note something elsewhere";
        let made = bare.run(&["commit-tree", "-p", BRANCH, "-m", message, "main^{tree}"]).await?;
        bare.run(&["update-ref", &format!("refs/heads/{BRANCH}"), &made]).await.map(drop)
    }

    /// Writes down that the branch moved, and when by the file system: `git` answers only some time later, and
    /// others have seen it by then. Two pushes at once are serialised by git's own lock on the ref.
    fn note_tip(&self) {
        let path = self.root.join(REPOSITORY).join("refs/heads").join(BRANCH);
        let Ok(text) = std::fs::read_to_string(&path) else { return };
        let mut tip = self.tip.lock().unwrap_or_else(PoisonError::into_inner);
        if *tip != text.trim() {
            *tip = text.trim().to_owned();
            let moved = std::fs::metadata(&path).ok().and_then(|file| {
                let nanos = u32::try_from(file.ctime_nsec()).ok()?;
                DateTime::from_timestamp(file.ctime(), nanos)
            });
            let committed = Happened::Committed { commit: tip.clone() };
            self.truth.record(moved.unwrap_or_else(Utc::now), committed);
        }
    }
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(response) = server.misbehaves(&parts).await {
        return response;
    }
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the request is above 64 MiB\n").into_response();
    };
    let pushes = is_push(&parts);
    let answered = backend(&server.root, &parts, body).await;
    if pushes {
        server.note_tip();
    }
    match answered.map(|output| cgi_response(&output.stdout)) {
        Ok(Some(response)) => response,
        Ok(None) => (StatusCode::BAD_GATEWAY, "git http-backend gave no answer\n").into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
    }
}

fn is_push(parts: &Parts) -> bool {
    parts.method == http::Method::POST && parts.uri.path().ends_with("/git-receive-pack")
}

/// Runs `git http-backend` as the CGI program that it is.
async fn backend(root: &Path, parts: &Parts, body: Bytes) -> Result<Output, Error> {
    let text = |headers: &HeaderMap, name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut command = program(root);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text(&parts.headers, header::CONTENT_TYPE))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text(&parts.headers, header::CONTENT_ENCODING))
        .env("GIT_PROTOCOL", text(&parts.headers, HeaderName::from_static("git-protocol")))
        .env("REMOTE_USER", "demo")
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(Error::no_git)?;
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    let exchange = async {
        let send = async {
            // A program that answers without reading its input is not an error here.
            let _ = stdin.write_all(&body).await;
            drop(stdin);
        };
        tokio::join!(send, child.wait_with_output()).1
    };
    finished(exchange).await
}

/// Splits what a CGI program printed into headers and body.
fn cgi_response(printed: &[u8]) -> Option<Response> {
    let (head_length, body_start) = (0..printed.len()).find_map(|at| match &printed[at..] {
        [b'\r', b'\n', b'\r', b'\n', ..] => Some((at, at + 4)),
        [b'\n', b'\n', ..] => Some((at, at + 2)),
        _ => None,
    })?;
    let head = std::str::from_utf8(&printed[..head_length]).ok()?;
    let mut response = Response::new(Body::from(printed[body_start..].to_vec()));
    for line in head.lines() {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("status") {
            let code = value.split_whitespace().next()?.parse().ok()?;
            *response.status_mut() = StatusCode::from_u16(code).ok()?;
        } else {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            response.headers_mut().append(name, HeaderValue::from_str(value.trim()).ok()?);
        }
    }
    Some(response)
}
