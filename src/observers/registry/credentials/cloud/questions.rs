//! Questions to a cloud's own services: few, small, never redirected, and never answered with more than fits.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde::de::DeserializeOwned;

use crate::config::Tls;
use crate::observers::registry::client::read_up_to;
use crate::observers::registry::error::Problem;
use crate::observers::secret::Secret;
use crate::observers::tls;

/// One question. A metadata service that is not there must not hold a look up.
const TIME_MAX: Duration = Duration::from_secs(10);
/// The largest answer, an ECR token, has 3 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Amazon's and Google's metadata services, which speak http to their own machine only.
const METADATA: [&str; 5] =
    ["169.254.170.2", "169.254.170.23", "169.254.169.254", "fd00:ec2::23", "fd00:ec2::254"];
/// Google's has a name, too.
const METADATA_NAME: &str = "metadata.google.internal";

/// What is sent.
pub enum Body {
    None,
    /// None, and the question is a PUT.
    NonePut,
    /// `name=value` pairs, encoded.
    Form(Vec<(&'static str, Secret)>),
    Json(&'static str, String),
}

/// Asks, and reads the answer as JSON.
pub async fn json<T: DeserializeOwned>(
    what: &str,
    url: &Url,
    headers: &[(&'static str, Secret)],
    body: Body,
) -> Result<T, String> {
    let answer = bytes(what, url, headers, body).await?;
    serde_json::from_slice(&answer).map_err(|_| format!("{what} sent something else than expected"))
}

/// Asks, and gives the answer as it is. Errors hold the host, never an address, header or body.
pub async fn bytes(
    what: &str,
    url: &Url,
    headers: &[(&'static str, Secret)],
    body: Body,
) -> Result<Vec<u8>, String> {
    let host = url.host_str().unwrap_or_default();
    let at = format!("{what} at {host}");
    let is_near = near(host);
    if url.scheme() != "https" && !(url.scheme() == "http" && is_near) {
        return Err(format!("{at} must be asked over https"));
    }
    let client = client(is_near).map_err(|why| format!("{at}: {why}"))?;
    let mut sent = HeaderMap::new();
    for (name, value) in headers {
        let mut value =
            HeaderValue::try_from(value.reveal()).map_err(|_| format!("{at}: {name} is no header"))?;
        value.set_sensitive(true);
        sent.insert(HeaderName::from_static(name), value);
    }
    let request = with_body(&client, url, body).headers(sent);
    let answer = request.send().await.map_err(|error| told(&at, error))?;
    let status = answer.status();
    let read = read_up_to(answer, ("bytes of login", ANSWER_BYTES_MAX), TIME_MAX).await;
    match status.as_u16() {
        200..=299 => Ok(read.map_err(|problem| format!("{at}: {problem}"))?.into()),
        status => {
            let code = read.ok().and_then(|body| error_code(&body));
            let code = code.map_or_else(String::new, |code| format!(" ({code})"));
            Err(format!("{at} answered HTTP {status}{code}"))
        }
    }
}

fn with_body(client: &Client, url: &Url, body: Body) -> RequestBuilder {
    match body {
        Body::None => client.get(url.clone()),
        Body::NonePut => client.put(url.clone()),
        Body::Form(pairs) => {
            let mut form = Url::parse("form:").expect("a constant that parses");
            form.query_pairs_mut().extend_pairs(pairs.iter().map(|(name, value)| (name, value.reveal())));
            let text = form.query().unwrap_or_default().to_owned();
            client.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(text)
        }
        Body::Json(kind, text) => client.post(url.clone()).header(CONTENT_TYPE, kind).body(text),
    }
}

/// A proxy would be asked for the machine's own services in vain.
fn client(is_near: bool) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("knotmeter/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(TIME_MAX)
        .timeout(TIME_MAX)
        .tls_backend_preconfigured(tls::client(&Tls::default())?);
    if is_near {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| error.without_url().to_string())
}

/// Whether a host is this machine, or a service that every machine of a cloud has.
fn near(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback || bare == "localhost" || bare == METADATA_NAME || METADATA.contains(&bare)
}

fn told(at: &str, error: reqwest::Error) -> String {
    match Problem::transport(error, TIME_MAX) {
        Problem::Timeout(_) => format!("{at} did not answer within {} s", TIME_MAX.as_secs()),
        Problem::Network(why) => format!("{at} cannot be reached ({why})"),
        other => format!("{at}: {other}"),
    }
}

/// The code that a refusal carries, and nothing else of it: messages may repeat what was sent.
fn error_code(body: &[u8]) -> Option<String> {
    let code = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(json) => {
            let error = &json["error"];
            let found = [error, &error["status"], &error["code"], &json["__type"]];
            found.into_iter().find_map(|value| value.as_str().map(str::to_owned))?
        }
        Err(_) => element(std::str::from_utf8(body).ok()?, "Code")?.to_owned(),
    };
    let code = code.rsplit('#').next().unwrap_or_default();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (code.len() <= 64 && !code.is_empty() && code.chars().all(is_word)).then(|| code.to_owned())
}

/// The text of an XML element that has neither attributes nor elements inside: what Amazon's STS answers with.
pub fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains(['<', '&'])).then(|| text.trim())
}
