//! The HTTP client below gix: asks, and keeps what a host says when it refuses.
//!
//! gix brings a client that throws the headers of a refusal away, and with them `Retry-After`. This one has the same
//! library under it and needs no thread of its own. gix writes a request to its end, then reads the headers, then
//! the body; so nothing is sent before the headers are read.

use std::any::Any;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gix::protocol::transport::client::AuthenticationRequired;
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse,
};
use reqwest::StatusCode;
use reqwest::blocking::{ClientBuilder, RequestBuilder, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use rustls::ClientConfig;

/// Longer takes no host that is there. A read that is silent for 30 seconds ends, too (the library's own default).
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);
/// What we ask is a list of commits that we have and want: gix ends after some thousands, of 50 bytes each.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// A status that is no success.
#[derive(Debug, thiserror::Error)]
#[error("HTTP status {status}")]
pub struct Refused {
    pub status: u16,
    /// Of the headers those that say when to come again.
    pub headers: HeaderMap,
}

/// See the file's front line. No redirect is followed: credentials and requests go to the host that the operator
/// named, and nowhere else.
pub struct Client(reqwest::blocking::Client);

impl Client {
    /// One with these settings of TLS. Call it where blocking is allowed.
    ///
    /// # Errors
    /// No client can be made of them.
    pub fn new(tls: ClientConfig) -> Result<Self, String> {
        let client = ClientBuilder::new()
            .connect_timeout(CONNECT_TIME_MAX)
            .redirect(Policy::none())
            .tls_backend_preconfigured(tls)
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }
}

impl Http for Client {
    type Headers = BufReader<Head>;
    type ResponseBody = BufReader<Body>;
    type PostBody = Upload;

    fn get(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Self::Headers, Self::ResponseBody>> {
        Ok(exchange(self.0.get(url), headers).into())
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Self::Headers, Self::ResponseBody, Self::PostBody>> {
        Ok(exchange(self.0.post(url), headers))
    }

    /// What gix reads from git's own configuration has no say here.
    fn configure(&mut self, _config: &dyn Any) -> gix::Result {
        Ok(())
    }
}

/// One request and its answer, shared by those who write and read it.
#[derive(Clone)]
struct Exchange(Arc<Mutex<State>>);

struct State {
    /// Until it is sent.
    request: Option<RequestBuilder>,
    body: Vec<u8>,
    answer: Option<Response>,
}

/// What is asked.
pub struct Upload(Exchange);

/// The headers of the answer, as lines. Only its content type is of use to gix.
pub struct Head {
    exchange: Exchange,
    lines: Option<Cursor<Vec<u8>>>,
}

/// The body of the answer.
pub struct Body(Exchange);

fn exchange(
    request: RequestBuilder,
    headers: impl IntoIterator<Item = impl AsRef<str>>,
) -> PostResponse<BufReader<Head>, BufReader<Body>, Upload> {
    let lines = headers.into_iter();
    let request = request.headers(lines.filter_map(|line| header(line.as_ref())).collect());
    let state = State { request: Some(request), body: Vec::new(), answer: None };
    let exchange = Exchange(Arc::new(Mutex::new(state)));
    PostResponse {
        post_body: Upload(exchange.clone()),
        headers: BufReader::new(Head { exchange: exchange.clone(), lines: None }),
        body: BufReader::new(Body(exchange)),
    }
}

/// A line that gix wrote, `Name: value`.
fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    let name: HeaderName = name.parse().ok()?;
    value.set_sensitive(name == reqwest::header::AUTHORIZATION);
    Some((name, value))
}

impl Exchange {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The answer; the request is sent if it was not yet.
    fn answer(&mut self) -> io::Result<&mut Response> {
        if let Some(request) = self.request.take() {
            let answer = request.body(std::mem::take(&mut self.body)).send().map_err(io::Error::other)?;
            self.answer = Some(accepted(answer)?);
        }
        self.answer.as_mut().ok_or_else(|| io::Error::other("there was no answer"))
    }
}

/// An answer that is no refusal. Anything but git's own is told apart by its content type.
fn accepted(answer: Response) -> io::Result<Response> {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        // gix knows it by these two.
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, AuthenticationRequired::default()));
    }
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(answer);
    }
    let tells = |name: &HeaderName| *name == RETRY_AFTER || name.as_str().contains("ratelimit");
    let headers = answer.headers().iter().filter(|(name, _)| tells(name));
    let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    Err(io::Error::other(Refused { status: status.as_u16(), headers }))
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        if state.body.len() + bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::other(format!("we would ask with more than {REQUEST_BYTES_MAX} bytes")));
        }
        state.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Head {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let mut state = self.exchange.state();
                let kind = state.answer()?.headers().get(CONTENT_TYPE);
                let line =
                    kind.and_then(|kind| kind.to_str().ok()).map(|kind| format!("content-type:{kind}\n"));
                self.lines.insert(Cursor::new(line.unwrap_or_default().into_bytes()))
            }
        };
        lines.read(into)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.state().answer()?.read(into)
    }
}
