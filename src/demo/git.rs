//! The demo's git: a bare repository served over smart HTTP by git's own `http-backend`, and the `git`
//! program as the demo's people use it. Every call ignores the user's and the system's configuration, so
//! that signing, hooks or proxies of the host change nothing.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Error;
use super::fault::{Fault, Faults};
use super::truth::{Happened, Truth};

/// The only branch of the demo's repository.
pub(super) const BRANCH: &str = "main";
/// The repository's folder and the path in its address.
pub(super) const REPOSITORY: &str = "fleet.git";

/// One request's body: a demo's push is some kilobytes.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// A git call on loopback takes milliseconds; one that takes longer hangs.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How much of git's own error is passed on.
const ERROR_CHARS_MAX: usize = 400;

/// The `git` program in one folder, as one person.
#[derive(Debug, Clone)]
pub(super) struct Git {
    folder: PathBuf,
    author: &'static str,
}

impl Git {
    pub(super) fn new(folder: impl Into<PathBuf>, author: &'static str) -> Self {
        Self { folder: folder.into(), author }
    }

    /// Runs `git` and returns what it printed.
    pub(super) async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, Error> {
        let mut command = program(&self.folder);
        let email = format!("{}@demo.invalid", self.author);
        command
            .args(arguments)
            .env("GIT_AUTHOR_NAME", self.author)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", self.author)
            .env("GIT_COMMITTER_EMAIL", &email)
            .stdin(Stdio::null());
        let output = finished(command.output()).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let call: Vec<_> = arguments.iter().map(|one| one.as_ref().to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Git { call: call.join(" "), said: said.trim().chars().take(ERROR_CHARS_MAX).collect() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Clones `url` into the folder, which must exist and be empty.
    pub(super) async fn clone_from(&self, url: &str) -> Result<(), Error> {
        self.run(&["clone", "--quiet", "--branch", BRANCH, url, "."]).await.map(drop)
    }

    /// Makes the work tree exactly what the server has.
    pub(super) async fn refresh(&self) -> Result<(), Error> {
        self.run(&["fetch", "--quiet", "origin", BRANCH]).await?;
        self.run(&["reset", "--quiet", "--hard", "FETCH_HEAD"]).await.map(drop)
    }

    /// The commit at the tip of the server's branch.
    pub(super) async fn remote_tip(&self) -> Result<String, Error> {
        let line = self.run(&["ls-remote", "origin", &format!("refs/heads/{BRANCH}")]).await?;
        Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// Commits everything that changed in the work tree and pushes it; returns the commit.
    pub(super) async fn commit_and_push(&self, message: &str) -> Result<String, Error> {
        self.run(&["add", "--all"]).await?;
        self.run(&["commit", "--quiet", "--message", message]).await?;
        self.run(&["push", "--quiet", "origin", &format!("HEAD:{BRANCH}")]).await?;
        self.run(&["rev-parse", "HEAD"]).await
    }
}

/// Makes the bare repository in `root`.
pub(super) async fn create(root: &Path) -> Result<(), Error> {
    let git = Git::new(root, "demo");
    git.run(&["init", "--quiet", "--bare", "--initial-branch", BRANCH, REPOSITORY]).await?;
    let bare = Git::new(root.join(REPOSITORY), "demo");
    bare.run(&["config", "http.receivepack", "true"]).await?;
    // A shallow or filtered clone is what an observer may want.
    bare.run(&["config", "uploadpack.allowFilter", "true"]).await?;
    // Housekeeping in the background would outlive the world.
    bare.run(&["config", "receive.autogc", "false"]).await.map(drop)
}

/// The smart HTTP server for the repositories in `root`.
pub(super) fn router(root: PathBuf, faults: Faults, truth: Truth) -> Router {
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
    if server.faults.on(Fault::GitDown) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the demo's git server is down\n").into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the request is above 64 MiB\n").into_response();
    };
    let pushes = parts.method == http::Method::POST && parts.uri.path().ends_with("/git-receive-pack");
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

/// Runs `git http-backend` as the CGI program that it is.
async fn backend(root: &Path, parts: &http::request::Parts, body: Bytes) -> Result<Output, Error> {
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

/// `git` with nothing of the host's configuration and of a surrounding git call in its environment.
fn program(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy().to_ascii_lowercase();
        if name_text.starts_with("git_") || name_text.ends_with("_proxy") {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("HOME", folder)
        .env("LC_ALL", "C")
        .kill_on_drop(true);
    command
}

async fn finished(run: impl Future<Output = std::io::Result<Output>>) -> Result<Output, Error> {
    match tokio::time::timeout(CALL_TIME_MAX, run).await {
        Ok(output) => output.map_err(Error::no_git),
        Err(_) => Err(Error::Git { call: "git".to_owned(), said: "no answer in 30 seconds".to_owned() }),
    }
}
