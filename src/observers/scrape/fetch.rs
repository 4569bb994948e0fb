//! Asks an endpoint for its exposition.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;

use super::text::{ObjectName, Reader, Total};
use crate::config::{Scrape, Tls, public_url};
use crate::observation::LookFailure;
use crate::observers::secret::Secret;
use crate::observers::tls;

/// One scrape, from connecting to the last byte.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Unpacked. Ten thousand objects have 20 MiB.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What controllers prefer to answer with; the other format is read as well.
const ACCEPTED: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// Why a scrape failed. No message holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The token or a certificate cannot be read.
    #[error("{0}")]
    Credentials(String),
    /// There is nobody, or the answer broke off.
    #[error("{url} cannot be read: {why}")]
    Network { url: String, why: String },
    /// It answered with another status than 200.
    #[error("{url} answered HTTP status {status}{hint}")]
    Refused { url: String, status: u16, hint: &'static str },
    /// The answer is too large, or no exposition.
    #[error("{url}: {why}")]
    Malformed { url: String, why: String },
}

impl Problem {
    /// How it is told.
    #[must_use]
    pub fn class(&self) -> LookFailure {
        match self {
            Self::Credentials(_) | Self::Refused { status: 401, .. } => LookFailure::Unauthorized,
            Self::Network { .. } => LookFailure::Network,
            Self::Refused { status: 403, .. } => LookFailure::Forbidden,
            Self::Refused { status: 404, .. } => LookFailure::Missing,
            Self::Refused { status: 429, .. } => LookFailure::Throttled,
            Self::Refused { status: 500..=599, .. } => LookFailure::Server,
            Self::Refused { .. } | Self::Malformed { .. } => LookFailure::Malformed,
        }
    }
}

/// What one scrape brought.
#[derive(Debug)]
pub struct Read {
    pub totals: BTreeMap<ObjectName, Total>,
    /// Objects that are too many.
    pub left_out: usize,
}

/// The way to one endpoint.
#[derive(Debug)]
pub struct Client {
    url: String,
    token_file: Option<PathBuf>,
    tls: Tls,
}

impl Client {
    pub fn new(config: &Scrape) -> Self {
        Self { url: config.url.clone(), token_file: config.token_file.clone(), tls: config.tls.clone() }
    }

    /// Scrapes once. Token and certificates are read each time, so that rotated ones are taken up; no redirect is
    /// followed, so that a token goes to the host that was named, and nowhere else.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn read(&self) -> Result<Read, Problem> {
        let shown = public_url(&self.url).to_string();
        let network = |error: reqwest::Error| Problem::Network {
            url: shown.clone(),
            why: with_causes(error.without_url()),
        };
        let malformed = |why: String| Problem::Malformed { url: shown.clone(), why };
        let client = reqwest::Client::builder()
            .user_agent(concat!("knotmeter/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIME_MAX)
            // It is inside the cluster, or beside it.
            .no_proxy()
            .tls_backend_preconfigured(tls::client(&self.tls).map_err(Problem::Credentials)?)
            .build()
            .map_err(network)?;
        let mut request = client.get(&self.url).header(ACCEPT, ACCEPTED);
        if let Some(file) = &self.token_file {
            let token = Secret::read(file).map_err(Problem::Credentials)?;
            request = request.bearer_auth(token.reveal());
        }
        let mut answer = request.send().await.map_err(network)?;
        let status = answer.status();
        if status != StatusCode::OK {
            let hint = match status.as_u16() {
                300..=399 => ", and no redirect is followed: write the address that it leads to",
                401 | 403 => ": set `token_file` to a token that may get it",
                404 => ": the path is not that of metrics",
                _ => "",
            };
            return Err(Problem::Refused { url: shown.clone(), status: status.as_u16(), hint });
        }
        let mut reader = Reader::default();
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.map_err(network)? {
            bytes += piece.len();
            if bytes > ANSWER_BYTES_MAX {
                return Err(malformed(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
            }
            if !reader.push(&piece) {
                return Err(malformed("the answer has more lines than an exposition".into()));
            }
        }
        if !reader.has_lines() {
            return Err(malformed("the answer is empty, and no exposition".into()));
        }
        let (totals, left_out) = reader.end();
        Ok(Read { totals, left_out })
    }
}

/// The message and those below it: the first says only that a request failed.
fn with_causes(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(below) = cause {
        text += &format!(": {below}");
        cause = below.source();
    }
    text
}
