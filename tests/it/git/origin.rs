//! A real git repository with the `git` program: a bare origin, a working copy, and smart HTTP in front.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

/// An origin and the working copy of the person who pushes to it.
pub struct Origin {
    directory: tempfile::TempDir,
    /// Each commit is one minute after the one before, so ids and order are the same in every run.
    minutes: AtomicU64,
}

impl Origin {
    pub fn new() -> Self {
        let origin = Self { directory: tempfile::tempdir().unwrap(), minutes: AtomicU64::new(0) };
        std::fs::create_dir(origin.work()).unwrap();
        origin.git(&["init", "--quiet", "--bare", "--initial-branch=main", "../origin.git"]);
        origin.git(&["init", "--quiet", "--initial-branch=main", "."]);
        origin.git(&["remote", "add", "origin", "../origin.git"]);
        origin
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// A file of the working copy.
    pub fn path(&self, file: &str) -> PathBuf {
        self.work().join(file)
    }

    pub fn file_url(&self) -> String {
        format!("file://{}", self.directory.path().join("origin.git").display())
    }

    /// Runs git in the working copy, without the configuration of whoever runs the test.
    pub fn git(&self, arguments: &[&str]) -> String {
        let date = format!("{} +0000", 1_700_000_000 + 60 * self.minutes.load(Ordering::SeqCst));
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.work())
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
            .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
            .envs([("GIT_COMMITTER_NAME", "Bot"), ("GIT_COMMITTER_EMAIL", "bot@example.com")])
            .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A tree with the same entry, a mode with type and an id, under so many names; its id.
    pub fn tree(&self, entry: &[&str; 2], names: usize) -> String {
        let lines: String = (0..names).map(|name| format!("{} {}\t{name}\n", entry[0], entry[1])).collect();
        self.write("../tree.txt", lines);
        let output = Command::new("git")
            .arg("mktree")
            .current_dir(self.work())
            .stdin(std::fs::File::open(self.path("../tree.txt")).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Commits everything that was written; the commit's id.
    pub fn commit(&self, subject: &str) -> String {
        self.minutes.fetch_add(1, Ordering::SeqCst);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn push(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
    }

    pub fn commit_and_push(&self, subject: &str) -> String {
        let id = self.commit(subject);
        self.push();
        id
    }
}

/// Added to a status that is answered once.
const ONCE: u16 = 1000;

/// Smart HTTP on loopback: every request is one run of `git http-backend`.
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// What the server is told, and what it saw.
struct Shared {
    root: PathBuf,
    /// Answered in place of git where it is not zero.
    status: AtomicU16,
    /// `Retry-After` of what is answered in place of git.
    retry_after: Mutex<Option<String>>,
    requests: Mutex<Vec<String>>,
    /// When each of them came.
    times: Mutex<Vec<Instant>>,
    /// The `Authorization` that is let in; `None` lets everybody in.
    wanted: Mutex<Option<&'static str>>,
}

impl HttpServer {
    pub async fn start(origin: &Origin) -> Self {
        let shared = Arc::new(Shared {
            root: origin.directory.path().to_owned(),
            status: AtomicU16::new(0),
            retry_after: Mutex::default(),
            requests: Mutex::default(),
            times: Mutex::default(),
            wanted: Mutex::default(),
        });
        let (address, task) = serve("127.0.0.1:0".parse().unwrap(), shared.clone()).await;
        Self { address, task, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/origin.git", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers 401 to who does not send this header.
    pub fn want(&self, authorization: Option<&'static str>) {
        *self.shared.wanted.lock().unwrap() = authorization;
    }

    /// Answers everything with this status; zero lets git answer again.
    pub fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// The same, with a `Retry-After`.
    pub fn throttle(&self, status: u16, retry_after: &str) {
        *self.shared.retry_after.lock().unwrap() = Some(retry_after.into());
        self.answer_with(status);
    }

    /// The same for one request; git answers the next one again.
    pub fn throttle_once(&self, status: u16, retry_after: &str) {
        self.throttle(ONCE + status, retry_after);
    }

    /// When the requests came since this was last asked.
    pub fn take_times(&self) -> Vec<Instant> {
        std::mem::take(&mut self.shared.times.lock().unwrap())
    }

    /// The requests since this was last asked: method, path and, for a POST, its body as text.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// Nobody listens any more.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Listens on the same port again.
    pub async fn restart(&mut self) {
        self.task = serve(self.address, self.shared.clone()).await.1;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(address: SocketAddr, shared: Arc<Shared>) -> (SocketAddr, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        answer(shared.clone(), method, uri, headers, body)
    };
    let router = axum::Router::new().fallback(handler);
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, task)
}

async fn answer(
    shared: Arc<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let seen = format!("{method} {uri} {}", String::from_utf8_lossy(&body));
    shared.requests.lock().unwrap().push(seen);
    shared.times.lock().unwrap().push(Instant::now());
    let wanted = *shared.wanted.lock().unwrap();
    if wanted.is_some_and(|wanted| headers.get("authorization").is_none_or(|sent| sent != wanted)) {
        let response = Response::builder().status(401).header("www-authenticate", "Basic");
        return response.body(Body::empty()).unwrap();
    }
    let status = match shared.status.load(Ordering::SeqCst) {
        // Another request may have taken it.
        ONCE.. => shared.status.swap(0, Ordering::SeqCst).saturating_sub(ONCE),
        status => status,
    };
    match status {
        0 => cgi(&shared, &method, &uri, &headers, &body).await,
        status => {
            let mut response = Response::builder().status(status).header("location", "http://127.0.0.1:1/");
            if status == 401 {
                response = response.header("www-authenticate", "Basic");
            }
            if let Some(retry_after) = shared.retry_after.lock().unwrap().as_deref() {
                response = response.header("retry-after", retry_after);
            }
            response.body(Body::empty()).unwrap()
        }
    }
}

async fn cgi(
    shared: &Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.clone();
    let feed = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await.unwrap().stdout;
    // git may answer before it has read everything.
    let _ = feed.await.unwrap();
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a CGI answer has headers");
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap();
        } else {
            let name: axum::http::HeaderName = name.parse().unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}
