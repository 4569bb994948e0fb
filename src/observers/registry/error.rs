//! What can go wrong between us and a registry, and what a person can do about it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::image::Digest;
use crate::observation::LookFailure;

/// A failure, and the registry or repository it is about.
#[derive(Debug)]
pub struct Error {
    about: Arc<str>,
    problem: Problem,
}

impl Error {
    pub(super) fn new(about: &str, problem: Problem) -> Self {
        Self { about: about.into(), problem }
    }

    /// What went wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The closed set that metrics, facts and the backoff use.
    #[must_use]
    pub fn class(&self) -> LookFailure {
        self.problem.class()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.problem)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.problem)
    }
}

/// Each way to fail, without the subject. No variant may carry a header, a token or a query string.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The HTTP client cannot be built: no certificate store, a bad proxy setting.
    #[error("cannot make an HTTP client ({0}); is a CA bundle installed?")]
    Client(String),
    /// No answer: name, route, connection or TLS.
    #[error("no answer ({0}); check the host name, the network and the proxy settings")]
    Network(String),
    /// The answer, or the whole listing, took too long.
    #[error("no complete answer within {0:?}; the registry is slow or stuck")]
    Timeout(Duration),
    /// The registry's certificate, or ours.
    #[error(
        "TLS fails ({0}); name its authority with `registries: [{{host: .., tls: {{ca_file: ..}}}}]`, or check our certificate"
    )]
    Certificate(String),
    /// A file of `tls` cannot be used.
    #[error("cannot use the files of `registries[].tls`: {0}")]
    Tls(String),
    /// A docker config, a helper program or a cloud should give a login and does not.
    #[error("cannot get a login: {0}")]
    Credentials(String),
    /// An address that nobody named: loopback, link-local, metadata, or private.
    #[error(
        "{host} has the address {address}, which is refused; allow it with `registries: [{{host: \"{host}\"}}]`"
    )]
    Refused { host: String, address: String },
    /// An answer of the 5xx kind, or one that fits nothing else.
    #[error("answered HTTP {0}; look at the registry's own health and log")]
    Status(u16),
    /// The token service did not give a token.
    #[error("the token service {0}; check it and the credentials")]
    Token(String),
    /// 429, or 503 with a time to wait.
    #[error("asks us to wait {0:?}; a longer `interval` for this registry makes fewer requests")]
    Throttled(Duration),
    /// The registry counts how many manifests are read, and our part of its limit is used up.
    #[error("counts pulls, and the tenth of its limit that we take is used up; it is asked again later")]
    PullsUsedUp,
    /// 401, after the login that it asked for.
    #[error(
        "refuses to answer without a login ({found}); put one for this host into the docker config file, or see docs/credentials.md"
    )]
    Unauthorized { found: &'static str },
    /// 403.
    #[error("does not let us read it; give the account pull rights")]
    Forbidden,
    /// 404.
    #[error("does not exist, or is hidden from this account; check its name and the account's rights")]
    Missing,
    /// An answer that breaks the specification.
    #[error("sent an answer that cannot be used: {0}")]
    Malformed(String),
    /// An answer above a limit.
    #[error("sent more {what} than the limit of {limit}; the look was stopped")]
    TooLarge { what: &'static str, limit: u64 },
    /// Content that does not hash to its name.
    #[error("sent content that hashes to {found} for {expected}; a proxy or cache between may be broken")]
    Mismatch { expected: Digest, found: Digest },
}

impl Problem {
    /// The closed set that metrics, facts and the backoff use.
    #[must_use]
    pub fn class(&self) -> LookFailure {
        match self {
            Self::Client(_)
            | Self::Network(_)
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::Timeout(_)
            | Self::Refused { .. } => LookFailure::Network,
            Self::Status(_) | Self::Token(_) => LookFailure::Server,
            Self::Throttled(_) | Self::PullsUsedUp => LookFailure::Throttled,
            Self::Unauthorized { .. } | Self::Credentials(_) => LookFailure::Unauthorized,
            Self::Forbidden => LookFailure::Forbidden,
            Self::Missing => LookFailure::Missing,
            Self::Malformed(_) | Self::TooLarge { .. } | Self::Mismatch { .. } => LookFailure::Malformed,
        }
    }

    /// A transport error as text, without the address: query strings may hold secrets.
    pub(super) fn transport(error: reqwest::Error, timeout: Duration) -> Self {
        if error.is_timeout() {
            return Self::Timeout(timeout);
        }
        // What is read of a body fails as "decode", whether it was cut off on the way or is wrong in itself.
        if (error.is_decode() || error.is_body()) && !was_cut_off(&error) {
            return Self::Malformed("the body breaks its encoding".into());
        }
        let error = error.without_url();
        let mut deepest: &dyn std::error::Error = &error;
        while let Some(cause) = deepest.source() {
            if let Some(refused) = cause.downcast_ref::<super::address::RefusedAddress>() {
                return Self::Refused { host: refused.host.clone(), address: refused.address.to_string() };
            }
            if let Some(tls) = told_by_tls(cause) {
                return Self::Certificate(tls);
            }
            deepest = cause;
        }
        Self::Network(deepest.to_string())
    }
}

/// What TLS says of certificates. An `io::Error` hides what it wraps from `source`.
fn told_by_tls(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = cause;
    while let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        cause = inner;
    }
    match cause.downcast_ref::<rustls::Error>()? {
        error @ (rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::AlertReceived(_)) => Some(error.to_string()),
        _ => None,
    }
}

/// The connection ended in the middle of an answer.
fn was_cut_off(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut of_the_connection = false;
    while let Some(cause) = next {
        of_the_connection |= cause.is::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
        {
            return false;
        }
        // An `io::Error` passes over what it wraps.
        next = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    of_the_connection
}
