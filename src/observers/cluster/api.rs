//! The few HTTP requests that the observer makes, each bounded in time and bytes.
//!
//! kube brings TLS, credentials and the kubeconfig. The bytes are ours: what a recording holds is exactly what
//! the state machine reads from a live server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::{ACCEPT, ACCEPT_ENCODING, DATE, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::time::{Instant, timeout};

use super::refusal::Refusal;
use super::resource::Accept;
use crate::observation::{LookFailure, Measure, Time};
use crate::observers::{Reporter, now};

/// Time until an answer begins. A streaming list first waits until the server's cache is fresh.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Time for a whole page, body included.
const PAGE_TIME_MAX: Duration = Duration::from_secs(60);
/// The largest page that is read, decompressed: 500 objects of 128 KiB.
pub(super) const PAGE_BYTES_MAX: usize = 64 << 20;
/// The largest error body that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Clocks drift slowly: one measurement in this time is enough.
const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// A slow answer says little about the moment its `Date` was written.
const CLOCK_ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

/// A request that did not bring what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// No answer, or it broke off.
    #[error("cluster {cluster}: {why}")]
    Network { cluster: Arc<str>, why: String },
    /// The API server said no.
    #[error("cluster {cluster}: the API server answered {}: {}", refusal.code, refusal.message)]
    Refused { cluster: Arc<str>, refusal: Refusal },
    /// The answer is larger than we read.
    #[error("cluster {cluster}: the answer to {path} is above {PAGE_BYTES_MAX} bytes")]
    TooLarge { cluster: Arc<str>, path: String },
    /// The answer is not what the API promises.
    #[error("cluster {cluster}: {why}")]
    Malformed { cluster: Arc<str>, why: String },
}

impl Failure {
    /// As a look reports it.
    pub(super) fn class(&self) -> LookFailure {
        match self {
            Self::Network { .. } => LookFailure::Network,
            Self::TooLarge { .. } | Self::Malformed { .. } => LookFailure::Malformed,
            Self::Refused { refusal, .. } => match refusal.code {
                401 => LookFailure::Unauthorized,
                403 => LookFailure::Forbidden,
                404 => LookFailure::Missing,
                429 => LookFailure::Throttled,
                500.. => LookFailure::Server,
                _ => LookFailure::Malformed,
            },
        }
    }
}

/// The API server of one cluster.
#[derive(Clone)]
pub(super) struct Api {
    client: kube::Client,
    pub cluster: Arc<str>,
    reporter: Option<Reporter>,
    clock_measured: Arc<Mutex<Option<Instant>>>,
}

/// The body of an open watch.
pub(super) type Watched = BoxStream<'static, Result<Bytes, kube::Error>>;

impl Api {
    /// Without a reporter no clock offset is told.
    pub(super) fn new(client: kube::Client, cluster: Arc<str>, reporter: Option<Reporter>) -> Self {
        Self { client, cluster, reporter, clock_measured: Arc::default() }
    }

    /// Gets a whole body, decompressed and capped.
    pub(super) async fn get(&self, path: &str, accept: Accept) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        self.get_into(path, accept, &mut body).await?;
        Ok(body)
    }

    /// The same into memory that is there: the pages of a list are of one size.
    pub(super) async fn get_into(
        &self,
        path: &str,
        accept: Accept,
        body: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let page = async {
            let answer = self.send(path, accept.list, None).await?;
            self.collect(path, answer, PAGE_BYTES_MAX, body).await
        };
        timeout(PAGE_TIME_MAX, page).await.unwrap_or_else(|_| Err(self.late(path, PAGE_TIME_MAX)))
    }

    /// Opens a watch. Compression is refused: a server that packs each event on its own would break the stream.
    pub(super) async fn open(&self, path: &str, accept: Accept) -> Result<Watched, Failure> {
        Ok(self.send(path, accept.watch, Some("identity")).await?.into_body().into_data_stream().boxed())
    }

    pub(super) fn malformed(&self, why: &impl ToString) -> Failure {
        Failure::Malformed { cluster: self.cluster.clone(), why: why.to_string() }
    }

    async fn send(
        &self,
        path: &str,
        accept: &str,
        encoding: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::get(path)
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("knotmeter/", env!("CARGO_PKG_VERSION")));
        if let Some(encoding) = encoding {
            request = request.header(ACCEPT_ENCODING, encoding);
        }
        let request = request.body(Body::empty()).map_err(|why| self.malformed(&why))?;
        let (sent, sent_at) = (Instant::now(), now());
        let answer = timeout(ANSWER_TIME_MAX, self.client.send(request))
            .await
            .map_err(|_| self.late(path, ANSWER_TIME_MAX))?
            .map_err(|why| self.network(&why))?;
        self.measure_clock(&answer, sent, sent_at);
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let mut body = Vec::new();
        // The code says enough where the words do not come whole.
        let _ = timeout(ANSWER_TIME_MAX, self.collect(path, answer, REFUSAL_BYTES_MAX, &mut body)).await;
        let refusal = Refusal::of_answer(code, &body);
        Err(Failure::Refused { cluster: self.cluster.clone(), refusal })
    }

    async fn collect(
        &self,
        path: &str,
        answer: Response<Body>,
        cap: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        body.clear();
        let mut chunks = answer.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|why| self.network(&why))?;
            if body.len() + chunk.len() > cap {
                return Err(Failure::TooLarge { cluster: self.cluster.clone(), path: path.into() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// The server's clock minus ours, from the `Date` header: whole seconds, written between request and answer.
    fn measure_clock(&self, answer: &Response<Body>, sent: Instant, sent_at: Time) {
        let round_trip = sent.elapsed();
        let Some(reporter) = self.reporter.as_ref().filter(|_| round_trip < CLOCK_ROUND_TRIP_MAX) else {
            return;
        };
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) else { return };
        let mut measured = self.clock_measured.lock().unwrap_or_else(PoisonError::into_inner);
        if measured.is_some_and(|at| at.elapsed() < CLOCK_EVERY) {
            return;
        }
        *measured = Some(Instant::now());
        let middle = sent_at + round_trip.as_millis() as i64 / 2;
        let seconds = Time(date.timestamp_millis() + 500).seconds_since(middle);
        let source = format!("cluster/{}", self.cluster).into();
        reporter.measure(Measure::ClockOffset { source, seconds });
    }

    fn network(&self, why: &kube::Error) -> Failure {
        Failure::Network { cluster: self.cluster.clone(), why: with_sources(why) }
    }

    fn late(&self, path: &str, bound: Duration) -> Failure {
        let why = format!("no answer to {path} within {} s", bound.as_secs());
        Failure::Network { cluster: self.cluster.clone(), why }
    }
}

/// An error with its causes: "connection refused" is never in the first sentence.
pub(super) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
