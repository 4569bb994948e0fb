//! Why a repository could not be read, as a sentence for the person who can change it.

use std::error::Error as StdError;
use std::sync::Arc;

use gix::protocol::transport::client::AuthenticationRequired;

use super::Address;
use crate::observation::LookFailure;

/// How much of a foreign error text is shown.
const WHY_LENGTH_MAX: usize = 300;
/// How deep the causes of an error are followed. They are short; a loop in them must not hang us.
const CAUSES_MAX: usize = 32;

/// What is wrong. The address in it never carries credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configured address cannot be used.
    #[error("git repository {url}: {why}")]
    Address { url: Arc<str>, why: String },
    /// The configured branch is not one branch's name.
    #[error("git repository {url}: {branch:?} is not the name of a branch; correct `git[].branches`")]
    BranchName { url: Arc<str>, branch: Arc<str> },
    /// The repository answers and has no such branch.
    #[error("git repository {url}: there is no branch {branch:?}; push it, or correct `git[].branches`")]
    BranchMissing { url: Arc<str>, branch: Arc<str> },
    /// 401, or a question for a password.
    #[error(
        "git repository {url}: it wants credentials, or refuses ours; write them into `git[].url` (https://user:token@host/...)"
    )]
    Unauthorized { url: Arc<str> },
    /// 403.
    #[error("git repository {url}: the credentials are known and not allowed to read; grant read access")]
    Forbidden { url: Arc<str> },
    /// 404, or no such directory.
    #[error(
        "git repository {url}: there is no repository, or it is hidden without credentials; correct `git[].url`"
    )]
    Missing { url: Arc<str> },
    /// 429.
    #[error("git repository {url}: the server asks for fewer requests; raise `git[].interval`")]
    Throttled { url: Arc<str> },
    /// 5xx.
    #[error("git repository {url}: the server failed with HTTP status {status}; its log tells why")]
    Server { url: Arc<str>, status: u16 },
    /// No connection, or it broke.
    #[error("git repository {url}: cannot be reached: {why}; check address, network policy and certificates")]
    Network { url: Arc<str>, why: String },
    /// `file://` without the `git` program.
    #[error(
        "git repository {url}: reading file:// needs the `git` program and there is none in PATH; install it, or serve the repository over https"
    )]
    ProgramMissing { url: Arc<str> },
    /// An answer that is not git's, or that breaks a limit. A redirect ends here too: none is followed.
    #[error(
        "git repository {url}: the answer cannot be read: {why}; if the server redirects, write the new address into `git[].url`"
    )]
    Malformed { url: Arc<str>, why: String },
    /// A look took too long or brought too much, and was stopped.
    #[error("git repository {url}: stopped: {why}")]
    Stopped { url: Arc<str>, why: String },
    /// Our own directory for it cannot be written.
    #[error("git repository {url}: the cache directory cannot be used: {why}")]
    Cache { url: Arc<str>, why: String },
}

impl Error {
    /// The class of it in facts and metrics.
    #[must_use]
    pub fn failure(&self) -> LookFailure {
        match self {
            Self::Unauthorized { .. } => LookFailure::Unauthorized,
            Self::Forbidden { .. } => LookFailure::Forbidden,
            Self::Missing { .. } | Self::BranchMissing { .. } => LookFailure::Missing,
            Self::Throttled { .. } => LookFailure::Throttled,
            Self::Server { .. } => LookFailure::Server,
            Self::Network { .. } => LookFailure::Network,
            Self::Address { .. }
            | Self::BranchName { .. }
            | Self::ProgramMissing { .. }
            | Self::Malformed { .. }
            | Self::Stopped { .. }
            | Self::Cache { .. } => LookFailure::Malformed,
        }
    }

    /// What talking to the server gave.
    pub(super) fn remote(address: &Address, error: &gix::Error) -> Self {
        let url = address.url().clone();
        let mut causes = Causes::default();
        for cause in error.iter_errors() {
            causes.follow(cause, CAUSES_MAX);
        }
        if address.is_file() && !program_exists("git") {
            return Self::ProgramMissing { url };
        }
        if causes.unauthorized {
            return Self::Unauthorized { url };
        }
        match causes.status {
            Some(401) => return Self::Unauthorized { url },
            Some(403) => return Self::Forbidden { url },
            Some(404 | 410) => return Self::Missing { url },
            Some(429) => return Self::Throttled { url },
            Some(status @ 500..) => return Self::Server { url, status },
            Some(_) | None => {}
        }
        let why = cut(&causes.last);
        if address.is_file() && error.is_not_found() {
            Self::Missing { url }
        } else if causes.network {
            Self::Network { url, why }
        } else {
            Self::Malformed { url, why }
        }
    }

    /// What reading our copy gave.
    pub(super) fn reading(url: &Arc<str>, error: &gix::Error) -> Self {
        Self::Malformed { url: url.clone(), why: cut(&error.probable_cause().to_string()) }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(WHY_LENGTH_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What the causes of an error tell, together.
#[derive(Default)]
struct Causes {
    status: Option<u16>,
    unauthorized: bool,
    network: bool,
    /// The text of the innermost cause.
    last: String,
}

impl Causes {
    /// An `io::Error` hides what it wraps from `source`, so each wrapper is opened by its own door.
    fn follow(&mut self, cause: &(dyn StdError + 'static), left: usize) {
        if left == 0 {
            return;
        }
        self.last = cause.to_string();
        self.unauthorized |= cause.is::<AuthenticationRequired>();
        if let Some(http) = cause.downcast_ref::<reqwest::Error>() {
            self.status = self.status.or(http.status().map(|status| status.as_u16()));
            self.network |= http.is_connect() || http.is_timeout() || http.is_body() || http.is_request();
        }
        if let Some(inner) = cause.downcast_ref::<gix::Error>() {
            inner.iter_errors().for_each(|error| self.follow(error, left - 1));
            return;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            self.network |= is_network(io.kind());
            if let Some(inner) = io.get_ref() {
                self.follow(inner, left - 1);
                return;
            }
        }
        if let Some(source) = cause.source() {
            self.follow(source, left - 1);
        }
    }
}

fn is_network(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::BrokenPipe
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
    )
}

fn program_exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}
