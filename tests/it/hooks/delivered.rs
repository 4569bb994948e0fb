//! Deliveries over HTTP to a whole Knotmeter: floods, repeats, senders that are slow or send too much. Whatever they do,
//! the next true one is taken and looked for at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Uri;
use axum::response::Response;
use futures::StreamExt as _;
use knotmeter::app::{self, Running};
use knotmeter::config;
use knotmeter::image::Digest;
use knotmeter::observers::hooks::BODY_BYTES_MAX;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{OLD_SECRET, SECRET};

/// Far more than any wait here needs: it only ends what hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// All bodies together that are held in memory, as `src/http/hooks.rs` has it.
const BODIES_BYTES_MAX: usize = 8 << 20;

/// Tags of one repository that are noted for a look, as `src/observers/schedule/look_now.rs` has it.
const TAGS_NOTED_MAX: usize = 64;

/// A Knotmeter that nobody but a webhook hurries, and the registry that it asks.
struct Told {
    running: Running,
    client: reqwest::Client,
    counted: Arc<Counted>,
    /// While this is false an answer is not finished.
    open: watch::Sender<bool>,
    registry: String,
    secret: PathBuf,
    _folder: TempDir,
    task: JoinHandle<()>,
}

/// What the registry was asked for.
#[derive(Debug, Default)]
struct Counted {
    lists: AtomicUsize,
    tags: AtomicUsize,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Told {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (open, opened) = watch::channel(true);
        let counted = Arc::new(Counted::default());
        let counts = counted.clone();
        let app = Router::new().fallback(move |uri: Uri| {
            let is_list = uri.path().ends_with("/tags/list");
            let count = if is_list { &counts.lists } else { &counts.tags };
            count.fetch_add(1, Ordering::SeqCst);
            let mut opened = opened.clone();
            async move {
                opened.wait_for(|open| *open).await.expect("the test still runs");
                if is_list {
                    return Response::new(Body::from(r#"{"name":"team/web","tags":["0.9.0"]}"#));
                }
                let digest = Digest::of(uri.path().as_bytes()).to_string();
                Response::builder().header("docker-content-digest", digest).body(Body::empty()).unwrap()
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let text = json!({
            "listen": "127.0.0.1:0",
            // So that every look after the first is a webhook's.
            "registries": [{"host": registry, "plain_http": true, "interval": "1h", "repositories": ["team/web"]}],
            "clusters": [{"name": "none", "kubeconfig": folder.path().join("none")}],
            "hooks": [{"name": "ci", "kind": "hint", "secret_file": secret}],
        });
        let config = config::parse(&text.to_string(), Path::new("test.yaml")).unwrap();
        let running = app::start(config, folder.path().join("cache")).await.unwrap();
        // A connection whose body was refused is closed: none is used twice.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let told = Self { running, client, counted, open, registry, secret, _folder: folder, task };
        until("the first look", async || told.asked() == (1, 0)).await;
        told
    }

    /// Lists and tags that the registry was asked for.
    fn asked(&self) -> (usize, usize) {
        (self.counted.lists.load(Ordering::SeqCst), self.counted.tags.load(Ordering::SeqCst))
    }

    fn body(&self, number: usize) -> String {
        json!({"image": format!("{}/team/web:1.0.{number}", self.registry)}).to_string()
    }

    async fn post(&self, secret: &str, body: impl Into<reqwest::Body>) -> u16 {
        let url = format!("http://{}/hooks/ci", self.running.address);
        let sent = self.client.post(url).bearer_auth(secret).body(body).send().await.unwrap();
        sent.status().as_u16()
    }

    async fn counted(&self, result: &str) -> f64 {
        let url = format!("http://{}/metrics", self.running.address);
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let line = format!(r#"knotmeter_hook_requests_total{{hook="ci",result="{result}"}}"#);
        text.lines().find_map(|text| text.strip_prefix(&line)?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// A true delivery is taken, and looked for.
    async fn is_hurried_by(&self, number: usize) {
        let (_, before) = self.asked();
        assert_eq!(self.post(SECRET, self.body(number)).await, 202);
        until("the look that was asked for", async || self.asked().1 > before).await;
    }

    /// Sends the beginning of a delivery: all that is announced and `sent` bytes of the body.
    async fn begin(&self, announced: usize, sent: usize) -> TcpStream {
        let mut connection = TcpStream::connect(self.running.address).await.unwrap();
        let head = format!(
            "POST /hooks/ci HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: {announced}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        // It may be refused before all of it was sent.
        let _ = connection.write_all(&vec![b' '; sent]).await;
        connection
    }

    /// Sends the beginning of a delivery, and then the same byte again and again until the connection is ended. What was
    /// answered.
    async fn drip(&self, begin: &str, byte: &str) -> String {
        let mut connection = TcpStream::connect(self.running.address).await.unwrap();
        connection.write_all(begin.as_bytes()).await.unwrap();
        let (mut from, mut to) = connection.split();
        let dripping = async {
            while to.write_all(byte.as_bytes()).await.is_ok() {
                tokio::time::sleep(DRIP_EVERY).await;
            }
            // Whoever has gone says so to the reader.
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let ended = async {
            tokio::select! {
                () = dripping => {}
                // A connection that is reset is ended, too.
                _ = from.read_to_end(&mut answer) => {}
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("it is let go");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Between two bytes of a sender that drips: far below every patience.
const DRIP_EVERY: Duration = Duration::from_millis(200);

/// The status of whatever answer comes.
async fn status(connection: &mut TcpStream) -> u16 {
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, connection.read_exact(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&answer[9..12]).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_ones_makes_no_look_and_keeps_no_good_one_waiting() {
    let told = Told::start().await;
    let bad = |number: usize| {
        let told = &told;
        async move {
            match number % 3 {
                0 => assert_eq!(told.post("not-the-secret-of-it", told.body(number)).await, 401),
                1 => assert_eq!(told.post(SECRET, format!("{{\"imgae\": {number}}}")).await, 400),
                _ => assert_eq!(told.post("", vec![0xff; number]).await, 401),
            }
        }
    };
    futures::stream::iter(0..600).for_each_concurrent(16, bad).await;
    assert_eq!(told.asked(), (1, 0));
    told.is_hurried_by(1).await;
    assert_eq!(told.counted("unproven").await, 400.0);
    assert_eq!(told.counted("malformed").await, 200.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_true_ones_becomes_few_looks_and_a_repeat_none() {
    let told = Told::start().await;
    told.open.send_replace(false);
    // While this look lasts, all the others come.
    told.is_hurried_by(0).await;
    let good = |number: usize| {
        let told = &told;
        async move { assert_eq!(told.post(SECRET, told.body(number)).await, 202) }
    };
    futures::stream::iter(1..=300).for_each_concurrent(16, good).await;
    assert_eq!(told.asked(), (1, 1));
    told.open.send_replace(true);
    until("the looks for as many as are noted", async || told.asked().1 == 1 + TAGS_NOTED_MAX).await;
    // Somebody who listened sends them again.
    futures::stream::iter(0..=300).for_each_concurrent(16, good).await;
    assert_eq!(told.counted("repeated").await, 301.0);
    told.is_hurried_by(1000).await;
    assert_eq!(
        told.asked().1,
        2 + TAGS_NOTED_MAX,
        "neither the flood nor the repeats made a look of their own"
    );
    assert_eq!(told.counted("taken").await, 302.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_never_ends_is_let_go() {
    let told = Told::start().await;
    // Announced, it is refused unread; unannounced, when it is too much.
    assert_eq!(status(&mut told.begin(BODY_BYTES_MAX + 1, 0).await).await, 413);
    let pieces = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 14])).take(40);
    let sent = told.post(SECRET, reqwest::Body::wrap_stream(pieces)).await;
    assert_eq!(sent, 413);
    // The senders of these are slow, or dead.
    let mut slow = Vec::new();
    for sent in [0, 1, 1000] {
        slow.push(told.begin(2000, sent).await);
    }
    // And these never stop: a byte now and then, of the body, of the head, or none at all.
    let head = format!("POST /hooks/ci HTTP/1.1\r\nauthorization: Bearer {SECRET}\r\nhost: x");
    let of_body = format!("{head}\r\ncontent-length: 2000\r\n\r\n");
    let drips = [(of_body.as_str(), " "), (&head, "x"), ("", "")].map(|(begin, byte)| told.drip(begin, byte));
    let drips = futures::future::join_all(drips);
    let (answers, ()) = tokio::join!(drips, async {
        told.is_hurried_by(1).await;
        for connection in &mut slow {
            assert_eq!(status(connection).await, 408);
        }
    });
    assert!(answers[0].starts_with("HTTP/1.1 408 "), "{answers:?}");
    assert!(answers[1..].iter().all(|answer| answer.is_empty() || answer.contains(" 408 ")), "{answers:?}");
    drop(told.begin(2000, 1000).await);
    until("the one that hung up", async || told.counted("unread").await == 7.0).await;
    told.is_hurried_by(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_bound_all_together_and_their_room_comes_back() {
    let told = Told::start().await;
    let count = BODIES_BYTES_MAX / BODY_BYTES_MAX + 2;
    let mut slow = Vec::new();
    for _ in 0..count {
        slow.push(told.begin(BODY_BYTES_MAX, BODY_BYTES_MAX - 1).await);
    }
    // Two of them had no room, whoever was the last.
    until("the refusal", async || told.counted("unread").await >= 2.0).await;
    // Who announces much and sends nothing took no room; what is small finds none while all of it is taken.
    drop(slow);
    until("all of them are let go", async || told.counted("unread").await == count as f64).await;
    told.is_hurried_by(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_without_a_restart_and_without_a_gap() {
    let told = Told::start().await;
    let new = "the-secret-from-now-on";
    assert_eq!(told.post(new, told.body(0)).await, 401);
    // First both, then the new one only.
    std::fs::write(&told.secret, format!("{new}\n{SECRET}\n")).unwrap();
    until("the new secret is good", async || told.post(new, told.body(1)).await == 202).await;
    assert_eq!(told.post(SECRET, told.body(2)).await, 202);
    std::fs::write(&told.secret, format!("{new}\n")).unwrap();
    until("the old one is not", async || told.post(SECRET, told.body(3)).await == 401).await;
    assert_eq!(told.post(new, told.body(4)).await, 202);
    assert_eq!(told.post(OLD_SECRET, told.body(5)).await, 401);
}
