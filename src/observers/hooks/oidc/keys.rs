//! Google's public keys: fetched when they are missed, kept for as long as they can be trusted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::token::Key;
use crate::config::{Tls, public_url};
use crate::observers::tls;

/// At most one fetch in this time, whatever tokens come: an unknown key is what a forger writes, too.
const FETCH_EVERY: Duration = Duration::from_secs(60);
/// Older keys are fetched anew when a delivery comes. Google publishes a key days before it signs with it.
const FRESH_FOR: Duration = Duration::from_secs(3600);
/// Keys that could not be fetched anew for so long are used no more: one may have been withdrawn.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// One fetch, from connecting to the last byte.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Google's answer has 2 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Google has two or three.
const KEYS_MAX: usize = 16;

/// The keys at one address. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    url: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_id: HashMap<String, Arc<Key>>,
    /// When these were asked for.
    fetched: Option<Instant>,
    /// Start of the last fetch, good or not.
    asked: Option<Instant>,
}

/// What is known of a key.
pub enum Found {
    Key(Arc<Key>),
    Unknown,
    /// Nothing was fetched so far, or too long ago.
    NoneYet,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
}

impl Keys {
    /// Nothing is fetched yet.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self(Arc::new(Shared { url: url.into(), state: Mutex::default() }))
    }

    /// As after a fetch at that moment, which brought this. `None` where that holds no keys.
    #[must_use]
    pub fn fetched(url: &str, published: &[u8], at: Instant) -> Option<Self> {
        let state = State { by_id: read(published)?, fetched: Some(at), asked: Some(at) };
        Some(Self(Arc::new(Shared { url: url.into(), state: Mutex::new(state) })))
    }

    /// The key of this name. Where it is missing, or all are old, a fetch begins beside this.
    pub fn find(&self, id: &str, now: Instant) -> Found {
        let mut state = self.state();
        let age = state.fetched.map(|at| now.saturating_duration_since(at));
        if age.is_some_and(|age| age >= GOOD_FOR) {
            *state = State { asked: state.asked, ..State::default() };
        }
        let found = match (state.by_id.get(id), state.fetched) {
            (Some(key), _) => Found::Key(key.clone()),
            (None, Some(_)) => Found::Unknown,
            (None, None) => Found::NoneYet,
        };
        drop(state);
        if !matches!(found, Found::Key(_)) || age.is_none_or(|age| age >= FRESH_FOR) {
            self.refresh(now);
        }
        found
    }

    /// Fetches the keys beside this, unless that was begun a short while ago.
    pub fn refresh(&self, now: Instant) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut state = self.state();
        if state.asked.is_some_and(|asked| now < asked + FETCH_EVERY) {
            return;
        }
        state.asked = Some(now);
        drop(state);
        let keys = self.clone();
        runtime.spawn(async move {
            match fetch(&keys.0.url).await {
                Ok(by_id) => {
                    let mut state = keys.state();
                    (state.by_id, state.fetched) = (by_id, Some(now));
                }
                Err(why) => tracing::warn!(
                    url = &*public_url(&keys.0.url),
                    "the keys for tokens of webhooks cannot be fetched: {why}; deliveries with a key that is not \
                     known are refused until then"
                ),
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("url", &public_url(&self.0.url)).finish_non_exhaustive()
    }
}

async fn fetch(url: &str) -> Result<HashMap<String, Arc<Key>>, String> {
    let told = |error: reqwest::Error| error.without_url().to_string();
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("knotmeter/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(FETCH_TIME_MAX)
        .tls_backend_preconfigured(tls::client(&Tls::default())?);
    if url.starts_with("http:") {
        // That is this machine, see `config`; a proxy would be asked in vain.
        client = client.no_proxy();
    }
    let client = client.build().map_err(told)?;
    let mut answer = client.get(url).send().await.map_err(told)?;
    if !answer.status().is_success() {
        return Err(format!("it answered HTTP status {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(told)? {
        if body.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&bytes);
    }
    read(&body).ok_or_else(|| "the answer holds no keys as RFC 7517 has them".into())
}

/// The RSA keys of a published set; `None` where there are none.
fn read(body: &[u8]) -> Option<HashMap<String, Arc<Key>>> {
    let published: Published = serde_json::from_slice(body).ok()?;
    let number = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
    let key = |jwk: Jwk| {
        let fits = jwk.kty == "RSA" && jwk.alg.is_none_or(|alg| alg == "RS256");
        let key = Key { n: number(jwk.n)?, e: number(jwk.e)? };
        fits.then_some((jwk.kid?, Arc::new(key)))
    };
    let by_id: HashMap<_, _> = published.keys.into_iter().filter_map(key).take(KEYS_MAX).collect();
    (!by_id.is_empty()).then_some(by_id)
}
