//! Why a repository could not be read, as a sentence for the person who can change it.

use std::error::Error as StdError;
use std::sync::Arc;

use gix::protocol::transport::client::AuthenticationRequired;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::Address;
use super::http::Refused;
use crate::observation::LookFailure;
use crate::observers::program;

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
    /// 401, or a question for a password; over ssh: no key of ours is taken.
    #[error(
        "git repository {url}: it wants credentials, or refuses ours; put a token into a file and name it in `git[].token_file`, or over ssh a key in `git[].ssh_key_file`"
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
    /// 429, or 503 with `Retry-After`; with the headers that say when to come again.
    #[error("git repository {url}: the server asks for fewer requests; raise `git[].interval`")]
    Throttled { url: Arc<str>, headers: Box<HeaderMap> },
    /// 5xx.
    #[error("git repository {url}: the server failed with HTTP status {status}; its log tells why")]
    Server { url: Arc<str>, status: u16 },
    /// No connection, or it broke.
    #[error("git repository {url}: cannot be reached: {why}; check address, network policy and certificates")]
    Network { url: Arc<str>, why: String },
    /// The token file or the certificates cannot be used.
    #[error("git repository {url}: cannot log in: {why}")]
    Credentials { url: Arc<str>, why: String },
    /// ssh does not know the host.
    #[error(
        "git repository {url}: ssh does not trust this host; put the line of `ssh-keyscan` that its owner confirms into a file and name it in `git[].known_hosts_file`"
    )]
    HostUnknown { url: Arc<str> },
    /// ssh knows another key for the host.
    #[error(
        "git repository {url}: the host shows another key than the one in `git[].known_hosts_file`: it was changed, or somebody stands in between; ask its owner, and only then replace the line"
    )]
    HostChanged { url: Arc<str> },
    /// The server's certificate is not trusted.
    #[error(
        "git repository {url}: TLS fails ({why}); name the authority in `git[].tls.ca_file`, or check our certificate"
    )]
    Certificate { url: Arc<str>, why: String },
    /// `file://` without the program `git`, or ssh without `ssh`.
    #[error(
        "git repository {url}: reading it needs the program `{program}` and there is none in PATH; use the image that carries it, or serve the repository over https"
    )]
    ProgramMissing { url: Arc<str>, program: &'static str },
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
            Self::Unauthorized { .. }
            | Self::Credentials { .. }
            | Self::HostUnknown { .. }
            | Self::HostChanged { .. } => LookFailure::Unauthorized,
            Self::Forbidden { .. } => LookFailure::Forbidden,
            Self::Missing { .. } | Self::BranchMissing { .. } => LookFailure::Missing,
            Self::Throttled { .. } => LookFailure::Throttled,
            Self::Server { .. } => LookFailure::Server,
            Self::Network { .. } | Self::Certificate { .. } => LookFailure::Network,
            Self::Address { .. }
            | Self::BranchName { .. }
            | Self::ProgramMissing { .. }
            | Self::Malformed { .. }
            | Self::Stopped { .. }
            | Self::Cache { .. } => LookFailure::Malformed,
        }
    }

    /// What the host says of when it may be asked again, where it throttles us.
    #[must_use]
    pub fn headers(&self) -> Option<&HeaderMap> {
        match self {
            Self::Throttled { headers, .. } => Some(headers),
            _ => None,
        }
    }

    /// What talking to the server gave.
    pub(super) fn remote(address: &Address, error: &gix::Error, said_by_ssh: &str) -> Self {
        let url = address.url().clone();
        let mut causes = Causes::default();
        for cause in error.iter_errors() {
            causes.follow(cause, CAUSES_MAX);
        }
        if let Some(program) = address.program().filter(|name| program::find(name).is_none()) {
            return Self::ProgramMissing { url, program };
        }
        if causes.unauthorized {
            return Self::Unauthorized { url };
        }
        if let Some((status, headers)) = causes.refused {
            match status {
                403 => return Self::Forbidden { url },
                404 | 410 => return Self::Missing { url },
                429 => return Self::Throttled { url, headers },
                503 if headers.contains_key(RETRY_AFTER) => return Self::Throttled { url, headers },
                500.. => return Self::Server { url, status },
                _ => {}
            }
        }
        let why = cut(&causes.last);
        if let Some(why) = causes.tls {
            return Self::Certificate { url, why };
        }
        if address.program() == Some("ssh") {
            return Self::ssh(url, said_by_ssh);
        }
        if address.program().is_some() && error.is_not_found() {
            Self::Missing { url }
        } else if causes.network {
            Self::Network { url, why }
        } else {
            Self::Malformed { url, why }
        }
    }

    /// What `ssh` said. Its exit code is one for all, so its words must tell.
    fn ssh(url: Arc<str>, said: &str) -> Self {
        let why =
            cut(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("ssh ended without a word"));
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if says(&["HOST IDENTIFICATION HAS CHANGED"]) {
            Self::HostChanged { url }
        } else if says(&["Host key verification failed", "host key is known"]) {
            Self::HostUnknown { url }
        } else if says(&["UNPROTECTED PRIVATE KEY FILE", "bad permissions"]) {
            let why = "others may read the file in `git[].ssh_key_file`, so ssh does not use it; set its mode to 0400 (`defaultMode` of a volume)";
            Self::Credentials { url, why: why.into() }
        } else if says(&["Load key "]) {
            let why = "the file in `git[].ssh_key_file` holds no private key that ssh can read; it ends with a newline and has no passphrase";
            Self::Credentials { url, why: why.into() }
        } else if says(&["Permission denied", "Too many authentication failures"]) {
            Self::Unauthorized { url }
        } else if says(&["not found", "does not exist", "not appear to be a git repository"]) {
            Self::Missing { url }
        } else {
            Self::Network { url, why }
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
    refused: Option<(u16, Box<HeaderMap>)>,
    unauthorized: bool,
    network: bool,
    tls: Option<String>,
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
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            self.tls = Some(tls.to_string());
        }
        self.unauthorized |= cause.is::<AuthenticationRequired>();
        if let Some(Refused { status, headers }) = cause.downcast_ref() {
            self.refused = Some((*status, Box::new(headers.clone())));
        }
        if let Some(http) = cause.downcast_ref::<reqwest::Error>() {
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
