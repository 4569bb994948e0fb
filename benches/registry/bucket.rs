//! A registry that limits its clients by a token bucket, refuses and fails now and then for no reason, and counts
//! what became of its tokens.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use knotmeter::image::Digest;

/// What a refusal asks for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How it treats its clients.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Tokens a second, and as many at most.
    pub per_second: f64,
    /// Says so in its answers.
    pub tells: bool,
    /// One answer in so many is a 429 for no reason, one in twice as many a 503; 0 is never.
    pub noise: u64,
}

/// What became of the tokens. One is lost when the bucket is full; that is nobody's fault while the client waits as
/// it was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokens {
    pub used: f64,
    pub left_over: f64,
    pub blocked: f64,
    pub refused: u64,
    pub refused_for_no_reason: u64,
    pub failed: u64,
}

/// A server in this process; its threads end with the process.
#[derive(Clone)]
pub struct Bucket {
    pub host: String,
    state: Arc<Mutex<State>>,
}

struct State {
    rules: Rules,
    tokens: f64,
    filled: Instant,
    blocked_until: Instant,
    counts: Tokens,
    seed: u64,
    /// Tags that were pushed after the start, by repository.
    pushed: HashMap<String, Vec<String>>,
}

enum Verdict {
    Serve,
    Refuse,
    Fail,
}

impl Bucket {
    pub fn start(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let now = Instant::now();
        let state = State {
            rules,
            tokens: rules.per_second,
            filled: now,
            blocked_until: now,
            counts: Tokens::default(),
            seed: 0x9E37_79B9_7F4A_7C15,
            pushed: HashMap::new(),
        };
        let server = Self { host, state: Arc::new(Mutex::new(state)) };
        let each = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = each.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// Pushes a tag.
    pub fn push(&self, repository: &str, tag: &str) {
        self.state().pushed.entry(repository.into()).or_default().push(tag.into());
    }

    /// What became of the tokens so far; those that lie in the bucket count as left over.
    pub fn tokens(&self) -> Tokens {
        let mut state = self.state();
        state.fill(Instant::now());
        Tokens { left_over: state.counts.left_over + state.tokens, ..state.counts }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).expect("a socket");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            let request = line.clone();
            while line != "\r\n" {
                line.clear();
                if stream.read_line(&mut line).is_err() {
                    return;
                }
            }
            let answer = self.answer(&request);
            if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
            line.clear();
        }
    }

    fn answer(&self, request: &str) -> String {
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default().trim_start_matches("/v2/");
        let mut state = self.state();
        let verdict = state.judge(Instant::now());
        let limit = match state.rules.tells {
            true => format!(
                "ratelimit-limit: {0};w=1\r\nratelimit-remaining: {1}\r\n",
                state.rules.per_second, state.tokens as u32
            ),
            false => String::new(),
        };
        match verdict {
            Verdict::Refuse => {
                let wait = RETRY_AFTER.as_secs();
                return format!(
                    "HTTP/1.1 429 Too Many Requests\r\nretry-after: {wait}\r\n{limit}content-length: 0\r\n\r\n"
                );
            }
            Verdict::Fail => {
                return format!("HTTP/1.1 503 Service Unavailable\r\n{limit}content-length: 0\r\n\r\n");
            }
            Verdict::Serve => {}
        }
        if let Some(repository) = path.strip_suffix("/tags/list") {
            let pushed = state.pushed.get(repository).into_iter().flatten();
            let tags: Vec<&str> = std::iter::once("v0").chain(pushed.map(String::as_str)).collect();
            let body = serde_json::json!({"name": repository, "tags": tags}).to_string();
            return format!("HTTP/1.1 200 OK\r\n{limit}content-length: {}\r\n\r\n{body}", body.len());
        }
        assert_eq!(method, "HEAD", "nothing else is asked: {request}");
        let digest = Digest::of(path.as_bytes());
        format!("HTTP/1.1 200 OK\r\n{limit}docker-content-digest: {digest}\r\ncontent-length: 0\r\n\r\n")
    }
}

impl State {
    fn judge(&mut self, now: Instant) -> Verdict {
        self.fill(now);
        // xorshift64: the same every time.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let noise = self.rules.noise;
        let chance = (noise > 0).then(|| self.seed % (2 * noise));
        let for_no_reason = chance.is_some_and(|chance| chance < 2);
        if for_no_reason || self.tokens < 1.0 {
            self.counts.refused += 1;
            self.counts.refused_for_no_reason += u64::from(for_no_reason);
            self.blocked_until = self.blocked_until.max(now + RETRY_AFTER);
            return Verdict::Refuse;
        }
        self.tokens -= 1.0;
        self.counts.used += 1.0;
        if chance == Some(2) {
            self.counts.failed += 1;
            return Verdict::Fail;
        }
        Verdict::Serve
    }

    fn fill(&mut self, now: Instant) {
        let unblocked = self.blocked_until.clamp(self.filled, now);
        let mut come = |from: Instant, until: Instant| {
            self.tokens += (until - from).as_secs_f64() * self.rules.per_second;
            let surplus = (self.tokens - self.rules.per_second).max(0.0);
            self.tokens -= surplus;
            surplus
        };
        let blocked = come(self.filled, unblocked);
        let left_over = come(unblocked, now);
        self.counts.blocked += blocked;
        self.counts.left_over += left_over;
        self.filled = now;
    }
}
