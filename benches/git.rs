//! Asking a large repository over HTTP whether anything moved, against the `git` program's own way to ask.
//!
//! Both speak the second version of the protocol. `git ls-remote` takes names as ends of names, so it has the
//! server send all and picks; only who knows full names can have it send eight. A proxy between counts bytes.
//! Needs git.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use knotmeter::config::{Git, Seconds};
use knotmeter::observation::{Fact, SourceId, SourceKind};
use knotmeter::observers::git::Poller;
use knotmeter::observers::{REPORT_QUEUE_SIZE, Report, Reporter};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::median;

/// With the default branch 20,001.
const BRANCHES: usize = 20_000;
const TRACKED: usize = 8;
const RUNS: usize = 7;
/// Questions in one run, of each.
const POLLS: usize = 5;

/// One look where nothing moved.
pub fn poll() -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    // Clients are built for plain http, too, and want a provider then. Another bench may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    vec![runtime.expect("a runtime").block_on(compare(folder.path()))]
}

async fn compare(root: &Path) -> Value {
    let server = serve(root.to_owned()).await;
    let proxy = Proxy::start(server);
    let url = format!("http://{}/fleet.git", proxy.address);
    let tracked: Vec<String> = (0..TRACKED).map(|at| format!("team/branch-{:05}", at * 2000)).collect();
    let (to, mut reports) = mpsc::channel(REPORT_QUEUE_SIZE);
    let config =
        Git { url: url.clone(), branches: tracked.clone(), interval: Seconds(30.0), ..Git::default() };
    let cache = tempfile::tempdir().expect("a folder");
    let mut poller =
        Poller::new(config, cache.path(), Reporter::new(SourceId::new(SourceKind::Git, "fleet"), 1, to));
    // The first look fetches, the second makes the acquaintance of the server.
    for _ in 0..2 {
        poller.poll().await.expect("a look");
    }
    while reports.try_recv().is_ok() {}
    let (mut ours, mut theirs, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut bytes_theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let before = proxy.bytes();
        let started = Instant::now();
        for _ in 0..POLLS {
            poller.poll().await.expect("a look");
        }
        ours.push(started.elapsed().as_secs_f64() / POLLS as f64);
        bytes.push((proxy.bytes() - before) as f64 / POLLS as f64);
        let before = proxy.bytes();
        theirs.push(ls_remote(root, &url, &tracked).await);
        bytes_theirs.push((proxy.bytes() - before) as f64 / POLLS as f64);
        all.push(ls_remote(root, &url, &[]).await);
    }
    let mut looked = 0;
    while let Ok(report) = reports.try_recv() {
        if let Report::Observation(observation) = report {
            assert!(matches!(observation.fact, Fact::LookCompleted { .. }), "{observation:?}");
            looked += 1;
        }
    }
    assert_eq!(looked, RUNS * POLLS * TRACKED, "each look saw each branch, and nothing moved");
    let (ours, theirs) = (median(ours), median(theirs));
    let millis = |seconds: f64| (seconds * 1e4).round() / 10.0;
    json!({
        "bench": "git_poll",
        "ours": millis(ours),
        "floor": millis(theirs),
        "ratio": (ours / theirs * 100.0).round() / 100.0,
        "unit": "ms per look, against git ls-remote of the same branches",
        "runs": RUNS,
        "refs": BRANCHES + 1,
        "tracked": TRACKED,
        "wire_bytes": median(bytes),
        "wire_bytes_of_git": median(bytes_theirs),
        "git_ls_remote_of_everything": millis(median(all)),
    })
}

/// A repository of one commit and many branches, packed as a server's housekeeping leaves them.
fn make(root: &Path) {
    let run = |folder: &Path, arguments: &[&str], input: &str| {
        let mut child = git(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git is missing: apt-get install git");
        child.stdin.take().expect("it was piped").write_all(input.as_bytes()).expect("git reads");
        let output = child.wait_with_output().expect("git ends");
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    run(root, &["init", "--quiet", "--bare", "--initial-branch=main", "fleet.git"], "");
    let bare = root.join("fleet.git");
    let blob = run(&bare, &["hash-object", "-w", "--stdin"], "image: r.example/web:1.0.0\n");
    let tree = run(&bare, &["mktree"], &format!("100644 blob {blob}\tweb.yaml\n"));
    let commit = run(&bare, &["commit-tree", &tree, "-m", "Begin"], "");
    let mut updates = format!("create refs/heads/main {commit}\n");
    for at in 0..BRANCHES {
        updates += &format!("create refs/heads/team/branch-{at:05} {commit}\n");
    }
    run(&bare, &["update-ref", "--stdin"], &updates);
    run(&bare, &["pack-refs", "--all"], "");
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .envs([
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ])
        .envs([("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@example.com")])
        .envs([("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@example.com")]);
    command
}

/// Seconds per question.
async fn ls_remote(root: &Path, url: &str, branches: &[String]) -> f64 {
    let started = Instant::now();
    for _ in 0..POLLS {
        let names = branches.iter().map(|branch| format!("refs/heads/{branch}"));
        let status = tokio::process::Command::from(git(root))
            .args(["-c", "protocol.version=2", "ls-remote", url])
            .args(names)
            .stdout(Stdio::null())
            .status();
        assert!(status.await.expect("git runs").success());
    }
    started.elapsed().as_secs_f64() / POLLS as f64
}

/// Passes bytes on and counts them.
struct Proxy {
    address: std::net::SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    fn start(to: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(to).expect("the server answers");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let copies = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let counted = counted.clone();
                    std::thread::spawn(move || pass(copies.0, copies.1, &counted));
                }
            }
        });
        Self { address, bytes }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64) {
    to.set_nodelay(true).expect("a socket");
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        counted.fetch_add(read as u64, Ordering::SeqCst);
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

/// Smart HTTP: every request is one run of `git http-backend`.
async fn serve(root: std::path::PathBuf) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let root = root.clone();
        async move { answer(&root, &method, &uri, &headers, &body).await }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
    address
}

async fn answer(
    root: &Path,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response<Body> {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut child = tokio::process::Command::from(git(root))
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
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
        .expect("git is missing: apt-get install git");
    let mut stdin = child.stdin.take().expect("it was piped");
    let body = body.clone();
    // git may answer before it has read everything.
    let feed = tokio::spawn(async move { stdin.write_all(&body).await.is_ok() });
    let output = child.wait_with_output().await.expect("git ends").stdout;
    feed.await.expect("it was fed");
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a CGI answer has headers");
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in std::str::from_utf8(&output[..end]).expect("headers are text").lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        if name == "Status" {
            *response.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).expect("a status");
        } else {
            let name: axum::http::HeaderName = name.parse().expect("a name");
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
    }
    response
}
