//! Requests to one registry host: one pool, one budget, one place where limits and logins are kept.
//!
//! A request is answered whole or fails; nothing half read leaves this file. Credentials go to the registry's
//! own scheme, host and port, and nowhere else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, Url, redirect};
use tracing::Instrument;

use super::address::{self, Guard, GuardedResolver, Inside, Names, Reach};
use super::auth::{self, Answered, AskTokenService, Auth, TokenRequest};
use super::credentials::{Keyring, Login};
use super::error::Problem;
use super::limits::Limits;
use crate::config;
use crate::image::Repository;
use crate::observation::{Measure, Time};
use crate::observers::schedule::{Gate, PATIENCE, Told, retry_after};
use crate::observers::{now, tls};

/// Requests in flight to one host. Above this registries answer no sooner, and some answer 429.
pub const HOST_CONCURRENCY: usize = 8;
/// How often one request is sent again after such a wait.
const THROTTLED_RETRIES_MAX: usize = 3;
/// Clock differences move slowly.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

/// Who takes the numbers about requests: metrics in the program, a sum in `scan`.
pub type Meter = Arc<dyn Fn(Measure) + Send + Sync>;

/// Who named a registry's host. What only a workload's image names is trusted less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    Operator,
    Workload,
}

/// One registry host.
pub struct Client {
    host: Arc<str>,
    base: Url,
    named_by: NamedBy,
    own: Route,
    /// Where the registry sends us: redirects and token services on other hosts.
    elsewhere: Route,
    auth: Auth,
    limits: Limits,
    gate: Gate,
    names: Names,
    clock_measured: Mutex<Option<Instant>>,
    meter: Meter,
}

/// Connections, and which addresses they may lead to.
struct Route {
    http: reqwest::Client,
    guard: Guard,
}

/// A request in the words of the distribution specification.
pub struct Ask<'a> {
    /// The label in metrics and traces.
    pub operation: &'static str,
    pub method: Method,
    pub url: Url,
    pub accept: Option<&'static str>,
    /// `None` asks about the registry itself.
    pub repository: Option<&'a Repository>,
    /// What the body is, and its limit in bytes after decompression.
    pub body: (&'static str, usize),
}

/// A complete answer: 2xx, or one of the two refusals that callers tell apart, 404 and 405.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Where it came from, after redirects.
    pub url: Url,
    pub body: Bytes,
    /// When the request was sent and when its headers were there, on our clock.
    pub asked: Time,
    pub answered: Time,
}

impl Client {
    /// A client for one registry.
    ///
    /// # Errors
    /// The host is no host, or no TLS client can be made here.
    pub fn new(
        registry: &config::Registry,
        named_by: NamedBy,
        limits: Limits,
        meter: Meter,
    ) -> Result<Self, Problem> {
        Self::with_names(registry, named_by, limits, meter, Names::default())
    }

    /// The same where more is known of names.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_names(
        registry: &config::Registry,
        named_by: NamedBy,
        limits: Limits,
        meter: Meter,
        names: Names,
    ) -> Result<Self, Problem> {
        let host: Arc<str> = registry.host.as_str().into();
        // The name in references and the name of the API are two for Docker Hub.
        let api = if &*host == "docker.io" { "registry-1.docker.io" } else { &*host };
        let scheme = if registry.plain_http { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{api}/"))
            .ok()
            .filter(|url| url.path() == "/" && url.username().is_empty())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| Problem::Client(format!("{host:?} is no host name with an optional port")))?;
        let this_machine = address::is_this_machine(&base);
        let inside = Inside::of(&base);
        let (own, elsewhere) = match named_by {
            NamedBy::Operator if this_machine => (Reach::Anywhere, Guard::Away(Reach::Machine)),
            NamedBy::Operator => (Reach::Anywhere, Guard::AwayFrom(inside.clone())),
            NamedBy::Workload => (Reach::Private, Guard::Away(Reach::Public)),
        };
        let tls = tls::client(&registry.tls).map_err(Problem::Tls)?;
        let trusts = config::Tls { certificate_file: None, key_file: None, ..registry.tls.clone() };
        // Who we are is for the registry itself, as a password is.
        let elsewhere_tls = tls::client(&trusts).map_err(Problem::Tls)?;
        let route = |guard: Guard, tls: rustls::ClientConfig| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("knotmeter/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .connect_timeout(limits.request.min(Duration::from_secs(10)))
                .timeout(limits.request)
                .tls_backend_preconfigured(tls)
                .dns_resolver(Arc::new(GuardedResolver::new(guard.clone(), names.clone())));
            if this_machine {
                builder = builder.no_proxy();
            }
            let http = builder.build().map_err(|error| Problem::transport(error, limits.request));
            http.map(|http| Route { http, guard })
        };
        Ok(Self {
            auth: Auth::new(
                registry.plain_http,
                Keyring::new(host.clone(), registry.plain_http, named_by, registry.docker_config.clone()),
            ),
            base,
            named_by,
            own: route(Guard::Home(own, inside), tls)?,
            elsewhere: route(elsewhere, elsewhere_tls)?,
            limits,
            gate: Gate::new(HOST_CONCURRENCY, &*host == "docker.io"),
            names: names.clone(),
            clock_measured: Mutex::default(),
            meter,
            host,
        })
    }

    /// The registry as image references name it.
    #[must_use]
    pub fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// The registry as metrics name a source.
    #[must_use]
    pub fn source(&self) -> Arc<str> {
        format!("registry/{}", self.host).into()
    }

    #[must_use]
    pub fn named_by(&self) -> NamedBy {
        self.named_by
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Where the login for a repository is from, if there is one.
    ///
    /// # Errors
    /// There should be one, and it cannot be got.
    pub async fn login_from(&self, repository: Option<&Repository>) -> Result<Option<&'static str>, Problem> {
        self.auth.login_from(repository.map_or("", Repository::path), &self.base).await
    }

    /// What holds requests to this registry back.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    pub fn measure(&self, measure: Measure) {
        (self.meter)(measure);
    }

    /// An address of the API, below `/v2/`.
    #[must_use]
    pub fn url(&self, path_and_query: &str) -> Url {
        let base = self.base.as_str();
        Url::parse(&format!("{base}v2/{path_and_query}")).expect("a base and a parsed name make an address")
    }

    /// Sends a request, logs in where asked to, follows redirects, sits out short waits, and reads the body.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Problem> {
        let repository = ask.repository.map_or("", Repository::path);
        let span = tracing::debug_span!(
            "request",
            registry = &*self.host,
            repository,
            operation = ask.operation,
            code = tracing::field::Empty
        );
        self.ask_in_turn(ask).instrument(span).await
    }

    async fn ask_in_turn(&self, ask: Ask<'_>) -> Result<Answer, Problem> {
        let path = ask.repository.map_or("", Repository::path);
        let mut url = ask.url.clone();
        let mut at_home = true;
        let (mut logged_in, mut redirects, mut throttled) = (false, 0, 0);
        loop {
            // Given back while the registry wants to be left alone.
            let _permit = self.gate.turn().await.map_err(Problem::Throttled)?;
            // Once sent elsewhere a request stays without credentials, even if it is sent back.
            at_home &= same_origin(&url, &self.base);
            let login = if at_home { self.auth.header(self, &self.base, path).await? } else { None };
            let asked = now();
            let response = self.send(&ask, &url, at_home, login.clone()).await?;
            let status = response.status().as_u16();
            let refused = status == 429 || status == 503 && response.headers().contains_key(RETRY_AFTER);
            // On the way to a manifest hosts tell how many may be read, and nothing of other requests.
            let told = match (ask.operation.ends_with("_manifest"), status) {
                (false, _) => Told::Requests,
                (true, 200..=299) => Told::Pulls,
                (true, _) => Told::Nothing,
            };
            if !refused && at_home {
                self.gate.answered(response.headers(), told, now());
            }
            match status {
                _ if refused => {
                    let wait = self.gate.refused(response.headers(), told, now());
                    throttled += 1;
                    if wait > PATIENCE || throttled > THROTTLED_RETRIES_MAX {
                        return Err(Problem::Throttled(wait));
                    }
                }
                200..=299 | 404 | 405 => return self.read(&ask, response, asked).await,
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    if redirects > self.limits.redirects {
                        let limit = self.limits.redirects as u64;
                        return Err(Problem::TooLarge { what: "redirects", limit });
                    }
                    url = self.redirected(&url, response.headers())?;
                }
                401 if at_home && !logged_in => {
                    logged_in = true;
                    if !self.auth.refused(response.headers(), &self.base, path, login.as_ref()).await? {
                        return Err(Problem::Unauthorized { found: found(login.as_ref()) });
                    }
                }
                401 => return Err(Problem::Unauthorized { found: found(login.as_ref()) }),
                403 => return Err(Problem::Forbidden),
                status => return Err(Problem::Status(status)),
            }
        }
    }

    async fn send(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        at_home: bool,
        login: Option<HeaderValue>,
    ) -> Result<Response, Problem> {
        let route = if at_home { &self.own } else { &self.elsewhere };
        self.may_ask(route, url)?;
        let mut request = route.http.request(ask.method.clone(), url.clone());
        if let Some(accept) = ask.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(login) = login {
            request = request.header(AUTHORIZATION, login);
        }
        let sent = now();
        let outcome = request.send().await;
        let code = outcome.as_ref().map_or(0, |response| response.status().as_u16());
        tracing::Span::current().record("code", code);
        self.measure(Measure::RegistryRequest {
            registry: self.host.clone(),
            operation: ask.operation,
            code,
        });
        let response =
            outcome.map_err(|error| self.named_in_full(Problem::transport(error, self.limits.request)))?;
        if at_home {
            self.measure_clock(response.headers(), sent, now());
        }
        Ok(response)
    }

    fn may_ask(&self, route: &Route, url: &Url) -> Result<(), Problem> {
        let reach = self.names.reach(&route.guard, url.host_str().unwrap_or_default());
        reach.check(url).map_err(|problem| self.named_in_full(problem))
    }

    /// A refused address is allowed by the host as it stands in the configuration, with its port.
    fn named_in_full(&self, problem: Problem) -> Problem {
        match problem {
            Problem::Refused { host, address } if Some(host.as_str()) == self.base.host_str() => {
                Problem::Refused { host: self.host.to_string(), address }
            }
            other => other,
        }
    }

    async fn read(&self, ask: &Ask<'_>, response: Response, asked: Time) -> Result<Answer, Problem> {
        let answered = now();
        let (status, headers, url) =
            (response.status().as_u16(), response.headers().clone(), response.url().clone());
        let body = if ask.method == Method::HEAD || status >= 400 {
            Bytes::new()
        } else {
            read_up_to(response, ask.body, self.limits.request).await?
        };
        Ok(Answer { status, headers, url, body, asked, answered })
    }

    fn redirected(&self, from: &Url, headers: &HeaderMap) -> Result<Url, Problem> {
        let malformed = |why: &str| Problem::Malformed(format!("a redirect {why}"));
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let to =
            location.and_then(|text| from.join(text).ok()).ok_or_else(|| malformed("without an address"))?;
        if !to.username().is_empty() || to.password().is_some() {
            return Err(malformed("to an address with a password in it"));
        }
        let stays = same_origin(&to, &self.base);
        let same_host_in_clear = self.base.scheme() == "http" && to.host_str() == self.base.host_str();
        if stays || to.scheme() == "https" || to.scheme() == "http" && same_host_in_clear {
            return Ok(to);
        }
        Err(malformed("to another host without https"))
    }

    fn measure_clock(&self, headers: &HeaderMap, sent: Time, received: Time) {
        let Some(date) = headers.get(DATE).and_then(|value| retry_after::http_date(value.to_str().ok()?))
        else {
            return;
        };
        let mut measured = self.clock_measured.lock().unwrap_or_else(PoisonError::into_inner);
        if measured.is_some_and(|at| at.elapsed() < CLOCK_EVERY) {
            return;
        }
        *measured = Some(Instant::now());
        // The header has whole seconds, cut off: half a second is the best guess for the rest.
        let theirs = date.0 as f64 + 500.0;
        let ours = (sent.0 as f64 + received.0 as f64) / 2.0;
        let seconds = (theirs - ours) / 1000.0;
        self.measure(Measure::ClockOffset { source: self.source(), seconds });
    }
}

impl AskTokenService for Client {
    async fn ask(&self, request: TokenRequest) -> Result<Answered, Problem> {
        let same_host = request.url.host_str() == self.base.host_str();
        let route = if same_host { &self.own } else { &self.elsewhere };
        self.may_ask(route, &request.url)?;
        let mut built = match request.form {
            Some(form) => route
                .http
                .post(request.url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form),
            None => route.http.get(request.url),
        };
        if let Some(Login::Password { user, password }) = &request.login {
            built = built.header(AUTHORIZATION, auth::basic(user, password));
        }
        let outcome = built.send().await;
        let code = outcome.as_ref().map_or(0, |response| response.status().as_u16());
        self.measure(Measure::RegistryRequest { registry: self.host.clone(), operation: "token", code });
        let response =
            outcome.map_err(|error| self.named_in_full(Problem::transport(error, self.limits.request)))?;
        if code == 429 {
            return Err(Problem::Throttled(self.gate.refused(response.headers(), Told::Nothing, now())));
        }
        let headers = response.headers().clone();
        let body =
            read_up_to(response, ("bytes of token", self.limits.token_bytes), self.limits.request).await?;
        Ok(Answered::new(code, &headers, body.into()))
    }
}

/// Reads a body piece by piece, after decompression, and stops at the limit. A body in one piece is not copied.
pub(super) async fn read_up_to(
    mut response: Response,
    (what, limit): (&'static str, usize),
    timeout: Duration,
) -> Result<Bytes, Problem> {
    let mut body = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    while let Some(piece) = response.chunk().await.map_err(|error| Problem::transport(error, timeout))? {
        let length = joined.as_ref().map_or(body.len(), BytesMut::len);
        if length + piece.len() > limit {
            return Err(Problem::TooLarge { what, limit: limit as u64 });
        }
        match &mut joined {
            Some(joined) => joined.extend_from_slice(&piece),
            None if body.is_empty() => body = piece,
            None => {
                let mut both = BytesMut::with_capacity(2 * (length + piece.len()));
                both.extend_from_slice(&body);
                both.extend_from_slice(&piece);
                joined = Some(both);
            }
        }
    }
    Ok(joined.map_or(body, BytesMut::freeze))
}

pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

fn found(login: Option<&HeaderValue>) -> &'static str {
    if login.is_some() { "the one we have was refused" } else { "none found for it" }
}
