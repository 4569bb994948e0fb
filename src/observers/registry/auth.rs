//! Logging in at one registry: anonymously, with a password, or with tokens.
//!
//! Nothing is sent before the registry asks for it. A token is good for one repository and is fetched once,
//! however many requests wait for it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;

use super::challenge::{self, Challenge, Unusable, may_know_password};
use super::credentials::{self, Login, Secret};
use super::error::Problem;

/// What the token specification says where `expires_in` is absent.
const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end, so that it does not expire on the way.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// No token is kept longer, whatever it claims: rights are taken away, too.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);
/// Scopes remembered: one for each repository of the largest host. Beyond it the cache starts anew.
const SCOPES_MAX: usize = 20_000;

/// The login state of one registry host.
#[derive(Debug)]
pub struct Auth {
    /// The host as the docker config names it.
    host: Arc<str>,
    plain_http: bool,
    docker_config: Option<PathBuf>,
    challenge: Mutex<Option<Challenge>>,
    /// The header of a registry that wants the password each time, as the file had it at the last refusal.
    password: Mutex<Option<HeaderValue>>,
    tokens: Mutex<HashMap<String, Slot>>,
}

/// One scope's token. Whoever holds the lock fetches it; the others wait and find it.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

/// How to reach token services: given by the client, which owns connections, limits and counters.
pub(super) trait AskTokenService {
    /// Sends a request to another service than the registry and returns its status and capped body.
    async fn ask(&self, request: TokenRequest) -> Result<(u16, Vec<u8>), Problem>;
}

/// A request to a token service.
pub(super) struct TokenRequest {
    pub(super) url: Url,
    pub(super) login: Option<Login>,
    /// Set for an OAuth2 refresh: posted as a form.
    pub(super) form: Option<String>,
}

impl Auth {
    #[must_use]
    pub fn new(host: Arc<str>, plain_http: bool, docker_config: Option<PathBuf>) -> Self {
        Self {
            host,
            plain_http,
            docker_config,
            challenge: Mutex::default(),
            password: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// The word for what the registry asks for, as far as it asked.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) {
            None => "anonymous",
            Some(Challenge::Basic) => "basic",
            Some(Challenge::Bearer { .. }) => "bearer",
        }
    }

    /// The `Authorization` header for a scope, where the registry is known to want one.
    pub(super) async fn header(
        &self,
        asker: &impl AskTokenService,
        registry: &Url,
        scope: &str,
    ) -> Result<Option<HeaderValue>, Problem> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => {
                Ok(self.password.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
            Some(Challenge::Bearer { realm, service }) => {
                let slot = self.slot(scope);
                let mut token = slot.lock().await;
                if token.as_ref().is_none_or(|token| token.until <= Instant::now()) {
                    *token = Some(self.fetch(asker, registry, &realm, service.as_deref(), scope).await?);
                }
                Ok(token.as_ref().and_then(|token| bearer(&token.value)))
            }
        }
    }

    /// Learns from a 401 what is wanted and forgets the token that did not work. `used` is the refused header;
    /// another task may have put a newer token in its place already. False: there is nothing better to send.
    pub(super) async fn refused(
        &self,
        answer: &HeaderMap,
        scope: &str,
        used: Option<&HeaderValue>,
    ) -> Result<bool, Problem> {
        let wanted = match challenge::parse(answer, self.plain_http) {
            Ok(wanted) => wanted,
            Err(Unusable::NoneKnown) => return Ok(false),
            Err(Unusable::Realm(why)) => return Err(Problem::Token(format!("cannot be asked: {why}"))),
        };
        let is_basic = wanted == Challenge::Basic;
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
        if is_basic {
            // The file is read anew at every refusal, so a changed password is found; the same one is no news.
            let header = match self.login().await? {
                Some(Login::Password { user, password }) => Some(basic(&user, &password)),
                Some(Login::Identity(_)) | None => None,
            };
            let is_news = header.is_some() && header.as_ref() != used;
            *self.password.lock().unwrap_or_else(PoisonError::into_inner) = header;
            return Ok(is_news);
        }
        let slot = self.slot(scope);
        let mut token = slot.lock().await;
        if token.as_ref().and_then(|token| bearer(&token.value)).as_ref() == used {
            *token = None;
        }
        Ok(true)
    }

    /// Whether the docker config has a login for this host.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub async fn has_login(&self) -> Result<bool, Problem> {
        Ok(self.login().await?.is_some())
    }

    async fn login(&self) -> Result<Option<Login>, Problem> {
        credentials::find(&self.host, self.docker_config.as_deref()).await.map_err(Problem::Credentials)
    }

    fn slot(&self, scope: &str) -> Slot {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= SCOPES_MAX && !tokens.contains_key(scope) {
            tokens.clear();
        }
        tokens.entry(scope.to_owned()).or_default().clone()
    }

    async fn fetch(
        &self,
        asker: &impl AskTokenService,
        registry: &Url,
        realm: &Url,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Token, Problem> {
        let hosts = (registry.host_str().unwrap_or_default(), realm.host_str().unwrap_or_default());
        let login = if may_know_password(hosts.0, hosts.1) { self.login().await? } else { None };
        let (status, body) = asker.ask(token_request(realm, service, scope, login)).await?;
        match status {
            200 => {}
            401 => return Err(Problem::Unauthorized { found: "the token service refused the password" }),
            403 => return Err(Problem::Forbidden),
            status => return Err(Problem::Token(format!("answered HTTP {status}"))),
        }
        let unusable = || Problem::Token("sent something that is no token".into());
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| unusable())?;
        let value =
            answer.token.or(answer.access_token).filter(|text| !text.is_empty()).ok_or_else(unusable)?;
        let value = Secret::new(value);
        bearer(&value).ok_or_else(unusable)?;
        let life = answer
            .expires_in
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(TOKEN_LIFE_DEFAULT)
            .min(TOKEN_LIFE_MAX);
        Ok(Token { value, until: Instant::now() + life.saturating_sub(TOKEN_MARGIN.min(life / 2)) })
    }
}

fn token_request(realm: &Url, service: Option<&str>, scope: &str, login: Option<Login>) -> TokenRequest {
    let mut url = realm.clone();
    if let Some(Login::Identity(refresh)) = &login {
        let mut form = Url::parse("form:").expect("a constant that parses");
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "knotmeter")
            .append_pair("service", service.unwrap_or_default())
            .append_pair("scope", scope)
            .append_pair("refresh_token", refresh.reveal());
        return TokenRequest { url, form: form.query().map(str::to_owned), login: None };
    }
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        if !scope.is_empty() {
            query.append_pair("scope", scope);
        }
    }
    TokenRequest { url, login, form: None }
}

pub(super) fn basic(user: &str, password: &Secret) -> HeaderValue {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.reveal()));
    let mut header = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is visible ASCII");
    header.set_sensitive(true);
    header
}

/// `None` where the token has characters that no header may have.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
    header.set_sensitive(true);
    Some(header)
}
