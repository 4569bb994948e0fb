//! Logging in at one registry: anonymously, with a password, or with tokens.
//!
//! Nothing is sent before the registry asks for it. A token is good for one repository and is fetched once,
//! however many requests wait for it. Which login that is, `credentials` says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::{DATE, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::challenge::{self, Challenge, Unusable, may_know_password};
use super::credentials::{Found, Keyring, Login, Secret};
use super::error::Problem;
use crate::observation::Time;
use crate::observers::now;
use crate::observers::schedule::retry_after;

/// What the token specification says where `expires_in` is absent.
const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end, so that it does not expire on the way.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// No token is kept longer, whatever it claims: rights are taken away, too.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(3600);
/// Repositories remembered: those of the largest host. Beyond it the cache starts anew.
const SCOPES_MAX: usize = 20_000;

/// The login state of one registry host. A repository is named by its path, and the registry itself by none.
#[derive(Debug)]
pub struct Auth {
    plain_http: bool,
    keyring: Keyring,
    challenge: Mutex<Option<Challenge>>,
    /// The header of each repository, where the registry wants the password each time.
    passwords: Mutex<HashMap<String, Password>>,
    tokens: Mutex<HashMap<String, Slot>>,
}

/// A password as a header; without one the repository is asked anonymously.
#[derive(Debug, Clone)]
struct Password {
    header: Option<HeaderValue>,
    until: Option<Instant>,
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
    issued_at: Option<String>,
}

/// How to reach token services: given by the client, which owns connections, limits and counters.
pub(super) trait AskTokenService {
    /// Sends a request to another service than the registry.
    async fn ask(&self, request: TokenRequest) -> Result<Answered, Problem>;
}

/// A request to a token service.
pub(super) struct TokenRequest {
    pub(super) url: Url,
    pub(super) login: Option<Login>,
    /// Set for an OAuth2 refresh: posted as a form.
    pub(super) form: Option<String>,
}

/// What a token service said.
pub(super) struct Answered {
    pub(super) status: u16,
    /// Its own clock.
    pub(super) date: Option<Time>,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn new(status: u16, headers: &HeaderMap, body: Vec<u8>) -> Self {
        let date = headers.get(DATE).and_then(|value| retry_after::http_date(value.to_str().ok()?));
        Self { status, date, body }
    }
}

impl Auth {
    #[must_use]
    pub fn new(plain_http: bool, keyring: Keyring) -> Self {
        Self {
            plain_http,
            keyring,
            challenge: Mutex::default(),
            passwords: Mutex::default(),
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

    /// The `Authorization` header for a repository, where the registry is known to want one.
    pub(super) async fn header(
        &self,
        asker: &impl AskTokenService,
        registry: &Url,
        path: &str,
    ) -> Result<Option<HeaderValue>, Problem> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => {
                let known = self.passwords.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
                let is_good = |known: &Password| known.until.is_none_or(|until| Instant::now() < until);
                match known.filter(is_good) {
                    Some(known) => Ok(known.header),
                    None => Ok(self.remember(path, self.login(path, registry).await?)),
                }
            }
            Some(Challenge::Bearer { realm, service }) => {
                let slot = self.slot(path);
                let mut token = slot.lock().await;
                if token.as_ref().is_none_or(|token| token.until <= Instant::now()) {
                    *token = Some(self.fetch(asker, registry, &realm, service.as_deref(), path).await?);
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
        registry: &Url,
        path: &str,
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
            // A changed password is found here; the same one is no news.
            let found = match used {
                None => self.login(path, registry).await?,
                Some(_) => self.other_login(path, registry).await?,
            };
            let header = self.remember(path, found);
            return Ok(header.is_some() && header.as_ref() != used);
        }
        let slot = self.slot(path);
        let mut token = slot.lock().await;
        if token.as_ref().and_then(|token| bearer(&token.value)).as_ref() == used {
            *token = None;
        }
        Ok(true)
    }

    /// Where the login for a repository is from, if there is one.
    ///
    /// # Errors
    /// There should be one, and it cannot be got.
    pub async fn login_from(&self, path: &str, registry: &Url) -> Result<Option<&'static str>, Problem> {
        Ok(self.login(path, registry).await?.map(|found| found.from))
    }

    async fn login(&self, path: &str, registry: &Url) -> Result<Option<Found>, Problem> {
        self.keyring.login(path, registry).await.map_err(Problem::Credentials)
    }

    async fn other_login(&self, path: &str, registry: &Url) -> Result<Option<Found>, Problem> {
        self.keyring.login_after_refusal(path, registry).await.map_err(Problem::Credentials)
    }

    /// Keeps a password as a header. An identity token is good for token services only.
    fn remember(&self, path: &str, found: Option<Found>) -> Option<HeaderValue> {
        let until = found.as_ref().and_then(|found| found.until);
        let header = match found.map(|found| found.login) {
            Some(Login::Password { user, password }) => Some(basic(&user, &password)),
            Some(Login::Identity(_)) | None => None,
        };
        let mut passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        if passwords.len() >= SCOPES_MAX && !passwords.contains_key(path) {
            passwords.clear();
        }
        passwords.insert(path.to_owned(), Password { header: header.clone(), until });
        header
    }

    fn slot(&self, path: &str) -> Slot {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= SCOPES_MAX && !tokens.contains_key(path) {
            tokens.clear();
        }
        tokens.entry(path.to_owned()).or_default().clone()
    }

    async fn fetch(
        &self,
        asker: &impl AskTokenService,
        registry: &Url,
        realm: &Url,
        service: Option<&str>,
        path: &str,
    ) -> Result<Token, Problem> {
        let scope = if path.is_empty() { String::new() } else { format!("repository:{path}:pull") };
        let hosts = (registry.host_str().unwrap_or_default(), realm.host_str().unwrap_or_default());
        let is_ours = may_know_password(hosts.0, hosts.1);
        let found = if is_ours { self.login(path, registry).await? } else { None };
        let mut login = found.map(|found| found.login);
        let mut answer = asker.ask(token_request(realm, service, &scope, login.clone())).await?;
        if matches!(answer.status, 400 | 401) && login.is_some() {
            // It may have been rotated, or have ended before its time.
            let other = self.other_login(path, registry).await?.map(|found| found.login);
            if other.is_some() && other != login {
                login = other;
                answer = asker.ask(token_request(realm, service, &scope, login.clone())).await?;
            }
        }
        match answer.status {
            200 => {}
            401 => return Err(Problem::Unauthorized { found: refused_by_service(is_ours, login.is_some()) }),
            403 => return Err(Problem::Forbidden),
            status => return Err(Problem::Token(format!("answered HTTP {status}"))),
        }
        token(&answer)
    }
}

fn refused_by_service(is_ours: bool, has_login: bool) -> &'static str {
    match (is_ours, has_login) {
        (true, true) => "the token service refused the password",
        (true, false) => "none found for it",
        (false, _) => "its token service is on a stranger's host, which gets no password",
    }
}

fn token(answer: &Answered) -> Result<Token, Problem> {
    let unusable = || Problem::Token("sent something that is no token".into());
    let told: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
    let value = told.token.or(told.access_token).filter(|text| !text.is_empty()).ok_or_else(unusable)?;
    let value = Secret::new(value);
    bearer(&value).ok_or_else(unusable)?;
    let life = told
        .expires_in
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(TOKEN_LIFE_DEFAULT)
        .min(TOKEN_LIFE_MAX);
    // A service may hand out a token that it made a while ago. Both times are on its own clock.
    let issued = told.issued_at.and_then(|text| Time::from_rfc3339(&text));
    let age = issued.map_or(0.0, |at| answer.date.unwrap_or_else(now).seconds_since(at));
    let life = life.saturating_sub(Duration::try_from_secs_f64(age).unwrap_or_default());
    Ok(Token { value, until: Instant::now() + life.saturating_sub(TOKEN_MARGIN.min(life / 2)) })
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
