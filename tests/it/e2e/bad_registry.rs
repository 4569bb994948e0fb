//! What stands before the world's registry: TLS and a login for Knotmeter, and a straight line for everybody else.
//!
//! Knotmeter is known by its handshake: the world's own people speak plain HTTP. While it is told to, each line of
//! Knotmeter meets a trouble of `line`, and now and then an answer is wrong in itself ([`Wrong`]). A new wrong is a
//! variant, its place in [`WRONGS`], and what becomes of the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::header;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::line::{Trouble, carry, next};
use super::process::free_port;
use crate::front::{Authority, Clients};

type Response = http::Response<Body>;

/// Tags in one page: a listing takes several requests.
const PAGE_TAGS: usize = 200;
/// How many of the old tags lists show, in turn, as registries do whose replicas disagree. The tags are there all the
/// time.
const SHOWN: [usize; 4] = [506, OLD_TAGS, 490, 505];
/// All of them.
pub const OLD_TAGS: usize = 595;
/// One list in so many answers is wrong.
const WRONG_EVERY: usize = 4;
/// One connection in so many has a certificate that nobody vouches for.
const STRANGER_EVERY: usize = 3;
const SLOW: Duration = Duration::from_millis(700);
/// A page may have 64 MiB.
const BOMB_MIB: usize = 65;

/// How an answer is wrong, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    ThrottledSeconds,
    ThrottledDate,
    Broken,
    Overloaded,
    TokensExpired,
    Slow,
    CutShort,
    Closed,
    Malformed,
    NoJson,
    Bomb,
    Stranger,
    NoTls,
}

/// What answers meet, one after the other: each second one costs time only.
pub const WRONGS: [Wrong; 12] = [
    Wrong::TokensExpired,
    Wrong::Malformed,
    Wrong::ThrottledSeconds,
    Wrong::Broken,
    Wrong::Slow,
    Wrong::CutShort,
    Wrong::TokensExpired,
    Wrong::NoJson,
    Wrong::ThrottledDate,
    Wrong::Bomb,
    Wrong::Overloaded,
    Wrong::Closed,
];

/// The front; it ends with the test.
pub struct BadRegistry {
    /// `127.0.0.1:port`, as images name it.
    pub name: String,
    /// Where it expects the registry.
    pub behind: SocketAddr,
    pub bad: watch::Sender<bool>,
    authority: Authority,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    name: String,
    behind: SocketAddr,
    bad: watch::Receiver<bool>,
    client: reqwest::Client,
    bomb: Bytes,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    tokens: BTreeSet<String>,
    tokens_made: usize,
    lists: usize,
    answers: usize,
    wrongs: usize,
    met: BTreeMap<Wrong, usize>,
}

impl BadRegistry {
    pub async fn start(seed: u64) -> Self {
        let (listener, tls_listener) = (bound().await, bound().await);
        let address = listener.local_addr().unwrap();
        let tls_address = tls_listener.local_addr().unwrap().to_string();
        let (bad, is_bad) = watch::channel(false);
        let state = Arc::new(State {
            name: address.to_string(),
            behind: ([127, 0, 0, 1], free_port()).into(),
            bad: is_bad.clone(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            bomb: bomb(),
            counts: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let (seen, behind) = (state.clone(), state.behind.to_string());
        tasks.spawn(async move {
            let (mut connections, mut seed) = (JoinSet::new(), seed);
            let (_always, good) = watch::channel(false);
            while let Ok((from, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let mut first = [0];
                let _ = from.peek(&mut first).await;
                // A TLS handshake begins so.
                if first != [0x16] {
                    connections.spawn(carry(from, behind.clone(), Trouble::None, good.clone()));
                    continue;
                }
                let trouble = if *is_bad.borrow() { next(&mut seed) } else { Trouble::None };
                if matches!(trouble, Trouble::Throttled | Trouble::Unavailable) {
                    // What they write is no handshake.
                    seen.meet(Wrong::NoTls);
                }
                connections.spawn(carry(from, tls_address.clone(), trouble, is_bad.clone()));
            }
        });
        let (ours, stranger) = (Authority::new(), Authority::new());
        let acceptor = |authority: &Authority| {
            TlsAcceptor::from(Arc::new(authority.server(&["127.0.0.1"], Clients::Anybody)))
        };
        tasks.spawn(serve(tls_listener, acceptor(&ours), acceptor(&stranger), state.clone()));
        Self { name: state.name.clone(), behind: state.behind, bad, authority: ours, state, _tasks: tasks }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.authority.file()
    }

    /// How many answers were wrong.
    pub fn wrongs(&self) -> usize {
        self.state.counts.lock().unwrap().wrongs
    }

    /// How often each wrong was met.
    pub fn met(&self) -> BTreeMap<Wrong, usize> {
        self.state.counts.lock().unwrap().met.clone()
    }

    /// Puts the old tags there: names for what `tag` of the repository is.
    pub async fn grow_old(&self, repository: &str, tag: &str) {
        let url = |tag: &str| format!("http://{}/v2/{repository}/manifests/{tag}", self.behind);
        let got = self.state.client.get(url(tag)).send().await.unwrap();
        let kind = got.headers()[header::CONTENT_TYPE].clone();
        let manifest = got.bytes().await.unwrap();
        for number in 0..OLD_TAGS {
            let put = self.state.client.put(url(&format!("old-{number:03}")));
            let put = put.header(header::CONTENT_TYPE, &kind).body(manifest.clone()).send().await.unwrap();
            assert!(put.status().is_success(), "{put:?}");
        }
    }
}

impl State {
    fn meet(&self, wrong: Wrong) {
        *self.counts.lock().unwrap().met.entry(wrong).or_default() += 1;
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Result<Response, Closed> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if path == "/token" {
            return Ok(self.token());
        }
        let list = path.ends_with("/tags/list");
        let wrong = if list && *self.bad.borrow() { self.wrong() } else { None };
        if let Some(wrong) = wrong {
            self.meet(wrong);
        }
        if wrong == Some(Wrong::TokensExpired) {
            self.counts.lock().unwrap().tokens.clear();
        }
        if !self.is_known(&request) {
            let realm = format!("Bearer realm=\"https://{}/token\",service=\"demo\"", self.name);
            return Ok(told(401, "www-authenticate", &realm));
        }
        match wrong {
            Some(Wrong::ThrottledSeconds) => return Ok(told(429, "retry-after", "1")),
            Some(Wrong::ThrottledDate) => {
                let soon = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() + Duration::from_secs(2));
                let date = soon.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
                return Ok(told(429, "retry-after", &date));
            }
            Some(Wrong::Broken) => return Ok(told(500, "x-why", "it is broken")),
            Some(Wrong::Overloaded) => return Ok(told(503, "retry-after", "1")),
            Some(Wrong::Closed) => return Err(Closed),
            _ => {}
        }
        let query = if list { query.replace("n=1000", &format!("n={PAGE_TAGS}")) } else { query.to_owned() };
        let url = format!("http://{}{path}?{query}", self.behind);
        let mut ask = self.client.request(request.method().clone(), url);
        if let Some(accept) = request.headers().get(header::ACCEPT) {
            ask = ask.header(header::ACCEPT, accept);
        }
        let got = ask.send().await.map_err(|_| Closed)?;
        let (status, headers) = (got.status(), got.headers().clone());
        let mut body = got.bytes().await.map_err(|_| Closed)?;
        if list && status.is_success() && *self.bad.borrow() {
            body = self.shown(&body, query.contains("last="));
        }
        let mut response = http::Response::builder().status(status);
        for name in [header::CONTENT_TYPE, header::LINK, "docker-content-digest".parse().unwrap()] {
            if let Some(value) = headers.get(&name) {
                response = response.header(name, value);
            }
        }
        // A HEAD tells the length of what a GET would give.
        if let Some(length) = headers.get(header::CONTENT_LENGTH).filter(|_| !list) {
            response = response.header(header::CONTENT_LENGTH, length);
        }
        let body = match wrong {
            Some(Wrong::Bomb) => {
                response = response.header(header::CONTENT_ENCODING, "gzip");
                Body::from(self.bomb.clone())
            }
            Some(Wrong::Malformed) => Body::from(body.slice(..body.len() / 2)),
            Some(Wrong::NoJson) => Body::from("<html>be right back</html>"),
            Some(Wrong::CutShort) => {
                response = response.header(header::CONTENT_LENGTH, body.len());
                let half = Ok(body.slice(..body.len() / 2));
                Body::from_stream(futures::stream::iter([half, Err(Closed)]))
            }
            Some(Wrong::Slow) => {
                let (first, rest) = (body.slice(..body.len() / 2), body.slice(body.len() / 2..));
                let late = futures::stream::once(async move {
                    tokio::time::sleep(SLOW).await;
                    Ok::<_, Closed>(rest)
                });
                Body::from_stream(futures::stream::iter([Ok(first)]).chain(late))
            }
            _ => Body::from(body),
        };
        Ok(response.body(body).unwrap())
    }

    /// The next list answer's wrong, if it has one.
    fn wrong(&self) -> Option<Wrong> {
        let mut counts = self.counts.lock().unwrap();
        counts.answers += 1;
        if !counts.answers.is_multiple_of(WRONG_EVERY) {
            return None;
        }
        counts.wrongs += 1;
        Some(WRONGS[(counts.wrongs - 1) % WRONGS.len()])
    }

    fn token(&self) -> Response {
        let mut counts = self.counts.lock().unwrap();
        counts.tokens_made += 1;
        let token = format!("token-{}", counts.tokens_made);
        counts.tokens.insert(token.clone());
        let body = json!({"token": token, "expires_in": 300}).to_string();
        http::Response::new(Body::from(body))
    }

    fn is_known(&self, request: &http::Request<Incoming>) -> bool {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
        token.is_some_and(|token| self.counts.lock().unwrap().tokens.contains(token))
    }

    /// What a replica that lags behind shows of a page: not all of the old tags, and not what runs since the start.
    fn shown(&self, page: &[u8], follows: bool) -> Bytes {
        let mut counts = self.counts.lock().unwrap();
        counts.lists += usize::from(!follows);
        let (list, shown) = (counts.lists, SHOWN[counts.lists % SHOWN.len()]);
        let mut page: Value = serde_json::from_slice(page).unwrap();
        page["tags"].as_array_mut().unwrap().retain(|tag| {
            let tag = tag.as_str().unwrap();
            match tag.strip_prefix("old-").map(|number| number.parse::<usize>().unwrap()) {
                // Others each time.
                Some(number) => (number + list * 101) % OLD_TAGS < shown,
                None => tag != "v1.0.0" || shown == OLD_TAGS,
            }
        });
        page.to_string().into()
    }
}

/// The connection ends without an answer, or within one.
#[derive(Debug, thiserror::Error)]
#[error("closed")]
struct Closed;

async fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn serve(listener: TcpListener, ours: TlsAcceptor, stranger: TlsAcceptor, state: Arc<State>) {
    let (mut connections, mut bad) = (JoinSet::new(), 0);
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let is_bad = *state.bad.borrow();
        let is_stranger = is_bad && bad % STRANGER_EVERY == 0;
        bad += usize::from(is_bad);
        if is_stranger {
            state.meet(Wrong::Stranger);
        }
        let (acceptor, state) = (if is_stranger { stranger.clone() } else { ours.clone() }, state.clone());
        connections.spawn(async move {
            // Who does not trust us goes away, and so does who was cut off.
            let Ok(connection) = acceptor.accept(socket).await else { return };
            let service = service_fn(|request| state.answer(request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

fn told(status: u16, name: &str, value: &str) -> Response {
    http::Response::builder().status(status).header(name, value).body(Body::empty()).unwrap()
}

/// Some kilobytes that become more than a page may have: a gzip of many members.
fn bomb() -> Bytes {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    member.write_all(&vec![b' '; 1 << 20]).unwrap();
    member.finish().unwrap().repeat(BOMB_MIB).into()
}
